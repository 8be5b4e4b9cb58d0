"""Line 4 of Algorithm 1: the gradient of the outer loss, and the derivative of every sample's loss along it.

The meta-gradient of Eqn. 11, taken at the trained parameters and with its minus sign, is

    g_i = d/dw_i L_robust(theta - lr * grad sum_j w_j l_j(theta) / S) = -(lr / S) <v, grad l_i(theta)>,   S = sum_j w_j,

with S held constant and v the gradient of L_robust. ``<v, grad l_i>`` is the derivative of l_i along v: two forward
passes by central difference, or exactly with dual numbers. No per-sample gradient is ever formed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from sungen_lib.encode import PAD, Batch, Encoded, Samples, sorted_batches
from sungen_lib.encoder import Encoder
from sungen_lib.fast import arithmetic, evaluation_batch_size, one_thread, over_batches, without_cudnn
from sungen_lib.losses import Loss, cross_entropy, reverse_cross_entropy
from sungen_lib.models import BiLSTM

METHODS = ("difference", "dual", "double_backward")
RADIUS = 0.002  # step length of the central difference: below it rounding errors dominate, above it truncation errors
FAR = 0.05  # a sample whose loss changes by more than this between the two steps gets dual numbers instead
GUARD_ROWS, GUARD_LIMIT = 1024, 1e-3  # rows on which the difference is checked; its largest relative error


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _without_dropout(model: nn.Module) -> None:
    # cuDNN refuses to differentiate an LSTM in evaluation mode; the BiLSTM has no dropout to turn off.
    model.train(isinstance(model, BiLSTM))


def outer_gradient(model: nn.Module, outer_set: Samples, loss: Loss) -> tuple[dict[str, Tensor], float]:
    """Gradient of the mean ``loss`` over ``outer_set`` by parameter name, and that mean loss; dropout is off."""
    _without_dropout(model)
    parameters = _parameters(model)
    gradient = {name: torch.zeros_like(p) for name, p in parameters.items()}
    total = torch.zeros((), device=outer_set.device)

    def of_batch(rows: np.ndarray) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        batch = outer_set.batch(rows)
        value = loss(model(batch), batch.labels).sum() / len(outer_set)
        return value.detach(), torch.autograd.grad(value, list(parameters.values()), allow_unused=True)

    with arithmetic(outer_set.device):
        for value, parts in over_batches(of_batch, outer_set, model):
            total += value
            for name, part in zip(gradient, parts, strict=True):
                if part is not None:
                    gradient[name] += part
    return gradient, float(total)


def default_method(model: nn.Module) -> str:
    """The fastest way to the derivative whose relative error stays below 1e-3.

    The difference needs float32: with parameters in bfloat16 it would be off by several per cent.
    """
    wide = all(parameter.dtype in (torch.float32, torch.float64) for parameter in model.parameters())
    return "difference" if wide and isinstance(model, BiLSTM | Encoder) else "dual"


def checked_method(method: str) -> str:
    """Return ``method`` if it is one of ``METHODS``; raise ``ValueError`` otherwise."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    return method


def directional(
    model: nn.Module,
    data: Samples,
    direction: dict[str, Tensor],
    *,
    method: str | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """``<direction, grad loss_i>`` for each sample, (N,) in the order of ``data``; the parameters do not change.

    ``method``: "difference" (two forward passes; dual numbers for the samples whose loss is far from linear over the
    step), "dual" (exact to rounding), "double_backward" (the textbook method, slow, for tests and benchmarks), or
    ``None`` for ``default_method``.
    """
    method = checked_method(method or default_method(model))
    _without_dropout(model)
    compute = {"difference": _mended, "dual": _dual, "double_backward": _double_backward}[method]
    with arithmetic(data.device):
        return compute(model, data, direction, loss)


def _mended(model: nn.Module, data: Samples, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    """The difference, and dual numbers for every sample whose loss changes by more than ``FAR`` over the step.

    On a few hundred rows a trained TAM can have single samples with enormous gradients. They carry nearly all of the
    difference's error, and this finds them in every iteration, at no cost.
    """
    along = _difference(model, data, direction, loss)
    far = along.abs() * 2 * RADIUS / _norm(direction) > FAR
    if bool(far.any()):
        rows = np.flatnonzero(far.cpu().numpy())
        along[far] = _dual(model, data.select(rows), direction, loss)
    return along


def _difference(model: nn.Module, data: Samples, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    norm = _norm(direction)
    if not float(norm) > 0:  # a zero direction has zero derivative; NaN falls through to the caller's check
        return torch.full((len(data),), float(norm), device=data.device)
    step = RADIUS / norm
    if isinstance(model, Encoder):
        return _through_logits(model.difference(direction, step), model, data, loss)
    with torch.no_grad(), restored(model) as start:
        _move(model, start, direction, step)
        ahead = _losses(model, data, loss)
        _move(model, start, direction, -step)
        return ((ahead - _losses(model, data, loss)) / (2 * step)).to(next(iter(direction.values())).dtype)


def _norm(direction: dict[str, Tensor]) -> Tensor:
    """Euclidean norm, float64."""
    return torch.sqrt(sum((d.double() ** 2).sum() for d in direction.values()))  # type: ignore[arg-type]


@contextmanager
def restored(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yield a copy of the parameters; restore them bit for bit at the end."""
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


def _losses(model: nn.Module, data: Samples, loss: Loss) -> Tensor:
    losses = torch.empty(len(data), dtype=torch.float64, device=data.device)

    @torch.no_grad()
    def evaluate(rows: np.ndarray) -> None:
        batch = data.batch(rows)
        # Take the softmax in float64: rounding it to float32 would cost half the digits of the difference.
        losses[torch.as_tensor(rows, device=data.device)] = loss(model(batch).double(), batch.labels)

    deque(over_batches(evaluate, data, model), maxlen=0)
    return losses


def _plain_attention(model: nn.Module) -> AbstractContextManager[None]:
    return model.plain_attention() if isinstance(model, Encoder) else nullcontext()


def _dual(model: nn.Module, data: Samples, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    with torch.no_grad(), _plain_attention(model):
        if isinstance(model, BiLSTM) and isinstance(data, Encoded):
            data, words = _renumbered(data)
            with one_thread(data.device):
                tables = model.dual_tables(direction, words)
            return _through_logits(lambda batch: model.dual(batch, direction, tables), model, data, loss)
        return _through_logits(lambda batch: _forward_mode(model, batch, direction), model, data, loss)


@torch.no_grad()
def _through_logits(
    of_batch: Callable[[Batch], tuple[Tensor, Tensor]], model: nn.Module, data: Samples, loss: Loss
) -> Tensor:
    """(N,) derivative of each loss, given each batch's logits and their derivative."""
    logits = torch.empty(len(data), data.classes, device=data.device, dtype=next(model.parameters()).dtype)
    tangents = torch.empty_like(logits)

    @torch.no_grad()
    def evaluate(rows: np.ndarray) -> None:
        index = torch.as_tensor(rows, device=data.device)
        logits[index], tangents[index] = of_batch(data.batch(rows))

    deque(over_batches(evaluate, data, model), maxlen=0)
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


def _double_backward(model: nn.Module, data: Samples, direction: dict[str, Tensor], loss: Loss) -> Tensor:
    """Differentiate the weighted gradient with respect to the weights; fused LSTMs are off, as they cannot do this."""
    derivative = torch.empty(len(data), device=data.device, dtype=next(model.parameters()).dtype)
    names, parameters = zip(*_parameters(model).items(), strict=True)
    with torch.backends.mkldnn.flags(enabled=False), without_cudnn(), _plain_attention(model):
        for rows in sorted_batches(data.sizes, evaluation_batch_size(data, model)):
            batch = data.batch(rows)
            weights = torch.ones(len(rows), device=data.device, dtype=derivative.dtype, requires_grad=True)
            total = (weights * loss(model(batch), batch.labels)).sum()
            gradient = torch.autograd.grad(total, parameters, create_graph=True)
            along = sum((g * direction[name]).sum() for name, g in zip(names, gradient, strict=True))
            (derivative[torch.as_tensor(rows, device=data.device)],) = torch.autograd.grad(along, weights)  # type: ignore[arg-type]
    return derivative


@dataclass(frozen=True, eq=False)
class MetaGradient:
    """``values``: (N,) derivative of the outer loss with respect to each weight; ``outer_loss``: its mean.

    ``guard``: the relative error of the central difference, where it was checked.
    """

    values: Tensor
    outer_loss: float
    guard: float | None = None

    @property
    def inexact(self) -> bool:
        """Whether the guard found the central difference too inaccurate."""
        return self.guard is not None and _inexact(self.guard)


def meta_gradient(
    model: nn.Module,
    train_set: Samples,
    outer_set: Samples,
    *,
    weights: Tensor,
    lr: float = 1e-3,
    outer_loss: Loss = reverse_cross_entropy,
    method: str | None = None,
    guard_seed: int | None = None,
) -> MetaGradient:
    """g of Eqn. 11, as the module's docstring defines it, at ``model``'s parameters; ``weights``: (N,), positive sum.

    ``lr`` is the inner learning rate. ``method`` is ``directional``'s. With ``guard_seed``, the central difference is
    checked on rows drawn with it, and replaced by dual numbers if its relative error exceeds ``GUARD_LIMIT``.
    """
    method = checked_method(method or default_method(model))
    direction, value = outer_gradient(model, outer_set, outer_loss)
    guard = None
    if method == "difference" and guard_seed is not None:
        guard = _guard(model, train_set, direction, seed=guard_seed)
        method = "dual" if _inexact(guard) else method
    along = directional(model, train_set, direction, method=method)
    return MetaGradient(-(lr / weights.sum()) * along, value, guard)


def _inexact(error: float) -> bool:
    return not error <= GUARD_LIMIT  # NaN is inexact, too


def _guard(model: nn.Module, data: Samples, direction: dict[str, Tensor], *, seed: int) -> float:
    """Relative error of the central difference, before it is mended, on a sample of the data.

    It is the error's norm. Few samples dominate that norm, so the median of the samples' relative errors stands in for
    it where it is too large.
    """
    rows = np.random.default_rng(seed).choice(len(data), min(GUARD_ROWS, len(data)), replace=False)
    sample = data.select(rows)
    exact = directional(model, sample, direction, method="dual")
    with arithmetic(data.device):
        error = _difference(model, sample, direction, cross_entropy) - exact
    if not float(exact.norm()) > 0:
        return 0.0
    norm, typical = float(error.norm() / exact.norm()), float((error.abs() / exact.abs()).nanmedian())
    return typical if typical > max(norm, GUARD_LIMIT) else norm
