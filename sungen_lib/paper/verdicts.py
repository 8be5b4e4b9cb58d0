"""The paper's claims and numbers, checked against our measurements.

The rules are in two docstrings: ``check`` for claims, ``number_verdict`` for numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sungen_lib.paper.bootstrap import interval, number_interval, resample_tasks
from sungen_lib.paper.cells import Array, Cell, common_seeds, scale_of
from sungen_lib.paper.claims import CLAIMS, TOLERANCE, Claim
from sungen_lib.paper.numbers import AVERAGE, is_self_bleu, printed
from sungen_lib.paper.outcomes import NOT_RUN, NUMBER_VERDICTS, kind

SEEDS_NEEDED = 3  # for a verdict that rests on the spread over seeds; the paper's own number of runs (F.2)


def ran(verdicts: pd.Series) -> pd.Series:
    """For each verdict whether anything was measured, diverged or not."""
    return verdicts.map(kind) != NOT_RUN


def average_verdict(cells: Sequence[Cell], published_value: float) -> str:
    """``number_verdict`` for the mean over several cells."""
    finished, diverged = common_seeds(cells)
    if diverged and not finished:
        return "diverged"
    if scale_of(cells) != "paper" or np.isnan(published_value):
        return ""
    if diverged or (finished != (None,) and len(finished) < SEEDS_NEEDED):
        return "undecided"
    low, high = number_interval(cells)
    tolerance = TOLERANCE / 100.0 if is_self_bleu(cells[0].row) else TOLERANCE
    return _within(low - published_value, high - published_value, tolerance, NUMBER_VERDICTS[:2])


def number_verdict(cell: Cell, published_value: float) -> str:
    """How a measured number compares with the printed one.

    ``reproduced`` if the 95 % interval of (ours - paper) lies within +-2 points (Self-BLEU: 0.02), ``differs`` if it
    lies wholly outside, else ``undecided``; also ``undecided`` with fewer than three finished seeds, whose spread is
    not informative, and if a seed diverged, since leaving it out flatters the rest. Only at paper scale: elsewhere, or
    if nothing was published (NaN), a number has no verdict and the result is "". ``diverged`` if all seeds did.
    """
    return average_verdict([cell], published_value)


def _within(low: float, high: float, margin: float, words: tuple[str, str]) -> str:
    inside, outside = words
    if -margin <= low and high <= margin:
        return inside
    return outside if low > margin or high < -margin else "undecided"


CHECK_COLUMNS = ("claim", "text", "column", "paper", "ours", "low", "high", "seeds", "verdict", "scale")


def check(table: str, cells: Sequence[Cell], *, rows: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Check every claim on ``table`` against ``cells``; one line per statement, columns ``CHECK_COLUMNS``.

    ``paper`` and ``ours`` are the claim's d, over the seeds common to all rows (``paper`` is NaN for Figure 1, for
    which the paper prints no numbers); ``low`` and ``high`` its 95 % interval by a bootstrap over seeds and test items
    together (in an average, each task on its items, with the same seeds); where a row has no items (Self-BLEU, an early
    epoch), over seeds alone. ``verdict``: ``holds`` if the interval lies on the claimed side of the margin, ``fails``
    if it lies on the other, else ``undecided``; also ``undecided`` with fewer than three seeds, unless nothing in the
    rows is random, and instead of ``holds`` or ``fails`` where a row that this would favour diverged in a seed common
    to all rows. ``not run: why`` if a row is missing, ``diverged`` if no common seed finished. The claim about a number
    follows ``number_verdict``'s rule: paper scale only. ``seeds``: "+" for each seed that alone supports the claim, "-"
    against, "0" neither, "x" diverged. ``scale`` is that of the cell farthest from the paper.

    ``rows`` names, for a row of the paper, the row of ours that stands for it (Table 4 at other sizes: ``rows_at``).
    """
    numbers = printed(table)
    measured = {(cell.row, cell.column): cell for cell in cells}
    if len(measured) != len(cells):
        raise ValueError(f"{table}: two cells have the same row and column")
    lines = []
    for claim in (claim for claim in CLAIMS if claim.table == table):
        for columns in [claim.columns] if claim.average else [(column,) for column in claim.columns]:
            paper = claim.difference(_grid(numbers, claim.rows, columns).mean(axis=0)) if numbers else float("nan")
            lines.append(_check(claim, columns, float(paper), measured, rows or {}))
    return pd.DataFrame(lines, columns=list(CHECK_COLUMNS))


def _grid(values: Mapping[tuple[str, str], float], rows: Sequence[str], columns: Sequence[str]) -> Array:
    """(columns, rows) float."""
    return np.array([[values[row, column] for row in rows] for column in columns])


def _check(
    claim: Claim,
    columns: Sequence[str],
    paper: float,
    measured: Mapping[tuple[str, str], Cell],
    rows: Mapping[str, str],
) -> dict[str, object]:
    """One line of ``check``."""
    nan = float("nan")
    names = [rows.get(row, row) for row in claim.rows]
    line: dict[str, object] = {
        "claim": claim.key,
        "text": claim.text.format(
            above=" + ".join(names[: len(claim.above)]), below=" + ".join(names[len(claim.above) :])
        ),
        "column": AVERAGE if claim.average else columns[0],
        "paper": paper,
    } | {"ours": nan, "low": nan, "high": nan, "seeds": "", "verdict": "", "scale": ""}
    missing = [(name, column) for column in columns for name in names if (name, column) not in measured]
    if missing:
        where = f" on {missing[0][1]}" if claim.average else ""
        return line | {"verdict": f"not run: no {missing[0][0]}{where}"}
    grid = [[measured[name, column] for name in names] for column in columns]
    involved = [cell for group in grid for cell in group]
    finished, diverged = common_seeds(involved)
    line["scale"] = scale_of(involved)
    if not finished:
        return line | {"verdict": "diverged" if diverged else "not run: no common seed", "seeds": _signs({}, diverged)}
    per_seed = claim.difference(np.array([[cell.at(finished) for cell in group] for group in grid]).mean(axis=0).T)
    ours = claim.difference(np.array([[cell.at(finished).mean() for cell in group] for group in grid]).mean(axis=0))
    support = {seed: _support(claim, d, paper) for seed, d in zip(finished, per_seed, strict=True)}
    line |= {"ours": float(ours), "seeds": _signs(support, diverged)}
    low, high = _claim_interval(claim, grid, finished)
    verdict = _verdict(claim, (low, high), support, paper, line["scale"] == "paper")
    if verdict in ("holds", "fails") and _flattered(claim, grid, diverged, verdict):
        verdict = "undecided"
    return line | {"low": low, "high": high, "verdict": verdict}


def _flattered(claim: Claim, grid: Sequence[Sequence[Cell]], diverged: Sequence[int | None], verdict: str) -> bool:
    """Whether a row in whose favour ``verdict`` speaks diverged in one of the common seeds ``diverged``: leaving such
    seeds out of the mean flatters it. In a claim about one row it is that row, whatever the verdict."""
    above, below = slice(len(claim.above)), slice(len(claim.above), None)
    sides = {("above", "holds"): above, ("above", "fails"): below, ("below", "holds"): below, ("below", "fails"): above}
    side = sides.get((claim.direction, verdict), slice(None)) if claim.below else slice(None)
    return any(set(cell.diverged) & set(diverged) for group in grid for cell in group[side])


def _claim_interval(claim: Claim, grid: Sequence[Sequence[Cell]], seeds: Sequence[int | None]) -> tuple[float, float]:
    """95 % interval of the claim's d. ``grid``: the rows of each task; those without items have seeds alone."""
    for group in grid:
        counts = {cell.row: cell.correct.shape[1] for cell in group if cell.correct is not None}
        if claim.paired and len(set(counts.values())) > 1:
            told = ", ".join(f"{row}: {count:,}" for row, count in counts.items())
            raise ValueError(f"claim {claim.key!r} on {group[0].column}: not the same test items ({told})")
    return interval(claim.difference(resample_tasks(grid, seeds, paired=claim.paired)))


def _support(claim: Claim, difference: float, paper: float) -> int:
    """1 if this difference supports the claim, -1 if it contradicts it, 0 if it lies on the margin."""
    if claim.direction == "above":
        return int(np.sign(difference - claim.margin))
    if claim.direction == "below":
        return int(np.sign(claim.margin - difference))
    centre = paper if claim.direction == "number" else 0.0
    return int(np.sign(claim.margin - abs(difference - centre)))


def _signs(support: Mapping[int | None, int], diverged: Sequence[int | None]) -> str:
    signs = {seed: "-0+"[sign + 1] for seed, sign in support.items()} | dict.fromkeys(diverged, "x")
    return " ".join(signs[seed] for seed in sorted(signs, key=lambda seed: -1 if seed is None else seed))


def _verdict(
    claim: Claim,
    interval: tuple[float, float],
    support: Mapping[int | None, int],
    paper: float,
    at_paper_scale: bool,
) -> str:
    is_number = claim.direction == "number"
    if is_number and not at_paper_scale:
        return "not run: a number is judged at paper scale only"
    if set(support) != {None} and len(support) < SEEDS_NEEDED:
        return "undecided"
    low, high = interval
    if claim.direction == "above":
        return "holds" if low > claim.margin else "fails" if high < claim.margin else "undecided"
    if claim.direction == "below":
        return "holds" if high < claim.margin else "fails" if low > claim.margin else "undecided"
    centre = paper if is_number else 0.0
    return _within(low - centre, high - centre, claim.margin, ("holds", "fails"))
