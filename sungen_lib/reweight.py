"""Algorithm 1 of the paper: sample weights by bilevel optimisation with a noise-robust outer loss.

``iterations`` is the algorithm, its six lines marked. Each weight is the sigmoid of a score; the scores start at 0. An
outer iteration trains the TAM from its initial parameters with the current weights, takes the gradient of the robust
loss on the outer set at the trained parameters, and moves every score by one step of Adam against the meta-gradient
(``derivative.meta_gradient``). A sample gains weight if its gradient agrees with that of the robust loss.

Everything here works on tensors. ``learn.learn_weights`` is what users call: it prepares texts, shows a progress bar,
saves and resumes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sungen_lib.choice import remedies
from sungen_lib.derivative import checked_method, default_method, meta_gradient
from sungen_lib.encode import Samples
from sungen_lib.losses import Loss, reverse_cross_entropy
from sungen_lib.seeds import derived_seed
from sungen_lib.train import Diverged, Epoch, Trainer

OUTER_DRAWS = ("once", "held_out", "swapped")
COLLAPSE = 0.01  # weights have collapsed when their mean is below this,
ONE_CLASS = 0.1  # or when all classes but one have a mean below this share of its mean (sound weights: above 0.15),
EQUAL = 1e-6  # or when they all lie within this of each other


@dataclass(frozen=True)
class Bilevel:
    """Settings of both loops; the defaults are the paper's for the LSTM (Appendix F.2), where it states them.

    Batches of 32 are the authors' code's, and ``outer_lr`` is the largest of the three rates that F.2 tries.

    Outer loop: ``iterations``; ``outer_lr``, Adam's rate on the scores; ``outer_loss``, (B, K) logits and (B,) labels
    to (B,) losses; ``outer_size``, samples of the outer set, drawn without replacement from the training set (all, if
    there are fewer). Inner loop: ``inner_epochs`` at ``inner_lr``, ``batch_size`` samples per step, in "float32" or
    "bf16" (``precision``). ``method`` is ``derivative.directional``'s; the central difference is checked every
    ``guard_every`` iterations and abandoned once its relative error exceeds 1e-3.

    Beyond the paper: ``balanced`` makes classes count equally, judged by the given labels. The outer loss of a sample
    is multiplied by N / (K n_k), where n_k is the number of samples with its label; its inner loss is multiplied by the
    same factor to the power of 3/4. Without it, noise that flips one class to another can leave only one class with
    weights. ``outer_draw`` "held_out" keeps the outer set out of the inner loop (its samples still get weights),
    "swapped" also draws a new one in each iteration. ``centred`` subtracts each class's mean from the
    meta-gradient, so that classes keep their shares.

    Raises ``ValueError`` for sizes and numbers below 1, for rates that are negative or not finite, for an
    ``outer_loss`` that cannot be called, and for an unknown ``outer_draw`` or ``method``.
    """

    iterations: int = 50
    outer_lr: float = 0.25
    outer_size: int = 50_000
    outer_loss: Loss = reverse_cross_entropy
    outer_draw: str = "once"
    centred: bool = False
    balanced: bool = False
    inner_epochs: int = 1
    inner_lr: float = 1e-3
    batch_size: int = 32
    precision: str = "float32"
    method: str | None = None
    guard_every: int = 10

    def __post_init__(self) -> None:
        for name in ("iterations", "outer_size", "inner_epochs", "batch_size", "guard_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("outer_lr", "inner_lr"):
            if not 0 <= getattr(self, name) < math.inf:  # a negative rate would turn the weights upside down
                raise ValueError(f"{name} must be a finite number, not negative, got {getattr(self, name)}")
        if not callable(self.outer_loss):
            raise ValueError(f"outer_loss must be a function such as losses.LOSSES['rce'], got {self.outer_loss!r}")
        if self.outer_draw not in OUTER_DRAWS:
            raise ValueError(f"unknown outer_draw {self.outer_draw!r}; known: {', '.join(OUTER_DRAWS)}")
        if self.method is not None:
            checked_method(self.method)


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


def iterations(
    train_set: Samples,
    tams: Sequence[nn.Module],
    settings: Bilevel,
    *,
    outer_set: Samples | None = None,
    seed: int = 0,
    state: State | None = None,
) -> Generator[State, None, None]:
    """Algorithm 1, one outer iteration at a time: yields the state, always the same object, after each.

    ``tams`` give the initial parameters; several, of one kind, take turns. Between two iterations the TAM of the last
    one holds the trained parameters; at the end all TAMs have their initial parameters again, on the training set's
    device. ``outer_set`` replaces the one drawn from the training set. ``seed`` decides that draw and the order of
    batches. ``state``: resume from it, with identical results.

    Raises ``Diverged`` if the loss or the meta-gradient is not finite or if weights collapse, and ``ValueError`` for an
    ``outer_draw`` that the sets do not allow.
    """
    outer = OuterSets(train_set, outer_set, settings, seed)
    trainers = [_trainer(tam, train_set, settings) for tam in tams]
    method = settings.method or default_method(tams[0])
    classes = _Classes(train_set, settings)
    state = state or State(train_set)  # line 1: every weight is sigmoid(0) = 0.5
    with _put_back(trainers):
        for number in range(state.done + 1, settings.iterations + 1):  # line 2: for each outer iteration
            start = time.perf_counter()
            trainer = trainers[(number - 1) % len(trainers)]
            samples, inside = outer.of(number)
            weights = state.weights * inside
            # Line 3: train the TAM from its initial parameters on the weighted loss (Eqn. 2).
            trained = _inner_loop(trainer, weights * classes.inner, settings.inner_epochs, seed, number)
            # Line 4: the gradient of the robust loss with respect to each weight (Eqns. 3 and 11).
            found = meta_gradient(
                trainer.model,
                train_set,
                samples,
                weights=weights,
                lr=settings.inner_lr,
                outer_loss=classes.outer(settings.outer_loss),
                method="dual" if state.inexact and method == "difference" else method,
                guard_seed=derived_seed(seed, number) if (number - 1) % settings.guard_every == 0 else None,
            )
            # Line 5: one step of Adam on the scores.
            state.step(classes.gradient(found.values), settings.outer_lr)
            _refuse_collapse(state.weights, train_set, number, settings)
            state.inexact |= found.inexact
            seconds, mean = time.perf_counter() - start, float(state.weights.mean())
            state.history.append(Iteration(number, found.outer_loss, trained.accuracy, mean, seconds, found.guard))
            yield state
    # Line 6: the weights of the last state are the result.


class State:
    """What the outer loop carries from one iteration to the next: scores, Adam's averages, the history."""

    def __init__(self, train_set: Samples) -> None:
        self.scores = torch.zeros(len(train_set), device=train_set.device)
        self.first = torch.zeros_like(self.scores)
        self.second = torch.zeros_like(self.scores)
        self.eps = 0.0
        self.inexact = False  # whether the guard found the central difference too inaccurate
        self.history: list[Iteration] = []

    @property
    def done(self) -> int:
        """Outer iterations so far."""
        return len(self.history)

    @property
    def weights(self) -> Tensor:
        """(N,) in [0, 1]."""
        return self.scores.sigmoid()

    def step(self, gradient: Tensor, lr: float) -> None:
        """One Adam step on the scores against ``gradient``, (N,), the meta-gradient with respect to the weights.

        Adam's eps is relative to the first gradient, so the scale of the outer loss does not matter.
        """
        number = self.done + 1
        weights = self.weights
        gradient = gradient * weights * (1 - weights)
        if not bool(torch.isfinite(gradient).all()):
            raise Diverged(f"the meta-gradient is not finite in iteration {number}")
        if not bool(gradient.any()):
            why = "no weight changes the outer loss any more; use more texts, or fewer iterations"
            raise Diverged(f"the meta-gradient is 0 for every sample in iteration {number}: {why}")
        if number == 1:
            self.eps = 1e-8 * float(gradient.square().mean().sqrt())
        self.first.lerp_(gradient, 1 - 0.9)
        self.second.lerp_(gradient.square(), 1 - 0.999)
        scale = (self.second / (1 - 0.999**number)).sqrt() + self.eps
        moves = self.first / (1 - 0.9**number) / scale
        self.scores -= lr * torch.nan_to_num(moves)  # 0 / 0: a sample whose gradient was always 0 keeps its score


def _trainer(tam: nn.Module, train_set: Samples, settings: Bilevel) -> Trainer:
    lr, batch_size, precision = settings.inner_lr, settings.batch_size, settings.precision
    return Trainer(tam, train_set, lr=lr, batch_size=batch_size, precision=precision)


def _inner_loop(trainer: Trainer, weights: Tensor, epochs: int, seed: int, number: int) -> Epoch:
    """Train from the initial parameters; return the last epoch."""
    trainer.restart()
    trainer.set_weights(weights)
    try:
        return [trainer.epoch(derived_seed(seed, number, epoch), number=epoch + 1) for epoch in range(epochs)][-1]
    except Diverged as error:
        raise Diverged(f"{error} of the inner loop, iteration {number}") from None


@contextmanager
def _put_back(trainers: Sequence[Trainer]) -> Iterator[None]:
    """Give all models their initial parameters back at the end, also after an error or Ctrl-C."""
    try:
        yield
    finally:
        for trainer in trainers:
            trainer.restart()
            trainer.graphs = None  # graphs and trainer refer to each other, and so keep device memory


class OuterSets:
    """The outer set of each iteration, and which samples the inner loop trains on."""

    def __init__(self, train_set: Samples, given: Samples | None, settings: Bilevel, seed: int) -> None:
        size, draw = settings.outer_size, settings.outer_draw
        if draw != "once" and (given is not None or size >= len(train_set)):
            raise ValueError(f"outer_draw {draw!r} needs an outer_size below the training set's, and no outer_set")
        self.train_set, self.size, self.draw, self.seed = train_set, min(size, len(train_set)), draw, seed
        self.first = self._drawn(derived_seed(seed, 0)) if given is None else (given, self._all())

    def _all(self) -> Tensor:
        return torch.ones(len(self.train_set), device=self.train_set.device)

    def _drawn(self, seed: int) -> tuple[Samples, Tensor]:
        rows = np.random.default_rng(seed).choice(len(self.train_set), self.size, replace=False)
        inside = self._all()
        if self.draw != "once":
            inside[torch.as_tensor(rows, device=inside.device)] = 0
        return self.train_set.select(rows), inside

    def of(self, number: int) -> tuple[Samples, Tensor]:
        """The outer set, and (N,) 1 for the samples that are trained on, 0 for the others."""
        if self.draw != "swapped" or number == 1:
            return self.first
        return self._drawn(derived_seed(self.seed, 0, number))


class _Classes:
    """What ``Bilevel.balanced`` and ``Bilevel.centred`` do; nothing, if they are off."""

    INNER_POWER = 0.75  # 1 evens out more of a real imbalance, and costs accuracy where there is none

    def __init__(self, train_set: Samples, settings: Bilevel) -> None:
        counts = torch.bincount(train_set.labels, minlength=train_set.classes).clamp(min=1)
        balanced = len(train_set) / (train_set.classes * counts)
        self.factors = balanced if settings.balanced else torch.ones_like(balanced)
        self.inner = (self.factors**self.INNER_POWER)[train_set.labels]  # (N,) of each sample's inner loss
        self.train_set, self.settings = train_set, settings

    def outer(self, loss: Loss) -> Loss:
        """``loss``, multiplied by the factor of each sample's class."""
        if not self.settings.balanced:
            return loss
        return lambda logits, labels: self.factors[labels] * loss(logits, labels)

    def gradient(self, values: Tensor) -> Tensor:
        """The meta-gradient, (N,), with the inner loss's factors; the class means subtracted, if that is wanted."""
        gradient = values * self.inner
        return _without_class_means(gradient, self.train_set) if self.settings.centred else gradient


def _class_means(values: Tensor, data: Samples) -> Tensor:
    """(K,) means of ``values``, (N,), over the samples of each label; 0 for a label without samples."""
    counts = torch.bincount(data.labels, minlength=data.classes).clamp(min=1)
    return torch.zeros(data.classes, device=values.device).index_add_(0, data.labels, values) / counts


def _without_class_means(gradient: Tensor, data: Samples) -> Tensor:
    return gradient - _class_means(gradient, data)[data.labels]


def _refuse_collapse(weights: Tensor, data: Samples, number: int, settings: Bilevel) -> None:
    """Raise ``Diverged`` if the weights leave nothing to learn from: an outcome to report, not to train on."""
    if float(weights.mean()) < COLLAPSE:
        raise Diverged(f"all weights are close to 0 after iteration {number}")
    # Adam's first step has the same size for every sample, so equal weights are normal after iteration 1.
    if number > 1 and len(weights) > 1 and float(weights.max() - weights.min()) < EQUAL:
        raise Diverged(f"all weights are equal after iteration {number}")
    means = _class_means(weights, data)[data.labels.unique()]
    if len(means) > 1 and int((means > ONE_CLASS * means.max()).sum()) == 1:
        remedy = remedies(balanced=settings.balanced, centred=settings.centred)
        raise Diverged(
            f"only one class has weights left after iteration {number}: every other class has a mean weight below "
            f"{ONE_CLASS:.0%} of it; {remedy}"
        )
