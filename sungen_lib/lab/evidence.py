"""The evidence that a notebook opens with: its committed results on real text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Image, Markdown, display

from sungen_lib.lab import PROFILES, tables
from sungen_lib.lab.figures import DPI
from sungen_lib.lab.notebooks import TABLES
from sungen_lib.lab.profiles import DEMO_PROFILES
from sungen_lib.lab.tidying import measured_only
from sungen_lib.paper.verdicts import ran

WIDTH = 900  # pixels of a picture, at most; a small one is as large as its notebook shows it


def show(name: str, *, why_none: str = "") -> None:
    """Display the committed tables and pictures called ``name`` at every real profile, with their verdicts.

    Reads the checkout's ``tables``, wherever the notebook runs and whatever it writes. If there is nothing to show,
    displays one sentence; ``why_none`` is its reason.
    """
    parts = [part for profile in PROFILES if profile not in DEMO_PROFILES for part in _parts(TABLES / profile, name)]
    why_none = why_none or "the folder `tables` of the repository, which would have it, is not installed here"
    for part in parts or [Markdown(f"No result on real text: {why_none}.")]:
        display(part)


def _parts(folder: Path, name: str) -> Iterator[Markdown | Image]:
    """One profile's table, with the claims that could be tested, and its picture."""
    about = folder / f"{name}.json"
    if about.exists() and "title" in json.loads(about.read_text(encoding="utf-8")):
        yield Markdown(tables.unbroken(_table(folder, name)))
    elif (folder / f"{name}.md").exists():
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
        yield Markdown(f"{text}\n[the same as a file]({_link(folder / name)}.md)\n")
    picture = folder / f"{name}.png"
    if picture.exists():
        yield Markdown(f"**Real text, profile {folder.name}** ([picture]({_link(picture)}))")
        pixels = int(plt.imread(picture).shape[1])
        yield Image(str(picture), width=min(WIDTH, pixels * 100 // DPI))


def _table(folder: Path, name: str) -> str:
    """What was measured of a table, as Markdown; the rest in a sentence."""
    cells, claims, title = tables.read(folder, name)
    shown, tested = measured_only(cells), claims[ran(claims["verdict"])]
    text = tables.markdown(shown, title=title, profile=folder.name).partition("\n- not run:")[0]
    if len(tested):
        text += "\n" + tables.claims_markdown(tested, profile=folder.name)
    rows, untested = cells["row"].nunique() - shown["row"].nunique(), len(claims) - len(tested)
    left_out = f"Not run at this profile, so not shown: {rows} rows and {untested} claims; " if rows or untested else ""
    return f"{text}\n{left_out}[whole table]({_link(folder / name)}.md)\n"


def _link(file: Path) -> str:
    """``file`` as seen from the notebooks' folder."""
    return f"../tables/{file.parent.name}/{file.name}"
