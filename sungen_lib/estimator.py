"""SunGen's weights as a scikit-learn estimator: ``SunGenWeights().fit(texts, labels).weights_``.

Pass them to any classifier as ``sample_weight``:

    weights = SunGenWeights(random_state=0).fit(texts, labels).weights_
    LogisticRegression().fit(features, labels, sample_weight=weights)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets

from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts.examples import Examples, warn_if_uncut

if TYPE_CHECKING:
    from sklearn.utils import Tags  # of scikit-learn 1.6 on


class SunGenWeights(BaseEstimator):
    """Learns one weight in [0, 1] for each labelled text; takes the main parameters of ``learn_weights``.

    ``tam``: the task model that learns the weights; by default one is chosen for the texts. ``settings``: fields of
    ``reweight.Bilevel`` by name. ``random_state``: an integer is ``learn_weights``'s seed; ``None`` or a
    ``RandomState`` draws one. After ``fit``: ``weights_``, (N,) float32; ``classes_``, the sorted labels; ``n_iter_``,
    outer iterations.
    """

    def __init__(
        self,
        tam: TamConfig | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "cpu",
        progress: str | None = None,
    ) -> None:
        self.tam = tam
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> Self:
        """Learn the weights of the texts ``X``, N strings, with the labels ``y``, N values of one sortable kind.

        Raises ``ValueError`` if the lengths differ, if a text is not a string, if labels are missing or continuous, for
        fewer than two classes, and if ``settings`` names a parameter; ``Diverged`` if learning gives no sound weights.
        """
        taken = {"tam": "tam", "seed": "random_state", "device": "device", "progress": "progress"}
        for name in taken.keys() & (self.settings or {}):
            raise ValueError(f"{name} does not go into settings; use the parameter {taken[name]}")
        (classes, numbers), texts = _classes(y), _texts(X)
        if len(texts) != len(numbers):
            raise ValueError(f"{len(texts)} texts and {len(numbers)} labels")
        if len(classes) < 2:
            raise ValueError(f"at least two classes are needed, got {len(classes)}")
        learned = learn_weights(
            warn_if_uncut(Examples.of(texts, numbers, [str(name) for name in classes]), "X"),
            tam=self.tam,
            seed=_seed(self.random_state),
            device=self.device,
            progress=self.progress,
            **(self.settings or {}),
        )
        self.classes_, self.weights_, self.n_iter_ = classes, learned.weights, len(learned.history)
        return self

    def __sklearn_tags__(self) -> Tags:
        """Strings in, not a matrix of numbers; labels are needed."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.target_tags.required = True
        return tags


def _texts(values: Iterable[str]) -> list[str]:
    """The texts as a list of plain strings."""
    if isinstance(values, str) or getattr(values, "ndim", 1) != 1:
        raise ValueError("texts must be a list, a one-dimensional array or a Series of strings")
    texts = list(values)
    if not all(isinstance(text, str) for text in texts):
        kinds = sorted({type(text).__name__ for text in texts if not isinstance(text, str)})
        raise ValueError(f"texts must be strings, got {', '.join(kinds)}")
    return [str(text) for text in texts]


def _classes(values: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted classes, (K,), and each label's index among them, (N,)."""
    each = [] if values is None else list(values)
    if values is None or isinstance(values, str) or getattr(values, "ndim", 1) != 1 or any(map(np.ndim, each)):
        raise ValueError("y should be a 1d array, a list or a Series of labels")
    if pd.isna(np.asarray(each, dtype=object)).any():
        raise ValueError("labels are missing (NaN or None); drop these rows")
    if len({isinstance(label, str) for label in each}) == 2:
        raise ValueError("labels must be all strings or all numbers, not a mix")
    labels = np.asarray(each)
    check_classification_targets(labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    return classes, numbers


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))
