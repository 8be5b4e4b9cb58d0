"""How far does SunGen's gain depend on how long both are trained? Raw texts may be trained on for too long.

    python -m benchmarks.epochs DIR [--profile laptop] [--plm vicuna-7b --rows 10000] [--epochs 5 20] [--tasks imdb]

ZeroGen and SunGen (weighted) with the head on a frozen MiniLM after each number of epochs; the weights are the
profile's, learned once. Reported: both test accuracies, SunGen's lead after as many epochs, and its lead, after the
profile's own number of epochs, over ZeroGen after this one; leads in points with 95 % intervals over seeds and test
items. Nothing is chosen by them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.pools import TAM, compared, measured
from sungen_lib.lab import profiles
from sungen_lib.lab.methods import Methods
from sungen_lib.lab.specs import Run
from sungen_lib.lab.task_data import TaskData

TASKS = ("imdb", "sst2", "rotten_tomatoes", "amazon", "yelp", "subj", "ag_news")


def after(epochs: int, run: Run) -> Run:
    """``run`` with so many epochs of the final training; its weights stay."""
    assert run.tam is not None
    return replace(run, tam=replace(run.tam, epochs=epochs))


def runs(methods: Methods, task: str, epochs: int, seed: int) -> dict[str, Run]:
    """ZeroGen and SunGen, each trained for ``epochs``."""
    both = {"ZeroGen": methods.zerogen(task, TAM, seed), "SunGen": methods.sungen(task, TAM, seed)}
    return {name: after(epochs, run) for name, run in both.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--profile", default="laptop", choices=profiles.PROFILES)
    parser.add_argument("--plm", help="another writer than the profile's")
    parser.add_argument("--rows", type=int, help="texts, if not the profile's number")
    parser.add_argument("--epochs", nargs="+", type=int, default=[5])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS[:-1]), choices=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(profiles.FROZEN_SEEDS))
    options = parser.parse_args(arguments)
    profile = profiles.get(options.profile)
    profile = replace(profile, plm=options.plm or profile.plm, pool=options.rows or profile.pool)
    methods, own = Methods(profile, TaskData(profile, str(options.data)), "cpu"), profile.tam(TAM).epochs
    lines = []
    for task in options.tasks:
        cells = {
            n: measured(task, [runs(methods, task, n, seed) for seed in options.seeds], options.data)
            for n in sorted({*options.epochs, own})
        }
        for n, pair in cells.items():
            across = compared(cells[own][0], pair[1])  # SunGen after the profile's number of epochs
            leads = {f"{key} at {own}": across[key] for key in ("gain", "low", "high")}
            lines.append({"task": task, "epochs": n} | compared(*pair) | leads)
    print(pd.DataFrame(lines).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
