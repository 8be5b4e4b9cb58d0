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
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from benchmarks.accuracy import bilstm, errors
from benchmarks.data import TrainingSet, training_set
from sungen_lib import derivative
from sungen_lib.losses import cross_entropy, reverse_cross_entropy
from sungen_lib.train import Trainer

RADII = (2e-3, 1e-3, 1e-4)


def after_each_epoch(training: TrainingSet, *, epochs: int, seed: int) -> list[dict[str, object]]:
    """One entry per epoch and way: a radius, or "mended"."""
    data, model, entries = training.encoded, bilstm(training, seed), []
    trainer = Trainer(model, data)
    for epoch in range(1, epochs + 1):
        trainer.epoch(100 * seed + epoch)
        direction, _ = derivative.outer_gradient(model, data, reverse_cross_entropy)
        exact = derivative.directional(model, data, direction, method="dual")
        for radius in RADII:
            with mock.patch.object(derivative, "RADIUS", radius):
                found = derivative._difference(model, data, direction, cross_entropy)
            entries.append({"seed": seed, "epoch": epoch, "way": f"{radius:g}", **_errors(found, exact)})
        mended = derivative.directional(model, data, direction, method="difference")
        entries.append({"seed": seed, "epoch": epoch, "way": "mended", **_errors(mended, exact)})
        entries[-1]["dual_rows"] = int((mended == exact).sum())
    return entries


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
    print("| seed | epoch | way | relative error | worst sample's share | median | signs equal | dual rows |")
    print("|--:|--:|---|--:|--:|--:|--:|--:|")
    for seed in range(options.seeds):
        for entry in after_each_epoch(
            training_set(options.data, options.rows, seed=seed), epochs=options.epochs, seed=seed
        ):
            table.append(entry)
            shown = "{seed} | {epoch} | {way} | {relative:.1e} | {worst_share:.0%} | {median:.1e} | {signs:.1%}"
            print(f"| {shown.format(**entry)} | {entry.get('dual_rows', '')} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
