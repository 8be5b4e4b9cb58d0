"""The numbers printed in Tables 1-5, 7-9 and 11 (accuracies in percent, Self-BLEU-4 in [0, 1])."""

from __future__ import annotations

import pandas as pd

from sungen_lib.texts import tasks

AVERAGE = "average"  # the column of averages over tasks
THREE_TASKS = ("imdb", "amazon", "yelp")
_SUNGEN_200K = (84.10, 84.22, 89.06)  # SunGen-LSTM, RCE, 200k: printed alike in Tables 3, 4, 7 and 8
_ZEROGEN_200K = (71.52, 80.48, 84.95)  # ZeroGen-LSTM, 200k: Tables 4, 7 and 8
_TABLES: dict[str, tuple[tuple[str, ...], dict[str, tuple[float, ...]]]] = {
    "table01": (
        (*tasks.CLASSIFICATION, AVERAGE),
        {
            "Supervised DistilBERT": (87.24, 89.68, 83.67, 92.63, 95.42, 95.95, 94.51, 99.14, 92.28),
            "Supervised LSTM": (84.60, 76.30, 77.49, 86.36, 91.30, 90.20, 90.61, 98.28, 86.89),
            "Prompting": (80.64, 89.22, 81.89, 83.63, 82.72, 68.00, 68.81, 67.88, 77.85),
            "ZeroGen DistilBERT": (84.28, 87.27, 83.02, 87.19, 87.58, 80.45, 76.48, 79.32, 83.20),
            "SunGen DistilBERT": (89.38, 89.45, 84.52, 89.01, 89.19, 83.25, 80.49, 82.67, 86.00),
            "ZeroGen LSTM": (71.52, 74.89, 73.45, 80.48, 84.95, 69.15, 73.34, 67.02, 74.35),
            "SunGen LSTM": (84.10, 84.58, 83.21, 84.22, 89.06, 75.85, 79.75, 72.07, 81.61),
        },
    ),
    "table02": (
        (*THREE_TASKS, "rotten_tomatoes"),
        {
            "Supervised": (84.60, 86.36, 91.30, 77.49),
            "ZeroGen": (71.52, 80.48, 84.95, 73.45),
            "SunGen, gold outer set": (82.34, 84.71, 88.83, 80.05),
            "SunGen, synthetic outer set": (84.10, 84.22, 89.06, 83.21),
        },
    ),
    "table03": (
        THREE_TASKS,
        {
            "Confidence": (79.97, 70.44, 76.91),
            "Co-teaching": (72.64, 73.53, 75.50),
            "Meta-Weight-Net": (71.23, 79.25, 83.41),
            "SunGen": _SUNGEN_200K,
        },
    ),
    "table04": (
        THREE_TASKS,
        {
            "ZeroGen 10k": (62.40, 74.46, 75.22),
            "ZeroGen 20k": (65.12, 75.78, 79.55),
            "ZeroGen 50k": (68.12, 78.14, 80.81),
            "ZeroGen 100k": (71.28, 80.25, 82.97),
            "ZeroGen 200k": _ZEROGEN_200K,
            "ZeroGen 1,000k": (78.29, 82.47, 86.28),
            "SunGen 10k": (72.05, 75.84, 80.67),
            "SunGen 20k": (79.96, 77.52, 82.88),
            "SunGen 50k": (81.14, 81.97, 85.82),
            "SunGen 100k": (82.09, 83.68, 88.41),
            "SunGen 200k": _SUNGEN_200K,
            "SunGen 1,000k": (86.56, 84.63, 90.38),
        },
    ),
    "table05": (
        THREE_TASKS,
        {
            "Self-BLEU-4 Gold": (0.30, 0.29, 0.29),
            "Self-BLEU-4 ZeroGen": (0.15, 0.12, 0.14),
            "Self-BLEU-4 SunGen": (0.14, 0.10, 0.11),
            "Correctness Gold": (96.22, 96.60, 98.35),
            "Correctness ZeroGen": (75.86, 93.58, 94.47),
            "Correctness SunGen": (82.27, 88.87, 90.78),
            "Correctness SunGen-Top": (86.00, 84.20, 85.33),
            "Correctness SunGen-Bottom": (4.57, 61.50, 44.66),
        },
    ),
    "table07": (
        THREE_TASKS,
        {
            "ZeroGen": _ZEROGEN_200K,
            "Bilevel CE": (74.05, 79.81, 83.90),
            "SunGen RCE": _SUNGEN_200K,
            "SunGen MAE": (84.23, 84.05, 89.23),
        },
    ),
    "table08": (
        THREE_TASKS,
        {
            "ZeroGen": _ZEROGEN_200K,
            "Label smoothing": (73.18, 81.91, 86.07),
            "Temporal ensembling": (74.10, 81.42, 85.82),
            "SunGen": _SUNGEN_200K,
        },
    ),
    "table09": (
        tasks.PAIRS,
        {
            "Prompting": (54.51, 60.60, 65.04),
            "ZeroGen": (57.04, 65.46, 68.71),
            "SunGen": (62.82, 71.82, 71.25),
        },
    ),
    "table11": (
        THREE_TASKS,
        {
            "One-level RCE": (81.92, 81.50, 85.36),
            "SunGen": (86.56, 84.63, 90.38),
        },
    ),
}


def printed(table: str) -> dict[tuple[str, str], float]:
    """The printed numbers of one table by (row, column), in the paper's order; empty for any other name."""
    columns, rows = _TABLES.get(table, ((), {}))
    return {(row, column): value for row, values in rows.items() for column, value in zip(columns, values, strict=True)}


def published(table: str) -> pd.DataFrame:
    """The printed numbers of one table, one line per cell: ``row``, ``column``, ``value``; in the paper's order."""
    lines = [(row, column, value) for (row, column), value in printed(table).items()]
    return pd.DataFrame(lines, columns=["row", "column", "value"])


def is_self_bleu(row: str) -> bool:
    """Whether a row holds Self-BLEU, in [0, 1], and not percentages."""
    return row.startswith("Self-BLEU")


TABLE04_POOL = 1_000_000  # texts that Table 4's weights are learned on


def size_name(samples: int) -> str:
    """A number of samples as Table 4 prints it: 10_000 is "10k", 1_000_000 "1,000k"; 250 stays "250"."""
    return f"{samples // 1000:,}k" if samples % 1000 == 0 else f"{samples:,}"


def size_row(method: str, size: int, pool: int) -> str:
    """A row of Table 4. SunGen's weights depend on the pool, so the row names a pool that is not of the paper's size,
    and cannot be mistaken for the paper's row."""
    of_pool = f" of {size_name(pool)}" if method == "SunGen" and pool != TABLE04_POOL else ""
    return f"{method} {size_name(size)}{of_pool}"


def rows_at(pool: int) -> dict[str, str]:
    """For ``check("table04", ..., rows=...)``: each row of Table 4 and the one with the same share of our ``pool``."""
    sizes = (10_000, 20_000, 50_000, 100_000, 200_000, TABLE04_POOL)
    return {
        size_row(method, size, TABLE04_POOL): size_row(method, round(size / TABLE04_POOL * pool), pool)
        for method in ("ZeroGen", "SunGen")
        for size in sizes
    }
