"""How exact is the meta-gradient along a real run, and do its errors change the learned weights?

``python -m benchmarks.accuracy [--data FILE] [--rows N] [--compare]``

Learns weights, stops at iterations 1, 10, 25 and 50, and compares the central difference at several radii and the
dual numbers, all in float32, with double backward in float64 (its outer gradient in float64 too) on a sample of the
rows. ``--compare`` instead learns the weights three times, by difference, dual numbers and double backward in
float32, with one seed and the same batches, and prints their rank correlations.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from tqdm.auto import tqdm

from benchmarks.data import TrainingSet, training_set
from sungen_lib import derivative, reweight
from sungen_lib.encode import Encoded
from sungen_lib.learn import LearnedWeights
from sungen_lib.losses import reverse_cross_entropy
from sungen_lib.models import BiLSTM
from sungen_lib.seeds import derived_seed

RADII = (0.0005, 0.001, 0.002, 0.003, 0.005)
ITERATIONS = (1, 10, 25, 50)
SIGN_FLOOR = 1e-3  # signs are compared where |g| exceeds this fraction of its median


@dataclass(frozen=True)
class Errors:
    """``relative``: ``|g - exact| / |exact|``; ``signs``: share of equal signs where ``|exact|`` is not negligible."""

    relative: float
    signs: float


def errors(gradient: Tensor, exact: Tensor) -> Errors:
    """Of ``gradient`` against ``exact``, both (N,)."""
    gradient, exact = gradient.double(), exact.double()
    matters = exact.abs() > SIGN_FLOOR * exact.abs().median()
    equal = (gradient.sign() == exact.sign())[matters]
    return Errors(float((gradient - exact).norm() / exact.norm()), float(equal.double().mean()))


def bilstm(training: TrainingSet, seed: int) -> BiLSTM:
    """The paper's TAM for ``training``, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BiLSTM(training.vocabulary, training.encoded.classes)


def exact_derivative(model: BiLSTM, sample: Encoded, outer_set: Encoded) -> Tensor:
    """``<v, grad l_i>`` for each row of ``sample``, (N,) float64, v included: double backward on a float64 copy."""
    model = copy.deepcopy(model).double()
    direction, _ = derivative.outer_gradient(model, outer_set, reverse_cross_entropy)
    return derivative.directional(model, sample, direction, method="double_backward")


def outer_rows(rows: int, *, size: int, seed: int) -> np.ndarray:
    """The rows that Algorithm 1 draws as the outer set."""
    return np.random.default_rng(derived_seed(seed, 0)).choice(rows, min(size, rows), replace=False)


def along_a_run(
    training: TrainingSet, *, check_rows: int, outer_size: int, iterations: Sequence[int], seed: int
) -> list[dict[str, object]]:
    """One entry per iteration of ``iterations`` and method for the derivative, with errors as in ``Errors``."""
    data = training.encoded
    tam = bilstm(training, seed)
    settings = reweight.Bilevel(outer_size=outer_size, iterations=max(iterations))
    models = {  # between two iterations the TAM is as the inner loop has trained it
        state.done: copy.deepcopy(tam)
        for state in reweight.iterations(data, [tam], settings, seed=seed)
        if state.done in iterations
    }
    outer_set = data.select(outer_rows(len(data), size=outer_size, seed=seed))
    sample = data.select(np.random.default_rng(seed).choice(len(data), min(check_rows, len(data)), replace=False))
    table = []
    for number, model in models.items():
        exact = exact_derivative(model, sample, outer_set)
        direction, _ = derivative.outer_gradient(model, outer_set, reverse_cross_entropy)
        for radius in RADII:
            with mock.patch.object(derivative, "RADIUS", radius):
                along = derivative.directional(model, sample, direction, method="difference")
            found = asdict(errors(along, exact))
            table.append({"iteration": number, "method": "difference", "radius": radius, **found})
        along = derivative.directional(model, sample, direction, method="dual")
        table.append({"iteration": number, "method": "dual", "radius": None, **asdict(errors(along, exact))})
    return table


def compare_weights(training: TrainingSet, *, outer_size: int, iterations: int, seed: int) -> list[dict[str, object]]:
    """Spearman's rank correlation and largest difference of the weights that each pair of methods arrives at."""
    weights = {}
    for method in derivative.METHODS:
        settings = reweight.Bilevel(outer_size=outer_size, iterations=iterations, method=method)
        run = reweight.iterations(training.encoded, [bilstm(training, seed)], settings, seed=seed)
        *_, state = tqdm(run, desc=method, total=iterations)
        weights[method] = state.weights.cpu().numpy()
        seconds = sum(iteration.seconds for iteration in state.history)
        print(f"{method}: {seconds:.0f} s, {LearnedWeights(weights[method], {}, state.history)!r}", flush=True)
    return [
        {
            "methods": [a, b],
            "rank_correlation": float(spearmanr(weights[a], weights[b]).statistic),
            "largest_difference": float(np.abs(weights[a] - weights[b]).max()),
        }
        for a, b in combinations(weights, 2)
    ]


def _print_errors(table: list[dict[str, object]]) -> None:
    print(f"{'iteration':>9}  {'method':<10}  {'radius':>7}  {'relative error':>14}  {'signs equal':>11}")
    for entry in table:
        radius = "" if entry["radius"] is None else entry["radius"]
        where = f"{entry['iteration']:>9}  {entry['method']:<10}  {radius:>7}"
        print(f"{where}  {entry['relative']:>14.1e}  {entry['signs']:>11.4f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", help="JSONL file with labels negative, positive (default: drawn rows)")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--outer", type=int, help="rows of the outer set (default: half the rows)")
    parser.add_argument("--check-rows", type=int, default=512, help="rows compared with float64")
    parser.add_argument("--iterations", type=int, nargs="+", default=list(ITERATIONS))
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help=f"default: the process's cores, here {cores}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", action="store_true", help="compare the learned weights instead")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    training = training_set(options.data, options.rows, seed=options.seed)
    outer_size = options.outer or len(training.encoded) // 2
    print(f"{training.description}; outer set {outer_size:,}; {options.threads} thread(s)", flush=True)
    if options.compare:
        table = compare_weights(training, outer_size=outer_size, iterations=max(options.iterations), seed=options.seed)
        for entry in table:
            print(entry)
    else:
        table = along_a_run(
            training,
            check_rows=options.check_rows,
            outer_size=outer_size,
            iterations=options.iterations,
            seed=options.seed,
        )
        _print_errors(table)
    if options.json:
        settings = {k: v for k, v in vars(options).items() if k not in ("json", "data")}
        options.json.write_text(json.dumps({"data": training.description, **settings, "results": table}, indent=1))


if __name__ == "__main__":
    main()
