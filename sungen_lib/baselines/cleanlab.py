"""cleanlab's filter: confident learning, Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels". Ours: what a user would put in front of a classifier to be rid of wrong labels; the paper does not compare.

cleanlab's own defaults (prune by noise rate) on out-of-fold probabilities, as its documentation asks. They come from
TF-IDF and logistic regression, whichever model is trained on what is kept: cheap, and the same filter for all.
"""

from __future__ import annotations

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from sungen_lib.baselines import tfidf_logreg
from sungen_lib.data import Examples


def keep(train: Examples, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Sorted indices of the samples without a label issue; ``seed`` decides the folds.

    Raises ``ValueError`` if a class has fewer samples than ``folds``.
    """
    probabilities = tfidf_logreg.out_of_fold(train, folds=folds, seed=seed)
    # One process: forked workers would cost more than the filter and do not mix with torch's threads.
    return np.flatnonzero(~find_label_issues(train.labels, probabilities, n_jobs=1))


def quality(train: Examples, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """(N,) cleanlab's label quality in [0, 1] (its default: the given label's out-of-fold probability)."""
    return np.asarray(get_label_quality_scores(train.labels, tfidf_logreg.out_of_fold(train, folds=folds, seed=seed)))
