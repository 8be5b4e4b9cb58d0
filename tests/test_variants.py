"""Past the paper: options of ``learn_weights``, the bag of n-grams, choosing among variants, planted label noise."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import keyword_examples, keyword_set, keyword_vocabulary
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_reweight import QUICK, has, last_state, noisy_examples, parameters_of, quick_weights, small_tam
from test_runs import experiment
from torch import nn

from sungen_lib import derivative, embedded, reweight
from sungen_lib.baselines import SCORES, confidence, coteaching, meta_weight_net, tfidf_logreg
from sungen_lib.encode import Encoded, Samples, encode
from sungen_lib.lab import execution, notebooks, plan, sources, stages
from sungen_lib.lab.parameters import ParameterError
from sungen_lib.lab.results import chosen_by_synthetic, noise_auc
from sungen_lib.lab.specs import (
    LINEAR_MODEL,
    REVISIONS,
    Run,
    Synthetic,
    Trust,
    Weights,
    identify,
    upstream,
    weights_of,
)
from sungen_lib.lab.store import Record, find
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.losses import cross_entropy
from sungen_lib.models import Bag, TamConfig
from sungen_lib.paper import theory
from sungen_lib.paper.bootstrap import paired_gap
from sungen_lib.paper.cells import Cell
from sungen_lib.texts import examples, jsonl
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.noise import class_noise, uniform_noise, with_noise
from sungen_lib.train import Diverged, Trainer, fit, predict


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    sources.load.cache_clear()
    return tmp_path / "store"


# --- options of learn_weights -----------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[int], set[int]]]:
    """Of each iteration: the samples the inner loop trains on, and those of the outer set, by their first token."""
    iterations: list[tuple[set[int], set[int]]] = []
    set_weights, gradient = Trainer.set_weights, derivative.outer_gradient

    def first_tokens(data: Encoded, rows: np.ndarray) -> set[int]:
        return set(data.flat[data.starts[torch.as_tensor(rows)]].tolist())

    def spy_weights(self: Trainer, weights: torch.Tensor) -> None:
        assert isinstance(self.train_set, Encoded)
        iterations.append((first_tokens(self.train_set, np.flatnonzero(weights.numpy())), set()))
        set_weights(self, weights)

    def spy_gradient(model: nn.Module, outer_set: Encoded, loss: Any) -> object:
        iterations[-1] = (iterations[-1][0], first_tokens(outer_set, np.arange(len(outer_set))))
        return gradient(model, outer_set, loss)

    monkeypatch.setattr(Trainer, "set_weights", spy_weights)
    monkeypatch.setattr(derivative, "outer_gradient", spy_gradient)
    return iterations


def unique_words(n: int = 60) -> Examples:
    """Texts of one word each, all different, so that a token tells the sample."""
    return Examples.of([f"unique{i}" for i in range(n)], np.arange(n) % 2, ("a", "b"))


TINY = TamConfig(embedding=4, hidden=3)


def test_the_papers_outer_set_is_trained_on(seen: list[tuple[set[int], set[int]]]) -> None:
    learn_weights(unique_words(), tam=TINY, outer_size=20, iterations=2)
    assert len(seen) == 2
    assert all(len(inner) == 60 and len(outer) == 20 for inner, outer in seen)


@pytest.mark.parametrize("draw", ["held_out", "swapped"])
def test_an_outer_set_can_be_kept_out_of_the_inner_loop(draw: str, seen: list[tuple[set[int], set[int]]]) -> None:
    learned = learn_weights(unique_words(), tam=TINY, outer_size=20, iterations=3, outer_draw=draw)
    assert len(seen) == 3
    for inner, outer in seen:
        assert len(outer) == 20 and len(inner) == 40 and not inner & outer
    assert (seen[0][1] == seen[1][1] == seen[2][1]) == (draw == "held_out")
    assert (learned.weights != 0.5).all()  # the samples outside the inner loop get weights, too


def test_an_outer_set_that_cannot_be_kept_out_is_refused() -> None:
    texts = unique_words()
    options: list[dict[str, Any]] = [{"outer_size": 60}, {"outer_size": 10, "outer_set": texts}]
    for option in options:
        with pytest.raises(ValueError, match="'held_out' needs an outer_size below the training set's"):
            learn_weights(texts, tam=TINY, outer_draw="held_out", **option)
    with pytest.raises(ValueError, match="unknown outer_draw 'twice'; known: once, held_out, swapped"):
        learn_weights(texts, tam=TINY, outer_draw="twice")


def test_centred_meta_gradients_have_no_mean_in_any_class() -> None:
    train_set = keyword_set(50, classes=3)
    gradient = torch.randn(50) + 2.0 * train_set.labels
    centred = reweight._without_class_means(gradient, train_set)
    for label in range(3):
        mask = train_set.labels == label
        assert abs(float(centred[mask].mean())) < 1e-6
        torch.testing.assert_close(centred[mask].std(), gradient[mask].std())


def test_centring_keeps_classes_from_drifting_apart() -> None:
    texts, wrong = noisy_examples()
    one_sided = wrong & (texts.labels == 0)  # only class 0 has wrong labels: its mean falls
    labels = np.where(wrong & ~one_sided, 1 - texts.labels, texts.labels)
    texts = texts.with_labels(labels)

    def gap(weights: np.ndarray) -> float:
        return abs(float(weights[labels == 0].mean() - weights[labels == 1].mean()))

    train_set = encode(texts, keyword_vocabulary())
    settings = QUICK | {"inner_epochs": 2}  # so few that classes drift
    states = [last_state(train_set, small_tam(), **settings, centred=centred) for centred in (False, True)]
    plain, centred = (state.weights.numpy() for state in states)
    assert gap(centred) < 0.5 * gap(plain)
    assert roc_auc_score(~one_sided, centred) > 0.85


def test_several_initialisations_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, wrong = noisy_examples()
    tams = [small_tam(seed=seed) for seed in (0, 1)]
    before = [parameters_of(tam) for tam in tams]
    used: list[nn.Module] = []
    gradient = derivative.outer_gradient

    def spy(model: nn.Module, outer_set: Encoded, loss: Any) -> object:
        used.append(model)
        return gradient(model, outer_set, loss)

    monkeypatch.setattr(derivative, "outer_gradient", spy)
    state = last_state(encode(texts, keyword_vocabulary()), *tams, **(QUICK | {"iterations": 5}))
    assert used == [tams[0], tams[1], tams[0], tams[1], tams[0]]
    assert roc_auc_score(~wrong, state.weights) > 0.9
    for tam, start in zip(tams, before, strict=True):
        assert has(tam, start)


def test_initialisations_are_several_tams_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []
    restart = Trainer.restart

    def spy(self: Trainer) -> None:
        restart(self)
        used.append(float(next(self.model.parameters()).detach().sum()))

    texts = noisy_examples(40)[0]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "restart", spy)
        learned = quick_weights(texts, initialisations=3, iterations=4)
    assert len(set(used[:3])) == 3 and used[3] == used[0]
    assert not np.array_equal(learned.weights, quick_weights(texts, iterations=4).weights)


@pytest.mark.parametrize("option", [{"outer_draw": "swapped", "outer_size": 30}, {"centred": True}])
def test_options_survive_a_restart(option: dict[str, Any], tmp_path: Path) -> None:
    texts, _ = noisy_examples(80)
    whole = quick_weights(texts, **option).weights
    path = tmp_path / "weights.safetensors"
    quick_weights(texts, checkpoint=path, **(option | {"iterations": 3}))
    assert np.array_equal(quick_weights(texts, checkpoint=path, **option).weights, whole)
    with pytest.raises(ValueError, match="belongs to another run"):
        quick_weights(texts, checkpoint=path)


# --- the bag of n-grams -----------------------------------------------------------------------------------------------


def test_the_bag_is_the_mean_over_words_and_word_pairs() -> None:
    vocabulary, texts = keyword_vocabulary(), keyword_examples(20)
    model = Bag(len(vocabulary), 2, embedding=6).double().eval()
    logits = model(encode(texts, vocabulary).batch(np.arange(20)))
    table, size = model.embedding.weight, len(vocabulary)
    for text, row in zip(texts.texts, logits, strict=True):
        ids = vocabulary.ids(text)
        pairs = [size + (a * 1_000_003 + b) % size for a, b in pairwise(ids)]
        mean = table[ids + pairs].mean(dim=0)
        torch.testing.assert_close(row, model.linear.weight @ mean + model.linear.bias)


def test_the_bag_drops_features_in_training_only() -> None:
    vocabulary = keyword_vocabulary()
    model = Bag(len(vocabulary), 2, embedding=6, dropout=0.5)
    batch = keyword_set(20).batch(np.arange(20))
    assert torch.equal(model.eval()(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_the_bag_s_meta_gradient_is_that_of_float64_autograd() -> None:
    train_set = keyword_set(30)
    model = Bag(len(keyword_vocabulary()), 2, embedding=6, dropout=0.5)
    direction, _ = derivative.outer_gradient(model, keyword_set(20, seed=1), cross_entropy)
    along = derivative.directional(model, train_set, direction)
    exact = derivative.directional(
        model.double(), train_set, {n: v.double() for n, v in direction.items()}, method="double_backward"
    )
    torch.testing.assert_close(along.double(), exact, rtol=1e-4, atol=1e-9)


def test_weights_learned_with_the_bag_find_wrong_labels() -> None:
    texts, wrong = noisy_examples()
    tam = TamConfig("bag", embedding=8, dropout=0.2)
    learned = learn_weights(texts, tam=tam, **(QUICK | {"inner_lr": 0.05}))
    assert roc_auc_score(~wrong, learned.weights) > 0.9


# --- runs of variants, and the choice ---------------------------------------------------------------------------------


def test_validation_rows_are_others_than_the_pools(store: Path) -> None:
    one = experiment()
    validation = one.data.validation("imdb")
    assert (validation.start, validation.rows) == (96, 24)
    execution.execute([validation, one.data.synthetic("imdb")], progress=None)
    pool, further = sources.load(one.data.synthetic("imdb")), sources.load(validation)
    assert len(further) == 24 and not set(further.texts) & set(pool.texts)


def test_validation_rows_of_a_folder_are_disjoint_from_the_pool(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    everything = keyword_examples(50)
    jsonl.write_jsonl(folder / "imdb" / "gpt2-xl" / "train.jsonl", examples.Examples.of(
        [f"text {i}" for i in range(50)], everything.labels, ("negative", "positive")))  # fmt: skip
    (folder / "imdb" / "labels.json").write_text('["negative", "positive"]')
    fingerprint = sources.folder_fingerprint(str(folder), "imdb", "gpt2-xl", "train")
    pool = Synthetic("imdb", "gpt2-xl", "folder", 30, fingerprint)
    first, rest = sources.load(pool, str(folder)), sources.load(replace(pool, start=30, rows=20), str(folder))
    assert len(set(first.idx)) == 30 and set(first.idx) | set(rest.idx) == set(range(50))
    with pytest.raises(examples.DataMissing, match=r"train\.jsonl: 51 rows are needed, there are 50; add rows"):
        sources.load(replace(pool, start=30, rows=21), str(folder))


def variants(seeds: tuple[int, ...] = (1,)) -> dict[str, list[Run]]:
    one = experiment()
    validation = one.data.validation("imdb")
    makes: dict[str, dict[str, Any]] = {"SunGen": {}, "held out": {"outer_draw": "held_out"}}
    makes["centred"] = {"centred": True}
    return {
        name: [replace(one.methods.sungen("imdb", "lstm", seed, **changes), test=validation) for seed in seeds]
        for name, changes in makes.items()
    }


def test_the_robust_loss_is_4_times_the_missing_probability(store: Path) -> None:
    one = experiment()
    validation = one.data.validation("imdb")
    linear = replace(one.methods.linear(LINEAR_MODEL, "imdb", 1), test=validation)
    records = execution.execute([linear, *variants()["SunGen"]], progress=None)
    texts = sources.load(validation)
    model = tfidf_logreg.fit(sources.load(one.data.synthetic("imdb")))
    given = tfidf_logreg.probabilities(model, texts)[np.arange(24), texts.labels]
    assert records[linear].metrics["robust_loss"] == pytest.approx(4 * (1 - given).mean())
    assert 0 < records[variants()["SunGen"][0]].metrics["robust_loss"] < 4


def test_neither_weights_nor_the_choice_can_see_test_labels(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every gold test label turned round, weights, robust losses and the choice are the same to the bit."""

    def outcome() -> tuple[str, list[float], list[np.ndarray], list[float]]:
        specs = variants()
        gold = [experiment().methods.sungen("imdb", "lstm", 1)]
        asked = [spec for group in [*specs.values(), gold] for spec in group]
        records = execution.execute(asked, jobs=1, progress=None)
        chosen = chosen_by_synthetic({name: [records[spec] for spec in group] for name, group in specs.items()})
        losses = [records[group[0]].metrics["robust_loss"] for group in specs.values()]
        weights = [stages.learned(weights_of(group[0])[0]).weights for group in specs.values()]
        return chosen, losses, weights, [records[spec].accuracy for spec in gold]

    chosen, losses, weights, accuracy = outcome()
    gold = embedded.gold

    def turned(task: str, split: str, rows: int) -> examples.Examples:
        found = gold(task, split, rows)
        return found.with_labels(1 - found.labels) if split == "test" else found

    monkeypatch.setattr(embedded, "gold", turned)
    monkeypatch.setenv("SUNGEN_STORE", str(store / "other"))
    sources.load.cache_clear()
    again = outcome()
    assert (again[0], again[1]) == (chosen, losses)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again[2], weights, strict=True))
    assert again[3] == pytest.approx([100 - value for value in accuracy])  # the test labels were turned indeed


def test_the_choice_refuses_records_that_were_tested_on_gold_rows(store: Path) -> None:
    one = experiment()
    spec = one.methods.zerogen("imdb", "lstm", 1)
    records = execution.execute([spec, *variants()["SunGen"]], progress=None)
    with pytest.raises(ValueError, match="ZeroGen: variants are chosen by synthetic rows"):
        chosen_by_synthetic({"SunGen": [records[variants()["SunGen"][0]]], "ZeroGen": [records[spec]]})


def record(loss: float, diverged: str | None = None) -> Record:
    metrics = {} if diverged else {"robust_loss": loss}
    return Record("id", "run", {}, metrics, 0.0, "cpu", {}, "commit", diverged)


def test_the_choice_is_the_least_mean_and_never_a_diverged_one() -> None:
    table = {"a": [record(1.0), record(1.4)], "b": [record(0.9), record(1.6)], "c": [record(0.1), record(0, "NaN")]}
    assert chosen_by_synthetic(table) == "a"
    with pytest.raises(ValueError, match="each has a diverged seed"):
        chosen_by_synthetic({"c": table["c"]})


def test_several_weights_are_averaged(store: Path) -> None:
    one = experiment()
    both = tuple(one.methods.weights("imdb", "lstm", seed) for seed in (1, 2))
    spec = replace(one.methods.sungen("imdb", "lstm", 1), weights=both)
    assert upstream(spec)[1:] == list(both) and identify(spec) != identify(one.methods.sungen("imdb", "lstm", 1))
    execution.execute([spec], progress=None)
    expected = (stages.learned(both[0]).weights.astype(float) + stages.learned(both[1]).weights) / 2
    assert stages._mean_weights(spec) == pytest.approx(expected, abs=1e-7)


def test_the_linear_model_takes_weights(store: Path) -> None:
    one = experiment()
    weights = one.methods.weights("imdb", "lstm", 1)
    spec = replace(one.methods.linear(LINEAR_MODEL, "imdb", 1), weights=weights, selection="weighted", budget=None)
    record = execution.execute([spec], progress=None)[spec]
    pool, test = sources.load(one.data.synthetic("imdb")), sources.load(one.data.gold("imdb", "test"))
    vectors = tfidf_logreg._pipeline()[0].fit(pool.texts)
    plain = LogisticRegression().fit(
        vectors.transform(pool.texts), pool.labels, sample_weight=stages.learned(weights).weights
    )
    assert record.correct().tolist() == (plain.predict(vectors.transform(test.texts)) == test.labels).tolist()


# --- planted noise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 4, 14])
def test_class_noise_is_a_transition_within_the_limits(classes: int) -> None:
    transition = class_noise(0.3, classes)
    assert transition.sum(axis=1) == pytest.approx(np.ones(classes)) and (transition >= 0).all()
    assert theory.within_allowed_rates(transition)
    assert not theory.within_allowed_rates(class_noise(0.34, classes))
    if classes % 2 == 0:
        assert 1 - np.diag(transition).mean() == pytest.approx(0.3)
    assert [transition[i, (i + 1) % classes] for i in range(classes)] == pytest.approx(
        [0.45, 0.15] * (classes // 2) + [0.45] * (classes % 2)
    )


@pytest.mark.parametrize("rate", [-0.1, 0.7, 1.0])
def test_an_impossible_noise_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="needs a rate from 0 to 2/3"):
        class_noise(rate, 2)


@pytest.mark.parametrize("noise", ["uniform", "class"])
def test_planted_flips_follow_the_transition(noise: str) -> None:
    clean = examples.Examples.of(["text"] * 40_000, np.arange(40_000) % 4, ("a", "b", "c", "d"))
    transition = sources.NOISES[noise](0.3, 4)
    noisy = with_noise(clean, transition, seed=0)
    counts = np.zeros((4, 4))
    np.add.at(counts, (clean.labels, noisy.labels), 1e-4)
    assert counts == pytest.approx(transition, abs=0.02)  # four standard deviations of a share of 10,000
    assert noisy.texts == clean.texts and not np.array_equal(with_noise(clean, transition, seed=1).labels, noisy.labels)


def test_noisy_gold_is_the_same_rows_with_other_labels(store: Path) -> None:
    one = experiment()
    spec = one.data.noisy_gold("imdb", rows=80, noise="uniform", rate=0.3)
    noisy, clean = sources.load(spec), sources.load(replace(spec, noise=None, noise_rate=0.0))
    assert noisy.texts == clean.texts and 0.1 < (noisy.labels != clean.labels).mean() < 0.5


@pytest.mark.parametrize("by", SCORES)
def test_methods_trust_right_labels_more_than_flipped_ones(by: str) -> None:
    pool = keyword_examples(240)
    noisy = with_noise(pool, uniform_noise(0.2, 2), seed=0)
    tam = TamConfig("lstm", embedding=8, hidden=8, lr=1e-2, epochs=4, batch_size=8)
    scores = SCORES[by](noisy, tam=tam, seed=1)
    known = ~np.isnan(scores)
    assert known.sum() == (216 if by == "meta_weight_net" else 240) and known[:216].all()
    right = (noisy.labels == pool.labels)[known]
    if by == "meta_weight_net":  # steered by a noisy meta set it may learn anything, and does
        assert 0 < scores[known].min() < scores[known].max() < 1
    else:
        assert roc_auc_score(right, scores[known]) > 0.9


def test_each_score_is_its_method_s_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = with_noise(keyword_examples(60), uniform_noise(0.2, 2), seed=0)
    tam = TamConfig("lstm", embedding=8, hidden=8, lr=1e-2, epochs=2, batch_size=8)

    def given_label(model: torch.nn.Module, data: Samples) -> np.ndarray:
        chosen: np.ndarray = predict(model, data).softmax(-1)[torch.arange(60), data.labels].numpy()
        return chosen

    fitted, cotaught, followed = (tam.prepare(noisy, seed=1) for _ in range(3))
    fit(fitted.model, fitted.data, seed=1, **tam.training)
    coteaching.train_tam(cotaught, noisy, tam=tam, seed=1)
    mean = confidence.cartography(followed.model, followed.data, seed=1, **tam.training).confidence
    known = np.linspace(0, 1, 54, dtype=np.float32)  # what Meta-Weight-Net says of the rows that are not its meta set
    monkeypatch.setattr(meta_weight_net, "train", lambda *_, **__: ([], known))
    expected = {
        "fit": given_label(fitted.model, fitted.data),
        "coteaching": given_label(cotaught.model, cotaught.data),
        "confidence": mean,
        "meta_weight_net": np.r_[known, np.full(6, np.nan)],
    }
    for by, values in expected.items():
        np.testing.assert_array_equal(SCORES[by](noisy, tam=tam, seed=1), values, err_msg=by)


@pytest.mark.parametrize("by", sorted(set(SCORES) - {"cleanlab", "meta_weight_net"}))  # its weights precede a step
def test_a_model_that_is_not_finite_trusts_nothing(by: str) -> None:
    with pytest.raises(Diverged, match="not finite"):
        SCORES[by](keyword_examples(32), tam=TamConfig("lstm", embedding=4, hidden=4, epochs=1, lr=1e39))


def test_noise_auc_is_scikit_learn_s_without_the_samples_that_nobody_judges(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = experiment()
    noisy = one.data.noisy_gold("imdb", rows=40, noise="uniform", rate=0.3)
    spec = Trust(noisy, "fit", one.profile.lstm, 1, "cpu")
    right = sources.load(noisy).labels == sources.load(replace(noisy, noise=None, noise_rate=0.0)).labels
    scores = np.where(right, 0.2, 0.8)  # always wrong, but for two that are not judged and one tie
    scores[np.flatnonzero(right)[0]] = scores[np.flatnonzero(~right)[0]] = np.nan
    monkeypatch.setattr(stages, "scores", lambda _: scores)
    assert noise_auc(spec, {spec: record(0.0)}, None) == 0.0
    scores[np.flatnonzero(right)[1]] = 0.8  # level with all the wrong ones: half a win over each
    assert noise_auc(spec, {spec: record(0.0)}, None) == pytest.approx(0.5 / (right.sum() - 1))
    assert np.isnan(noise_auc(spec, {spec: record(0.0, "NaN")}, None))


def test_a_paired_gap_by_hand() -> None:
    """100 items, two seeds: above is right on 60 and 70, below on 50 and 70 of them."""
    items = np.arange(100)
    above = Cell("a", "x", "other", (1, 2), (60.0, 70.0), np.stack([items < 60, items < 70]))
    below = Cell("b", "x", "other", (1, 2), (50.0, 70.0), np.stack([items < 50, items < 70]))
    gap, low, high, signs = paired_gap(above, below)
    assert (gap, signs) == (5.0, "+ 0")
    # Of 100 items 10 differ by half a point each: the mean of n draws has a standard deviation of 1.5 points. Of two
    # seeds, whose gaps are 10 and 0, a quarter of the draws take one twice, 5 points off the mean, stretched by sqrt(2)
    # and by Student's t over the normal quantile. The interval leaves out a tenth of that quarter.
    far = 5 * math.sqrt(2) * 12.706 / 1.960 + 1.282 * 1.5
    assert low == pytest.approx(5 - far, abs=0.5) and high == pytest.approx(5 + far, abs=0.5)
    # One seed alone: 10 of 100 items differ, and so do 5 to 16 of 100 drawn, in 95 % of the draws (binomial quantiles).
    alone = [Cell(c.row, c.column, c.scale, (1,), c.values[:1], c.items_at([1])) for c in (above, below)]
    gap, low, high, signs = paired_gap(*alone)
    assert (gap, signs) == (10.0, "+")
    assert low == pytest.approx(5, abs=1.01) and high == pytest.approx(16, abs=1.01)
    assert np.isnan(paired_gap(above, Cell("c", "x", "other", (3,), (1.0,)))[0])


def test_an_unknown_trust_is_refused(store: Path) -> None:
    one = experiment()
    noisy = one.data.noisy_gold("imdb", rows=20, noise="class", rate=0.3)
    spec = Trust(noisy, "oracle", one.profile.lstm, 1, "cpu")
    with pytest.raises(KeyError, match="'oracle'"):
        execution.compute(spec)
    assert find(spec) is None


def test_trust_is_a_stage_of_its_own(store: Path) -> None:
    one = experiment()
    noisy = one.data.noisy_gold("imdb", rows=60, noise="class", rate=0.3)
    spec = Trust(noisy, "cleanlab", one.profile.lstm, 1, "cpu")
    execution.execute([spec], progress=None)
    expected = SCORES["cleanlab"](sources.load(noisy), tam=one.profile.lstm, seed=1)
    assert stages.scores(spec) == pytest.approx(expected)


def test_a_raised_revision_makes_trust_anew(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment()
    noisy = one.data.noisy_gold("imdb", rows=60, noise="class", rate=0.3)

    def spec() -> Trust:
        return Trust(noisy, "cleanlab", one.profile.lstm, 1, "cpu")

    execution.execute([spec()], progress=None)
    assert find(spec()) is not None
    monkeypatch.setitem(REVISIONS, "trust", 2)
    assert find(spec()) is None


# --- the notebooks' parameters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "asked", "outer"), [(20, 10, 10), (100, 50, 20)])
def test_noise_is_planted_on_tasks_that_have_gold_texts_only(
    rows: int, asked: int, outer: int, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with no synthetic text at all: this notebook needs none. The outer set is half of the rows that there
    are, which may be fewer than were asked for: a spec says what was asked for, the run sees what there is."""
    for split in ("train", "test"):
        jsonl.write_jsonl(tmp_path / "subj" / "std" / f"{split}.jsonl", embedded.gold("subj", split, 40))
    (tmp_path / "subj" / "labels.json").write_text('["subjective", "objective"]')
    # The frozen encoder, the other TAM at this profile, is not in the store, so that only the bag's runs are left.
    parameters = {"profile": "small", "data_dir": str(tmp_path), "rows": rows}
    specs = plan.planned(notebooks.NOTEBOOKS / "noise_recovery.ipynb", parameters, anywhere=False)
    weights = [spec for spec in specs if isinstance(spec, Weights)]
    assert {spec.train.task for spec in weights} == {"subj"} and len(weights) == 2 * 3 * 3
    assert {(spec.outer_size, spec.tam.kind) for spec in weights} == {(asked, "bag")}
    sizes: list[int] = []

    def noted(texts: Examples, *, outer_size: int, **settings: Any) -> LearnedWeights:
        sizes.append(outer_size)
        return learn_weights(texts, outer_size=outer_size, **settings)

    monkeypatch.setattr(stages, "learn_weights", noted)
    first = replace(weights[0], outer_lr=0.25, iterations=1, snapshots=())
    assert execution.compute(first, str(tmp_path)).diverged is None
    assert sizes == [outer]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["held-out"], "each of options must be one of held_out, swapped, centred, initialisations, got 'held-out'"),
        ([["held_out"]], r"each of options must be one of held_out, swapped, .*, got \['held_out'\]"),
        ([], r"options must be a list such as \[centred\], got \[\]"),
        ("centred", r"options must be a list such as \[centred\], got 'centred'"),
    ],
)
def test_unknown_options_are_refused(options: object, complaint: str) -> None:
    with pytest.raises(ParameterError, match=f"^{complaint}$"):
        plan.planned(notebooks.NOTEBOOKS / "variants.ipynb", {"options": options})
