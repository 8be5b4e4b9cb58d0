"""Meta-Weight-Net (Table 3): Shu et al. 2019, "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting".

A small network V maps a sample's loss to its weight. Each step (their Algorithm 1) looks one SGD step ahead,

    theta' = theta - (alpha / B) sum_i V(l_i; Theta) grad l_i(theta),

moves Theta down the gradient of the meta loss at theta', a batch of the meta set,

    grad_Theta L_meta(theta') = -(alpha / B) sum_i <grad L_meta(theta'), grad l_i(theta)> grad_Theta V(l_i; Theta),

exact and without double backward (the inner products come from ``derivative.directional``), and then trains theta with
the new V's weights. From their paper: V is 1-100-1 with a ReLU and a sigmoid, Adam 1e-3 with weight decay 1e-4 trains
it, alpha is 0.1, weights are not normalised. SunGen's Appendix F.2 fixes 200k synthetic samples and a part of the
synthetic data, instead of clean samples, as the meta set.

Our choices, where SunGen states nothing: the real step is F.2's Adam at ``lr``, not SGD, so alpha stays a separate
parameter (at Adam's 1e-3 the weight decay would outweigh the meta-gradient, which alpha scales); batches of the meta
set are as large as those of the training set; the lookahead runs in float32 and without dropout, whatever the real step
does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sungen_lib.derivative import directional, outer_gradient, restored
from sungen_lib.encode import Samples, shuffled_batches
from sungen_lib.fast import arithmetic
from sungen_lib.losses import cross_entropy
from sungen_lib.models import Prepared, TamConfig
from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import Examples
from sungen_lib.train import Epoch, Trainer

HIDDEN = 100  # units of V
META_LR = 1e-3  # Adam's learning rate for V
META_SHARE = 0.1  # share of rows in the meta set; Appendix F.2 says "a part of synthetic data"


class WeightNet(nn.Module):
    """V: (B,) losses to (B,) weights in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Sigmoid())

    def forward(self, losses: Tensor) -> Tensor:
        """The weights of ``losses``."""
        weights: Tensor = self.layers(losses[:, None])
        return weights.squeeze(-1)


def meta_gradient(
    net: nn.Module, model: nn.Module, batch: Samples, meta_batch: Samples, *, alpha: float = 0.1, method: str = "dual"
) -> tuple[Tensor, ...]:
    """Gradient of the meta loss at theta' with respect to ``net``'s parameters; ``model`` stays the same to the bit.

    ``batch`` and ``meta_batch``: the B samples and the meta samples of this step, as separate sets. ``method`` is
    ``derivative.directional``'s.
    """

    def weighted(logits: Tensor, labels: Tensor) -> Tensor:
        values = cross_entropy(logits, labels)
        weights: Tensor = net(values.detach()).detach()  # V weighs the gradient; theta does not move V
        return weights * values

    parameters = dict(model.named_parameters())
    descent, _ = outer_gradient(model, batch, weighted)
    with restored(model):
        with torch.no_grad():
            for name, gradient in descent.items():
                parameters[name].sub_(gradient, alpha=alpha)
        direction, _ = outer_gradient(model, meta_batch, cross_entropy)
    along = directional(model, batch, direction, method=method)
    weights = net(_losses(model, batch))
    return torch.autograd.grad(-(alpha / len(batch)) * (along * weights).sum(), tuple(net.parameters()))


def train(
    model: nn.Module,
    train_set: Samples,
    meta_set: Samples,
    *,
    alpha: float = 0.1,
    method: str = "dual",
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
) -> tuple[list[Epoch], np.ndarray]:
    """Train ``model`` in place; each ``Epoch`` holds the unweighted loss, and each sample's weight in the last one is
    returned, (N,) in (0, 1). ``meta_set`` should share no sample with ``train_set``. Raises ``ValueError`` for an
    empty set and ``Diverged``."""
    trainer = MetaTrainer(
        model,
        train_set,
        meta_set,
        meta_lr=META_LR,
        alpha=alpha,
        method=method,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        precision=precision,
    )
    history = [trainer.epoch(derived_seed(seed, number), number=number) for number in range(1, epochs + 1)]
    return history, trainer.weights.cpu().numpy()


class MetaTrainer(Trainer):
    """A trainer that computes its sample weights with V, for each batch just before its step."""

    def __init__(
        self,
        model: nn.Module,
        train_set: Samples,
        meta_set: Samples,
        *,
        meta_lr: float,
        alpha: float,
        method: str,
        seed: int,
        lr: float,
        batch_size: int,
        precision: str,
    ) -> None:
        super().__init__(model, train_set, lr=lr, batch_size=batch_size, precision=precision)
        if not len(meta_set):
            raise ValueError("the meta set is empty")
        self.graphs = None  # the lookahead cuts its batches on the host, which a captured graph could not repeat
        self.meta_set, self.alpha, self.method = meta_set, alpha, method
        self.meta_rows = _endless(meta_set.sizes, batch_size, np.random.default_rng(derived_seed(seed, 0, 0)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, 0, 1))
            self.net = WeightNet().to(train_set.device)
        self.meta_optimizer = torch.optim.Adam(self.net.parameters(), lr=meta_lr, weight_decay=1e-4, fused=True)

    def step(self, rows: Tensor, width: int) -> None:
        """One step of V, then one of the model on the samples ``rows`` with the new weights."""
        batch = self.train_set.select(rows.cpu().numpy())
        meta_batch = self.meta_set.select(next(self.meta_rows))
        gradient = meta_gradient(self.net, self.model, batch, meta_batch, alpha=self.alpha, method=self.method)
        for parameter, value in zip(self.net.parameters(), gradient, strict=True):
            parameter.grad = value
        self.meta_optimizer.step()
        with torch.no_grad():
            self.weights[rows] = self.net(_losses(self.model, batch))
        self.model.train()  # the lookahead turned dropout off
        super().step(rows, width)


@torch.no_grad()
def _losses(model: nn.Module, batch: Samples) -> Tensor:
    """(B,) losses in the order of ``batch``, in the model's current mode."""
    everything = batch.batch(np.arange(len(batch)))
    with arithmetic(batch.device):
        return cross_entropy(model(everything), everything.labels)


def _endless(sizes: np.ndarray, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of one shuffled pass after another, without end."""
    while True:
        yield from shuffled_batches(sizes, batch_size, rng)


def train_tam(prepared: Prepared, texts: Examples, *, tam: TamConfig, seed: int) -> list[Epoch]:
    """Train on nine tenths of the rows; the last tenth is the meta set."""
    return train(prepared.model, *_without_meta(prepared.data), seed=seed, **tam.training)[0]


def score(texts: Examples, *, tam: TamConfig, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """(N,) each sample's weight in the last epoch; NaN for the meta set, which has none."""
    prepared = tam.prepare(texts, seed=seed, device=device)
    model, data = prepared.model, prepared.data
    _, weights = train(model, *_without_meta(data), seed=seed, **tam.training)
    return np.concatenate([weights, np.full(len(data) - len(weights), np.nan, dtype=weights.dtype)])


def _without_meta(data: Samples) -> tuple[Samples, Samples]:
    """The rows to train on, and the meta set."""
    cut = round((1 - META_SHARE) * len(data))
    return data.select(np.arange(cut)), data.select(np.arange(cut, len(data)))
