"""Planted label noise: transition matrices, and labels redrawn by them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sungen_lib.texts.examples import Examples

Array = npt.NDArray[np.float64]


def with_noise(data: Examples, transition: np.ndarray, *, seed: int) -> Examples:
    """``data`` with labels redrawn: i becomes j with probability ``transition[i, j]``; (K, K), each row sums to 1."""
    draws = np.random.default_rng(seed).random(len(data))
    labels = (draws[:, None] >= np.cumsum(transition, axis=1)[data.labels]).sum(axis=1)
    return data.with_labels(np.minimum(labels, len(data.label_names) - 1))


def uniform_noise(rates: float | Array, classes: int) -> Array:
    """Transition of a label that is wrong at rate eta, with all wrong labels equally likely: (K, K).

    For (n,) rates, one per input, it is (n, K, K). One rate is the paper's uniform noise, rates by input are its
    non-uniform noise (Appendix A.2).
    """
    rates = np.asarray(rates, dtype=np.float64)[..., None, None]
    return np.where(np.eye(classes, dtype=bool), 1.0 - rates, rates / (classes - 1))


def class_noise(rate: float, classes: int) -> Array:
    """(K, K) transition of class-dependent noise: a label becomes the next class (the last the first), at 1.5 times
    ``rate`` in classes 0, 2, ..., at half of it in the others.

    ``rate`` is then the mean over classes if their number is even. Property 1 allows rates below 1/3. Raises
    ``ValueError`` if 1.5 times ``rate`` is not a probability.
    """
    if not 0 <= 1.5 * rate <= 1:
        raise ValueError(f"class-dependent noise needs a rate from 0 to 2/3, got {rate}")
    rates = rate * np.where(np.arange(classes) % 2 == 0, 1.5, 0.5)
    return np.asarray(np.diag(1 - rates) + np.roll(np.diag(rates), 1, axis=1))
