"""Confidence (Table 3): dataset cartography, Swayamdipta et al. 2020, "Dataset Cartography", Section 2.

SunGen's Appendix F.2 fixes the mean model probability of the given label across epochs as the confidence, and keeps
the samples of highest confidence, 200k of the pool: ``subset.top(cartography(...).confidence, 200_000)``. Our
choices, where the papers state nothing: the model and its training are the TAM's in F.2 (BiLSTM, Adam 1e-3, 5 epochs),
the samples are measured by the same model that trains on them (as in the cartography paper), and the TAM to evaluate
is trained from scratch on the kept samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from sungen_lib import subset, train
from sungen_lib.baselines import tfidf_logreg
from sungen_lib.encode import Samples
from sungen_lib.models import TamConfig
from sungen_lib.texts.examples import Examples


@dataclass(frozen=True)
class Cartography:
    """``confidence``: (N,) in [0, 1], the mean over epochs of the given label's probability; ``variability``: (N,) in
    [0, 0.5], its standard deviation (of the population: divided by the number of epochs)."""

    confidence: np.ndarray
    variability: np.ndarray


def cartography(
    model: nn.Module,
    train_set: Samples,
    *,
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
) -> Cartography:
    """Train ``model`` in place and measure each sample after every epoch, with the parameters at the epoch's end.

    Raises ``ValueError`` for fewer than one epoch and ``Diverged`` as training does.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be positive, got {epochs}")
    probabilities = [
        train.label_probabilities(model, train_set)
        for _ in train.epochs(
            model, train_set, epochs=epochs, lr=lr, batch_size=batch_size, precision=precision, seed=seed
        )
    ]
    course = np.stack(probabilities)
    return Cartography(confidence=course.mean(axis=0), variability=course.std(axis=0))


def score(texts: Examples, *, tam: TamConfig, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """(N,) the confidence in each label of ``texts``, by a fresh ``tam``."""
    prepared = tam.prepare(texts, seed=seed, device=device)
    model, data = prepared.model, prepared.data
    return cartography(model, data, seed=seed, **tam.training).confidence


def select(
    texts: Examples, *, budget: int | None = None, tam: TamConfig, seed: int = 0, device: str = "cpu"
) -> np.ndarray:
    """Sorted indices of the ``budget`` most confident samples.

    Without a budget it selects the share of labels that out-of-fold predictions do not contradict
    (``tfidf_logreg.noise_rate``).
    """
    budget = budget or round((1 - tfidf_logreg.noise_rate(texts)) * len(texts))
    return np.sort(subset.top(score(texts, tam=tam, seed=seed, device=device), budget))


def after_training(texts: Examples, *, tam: TamConfig, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """(N,) the given label's probability after plain training, from the model trained on it."""
    prepared = tam.prepare(texts, seed=seed, device=device)
    model, data = prepared.model, prepared.data
    train.fit(model, data, seed=seed, **tam.training)
    return train.label_probabilities(model, data)
