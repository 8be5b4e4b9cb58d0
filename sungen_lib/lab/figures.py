"""Figures: the suite's style, PNG and SVG files, the mark "demo scale"."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyBboxPatch

from sungen_lib import storage
from sungen_lib.lab.profiles import DEMO, DEMO_PROFILES
from sungen_lib.lab.tables import json_text
from sungen_lib.learn import LearnedWeights

LARGEST_SVG = 300_000  # bytes
DPI = 150  # of the files; notebooks show pictures at 100
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.0, 4.0),
    "figure.dpi": 100,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.prop_cycle": cycler(color=OKABE_ITO),
    "svg.hashsalt": "sungen",
}


def write_figure(fig: Figure, name: str, *, profile: str, out: str | Path, provenance: Mapping[str, Any]) -> list[Path]:
    """Write ``<out>/<profile>/<name>`` as .png (150 dpi), .svg and .json (provenance); return the paths.

    No SVG is written if it would be larger than ``LARGEST_SVG``.

    The pictures contain neither date nor version. At the embedded and tiny profiles the figure is marked "demo scale",
    and keeps the mark if it is shown afterwards.
    """
    folder = Path(out) / profile
    if profile in DEMO_PROFILES:
        _mark_demo(fig)
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):
        pictures = {
            "png": _picture(fig, format="png", dpi=DPI, metadata={"Software": None}),
            "svg": _picture(fig, format="svg", metadata={"Date": None, "Creator": None}),
        }
    if len(pictures["svg"]) > LARGEST_SVG:
        del pictures["svg"]
        (folder / f"{name}.svg").unlink(missing_ok=True)
    for suffix, content in pictures.items():
        with storage.atomic_path(folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)
    paths = [folder / f"{name}.{suffix}" for suffix in pictures]
    if not (folder / f"{name}.csv").exists():  # a table of the same name has a JSON, and its claims are in there
        paths.append(folder / f"{name}.json")
        storage.write_text(paths[-1], json_text({"name": name, **provenance}))
    return paths


def write_png(fig: Figure, path: Path) -> None:
    """Write the figure as .png (150 dpi), atomically, and close it, or the cell would show it again."""
    with storage.atomic_path(path) as temporary:
        temporary.write_bytes(_picture(fig, format="png", dpi=DPI, metadata={"Software": None}))
    plt.close(fig)


def _picture(fig: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, **options)
    return buffer.getvalue()


def _mark_demo(fig: Figure) -> None:
    """Write "demo scale" into the figure's lower right corner, once, and make room for it."""
    if any(text.get_gid() == DEMO for text in fig.texts):
        return
    engine = fig.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0.05, 1, 0.95))
    fig.text(0.99, 0.01, DEMO, ha="right", va="bottom", fontsize=8, color="0.4", gid=DEMO)


def weights_figure(learned: LearnedWeights, *, title: str = "", wrong: np.ndarray | None = None) -> Figure:
    """The outer loss, iteration by iteration, and ``draw_weights`` after the last one."""
    with plt.style.context(style()):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
        numbers = [iteration.number for iteration in learned.history]
        left.plot(numbers, [iteration.outer_loss for iteration in learned.history], marker="o", markersize=3)
        left.xaxis.get_major_locator().set_params(integer=True)
        left.set(xlabel="outer iteration", ylabel="reverse cross-entropy", title="Outer loss")
        draw_weights(right, learned.weights, wrong)
        right.set(ylabel="samples", title=f"Weights after iteration {len(learned.history)}")
        if wrong is not None:
            right.legend()
        figure.suptitle(title, fontsize=11, parse_math=False)  # the title may be a file name
    return figure


def draw_weights(panel: Axes, weights: np.ndarray, wrong: np.ndarray | None) -> None:
    """A histogram of weights; with ``wrong``, (N,) bool, those of wrong samples in another colour."""
    known = {"correct": weights[~wrong], "wrong or off topic": weights[wrong]} if wrong is not None else {}
    groups = known or {"samples": weights}
    panel.hist(list(groups.values()), bins=np.linspace(0, 1, 26).tolist(), stacked=True, label=list(groups))
    panel.set(xlabel="weight")


Box = tuple[float, float, float, float, str, str]  # centre x, centre y, width, height, colour, text
Arrow = tuple[str, str, str, tuple[float, float, str] | None]  # from, to, text, the text's place and alignment


def diagram(boxes: Mapping[str, Box], arrows: Sequence[Arrow], *, note: tuple[float, float, str]) -> Figure:
    """Boxes joined by arrows, with a line of text at ``note``."""

    def edge(start: str, end: str) -> tuple[float, float]:
        """Where the straight line from the centre of box ``start`` to that of ``end`` leaves ``start``."""
        x, y, width, height = boxes[start][:4]
        dx, dy = boxes[end][0] - x, boxes[end][1] - y
        share = min((width / 2 + 0.12) / abs(dx) if dx else 9, (height / 2 + 0.12) / abs(dy) if dy else 9)
        return x + share * dx, y + share * dy

    with plt.style.context(style()):
        figure, panel = plt.subplots(figsize=(9.4, 4.2))
        for x, y, width, height, colour, text in boxes.values():
            corner = (x - width / 2, y - height / 2)
            panel.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0.08", fc=colour, ec="0.3"))
            panel.text(x, y, text, ha="center", va="center", fontsize=11)
        for start, end, text, place in arrows:
            arrow = {"arrowstyle": "-|>", "color": "0.2", "lw": 1.6, "mutation_scale": 16}
            panel.annotate("", xy=edge(end, start), xytext=edge(start, end), arrowprops=arrow)
            if place:
                panel.text(*place[:2], text, ha=place[2], va="center", fontsize=10, color="0.2")
        panel.text(*note, ha="center", fontsize=10, style="italic", color="0.2")
        panel.set(xlim=(0, 9.4), ylim=(0.5, 4.5))
        panel.axis("off")
    return figure


def style() -> dict[str, Any]:
    """matplotlib settings of the suite, for ``plt.style.use``; colour-blind safe palette (Okabe & Ito 2008)."""
    return dict(STYLE)
