"""How far do SunGen's gains depend on which texts the PLM happened to write? No interval of the tables covers that.

    python -m benchmarks.pools DIR [--plm gpt2-xl] [--pools 5] [--rows 2800] [--seeds 1 2 3 4 5] [--csv FILE]

Cuts the film texts in the data folder DIR, which serve IMDb, SST-2 and Rotten Tomatoes, into disjoint pools, and runs
ZeroGen and SunGen (weighted) on each with the head on a frozen MiniLM, at the settings of the profile ``small``: the
outer set is a fifth of the pool, and a smaller pool gets more epochs, so that there are as many steps. Reported: each
pool's gain in points with its 95 % interval over seeds and test items, the standard deviation of the gains over pools,
and what it would be if only the seeds differed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sungen_lib.lab import execution, profiles, results
from sungen_lib.lab.methods import Methods
from sungen_lib.lab.specs import Run
from sungen_lib.lab.task_data import TaskData
from sungen_lib.paper.bootstrap import paired_gap
from sungen_lib.paper.cells import Cell, common_seeds

TASKS = ("imdb", "sst2", "rotten_tomatoes")
TAM = "frozen"


def at_size(rows: int, plm: str, data_dir: str) -> Methods:
    """The methods of ``small`` for pools of ``rows`` texts by ``plm``."""
    small = profiles.get("small")
    tam = profiles.longer(small.frozen, max(1, round(small.pool / rows)))
    profile = replace(small, plm=plm, pool=rows, outer_size=rows // 5, frozen=tam)
    return Methods(profile, TaskData(profile, data_dir), "cpu")


def runs(methods: Methods, task: str, start: int, seed: int) -> dict[str, Run]:
    """ZeroGen and SunGen on the pool that begins at row ``start`` of the shuffled file."""
    pool = replace(methods.data.synthetic(task), start=start)
    zerogen = replace(methods.zerogen(task, TAM, seed), train=pool)
    weights = methods.weights(task, TAM, seed, train=pool)
    return {"ZeroGen": zerogen, "SunGen": replace(zerogen, method="sungen", weights=weights, selection="weighted")}


def measured(task: str, of_seeds: Sequence[Mapping[str, Run]], data_dir: Path) -> tuple[Cell, Cell]:
    """SunGen's cell and ZeroGen's on one task; ``of_seeds``: their runs by name, a mapping for each seed."""
    records = execution.execute([run for both in of_seeds for run in both.values()], data_dir=str(data_dir))
    sungen, zerogen = (
        results.measured(name, task, [records[both[name]] for both in of_seeds], scale="other")
        for name in ("SunGen", "ZeroGen")
    )
    return sungen, zerogen


def compared(sungen: Cell, zerogen: Cell) -> dict[str, object]:
    """Both means over the seeds that finished in both, and the gain with its interval and signs."""
    seeds, _ = common_seeds([sungen, zerogen])
    gain, low, high, signs = paired_gap(sungen, zerogen)
    means = {"ZeroGen": zerogen.at(seeds).mean(), "SunGen": sungen.at(seeds).mean()} if seeds else {}
    return means | {"gain": gain, "low": low, "high": high, "seeds": signs}


def spread(gains: np.ndarray) -> dict[str, float]:
    """``gains``: (pools, seeds), points; NaN where a seed diverged, and then the result is NaN, too. Their mean; the
    standard deviation over pools of the seeds' means; and the same if pools were all alike."""
    means, seeds = gains.mean(axis=1), gains.shape[1]
    by_seeds = math.sqrt(gains.var(axis=1, ddof=1).mean() / seeds)
    return {"mean gain": means.mean(), "sd over pools": means.std(ddof=1), "sd by seeds alone": by_seeds}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pools", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--plm", default="gpt2-xl")
    parser.add_argument("--pools", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2_800)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    methods = at_size(options.rows, options.plm, str(options.data))
    lines, spreads = [], {}
    for task in options.tasks:
        gains = []
        for number in range(options.pools):
            start = number * options.rows
            cells = measured(task, [runs(methods, task, start, seed) for seed in options.seeds], options.data)
            gains.append(cells[0].at(options.seeds) - cells[1].at(options.seeds))
            lines.append({"task": task, "pool": number + 1} | compared(*cells))
        spreads[task] = spread(np.array(gains))
    print(pd.DataFrame(lines).round(2).to_string(index=False), "\n")
    print(pd.DataFrame(spreads).T.round(2).to_string())
    if options.csv is not None:
        pd.DataFrame(lines).to_csv(options.csv, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
