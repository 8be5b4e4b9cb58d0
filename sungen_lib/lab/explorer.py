"""Browse weighted texts: an interactive view in a live notebook, a static table everywhere else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sungen_lib import show, storage, subset
from sungen_lib.texts.examples import Examples
from sungen_lib.weigh import harmless

PAGE = 10  # texts in the interactive view at a time
CLIP = 300  # characters of a text in the static table
ALL = "all classes"


class Explorer:
    """``data`` with its ``weights``, (N,) in [0, 1], shown as a cell's output.

    Interactive (ipywidgets): filter by class and weight, search, page through whole texts, lowest or highest weights
    first, mark texts. ``marked`` holds the marked rows (``data.select(sorted(explorer.marked))``), ``save`` writes them
    as CSV; so does a button, to ``marked.csv`` in the store.

    In unattended runs (papermill, nbval), on a web page, or without ipywidgets: a table of the ``shown`` highest and
    lowest weights. ``more``: further columns by title, N values each. Texts are escaped in both.
    """

    def __init__(
        self,
        data: Examples,
        weights: np.ndarray,
        *,
        more: Mapping[str, Sequence[object]] | None = None,
        shown: int = 5,
    ) -> None:
        self.more = more or {}
        lengths = {len(data), len(weights), *(len(values) for values in self.more.values())}
        if len(lengths) > 1:
            raise ValueError(f"{len(data)} texts, {len(weights)} weights and the columns beside them differ in length")
        self.data, self.weights, self.shown = data, np.asarray(weights), shown
        self.marked: set[int] = set()

    def matching(self, *, name: str | None = None, low: float = 0.0, high: float = 1.0, search: str = "") -> np.ndarray:
        """Rows of the class ``name`` with weights in [low, high] that contain ``search`` in any case; lowest first."""
        found = (self.weights >= low) & (self.weights <= high)
        if name is not None:
            found &= self.data.labels == self.data.label_names.index(name)
        if search:
            found &= np.array([search.casefold() in self._text(i).casefold() for i in range(len(self.data))])
        order = subset.bottom(self.weights, len(self.weights))
        return np.asarray(order[found[order]])

    def table(self, rows: Sequence[int] | np.ndarray, *, clip: int | None = None) -> str:
        """HTML of the given rows; ``clip``: characters shown of each text, by default all."""
        return show.table(self._header(), [self._line(int(row), clip) for row in rows])

    def _header(self) -> list[str]:
        return ["idx", "weight", "label", *self.more, "text"]

    def _line(self, row: int, clip: int | None) -> list[object]:
        text = self._text(row)
        label = self.data.label_names[self.data.labels[row]]
        beside = [values[row] for values in self.more.values()]
        weight = f"{self.weights[row]:.4f}"
        return [self.data.idx[row], weight, label, *beside, text if clip is None else show.clipped(text, clip)]

    def _text(self, row: int) -> str:
        first = self.data.texts[row]
        return first if self.data.pairs is None else f"{first}\n{self.data.pairs[row]}"

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the highest weights, highest first, and of the lowest, lowest first; none is in both."""
        count = min(self.shown, (len(self.data) + 1) // 2)
        return subset.top(self.weights, count), subset.bottom(self.weights, min(count, len(self.data) - count))

    def __repr__(self) -> str:
        return f"Explorer of {self.data!r}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.static()}
        if show.attended():
            try:
                view = self.view()
            except ImportError:  # no ipywidgets: show only the table
                return bundle
            bundle |= {kind: part for kind, part in view._repr_mimebundle_().items() if kind not in bundle}
        return bundle

    def static(self) -> str:
        """HTML of the highest and the lowest weights."""
        highest, lowest = self.ends()
        parts = (("highest", highest), ("lowest", lowest))
        return "".join(f"<p>The {end} weights:</p>{self.table(rows, clip=CLIP)}" for end, rows in parts)

    def save(self, path: str | Path) -> str:
        """Write the marked rows to ``path`` as CSV, in the order of the texts; says what was written.

        Cells that a spreadsheet would take for formulas get an apostrophe in front.
        """
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        lines: list[Sequence[object]] = [self._header(), *(self._line(row, None) for row in sorted(self.marked))]
        for line in lines:
            writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in line])
        storage.write_text(path, buffer.getvalue())
        return f"{len(self.marked):,} marked, saved to {path}"

    def view(self) -> Any:
        """The interactive view, an ipywidgets ``VBox``; ``ImportError`` without ipywidgets."""
        import ipywidgets as widgets

        classes = [(ALL, None), *((name, name) for name in self.data.label_names)]
        # Options are indices, because browsers would show a value of None as no choice.
        name = widgets.Dropdown(options=classes, index=0, description="class", layout={"width": "16em"})
        between = widgets.FloatRangeSlider(
            value=(0, 1), min=0, max=1, step=0.01, description="weight", layout={"width": "30em"}
        )
        search = widgets.Text(description="search", continuous_update=False, layout={"width": "20em"})
        order = widgets.ToggleButtons(options=["lowest first", "highest first"], style={"button_width": "auto"})
        page = widgets.BoundedIntText(value=1, min=1, max=1, description="page", layout={"width": "12em"})
        count, texts, marks = widgets.Label(), widgets.HTML(), _Marks(self.marked, self.data.idx)

        def update(change: Mapping[str, Any] | None = None) -> None:
            low, high = between.value
            rows = self.matching(name=name.value, low=low, high=high, search=search.value)
            rows = rows[:: -1 if order.index else 1]
            page.max = max(1, -(-len(rows) // PAGE))
            if change is not None and change["owner"] is not page:
                page.value = 1
            start = PAGE * (page.value - 1)
            count.value = f"{len(rows):,} of {len(self.data):,} texts; page {page.value} of {page.max}"
            marks.show(rows[start : start + PAGE])
            texts.value = self.table(rows[start : start + PAGE])

        for control in (name, between, search, order, page):
            control.observe(update, names="value")
        update()
        export = widgets.Button(description="save marked"), widgets.Label()
        export[0].on_click(lambda _: setattr(export[1], "value", self.save(storage.store_root() / "marked.csv")))
        lines = [name, between, search], [order, page, count], [*marks.buttons, *export]
        # Wrapped where the window is narrow, and nothing is squeezed: a page number is shown whole.
        wrapped = {"flex_flow": "row wrap", "align_items": "center"}
        for widget in (widget for line in lines for widget in line):
            widget.layout.flex, widget.layout.max_width = "0 0 auto", "100%"
        return widgets.VBox([*(widgets.HBox(line, layout=wrapped) for line in lines), texts])


class _Marks:
    """A button for each text of a page, pressed where its row is in ``marked``."""

    def __init__(self, marked: set[int], idx: Sequence[object] | np.ndarray) -> None:
        import ipywidgets as widgets

        self.marked, self.idx, self.rows = marked, idx, list[int]()
        self.buttons = [widgets.ToggleButton(tooltip="mark", layout={"width": "auto"}) for _ in range(PAGE)]
        for button in self.buttons:
            button.observe(self._pressed, names="value")

    def show(self, rows: np.ndarray) -> None:
        """The buttons of another page."""
        self.rows = []  # values set below are not clicks
        for button, row in zip(self.buttons, rows.tolist(), strict=False):
            button.description, button.value = f"mark {self.idx[row]}", row in self.marked
        for number, button in enumerate(self.buttons):
            button.layout.display = None if number < len(rows) else "none"
        self.rows = rows.tolist()

    def _pressed(self, change: Mapping[str, Any]) -> None:
        place = self.buttons.index(change["owner"])
        if place < len(self.rows):
            (self.marked.add if change["new"] else self.marked.discard)(self.rows[place])
