"""``SunGenWeights``: scikit-learn's conventions, what it takes for texts and labels, the same weights as elsewhere.

scikit-learn's ``check_estimator`` runs nothing on an estimator of texts, because its checks fit matrices of numbers.
Those that need no fit, or a refused one, are run here by name (``CHECKS``). Not run are those that fit such a matrix:
``dict_unchanged``, ``dont_overwrite_parameters``, ``fit_idempotent``, ``estimators_pickle`` and
``estimators_overwrite_params``, whose promises are tested on texts below; ``n_features_in``, ``estimator_sparse_*``,
``estimators_nan_inf`` and the like, which have no meaning for texts; ``methods_sample_order_invariance``, since a seed
draws batches by position; and all that are about predictions, transformers, clusters or ``sample_weight`` going in.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import keyword_examples
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import check_estimator

from sungen_lib.estimator import SunGenWeights
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.noise import uniform_noise, with_noise

TAM = TamConfig(embedding=8, hidden=8, lr=0.01, batch_size=16, inner_epochs=3)
SETTINGS: dict[str, Any] = {"iterations": 3}


@pytest.fixture(scope="module")
def texts() -> Examples:
    return keyword_examples(120)


@pytest.fixture(scope="module")
def expected(texts: Examples) -> np.ndarray:
    return learn_weights(texts, tam=TAM, seed=5, **SETTINGS).weights


def estimator(**parameters: Any) -> SunGenWeights:
    defaults: dict[str, Any] = {"settings": SETTINGS, "random_state": 5}
    return SunGenWeights(TAM, **defaults | parameters)


def named(texts: Examples) -> list[str]:
    return [texts.label_names[label] for label in texts.labels]


# --- scikit-learn's conventions ---------------------------------------------------------------------------------------

CHECKS = [
    "check_complex_data",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_fit1d",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_set_params",
    "check_supervised_y_no_nan",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learn_s_check(name: str) -> None:
    getattr(estimator_checks, name)("SunGenWeights", SunGenWeights())


def test_check_estimator_leaves_texts_alone() -> None:
    with pytest.warns(Warning, match="Can't test estimator SunGenWeights which requires input"):
        check_estimator(SunGenWeights())


def test_tags_say_that_texts_go_in() -> None:
    tags = get_tags(SunGenWeights())
    assert tags.input_tags.string and not tags.input_tags.two_d_array and tags.target_tags.required


def test_parameters_and_clones(texts: Examples, expected: np.ndarray) -> None:
    fitted = estimator().fit(texts.texts, texts.labels)
    assert set(fitted.get_params()) == {"tam", "settings", "random_state", "device", "progress"}
    again = clone(fitted)
    assert not hasattr(again, "weights_") and again.get_params() == fitted.get_params()
    assert np.array_equal(again.fit(texts.texts, texts.labels).weights_, expected)
    assert again.set_params(random_state=6) is again
    assert not np.array_equal(again.fit(texts.texts, texts.labels).weights_, expected)
    with pytest.raises(ValueError, match="Invalid parameter 'epochs'"):
        again.set_params(epochs=3)
    assert "random_state=6" in repr(again)


def test_fitting_changes_neither_parameters_nor_data(texts: Examples) -> None:
    rows, labels = list(texts.texts), texts.labels.copy()
    weights = estimator()
    before = copy.deepcopy(weights.get_params())
    assert weights.fit(rows, labels) is weights
    assert weights.get_params() == before and rows == list(texts.texts) and np.array_equal(labels, texts.labels)
    assert {name for name in vars(weights) if name.endswith("_")} == {"classes_", "weights_", "n_iter_"}


def test_a_fitted_one_can_be_pickled(texts: Examples, expected: np.ndarray) -> None:
    again = pickle.loads(pickle.dumps(estimator().fit(texts.texts, texts.labels)))
    assert np.array_equal(again.weights_, expected)


# --- the weights ------------------------------------------------------------------------------------------------------


def test_the_weights_are_learn_weights_s(texts: Examples, expected: np.ndarray) -> None:
    fitted = estimator().fit(texts.texts, texts.labels)
    assert np.array_equal(fitted.weights_, expected) and fitted.weights_.dtype == np.float32
    assert fitted.n_iter_ == 3 and fitted.classes_.tolist() == [0, 1]


def test_without_a_tam_it_is_learn_weights_s_default(texts: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def learn(given: Examples, **options: Any) -> LearnedWeights:
        seen.update(options, texts=given)
        return LearnedWeights(np.ones(len(given), dtype=np.float32), {})

    monkeypatch.setattr("sungen_lib.estimator.learn_weights", learn)
    SunGenWeights(random_state=3, device="cuda", progress="bar").fit(texts.texts, named(texts))
    assert seen.pop("texts").label_names == tuple(sorted(texts.label_names))
    assert seen == {"tam": None, "seed": 3, "device": "cuda", "progress": "bar"}


def test_classifiers_take_the_weights(texts: Examples) -> None:
    labels = with_noise(texts, uniform_noise(0.2, 2), seed=0).labels
    weights = estimator(settings={"iterations": 8, "inner_epochs": 10}).fit(texts.texts, labels).weights_
    words = sorted({word for text in texts.texts for word in text.split()})
    features = np.array([[text.split().count(word) for word in words] for text in texts.texts])
    weighted = LogisticRegression(max_iter=1000).fit(features, labels, sample_weight=weights)
    plain = LogisticRegression(max_iter=1000).fit(features, labels)
    assert not np.allclose(weighted.coef_, plain.coef_)
    right = [log_loss(texts.labels, model.predict_proba(features)) for model in (weighted, plain)]
    assert right[0] < 0.8 * right[1]  # nearer to the right labels, of which it has seen none
    wrong = labels != texts.labels
    assert weights[wrong].mean() < 0.5 * weights[~wrong].mean()


# --- texts and labels of all kinds ------------------------------------------------------------------------------------


def test_containers_make_no_difference(texts: Examples, expected: np.ndarray) -> None:
    rows = list(texts.texts)
    index = np.random.default_rng(0).permutation(len(rows)) + 50  # of pandas: no position
    containers: list[tuple[Any, Any]] = [
        (tuple(rows), texts.labels.tolist()),
        (np.array(rows), texts.labels.astype(np.int8)),
        (np.array(rows, dtype=object), texts.labels.astype(object)),
        (pd.Series(rows, index=index), pd.Series(texts.labels, index=index)),
        (pd.Series(rows, dtype="string"), pd.Series(texts.labels, dtype="Int64")),
    ]
    for given, labels in containers:
        assert np.array_equal(estimator().fit(given, labels).weights_, expected)


LABELS: dict[str, tuple[list[Any], list[Any]]] = {
    "strings": (["bad", "good"], ["bad", "good"]),
    "strings the other way round": (["z", "a"], ["a", "z"]),
    "integers": ([3, 7], [3, 7]),
    "negative": ([1, -1], [-1, 1]),
    "bools": ([False, True], [False, True]),
    "whole floats": ([0.0, 1.0], [0.0, 1.0]),
    "digits": (["10", "9"], ["10", "9"]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind(kind: str, texts: Examples, expected: np.ndarray) -> None:
    names, classes = LABELS[kind]
    fitted = estimator().fit(texts.texts, [names[label] for label in texts.labels])
    assert fitted.classes_.tolist() == classes
    if names == classes:  # the same numbers
        assert np.array_equal(fitted.weights_, expected)


def test_a_categorical_column(texts: Examples, expected: np.ndarray) -> None:
    column = pd.Series(pd.Categorical(np.array(["a", "b"])[texts.labels]))
    assert np.array_equal(estimator().fit(texts.texts, column).weights_, expected)


@pytest.mark.parametrize("value", [np.int64(5), np.int32(5), np.uint8(5)])
def test_integers_of_numpy_are_seeds(value: Any, texts: Examples, expected: np.ndarray) -> None:
    assert np.array_equal(estimator(random_state=value).fit(texts.texts, texts.labels).weights_, expected)


def test_other_random_states(texts: Examples) -> None:
    def weights(state: Any) -> np.ndarray:
        return estimator(random_state=state, settings={"iterations": 1}).fit(texts.texts, texts.labels).weights_

    assert np.array_equal(weights(np.random.RandomState(1)), weights(np.random.RandomState(1)))
    np.random.seed(0)  # noqa: NPY002 (what None means to scikit-learn)
    first = weights(None)
    np.random.seed(0)  # noqa: NPY002
    assert np.array_equal(weights(None), first)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        weights("five")


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, Any, str]] = {
    "one class": (["a", "b"], [1, 1], "two classes are needed, got 1$"),
    "nothing": ([], [], "two classes are needed, got 0$"),
    "fewer labels": (["a", "b", "c"], [0, 1], "^3 texts and 2 labels$"),
    "fewer texts": (["a"], [0, 1], "^1 texts and 2 labels$"),
    "numbers": ([1, 2], [0, 1], "^texts must be strings, got int$"),
    "some are no strings": (["a", None, 1.5], [0, 1, 0], "^texts must be strings, got NoneType, float$"),
    "missing texts": (pd.Series(["a", pd.NA], dtype="string"), [0, 1], "^texts must be strings, got NAType$"),
    "bytes": ([b"a", b"b"], [0, 1], "^texts must be strings, got bytes$"),
    "one string": ("ab", [0, 1], "^texts must be a list"),
    "a matrix": (np.array([["a"], ["b"]]), [0, 1], "^texts must be a list"),
    "a frame": (pd.DataFrame({"text": ["a", "b"]}), [0, 1], "^texts must be a list"),
    "labels in a column": (["a", "b"], [[0], [1]], "^y should be a 1d array"),
    "labels in a frame": (["a", "b"], pd.DataFrame({"label": [0, 1]}), "^y should be a 1d array"),
    "no labels": (["a", "b"], None, "^y should be a 1d array"),
    "continuous labels": (["a", "b", "c"], [0.1, 0.2, 0.3], "^Unknown label type: continuous"),
    "labels missing": (["a", "b", "c"], ["x", None, "y"], "^labels are missing"),
    "NaN": (["a", "b", "c"], [0.0, np.nan, 1.0], "^labels are missing"),
    "NA": (["a", "b", "c"], pd.Series([0, pd.NA, 1], dtype="Int64"), "^labels are missing"),
    "strings and numbers": (["a", "b", "c"], ["x", 1, "x"], "^labels must be all strings or all numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_will_not_do_is_refused(case: str) -> None:
    given, labels, words = REFUSED[case]
    weights = estimator()
    with pytest.raises(ValueError, match=words):
        weights.fit(given, labels)
    assert not [name for name in vars(weights) if name.endswith("_")]


def test_settings_are_bilevel_s(texts: Examples) -> None:
    with pytest.raises(ValueError, match="iterations must be positive"):
        estimator(settings={"iterations": 0}).fit(texts.texts, texts.labels)
    with pytest.raises(ValueError, match="seed does not go into settings; use the parameter random_state"):
        estimator(settings={"seed": 3}).fit(texts.texts, texts.labels)
    with pytest.raises(TypeError, match="has no setting 'epochs'"):
        estimator(settings={"epochs": 3}).fit(texts.texts, texts.labels)


def test_texts_without_white_space_are_told(texts: Examples) -> None:
    uncut = [text.replace(" ", "") for text in texts.texts]
    with pytest.warns(UserWarning, match=r"X: \d+% of the texts have no white space .* put a space"):
        estimator(settings={"iterations": 1}).fit(uncut, named(texts))
