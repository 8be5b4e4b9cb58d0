"""Per-sample losses, ``(logits, labels) -> (batch,)``.

``logits``: (batch, K) float; ``labels``: (batch,) int64 in [0, K). p is the softmax of the logits, p_y its value at
the label. A loss is *symmetric* (Eqn. 3; Ghosh et al. 2017) if its sum over all K labels is a constant: reverse
cross-entropy and mean absolute error are, cross-entropy is not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def _label_probability(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log p_y``; in [0, inf)."""
    return F.cross_entropy(logits, labels, reduction="none")


def reverse_cross_entropy(logits: Tensor, labels: Tensor, *, log_zero: float = -4.0) -> Tensor:
    """``-sum_k p_k log q_k`` with q one-hot and log 0 replaced by ``log_zero``, the paper's A (Section 3).

    Equals ``-A (1 - p_y)``, in [0, -A]; the sum over labels is ``-(K - 1) A``. A = -4 as in Wang et al. (2019); the
    paper does not print its A.
    """
    return -log_zero * (1.0 - _label_probability(logits, labels))


def mean_absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """``sum_k |p_k - q_k| = 2 (1 - p_y)`` (Ghosh et al. 2017); in [0, 2]. Proportional to reverse cross-entropy."""
    return 2.0 * (1.0 - _label_probability(logits, labels))


def generalized_cross_entropy(logits: Tensor, labels: Tensor, *, q: float = 0.7) -> Tensor:
    """``(1 - p_y^q) / q`` (Zhang & Sabuncu 2018, Eqn. 6): between cross-entropy (q -> 0) and 1 - p_y (q = 1)."""
    # p_y^q = exp(-q CE), whose gradient stays finite where p_y rounds to 0.
    return -(-q * cross_entropy(logits, labels)).expm1() / q


def symmetric_cross_entropy(
    logits: Tensor, labels: Tensor, *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0
) -> Tensor:
    """``alpha CE + beta RCE`` (Wang et al. 2019, Eqn. 7; their values for CIFAR-10)."""
    return alpha * cross_entropy(logits, labels) + beta * reverse_cross_entropy(logits, labels, log_zero=log_zero)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy against ``(1 - smoothing) one-hot + smoothing / K`` (Szegedy et al. 2016; Table 8)."""
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "rce": reverse_cross_entropy,
    "mae": mean_absolute_error,
    "gce": generalized_cross_entropy,
    "sce": symmetric_cross_entropy,
    "smoothed_ce": smoothed_cross_entropy,
}
