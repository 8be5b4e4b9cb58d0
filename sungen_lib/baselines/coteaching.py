"""Co-teaching (Table 3): Han et al. 2018, "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy
Labels", Algorithm 1.

Two networks see the same batches; each is trained on the share R(t) of a batch in which the *other* finds the smallest
losses. SunGen's Appendix F.2 fixes two networks, selection by loss, 200k synthetic samples, and synthetic data where
Han et al. would use clean ones. Our choices, where SunGen states nothing: the forget rate tau is
``tfidf_logreg.noise_rate``; it is reached after ``ramp_epochs`` = 2 epochs (Han et al.: 10 of 200), whether the
TAM is trained for the paper's 5 (LSTM), 3 (encoders) or 20 (profile ``laptop``); the first of the two networks is
evaluated.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sungen_lib.baselines import tfidf_logreg
from sungen_lib.encode import Samples
from sungen_lib.fast import arithmetic
from sungen_lib.losses import cross_entropy
from sungen_lib.models import Prepared, TamConfig
from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import Examples
from sungen_lib.train import Epoch, Trainer, label_probabilities


def remember_rate(finished: int, *, forget_rate: float, ramp_epochs: int) -> float:
    """R(t) = 1 - min(t / T_k tau, tau), the share of a batch that is kept after t ``finished`` epochs; R(0) = 1."""
    return 1.0 - min(finished / ramp_epochs * forget_rate, forget_rate)


def small_loss(losses: Tensor, share: Tensor) -> Tensor:
    """(B,) bool: the ceil(share B) samples of smallest loss (Algorithm 1: at least R(t) B), ties by position."""
    rank = losses.argsort(stable=True).argsort()
    return rank < share * len(losses) - 1e-6  # 1e-6: 0.7 * 10 may come out above 7


def train(
    first: nn.Module,
    second: nn.Module,
    train_set: Samples,
    *,
    forget_rate: float,
    ramp_epochs: int = 2,
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
) -> list[Epoch]:
    """Train both networks in place; they must start from different parameters.

    Each ``Epoch`` holds the mean over both networks of loss and accuracy on whole batches, dropped samples included.
    Raises ``ValueError`` for a forget rate outside [0, 1) or a ramp below one epoch, and ``Diverged``.
    """
    if not 0 <= forget_rate < 1 or ramp_epochs < 1:
        raise ValueError(f"need 0 <= forget_rate < 1 <= ramp_epochs, got {forget_rate} and {ramp_epochs}")
    trainer = CoTrainer(first, second, train_set, lr=lr, batch_size=batch_size, precision=precision)
    history = []
    for number in range(1, epochs + 1):
        trainer.share.fill_(remember_rate(number - 1, forget_rate=forget_rate, ramp_epochs=ramp_epochs))
        history.append(trainer.epoch(derived_seed(seed, number), number=number))
    return history


class CoTrainer(Trainer):
    """A trainer of two models at once: Adam treats each parameter by itself, so one optimiser serves both."""

    def __init__(
        self, first: nn.Module, second: nn.Module, train_set: Samples, *, lr: float, batch_size: int, precision: str
    ) -> None:
        both = nn.ModuleList([first, second])
        super().__init__(both, train_set, lr=lr, batch_size=batch_size, precision=precision)
        self.networks = first, second
        self.share = torch.ones((), dtype=torch.float64, device=train_set.device)  # R(t); a tensor, for CUDA graphs

    def step(self, rows: Tensor, width: int) -> None:
        """One optimiser step of each network on the samples ``rows`` that the other selects."""
        batch = self.train_set.gather(rows, width)
        with arithmetic(self.train_set.device, self.precision):
            logits = [network(batch).float() for network in self.networks]
            losses = [cross_entropy(z, batch.labels) for z in logits]
            chosen = [small_loss(values.detach(), self.share) for values in losses]
            exchanged = [_mean(losses[0], chosen[1]), _mean(losses[1], chosen[0])]
        self.optimizer.zero_grad(set_to_none=True)
        with arithmetic(self.train_set.device):
            torch.stack(exchanged).sum().backward()
        self.optimizer.step()
        with torch.no_grad():
            correct = torch.stack([z.argmax(-1) == batch.labels for z in logits])
            self.totals += torch.stack([torch.stack(losses).sum(), correct.sum()]) / 2


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum()


def train_tam(prepared: Prepared, texts: Examples, *, tam: TamConfig, seed: int) -> list[Epoch]:
    """Co-teaching with a second network from another seed; the forget rate is the estimated noise rate."""
    peer = tam.build(prepared.tokenizer, prepared.data.classes, seed=derived_seed(seed, 2))
    rate = tfidf_logreg.noise_rate(texts)
    return train(prepared.model, peer, prepared.data, forget_rate=rate, seed=seed, **tam.training)


def score(texts: Examples, *, tam: TamConfig, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """(N,) the given label's probability by the first network after training."""
    prepared = tam.prepare(texts, seed=seed, device=device)
    train_tam(prepared, texts, tam=tam, seed=seed)
    return label_probabilities(prepared.model, prepared.data)
