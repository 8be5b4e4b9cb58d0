"""From weights to a subset: the normalisation's properties, the draw's frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sungen_lib.subset import bernoulli_subset, bottom, inclusion_probabilities, random_subset, top

POSITIVE = st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=60).map(np.array)


@given(weights=POSITIVE, share=st.floats(0, 1))
def test_inclusion_probabilities(weights: np.ndarray, share: float) -> None:
    budget = max(1, round(share * len(weights)))
    inclusion = inclusion_probabilities(weights, budget)
    assert inclusion.sum() == pytest.approx(budget, rel=1e-9)
    assert (inclusion >= 0).all() and (inclusion <= 1).all()
    order = np.argsort(weights)
    assert (np.diff(inclusion[order]) >= 0).all()
    below = inclusion < 1 - 1e-9
    if below.any():
        ratio = inclusion[below] / weights[below]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
        # A sample at the cap has at least the weight that the common factor takes to 1.
        assert (ratio[0] * weights[~below] >= 1 - 1e-8).all()


@given(weights=POSITIVE, factor=st.floats(1e-3, 1e3))
def test_scale_does_not_matter(weights: np.ndarray, factor: float) -> None:
    budget = (len(weights) + 1) // 2
    np.testing.assert_allclose(
        inclusion_probabilities(factor * weights, budget), inclusion_probabilities(weights, budget), rtol=1e-9
    )


def test_literal_values() -> None:
    np.testing.assert_allclose(inclusion_probabilities(np.array([0.2, 0.4, 0.4]), 1), [0.2, 0.4, 0.4])
    # 2 * 0.7 > 1: the first is certain, and the others share the remaining 1 in proportion.
    np.testing.assert_allclose(inclusion_probabilities(np.array([0.7, 0.2, 0.1]), 2), [1.0, 2 / 3, 1 / 3])
    # Capping one takes the next above 1 too: 4/20 * 10, then 3/10 * 6, then 2/4 * 2.
    np.testing.assert_allclose(inclusion_probabilities(np.array([2.0, 10, 6, 1, 1]), 4), [1, 1, 1, 0.5, 0.5])
    np.testing.assert_allclose(inclusion_probabilities(np.array([0.0, 3, 1, 0]), 1), [0, 0.75, 0.25, 0])


def test_a_full_budget_takes_everything() -> None:
    weights = np.random.default_rng(0).random(1000) + 1e-6
    np.testing.assert_allclose(inclusion_probabilities(weights, 1000), 1.0)
    np.testing.assert_array_equal(bernoulli_subset(np.ones(100_000), 100_000, seed=0), np.arange(100_000))


@pytest.mark.parametrize("weights", [[0.5, -0.1], [0.5, float("nan")], [float("inf"), 1.0]])
def test_impossible_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and non-negative"):
        inclusion_probabilities(np.array(weights), 1)


@pytest.mark.parametrize("budget", [0, -1, 3, 4])
def test_impossible_budgets(budget: int) -> None:
    with pytest.raises(ValueError, match=rf"1\.\.2, .*got {budget}"):
        inclusion_probabilities(np.array([0.5, 0.0, 0.1]), budget)


def test_draws_follow_the_probabilities() -> None:
    weights = np.array([0.9, 0.5, 0.1, 0.05, 0.4, 0.05])
    expected = inclusion_probabilities(weights, 3)
    assert expected.max() == 1.0 and expected.min() < 0.2
    seeds = 4000
    counts, sizes = np.zeros(6), []
    for seed in range(seeds):
        drawn = bernoulli_subset(weights, 3, seed=seed)
        counts[drawn] += 1
        sizes.append(len(drawn))
    np.testing.assert_allclose(counts / seeds, expected, atol=4 * np.sqrt(0.25 / seeds))
    assert np.mean(sizes) == pytest.approx(3, abs=0.1)
    assert np.var(sizes) == pytest.approx((expected * (1 - expected)).sum(), rel=0.15)  # independent draws


def test_draws_are_repeatable_and_sorted() -> None:
    weights = np.random.default_rng(1).random(5000)
    drawn = bernoulli_subset(weights, 500, seed=3)
    np.testing.assert_array_equal(drawn, bernoulli_subset(weights, 500, seed=3))
    assert not np.array_equal(drawn, bernoulli_subset(weights, 500, seed=4))
    assert (np.diff(drawn) > 0).all()
    assert abs(len(drawn) - 500) < 5 * np.sqrt(500)
    assert weights[drawn].mean() > weights.mean() + 0.1


def test_top_and_bottom() -> None:
    weights = np.array([0.3, 0.9, 0.1, 0.9, 0.1])
    assert top(weights, 3).tolist() == [1, 3, 0]
    assert bottom(weights, 3).tolist() == [2, 4, 0]


@pytest.mark.parametrize("seed", range(3))
def test_draws_do_not_depend_on_flips_planted_with_the_same_seed(seed: int) -> None:
    """Users plant flips with ``default_rng(0)`` and draw with ``seed=0``: one stream for both kept nearly all flips."""
    flipped = np.random.default_rng(seed).random(30_000) < 0.2
    weights = np.where(flipped, 0.3, 0.9)
    drawn = bernoulli_subset(weights, 15_000, seed=seed)
    assert len(drawn) == pytest.approx(15_000, abs=4 * np.sqrt(15_000 / 2))
    assert flipped[drawn].mean() == pytest.approx(0.2 * 0.3 / (0.2 * 0.3 + 0.8 * 0.9), abs=0.01)


@given(samples=st.integers(1, 300), seed=st.integers(0, 50), share=st.floats(0, 1), smaller=st.floats(0, 1))
def test_a_random_subset_has_its_size_and_contains_the_smaller_ones(
    samples: int, seed: int, share: float, smaller: float
) -> None:
    budget = max(1, round(share * samples))
    rows = random_subset(samples, budget, seed=seed)
    assert len(rows) == budget and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < samples
    assert set(random_subset(samples, max(1, round(smaller * budget)), seed=seed)) <= set(rows)


def test_a_random_subset_takes_every_sample_equally_often() -> None:
    taken = np.bincount(np.concatenate([random_subset(10, 3, seed=seed) for seed in range(4_000)]), minlength=10)
    np.testing.assert_allclose(taken / 4_000, 0.3, atol=4 * np.sqrt(0.3 * 0.7 / 4_000))


def test_equal_weights_draw_nearly_the_random_subset() -> None:
    for seed in range(5):
        drawn = bernoulli_subset(np.full(10_000, 0.7), 1_000, seed=seed)
        random = random_subset(10_000, 1_000, seed=seed)
        assert len(set(drawn) & set(random)) == min(len(drawn), len(random))


@pytest.mark.parametrize("budget", [0, 11])
def test_no_random_subset_of_that_size(budget: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.10"):
        random_subset(10, budget, seed=0)
