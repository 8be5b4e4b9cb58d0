"""SunGen's weights as a scikit-learn estimator: ``SunGenWeights().fit(texts, labels).weights_``.

``sample_weight`` of any classifier takes them:

    weights = SunGenWeights(random_state=0).fit(texts, labels).weights_
    LogisticRegression().fit(features, labels, sample_weight=weights)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts.examples import Examples


class SunGenWeights(BaseEstimator):
    """Learns one weight in [0, 1] for each labelled text; the parameters are ``learn_weights``'s.

    ``tam``: the task model that steers the weights; by default one that fits the texts. ``settings``: fields of
    ``reweight.Bilevel`` by name. ``random_state``: an integer. After ``fit``: ``weights_``, (N,) float32; ``classes_``,
    the sorted labels; ``n_iter_``, outer iterations.
    """

    def __init__(
        self,
        tam: TamConfig | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int = 0,
        device: str = "cpu",
        progress: str | None = None,
    ) -> None:
        self.tam = tam
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> Self:
        """Learn the weights of ``texts``, N strings, with ``labels``, N values of any sortable kind.

        Raises ``ValueError`` for lengths that differ, for anything but strings, and for fewer than two classes.
        """
        rows = list(texts)
        self.classes_, numbers = np.unique(np.asarray(labels), return_inverse=True)
        if len(rows) != len(numbers):
            raise ValueError(f"{len(rows)} texts and {len(numbers)} labels")
        if not all(isinstance(text, str) for text in rows):
            kinds = sorted({type(text).__name__ for text in rows} - {"str"})
            raise ValueError(f"texts must be strings, got {', '.join(kinds)}")
        if len(self.classes_) < 2:
            raise ValueError(f"two classes are needed, got {len(self.classes_)}")
        learned = learn_weights(
            Examples.of(rows, numbers, [str(name) for name in self.classes_]),
            tam=self.tam,
            seed=self.random_state,
            device=self.device,
            progress=self.progress,
            **(self.settings or {}),
        )
        self.weights_ = learned.weights
        self.n_iter_ = len(learned.history)
        return self
