"""Where does the central difference go wrong, and does the guard see it?

``python -m benchmarks.guard [--data FILE] [--rows N] [--seeds N] [--epochs N] [--json FILE]``

Trains the paper's BiLSTM on few rows, which it soon learns by heart, and after each epoch compares the difference at
several radii with dual numbers: the relative error's norm, the share of its square that the worst sample has, the
median of the samples' relative errors, the share of equal signs. "Mended" is what ``directional`` returns: the
difference at 0.002, and dual numbers for the samples whose loss changes by more than ``derivative.FAR``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.accuracy import bilstm, errors
from benchmarks.data import TrainingSet, training_set
from sungen_lib import derivative
from sungen_lib.losses import cross_entropy, reverse_cross_entropy
from sungen_lib.train import Trainer

RADII = (2e-3, 1e-3, 1e-4)


def after_each_epoch(training: TrainingSet, *, epochs: int, seed: int) -> list[dict[str, Any]]:
    """One entry per epoch and way: a radius, or "mended"; ``dual_rows``: how many samples got dual numbers."""
    data, model = training.encoded, bilstm(training, seed)
    trainer, entries = Trainer(model, data), []
    for epoch in range(1, epochs + 1):
        trainer.epoch(100 * seed + epoch)
        direction, _ = derivative.outer_gradient(model, data, reverse_cross_entropy)
        exact = derivative.directional(model, data, direction, method="dual")
        for radius in RADII:
            with mock.patch.object(derivative, "RADIUS", radius):
                found = derivative._difference(model, data, direction, cross_entropy)
            entries.append({"way": f"{radius:g}", "dual_rows": 0, **_errors(found, exact)})
        mended = derivative.directional(model, data, direction, method="difference")
        plain = derivative._difference(model, data, direction, cross_entropy)
        entries.append({"way": "mended", "dual_rows": int((mended != plain).sum()), **_errors(mended, exact)})
        entries[-len(RADII) - 1 :] = [{"seed": seed, "epoch": epoch, **e} for e in entries[-len(RADII) - 1 :]]
    return entries


def summary(table: Sequence[dict[str, Any]]) -> str:
    """One line per way, Markdown."""
    lines = ["| way | above 0.001 | worst error | its worst sample's share | worst median | signs equal | dual rows |"]
    lines.append("|---|" + "--:|" * 6)
    for way in [*(f"{radius:g}" for radius in RADII), "mended"]:
        mine = [entry for entry in table if entry["way"] == way]
        worst = max(mine, key=lambda entry: entry["relative"])
        above = f"{sum(entry['relative'] > derivative.GUARD_LIMIT for entry in mine)} of {len(mine)}"
        errors = f"{worst['relative']:.1e} | {worst['worst_share']:.0%} | {max(e['median'] for e in mine):.1e}"
        signs, rows = min(e["signs"] for e in mine), max(e["dual_rows"] for e in mine)
        lines.append(f"| {way} | {above} | {errors} | {signs:.1%} | {rows} |")
    return "\n".join(lines)


def _errors(found: Tensor, exact: Tensor) -> dict[str, object]:
    error = (found - exact).double()
    summary = errors(found, exact)
    return {
        "relative": summary.relative,
        "worst_share": float(error.square().max() / error.square().sum()),
        "median": float((error.abs() / exact.abs()).nanmedian()),
        "signs": summary.signs,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", help="JSONL file with labels negative, positive (default: drawn rows)")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = []
    for seed in range(options.seeds):
        training = training_set(options.data, options.rows, seed=seed)
        table += after_each_epoch(training, epochs=options.epochs, seed=seed)
        print(f"seed {seed}", file=sys.stderr)
    print(summary(table))
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
