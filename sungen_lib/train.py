"""Train a TAM (``fit``, ``epochs``) and measure it (``evaluate``)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sungen_lib.encode import Samples, shuffled_batches, sorted_batches
from sungen_lib.fast import RowwiseGradient, StepGraphs, arithmetic, denormals_are_zero, one_thread
from sungen_lib.losses import Loss, cross_entropy
from sungen_lib.models import Bag, BiLSTM
from sungen_lib.seeds import derived_seed

THREADED_FROM = 100_000  # parameters; a smaller model trains on one thread, as threads mostly wait on a busy machine
PROBED = 256  # samples on which bfloat16 is compared with float32
LONG_BATCH = 32  # on a CPU; larger batches of long texts are slower


class Diverged(RuntimeError):
    """Numbers are not finite, or weights collapsed; the message says where. An outcome to report, not an accuracy."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of training: mean loss and accuracy (in [0, 1]) over the batches as they were trained on."""

    number: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """``accuracy`` in [0, 1], mean ``loss``, and ``correct``: (N,) bool in the order of the set."""

    accuracy: float
    loss: float
    correct: np.ndarray


class Trainer:
    """One TAM, one training set, one optimiser: weighted training, one epoch at a time.

    The loss of a batch is ``mean(w / mean(w) * loss)``, w the samples' weights and their mean taken over the whole
    set: Eqn. 2 up to a constant, which Adam ignores, and with equal weights exactly the unweighted mean. ``restart``
    restores the model's initial parameters. All tensors stay on the training set's device, and within an epoch the
    host never waits for it; on CUDA a step is one captured graph per width.
    """

    steps: ClassVar[int] = 0  # steps that all trainers of this process have taken, for progress displays

    def __init__(
        self,
        model: nn.Module,
        train_set: Samples,
        *,
        loss: Loss = cross_entropy,
        lr: float = 1e-3,
        batch_size: int = 32,
        precision: str = "float32",
    ) -> None:
        if not len(train_set):
            raise ValueError("the training set is empty")
        self.model, self.train_set, self.loss = model.to(train_set.device), train_set, loss
        self.batch_size, self.precision = batch_size, precision
        self.initial = {name: value.detach().clone() for name, value in model.state_dict().items()}
        cuda = train_set.device.type == "cuda"
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True, capturable=cuda)
        self.weights = torch.ones(len(train_set), device=train_set.device)
        self.totals = torch.zeros(2, device=train_set.device)  # sum of losses, number correct
        self.small = _size(model) < THREADED_FROM
        rowwise = not cuda and isinstance(model, (BiLSTM, Bag)) and model.embedding.weight.requires_grad
        self._embedding = RowwiseGradient(model.embedding) if rowwise else None  # type: ignore[arg-type]
        rows = torch.zeros(batch_size, dtype=torch.int64, device=train_set.device)
        self.graphs = StepGraphs(self.step, rows, int(train_set.sizes.max())) if cuda else None

    def set_weights(self, weights: Tensor) -> None:
        """Weight the samples by ``weights``, (N,), non-negative with a positive mean."""
        mean, least = weights.mean(), weights.min()
        if not bool(torch.isfinite(mean)) or float(mean) <= 0:
            raise Diverged(f"sample weights must be finite with a positive mean, got a mean of {float(mean)}")
        if float(least) < 0:
            raise ValueError(f"sample weights must not be negative, got {float(least)}")
        self.weights.copy_(weights / mean)

    def restart(self) -> None:
        """Restore the initial parameters and reset the optimiser, both in place: captured graphs stay valid."""
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                value.copy_(self.initial[name])
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()

    def step(self, rows: Tensor, width: int) -> None:
        """One optimiser step on the samples ``rows``, (B,) int64 on the device."""
        batch = self.train_set.gather(rows, width)
        self.optimizer.zero_grad(set_to_none=True)
        with self._embedding or nullcontext():
            with arithmetic(self.train_set.device, self.precision):
                logits = self.model(batch).float()
                losses = self.loss(logits, batch.labels)
                loss = (self.weights[rows] * losses).mean()
            with arithmetic(self.train_set.device):  # the backward pass, too, in full float32
                loss.backward()
            if self._embedding is not None:
                self._embedding.fill()
            self.optimizer.step()
        with torch.no_grad():
            self.totals += torch.stack([losses.sum(), (logits.argmax(-1) == batch.labels).sum()])

    def take_step(self, rows: Tensor, width: int) -> None:
        """``step``, on CUDA as a captured graph."""
        (self.graphs or self.step)(rows, width)

    def epoch(self, seed: int, *, number: int = 1) -> Epoch:
        """One pass over the set in an order decided by ``seed``, which also seeds dropout (torch's global state)."""
        start = time.perf_counter()
        torch.manual_seed(seed)
        self.model.train()
        self.totals.zero_()
        sizes, device = self.train_set.sizes, self.train_set.device
        batches = shuffled_batches(sizes, self.batch_size, np.random.default_rng(seed))
        flat = torch.as_tensor(np.concatenate(batches), device=device)
        end = 0
        with denormals_are_zero(), one_thread(device) if self.small else nullcontext():
            for batch in batches:
                rows, end = flat[end : end + len(batch)], end + len(batch)
                self.take_step(rows, int(sizes[batch].max()))
                Trainer.steps += 1
        loss, correct = (self.totals / len(sizes)).tolist()
        if not np.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {number}")
        return Epoch(number, loss, correct, time.perf_counter() - start)


def _size(model: nn.Module) -> int:
    """Number of parameters outside of embeddings: what a step multiplies."""
    looked_up = {p for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    return sum(parameter.numel() for parameter in model.parameters() if parameter not in looked_up)


def epochs(
    model: nn.Module,
    train_set: Samples,
    *,
    weights: Tensor | None = None,
    loss: Loss = cross_entropy,
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
) -> Iterator[Epoch]:
    """Train ``model`` in place, yielding after each epoch, so that callers can measure the model in between.

    ``weights``: (N,) non-negative, or ``None``. Raises ``Diverged``.
    Defaults are the paper's for the LSTM (Appendix F.2), but for the batch size, which is the authors' code's.
    """
    trainer = Trainer(model, train_set, loss=loss, lr=lr, batch_size=batch_size, precision=precision)
    if weights is not None:
        trainer.set_weights(weights)
    for number in range(1, epochs + 1):
        yield trainer.epoch(derived_seed(seed, number), number=number)


def fit(model: nn.Module, train_set: Samples, **settings: object) -> list[Epoch]:
    """Train ``model`` in place to the last epoch; the arguments are those of ``epochs``."""
    return list(epochs(model, train_set, **settings))  # type: ignore[arg-type]


@torch.no_grad()
def predict(model: nn.Module, data: Samples, *, batch_size: int = 256, precision: str = "float32") -> Tensor:
    """(N, K) logits in the order of ``data``, dropout off, on the data's device."""
    model.to(data.device).eval()
    logits = torch.empty(len(data), data.classes, device=data.device)
    with arithmetic(data.device, precision):
        for rows in sorted_batches(data.sizes, batch_size):
            logits[torch.as_tensor(rows, device=data.device)] = model(data.batch(rows)).float()
    return logits


def predict_in_bf16(model: nn.Module, data: Samples, *, batch_size: int = 256) -> Tensor:
    """``predict`` in bfloat16, but for the samples whose label that could change, which are predicted in float32.

    On a CPU with bfloat16 units two to three times as fast for a long encoder. How far bfloat16 moves a logit is
    measured on ``PROBED`` samples; a sample is safe if its two largest logits are four times that apart.
    """
    batch_size = min(batch_size, LONG_BATCH) if data.device.type == "cpu" else batch_size
    logits = predict(model, data, batch_size=batch_size, precision="bf16")
    probed = np.unique(np.linspace(0, len(data) - 1, PROBED, dtype=np.int64))
    exact = predict(model, data.select(probed), batch_size=batch_size)
    error = (exact - logits[torch.as_tensor(probed, device=data.device)]).abs().max()
    largest = logits.topk(2).values
    close = (~(largest[:, 0] - largest[:, 1] > 4 * error)).cpu().numpy().nonzero()[0]  # NaN is close, too
    if len(close):
        logits[torch.as_tensor(close, device=data.device)] = predict(model, data.select(close), batch_size=batch_size)
    return logits


def label_probabilities(model: nn.Module, data: Samples) -> np.ndarray:
    """(N,) the probability of each given label; ``Diverged`` if one is not finite."""
    given: np.ndarray = predict(model, data).softmax(-1).gather(-1, data.labels[:, None]).squeeze(-1).cpu().numpy()
    if not np.isfinite(given).all():
        raise Diverged("the trained model's outputs are not finite")
    return given


def evaluate(
    model: nn.Module, data: Samples, *, loss: Loss = cross_entropy, batch_size: int = 256, precision: str = "float32"
) -> Evaluation:
    """Accuracy and mean loss of ``model`` on ``data``: for a TAM the one place where test labels are read.

    With ``precision`` "bf16" samples whose label bfloat16 might change are predicted in float32 (``predict_in_bf16``).
    Raises ``Diverged`` if an output is not finite, because then it is no prediction.
    """
    logits = (predict_in_bf16 if precision == "bf16" else predict)(model, data, batch_size=batch_size)
    if not bool(torch.isfinite(logits).all()):  # an infinite gradient in the very last step shows only here
        raise Diverged("the trained model's outputs are not finite")
    correct = (logits.argmax(-1) == data.labels).cpu().numpy()
    return Evaluation(float(correct.mean()), float(loss(logits, data.labels).mean()), correct)
