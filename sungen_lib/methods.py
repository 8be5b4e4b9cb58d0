"""What sets the methods of the tables apart: which rows of the pool they train on (``SELECTIONS``), and how
(``TRAININGS``).

Rows: "first" takes the first ones, "bernoulli" draws by learned weights, "weighted" takes all of them, weighted,
"confidence" the most confident ones (Table 3), "cleanlab" those without a label issue. Training: "fit" is plain, with
weights or another loss if asked for; the others are the baselines of Tables 3 and 8. ``trust`` asks the same methods
how far they trust each sample (``TRUSTS``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from torch import nn

from sungen_lib import subset
from sungen_lib.baselines import confidence, coteaching, meta_weight_net, temporal_ensembling
from sungen_lib.data import Examples
from sungen_lib.encode import Encoded, Tokenizer, encode
from sungen_lib.models import TamConfig
from sungen_lib.train import Diverged, Epoch, derived_seed, fit, predict

SELECTIONS = ("first", "bernoulli", "weighted", "confidence", "cleanlab")
TRAININGS = ("fit", "coteaching", "meta_weight_net", "temporal_ensembling")
TRUSTS = ("fit", "confidence", "coteaching", "meta_weight_net", "cleanlab")
META_SHARE = 0.1  # of Meta-Weight-Net's rows are its meta set; Appendix F.2 says "a part of synthetic data"


def select(
    selection: str,
    pool: Examples,
    *,
    budget: int | None,
    weights: np.ndarray | None = None,
    tam: TamConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Indices of the rows of ``pool`` to train on: ``budget`` of them ("bernoulli": in expectation; "cleanlab": at
    most), or as many as the selection finds.

    Nobody knows how many rows are clean, so "confidence" without a budget keeps the share that
    ``coteaching.estimate_noise_rate`` does not contradict. Raises ``ValueError`` for an unknown selection, and
    for one without what it needs.
    """
    if selection in ("first", "weighted"):
        return np.arange(len(pool))[: budget if selection == "first" else None]
    if selection == "bernoulli":
        if weights is None or budget is None:
            raise ValueError("a subset is drawn by weights, to a budget: give both")
        return subset.bernoulli_subset(weights, budget, seed=derived_seed(seed, 1))
    if selection == "confidence":
        if tam is None:
            raise ValueError("confidence is that of a TAM: give tam")
        budget = budget or round((1 - coteaching.estimate_noise_rate(pool)) * len(pool))
        return np.sort(subset.top(_confidence(pool, tam, seed=seed, device=device), budget))
    if selection == "cleanlab":
        from sungen_lib.baselines import cleanlab  # four seconds to import, which few runs need

        return cleanlab.keep(pool, seed=seed)[:budget]
    raise ValueError(f"unknown selection {selection!r}; known: {', '.join(SELECTIONS)}")


def _confidence(pool: Examples, tam: TamConfig, *, seed: int, device: str) -> np.ndarray:
    tokenizer = tam.tokenizer(pool)
    data = encode(pool, tokenizer, max_length=tam.max_length, device=device)
    model = tam.build(tokenizer, data.classes, seed=seed)
    return confidence.cartography(model, data, seed=seed, **tam.training).confidence


def fit_baseline(
    training: str,
    model: nn.Module,
    train_set: Encoded,
    rows: Examples,
    tokenizer: Tokenizer,
    *,
    tam: TamConfig,
    seed: int,
) -> Iterable[Epoch]:
    """Train ``model`` in place by a baseline of ``TRAININGS``; ``train_set`` is ``rows``, encoded by ``tokenizer``.

    Co-teaching's second network starts from another seed, and its forget rate is the estimated noise rate.
    Meta-Weight-Net trains on nine tenths of the rows and takes the last tenth for its meta set. Raises ``ValueError``
    for an unknown training.
    """
    if training == "coteaching":
        peer = tam.build(tokenizer, train_set.classes, seed=derived_seed(seed, 2))
        forget_rate = coteaching.estimate_noise_rate(rows)
        return coteaching.train(model, peer, train_set, forget_rate=forget_rate, seed=seed, **tam.training)
    if training == "meta_weight_net":
        return meta_weight_net.train(model, *_own_and_meta(train_set), seed=seed, **tam.training)[0]
    if training == "temporal_ensembling":
        return temporal_ensembling.train(model, train_set, seed=seed, **tam.training)
    raise ValueError(f"unknown training {training!r}; known: {', '.join(TRAININGS)}")


def _own_and_meta(train_set: Encoded) -> tuple[Encoded, Encoded]:
    cut = round((1 - META_SHARE) * len(train_set))
    return train_set.select(np.arange(cut)), train_set.select(np.arange(cut, len(train_set)))


def trust(by: str, pool: Examples, *, tam: TamConfig, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """(N,) how far a method of ``TRUSTS`` trusts each label of ``pool``: larger is cleaner, the scale is its own.

    "fit" and "coteaching": the given label's probability after training. "confidence": its mean over the epochs.
    "cleanlab": its out-of-fold probability. "meta_weight_net": the weight in the last epoch; NaN for the meta set,
    which gets none. Raises ``ValueError`` for an unknown method, and ``Diverged`` for a model that is not finite.
    """
    if by not in TRUSTS:
        raise ValueError(f"unknown trust {by!r}; known: {', '.join(TRUSTS)}")
    if by == "confidence":
        return _confidence(pool, tam, seed=seed, device=device)
    if by == "cleanlab":
        from sungen_lib.baselines import cleanlab

        return cleanlab.quality(pool, seed=seed)
    tokenizer = tam.tokenizer(pool)
    data = encode(pool, tokenizer, max_length=tam.max_length, device=device)
    model = tam.build(tokenizer, data.classes, seed=seed)
    if by == "meta_weight_net":
        _, weights = meta_weight_net.train(model, *_own_and_meta(data), seed=seed, **tam.training)
        return np.concatenate([weights, np.full(len(data) - len(weights), np.nan, dtype=weights.dtype)])
    if by == "fit":
        fit(model, data, seed=seed, **tam.training)
    else:
        deque(fit_baseline(by, model, data, pool, tokenizer, tam=tam, seed=seed), maxlen=0)
    given: np.ndarray = predict(model, data).softmax(-1).gather(-1, data.labels[:, None]).squeeze(-1).cpu().numpy()
    if not np.isfinite(given).all():
        raise Diverged("the trained model's outputs are not finite")
    return given
