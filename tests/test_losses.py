"""Losses against values worked out by hand, their definitions over the whole label vector, and torch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sungen_lib import losses
from sungen_lib.losses import LOSSES

# softmax = (1/4, 3/4) for label 0 and 1, and (1/2, 1/4, 1/4) below
LOGITS = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])
LOGIT_ROWS = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.lists(st.floats(-8, 8), min_size=k, max_size=k), min_size=1, max_size=5)
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ce", [math.log(4), math.log(4 / 3)]),
        ("rce", [3.0, 1.0]),  # A = -4: 4 (1 - p)
        ("mae", [1.5, 0.5]),
        ("gce", [(1 - 0.25**0.7) / 0.7, (1 - 0.75**0.7) / 0.7]),
        ("sce", [0.1 * math.log(4) + 3.0, 0.1 * math.log(4 / 3) + 1.0]),
        ("smoothed_ce", [0.95 * math.log(4) + 0.05 * math.log(4 / 3), 0.95 * math.log(4 / 3) + 0.05 * math.log(4)]),
    ],
)
def test_literal_values(name: str, expected: list[float]) -> None:
    got = LOSSES[name](LOGITS, LABELS)
    assert got.shape == (2,)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_all_losses_are_covered() -> None:
    assert set(LOSSES) == {"ce", "rce", "mae", "gce", "sce", "smoothed_ce"}


def by_definition(logits: Tensor, labels: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """RCE = -sum_k p_k log q_k with log 0 = A, and MAE = sum_k |p_k - q_k|, over whole vectors."""
    p, q = logits.softmax(-1), F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    log_q = torch.where(q > 0, torch.zeros_like(q), torch.full_like(q, a))
    return -(p * log_q).sum(-1), (p - q).abs().sum(-1)


@given(rows=LOGIT_ROWS, a=st.floats(-12, -0.5))
def test_reverse_cross_entropy_and_mean_absolute_error(rows: list[list[float]], a: float) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    labels = torch.arange(len(rows)) % logits.shape[-1]
    rce, mae = by_definition(logits, labels, a)
    torch.testing.assert_close(losses.reverse_cross_entropy(logits, labels, log_zero=a), rce)
    torch.testing.assert_close(losses.mean_absolute_error(logits, labels), mae)
    torch.testing.assert_close(rce, -a / 2 * mae)  # one objective up to scale; twice at A = -4


@given(rows=LOGIT_ROWS)
def test_symmetry(rows: list[list[float]]) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    k = logits.shape[-1]

    def over_labels(name: str) -> Tensor:
        return sum((LOSSES[name](logits, torch.full((len(rows),), y)) for y in range(k)), torch.zeros(len(rows)))

    torch.testing.assert_close(over_labels("rce"), torch.full((len(rows),), 4.0 * (k - 1), dtype=torch.float64))
    torch.testing.assert_close(over_labels("mae"), torch.full((len(rows),), 2.0 * (k - 1), dtype=torch.float64))


@pytest.mark.parametrize("name", ["ce", "sce", "gce", "smoothed_ce"])
def test_the_others_are_not_symmetric(name: str) -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    first, second = (LOSSES[name](logits, torch.zeros(2).long()) + LOSSES[name](logits, torch.ones(2).long())).tolist()
    assert abs(first - second) > 0.05


def test_generalized_cross_entropy_lies_between_its_limits() -> None:
    logits = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    torch.testing.assert_close(
        losses.generalized_cross_entropy(logits, labels, q=1e-7),
        losses.cross_entropy(logits, labels),
        rtol=1e-5,
        atol=1e-6,
    )
    torch.testing.assert_close(
        losses.generalized_cross_entropy(logits, labels, q=1.0), losses.mean_absolute_error(logits, labels) / 2
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_label_smoothing_is_torch_s(smoothing: float) -> None:
    logits = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(20) % 5
    got = losses.smoothed_cross_entropy(logits, labels, smoothing=smoothing)
    reference = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, labels)
    torch.testing.assert_close(got.mean(), reference)
    target = (1 - smoothing) * F.one_hot(labels, 5) + smoothing / 5
    torch.testing.assert_close(got, -(target * logits.log_softmax(-1)).sum(-1))


@pytest.mark.parametrize("name", LOSSES)
def test_confident_logits_stay_finite(name: str) -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    value = LOSSES[name](logits, torch.tensor([0, 0]))
    value.sum().backward()
    assert bool(torch.isfinite(value).all())
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    assert value[0].item() < value[1].item()
