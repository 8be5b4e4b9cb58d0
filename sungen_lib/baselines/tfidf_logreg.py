"""TF-IDF and logistic regression: what a user would try first. Our addition; the paper does not have it.

All settings are scikit-learn's defaults, except two customary ones for texts, chosen before any test score was seen:
words and word pairs (``ngram_range=(1, 2)``) and logarithmic counts (``sublinear_tf``). The two texts of a pair are
joined by a space into one bag of words. It does not record which text a word came from, so pair tasks are out of reach.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sungen_lib.texts.examples import Examples

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def fit(train: Examples, *, sample_weight: np.ndarray | None = None) -> Pipeline:
    """The fitted pipeline; ``sample_weight``: (N,) non-negative, weighs the samples' losses (not the term counts).

    The result depends only on the data: nothing is random. Raises ``ValueError`` for fewer than two classes.
    """
    return _pipeline().fit(_texts(train), train.labels, logisticregression__sample_weight=sample_weight)


def predict(model: Pipeline, data: Examples) -> np.ndarray:
    """(N,) int64 labels."""
    return np.asarray(model.predict(_texts(data)))


def probabilities(model: Pipeline, data: Examples) -> np.ndarray:
    """(N, K) class probabilities; 0 for a class that the model was not trained on."""
    known = np.zeros((len(data), len(data.label_names)))
    known[:, model.classes_] = model.predict_proba(_texts(data))
    return known


def out_of_fold(train: Examples, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """(N, K) class probabilities of each sample by a model that was not trained on it (stratified cross-validation).

    A class without samples has probability 0. Raises ``ValueError`` if a class has fewer samples than ``folds``.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    classes, counts = np.unique(train.labels, return_counts=True)
    if counts.min() < folds:
        raise ValueError(f"{folds} folds need {folds} samples of each class; the rarest has {counts.min()}")
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    probabilities = np.zeros((len(train), len(train.label_names)))
    probabilities[:, classes] = cross_val_predict(
        _pipeline(), _texts(train), train.labels, cv=splits, method="predict_proba"
    )
    return probabilities


@lru_cache(maxsize=1)  # the seeds and TAMs of a table ask for that of the same texts
def noise_rate(train: Examples) -> float:
    """The noise rate, in [0, 1], without clean labels: how often five-fold TF-IDF logistic regression contradicts the
    given label of a sample it was not trained on.

    The linear model's mistakes count as noise, so the estimate is too high for a task that is hard for it.
    """
    probabilities = out_of_fold(train)
    return float((probabilities.argmax(axis=1) != train.labels).mean())


def _pipeline() -> Pipeline:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression())


def _texts(data: Examples) -> list[str]:
    if data.pairs is None:
        return list(data.texts)
    return [f"{first} {second}" for first, second in zip(data.texts, data.pairs, strict=True)]
