"""What a cell shows: escaped tables, short texts, bars; and whether a person is there to see it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_BARS = "▁▂▃▄▅▆▇█"


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """An HTML table of the values as texts; whatever they hold is shown, and never markup."""

    def line(tag: str, values: Sequence[object]) -> str:
        cells = (f'<{tag} style="text-align: left">{html.escape(str(value))}</{tag}>' for value in values)
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    above = f"<p>{html.escape(caption)}</p>" if caption else ""
    return f"{above}<table><thead>{line('th', header)}</thead><tbody>{body}</tbody></table>"


def clipped(text: str, length: int) -> str:
    """The first ``length`` characters, and whether there are more."""
    return text if len(text) <= length else text[:length].rstrip() + " …"


def bars(counts: Sequence[int]) -> str:
    """One character a count, as high as its share of the largest; a space for 0."""
    most = max([*counts, 1])
    return "".join(_BARS[(len(_BARS) - 1) * count // most] if count else " " for count in counts)


def attended() -> bool:
    """Whether a person's front end runs this cell; those that run a notebook unattended (papermill, nbval) do not let
    it ask for input."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:  # the library alone, without notebooks
        return False

    kernel = getattr(get_ipython(), "kernel", None)  # there is none in a terminal or a script
    return kernel is not None and bool(kernel.get_parent().get("content", {}).get("allow_stdin"))
