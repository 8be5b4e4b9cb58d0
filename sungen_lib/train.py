"""Train a TAM (``fit``, ``epochs``) and measure it (``evaluate``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from sungen_lib.encode import Encoded, shuffled_batches, sorted_batches
from sungen_lib.losses import Loss, cross_entropy
from sungen_lib.models import Bag, BiLSTM

WIDTH_STEP = 8  # on CUDA batches are padded to a multiple of this, so that a few captured graphs serve all


class Diverged(RuntimeError):
    """Training left the finite numbers; the message says where. An outcome to report, not an accuracy."""


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


def derived_seed(*parts: int) -> int:
    """A seed for one stage of a seeded run: equal parts, equal seed; neighbouring parts, unrelated seeds."""
    # The count comes first because a SeedSequence ignores trailing zeros.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])


@contextmanager
def arithmetic(device: torch.device, precision: str = "float32") -> Iterator[None]:
    """Full float32 (cuDNN would use TF32 for LSTMs), or bfloat16 autocast."""
    if precision not in ("float32", "bf16"):
        raise ValueError(f"unknown precision {precision!r}; known: float32, bf16")
    cast: AbstractContextManager[object] = nullcontext()
    if precision == "bf16":
        cast = torch.autocast(device.type, dtype=torch.bfloat16)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), cast:
        yield


@contextmanager
def _denormals_are_zero() -> Iterator[None]:
    """On CPUs, for the threads that this one starts or has started.

    Adam's average gradient of a word not seen for some 700 steps is a denormal number and never becomes 0; arithmetic
    on those takes a hundred times as long. No parameter is large enough, or small enough, to feel the difference.
    """
    before = not bool(torch.tensor(1e-40).mul(1.0))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


class Trainer:
    """One TAM, one training set, one optimiser: weighted training, an epoch at a time.

    The loss of a batch is ``mean(w / mean(w) * loss)``, w the samples' weights and their mean taken over the whole
    set: Eqn. 2 up to a constant, which Adam ignores, and with equal weights exactly the unweighted mean. ``restart``
    returns to the parameters the model came with. Everything stays on the training set's device and nothing waits
    for it within an epoch; on CUDA a step is one captured graph per width.
    """

    def __init__(
        self,
        model: nn.Module,
        train_set: Encoded,
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
        rowwise = not cuda and isinstance(model, (BiLSTM, Bag)) and model.embedding.weight.requires_grad
        self._embedding = _RowwiseGradient(model.embedding) if rowwise else None  # type: ignore[arg-type]
        device = train_set.device
        self.graphs = StepGraphs(self.step, torch.zeros(batch_size, dtype=torch.int64, device=device)) if cuda else None

    def set_weights(self, weights: Tensor) -> None:
        """Weight the samples by ``weights``, (N,), non-negative with a positive mean."""
        mean, least = weights.mean(), weights.min()
        if not bool(torch.isfinite(mean)) or float(mean) <= 0:
            raise Diverged(f"sample weights must be finite with a positive mean, got a mean of {float(mean)}")
        if float(least) < 0:
            raise ValueError(f"sample weights must not be negative, got {float(least)}")
        self.weights.copy_(weights / mean)

    def restart(self) -> None:
        """Back to the initial parameters, with a fresh optimiser, in place: captured graphs stay valid."""
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
            loss.backward()
            if self._embedding is not None:
                self._embedding.fill()
            self.optimizer.step()
        with torch.no_grad():
            self.totals += torch.stack([losses.sum(), (logits.argmax(-1) == batch.labels).sum()])

    def take_step(self, rows: Tensor, width: int) -> None:
        """``step``, on CUDA as a captured graph."""
        (self.graphs or self.step)(rows, width)

    def epoch(self, seed: int, *, number: int = 1, progress: str | None = None) -> Epoch:
        """One pass over the set in an order decided by ``seed``, which also seeds dropout (torch's global state)."""
        start = time.perf_counter()
        torch.manual_seed(seed)
        self.model.train()
        self.totals.zero_()
        sizes, device = self.train_set.sizes, self.train_set.device
        batches = shuffled_batches(sizes, self.batch_size, np.random.default_rng(seed))
        flat = torch.as_tensor(np.concatenate(batches), device=device)
        end = 0
        with _denormals_are_zero():
            for batch in tqdm(batches, desc=progress, disable=progress is None, leave=False):
                rows, end = flat[end : end + len(batch)], end + len(batch)
                self.take_step(rows, int(sizes[batch].max()))
        loss, correct = (self.totals / len(sizes)).tolist()
        if not np.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {number}")
        return Epoch(number, loss, correct, time.perf_counter() - start)


class _RowwiseGradient:
    """Within its ``with`` an embedding's gradient is written and cleared row by row, in one tensor that stays.

    Autograd's is new each step, as large as the vocabulary, for a batch's few hundred words. The sums are the same to
    the bit. Not for CUDA, which fills memory in no time and adds in no order.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        self.embedding = embedding
        self.gradient = torch.zeros_like(embedding.weight)
        self.looked_up: list[tuple[Tensor, Tensor]] = []  # tokens, and their vectors cut off from the embedding

    def __enter__(self) -> None:
        self.hook = self.embedding.register_forward_hook(self._cut)

    def _cut(self, _: nn.Module, tokens: tuple[Tensor], vectors: Tensor) -> Tensor:
        self.looked_up.append((tokens[0].flatten(), vectors.detach().requires_grad_()))
        return self.looked_up[-1][1]

    def fill(self) -> None:
        """After the backward pass: the gradient, to be read within the ``with``."""
        for tokens, vectors in self.looked_up:
            assert vectors.grad is not None
            self.gradient.index_add_(0, tokens, vectors.grad.flatten(0, -2))
        self.embedding.weight.grad = self.gradient

    def __exit__(self, *_: object) -> None:
        self.hook.remove()
        self.embedding.weight.grad = None
        for tokens, _vectors in self.looked_up:
            self.gradient.index_fill_(0, tokens, 0.0)
        self.looked_up.clear()


class StepGraphs:
    """CUDA graphs of ``step(rows, width)``, one a width; the first steps and odd-sized batches run eagerly.

    ``rows``: the tensor that the graphs read, of a whole batch's shape. Widths are rounded up to ``WIDTH_STEP``.
    """

    WARM_UP = 3

    def __init__(self, step: Callable[[Tensor, int], None], rows: Tensor) -> None:
        self.step, self.rows, self.eager_steps = step, rows, 0
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.pool: Any = None  # the graphs' shared memory

    def __call__(self, rows: Tensor, width: int) -> None:
        """Make the step, in whichever way."""
        width = -(-width // WIDTH_STEP) * WIDTH_STEP
        if rows.shape != self.rows.shape or self.eager_steps < self.WARM_UP:
            self.eager_steps += 1
            self._eagerly(rows, width)
            return
        self.rows.copy_(rows)
        if width not in self.graphs:
            self.graphs[width] = self._capture(width)
        self.graphs[width].replay()

    def _eagerly(self, rows: Tensor, width: int) -> None:
        # Capture wants the lazy set-up of cuDNN, cuBLAS and Adam done before, and away from the default stream.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.step(rows, width)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self, width: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self.step(self.rows, width)
        self.pool = graph.pool()
        return graph


def epochs(
    model: nn.Module,
    train_set: Encoded,
    *,
    weights: Tensor | None = None,
    loss: Loss = cross_entropy,
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
    progress: str | None = None,
) -> Iterator[Epoch]:
    """Train ``model`` in place, yielding after each epoch: whoever wants a curve measures the model between epochs.

    ``weights``: (N,) non-negative, or ``None``. ``progress`` names the bar, ``None`` hides it. Raises ``Diverged``.
    Defaults are the paper's for the LSTM (Appendix F.2).
    """
    trainer = Trainer(model, train_set, loss=loss, lr=lr, batch_size=batch_size, precision=precision)
    if weights is not None:
        trainer.set_weights(weights)
    for number in range(1, epochs + 1):
        label = None if progress is None else f"{progress}, epoch {number}/{epochs}"
        yield trainer.epoch(derived_seed(seed, number), number=number, progress=label)


def fit(model: nn.Module, train_set: Encoded, **settings: object) -> list[Epoch]:
    """Train ``model`` in place to the last epoch; the arguments are those of ``epochs``."""
    return list(epochs(model, train_set, **settings))  # type: ignore[arg-type]


@torch.no_grad()
def predict(model: nn.Module, data: Encoded, *, batch_size: int = 256) -> Tensor:
    """(N, K) logits in the order of ``data``, dropout off, on the data's device."""
    model.to(data.device).eval()
    logits = torch.empty(len(data), data.classes, device=data.device)
    with arithmetic(data.device):
        for rows in sorted_batches(data.sizes, batch_size):
            logits[torch.as_tensor(rows, device=data.device)] = model(data.batch(rows)).float()
    return logits


def evaluate(model: nn.Module, data: Encoded, *, loss: Loss = cross_entropy, batch_size: int = 256) -> Evaluation:
    """Accuracy and mean loss of ``model`` on ``data``: the one place where test labels are read.

    Raises ``Diverged`` if an output is not finite: that is no prediction.
    """
    logits = predict(model, data, batch_size=batch_size)
    if not bool(torch.isfinite(logits).all()):  # an infinite gradient in the very last step shows only here
        raise Diverged("the trained model's outputs are not finite")
    correct = (logits.argmax(-1) == data.labels).cpu().numpy()
    return Evaluation(float(correct.mean()), float(loss(logits, data.labels).mean()), correct)
