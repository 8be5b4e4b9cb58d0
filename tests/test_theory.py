"""The exact small cases of the paper's theory against hand computation, brute force and the proofs' own identities."""

from itertools import product
from math import comb, log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial

from sungen_lib.losses import LOSSES
from sungen_lib.paper import theory
from sungen_lib.paper.theory import certain, loss_table, minimisers, noisy, risks, same_minimisers, within_allowed_rates
from sungen_lib.texts.noise import uniform_noise

CLEAN = certain(np.array([0.4, 0.3, 0.3]), np.array([0, 1, 2]), 3)
TABLES = theory.tables(3, 3, 5)
LOSS_TABLES = {name: loss_table(TABLES, LOSSES[name]) for name in ("ce", "rce", "mae")}

WITHIN = {
    "uniform": uniform_noise(0.4, 3),
    "uniform, near the limit": uniform_noise(0.66, 3),
    "class-dependent": np.array([[0.6, 0.4, 0.0], [0.2, 0.6, 0.2], [0.0, 0.4, 0.6]]),
    "non-uniform": uniform_noise(np.array([0.0, 0.4, 0.6]), 3),
}
BEYOND = {
    "uniform": uniform_noise(0.68, 3),
    "class-dependent": np.array([[0.4, 0.6, 0.0], [0.2, 0.6, 0.2], [0.0, 0.4, 0.6]]),
    "non-uniform": uniform_noise(np.array([0.0, 0.4, 0.8]), 3),
}
RATES = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3)


def random_family(seed: int, classifiers: int = 6, points: int = 4, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3.0, size=(classifiers, points, classes))


def random_joint(seed: int, points: int = 4, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(points * classes)).reshape(points, classes)


# --- distributions ----------------------------------------------------------------------------------------------------


def test_uniform_noise_literal() -> None:
    np.testing.assert_allclose(uniform_noise(0.4, 3), [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    by_input = uniform_noise(np.array([0.0, 0.3]), 2)
    np.testing.assert_allclose(by_input, [[[1.0, 0.0], [0.0, 1.0]], [[0.7, 0.3], [0.3, 0.7]]])


def test_certain_and_noisy_literal() -> None:
    clean = certain(np.array([0.75, 0.25]), np.array([1, 0]), 2)
    np.testing.assert_allclose(clean, [[0, 0.75], [0.25, 0]])
    np.testing.assert_allclose(noisy(clean, np.array([[0.9, 0.1], [0.2, 0.8]])), [[0.15, 0.6], [0.225, 0.025]])
    by_input = uniform_noise(np.array([0.4, 0.0]), 2)
    np.testing.assert_allclose(noisy(clean, by_input), [[0.3, 0.45], [0.25, 0]])


@given(st.floats(0.0, 1.0), st.integers(2, 6))
def test_uniform_limit(rate: float, classes: int) -> None:
    assume(abs(rate - (classes - 1) / classes) > 1e-6)
    assert within_allowed_rates(uniform_noise(rate, classes)) == (rate < (classes - 1) / classes)


@given(st.lists(RATES.filter(lambda row: sum(row) > 0), min_size=3, max_size=3))
def test_class_dependent_limit(rows: list[list[float]]) -> None:
    transition = np.array([np.array(row) / sum(row) for row in rows])
    wrong = 1 - np.diagonal(transition)
    margins = [1 - wrong[i] - transition[i, j] for i in range(3) for j in range(3) if i != j]
    assume(min(abs(margin) for margin in margins) > 1e-6)
    assert within_allowed_rates(transition) == all(margin > 0 for margin in margins)


def test_one_input_beyond_the_limit_is_enough() -> None:
    assert within_allowed_rates(uniform_noise(np.array([0.6, 0.6]), 3))
    assert not within_allowed_rates(uniform_noise(np.array([0.6, 0.7]), 3))


# --- families ---------------------------------------------------------------------------------------------------------


def test_tables_are_all_of_them() -> None:
    family = theory.tables(2, 3, 4)
    probabilities = np.exp(family)
    assert family.shape == (comb(6, 2) ** 2, 2, 3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0)
    assert len(np.unique(probabilities.round(9), axis=0)) == len(family)
    np.testing.assert_allclose(probabilities * 4, (probabilities * 4).round(), atol=1e-12)
    assert ((probabilities == 1).sum(axis=(1, 2)) == 2).sum() == 9  # the certain labellings


def test_thresholds_literal() -> None:
    family = theory.thresholds(3)
    np.testing.assert_array_equal(
        family.argmax(axis=-1), [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]]
    )
    np.testing.assert_array_equal(np.exp(family).max(axis=-1), 1.0)
    np.testing.assert_array_equal(np.exp(family).min(axis=-1), 0.0)


def test_logistic_is_the_sigmoid() -> None:
    weights, inputs = np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[3.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    logits = theory.logistic(weights, inputs)
    probability = np.exp(logits)[..., 1] / np.exp(logits).sum(axis=-1)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-np.array([[1.0, -2.0, -1.0], [1.5, 0.0, 0.5]]))))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_weighted_posterior_minimises_the_weighted_cross_entropy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joint, weights = random_joint(seed), rng.uniform(size=(4, 3))
    best = theory.weighted_posterior(joint, weights[None])
    others = best + rng.normal(scale=0.3, size=(50, 4, 3))

    def weighted_cross_entropy(logits: np.ndarray) -> np.ndarray:
        log_probability = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return -(weights * joint * log_probability).sum(axis=(1, 2))

    np.testing.assert_allclose(np.exp(best).sum(axis=-1), 1.0)
    assert (weighted_cross_entropy(others) > weighted_cross_entropy(best)).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.6))
def test_the_right_weights_train_the_clean_posterior_on_noisy_labels(seed: int, rate: float) -> None:
    """Theorem 1's existence (Appendix A.3): w* is the clean density over the noisy one, up to a factor."""
    clean = random_joint(seed)
    synthetic = theory.noisy(clean, uniform_noise(rate, 3))
    right = clean / synthetic
    (trained,) = np.exp(theory.weighted_posterior(synthetic, right[None] / right.max()))
    np.testing.assert_allclose(trained, clean / clean.sum(axis=1, keepdims=True), atol=1e-12)


def test_weighted_posterior_refuses_an_input_without_weight() -> None:
    weights = np.ones((1, 3, 3))
    weights[0, 1] = 0.0
    with pytest.raises(ValueError, match="all zero"):
        theory.weighted_posterior(CLEAN, weights)


# --- losses and risks -------------------------------------------------------------------------------------------------


def test_loss_tables_by_hand() -> None:
    logits = random_family(0)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(loss_table(logits, LOSSES["ce"]), -np.log(p), rtol=1e-10)
    np.testing.assert_allclose(loss_table(logits, LOSSES["rce"]), 4 * (1 - p), rtol=1e-10)
    np.testing.assert_allclose(loss_table(logits, LOSSES["mae"]), 2 * (1 - p), rtol=1e-10)


def test_zero_probability_costs_what_it_should() -> None:
    never = np.array([[[0.0, -np.inf]]])
    np.testing.assert_array_equal(loss_table(never, LOSSES["ce"]), [[[0.0, np.inf]]])
    np.testing.assert_array_equal(loss_table(never, LOSSES["rce"]), [[[0.0, 4.0]]])


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_symmetric_losses_sum_to_their_constant(seed: int, classes: int) -> None:
    logits = random_family(seed, classes=classes)
    np.testing.assert_allclose(loss_table(logits, LOSSES["rce"]).sum(axis=-1), 4 * (classes - 1), rtol=1e-12)
    np.testing.assert_allclose(loss_table(logits, LOSSES["mae"]).sum(axis=-1), 2 * (classes - 1), rtol=1e-12)
    assert np.ptp(loss_table(logits, LOSSES["ce"]).sum(axis=-1)) > 0.1


def test_risks_by_hand_and_impossible_pairs_cost_nothing() -> None:
    table = np.array([[[1.0, np.inf], [2.0, 5.0]], [[3.0, 0.0], [0.0, 7.0]]])
    np.testing.assert_allclose(risks(table, np.array([[0.5, 0.0], [0.25, 0.25]])), [2.25, 3.25])
    assert risks(table, np.array([[0.5, 0.1], [0.2, 0.2]]))[0] == np.inf


def test_minimisers_is_a_set() -> None:
    np.testing.assert_array_equal(minimisers(np.array([2.0, 1.0, 3.0, 1.0 + 1e-12])), [1, 3])


def test_accuracy_literal() -> None:
    joint = np.array([[0.3, 0.1], [0.0, 0.6]])
    logits = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(theory.accuracy(logits, joint), [0.9, 0.1, 0.3])


# --- Property 1 -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_the_proof_for_uniform_noise(seed: int, rate: float) -> None:
    """Appendix A.2: noisy risk = (K - 1 - K eta) / (K - 1) clean risk + eta C / (K - 1), here K = 3, C = 8."""
    table, joint = loss_table(random_family(seed), LOSSES["rce"]), random_joint(seed)
    expected = (2 - 3 * rate) / 2 * risks(table, joint) + rate * 8 / 2
    np.testing.assert_allclose(risks(table, noisy(joint, uniform_noise(rate, 3))), expected, atol=1e-9)


@pytest.mark.parametrize("loss", ["rce", "mae"])
@pytest.mark.parametrize("noise", WITHIN)
def test_robust_minimisers_coincide_within_the_rates(loss: str, noise: str) -> None:
    assert within_allowed_rates(WITHIN[noise])
    assert same_minimisers(LOSS_TABLES[loss], CLEAN, WITHIN[noise])


@pytest.mark.parametrize("loss", ["rce", "mae"])
@pytest.mark.parametrize("noise", BEYOND)
def test_robust_minimisers_part_beyond_the_rates(loss: str, noise: str) -> None:
    assert not within_allowed_rates(BEYOND[noise])
    assert not same_minimisers(LOSS_TABLES[loss], CLEAN, BEYOND[noise])


@pytest.mark.parametrize("noise", WITHIN)
def test_cross_entropy_minimisers_part_within_the_rates(noise: str) -> None:
    assert not same_minimisers(LOSS_TABLES["ce"], CLEAN, WITHIN[noise])


@settings(max_examples=40, deadline=None)
@given(st.lists(RATES.filter(lambda row: sum(row) > 0), min_size=3, max_size=3))
def test_class_dependent_noise_decides_by_the_limit_alone(rows: list[list[float]]) -> None:
    transition = np.array([np.array(row) / sum(row) for row in rows])
    gaps = np.diagonal(transition)[:, None] - transition + np.eye(3)
    assume(np.abs(gaps).min() > 1e-6)
    assert same_minimisers(LOSS_TABLES["rce"], CLEAN, transition) == within_allowed_rates(transition)


def test_cross_entropy_moves_to_the_noisy_posterior() -> None:
    after = noisy(CLEAN, WITHIN["class-dependent"])
    (best,) = minimisers(risks(LOSS_TABLES["ce"], after))
    np.testing.assert_allclose(np.exp(TABLES[best]), WITHIN["class-dependent"], atol=1e-12)


def test_at_the_limit_every_classifier_is_a_minimiser() -> None:
    assert len(minimisers(risks(LOSS_TABLES["rce"], noisy(CLEAN, uniform_noise(2 / 3, 3))))) == len(TABLES)


def test_without_zero_clean_loss_only_uniform_noise_is_harmless() -> None:
    table = loss_table(theory.thresholds(3), LOSSES["rce"])
    clean = certain(np.array([0.35, 0.25, 0.4]), np.array([0, 1, 0]), 2)
    assert risks(table, clean).min() == pytest.approx(1.0)  # the best rule is "always 0": 4 x 0.25
    for transition, expected in (
        (uniform_noise(0.4, 2), True),
        (np.array([[0.6, 0.4], [0.0, 1.0]]), False),
        (uniform_noise(np.array([0.4, 0.0, 0.4]), 2), False),
    ):
        assert within_allowed_rates(transition)
        assert same_minimisers(table, clean, transition) == expected


def test_convex_losses_lose_accuracy_where_symmetric_ones_do_not() -> None:
    """Long & Servedio (2010): a far point, a puller and two penalisers, all of class 1, no intercept."""
    inputs = np.array([[1.0, 0.0], [0.05, 0.25], [0.05, -0.05]])
    clean = certain(np.array([0.25, 0.25, 0.5]), np.array([1, 1, 1]), 2)
    angles = np.deg2rad(np.arange(0, 360, 6))
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    family = theory.logistic(np.concatenate([norm * directions for norm in 2.0 ** np.arange(-1, 8)]), inputs)
    after = noisy(clean, uniform_noise(0.3, 2))
    for loss, expected in (("ce", 0.5), ("rce", 1.0), ("mae", 1.0)):
        table = loss_table(family, LOSSES[loss])
        assert theory.accuracy(family[minimisers(risks(table, clean))], clean) == pytest.approx(1.0)
        assert theory.accuracy(family[minimisers(risks(table, after))], clean) == pytest.approx(expected)


# --- Theorem 2 --------------------------------------------------------------------------------------------------------


def test_outcomes_are_multinomial() -> None:
    probabilities = np.array([0.5, 0.3, 0.2])
    counts, chances = theory.outcomes(probabilities, 6)
    assert len(counts) == comb(8, 2) and (counts.sum(axis=1) == 6).all() and (counts >= 0).all()
    np.testing.assert_allclose(chances, multinomial(6, probabilities).pmf(counts), rtol=1e-10)
    assert chances.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("epsilon", [0.0, 0.4])
def test_gap_equals_brute_force_over_every_sequence(epsilon: float) -> None:
    joint = random_joint(5, points=2, classes=2)
    table = loss_table(random_family(7, points=2, classes=2), LOSSES["rce"])
    population = [sum(joint[x, y] * row[x, y] for x in (0, 1) for y in (0, 1)) for row in table]
    pairs = list(product((0, 1), (0, 1)))
    gap_mean, tail = 0.0, 0.0
    for drawn in product(pairs, repeat=4):
        empirical = [sum(row[x, y] for x, y in drawn) / 4 for row in table]
        worst = max(r for r, e in zip(population, empirical, strict=True) if e <= min(empirical) + epsilon + 1e-9)
        chance = float(np.prod([joint[x, y] for x, y in drawn]))
        gap_mean += chance * (worst - min(population))
        tail += chance * (worst - min(population) > 0.5)
    gaps, chances = theory.generalization_gap(table, joint, 4, epsilon=epsilon)
    assert gaps @ chances == pytest.approx(gap_mean, abs=1e-12)
    assert chances[gaps > 0.5].sum() == pytest.approx(tail, abs=1e-12)
    assert 0 < tail < 1


def test_bound_literal() -> None:
    bound = theory.generalization_bound(64, 50, loss_range=4.0, delta=0.05, epsilon=0.1)
    assert bound == pytest.approx(0.1 + 4 * sqrt(2 * log(1280) / 50))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    samples=st.sampled_from([2, 8, 24]),
    delta=st.sampled_from([0.05, 0.5, 0.95]),
    epsilon=st.sampled_from([0.0, 0.2]),
)
def test_the_bound_fails_no_more_often_than_it_says(seed: int, samples: int, delta: float, epsilon: float) -> None:
    joint = random_joint(seed, points=2, classes=2)
    table = loss_table(random_family(seed, classifiers=2, points=2, classes=2), LOSSES["rce"])
    gaps, chances = theory.generalization_gap(table, joint, samples, epsilon=epsilon)
    bound = theory.generalization_bound(2, samples, loss_range=4.0, delta=delta, epsilon=epsilon)
    assert chances[gaps > bound].sum() <= delta


def test_a_kappa_that_ignores_the_loss_range_breaks_the_bound() -> None:
    """Two constant classifiers, a noisy coin, losses in [0, 4]: kappa = 4 bounds the gap, kappa = 0.2 does not."""
    table = loss_table(np.array([[[0.0, -np.inf]], [[-np.inf, 0.0]]]), LOSSES["rce"])
    gaps, chances = theory.generalization_gap(table, np.array([[0.6, 0.4]]), 10)
    true, false = (theory.generalization_bound(2, 10, loss_range=kappa, delta=0.05) for kappa in (4.0, 0.2))
    assert chances[gaps > true].sum() == 0.0
    assert chances[gaps > false].sum() == pytest.approx(sum(comb(10, k) * 0.6**k * 0.4 ** (10 - k) for k in range(6)))


# --- Theorem 3 --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
def test_distance_bound_on_quadratics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(3, 3))
    hessian = factor @ factor.T + 0.1 * np.eye(3)
    curvatures, axes = np.linalg.eigh(hessian)
    away = rng.normal(size=3)
    excess = away @ hessian @ away / 2
    assert np.linalg.norm(away) <= theory.distance_bound(excess, curvatures[0]) * (1 + 1e-9)
    slow = 0.7 * axes[:, 0]  # along the flattest axis the bound is attained
    assert theory.distance_bound(slow @ hessian @ slow / 2, curvatures[0]) == pytest.approx(0.7, rel=1e-6)
    if curvatures[1] > 1.01 * curvatures[0]:  # a larger mu than the risk has is a broken promise
        assert theory.distance_bound(slow @ hessian @ slow / 2, curvatures[1]) < 0.7


# What a logistic regression with one parameter cannot satisfy at once: x = 4 is of class 0, x = 1 of class 1.
GROUPS = (certain(np.array([0.6]), np.array([0]), 2), certain(np.array([0.4]), np.array([1]), 2))
POSITIONS = (np.array([4.0]), np.array([1.0]))


def group_risks(loss: str) -> list[theory.Curve]:
    return [theory.logistic_risk(group, x, LOSSES[loss]) for group, x in zip(GROUPS, POSITIONS, strict=True)]


def test_logistic_risk_is_the_risk_of_the_logistic_family() -> None:
    joint, inputs = random_joint(3, points=3, classes=2), np.array([-1.0, 0.5, 3.0])
    theta = np.linspace(-2, 2, 7)
    family = theory.logistic(theta[:, None], inputs[:, None])
    for name in ("ce", "rce"):
        expected = risks(loss_table(family, LOSSES[name]), joint)
        got = theory.logistic_risk(joint, inputs, LOSSES[name])(torch.as_tensor(theta))
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_derivatives_of_a_polynomial() -> None:
    theta = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    once = theory.derivative(lambda t: t**3)
    np.testing.assert_allclose(once(theta).detach(), [3.0, 0.75, 12.0])
    np.testing.assert_allclose(theory.derivative(once)(theta).detach(), [-6.0, 3.0, 12.0])


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_weight_of_inverts_the_inner_problem(weight: float) -> None:
    def weighted_cross_entropy(theta: float) -> float:
        return 0.5 * 0.6 * np.log1p(np.exp(4 * theta)) + weight * 0.4 * np.log1p(np.exp(-theta))

    inner = minimize_scalar(weighted_cross_entropy, bounds=(-5, 0), options={"xatol": 1e-10}, method="bounded").x
    far, near = group_risks("ce")
    theta = torch.tensor([inner], dtype=torch.float64)
    assert theory.weight_of(lambda t: 0.5 * far(t), near)(theta).item() == pytest.approx(weight, rel=1e-5)


def test_curvature_is_that_of_the_outer_risk_by_weight() -> None:
    """Against divided differences over the uneven weights that belong to even thetas."""
    (far, near), (far_outer, near_outer) = group_risks("ce"), group_risks("rce")
    weight = theory.weight_of(far, near)
    theta = torch.linspace(-1.0, -0.2, 4001, dtype=torch.float64)
    w = weight(theta).detach().numpy()
    risk = (far_outer(theta) + near_outer(theta)).numpy()
    expected = np.gradient(np.gradient(risk, w), w)[2:-2]
    got = theory.curvature(lambda t: far_outer(t) + near_outer(t), weight)(theta).detach().numpy()[2:-2]
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_weights_count_up_to_a_factor(seed: int, factor: float) -> None:
    """Why no outer risk is strongly convex in all weights, as Theorem 3 would have it: it is flat along rays."""
    joint, weights = random_joint(seed), np.random.default_rng(seed).uniform(0.1, 1.0, size=(1, 4, 3))
    np.testing.assert_allclose(
        theory.weighted_posterior(joint, factor * weights), theory.weighted_posterior(joint, weights), atol=1e-12
    )
