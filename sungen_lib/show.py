"""What a cell shows: escaped tables, pictures that replace one another, and whether somebody is there to see them."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
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
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)  # there is none in a terminal or a script
    return kernel is not None and bool(kernel.get_parent().get("content", {}).get("allow_stdin"))


def in_place(draw: Callable[[T], Figure]) -> Callable[[T], None]:
    """A function that shows ``draw``'s figure in the cell, each one in the place of the one before."""
    import matplotlib.pyplot as plt
    from IPython.display import DisplayHandle

    handle, shown = DisplayHandle(), False

    def show(what: T) -> None:
        nonlocal shown
        figure = draw(what)
        (handle.update if shown else handle.display)(figure)
        plt.close(figure)  # or the notebook would show it again at the end of the cell
        shown = True

    return show
