"""What differs between the tables of a run and the committed ones: cells beyond their spread, verdicts of claims."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from sungen_lib.lab.notebooks import read_json
from sungen_lib.paper.outcomes import NOT_RUN, kind

SPREADS = 2  # training drifts across processors as it does across seeds: less than this is no news
ROUNDING = 5e-4  # of a number: less is the last digits of processors, also where a row has no spread
SHOWN = 20  # lines in the report


def report(new: Path, committed: Path, names: Iterable[str]) -> list[str]:
    """Lines for the end of a run: where the tables ``names`` in ``new`` differ from those in ``committed``; none if no
    table is in both.

    A cell differs if it is more than ``SPREADS`` standard deviations over seeds away: the larger of the two tables'
    deviations, and at least the row's median, since that of a few seeds can be small by chance. A row of single seeds
    has the table's median.
    """
    pairs = [(new / name, committed / name) for name in names]
    pairs = [pair for pair in pairs if all(table.with_name(f"{table.name}.json").exists() for table in pair)]
    if not pairs or new.resolve() == committed.resolve():
        return []
    found = [line for pair in pairs for line in (*_cells(*pair), *_verdicts(*pair))]
    if not found:
        return [f"compared with {committed}: nothing beyond the spread, and every verdict is the same"]
    more = [f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    head = f"compared with {committed}: beyond {SPREADS} standard deviations over seeds, or another verdict:"
    return [head, *(f"  {line}" for line in found[:SHOWN]), *more]


def _cells(new: Path, committed: Path) -> Iterator[str]:
    """A line for each cell that is missing in ``new`` or beyond its spread."""
    lines = _lines(new)
    ours, theirs = _numbers(lines), _numbers(_lines(committed))
    diverged = {(line["row"], line["column"]) for line in lines if line.get("verdict") == "diverged"}  # every seed did
    spreads = [(row, sd) for cells in (ours, theirs) for (row, _), (_, sd) in cells.items() if not math.isnan(sd)]
    for (row, column), (before, sd) in theirs.items():
        where = f"{committed.name}, {row}, {column}: "
        if (row, column) not in ours:
            yield f"{where}{before:.4g} -> {'diverged' if (row, column) in diverged else 'not run'}"
            continue
        now, other = ours[row, column]
        typical = [s for name, s in spreads if name == row] or [s for _, s in spreads] or [0.0]
        spread = max(median(typical), *(s for s in (sd, other) if not math.isnan(s)), 0.0)
        if abs(now - before) > SPREADS * spread + ROUNDING * max(abs(before), 1):
            yield f"{where}{before:.4g} -> {now:.4g} (spread {spread:.2g})"


def _numbers(lines: Iterable[dict[str, str]]) -> dict[tuple[str, str], tuple[float, float]]:
    """Mean and standard deviation (NaN: one seed) of each cell that ran; empty for a table of other things."""
    ran = (line for line in lines if line.get("ours"))
    return {(line["row"], line["column"]): (float(line["ours"]), float(line["sd"] or "nan")) for line in ran}


def _lines(table: Path) -> list[dict[str, str]]:
    """The rows of the table's CSV; none if there is no such file."""
    path = table.with_name(f"{table.name}.csv")
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _verdicts(new: Path, committed: Path) -> Iterator[str]:
    ours, theirs = _claims(new), _claims(committed)
    for key, before in theirs.items():
        now = ours.get(key, {"verdict": NOT_RUN})
        old, verdict = (kind(claim["verdict"]) for claim in (before, now))
        if verdict != old:
            yield f"{committed.name}, {before['text']}, {before['column']}: {old} -> {verdict}"


def _claims(table: Path) -> dict[tuple[str, str], dict[str, Any]]:
    claims = read_json(table.with_name(f"{table.name}.json")).get("claims", [])
    return {(claim["claim"], claim["column"]): claim for claim in claims}
