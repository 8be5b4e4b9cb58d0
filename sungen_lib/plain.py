"""Algorithm 1 of SunGen on one page of plain PyTorch. Read this first; the last function is the algorithm.

A language model wrote the training texts, so some labels are wrong. Algorithm 1 learns a weight in [0, 1] for each
text, without human labels. The inner loop trains a tiny task model (TAM) on the weighted texts. The outer loop scores
the trained TAM by a loss that wrong labels disturb little, and moves each weight so that this loss falls.

``reweight``, ``derivative`` and ``train`` compute the same several times faster; a test compares the weights.

Shapes: N texts, K labels; B texts in a batch, the longest of L tokens. ``rows``, (B,) int64 on the CPU, are the indices
of a batch's texts. theta stands for the TAM's parameters, l_i for the cross-entropy of text i, w_i for its weight.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

Batch = tuple[Tensor, Tensor, Tensor]  # padded tokens (B, L), lengths (B,) on the CPU, labels (B,)
Batches = Sequence[Tensor]  # the rows of each batch


@dataclass(frozen=True)
class Texts:
    """N tokenised texts. ``tokens``: for each text its tokens, int64; ``labels``: (N,) int64 in [0, K)."""

    tokens: Sequence[Tensor]
    labels: Tensor

    def batch(self, rows: Tensor) -> Batch:
        """The texts numbered ``rows``, padded to the longest."""
        tokens = [self.tokens[i] for i in rows.tolist()]
        return pad_sequence(tokens, batch_first=True), torch.tensor([*map(len, tokens)]), self.labels[rows]


class PackedBiLSTM(nn.Module):
    """The paper's TAM: the final states of a bidirectional LSTM, concatenated, and a linear layer."""

    def __init__(self, vocabulary: int, classes: int, *, embedding: int = 100, hidden: int = 150) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, classes)
        bound = 1 / math.sqrt(2 * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, K) logits of (B, L) tokens."""
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, (states, _) = self.lstm(packed)
        logits: Tensor = self.linear(torch.cat([states[0], states[1]], dim=1))
        return logits


def weighted_loss(model: nn.Module, batch: Batch, weights: Tensor) -> Tensor:
    """``sum_i w_i l_i`` over a batch; ``weights``: (B,)."""
    tokens, lengths, labels = batch
    return (weights * F.cross_entropy(model(tokens, lengths), labels, reduction="none")).sum()


def inner_loop(
    model: nn.Module, optimizer: torch.optim.Optimizer, texts: Texts, weights: Tensor, batches: Batches
) -> None:
    """Minimise ``sum_i w_i l_i`` over theta (Eqn. 2), one step of ``optimizer`` per batch; ``weights``: (N,)."""
    weights = weights / weights.mean()  # equal weights then have exactly the effect of no weights
    for rows in batches:
        loss = weighted_loss(model, texts.batch(rows), weights[rows]) / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def outer_gradient(model: nn.Module, texts: Texts, batches: Batches) -> list[Tensor]:
    """v, the gradient of the mean reverse cross-entropy over ``batches`` with respect to theta, by parameter.

    Reverse cross-entropy is ``-A (1 - p)``: p is the probability of the label, A = -4 stands for log 0. Its sum over
    all K labels is a constant, the property that makes a loss robust to wrong labels (Eqn. 3).
    """
    model.zero_grad()
    total = sum(len(rows) for rows in batches)
    for rows in batches:
        tokens, lengths, labels = texts.batch(rows)
        p = model(tokens, lengths).softmax(dim=1).gather(1, labels[:, None])
        (4 * (1 - p).sum() / total).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def meta_gradient(
    model: nn.Module, texts: Texts, weights: Tensor, v: Sequence[Tensor], batches: Batches, lr: float = 1e-3
) -> Tensor:
    """d(outer loss) / d(weight), (N,), through one inner step at the trained theta (Eqn. 11).

    The step goes to ``theta - lr * grad sum_j w_j l_j / S``; S, the sum of all weights, is held constant. The result is
    ``-(lr / S) <v, grad l_i>``, with the minus sign that the paper omits. If training on text i lowers the outer loss,
    it is negative, and descent raises the weight. Texts in none of the ``batches`` get 0.
    """
    result, total = torch.zeros_like(weights), weights.sum()
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no second derivative
        for rows in batches:
            w = weights[rows].requires_grad_()
            loss = weighted_loss(model, texts.batch(rows), w) / total
            gradient = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
            change = -lr * torch.stack([(a * g).sum() for a, g in zip(v, gradient, strict=True)]).sum()
            (result[rows],) = torch.autograd.grad(change, w)
    return result


def learn_weights(
    model: nn.Module, texts: Texts, epochs: Iterable[Batches], outer: Batches, lr: float = 1e-3, outer_lr: float = 0.25
) -> Tensor:
    """Algorithm 1: one weight in [0, 1] for each text, (N,); the higher, the more trustworthy its label.

    ``epochs``: for each outer iteration, batches that hold every text once. ``outer``: batches of the texts that the
    outer loss is taken over. Each weight is the sigmoid of a score; Adam moves the scores.
    """
    initial = copy.deepcopy(model.state_dict())
    scores = torch.zeros(len(texts.labels), device=texts.labels.device)  # line 1: every weight is sigmoid(0) = 0.5
    outer_optimizer = torch.optim.Adam([scores], lr=outer_lr, eps=1e-20)  # the usual eps would exceed the gradients
    for batches in epochs:  # line 2: for each outer iteration
        weights = scores.sigmoid()
        # line 3: train the TAM from its initial parameters on the weighted loss (Eqn. 2)
        model.load_state_dict(initial)
        inner_loop(model, torch.optim.Adam(model.parameters(), lr=lr), texts, weights, batches)
        # line 4: the gradient of the robust loss with respect to each weight (Eqns. 3 and 11)
        v = outer_gradient(model, texts, outer)
        gradient = meta_gradient(model, texts, weights, v, batches, lr)
        # line 5: one step against it; the chain rule adds the derivative of the sigmoid
        scores.grad = gradient * weights * (1 - weights)
        outer_optimizer.step()
    return scores.sigmoid()  # line 6: the weights are the result
