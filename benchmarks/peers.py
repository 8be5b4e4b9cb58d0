"""The meta-gradient by the general libraries for bilevel optimisation, each used as its documentation says.

They differentiate what their users have: the straightforward model of ``sungen_lib.plain``, one step of its inner loop
at a time. All take the same arguments and return the same thing as ``plain.meta_gradient``: for each row
``-(lr / S) <v, grad l_i>``, (N,), with v, the outer gradient, given. The outer loss enters as ``<v, theta'>``, whose
gradient by the updated parameters theta' is v: cheaper for a library than evaluating the outer set for each batch,
and exactly the formula above. Libraries are optional: a missing one raises ``ImportError`` when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import metadata

import torch
from torch import Tensor, nn

from sungen_lib.plain import Batch, Batches, PackedBiLSTM, Texts, weighted_loss

MetaGradient = Callable[[PackedBiLSTM, Texts, Tensor, Sequence[Tensor], Batches, float], Tensor]
PACKAGES = {"higher": "higher", "torchopt": "torchopt", "betty": "betty-ml", "betty_restored": "betty-ml"}


def version(name: str) -> str | None:
    """The installed version of a peer's package, or ``None``."""
    try:
        return metadata.version(PACKAGES[name])
    except metadata.PackageNotFoundError:
        return None


def _loaded(texts: Texts, batches: Batches) -> Iterator[tuple[Tensor, Batch]]:
    for rows in batches:
        yield rows.to(texts.labels.device), texts.batch(rows)


def _inner_product(outer: Sequence[Tensor], parameters: Iterable[Tensor]) -> Tensor:
    return torch.stack([(v * p).sum() for v, p in zip(outer, parameters, strict=True)]).sum()


def higher_gradient(
    model: PackedBiLSTM,
    texts: Texts,
    weights: Tensor,
    outer: Sequence[Tensor],
    batches: Batches,
    lr: float,
) -> Tensor:
    """``higher.innerloop_ctx``: one differentiable SGD step per batch."""
    import higher  # type: ignore[import-untyped,import-not-found,unused-ignore]

    result, total = torch.zeros_like(weights), weights.sum()
    with torch.backends.cudnn.flags(enabled=False):
        for index, batch in _loaded(texts, batches):
            batch_weights = weights[index].clone().requires_grad_()
            optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            with higher.innerloop_ctx(model, optimizer) as (stateless, differentiable):
                differentiable.step(weighted_loss(stateless, batch, batch_weights) / total)
                objective = _inner_product(outer, stateless.parameters())
                (result[index],) = torch.autograd.grad(objective, batch_weights)
    return result


def torchopt_gradient(
    model: PackedBiLSTM,
    texts: Texts,
    weights: Tensor,
    outer: Sequence[Tensor],
    batches: Batches,
    lr: float,
) -> Tensor:
    """``torchopt.MetaSGD``: one differentiable step per batch, after which the parameters are restored."""
    import torchopt  # type: ignore[import-not-found,unused-ignore]

    result, total = torch.zeros_like(weights), weights.sum()
    optimizer = torchopt.MetaSGD(model, lr=lr)
    start, start_state = torchopt.extract_state_dict(model), torchopt.extract_state_dict(optimizer)
    with torch.backends.cudnn.flags(enabled=False):
        for index, batch in _loaded(texts, batches):
            batch_weights = weights[index].clone().requires_grad_()
            optimizer.step(weighted_loss(model, batch, batch_weights) / total)
            (result[index],) = torch.autograd.grad(_inner_product(outer, model.parameters()), batch_weights)
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(optimizer, start_state)
    return result


def betty_gradient(
    model: PackedBiLSTM,
    texts: Texts,
    weights: Tensor,
    outer: Sequence[Tensor],
    batches: Batches,
    lr: float,
    *,
    restore: bool = False,
) -> Tensor:
    """``betty``'s default, ``darts`` (central difference), as shipped: each batch leaves the parameters displaced.

    Its last lines, "reverse weight change", call ``p.data.add(...)``, which returns a sum and moves nothing, where
    ``add_`` was meant. After k batches all later ones are evaluated k steps away from where they should be.
    ``restore`` makes the step back that ``add_`` would have made.
    """
    from betty.configs import Config  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from betty.hypergradient.darts import darts  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from betty.problems import ImplicitProblem  # type: ignore[import-untyped,import-not-found,unused-ignore]

    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Parameter(weights.clone())

    class Inner(ImplicitProblem):
        def training_step(self, loaded: tuple[Tensor, Batch]) -> Tensor:
            index, batch = loaded
            return weighted_loss(self.module, batch, upper.module.values[index]) / total

    result, total, device = torch.zeros_like(weights), weights.sum(), str(weights.device)
    upper = ImplicitProblem("upper", Config(), module=Weights(), device=device)
    inner = Inner("inner", Config(), module=model, device=device)
    step = float(inner.config.darts_alpha / torch.cat([v.flatten() for v in outer]).norm())
    for index, batch in _loaded(texts, batches):
        inner.cur_batch = (index, batch)
        (gradient,) = darts(outer, inner, upper)
        result[index] = lr * gradient[index]
        if restore:
            with torch.no_grad():
                for parameter, v in zip(model.parameters(), outer, strict=True):
                    parameter.add_(v, alpha=step)
    return result


PEERS: dict[str, MetaGradient] = {
    "higher": higher_gradient,
    "torchopt": torchopt_gradient,
    "betty": betty_gradient,
    "betty_restored": partial(betty_gradient, restore=True),
}
