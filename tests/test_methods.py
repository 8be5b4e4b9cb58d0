"""Which rows each method trains on, how, and that runs do what the specs say."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from conftest import keyword_examples
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from test_runs import experiment

from sungen_lib.baselines import TRAININGS, confidence, coteaching, meta_weight_net, tfidf_logreg
from sungen_lib.encode import Samples
from sungen_lib.lab import notebooks, parameters, plan, profiles, scoreboard, sources, stages
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.methods import BASELINES, LINEAR
from sungen_lib.lab.parameters import Classifiers, ParameterError, PositiveIntegers
from sungen_lib.lab.specs import LINEAR_MODEL, Gold, Run, Synthetic, Weights, identify
from sungen_lib.lab.task_data import TaskData
from sungen_lib.lab.text_sets import TextSets
from sungen_lib.learn import LearnedWeights
from sungen_lib.losses import mean_absolute_error, reverse_cross_entropy
from sungen_lib.models import TamConfig
from sungen_lib.seeds import derived_seed
from sungen_lib.texts import tasks
from sungen_lib.texts.examples import DataMissing, Examples
from sungen_lib.train import Epoch

TAM = TamConfig("lstm", embedding=8, hidden=8, lr=1e-2, epochs=2, batch_size=8)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    sources.load.cache_clear()
    return tmp_path / "store"


def noisy_pool(n: int = 200, rate: float = 0.2) -> tuple[Examples, np.ndarray]:
    """Keyword texts, some with the other label, and which."""
    clean = keyword_examples(n)
    wrong = np.random.default_rng(0).random(n) < rate
    return Examples.of(clean.texts, np.where(wrong, 1 - clean.labels, clean.labels), clean.label_names), wrong


Rows = Callable[..., np.ndarray]


@pytest.fixture
def rows_of() -> Rows:
    """The rows of a pool that a run trains on: ``rows_of(pool, weights=None, **fields of the run)``."""

    def call(pool: Examples, *, weights: np.ndarray | None = None, **fields: Any) -> np.ndarray:
        test, train = Gold("imdb", "test", "embedded", 4, "f"), Synthetic("imdb", "plm", "folder", len(pool), "f")
        return stages._rows(Run("any", test, "cpu", train, TAM, **fields), pool, weights)

    return call


def test_first_and_weighted_rows(rows_of: Rows) -> None:
    pool = keyword_examples(10)
    assert rows_of(pool, selection="first", budget=4).tolist() == [0, 1, 2, 3]
    assert rows_of(pool, selection="first", budget=None).tolist() == list(range(10))
    assert rows_of(pool, selection="weighted", budget=None, weights=np.ones(10)).tolist() == list(range(10))


def test_random_rows_depend_on_the_seed(rows_of: Rows) -> None:
    drawn = [rows_of(keyword_examples(50), selection="random", budget=10, seed=seed).tolist() for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1] and all(len(set(rows)) == 10 for rows in drawn)


def test_drawn_rows_follow_the_weights(rows_of: Rows) -> None:
    weights = np.r_[np.ones(50), np.zeros(150)]
    rows = rows_of(keyword_examples(200), selection="bernoulli", budget=50, weights=weights, seed=3)
    assert rows.tolist() == list(range(50))


@pytest.mark.parametrize(("weights", "budget"), [(None, 2), (np.ones(4), None)])
def test_nothing_is_drawn_without_weights_or_a_budget(
    weights: np.ndarray | None, budget: int | None, rows_of: Rows
) -> None:
    with pytest.raises(ValueError, match="a subset is drawn by weights, to a budget: give both"):
        rows_of(keyword_examples(4), selection="bernoulli", budget=budget, weights=weights)


def test_confidence_keeps_the_likeliest_rows(rows_of: Rows) -> None:
    pool, wrong = noisy_pool()
    rows = rows_of(pool, selection="confidence", budget=120, seed=1)
    tokenizer = TAM.tokenizer(pool)
    data = TAM.encode(pool, tokenizer)
    measured = confidence.cartography(
        TAM.build(tokenizer, 2, seed=1), data, epochs=2, lr=1e-2, batch_size=8, seed=1
    ).confidence
    assert len(rows) == 120 and measured[rows].min() >= np.delete(measured, rows).max()
    assert wrong[rows].mean() < wrong.mean()


def test_confidence_without_a_budget_keeps_what_is_not_contradicted(rows_of: Rows) -> None:
    pool, _ = noisy_pool()
    rows = rows_of(pool, selection="confidence", budget=None, seed=1)
    assert len(rows) == round((1 - tfidf_logreg.noise_rate(pool)) * 200)
    assert 0.6 < len(rows) / 200 < 0.95


def test_cleanlab_drops_wrong_rows(rows_of: Rows) -> None:
    pool, wrong = noisy_pool()
    rows = rows_of(pool, selection="cleanlab", budget=None)
    assert wrong[rows].mean() < 0.5 * wrong.mean()
    assert rows_of(pool, selection="cleanlab", budget=10).tolist() == rows[:10].tolist()


def test_an_unknown_selection_or_training_is_refused(rows_of: Rows) -> None:
    pool = keyword_examples(4)
    with pytest.raises(KeyError, match="'best'"):
        rows_of(pool, selection="best", budget=1)
    run = Run("any", Gold("imdb", "test", "embedded", 4, "f"), "cpu", training="hope")
    with pytest.raises(KeyError, match="'hope'"):
        stages._training(run, TAM, TAM.prepare(pool, seed=0), pool, None)


def test_coteaching_pairs_two_different_networks() -> None:
    pool, _ = noisy_pool(64)
    prepared = TAM.prepare(pool, seed=1)
    ours, data, tokenizer = prepared.model, prepared.data, prepared.tokenizer
    TRAININGS["coteaching"](prepared, pool, tam=TAM, seed=1)
    first, second = (TAM.build(tokenizer, 2, seed=seed) for seed in (1, derived_seed(1, 2)))
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
    rate = tfidf_logreg.noise_rate(pool)
    coteaching.train(first, second, data, forget_rate=rate, epochs=2, lr=1e-2, batch_size=8, seed=1)
    for a, b in zip(ours.parameters(), first.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_meta_weight_net_never_trains_on_its_meta_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, _ = noisy_pool(100)
    prepared = TAM.prepare(pool, seed=1)
    data = prepared.data
    seen: dict[str, Any] = {}

    def train(model: object, own: object, meta: object, **_: object) -> tuple[list[object], None]:
        seen.update(own=own, meta=meta)
        return [], None

    monkeypatch.setattr(meta_weight_net, "train", train)
    TRAININGS["meta_weight_net"](prepared, pool, tam=TAM, seed=1)
    assert torch.equal(seen["own"].labels, data.labels[:90]) and torch.equal(seen["meta"].labels, data.labels[90:])


# --- as runs ----------------------------------------------------------------------------------------------------------


# name: which rows, how they are trained on, by which loss, and the budget (``experiment`` has 96 rows)
AS_RUNS = {
    "Confidence": ("confidence", "fit", "ce", 48),
    "Co-teaching": ("first", "coteaching", "ce", 48),
    "Meta-Weight-Net": ("first", "meta_weight_net", "ce", 48),
    "Label smoothing": ("first", "fit", "smoothed_ce", 48),
    "Temporal ensembling": ("first", "temporal_ensembling", "ce", 48),
    "One-level RCE": ("first", "fit", "rce", None),
    "cleanlab, then the TAM": ("cleanlab", "fit", "ce", 48),
}


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_is_zerogens_run_but_for_what_it_is_about(name: str) -> None:
    one = experiment()
    run, zerogen = one.methods.baseline(name, "imdb", "lstm", 1), one.methods.zerogen("imdb", "lstm", 1)
    assert (run.selection, run.training, run.loss, run.budget) == AS_RUNS[name]
    same: dict[str, Any] = {"method": "zerogen", "selection": "first", "training": "fit", "loss": "ce", "budget": 48}
    assert replace(run, **same) == zerogen


def test_every_field_of_a_spec_of_weights_reaches_the_algorithm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, seen = experiment(), dict[str, Any]()
    outer = one.data.gold("imdb", "train")
    texts = {outer: keyword_examples(20), one.data.synthetic("imdb"): keyword_examples(96)}
    asked: dict[str, Any] = {"outer_size": 7, "outer_lr": 0.125, "iterations": 3, "snapshots": (0, 2)}
    asked |= {"outer_draw": "held_out", "centred": True, "initialisations": 2}
    spec = one.methods.weights("imdb", "lstm", 5, outer_loss="mae", outer=outer, **asked)

    def spy(texts: Examples, **given: Any) -> LearnedWeights:
        seen.update(given, texts=texts)
        return LearnedWeights(np.ones(1), {})

    monkeypatch.setattr(stages, "load", lambda data, _: texts[data])
    monkeypatch.setattr(stages, "learn_weights", spy)
    stages._weights(spec, tmp_path, None)
    assert seen.pop("outer_set") is texts[outer] and seen.pop("texts") is texts[spec.train]
    rest = {"outer_loss": mean_absolute_error, "tam": one.profile.lstm, "seed": 5, "device": "cpu"}
    assert seen == asked | rest | {"checkpoint": tmp_path / "weights.safetensors"}


@pytest.mark.parametrize("selection", ["weighted", "bernoulli"])
def test_a_weighted_run_trains_by_its_weights(selection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the mean of several; a subset that was drawn by them is trained on without."""
    one, seen = experiment(), dict[str, Any]()
    several = tuple(one.methods.weights("imdb", "lstm", seed) for seed in (1, 2))
    run = one.methods.sungen("imdb", "lstm", 1, budget=96 if selection == "weighted" else 48)
    kept = {spec: LearnedWeights(np.full(96, 0.2 * (i + 1), np.float32), {}) for i, spec in enumerate(several)}
    monkeypatch.setattr(stages, "load", lambda data, _: keyword_examples(96))
    monkeypatch.setattr(stages, "learned", kept.__getitem__)

    def spy(model: torch.nn.Module, data: Samples, **given: Any) -> list[Epoch]:
        seen.update(given, rows=len(data))
        return []

    monkeypatch.setattr(stages, "epochs", spy)
    stages._trained(replace(run, weights=several, loss="rce"), None)
    assert run.selection == selection and seen["loss"] is reverse_cross_entropy
    if selection == "weighted":
        assert torch.allclose(seen["weights"], torch.full((96,), 0.3)) and seen["rows"] == 96
    else:
        assert seen["weights"] is None and seen["rows"] < 96


def test_every_baseline_runs_and_differs_from_zerogen(store: Path) -> None:
    one = experiment()
    runs = {"ZeroGen": one.methods.zerogen("imdb", "lstm", 1)}
    runs |= {name: one.methods.baseline(name, "imdb", "lstm", 1) for name in BASELINES}
    # In the first epoch Co-teaching forgets nothing and temporal ensembling has no targets yet.
    specs = {name: replace(run, tam=replace(TAM, max_length=64)) for name, run in runs.items()}
    records = one.execute(list(specs.values()))
    losses = {name: records[spec].metrics["loss"] for name, spec in specs.items()}
    assert len(set(losses.values())) == len(BASELINES) + 1, losses
    assert records[specs["One-level RCE"]].metrics["rows"] == one.profile.pool


def test_the_linear_model_is_scikit_learns(store: Path) -> None:
    one = experiment()
    spec = one.methods.linear(LINEAR_MODEL, "imdb", 1)
    record = one.execute([spec])[spec]
    train, test = sources.load(one.data.synthetic("imdb")), sources.load(one.data.gold("imdb", "test"))
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression().fit(vectors.fit_transform(train.texts), train.labels)  # the whole pool
    assert record.accuracy == pytest.approx(100 * model.score(vectors.transform(test.texts), test.labels))
    assert record.seed is None  # nothing in it is random
    filtered = one.methods.linear(f"cleanlab, then {LINEAR_MODEL}", "imdb", 2)
    assert one.execute([filtered])[filtered].seed == 2 and len(LINEAR) == 2


def test_the_whole_pool_is_one_spec_however_it_is_asked_for() -> None:
    one = experiment()
    assert one.methods.zerogen("imdb", "lstm", 1, budget=96) == one.methods.zerogen("imdb", "lstm", 1, budget=10_000)
    whole = one.methods.sungen("imdb", "lstm", 1, budget=96)
    assert (whole.selection, whole.budget) == ("weighted", None)
    part = one.methods.sungen("imdb", "lstm", 1)
    assert (part.selection, part.budget) == ("bernoulli", 48)
    raw = [one.methods.zerogen_at("imdb", "lstm", 1, budget=budget) for budget in (24, 96)]
    assert [(run.selection, run.budget) for run in raw] == [("random", 24), ("first", None)]
    assert raw[1] == one.methods.zerogen("imdb", "lstm", 1, budget=96)


def test_naming_a_set_of_weights_reads_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does naming anything that is built of it."""

    def read(*_: object) -> Examples:
        raise AssertionError("a data set was read")

    one = experiment()
    monkeypatch.setattr(sources, "load", read)
    monkeypatch.setattr(stages, "load", read)
    noisy = one.data.noisy_gold("imdb", rows=40, noise="uniform", rate=0.3)
    weights = one.methods.weights("imdb", "lstm", 1, train=noisy)
    assert (weights.train, weights.outer_size) == (noisy, 20)  # half of what there is to learn on
    assert len({identify(spec) for spec in (weights, one.methods.weights("imdb", "lstm", 1))}) == 2


def test_a_plm_trained_anew_makes_new_specs(monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment()
    before = one.data.synthetic("imdb"), one.methods.prompting("imdb"), one.data.gold("imdb", "test")
    monkeypatch.setattr("sungen_lib.embedded.plm_fingerprint", lambda: "another")
    after = one.data.synthetic("imdb"), one.methods.prompting("imdb"), one.data.gold("imdb", "test")
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


# --- what is planned and what came of it ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table01", "table02"])
def test_supervised_runs_may_have_fewer_seeds(name: str, store: Path) -> None:
    (table,) = notebooks.select(notebooks.NOTEBOOKS, [name])
    asked = {"profile": "tiny", "tasks": ["imdb"], "seeds": [1, 2]} | ({"tams": ["lstm"]} if name == "table01" else {})
    for more, expected in (({}, [1, 2]), ({"supervised_seeds": [2]}, [2])):
        runs = [spec for spec in plan.planned(table, asked | more) if isinstance(spec, Run)]
        assert [run.seed for run in runs if run.method == "supervised"] == expected
        assert {run.seed for run in runs if run.method == "sungen"} == {1, 2}


def test_a_frozen_encoder_s_supervised_runs_have_all_seeds() -> None:
    given = {"profile": "tiny", "seeds": [1, 2], "supervised_seeds": [2]}
    one = Experiment.from_parameters("t", given, tasks=["imdb"], supervised_seeds=PositiveIntegers | None)
    assert (one.supervised_seeds("lstm"), one.supervised_seeds("frozen")) == ((2,), (1, 2))


def test_mae_s_runs_may_have_fewer_seeds(store: Path) -> None:
    table = notebooks.NOTEBOOKS / "table07_outer_objectives.ipynb"
    asked = {"profile": "tiny", "tasks": ["imdb"], "seeds": [1, 2], "mae_seeds": [2]}
    weights = [spec for spec in plan.planned(table, asked) if isinstance(spec, Weights)]
    found = {loss: [spec.seed for spec in weights if spec.outer_loss == loss] for loss in ("ce", "rce", "mae")}
    assert found == {"ce": [1, 2], "rce": [1, 2], "mae": [2]}


def test_what_a_notebook_cannot_do_is_refused() -> None:
    one = Experiment.from_parameters(
        "t", {"profile": "tiny", "budgets": [24, 97]}, tasks=["imdb", "subj"], budgets=PositiveIntegers | None
    )
    with pytest.raises(ParameterError, match="budgets must not exceed the pool of 96 texts, got 97"):
        one.sizes()
    with pytest.raises(ParameterError, match="tasks must share their synthetic texts"):
        one.check_that_tasks_share_texts()
    replace(one, tasks=("imdb", "sst2")).check_that_tasks_share_texts()


def test_a_dry_run_lists_the_paper_and_computes_nothing(store: Path, capsys: pytest.CaptureFixture) -> None:
    plan.show(notebooks.select(notebooks.NOTEBOOKS, ["table01", "table11"]), {"profile": "paper", "data_dir": None})
    printed = capsys.readouterr().out
    assert "SunGen" not in printed.splitlines()[0]  # the notebooks' own output is not ours
    # Eight tasks: six sets of texts, and weights on them for two TAMs with three seeds and the frozen one with ten;
    # three methods, and prompting. Below the rule: cleanlab and the LSTM, the frozen TAM or the linear model; the
    # linear model alone, seedless: 6 + 6 * 16 + 8 * (3 * 16 + 1) + 8 * (3 + 10 + 3 + 1).
    assert "table01_main_results" in printed and " 630 runs" in printed.splitlines()[0]
    assert "GPU hours" in printed.splitlines()[-2] and "not measured" in printed.splitlines()[-1]
    assert not store.exists()


def test_a_plan_needs_no_folder_for_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebooks' own is relative to them, and may belong to another user: a plan writes nothing."""
    monkeypatch.setattr(parameters, "writable", lambda folder: Path(folder) == Path(tempfile.gettempdir()))
    (table,) = notebooks.select(notebooks.NOTEBOOKS, ["table11"])
    assert plan.planned(table, {"profile": "tiny", "tasks": ["imdb"]})


def test_the_plan_counts_operations() -> None:
    one = experiment()
    weights = replace(one.methods.weights("imdb", "lstm", 1), iterations=50)
    tokens = 30 * (5 * 96 + 3 * weights.outer_size)
    assert plan.hours(weights) == pytest.approx(50 * tokens * 600_000 / 2e12 / 3600)
    twice = replace(weights, tam=replace(weights.tam, inner_epochs=2))
    tokens += 30 * 3 * 96  # one more epoch
    assert plan.hours(twice) == pytest.approx(50 * tokens * 600_000 / 2e12 / 3600)
    assert plan.hours(one.methods.linear(LINEAR_MODEL, "imdb", 1)) == 0


def test_the_scoreboard_shows_what_diverged(tmp_path: Path) -> None:
    claim = {"claim": "gain", "column": "imdb", "verdict": "diverged", "ours": None}
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "table02.json").write_text(json.dumps({"name": "table02", "claims": [claim]}))
    assert "diverged" in set(scoreboard.scoreboard(tmp_path)["small"])


def test_an_encoder_that_is_nowhere_is_a_row_not_run(tmp_path: Path) -> None:
    one = experiment()
    missing = replace(one, profile=replace(one.profile, distilbert=TamConfig("distilbert", path=str(tmp_path / "no"))))
    grid = missing.grid({"DistilBERT": (partial(missing.methods.zerogen, tam="distilbert"), [1])})
    assert not grid.specs and "no tokenizer could be loaded" in grid.not_run["DistilBERT", "imdb"]
    assert [spec.method for spec in grid.without_model["DistilBERT", "imdb"]] == ["zerogen"]
    assert missing.provenance({})["lacking"] == [grid.not_run["DistilBERT", "imdb"]]


def test_what_a_data_folder_lacks_is_no_news_until_it_changes(tmp_path: Path) -> None:
    (tmp_path / "imdb").mkdir()
    one = Experiment.from_parameters("t", {"profile": "small", "data_dir": str(tmp_path)}, tasks=["imdb"])
    grid = one.grid({"ZeroGen": (partial(one.methods.zerogen, tam="lstm"), [1])})
    assert "put gpt2-xl data for imdb there" in grid.not_run["ZeroGen", "imdb"]
    assert "lacking" not in one.provenance({})


def test_a_server_writes_texts_and_is_not_prompted() -> None:
    given = {"profile": "tiny", "plm": "http://127.0.0.1:9/v1#some/model"}
    one = Experiment.from_parameters("t", given, tasks=["imdb"])
    grid = one.grid({"Prompting": (lambda task, seed: one.methods.prompting(task), [0])})
    assert grid.not_run["Prompting", "imdb"] == "the server writes texts; prompting needs the PLM's probabilities"


def test_gold_may_come_from_a_folder_where_texts_are_generated(tmp_path: Path) -> None:
    one = Experiment.from_parameters("t", {"profile": "paper", "data_dir": str(tmp_path)}, tasks=["imdb"])
    assert one.data.synthetic("imdb").rows == 1_000_000
    with pytest.raises(DataMissing, match="gold data for imdb"):
        one.data.gold("imdb", "test")


def test_gold_sets_have_the_profile_s_size_else_the_paper_s(tmp_path: Path) -> None:
    (tmp_path / "dbpedia" / "std").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "dbpedia" / "std" / f"{split}.jsonl").write_text("")
    (tmp_path / "dbpedia" / "labels.json").write_text(json.dumps(tasks.get("dbpedia").labels))
    found = {}
    for name in ("laptop", "small", "medium", "paper"):
        data = TaskData(profiles.get(name), str(tmp_path))
        found[name] = [data.gold("dbpedia", split).rows for split in ("train", "test")]
        assert data.gold("dbpedia", "train", rows=7).rows == 7
    assert found == {
        "laptop": [2_500, 1_000],
        "small": [None, None],
        "medium": [None, None],
        "paper": [560_000, 5_000],
    }


@pytest.mark.parametrize(("folder", "rows"), [(False, 560_000), (True, None)])
def test_the_oracle_learns_from_all_gold_rows_but_no_more_of_the_hub_than_the_paper(
    folder: bool, rows: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yelp" / "std").mkdir(parents=True)
    (tmp_path / "yelp" / "std" / "train.jsonl").write_text("")
    (tmp_path / "yelp" / "labels.json").write_text('["negative", "positive"]')
    given = {"profile": "laptop", "data_dir": str(tmp_path) if folder else None, "oracles": None}
    one = Experiment.from_parameters("t", given, tasks=["yelp"], oracles=Classifiers | None)
    read: list[Gold] = []
    monkeypatch.setattr(TextSets, "_load", lambda sets, spec: read.append(spec))
    monkeypatch.setattr(tfidf_logreg, "fit", lambda texts: None)
    TextSets(one, {}, None)._oracle("yelp")
    assert [spec.rows for spec in read] == [rows]


def test_sungen_s_sets_of_texts_are_those_of_each_tam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Experiment.from_parameters("t", {"profile": "small", "data_dir": str(tmp_path)}, tasks=["imdb"])
    monkeypatch.setattr(TaskData, "synthetic", lambda data, task: Synthetic(task, "gpt2-xl", "folder", 4, "f"))
    pool = Examples.of(["a", "b", "c", "d"], [0, 1, 0, 1], ("no", "yes"))
    monkeypatch.setattr(TextSets, "_load", lambda sets, spec: pool)
    kept = {("lstm", 2): [1, 0, 0, 0.9], ("frozen", 1): [0.1, 1, 0.9, 0], ("frozen", 9): [0, 0.9, 1, 0.1]}
    specs = {
        one.methods.weights("imdb", tam, seed): np.array(weights, np.float32) for (tam, seed), weights in kept.items()
    }
    learned = {spec: LearnedWeights(weights, {}) for spec, weights in specs.items()}
    sets, frozen = TextSets(one, learned, share=0.25), "SunGen, MiniLM-L6 (frozen)"
    top, bottom = (f"SunGen-{end}, MiniLM-L6 (frozen)" for end in ("Top", "Bottom"))
    assert sets.whole() == ["Gold", "ZeroGen", "SunGen", frozen]
    assert sets.all() == ["Gold", "ZeroGen", "SunGen", "SunGen-Top", "SunGen-Bottom", frozen, top, bottom]
    assert sets.seeds("ZeroGen", "imdb") == tuple(range(1, 11))
    assert (sets.seeds("SunGen", "imdb"), sets.seeds(frozen, "imdb")) == ((2,), (1, 9))
    assert [sorted(texts) for texts in sets.texts("SunGen", "imdb")] == [["a", "d"]]
    assert [sorted(texts) for texts in sets.texts(frozen, "imdb")] == [["b", "c"], ["b", "c"]]
    assert (sets.texts(top, "imdb"), sets.texts(bottom, "imdb")) == ([("b",), ("c",)], [("d",), ("a",)])
    assert len(sets.texts("ZeroGen", "imdb")) == 10
    with pytest.raises(DataMissing, match="every seed have diverged"):
        replace(sets, learned={}).rows(top, "imdb")


def test_each_task_s_oracle_judges_the_texts_that_tasks_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Experiment.from_parameters("t", {"profile": "embedded"}, tasks=["imdb", "sst2"])
    assert one.data.synthetic("imdb") == one.data.synthetic("sst2")
    monkeypatch.setattr(TextSets, "_load", lambda sets, spec: Examples.of(["a", "b"], [0, 1], ("no", "yes")))
    oracles = {"imdb": lambda texts: np.array([0, 1]), "sst2": lambda texts: np.array([0, 0])}
    sets = TextSets(one, {}, None, _oracles=oracles)
    assert [sets.confirmed("ZeroGen", task).tolist() for task in oracles] == [[[True, True]], [[True, False]]]


@pytest.mark.parametrize(
    ("task", "given", "share", "scale"),
    [
        ("imdb", {}, None, "paper"),
        ("imdb", {}, 0.02, "other"),
        ("imdb", {"plm": "gpt2"}, None, "other"),
        ("amazon", {}, None, "other"),  # the paper's gold texts are of some categories, the hub's of all
        ("imdb", {"profile": "embedded"}, None, "demo"),
    ],
)
def test_sets_of_texts_have_the_paper_s_scale_if_their_sources_do(
    task: str, given: dict[str, str], share: float | None, scale: str
) -> None:
    one = Experiment.from_parameters("t", {"profile": "paper", "device": "cpu", **given}, tasks=[task])
    assert TextSets(one, {}, share).scale(task) == scale


def test_the_scoreboard_shows_every_claim_of_every_profile(tmp_path: Path) -> None:
    claim = {"claim": "gain", "column": "imdb", "verdict": "holds", "ours": 4.2}
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "table02.json").write_text(json.dumps({"name": "table02", "claims": [claim]}))
    board = scoreboard.scoreboard(tmp_path)
    assert list(board) == ["table", "claim", "on", "published", "small"]
    held = board[board["small"] != "not run"]
    assert held.to_dict("records") == [
        {
            "table": "table02",
            "claim": "SunGen, synthetic outer set is more accurate than ZeroGen",
            "on": "IMDb",
            "published": "+12.58",
            "small": "holds (+4.20)",
        }
    ]
    assert len(board) == 135
    assert board[board.table == "figure01"].published.tolist() == ["none"] * 4


WITHOUT = ("yelp", "amazon", "rotten_tomatoes")  # of these only yelp has a result at another profile


def claim_of(*, ours: float, seeds: str = "+ + -", **more: Any) -> dict[str, Any]:
    about = {"claim": "gain", "text": "SunGen is more accurate", "column": "imdb", "low": -1.0, "high": 9.0}
    return about | {"verdict": "undecided", "ours": ours, "seeds": seeds} | more


def test_the_scoreboard_leads_with_the_largest_real_profile(tmp_path: Path) -> None:
    """One line a claim; a demonstration is no evidence, and a claim that no real run tests is not there."""
    for profile, claims in {
        "embedded": [claim_of(ours=15.0)],
        "small": [claim_of(ours=4.2), claim_of(ours=0.0, column="yelp", verdict="not run: at paper scale only")],
        "paper": [],
    }.items():
        (tmp_path / profile).mkdir()
        (tmp_path / profile / "table02.json").write_text(json.dumps({"name": "table02", "claims": claims}))
    (line,) = scoreboard.evidence(tmp_path).to_dict("records")
    assert line["ours"] == "+4.20" and line["published"] == "+12.58" and line["profile"] == "small"
    assert line["95 % interval"] == "-1.00 to +9.00"
    assert "-1.00\u00a0to\u00a0+9.00" in scoreboard.page(tmp_path, out=tmp_path)  # on one line
    assert line["seeds"] == "+ + -" and line["verdict"] == "undecided"
    larger = {"name": "table02", "claims": [claim_of(ours=12.0, low=None, high=None)]}
    (tmp_path / "paper" / "table02.json").write_text(json.dumps(larger))
    (line,) = scoreboard.evidence(tmp_path).to_dict("records")
    assert line["ours"] == "+12.00" and line["95 % interval"] == "none" and line["profile"] == "paper"


def test_a_figure_without_numbers_of_the_paper_has_its_lines_too(tmp_path: Path) -> None:
    claim = claim_of(ours=2.4, claim="zerogen-overfits", verdict="holds", paper=None)
    for out, claims in {"committed": {"claims": [claim]}, "older": {}}.items():  # a picture alone has no claims
        (tmp_path / out / "small").mkdir(parents=True)
        (tmp_path / out / "small" / "figure01.json").write_text(json.dumps({"name": "figure01", **claims}))
    folders = tmp_path / "committed", tmp_path / "older"
    (line,) = scoreboard.evidence(*folders).to_dict("records")
    assert (line["table"], line["published"], line["ours"], line["verdict"]) == ("figure01", "none", "+2.40", "holds")
    assert scoreboard.counts(scoreboard.scoreboard(*folders))["on real text"]["holds"] == 1
    assert "| [figure01](" in scoreboard.page(*folders, out=tmp_path)


def test_a_claim_counts_once_on_real_text_and_what_is_not_run_says_why(tmp_path: Path) -> None:
    of_profile = {
        "embedded": [claim_of(ours=15.0)],
        "laptop": [claim_of(ours=1.0, verdict="fails"), claim_of(ours=2.0, verdict="holds", column="yelp")],
        "small": [claim_of(ours=4.2), *(claim_of(ours=0.0, column=c, verdict="not run: no ZeroGen") for c in WITHOUT)],
    }
    for profile, claims in of_profile.items():
        (tmp_path / profile).mkdir()
        (tmp_path / profile / "table02.json").write_text(json.dumps({"name": "table02", "claims": claims}))
    (tmp_path / "small" / "table02.csv").write_text("row,column,verdict\nZeroGen,amazon,not run: no amazon\n")
    real = scoreboard.counts(scoreboard.scoreboard(tmp_path))["on real text"]
    assert real.to_dict() == {"holds": 1, "fails": 0, "undecided": 1, "diverged": 0, "not run": 133}
    assert scoreboard.not_run(tmp_path).to_dict("records") == [
        {"why": "no such result has been made", "claims": 131, "tables": ANY},
        {"why": "no amazon", "claims": 1, "tables": "table02"},
        {"why": "no ZeroGen", "claims": 1, "tables": "table02"},
    ]
    assert "| no amazon | 1 | table02 |" in scoreboard.page(tmp_path, out=tmp_path)


def test_the_page_links_to_notebooks_from_wherever_it_stands(tmp_path: Path) -> None:
    out = notebooks.REPOSITORY / "runs" / "tables"
    assert "](../../notebooks/table01" in scoreboard.page(notebooks.TABLES, out=out)
    assert "Nothing has been run on real text." in scoreboard.page(tmp_path, out=tmp_path)
