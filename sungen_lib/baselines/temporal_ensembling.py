"""Temporal ensembling (Table 8): Laine & Aila 2017, "Temporal Ensembling for Semi-Supervised Learning", Algorithm 2.

Cross-entropy, plus w(t) times the mean squared difference between the softmax outputs z and targets made of the
model's own earlier outputs: after each epoch Z <- alpha Z + (1 - alpha) z, and the target is Z / (1 - alpha^t). From
their paper: alpha 0.6, the ramp exp(-5 (1 - T)^2), the maximum weight 30 (all samples are labelled, so M/N = 1),
outputs taken as they occur in training. SunGen states nothing but the method's name and its 200k samples. Deviations:

- The ramp ends after ``ramp_epochs`` = 2 epochs (Laine & Aila: 80 of 300), whether the TAM is trained for the paper's
  5 (LSTM), 3 (encoders) or 20 (profile ``laptop``).
- No ramps on learning rate and Adam's beta_1: Appendix F.2 trains at a constant rate.
- No augmentation: texts have none as harmless as shifting an image. In DistilBERT, dropout makes z differ between
  epochs. The BiLSTM has no dropout, so there only training itself (batch order, moving parameters) changes z, and the
  method penalises outputs that move away from the average of past outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sungen_lib.encode import Samples
from sungen_lib.fast import arithmetic
from sungen_lib.models import Prepared, TamConfig
from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import Examples
from sungen_lib.train import Epoch, Trainer


def unsupervised_weight(finished: int, *, max_weight: float = 30.0, ramp_epochs: int = 2) -> float:
    """w(t) after ``finished`` epochs: max_weight exp(-5 (1 - T)^2), T = finished / ramp_epochs up to 1; w(0) = 0."""
    if finished == 0:  # there are no targets yet
        return 0.0
    return max_weight * math.exp(-5.0 * (1.0 - min(1.0, finished / ramp_epochs)) ** 2)


def train(
    model: nn.Module,
    train_set: Samples,
    *,
    alpha: float = 0.6,
    max_weight: float = 30.0,
    ramp_epochs: int = 2,
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
) -> list[Epoch]:
    """Train ``model`` in place; each ``Epoch`` holds the cross-entropy without the consistency term.

    Raises ``ValueError`` for alpha outside [0, 1), a negative weight or a ramp below one epoch, and ``Diverged``.
    """
    if not 0 <= alpha < 1 or max_weight < 0 or ramp_epochs < 1:
        raise ValueError(
            f"need 0 <= alpha < 1, max_weight >= 0 and ramp_epochs >= 1, got {alpha}, {max_weight} and {ramp_epochs}"
        )
    trainer = EnsemblingTrainer(model, train_set, lr=lr, batch_size=batch_size, precision=precision)
    history = []
    for number in range(1, epochs + 1):
        trainer.weight.fill_(unsupervised_weight(number - 1, max_weight=max_weight, ramp_epochs=ramp_epochs))
        history.append(trainer.epoch(derived_seed(seed, number), number=number))
        trainer.accumulate(alpha, finished=number)
    return history


class EnsemblingTrainer(Trainer):
    """A trainer that remembers each sample's outputs and penalises the distance from their running average.

    ``outputs``, ``ensemble``, ``targets``: (N, K), the paper's z, Z and z~; ``weight``: w(t), a tensor so that
    captured CUDA graphs read its current value.
    """

    def __init__(self, model: nn.Module, train_set: Samples, *, lr: float, batch_size: int, precision: str) -> None:
        super().__init__(model, train_set, lr=lr, batch_size=batch_size, precision=precision)
        self.outputs = torch.zeros(len(train_set), train_set.classes, device=train_set.device)
        self.ensemble = torch.zeros_like(self.outputs)
        self.targets = torch.zeros_like(self.outputs)
        self.weight = torch.zeros((), device=train_set.device)

    def step(self, rows: Tensor, width: int) -> None:
        """One optimiser step on the samples ``rows``, whose outputs are remembered."""
        batch = self.train_set.gather(rows, width)
        with arithmetic(self.train_set.device, self.precision):
            logits = self.model(batch).float()
            losses = self.loss(logits, batch.labels)
            outputs = logits.softmax(-1)
            loss = losses.mean() + self.weight * (outputs - self.targets[rows]).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        with arithmetic(self.train_set.device):
            loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.outputs[rows] = outputs
            self.totals += torch.stack([losses.sum(), (logits.argmax(-1) == batch.labels).sum()])

    def accumulate(self, alpha: float, *, finished: int) -> None:
        """Z <- alpha Z + (1 - alpha) z, and the targets Z / (1 - alpha^t) for the next epoch, t = ``finished``."""
        self.ensemble.lerp_(self.outputs, 1 - alpha)
        self.targets.copy_(self.ensemble / (1 - alpha**finished))


def train_tam(prepared: Prepared, texts: Examples, *, tam: TamConfig, seed: int) -> list[Epoch]:
    """Train with the defaults of ``train``."""
    return train(prepared.model, prepared.data, seed=seed, **tam.training)
