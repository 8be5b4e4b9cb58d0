"""The paper's theory (Section 4; Appendices A.2 to A.4 and B) on cases small enough to be exact: all is enumerated.

A world has n inputs and K classes. Its clean distribution is ``joint``: (n, K), the probability of (input, label).
A ``transition`` gives the label noise: entry [i, j], or [x, i, j], is the probability that label i becomes j (at input
x). A finite family of F classifiers is ``logits``: (F, n, K) float64; minus infinity stands for probability 0. Losses
are those the TAMs are trained with. Where the paper is imprecise, the docstrings here state our reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sungen_lib.losses import Loss

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Curve = Callable[[Tensor], Tensor]  # a differentiable function of theta, one at a time: (F,) -> (F,)
TIE = 1e-9  # risks closer than this count as equal; in these cases different ones differ by far more


def certain(inputs: Array, labels: Indices, classes: int) -> Array:
    """(n, K) joint distribution of inputs with probabilities ``inputs``, (n,), and certain ``labels``, (n,)."""
    return np.asarray(inputs, dtype=np.float64)[:, None] * np.eye(classes)[np.asarray(labels)]


def noisy(joint: Array, transition: Array) -> Array:
    """(n, K) joint distribution of inputs and noisy labels."""
    return (joint[:, None, :] @ transition).reshape(joint.shape)


def within_allowed_rates(transition: Array) -> bool:
    """Whether every label is likelier to stay than to become any other one: the condition of all three proofs.

    It reads ``eta < (K - 1) / K`` for uniform noise, ``eta_x < (K - 1) / K`` for non-uniform noise, and
    ``eta_ij < 1 - eta_i`` for class-dependent noise (Appendix A.2).
    """
    stays = np.diagonal(transition, axis1=-2, axis2=-1)
    leaves = np.where(np.eye(transition.shape[-1], dtype=bool), -np.inf, transition).max(axis=-1)
    return bool((leaves < stays - TIE).all())


def tables(points: int, classes: int, parts: int) -> Array:
    """Every table of class probabilities that are multiples of 1 / ``parts``, as logits (F, points, classes).

    Includes each certain labelling, so that zero robust loss can be reached.
    """
    steps = [p for p in product(range(parts + 1), repeat=classes) if sum(p) == parts]
    with np.errstate(divide="ignore"):
        rows = np.log(np.array(steps) / parts)
    family: Array = rows[np.array(list(product(range(len(rows)), repeat=points)))]
    return family


def thresholds(points: int) -> Array:
    """Every certain two-class labelling of ordered inputs that changes class at most once: (2 points, points, 2)."""
    below = np.arange(points) < np.arange(points)[:, None]
    labels = np.concatenate([below, ~below]).astype(int)
    return np.where(np.eye(2, dtype=bool)[labels], 0.0, -np.inf)


def logistic(weights: Array, inputs: Array) -> Array:
    """Logistic regressions, class 1 at sigmoid(w · x): ``weights`` (F, d), ``inputs`` (n, d) -> logits (F, n, 2)."""
    scores = weights @ inputs.T
    return np.stack([np.zeros_like(scores), scores], axis=-1)


def weighted_posterior(joint: Array, weights: Array) -> Array:
    """theta_hat(w): the exact minimiser of the weighted cross-entropy (Eqn. 2) over all tables, as logits (W, n, K).

    ``weights``: (W, n, K) in [0, 1], one a pair of input and label, not all zero at any input (``ValueError``).
    """
    mass = weights * joint
    if (mass.sum(axis=-1) <= 0).any():
        raise ValueError("the weights of an input are all zero: its prediction is undetermined")
    with np.errstate(divide="ignore"):
        logits: Array = np.log(mass / mass.sum(axis=-1, keepdims=True))
    return logits


def loss_table(logits: Array, loss: Loss) -> Array:
    """(F, n, K): the loss of classifier f at input x if the label were k. Its sum over k is the C of Eqn. 3."""
    family, points, classes = logits.shape
    flat = torch.as_tensor(logits, dtype=torch.float64).reshape(-1, classes)
    columns = [loss(flat, torch.full((len(flat),), label)).numpy() for label in range(classes)]
    return np.stack(columns, axis=-1).reshape(family, points, classes)


def risks(table: Array, joint: Array) -> Array:
    """(F,) exact expected losses under ``joint``; a pair that never occurs adds 0, even if its loss is infinite."""
    occurs = joint > 0
    return table[:, occurs] @ joint[occurs]


def minimisers(values: Array) -> Indices:
    """Sorted indices of all minima: an arg min is a set."""
    return np.flatnonzero(values <= values.min() + TIE)


def same_minimisers(table: Array, joint: Array, transition: Array) -> bool:
    """Property 1 for one loss and one noise: whether clean and noisy risk have the same set of minimisers."""
    clean, after = risks(table, joint), risks(table, noisy(joint, transition))
    return np.array_equal(minimisers(clean), minimisers(after))


def accuracy(logits: Array, joint: Array) -> Array:
    """(F,) probability under ``joint`` that a classifier's likeliest class (the first of equals) is the label."""
    return np.array(joint[np.arange(len(joint)), logits.argmax(axis=-1)].sum(axis=1))


def outcomes(probabilities: Array, samples: int) -> tuple[Indices, Array]:
    """Every multinomial outcome of ``samples`` draws from C cells: counts (O, C) and their probabilities (O,)."""
    cells = len(probabilities)
    bars = np.array(list(combinations(range(samples + cells - 1), cells - 1)))
    counts = np.diff(bars, prepend=-1, append=samples + cells - 1) - 1
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, samples + 1)))])
    log_ways = log_factorial[samples] - log_factorial[counts].sum(axis=1)
    return counts, np.exp(log_ways + counts @ np.log(probabilities))


def generalization_gap(table: Array, joint: Array, samples: int, *, epsilon: float = 0.0) -> tuple[Array, Array]:
    """Exact distribution of Theorem 2's left side minus the first term of its right: values (O,), probabilities (O,).

    For every possible outer set of ``samples`` pairs from ``joint``: population risk of the epsilon-approximate
    empirical minimiser (the worst of them, where there are several) minus the least population risk in the family.
    ``table``: (W, n, K) losses of the finite family theta_hat(w); it does not depend on the outer set.
    """
    occurs = joint > 0
    counts, probabilities = outcomes(joint[occurs], samples)
    population = risks(table, joint)
    empirical = counts @ table[:, occurs].T / samples
    chosen = empirical <= empirical.min(axis=1, keepdims=True) + epsilon + TIE
    return np.where(chosen, population, -np.inf).max(axis=1) - population.min(), probabilities


def generalization_bound(family: int, samples: int, *, loss_range: float, delta: float, epsilon: float = 0.0) -> float:
    """``epsilon + B sqrt(2 ln(|W| / delta) / M)``: Theorem 2 with its constants stated.

    M is the number of samples in the outer set, drawn independently of the training set, and the loss lies in an
    interval of length B. The paper writes kappa for B without saying what it is, and M also for the bound of the
    loss. Its proof joins two events of probability delta. Counting them once is enough: the |W| - 1 other weights must
    not look too good and the best must not look too bad, |W| one-sided events at delta / |W| each (Hoeffding 1963).
    A two-sided union would give ln(2 |W| / delta).
    """
    return epsilon + loss_range * math.sqrt(2 * math.log(family / delta) / samples)


def distance_bound(excess: float | Array, mu: float) -> Array:
    """``sqrt(2 epsilon / mu)``: largest distance from its minimum where a mu-strongly convex risk is within epsilon."""
    return np.sqrt(2 * np.asarray(excess) / mu)


def logistic_risk(joint: Array, inputs: Array, loss: Loss) -> Curve:
    """Risk of ``logistic`` with one parameter theta, under ``joint`` (n, 2) of the scalar ``inputs`` (n,)."""
    pairs = [(float(x), k, float(mass)) for x, row in zip(inputs, joint, strict=True) for k, mass in enumerate(row)]

    def risk(theta: Tensor) -> Tensor:
        total = torch.zeros_like(theta)
        for x, label, mass in pairs:
            logits = torch.stack([torch.zeros_like(theta), x * theta], dim=-1)
            total = total + mass * loss(logits, torch.full(theta.shape, label))
        return total

    return risk


def derivative(curve: Curve) -> Curve:
    """The derivative with respect to theta, exact and itself a ``Curve``."""

    def slope(theta: Tensor) -> Tensor:
        theta = theta if theta.requires_grad else theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(curve(theta).sum(), theta, create_graph=True)
        return gradient

    return slope


def weight_of(fixed: Curve, weighed: Curve) -> Curve:
    """The inverse of theta_hat(w): the w at which theta minimises ``fixed + w weighed``, both convex in theta."""

    def weight(theta: Tensor) -> Tensor:
        return -derivative(fixed)(theta) / derivative(weighed)(theta)

    return weight


def curvature(risk: Curve, weight: Curve) -> Curve:
    """d^2 ``risk(theta_hat(w))`` / dw^2 as a function of theta_hat; its least value is Theorem 3's mu.

    Theorem 3 cannot hold for all weights at once: ``c w`` has the same theta_hat as w, so the risk is flat along every
    ray. It is taken on a segment of weights that crosses each ray once.
    """

    def first(theta: Tensor) -> Tensor:
        return derivative(risk)(theta) / derivative(weight)(theta)

    def second(theta: Tensor) -> Tensor:
        return derivative(first)(theta) / derivative(weight)(theta)

    return second
