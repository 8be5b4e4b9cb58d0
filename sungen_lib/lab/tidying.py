"""Measured cells joined with the published ones: one line per cell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sungen_lib.paper import verdicts
from sungen_lib.paper.cells import Cell, common_seeds, scale_of
from sungen_lib.paper.numbers import AVERAGE, TABLE04_POOL, printed, size_name
from sungen_lib.paper.outcomes import NOT_RUN, kind
from sungen_lib.texts import tasks

ANY = "*"  # in ``not_run``: every row, or every column
TIDY_COLUMNS = (
    "row", "column", "paper", "ours", "sd", "n_seeds", "diverged", "scale", "verdict", "ours_only"
)  # fmt: skip


def tidy(table: str, cells: Sequence[Cell], not_run: Mapping[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """Published and measured cells of one table, outer join, one line per cell, columns ``TIDY_COLUMNS``.

    The paper's cells come first, in its order, then ``ours_only`` ones, with ``paper`` NaN. ``sd`` is the sample
    standard deviation over seeds, ``n_seeds`` the seeds that finished, ``diverged`` those that did not. ``verdict`` is
    ``verdicts.number_verdict``'s, ``diverged`` where every seed did, or ``not run: why`` with ``ours`` NaN; the reasons
    come from ``not_run`` by (row, column), either of which may be ``ANY``; default "not asked for". In a table with
    averages a row has one only if all its tasks ran.
    """
    numbers = printed(table)
    reasons = not_run or {}
    measured = {(cell.row, cell.column): cell for cell in cells}
    if len(measured) != len(cells):
        raise ValueError(f"{table}: two cells have the same row and column")
    columns = list(dict.fromkeys(column for _, column in numbers))
    keys = dict.fromkeys([*numbers, *measured, *(key for key in reasons if ANY not in key)])
    if AVERAGE in columns:
        keys |= dict.fromkeys((row, AVERAGE) for row, _ in measured)
    averaged = [column for column in columns if column != AVERAGE]
    lines = []
    for row, column in keys:
        number = numbers.get((row, column), math.nan)
        if column == AVERAGE:
            ran = [measured[row, task] for task in averaged if (row, task) in measured]
            absent = [task for task in averaged if (row, task) not in measured]
            line = _average(ran, absent, number) if ran else {"verdict": _reason(reasons, row, column)}
        else:
            cell = measured.get((row, column))
            line = _measured(cell, number) if cell else {"verdict": _reason(reasons, row, column)}
        ours_only = (row, column) not in numbers
        lines.append(_EMPTY | {"row": row, "column": column, "paper": number, "ours_only": ours_only} | line)
    return pd.DataFrame(_rows_together(lines), columns=list(TIDY_COLUMNS))


_EMPTY: dict[str, Any] = {"ours": math.nan, "sd": math.nan, "n_seeds": 0, "diverged": 0, "scale": ""}


def _rows_together(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines grouped by row, rows in order of first appearance, averages last in each row."""
    order = {row: n for n, row in enumerate(dict.fromkeys(line["row"] for line in lines))}
    return sorted(lines, key=lambda line: (order[line["row"]], line["column"] == AVERAGE))


def _reason(reasons: Mapping[tuple[str, str], str], row: str, column: str) -> str:
    """The verdict of a cell that was not run, by the most specific entry."""
    keys = ((row, column), (row, ANY), (ANY, column), (ANY, ANY))
    why = next((reasons[key] for key in keys if key in reasons), "not asked for")
    return why if kind(why) == NOT_RUN else f"not run: {why}"


def _measured(cell: Cell, number: float) -> dict[str, Any]:
    return {
        "ours": cell.mean,
        "sd": cell.sd,
        "n_seeds": len(cell.finished),
        "diverged": len(cell.diverged),
        "scale": cell.scale,
        "verdict": verdicts.number_verdict(cell, number),
    }


def _average(cells: Sequence[Cell], absent: Sequence[str], number: float) -> dict[str, Any]:
    """The mean over a row's tasks, if none is ``absent``; over the seeds that finished on all of them."""
    if absent:
        return {"verdict": f"not run: average needs {', '.join(absent)}"}
    finished, diverged = common_seeds(cells)
    line = {"n_seeds": len(finished), "diverged": len(diverged), "scale": scale_of(cells)}
    if not finished:
        return line | {"verdict": "diverged" if diverged else "not run: the tasks share no seed"}
    means = np.mean([cell.at(finished) for cell in cells], axis=0)
    return line | {
        "ours": float(means.mean()),
        "sd": float(means.std(ddof=1)) if len(means) > 1 else math.nan,
        "verdict": verdicts.average_verdict(cells, number),
    }


_SIZE = re.compile(r"(ZeroGen|SunGen) (\S+?)(?: of (\S+?))?(, .+)?")  # Table 4's rows: ``numbers.size_row``, and a TAM


def by_size(tidy_df: pd.DataFrame) -> pd.DataFrame:
    """Table 4 with one row for each size of the subset and the pool (and TAM), a column for each task and method.

    Any other table is returned as it is. ZeroGen's texts do not depend on the pool, so its cell stands in every row of
    its size. Rows with neither a result nor a number of the paper are left out.
    """
    names = {row: match for row in tidy_df["row"] if (match := _SIZE.fullmatch(row))}
    if len(names) < tidy_df["row"].nunique():
        return tidy_df
    lines = tidy_df.to_dict("records")
    told = {line["row"] for line in lines if not math.isnan(line["paper"]) or kind(line["verdict"]) != NOT_RUN}
    rows = {  # name of the new row: its TAM, and its rows of ZeroGen and SunGen
        f"{size} of {pool or size_name(TABLE04_POOL)}{tam or ''}": (tam, (f"ZeroGen {size}{tam or ''}", row))
        for row, (method, size, pool, tam) in ((row, match.groups()) for row, match in names.items())
        if method == "SunGen" and row in told
    }
    found = [
        line | {"row": row, "column": f"{column_title(column)}, {names[line['row']][1]}", "ours_only": bool(tam)}
        for row, (tam, of_methods) in rows.items()
        for column in dict.fromkeys(tidy_df["column"])
        for line in lines
        if line["column"] == column and line["row"] in of_methods
    ]
    return pd.DataFrame(found, columns=list(TIDY_COLUMNS))


def measured_only(tidy_df: pd.DataFrame) -> pd.DataFrame:
    """``tidy_df`` without the rows and columns in which nothing was run."""
    ran = tidy_df[verdicts.ran(tidy_df["verdict"])]
    return tidy_df[tidy_df["row"].isin(ran["row"]) & tidy_df["column"].isin(ran["column"])]


def column_title(column: str) -> str:
    """The column's heading for readers: the paper's title for its tasks, any other name unchanged."""
    return tasks.TASKS[column].title if column in tasks.TASKS else column
