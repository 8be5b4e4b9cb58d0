"""What a notebook cell shows: escaped tables, short texts, bars; and whether the cell runs interactively."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

TICK = 0.5  # seconds
_BARS = "▁▂▃▄▅▆▇█"


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """An HTML table of the values as text; markup in them is escaped."""

    def line(tag: str, values: Sequence[object]) -> str:
        cells = (f'<{tag} style="text-align: left">{html.escape(str(value))}</{tag}>' for value in values)
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    above = f"<p>{html.escape(caption)}</p>" if caption else ""
    return f"{above}<table><thead>{line('th', header)}</thead><tbody>{body}</tbody></table>"


def clipped(text: str, length: int) -> str:
    """The first ``length`` characters, with an ellipsis if there are more."""
    return text if len(text) <= length else text[:length].rstrip() + " …"


def bars(counts: Sequence[int]) -> str:
    """One character per count, its height proportional to the count; a space for 0."""
    most = max([*counts, 1])
    return "".join(_BARS[(len(_BARS) - 1) * count // most] if count else " " for count in counts)


def attended() -> bool:
    """Whether this cell runs in an interactive front end. Unattended runs (papermill, nbval) do not let a cell ask for
    input."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:  # the library alone, without notebooks
        return False

    kernel = getattr(get_ipython(), "kernel", None)  # there is none in a terminal or a script
    return kernel is not None and bool(kernel.get_parent().get("content", {}).get("allow_stdin"))


@contextmanager
def ticking(bar: Any, words: Callable[[], str]) -> Iterator[None]:
    """While the block runs, a thread shows time and ``words()`` on a tqdm ``bar``, which else moves only on updates."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(TICK):
            bar.set_postfix_str(words())

    thread = threading.Thread(target=tell, daemon=True)
    if not bar.disable:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
