"""Planted label noise in gold texts: ``learn_weights(texts)`` beside cleanlab on the same features.

    python -m benchmarks.noise DIR [--tasks ag_news sst2] [--seeds 1 2 3 4 5] [--csv FILE]

For each task of the data folder DIR, up to 3,000 gold training rows get label flips (uniform at 20, 30 and 40 %,
class-dependent at 30 %). Both methods see the same noisy labels and the same vectors (frozen MiniLM). Reported: how
well the scores tell right labels from flipped ones (AUC), the test accuracy of scikit-learn's logistic regression on
the vectors, and CPU seconds without the embedding, which both need. cleanlab is used as documented: five-fold
predicted probabilities, ``find_label_issues``, training on the rows without an issue. "Both" is cleanlab with our
weights as ``sample_weight`` in every fit. "Balanced": every fit with ``class_weight="balanced"``, because our weights
balance the classes, too, and flips that depend on the class unbalance them. Test rows are only reported on: nothing is
chosen by them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from sungen_lib import choice
from sungen_lib.learn import learn_weights
from sungen_lib.texts import data_folder, tasks
from sungen_lib.texts.examples import DataMissing, Examples
from sungen_lib.texts.noise import class_noise, uniform_noise, with_noise

ROWS, TEST_ROWS = 3_000, 2_000
NOISES: dict[str, Callable[[int], np.ndarray]] = {
    "uniform 20 %": lambda classes: uniform_noise(0.2, classes),
    "uniform 30 %": lambda classes: uniform_noise(0.3, classes),
    "uniform 40 %": lambda classes: uniform_noise(0.4, classes),
    "class 30 %": lambda classes: class_noise(0.3, classes),
}


def some(texts: Examples, rows: int) -> Examples:
    """At most ``rows`` of ``texts``, drawn with a fixed seed."""
    return texts.select(np.sort(np.random.default_rng(0).permutation(len(texts))[:rows]))


def vectors(texts: Examples) -> np.ndarray:
    """(N, D) features of the frozen encoder."""
    return choice.fitting(texts)[0].prepare(texts, seed=0).data.content()[0].numpy()


Classes = Literal["balanced"] | None
Rows = tuple[np.ndarray, np.ndarray]  # (N, D) features and (N,) labels


def model(classes: Classes = None) -> LogisticRegression:
    """scikit-learn's logistic regression with its defaults; ``classes``: its ``class_weight``."""
    return LogisticRegression(max_iter=1000, class_weight=classes)


def accuracy(train: Rows, test: Rows, weights: np.ndarray | None = None, classes: Classes = None) -> float:
    """Test accuracy, percent, of ``model``."""
    return 100 * float(model(classes).fit(*train, sample_weight=weights).score(*test))


def cleanlab(
    features: np.ndarray,
    labels: np.ndarray,
    seed: int,
    weights: np.ndarray | None = None,
    classes: Classes = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) label quality, and (N,) bool: which rows it keeps. ``weights``: the samples', in every fit."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    params = {"sample_weight": weights}
    probabilities = cross_val_predict(model(classes), features, labels, cv=folds, method="predict_proba", params=params)
    return get_label_quality_scores(labels, probabilities), ~find_label_issues(labels, probabilities, n_jobs=1)


def measured(clean: Examples, test: Examples, seeds: Sequence[int]) -> Iterator[dict[str, object]]:
    """One line per noise and seed."""
    features, held_out = vectors(clean), (vectors(test), test.labels)
    best = accuracy((features, clean.labels), held_out)
    for noise, transition in NOISES.items():
        for seed in seeds:
            noisy = with_noise(clean, transition(len(clean.label_names)), seed=seed)
            right = noisy.labels == clean.labels
            start = time.process_time()
            weights = learn_weights(noisy, seed=seed).weights
            middle = time.process_time()
            quality, kept = cleanlab(features, noisy.labels, seed)
            end = time.process_time()
            weights /= weights.mean()
            judged, held = cleanlab(features, noisy.labels, seed, weights)
            rated, left = cleanlab(features, noisy.labels, seed, classes="balanced")
            rows = features, noisy.labels
            yield {
                "noise": noise,
                "seed": seed,
                "AUC ours": roc_auc_score(right, weights),
                "AUC cleanlab": roc_auc_score(right, quality),
                "AUC cleanlab balanced": roc_auc_score(right, rated),
                "AUC both": roc_auc_score(right, judged),
                "raw": accuracy(rows, held_out),
                "raw balanced": accuracy(rows, held_out, classes="balanced"),
                "cleanlab": accuracy((features[kept], noisy.labels[kept]), held_out),
                "cleanlab balanced": accuracy((features[left], noisy.labels[left]), held_out, classes="balanced"),
                "ours": accuracy(rows, held_out, weights),
                "ours balanced": accuracy(rows, held_out, weights, classes="balanced"),
                "both": accuracy((features[held], noisy.labels[held]), held_out, weights[held]),
                "clean labels": best,
                "s ours": middle - start,
                "s cleanlab": end - middle,
            }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--tasks", nargs="+", default=list(tasks.CLASSIFICATION), choices=tasks.CLASSIFICATION)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    threadpool_limits(1)  # scikit-learn's fits are small: on two threads they mostly wait for each other
    lines: list[dict[str, object]] = []
    for task in options.tasks:
        try:
            train, test = (data_folder.load(options.data, task, "std", split) for split in ("train", "test"))
        except DataMissing as error:
            print(f"{task}: not run: {error}", flush=True)
            continue
        for line in measured(some(train, options.rows), some(test, TEST_ROWS), options.seeds):
            lines.append({"task": task} | line)
        means = pd.DataFrame(lines).drop(columns="seed").groupby(["task", "noise"], sort=False).mean()
        print(means.round(3), flush=True)
        if options.csv is not None:
            pd.DataFrame(lines).to_csv(options.csv, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
