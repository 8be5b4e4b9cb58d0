"""The end of a run: what differs from the committed tables is told, and drift within the spread over seeds is not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sungen_lib import __main__ as command_line
from sungen_lib.lab import comparison, notebooks

Cells = dict[tuple[str, str], tuple[float, float]]
CELLS: Cells = {
    ("SunGen", "imdb"): (70.0, 2.0),
    ("SunGen", "sst2"): (60.0, 1.0),
    ("SunGen", "yelp"): (65.0, 0.1),
    ("Linear", "imdb"): (80.0, math.nan),
}


def write(folder: Path, cells: Cells, verdict: str = "holds") -> Path:
    """A table as the notebooks write it, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{row},{column},,{mean},{'' if math.isnan(sd) else sd},3" for (row, column), (mean, sd) in cells.items()]
    (folder / "table01.csv").write_text("\n".join(["row,column,paper,ours,sd,n_seeds", *lines, "Old,imdb,70.0,,,0"]))
    claim = {"claim": "better", "text": "SunGen is better", "column": "imdb", "verdict": verdict}
    (folder / "table01.json").write_text(json.dumps({"claims": [claim]}))
    return folder


def compared(tmp_path: Path, cells: Cells, verdict: str = "holds") -> list[str]:
    committed = write(tmp_path / "committed", CELLS)
    return comparison.report(write(tmp_path / "new", CELLS | cells, verdict), committed, ["table01", "figure01"])


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {("SunGen", "imdb"): (73.9, 0.1)},
        {("SunGen", "yelp"): (66.9, 0.1)},  # its deviation is small by chance: the row's median is 1
        {("Linear", "imdb"): (81.9, math.nan)},
        {("New", "imdb"): (1.0, 0.1)},
        {("SunGen", "imdb"): (70.0 + 4.03, 2.0)},  # two deviations and a rounding
    ],
)
def test_drift_within_the_spread_is_no_difference(cells: Cells, tmp_path: Path) -> None:
    (line,) = compared(tmp_path, cells)
    assert line.endswith("nothing beyond the spread, and every verdict is the same")


def test_a_cell_beyond_its_spread_and_a_changed_verdict_are_told(tmp_path: Path) -> None:
    _, cell, verdict = compared(tmp_path, {("SunGen", "imdb"): (65.9, 0.1)}, "not run: no data")
    assert cell == "  table01, SunGen, imdb: 70 -> 65.9 (spread 2)"
    assert verdict == "  table01, SunGen is better, imdb: holds -> not run"


def test_a_cell_that_did_not_run_is_told(tmp_path: Path) -> None:
    committed = write(tmp_path / "committed", CELLS)
    fewer = {key: value for key, value in CELLS.items() if key != ("Linear", "imdb")}
    assert comparison.report(write(tmp_path / "new", fewer), committed, ["table01"])[1:] == [
        "  table01, Linear, imdb: 80 -> not run"
    ]
    csv = tmp_path / "new" / "table01.csv"
    csv.write_text(csv.read_text().replace("n_seeds", "n_seeds,verdict") + "\nLinear,imdb,,,,0,diverged\n")
    assert comparison.report(tmp_path / "new", committed, ["table01"])[1:] == [
        "  table01, Linear, imdb: 80 -> diverged"
    ]


def test_self_bleu_has_a_smaller_unit(tmp_path: Path) -> None:
    committed = write(tmp_path / "committed", {("Self-BLEU-4", "imdb"): (0.14, 0.0005)})
    assert comparison.report(
        write(tmp_path / "new", {("Self-BLEU-4", "imdb"): (0.1455, 0.0005)}), committed, ["table01"]
    )[1:] == ["  table01, Self-BLEU-4, imdb: 0.14 -> 0.1455 (spread 0.0005)"]


def test_the_list_is_short(tmp_path: Path) -> None:
    many = {("SunGen", f"task{number}"): (50.0, 1.0) for number in range(30)}
    committed = write(tmp_path / "committed", many)
    lines = comparison.report(write(tmp_path / "new", dict.fromkeys(many, (60.0, 1.0))), committed, ["table01"])
    assert len(lines) == comparison.SHOWN + 2 and lines[-1] == "  and 10 more"


def test_there_is_nothing_to_say_without_a_committed_table(tmp_path: Path) -> None:
    new = write(tmp_path / "new", CELLS)
    assert comparison.report(new, tmp_path / "committed", ["table01"]) == []
    assert comparison.report(new, new, ["table01"]) == []


def test_the_committed_tables_are_read_and_equal_themselves(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(notebooks.TABLES / "small")
    copy = tmp_path / "copy"
    copy.mkdir()
    names = []
    for path in (notebooks.TABLES / "small").glob("*.json"):
        names.append(path.stem)
        for file in path.parent.glob(f"{path.stem}.[cj]s*"):
            (copy / file.name).write_bytes(file.read_bytes())
    (line,) = comparison.report(copy, notebooks.TABLES / "small", names)
    assert "nothing beyond the spread" in line
    assert comparison.report(tmp_path / "link", notebooks.TABLES / "small", names) == []


def test_a_run_ends_with_it_and_writes_to_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless --out names a folder, no tracked file is touched."""
    from sungen_lib.lab import suite

    written: list[Path] = []

    def run(*_: object, out: Path, **__: object) -> int:
        written.append(out)
        write(out / "embedded", CELLS)
        return 0

    monkeypatch.setattr(suite, "run", run)
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(command_line, "TABLES", tmp_path / "tables")
    write(tmp_path / "tables" / "embedded", CELLS | {("SunGen", "imdb"): (50.0, 1.0)})
    assert command_line.main(["run", "--only", "table01"]) == 0
    assert written == [tmp_path / "store" / "tables"]
    assert "table01, SunGen, imdb: 50 -> 70 (spread 2)" in capsys.readouterr().out
