"""The methods that SunGen is compared with: one file per method, with everything specific to it.

The dictionaries here list the names that a spec may use.

``SELECTIONS``: which rows of a pool to train on. ``(texts, *, budget, tam, seed, device) -> indices``; without a
budget, as many as the method keeps.
``TRAININGS``: how to train a prepared TAM. ``(prepared, texts, *, tam, seed) -> epochs``.
``SCORES``: how trustworthy each label is. ``(texts, *, tam, seed, device) -> (N,)``, higher is cleaner, each on
its own scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from sungen_lib.baselines import cleanlab, confidence, coteaching, meta_weight_net, temporal_ensembling
from sungen_lib.train import Epoch

SELECTIONS: dict[str, Callable[..., np.ndarray]] = {
    "confidence": confidence.select,
    "cleanlab": cleanlab.select,
}
TRAININGS: dict[str, Callable[..., Iterable[Epoch]]] = {
    "coteaching": coteaching.train_tam,
    "meta_weight_net": meta_weight_net.train_tam,
    "temporal_ensembling": temporal_ensembling.train_tam,
}
SCORES: dict[str, Callable[..., np.ndarray]] = {
    "fit": confidence.after_training,
    "confidence": confidence.score,
    "coteaching": coteaching.score,
    "meta_weight_net": meta_weight_net.score,
    "cleanlab": cleanlab.score,
}
