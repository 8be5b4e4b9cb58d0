"""An independent check: our weights beside those that another group learned with the authors' code.

    python -m benchmarks.fusegen DIR [--seed 1] [--iterations 50] [--json FILE]

FuseGen's authors (Zou et al. 2024) published the SunGen scores of 9,998 of the first 10,000 IMDb reviews that
Vicuna-7B wrote; the data folder DIR has both. We learn weights for the same rows with the paper's LSTM. Reported: the
rank correlation of both, how many of the 5 % of rows with the lowest weights they share (5 % of 5 % by chance), the
same for cleanlab's label quality as a stand-in, and the IMDb and SST-2 test accuracy of TF-IDF with logistic regression
trained on all rows, on the rows weighted by either, and without the lowest 5 % of either.
"""

from __future__ import annotations

import argparse
import json
import lzma
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr

from sungen_lib.baselines import cleanlab, tfidf_logreg
from sungen_lib.fast import limited_threads
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts import data_folder
from sungen_lib.texts.examples import Examples

PLM, SCORES = "vicuna-7b", "sungen_theta_fusegen.jsonl.xz"
REJECTED = 0.05


def theirs(folder: Path) -> tuple[Examples, np.ndarray]:
    """The rows that have a score, and the published weights, (N,) in [0, 1]."""
    with lzma.open(folder / "imdb" / PLM / SCORES, "rt", encoding="utf-8") as file:
        theta = {line["idx"]: line["theta"] for line in map(json.loads, file)}
    texts = data_folder.load(folder, "imdb", PLM, "train")
    rows = [row for row, idx in enumerate(texts.idx.tolist()) if idx in theta]
    return texts.select(rows), expit(np.array([theta[texts.idx[row]] for row in rows]))


def lowest(scores: np.ndarray) -> np.ndarray:
    """Indices of the ``REJECTED`` share of rows with the lowest scores."""
    return np.argsort(scores, kind="stable")[: round(REJECTED * len(scores))]


def agreement(ours: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Rank correlation of two scores, each (N,), and how many of their lowest rows are the same."""
    shared = np.intersect1d(lowest(ours), lowest(other))
    return {"spearman": float(spearmanr(ours, other)[0]), "shared": len(shared), "of": len(lowest(ours))}


def accuracies(texts: Examples, scores: np.ndarray | None, tests: dict[str, Examples]) -> dict[str, float]:
    """Percent right on each test: training on all rows (no ``scores``), weighted, and without the lowest."""
    kept = np.arange(len(texts)) if scores is None else np.setdiff1d(np.arange(len(texts)), lowest(scores))
    ways = {"without the lowest": tfidf_logreg.fit(texts.select(kept))}
    if scores is None:
        ways = {"all rows": ways["without the lowest"]}
    else:
        ways["weighted"] = tfidf_logreg.fit(texts, sample_weight=scores / scores.mean())
    return {
        f"{way}, {name}": 100 * float((tfidf_logreg.predict(model, test) == test.labels).mean())
        for way, model in ways.items()
        for name, test in tests.items()
    }


def measured(folder: Path, *, seed: int, iterations: int) -> dict[str, object]:
    """Everything that the module's docstring names."""
    texts, published = theirs(folder)
    start = time.process_time()
    learned = learn_weights(texts, tam=TamConfig(), seed=seed, iterations=iterations, outer_size=len(texts) // 2)
    seconds = time.process_time() - start
    tests = {task: data_folder.load(folder, task, "std", "test") for task in ("imdb", "sst2")}
    stand_in = cleanlab.score(texts)
    return {
        "rows": len(texts),
        "seed": seed,
        "iterations": iterations,
        "CPU s": round(seconds),
        "ours and theirs": agreement(learned.weights, published),
        "cleanlab and theirs": agreement(stand_in, published),
        "cleanlab and ours": agreement(stand_in, learned.weights),
        "TF-IDF": accuracies(texts, None, tests),
        "with our weights": accuracies(texts, learned.weights, tests),
        "with their weights": accuracies(texts, published, tests),
        "with cleanlab's scores": accuracies(texts, stand_in, tests),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fusegen", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with limited_threads(1):
        found = json.dumps(measured(options.data, seed=options.seed, iterations=options.iterations), indent=1)
    print(found)
    if options.json is not None:
        options.json.write_text(found + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
