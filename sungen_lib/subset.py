"""From weights to a subset: Bernoulli sampling to a budget (Section 3), top and bottom k (Table 5); without weights, a
random subset."""

from __future__ import annotations

import numpy as np

from sungen_lib.seeds import derived_seed


def inclusion_probabilities(weights: np.ndarray, budget: int) -> np.ndarray:
    """w', (N,) in [0, 1] with sum ``budget``: ``min(1, c w)`` with the c that gives this sum.

    The paper normalises the weights to the sum D and does not say what to do with a w' above 1; here such a sample is
    certain to be drawn and the excess goes to the others in proportion to their weights.
    Raises ``ValueError`` for weights that are not finite and non-negative, or a budget outside 1 .. the number of
    samples of positive weight.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and non-negative")
    positive = int((weights > 0).sum())
    if not 1 <= budget <= positive:
        raise ValueError(f"budget must lie in 1..{positive}, the samples of positive weight; got {budget}")
    # With the k largest weights capped at 1, the rest share budget - k: take the smallest k that caps no others.
    descending = np.sort(weights)[::-1]
    rest = np.cumsum(descending[::-1])[::-1]  # rest[k] = sum of all but the k largest
    k = np.arange(budget)
    scale = (budget - k) / rest[:budget]
    capped = int(np.argmax(scale * descending[:budget] <= 1 + 1e-12))  # true at the last k: w <= rest
    return np.asarray(np.minimum(1.0, scale[capped] * weights))


def bernoulli_subset(weights: np.ndarray, budget: int, *, seed: int) -> np.ndarray:
    """Sorted indices of a random subset of expected size ``budget``: sample i is in it with probability w'_i."""
    return np.flatnonzero(_draws(len(weights), seed) < inclusion_probabilities(weights, budget))


def random_subset(samples: int, budget: int, *, seed: int) -> np.ndarray:
    """Sorted indices of ``budget`` of so many ``samples``, all equally likely; larger budgets contain smaller ones.

    The draws are those of ``bernoulli_subset``, so that of two subsets with one seed only the weights are different:
    equal weights give nearly the same subset.
    """
    if not 1 <= budget <= samples:
        raise ValueError(f"budget must lie in 1..{samples}, got {budget}")
    return np.sort(np.argsort(_draws(samples, seed), kind="stable")[:budget])


def _draws(samples: int, seed: int) -> np.ndarray:
    """(N,) in [0, 1). With ``default_rng(seed)`` they would repeat the draws of flips planted with the same seed."""
    return np.random.default_rng(derived_seed(seed, 1)).random(samples)


def top(weights: np.ndarray, k: int) -> np.ndarray:
    """Indices of the ``k`` largest weights, largest first; ties in order of index."""
    return np.argsort(-np.asarray(weights), kind="stable")[:k]


def bottom(weights: np.ndarray, k: int) -> np.ndarray:
    """Indices of the ``k`` smallest weights, smallest first; ties in order of index."""
    return np.argsort(np.asarray(weights), kind="stable")[:k]
