"""cleanlab's filter: confident learning, Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels". Our addition, which the paper does not have: users put it before a classifier to remove wrong labels.

cleanlab's own defaults (prune by noise rate) on out-of-fold probabilities, as its documentation asks. They come from
TF-IDF and logistic regression, whichever model is then trained on the kept rows: cheap, and the same for all.
"""

from __future__ import annotations

import numpy as np

from sungen_lib.baselines import tfidf_logreg
from sungen_lib.models import TamConfig
from sungen_lib.texts.examples import Examples

FOLDS = 5


def keep(train: Examples, *, seed: int = 0) -> np.ndarray:
    """Sorted indices of the samples without a label issue; ``seed`` decides the folds.

    Raises ``ValueError`` if a class has fewer samples than ``FOLDS``.
    """
    from cleanlab.filter import find_label_issues  # cleanlab takes four seconds to import

    probabilities = tfidf_logreg.out_of_fold(train, folds=FOLDS, seed=seed)
    # One process: forked workers would cost more than the filter and are not safe with torch's threads.
    return np.flatnonzero(~find_label_issues(train.labels, probabilities, n_jobs=1))


def select(
    texts: Examples, *, budget: int | None = None, tam: TamConfig | None = None, seed: int = 0, device: str = "cpu"
) -> np.ndarray:
    """At most ``budget`` of the rows of ``keep``; the linear model filters, whatever the TAM and the device."""
    return keep(texts, seed=seed)[:budget]


def score(texts: Examples, *, tam: TamConfig | None = None, seed: int = 0, device: str = "cpu") -> np.ndarray:
    """(N,) cleanlab's label quality in [0, 1] (its default: the given label's out-of-fold probability)."""
    from cleanlab.rank import get_label_quality_scores

    return np.asarray(get_label_quality_scores(texts.labels, tfidf_logreg.out_of_fold(texts, folds=FOLDS, seed=seed)))
