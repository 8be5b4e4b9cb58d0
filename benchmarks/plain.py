"""Algorithm 1 in straightforward PyTorch: what a competent user writes without this package.

Texts tokenised beforehand, a packed bidirectional ``nn.LSTM``, ``torch.optim.Adam`` as it comes, and the meta-gradient
by double backward, in batches. It is the yardstick of ``benchmarks.reweight`` and the model that ``benchmarks.peers``
differentiates, and uses nothing of ``sungen_lib``; it is handed its batches and starts from the same parameters, so
that it must arrive at the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from benchmarks.measure import clock


class PackedBiLSTM(nn.Module):
    """The paper's TAM: final states of a bidirectional LSTM, concatenated, and a linear layer."""

    def __init__(self, vocabulary: int, classes: int, *, embedding: int = 100, hidden: int = 150) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, classes)
        bound = 1 / math.sqrt(2 * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, K) logits of (B, L) padded tokens; ``lengths`` (B,) on the CPU, as packing wants them."""
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, (states, _) = self.lstm(packed)
        logits: Tensor = self.linear(torch.cat([states[0], states[1]], dim=1))
        return logits


@dataclass(frozen=True)
class Texts:
    """``tokens``: N tensors of int64 on the device; ``lengths``: (N,) on the CPU; ``labels``: (N,) on the device."""

    tokens: list[Tensor]
    lengths: Tensor
    labels: Tensor

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Padded tokens (B, L), lengths and labels of ``rows``, (B,) on the CPU."""
        tokens = pad_sequence([self.tokens[i] for i in rows.tolist()], batch_first=True)
        return tokens, self.lengths[rows], self.labels[rows.to(self.labels.device)]


def weighted_loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], weights: Tensor) -> Tensor:
    """``sum_j w_j l_j`` over a batch of ``Texts``; ``weights`` (B,)."""
    tokens, lengths, labels = batch
    return (weights * F.cross_entropy(model(tokens, lengths), labels, reduction="none")).sum()


def inner_step(
    model: PackedBiLSTM, optimizer: torch.optim.Optimizer, texts: Texts, weights: Tensor, rows: Tensor
) -> None:
    """One step on the weighted cross-entropy of a batch; ``weights`` (N,), of mean 1."""
    loss = weighted_loss(model, texts.batch(rows), weights[rows.to(weights.device)]) / len(rows)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def outer_gradient(model: PackedBiLSTM, texts: Texts, batches: Sequence[np.ndarray]) -> list[Tensor]:
    """Gradient of the mean reverse cross-entropy over ``batches``, parameter by parameter."""
    model.zero_grad()
    total = sum(len(rows) for rows in batches)
    for rows in batches:
        tokens, lengths, labels = texts.batch(torch.as_tensor(rows))
        probabilities = model(tokens, lengths).softmax(dim=1)
        at_label = probabilities.gather(1, labels[:, None]).squeeze(1)
        (4.0 * (1.0 - at_label).sum() / total).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def meta_gradient(
    model: PackedBiLSTM,
    texts: Texts,
    weights: Tensor,
    outer: Sequence[Tensor],
    batches: Sequence[np.ndarray],
    lr: float = 1e-3,
) -> Tensor:
    """The derivative of ``<outer, theta - lr grad sum_j w_j l_j / S>`` by each weight, (N,), S = sum_j w_j fixed.

    Rows in no batch stay at 0. cuDNN has no second derivative and is off; packed sequences never use oneDNN.
    """
    result = torch.zeros_like(weights)
    parameters, total = list(model.parameters()), weights.sum()
    with torch.backends.cudnn.flags(enabled=False):
        for rows in batches:
            index = torch.as_tensor(rows)
            batch, index = texts.batch(index), index.to(weights.device)
            batch_weights = weights[index].clone().requires_grad_()
            loss = weighted_loss(model, batch, batch_weights) / total
            gradient = torch.autograd.grad(loss, parameters, create_graph=True)
            descent = -lr * sum((v * g).sum() for v, g in zip(outer, gradient, strict=True))
            (result[index],) = torch.autograd.grad(descent, batch_weights)  # type: ignore[arg-type]
    return result


def outer_iteration(
    model: PackedBiLSTM,
    initial: dict[str, Tensor],
    texts: Texts,
    scores: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    inner_batches: Sequence[np.ndarray],
    outer_batches: Sequence[np.ndarray],
    batches: Sequence[np.ndarray],
    lr: float = 1e-3,
) -> dict[str, float]:
    """Train from ``initial`` for one epoch, then one step of ``optimizer`` on ``scores``, (N,), w = sigmoid(scores).

    Returns the seconds of its three parts.
    """
    times = [clock(scores.device)]
    model.load_state_dict(initial)
    weights = scores.detach().sigmoid()
    relative = weights / weights.mean()
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    for rows in inner_batches:
        inner_step(model, adam, texts, relative, torch.as_tensor(rows))
    times.append(clock(scores.device))
    outer = outer_gradient(model, texts, outer_batches)
    times.append(clock(scores.device))
    gradient = meta_gradient(model, texts, weights, outer, batches, lr)
    scores.grad = gradient * weights * (1 - weights)
    optimizer.step()
    times.append(clock(scores.device))
    return dict(zip(("train", "outer_gradient", "meta_gradient"), np.diff(times).tolist(), strict=True))


def outer_optimizer(scores: Tensor) -> torch.optim.Optimizer:
    """Adam with the paper's outer rate; its eps must stay below meta-gradients of any size."""
    return torch.optim.Adam([scores], lr=0.25, eps=1e-20)
