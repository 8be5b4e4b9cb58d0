"""The meta-gradient by the general libraries for bilevel optimisation, each used as its documentation says.

All take the same arguments and return the same thing as ``reweight.meta_gradient``: for each row
``-(lr / S) <v, grad l_i>``, (N,), with v, the outer gradient, given. The outer loss enters as ``<v, theta'>``, whose
gradient by the updated parameters theta' is v: cheaper for a library than to evaluate the outer set for each batch,
and exactly the pinned formula. Libraries are optional: a missing one raises ``ImportError`` when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata

import torch
from torch import Tensor, nn

from sungen_lib.encode import Batch, Encoded, sorted_batches
from sungen_lib.losses import cross_entropy
from sungen_lib.models import BiLSTM

Direction = dict[str, Tensor]
Peer = Callable[[BiLSTM, Encoded, Direction, Tensor, float], Tensor]
PACKAGES = {"higher": "higher", "torchopt": "torchopt", "betty": "betty-ml", "betty_restored": "betty-ml"}
BATCH_SIZE = 128


def version(name: str) -> str | None:
    """The installed version of a peer's package, or ``None``."""
    try:
        return metadata.version(PACKAGES[name])
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """The fused LSTM kernels have no second derivative."""
    with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
        yield


def _batches(data: Encoded) -> Iterator[tuple[Tensor, Batch]]:
    for rows in sorted_batches(data.sizes, BATCH_SIZE):
        yield torch.as_tensor(rows, device=data.device), data.batch(rows)


def _weighted_loss(model: nn.Module, batch: Batch, weights: Tensor, total: Tensor) -> Tensor:
    return (weights * cross_entropy(model(batch), batch.labels)).sum() / total


def higher_gradient(model: BiLSTM, data: Encoded, direction: Direction, weights: Tensor, lr: float) -> Tensor:
    """``higher.innerloop_ctx``: one differentiable SGD step a batch."""
    import higher  # type: ignore[import-untyped,import-not-found,unused-ignore]

    result, total = torch.empty_like(weights), weights.sum()
    with differentiable_twice():
        for index, batch in _batches(data):
            batch_weights = weights[index].clone().requires_grad_()
            optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            with higher.innerloop_ctx(model, optimizer) as (stateless, differentiable):
                differentiable.step(_weighted_loss(stateless, batch, batch_weights, total))
                objective = sum((direction[name] * p).sum() for name, p in stateless.named_parameters())
                (result[index],) = torch.autograd.grad(objective, batch_weights)
    return result


def torchopt_gradient(model: BiLSTM, data: Encoded, direction: Direction, weights: Tensor, lr: float) -> Tensor:
    """``torchopt.MetaSGD``: one differentiable step a batch, then back to the parameters as they were."""
    import torchopt  # type: ignore[import-not-found,unused-ignore]

    result, total = torch.empty_like(weights), weights.sum()
    optimizer = torchopt.MetaSGD(model, lr=lr)
    start, start_state = torchopt.extract_state_dict(model), torchopt.extract_state_dict(optimizer)
    with differentiable_twice():
        for index, batch in _batches(data):
            batch_weights = weights[index].clone().requires_grad_()
            optimizer.step(_weighted_loss(model, batch, batch_weights, total))
            objective = sum((direction[name] * p).sum() for name, p in model.named_parameters())
            (result[index],) = torch.autograd.grad(objective, batch_weights)  # type: ignore[arg-type,unused-ignore]
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(optimizer, start_state)
    return result


def betty_gradient(model: BiLSTM, data: Encoded, direction: Direction, weights: Tensor, lr: float) -> Tensor:
    """``betty``'s default, ``darts`` (central difference), as shipped: each batch leaves the parameters displaced.

    Its last lines, "reverse weight change", call ``p.data.add(...)``, which returns a sum and moves nothing, where
    ``add_`` was meant. After k batches all later ones are evaluated k steps away from where they should be.
    """
    return _betty(model, data, direction, weights, lr, restore=False)


def betty_restored_gradient(model: BiLSTM, data: Encoded, direction: Direction, weights: Tensor, lr: float) -> Tensor:
    """The same with the step back that ``add_`` would have made."""
    return _betty(model, data, direction, weights, lr, restore=True)


def _betty(model: BiLSTM, data: Encoded, direction: Direction, weights: Tensor, lr: float, *, restore: bool) -> Tensor:
    from betty.configs import Config  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from betty.hypergradient.darts import darts  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from betty.problems import ImplicitProblem  # type: ignore[import-untyped,import-not-found,unused-ignore]

    total = weights.sum()

    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Parameter(weights.clone())

    class Inner(ImplicitProblem):
        def training_step(self, batch: tuple[Tensor, Batch]) -> Tensor:
            index, texts = batch
            return _weighted_loss(self.module, texts, outer.module.values[index], total)

    device = str(data.device)
    outer = ImplicitProblem("outer", Config(), module=Weights(), device=device)
    inner = Inner("inner", Config(), module=model, device=device)
    vector = [direction[name] for name, _ in model.named_parameters()]
    step = inner.config.darts_alpha / torch.cat([v.flatten() for v in vector]).norm()
    result = torch.empty_like(weights)
    for index, batch in _batches(data):
        inner.cur_batch = (index, batch)
        (gradient,) = darts(vector, inner, outer)
        result[index] = lr * gradient[index]
        if restore:
            with torch.no_grad():
                for parameter, v in zip(model.parameters(), vector, strict=True):
                    parameter.add_(v, alpha=float(step))
    return result


PEERS: dict[str, Peer] = {
    "higher": higher_gradient,
    "torchopt": torchopt_gradient,
    "betty": betty_gradient,
    "betty_restored": betty_restored_gradient,
}
