"""Algorithm 1 of the paper: sample weights by bilevel optimisation with a noise-robust outer loss.

An outer iteration (1) trains the TAM from its initial parameters with the current weights, (2) takes the gradient v
of the robust loss on the outer set at the trained parameters, (3) moves each weight against the meta-gradient

    g_i = d/dw_i L_robust(theta - lr * grad sum_j w_j l_j(theta) / S) = -(lr / S) <v, grad l_i(theta)>,   S = sum_j w_j,

S held constant. (Eqn. 11 as printed drops ``-lr`` and evaluates one step earlier.) A sample whose gradient agrees
with v, whose learning therefore lowers the robust loss, gains weight.

``<v, grad l_i>`` is the derivative of l_i along v, for all i: two forward passes by central difference, or exactly
with dual numbers; no per-sample gradient is ever formed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from sungen_lib import show
from sungen_lib.data import SEAL, atomic_path
from sungen_lib.encode import PAD, Batch, Encoded, sorted_batches
from sungen_lib.losses import Loss, cross_entropy, reverse_cross_entropy
from sungen_lib.models import BiLSTM, Encoder
from sungen_lib.train import Diverged, Trainer, arithmetic, derived_seed

T = TypeVar("T")

METHODS = ("difference", "dual", "double_backward")
OUTER_DRAWS = ("once", "held_out", "swapped")
RADIUS = 0.002  # length of the central difference's step in parameter space: below is rounding, above truncation
GUARD_ROWS, GUARD_LIMIT = 1024, 1e-3
CHECKPOINT_SECONDS = 20.0
COLLAPSE = 0.01  # mean weight below which weights have collapsed
ONE_CLASS = 0.1  # as they have if all classes but one are below this share of its mean; sound ones are above 0.15
EQUAL = 1e-6  # weights closer together than this are all the same
PILOT = 10  # iterations for each rate that ``choose_outer_lr`` tries


def _batch_size(device: torch.device) -> int:
    return 128 if device.type == "cpu" else 2048  # larger is slower on CPUs (page faults)


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _without_dropout(model: nn.Module) -> None:
    # cuDNN refuses to differentiate an LSTM in evaluation mode; the BiLSTM has no dropout to turn off.
    model.train(isinstance(model, BiLSTM))


def outer_gradient(model: nn.Module, outer_set: Encoded, loss: Loss) -> tuple[dict[str, Tensor], float]:
    """Gradient of the mean ``loss`` over ``outer_set`` by each parameter, and that mean; dropout off."""
    _without_dropout(model)
    parameters = _parameters(model)
    gradient = {name: torch.zeros_like(p) for name, p in parameters.items()}
    total = torch.zeros((), device=outer_set.device)

    def of_batch(rows: np.ndarray) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        batch = outer_set.batch(rows)
        value = loss(model(batch), batch.labels).sum() / len(outer_set)
        return value.detach(), torch.autograd.grad(value, list(parameters.values()), allow_unused=True)

    with arithmetic(outer_set.device):
        for value, parts in _over_batches(of_batch, outer_set, model):
            total += value
            for name, part in zip(gradient, parts, strict=True):
                if part is not None:
                    gradient[name] += part
    return gradient, float(total)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[int]:
    """Torch on one thread, on CPUs; yields how many there were.

    With another number the kernels may add in another order, and the last bits of a result would depend on it.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _over_batches(work: Callable[[np.ndarray], T], data: Encoded, model: nn.Module) -> Iterator[T]:
    """``work(batch)`` for all batches of ``data``, in their order.

    On CPUs the batches of a BiLSTM run in parallel, one a thread, because one LSTM step is too small to split. Results
    do not depend on the number of threads. Each thread has to enter ``no_grad`` itself.
    """
    batches = list(sorted_batches(data.sizes, _batch_size(data.device)))
    if data.device.type != "cpu" or not isinstance(model, BiLSTM):
        yield from map(work, batches)
        return
    with _one_thread(data.device) as threads:
        if min(threads, len(batches)) == 1:
            yield from map(work, batches)
            return
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            running: deque[Future[T]] = deque()
            for rows in batches:
                running.append(pool.submit(work, rows))
                if len(running) >= 2 * threads:  # no more: a result may be as large as the model
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


# --- the derivative of every sample's loss along one direction --------------------------------------------------------


def default_method(model: nn.Module) -> str:
    """The fastest way to the derivative whose relative error stays below 1e-3.

    For an encoder the difference is not good enough: DistilBERT's classifier has a ReLU, and a step across its kink
    costs up to a few per cent. Dual numbers take 1.7 times as long there, little beside an epoch of training.
    """
    return "difference" if isinstance(model, BiLSTM) else "dual"


def _known(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    return method


def directional(
    model: nn.Module,
    data: Encoded,
    direction: dict[str, Tensor],
    *,
    method: str | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """``<direction, grad loss_i>`` for each sample, (N,) in the order of ``data``; the parameters are left as found.

    ``method``: "difference" (two forward passes), "dual" (exact to rounding), "double_backward" (the textbook way,
    slow, for tests and benchmarks), or ``None`` for ``default_method``.
    """
    method = _known(method or default_method(model))
    _without_dropout(model)
    compute = {"difference": _difference, "dual": _dual, "double_backward": _double_backward}[method]
    with arithmetic(data.device):
        return compute(model, data, direction, loss)


def _difference(model: nn.Module, data: Encoded, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    norm = torch.sqrt(sum((d.double() ** 2).sum() for d in direction.values()))  # type: ignore[arg-type]
    if not float(norm) > 0:  # a zero direction has zero derivative; NaN falls through to the caller's check
        return torch.full((len(data),), float(norm), device=data.device)
    step = RADIUS / norm
    with torch.no_grad(), _restored(model) as start:
        _move(model, start, direction, step)
        ahead = _losses(model, data, loss)
        _move(model, start, direction, -step)
        return ((ahead - _losses(model, data, loss)) / (2 * step)).to(next(iter(direction.values())).dtype)


@contextmanager
def _restored(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A copy of the parameters, put back to the bit at the end."""
    start = {name: p.detach().clone() for name, p in _parameters(model).items()}
    try:
        yield start
    finally:
        with torch.no_grad():
            for name, parameter in _parameters(model).items():
                parameter.copy_(start[name])


def _move(model: nn.Module, start: dict[str, Tensor], direction: dict[str, Tensor], step: Tensor) -> None:
    for name, parameter in _parameters(model).items():
        parameter.copy_(start[name] + step * direction[name])


def _losses(model: nn.Module, data: Encoded, loss: Loss) -> Tensor:
    losses = torch.empty(len(data), dtype=torch.float64, device=data.device)

    @torch.no_grad()
    def evaluate(rows: np.ndarray) -> None:
        batch = data.batch(rows)
        # The softmax in float64: rounding it to float32 would cost half the digits of the difference.
        losses[torch.as_tensor(rows, device=data.device)] = loss(model(batch).double(), batch.labels)

    deque(_over_batches(evaluate, data, model), maxlen=0)
    return losses


@contextmanager
def _plain_attention(model: nn.Module) -> Iterator[None]:
    """Fused attention has no forward-mode and no second derivative; training gets it back, to the bit."""
    if not isinstance(model, Encoder):
        yield
        return
    chosen = model.model.config._attn_implementation
    model.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.model.set_attn_implementation(chosen)


def _dual(model: nn.Module, data: Encoded, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    logits = torch.empty(len(data), data.classes, device=data.device, dtype=next(model.parameters()).dtype)
    tangents = torch.empty_like(logits)
    tables = None
    with torch.no_grad(), _plain_attention(model):
        if isinstance(model, BiLSTM):
            data, words = _renumbered(data)
            with _one_thread(data.device):
                tables = model.dual_tables(direction, words)

        @torch.no_grad()
        def evaluate(rows: np.ndarray) -> None:
            index, batch = torch.as_tensor(rows, device=data.device), data.batch(rows)
            if tables is not None:
                logits[index], tangents[index] = model.dual(batch, direction, tables)  # type: ignore[operator]
            else:
                logits[index], tangents[index] = _forward_mode(model, batch, direction)

        deque(_over_batches(evaluate, data, model), maxlen=0)
        return _jvp(lambda z: loss(z, data.labels), logits, tangents)[1]


def _renumbered(data: Encoded) -> tuple[Encoded, Tensor]:
    """``data`` with its words numbered from 0 (padding), and the words' indices in the vocabulary, (V',) int64.

    A batch has hundreds of different words, the vocabulary tens of thousands.
    """
    words, numbers = torch.unique(torch.cat([data.flat, data.flat.new_tensor([PAD])]), return_inverse=True)
    return replace(data, flat=numbers[:-1].to(data.flat.dtype)), words.long()


def _forward_mode(model: nn.Module, batch: Batch, direction: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    parameters = {name: p.detach() for name, p in _parameters(model).items()}
    return _jvp(lambda p: torch.func.functional_call(model, p, (batch,)), parameters, direction)


def _jvp(function: Callable[..., Tensor], at: object, along: object) -> tuple[Tensor, Tensor]:
    value, derivative = torch.func.jvp(function, (at,), (along,))  # type: ignore[misc]
    return value, derivative


def _double_backward(model: nn.Module, data: Encoded, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    """Differentiates the weighted gradient by the weights, as plain PyTorch would; the fused LSTMs cannot."""
    derivative = torch.empty(len(data), device=data.device, dtype=next(model.parameters()).dtype)
    names, parameters = zip(*_parameters(model).items(), strict=True)
    plain = torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)
    with plain[0], plain[1], _plain_attention(model):
        for rows in sorted_batches(data.sizes, _batch_size(data.device)):
            batch = data.batch(rows)
            weights = torch.ones(len(rows), device=data.device, dtype=derivative.dtype, requires_grad=True)
            total = (weights * loss(model(batch), batch.labels)).sum()
            gradient = torch.autograd.grad(total, parameters, create_graph=True)
            along = sum((g * direction[name]).sum() for name, g in zip(names, gradient, strict=True))
            (derivative[torch.as_tensor(rows, device=data.device)],) = torch.autograd.grad(along, weights)  # type: ignore[arg-type]
    return derivative


def meta_gradient(
    model: nn.Module,
    train_set: Encoded,
    outer_set: Encoded,
    *,
    weights: Tensor,
    lr: float = 1e-3,
    outer_loss: Loss = reverse_cross_entropy,
    inner_loss: Loss = cross_entropy,
    method: str | None = None,
) -> tuple[Tensor, float]:
    """g, (N,), of Eqn. 11 as the module's docstring pins it, and the outer loss, at ``model``'s parameters."""
    direction, value = outer_gradient(model, outer_set, outer_loss)
    along = directional(model, train_set, direction, method=method, loss=inner_loss)
    return -(lr / weights.sum()) * along, value


# --- the outer loop ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Iteration:
    """One outer iteration: outer loss at the trained TAM, inner training accuracy, mean weight after the update.

    ``guard`` is the relative error of the central difference against the exact derivative, where it was checked.
    """

    number: int
    outer_loss: float
    train_accuracy: float
    mean_weight: float
    seconds: float
    guard: float | None = None


@dataclass
class LearnedWeights:
    """``weights``: (N,) float32 in [0, 1]; ``snapshots``: iteration -> (N,); ``history``: one entry an iteration."""

    weights: np.ndarray
    snapshots: dict[int, np.ndarray]
    history: list[Iteration] = field(default_factory=list)

    def __repr__(self) -> str:
        low, high = float((self.weights < 0.1).mean()), float((self.weights > 0.9).mean())
        return (
            f"LearnedWeights({len(self.weights):,} samples, {len(self.history)} iterations; "
            f"mean {self.weights.mean():.3f}, {low:.0%} below 0.1, {high:.0%} above 0.9)"
        )

    def _repr_html_(self) -> str:
        """The same, and a histogram in ten bars."""
        counts = np.histogram(self.weights, bins=10, range=(0, 1))[0].tolist()
        return show.table(["0", "samples by weight", "1"], [["", show.bars(counts), ""]], caption=repr(self))


def learn_weights(
    train_set: Encoded,
    *,
    tam: nn.Module | Sequence[nn.Module],
    outer_set: Encoded | None = None,
    outer_size: int = 50_000,
    outer_loss: Loss = reverse_cross_entropy,
    outer_draw: str = "once",
    centred: bool = False,
    iterations: int = 50,
    outer_lr: float = 0.25,
    inner_epochs: int = 1,
    inner_lr: float = 1e-3,
    batch_size: int = 32,
    precision: str = "float32",
    method: str | None = None,
    guard_every: int = 10,
    snapshots: Sequence[int] = (0, 5, 10, 50),
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: str | None = None,
    on_iteration: Callable[[LearnedWeights], None] | None = None,
) -> LearnedWeights:
    """Learn one weight for each sample of ``train_set`` (Algorithm 1; defaults of Appendix F.2).

    The weights are sigmoids of scores that start at 0 (weight 0.5) and are moved by Adam at rate ``outer_lr`` for
    ``iterations`` outer iterations. The inner loop starts each of them from ``tam``'s parameters as given and trains
    ``inner_epochs`` epochs at ``inner_lr`` (the paper's LSTM's: for another TAM pass its own), ``batch_size`` samples a
    step, in "float32" or "bf16" (``precision``). ``outer_set`` defaults to ``outer_size`` samples, or all if there are
    fewer, drawn once without replacement from the training set itself. ``outer_loss``: (B, K) logits and (B,) labels to
    (B,) losses. ``seed`` decides that draw and the order of batches. ``method`` is that of ``directional``; the central
    difference is checked every ``guard_every`` iterations and given up where it is off by more than 1e-3.

    ``snapshots``: iterations whose weights are kept. With ``checkpoint``, a file, work is saved on the way and taken up
    again from there, to the identical result. ``progress`` names the bar, ``None`` hides it. ``on_iteration`` is handed
    what is learned so far, after each iteration computed now.

    Raises ``Diverged`` where the loss or the meta-gradient leaves the finite numbers, and for weights that collapse:
    all equal, all near 0, or those of all classes but one below a tenth of its. Raises ``ValueError`` for sizes and
    numbers below 1, an unknown ``method`` or ``outer_draw``, and a checkpoint of another run.

    Past the paper: ``outer_draw`` "held_out" keeps the drawn samples out of the inner loop (they are weighed all the
    same), "swapped" also draws others each iteration. ``centred`` takes each class's mean off the meta-gradient, so
    that classes keep their shares. Several ``tam``, of one kind, give their initial parameters in turns.
    """
    if min(outer_size, iterations, inner_epochs, guard_every) < 1:
        sizes = f"{outer_size=}, {iterations=}, {inner_epochs=}, {guard_every=}"
        raise ValueError(f"sizes and numbers must be positive, got {sizes}")
    tams = [tam] if isinstance(tam, nn.Module) else list(tam)
    method = _known(method or default_method(tams[0]))
    outer = _Outer(train_set, outer_set, size=outer_size, draw=outer_draw, seed=seed)
    trainers = [Trainer(one, train_set, lr=inner_lr, batch_size=batch_size, precision=precision) for one in tams]
    state = _OuterState(train_set, outer_lr, snapshots)
    identity: dict[str, object] = {
        "seed": seed,
        "outer_lr": outer_lr,
        "inner_epochs": inner_epochs,
        "inner_lr": inner_lr,
        "batch_size": batch_size,
        "precision": precision,
        "method": method,
        "guard_every": guard_every,
    }
    # Only what is not the paper's, so that checkpoints older than these options go on.
    identity |= {} if outer_draw == "once" else {"outer_draw": outer_draw, "outer_size": outer_size}
    identity |= {"centred": True} if centred else {}
    if checkpoint is not None:
        # A function has no name to rely on, but its value at some logits tells it from others.
        identity["outer_loss"] = round(float(outer_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))), 6)
        identity["digest"] = _digest(train_set, outer.of(1)[0], tams)
        state.resume(Path(checkpoint), identity)
    saved = time.perf_counter()
    done = len(state.history)
    if done > iterations:
        raise ValueError(f"{checkpoint} holds {done} iterations, {iterations} were asked for")
    with _put_back(trainers):
        for number in tqdm(
            range(done + 1, iterations + 1), desc=progress, initial=done, total=iterations, disable=progress is None
        ):
            start = time.perf_counter()
            trainer = trainers[(number - 1) % len(trainers)]
            samples, inside = outer.of(number)
            weights = state.weights * inside
            trainer.restart()
            trainer.set_weights(weights)
            for epoch in range(inner_epochs):
                trained = trainer.epoch(derived_seed(seed, number, epoch))
            direction, value = outer_gradient(trainer.model, samples, outer_loss)
            guard = None
            if state.method(method) == "difference" and (number - 1) % guard_every == 0:
                guard = _guard(trainer.model, train_set, direction, seed=derived_seed(seed, number))
                state.inexact |= not guard <= GUARD_LIMIT  # NaN is inexact too
            along = directional(trainer.model, train_set, direction, method=state.method(method))
            gradient = -(inner_lr / weights.sum()) * along
            state.update(_without_class_means(gradient, train_set) if centred else gradient)
            _refuse_collapse(state.weights, train_set, number)
            state.record(
                Iteration(
                    number, value, trained.accuracy, float(state.weights.mean()), time.perf_counter() - start, guard
                )
            )
            if checkpoint is not None and (time.perf_counter() - saved > CHECKPOINT_SECONDS or number == iterations):
                state.save(Path(checkpoint), identity)
                saved = time.perf_counter()
            if on_iteration is not None:
                on_iteration(state.learned())
    return state.learned()


@contextmanager
def _put_back(trainers: Sequence[Trainer]) -> Iterator[None]:
    """Models end as they came, also where weights diverge or somebody interrupts."""
    try:
        yield
    finally:
        for trainer in trainers:
            trainer.restart()
            trainer.graphs = None  # they and the trainer hold each other, and the device's memory


class _Outer:
    """The outer set of each iteration, and which samples the inner loop trains on."""

    def __init__(self, train_set: Encoded, given: Encoded | None, *, size: int, draw: str, seed: int) -> None:
        if draw not in OUTER_DRAWS:
            raise ValueError(f"unknown outer_draw {draw!r}; known: {', '.join(OUTER_DRAWS)}")
        if draw != "once" and (given is not None or size >= len(train_set)):
            raise ValueError(f"outer_draw {draw!r} takes fewer than all samples of the training set, and no outer_set")
        self.train_set, self.size, self.draw, self.seed = train_set, min(size, len(train_set)), draw, seed
        self.first = self._drawn(derived_seed(seed, 0)) if given is None else (given, self._all())

    def _all(self) -> Tensor:
        return torch.ones(len(self.train_set), device=self.train_set.device)

    def _drawn(self, seed: int) -> tuple[Encoded, Tensor]:
        rows = np.random.default_rng(seed).choice(len(self.train_set), self.size, replace=False)
        inside = self._all()
        if self.draw != "once":
            inside[torch.as_tensor(rows, device=inside.device)] = 0
        return self.train_set.select(rows), inside

    def of(self, number: int) -> tuple[Encoded, Tensor]:
        """The outer set, and (N,) 1 for the samples that are trained on, 0 for the others."""
        if self.draw != "swapped" or number == 1:
            return self.first
        return self._drawn(derived_seed(self.seed, 0, number))


def _class_means(values: Tensor, data: Encoded) -> Tensor:
    """(K,) means of ``values``, (N,), over the samples of each label; 0 for a label without samples."""
    counts = torch.bincount(data.labels, minlength=data.classes).clamp(min=1)
    return torch.zeros(data.classes, device=values.device).index_add_(0, data.labels, values) / counts


def _without_class_means(gradient: Tensor, data: Encoded) -> Tensor:
    return gradient - _class_means(gradient, data)[data.labels]


def _refuse_collapse(weights: Tensor, data: Encoded, number: int) -> None:
    """Weights that leave nothing to learn from are an outcome to report, not to train on."""
    if float(weights.mean()) < COLLAPSE:
        raise Diverged(f"all weights are close to 0 after iteration {number}")
    # Adam's first step is as long for every sample: after it, and only then, equal weights may still be on their way.
    if number > 1 and len(weights) > 1 and float(weights.max() - weights.min()) < EQUAL:
        raise Diverged(f"all weights are equal after iteration {number}")
    means = _class_means(weights, data)[data.labels.unique()]
    if len(means) > 1 and int((means > ONE_CLASS * means.max()).sum()) == 1:
        rest = f"the others' are below {ONE_CLASS:.0%} of its; train longer in the inner loop, or take class means off"
        raise Diverged(f"only one class has weights left after iteration {number}: {rest}")


def choose_outer_lr(train_set: Encoded, rates: Sequence[float], *, pilot: int = PILOT, **settings: Any) -> float:
    """The rate whose outer loss is lowest at the end of ``pilot`` iterations (mean of the last three).

    Appendix F.2 chooses among 0.25, 0.1 and 0.01 by looking whether the outer loss falls steadily; this does so without
    looking. Only synthetic samples decide. ``settings`` are ``learn_weights``'s.
    """
    ends = {}
    reason = None
    for rate in rates:
        try:
            learned = learn_weights(train_set, outer_lr=rate, iterations=pilot, snapshots=(), **settings)
        except Diverged as error:
            reason = error
        else:
            ends[rate] = np.mean([iteration.outer_loss for iteration in learned.history[-3:]])
    if not ends:
        raise Diverged(f"no outer rate of {', '.join(map(str, rates))} will do: {reason}")
    return min(ends, key=lambda rate: float(ends[rate]))


def _digest(train_set: Encoded, outer_set: Encoded, tams: Sequence[nn.Module]) -> str:
    """SHA-256 over the texts, the labels and the TAMs' initial parameters."""
    digest = hashlib.sha256()
    texts = (t for s in (train_set, outer_set) for t in (s.flat, s.lengths, s.labels))
    for tensor in (*texts, *(parameter for tam in tams for parameter in tam.parameters())):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _guard(model: nn.Module, data: Encoded, direction: dict[str, Tensor], *, seed: int) -> float:
    """Relative error of the central difference on a sample of the data."""
    rows = np.random.default_rng(seed).choice(len(data), min(GUARD_ROWS, len(data)), replace=False)
    sample = data.select(rows)
    exact = directional(model, sample, direction, method="dual")
    error = directional(model, sample, direction, method="difference") - exact
    return float(error.norm() / exact.norm()) if float(exact.norm()) > 0 else 0.0


class _OuterState:
    """Scores, their optimiser and what has been recorded: all that a checkpoint must hold."""

    def __init__(self, train_set: Encoded, lr: float, snapshots: Sequence[int]) -> None:
        self.scores = torch.zeros(len(train_set), device=train_set.device)
        self.first = torch.zeros_like(self.scores)
        self.second = torch.zeros_like(self.scores)
        self.lr, self.eps, self.inexact = lr, 0.0, False
        self.wanted = set(snapshots)
        self.history: list[Iteration] = []
        self.snapshots = {0: self.weights.cpu().numpy()} if 0 in self.wanted else {}

    @property
    def weights(self) -> Tensor:
        return self.scores.sigmoid()

    def learned(self) -> LearnedWeights:
        """What is recorded so far."""
        return LearnedWeights(self.weights.cpu().numpy(), dict(self.snapshots), list(self.history))

    def method(self, chosen: str) -> str:
        """The chosen way to the derivative, until the guard has found it inexact."""
        return "dual" if self.inexact and chosen == "difference" else chosen

    def update(self, gradient: Tensor) -> None:
        """One Adam step on the scores; eps is relative to the first gradient, so the loss's scale does not matter."""
        weights = self.weights
        gradient = gradient * weights * (1 - weights)
        if not bool(torch.isfinite(gradient).all()):
            raise Diverged(f"the meta-gradient is not finite in iteration {len(self.history) + 1}")
        if not bool(gradient.any()):
            raise Diverged(f"the meta-gradient is 0 for every sample in iteration {len(self.history) + 1}")
        if not self.history:
            self.eps = 1e-8 * float(gradient.square().mean().sqrt())
        step = len(self.history) + 1
        self.first.lerp_(gradient, 1 - 0.9)
        self.second.lerp_(gradient.square(), 1 - 0.999)
        scale = (self.second / (1 - 0.999**step)).sqrt() + self.eps
        moves = self.first / (1 - 0.9**step) / scale
        self.scores -= self.lr * torch.nan_to_num(moves)  # 0 / 0, a sample whose gradient was always zero: stays

    def record(self, iteration: Iteration) -> None:
        self.history.append(iteration)
        if iteration.number in self.wanted:
            self.snapshots[iteration.number] = self.weights.cpu().numpy()

    def save(self, path: Path, identity: dict[str, object]) -> None:
        tensors = {"scores": self.scores, "first": self.first, "second": self.second}
        tensors |= {f"snapshot.{n}": torch.as_tensor(w) for n, w in self.snapshots.items()}
        about = {
            "identity": identity,
            "eps": self.eps,
            "inexact": self.inexact,
            "history": [asdict(iteration) for iteration in self.history],
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"about": json.dumps(about)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata | {SEAL: _seal(metadata["about"], tensors)})

    def resume(self, path: Path, identity: dict[str, object]) -> None:
        if not path.exists():
            return
        about, tensors = _read_checkpoint(path)
        if about["identity"] != identity:
            other = about["identity"]
            raise ValueError(f"{path} belongs to another run: {other}, not {identity}; remove it or name another")
        for name in ("scores", "first", "second"):
            getattr(self, name).copy_(tensors[name])
        self.eps, self.inexact = about["eps"], about["inexact"]
        self.history = [Iteration(**entry) for entry in about["history"]]
        self.snapshots = _snapshots(tensors)


def _read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            about = json.loads(metadata["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        seal = metadata.get(SEAL)
        if seal is not None and seal != _seal(metadata["about"], tensors):  # the first checkpoints had none
            raise ValueError("its content does not match its checksum")
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no weights ({error}); remove it to learn them anew") from None
    return about, tensors


def _seal(about: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of all that a checkpoint holds: safetensors would not notice a changed number."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _snapshots(tensors: dict[str, Tensor]) -> dict[int, np.ndarray]:
    return {int(key.removeprefix("snapshot.")): value.numpy() for key, value in tensors.items() if "." in key}


def load_weights(path: str | Path) -> LearnedWeights:
    """The weights, snapshots and history saved at ``path`` by ``learn_weights(checkpoint=path)``.

    Raises ``ValueError`` for a file that holds none.
    """
    about, tensors = _read_checkpoint(path)
    history = [Iteration(**entry) for entry in about["history"]]
    return LearnedWeights(F.sigmoid(tensors["scores"]).numpy(), _snapshots(tensors), history)
