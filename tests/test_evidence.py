"""What a notebook opens with: its committed results on real text; and that a demonstration stands without the paper's
numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from IPython.display import Image, Markdown

from sungen_lib.lab import PROFILES, evidence, notebooks, tables
from sungen_lib.lab.profiles import DEMO_PROFILES
from sungen_lib.paper.numbers import published

TIDY = sorted(
    path.with_suffix("")
    for profile in PROFILES
    for path in (notebooks.TABLES / profile).glob("*.csv")
    if "title" in notebooks.read_json(path.with_suffix(".json"))
)
DEMO_TABLES = [path for path in TIDY if path.parent.name in DEMO_PROFILES]
Shown = list[Any]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What is displayed."""
    parts: Shown = []
    monkeypatch.setattr(evidence, "display", parts.append)
    return parts


def text(shown: Shown) -> str:
    return "\n".join(part.data for part in shown if isinstance(part, Markdown))


def test_the_committed_table_is_shown_from_any_folder(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evidence.show("table02")
    assert text(shown).startswith("**Table 2.")
    cells, claims, _ = tables.read(notebooks.TABLES / "small", "table02")
    row = cells[(cells["row"] == "SunGen, synthetic outer set") & (cells["column"] == "imdb")].iloc[0]
    assert f"{row.ours:.2f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{row.sd:.2f} ({row.paper:.2f})" in text(shown)
    assert all(verdict in text(shown) for verdict in claims["verdict"] if not verdict.startswith("not run"))
    assert "../tables/small/table02.md" in text(shown)


def test_what_was_not_run_is_counted_not_shown(shown: Shown) -> None:
    evidence.show("table04")
    laptop, small = text(shown).split("Profile small.")
    assert "IMDb" not in laptop and "Amazon" not in small and "not run:" not in text(shown)
    assert "Not run at this profile, so not shown: 11 rows and 18 claims" in small
    assert "Not run at this profile, so not shown: 12 rows and 10 claims" in laptop


def test_a_figure_is_shown_as_the_committed_picture(shown: Shown) -> None:
    evidence.show("figure01")
    (picture,) = (part for part in shown if isinstance(part, Image))
    assert picture.data == (notebooks.TABLES / "small" / "figure01.png").read_bytes()
    assert "| SunGen, epoch 15 |" in text(shown) and "| Verdict |" in text(shown), "its numbers and claims, too"


def test_a_notebook_without_a_result_says_so_in_a_sentence(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence.show("figure02", why_none="a drawing measures nothing")
    assert text(shown) == "No result on real text: a drawing measures nothing."
    shown.clear()
    monkeypatch.setattr(evidence, "TABLES", Path("/nowhere"))  # the package without the repository
    evidence.show("table01")
    assert re.fullmatch(r"No result on real text: the folder `tables` [^.]+ is not installed here\.", text(shown))


# --- demonstrations ---------------------------------------------------------------------------------------------------


def papers_numbers(text: str, name: str) -> list[str]:
    """The paper's numbers as a table shows them, in parentheses, and the column of the paper's differences."""
    numbers = {f"({value:.2f})" for value in published(name).value}
    return sorted(number for number in numbers if number in text) + re.findall(r"\| Paper \|| paper's number", text)


def test_the_papers_numbers_are_noticed() -> None:
    """In the tables that should have them."""
    for path in TIDY:
        if path.parent.name not in DEMO_PROFILES and path.name.startswith("table"):
            assert papers_numbers(path.with_suffix(".md").read_text(encoding="utf-8"), path.name), path


@pytest.mark.parametrize("path", DEMO_TABLES, ids=lambda path: path.name)
def test_no_demo_table_shows_the_papers_numbers(path: Path) -> None:
    for suffix in (".md", ".tex"):
        assert papers_numbers(path.with_suffix(suffix).read_text(encoding="utf-8"), path.name) == []
    assert tables.read(path.parent, path.name)[0]["paper"].isna().all()


@pytest.mark.parametrize("notebook", notebooks.select(notebooks.NOTEBOOKS), ids=lambda path: path.stem)
def test_no_demo_table_in_a_notebook_shows_the_papers_numbers(notebook: Path) -> None:
    outputs = [
        "".join(output["data"].get("text/markdown", ""))
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", ())
        if "data" in output
    ]
    demos = [output for output in outputs if "Demo scale" in output]
    assert [papers_numbers(output, notebooks.stem(notebook.stem)) for output in demos] == [[]] * len(demos)
    if (notebooks.TABLES / "embedded" / f"{notebooks.stem(notebook.stem)}.csv") in [
        p.with_suffix(".csv") for p in DEMO_TABLES
    ]:
        assert demos


@pytest.mark.parametrize("path", sorted((notebooks.TABLES / "embedded").glob("*.svg")), ids=lambda path: path.stem)
def test_no_demo_picture_draws_the_papers_numbers(path: Path) -> None:
    """matplotlib keeps the texts of a picture as comments."""
    drawn = re.findall(r"<!-- (.+?) -->", path.read_text(encoding="utf-8"))
    assert drawn and [label for label in drawn if "paper" in label] == []


@pytest.mark.parametrize("path", TIDY, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_committed_tables_are_those_of_their_numbers(path: Path) -> None:
    """The .md is what the .csv and the .json say, but for one in the last digit: the .csv is rounded, too."""
    cells, claims, title = tables.read(path.parent, path.name)
    expected = tables.markdown(cells, title=title, profile=path.parent.name)
    if len(claims):
        expected += "\n" + tables.claims_markdown(claims, profile=path.parent.name)
    written = path.with_suffix(".md").read_text(encoding="utf-8")
    number = re.compile(r"[+-]?\d+\.\d+")
    assert number.sub("#", written) == number.sub("#", expected)
    values = [list(map(float, number.findall(text))) for text in (written, expected)]
    assert values[0] == pytest.approx(values[1], abs=0.0101)
