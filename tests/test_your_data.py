"""The notebook ``your_data`` on files of a user's own: weights, a subset, an accuracy, or one clear sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from conftest import KEYWORDS, keyword_examples, run_cells
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.metrics import roc_auc_score
from transformers import DistilBertConfig, DistilBertForSequenceClassification, TrainingArguments

from sungen_lib import choice, derivative, learn, reweight
from sungen_lib.encode import Encoded
from sungen_lib.lab import figures, notebooks, quality, your_data
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.parameters import ParameterError
from sungen_lib.learn import LearnedWeights
from sungen_lib.texts import files
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.train import Diverged

NOTEBOOK = notebooks.NOTEBOOKS / "your_data.ipynb"
pytestmark = pytest.mark.usefixtures("place")


def write(path: Path, rows: int = 40, *, seed: int = 0, **changes: Any) -> str:
    """``keyword_examples`` with their labels by name, as pandas writes them; ``changes`` to columns."""
    found = keyword_examples(rows, seed=seed)
    frame = pd.DataFrame({"text": found.texts, "label": [KEYWORDS[label] for label in found.labels]} | changes)
    frame = frame.assign(source="made up")  # a column that is none of our business, and stays
    if files.suffix(path) == ".csv":
        frame.to_csv(path, index=False)
    elif files.suffix(path) == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return str(path)


def experiment(**parameters: Any) -> Experiment:
    """The notebook's second cell."""
    defaults = dict.fromkeys(your_data.PARAMETERS) | {
        "text": "text",
        "label": "label",
        "seed": 1,
        "tam": "lstm",
        "profile": "tiny",
        "centred": False,
    }
    return Experiment.from_parameters("your_data", defaults | parameters, tasks=["imdb"], **your_data.PARAMETERS)


def run(place: Path, **parameters: Any) -> dict[str, Any]:
    """All the notebook's cells in this process; its names."""
    return run_cells(NOTEBOOK, {"profile": "tiny", "tam": "lstm", "out": str(place / "out")} | parameters)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".jsonl.gz"])
def test_an_own_file_gets_weights_and_a_subset(ending: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = write(place / f"mine{ending}")
    run(place, data=mine, test=write(place / "gold.csv", 20, seed=1), budget=10)
    results = place / "out" / "mine"
    weights = pd.read_parquet(results / "weights.parquet")
    assert weights["idx"].tolist() == list(range(40)) and weights["weight"].between(0, 1).all()
    assert weights["weight"].nunique() > 2
    whole, part = files.read(mine), files.read(results / f"subset{ending}", labels=KEYWORDS[:2])
    assert 1 <= len(part) <= 25 and set(part.texts) <= set(whole.texts)
    assert (results / "weights.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    for what in ("all rows, equal weights", "all rows, learned weights", "the subset, equal weights", "weights lie in"):
        assert what in shown
    left = {path.name for path in results.iterdir() if not path.name.startswith("checkpoint-")}
    assert left == {"weights.parquet", f"subset{ending}", "weights.png", "source.json"}  # the last: what they are of


def test_papermill_runs_it_and_shows_one_picture(place: Path) -> None:
    own = {"data": write(place / "mine.csv"), "out": str(place / "out"), "profile": "tiny", "tam": "lstm"}
    assert notebooks.execute(NOTEBOOK, place / "done.ipynb", own, store=place / "store") is None
    cells = json.loads((place / "done.ipynb").read_text(encoding="utf-8"))["cells"]
    bundles = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in bundle for bundle in bundles) == 1
    assert not any("application/vnd.jupyter.widget-view+json" in bundle for bundle in bundles)
    assert any("The lowest weights:" in "".join(bundle.get("text/html", ())) for bundle in bundles)
    assert "no test file was given: pass test" in json.dumps(cells)
    assert len(pd.read_parquet(place / "out" / "mine" / "weights.parquet")) == 40


def test_a_run_that_was_cut_off_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sungen_lib.checkpoint.SECONDS", 0.0)
    mine = write(place / "mine.csv")
    whole = experiment(data=mine, iterations=5, out=str(place / "whole"))
    texts = your_data.read(whole, Path(mine))
    expected = your_data.learn(whole, texts)
    cut = experiment(data=mine, iterations=5, out=str(place / "cut"))
    gradient, begun = derivative.outer_gradient, list[int]()

    def interrupted(*arguments: Any) -> Any:
        begun.append(1)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return gradient(*arguments)

    monkeypatch.setattr(derivative, "outer_gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        your_data.learn(cut, texts)
    (checkpoint,) = (place / "cut" / "mine").glob("checkpoint-*")
    half = learn.load_weights(checkpoint)
    found = your_data.learn(cut, texts)
    assert len(half.history) == 3 and len(begun) == 4 + 2  # iterations 4 and 5, and none of the finished ones
    assert len(found.history) == 5 and np.array_equal(found.weights, expected.weights)
    assert not np.array_equal(half.weights, found.weights)


def test_another_seed_or_file_is_another_run(place: Path) -> None:
    mine = write(place / "mine.csv")
    for changes in ({}, {"seed": 2}, {"iterations": 1}):
        one = experiment(data=mine, out=str(place / "out"), **changes)
        your_data.learn(one, your_data.read(one, Path(mine)))
    write(place / "mine.csv", seed=5)
    your_data.learn(one, your_data.read(one, Path(mine)))
    assert len(list((place / "out" / "mine").glob("checkpoint-*"))) == 4


def test_the_hub_knows_its_label_names(place: Path) -> None:
    folder = place / "reviews"
    features = Features({"text": Value("string"), "label": ClassLabel(names=["superb", "awful"])})
    for split, seed in (("train", 0), ("test", 1)):
        found = keyword_examples(20, seed=seed)
        rows = {"text": found.texts, "label": 1 - found.labels}
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    names = run(place, data=str(folder), test=str(folder))
    assert names["texts"].label_names == ("superb", "awful")
    assert len(names["test_rows"]) == 20 and set(names["found"]) >= {"all rows, equal weights"}
    assert (place / "out" / "reviews" / "subset.parquet").is_file()


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "one class": ({"label": ["awful"] * 40}, {}, DataError, "all rows are 'awful'; two classes are needed"),
    "numbers": ({"label": [0, 1] * 20}, {}, DataError, "labels are numbers without names; give the names"),
    "an unknown label": ({}, {"labels": ["a", "b"]}, DataError, ":2: label 'awful' is neither"),
    "no such column": ({}, {"text": "review"}, DataError, "no column 'review' among 'text', 'label'"),
    "an empty text": ({"text": ["x", " "] * 20}, {}, DataError, ":3: field 'text' must be a non-empty string"),
    "idx twice": ({"idx": [3] * 40}, {}, DataError, ":3: idx 3 was used before"),
    "a large budget": ({}, {"budget": 41}, ParameterError, "budget must be at most 40, the rows of"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_sentence_and_nothing_is_written(case: str, place: Path) -> None:
    changes, parameters, kind, words = BAD[case]
    with pytest.raises(kind) as error:
        run(place, data=write(place / "mine.csv", **changes), **parameters)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("data", "/no/such/file.csv", "data: no such file: /no/such/file.csv"),
        ("data", "./nowhere", "data: no such file or folder: ./nowhere"),
        (
            "data",
            "",
            "data must be a file (.jsonl, .jsonl.xz, .jsonl.gz, .csv, .csv.gz, .parquet) or a hub data set id, got ''",
        ),
        ("test", "/no/such/file.parquet", "test: no such file: /no/such/file.parquet"),
        ("labels", ["one"], "labels must be a list of different names such as [], got ['one']"),
        ("labels", ["a", "a"], "labels must be a list of different names such as [], got ['a', 'a']"),
        ("labels", "negative,positive", "labels must be a list of different names such as [], got 'negative,positive'"),
        ("labels", [0, 1], "each of labels must be a name, got 0"),
        ("text", "", "text must name a column, got ''"),
        ("budget", 0, "budget must be a positive integer, got 0"),
        ("iterations", 1.5, "iterations must be a positive integer, got 1.5"),
        ("centred", "true", "centred must be True or False, got 'true'"),
    ],
)
def test_bad_parameters(name: str, value: object, complaint: str) -> None:
    with pytest.raises(ParameterError) as error:
        experiment(**{name: value})
    assert str(error.value).replace('["negative", "positive"]', "[]") == complaint


def test_a_file_of_another_kind_is_refused(place: Path) -> None:
    (place / "mine.xlsx").write_bytes(b"x")
    with pytest.raises(ParameterError, match=r"mine\.xlsx' must end in one of \.jsonl, "):
        experiment(data=str(place / "mine.xlsx"))


def test_a_hub_that_cannot_be_reached(place: Path) -> None:
    one = experiment(data="nobody/nothing", out=str(place / "out"))
    with pytest.raises(DataMissing, match=r"hub's 'nobody/nothing' cannot be reached .*; go online, or name a file$"):
        your_data.locate(one)
    assert not list(place.glob("out/*/*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": ["fine"] * 40}, "label 'fine' is none of the training set's: 'awful', 'superb'"),
        ({"label": [0] * 40}, "labels are numbers without names"),
    ],
)
def test_a_bad_test_file_costs_no_weights(changes: dict[str, Any], words: str, place: Path) -> None:
    """It is read last: nothing that is learned or saved can depend on it."""
    with pytest.raises(DataError) as error:
        run(place, data=write(place / "mine.csv"), test=write(place / "gold.csv", **changes))
    assert words in str(error.value)
    assert {"weights.parquet", "subset.csv"} <= {path.name for path in (place / "out" / "mine").iterdir()}


def test_labels_of_a_test_file_are_followed_by_name(place: Path) -> None:
    one = experiment()
    texts = Examples.of(["x", "y"], [0, 1], ["superb", "awful"])  # not the alphabet's order
    found = your_data.read_test(one, write(place / "gold.csv", 4), texts)
    assert found.label_names == texts.label_names and found.labels.tolist() == [1, 0, 1, 0]
    (place / "pairs.csv").write_text("text1,text2,label\na,b,awful\nc,d,superb\n", encoding="utf-8")
    with pytest.raises(DataError, match="pairs go with pairs only"):
        your_data.read_test(one, str(place / "pairs.csv"), texts)


def test_the_weights_find_planted_noise(place: Path) -> None:
    """A fifth of the labels are flipped: those rows end lower."""
    clean = keyword_examples(400)
    flipped = np.arange(400) % 10 < 2
    names = [KEYWORDS[label] for label in np.where(flipped, 1 - clean.labels, clean.labels)]
    one = experiment(data=write(place / "mine.csv", 400, label=names), profile="embedded", out=str(place / "out"))
    learned = your_data.learn(one, your_data.read(one, place / "mine.csv"))
    assert np.median(learned.weights[flipped]) + 0.3 < np.median(learned.weights[~flipped])


def test_a_small_file_gets_weights_of_its_texts_and_not_of_its_labels(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 rows, one label more frequent."""
    clean = keyword_examples(200, seed=1)
    flipped = np.random.default_rng(1).random(200) < np.where(clean.labels == 0, 0.35, 0.1)
    labels = np.where(flipped, 1 - clean.labels, clean.labels)
    mine = write(place / "mine.csv", 200, seed=1, label=[KEYWORDS[label] for label in labels])

    def auc() -> float:
        one = experiment(data=mine, profile="embedded", out=str(place / "out"))
        return float(roc_auc_score(~flipped, your_data.learn(one, your_data.read(one, Path(mine))).weights))

    assert auc() > 0.9
    monkeypatch.setitem(choice.STEPS, "lstm", 1)  # one epoch an iteration: the weights are the labels'
    assert auc() < 0.6


def test_weights_that_tell_only_labels_apart_are_diverged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = write(place / "mine.csv")

    def for_one_label(model: object, data: Encoded, *_: object, **__: object) -> torch.Tensor:
        return 1.0 - 2.0 * data.labels

    monkeypatch.setattr(derivative, "directional", for_one_label)
    remedies = "raise inner_epochs, or set balanced=True or centred=True"
    with pytest.raises(Diverged, match=rf"only one class has weights left after iteration \d+: .*; {remedies}"):
        run(place, data=mine, iterations=20)
    assert not (place / "out" / "mine" / "weights.parquet").exists()


def test_results_never_go_among_the_data(place: Path) -> None:
    """``subset.csv`` would be written over."""
    (place / "subset").mkdir()
    mine = write(place / "subset" / "subset.csv")
    before = Path(mine).read_bytes()
    with pytest.raises(ParameterError, match=r"^out: results would go among the data"):
        run(place, data=mine, out=str(place))
    assert Path(mine).read_bytes() == before and len(list((place / "subset").iterdir())) == 1


def test_two_data_sets_of_one_name_are_two(place: Path) -> None:
    for owner, seed in (("a", 0), ("b", 1)):
        (place / owner / "reviews").mkdir(parents=True)
        write(place / owner / "reviews" / "train.parquet", seed=seed)
    texts = []
    for owner in "ab":
        one = experiment(data=str(place / owner / "reviews"), out=str(place / "out"))
        texts.append(your_data.read(one, your_data.locate(one)[0]).texts)
    assert texts[0] != texts[1]


def test_a_file_s_name_is_no_formula(place: Path) -> None:
    history = [reweight.Iteration(1, 1.0, 0.5, 0.5, 0.1)]
    figure = figures.weights_figure(LearnedWeights(np.linspace(0, 1, 9), {}, history), title="cost_$5_and_$6_.csv")
    figures.write_png(figure, place / "weights.png")
    assert (place / "weights.png").stat().st_size > 1000


def test_the_summary_counts_what_is_there() -> None:
    texts = ["A  fine film", "a fine film", "a Fine film", "about <C> and so on", "dull", "<b>dull</b>"]
    facts = quality.summary(Examples.of(texts, [1, 0, 1, 0, 0, 0], ["neg", "pos"]))
    assert facts == {
        "rows": 6,
        "rows labelled neg": 4,
        "rows labelled pos": 2,
        "words a text (median)": 3,
        "words a text (5 % to 95 %)": "1 to 4",
        "rows that repeat an earlier text": 2,
        "rows whose text also has another label": 3,
        "rows with a prompt's slot (<C>, <X>, <Y>)": 1,
    }


def test_a_file_gets_the_weights_that_learn_weights_gives_it(place: Path) -> None:
    """With no ``tam``: one code path for script, notebook and command line."""
    mine = write(place / "mine.csv")
    one = experiment(data=mine, tam=None, out=str(place / "out"))
    texts = your_data.read(one, Path(mine))
    with pytest.warns(UserWarning, match="MiniLM-L6 is not available"):
        ours, plain = your_data.learn(one, texts), learn.learn_weights(texts, seed=1)
    assert np.array_equal(ours.weights, plain.weights)


def test_low_weights_stand_beside_cleanlab_s_scores(place: Path) -> None:
    clean = keyword_examples(200)
    texts = replace(clean, labels=np.where(np.arange(200) < 3, 1 - clean.labels, clean.labels))  # three flips
    shown = your_data.beside_cleanlab(texts, np.linspace(0, 1, 200), rows=5)
    assert shown.index.tolist() == [0, 1, 2, 3, 4] and shown["weight"].is_monotonic_increasing
    assert set(shown["rank"][:3]) == {1, 2, 3} and shown["cleanlab"].between(0, 1).all()
    assert your_data.beside_cleanlab(keyword_examples(4), np.ones(4)).empty  # too few for five folds


def weighted_trainer() -> Any:
    """The notebook's ``WeightedTrainer``."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (recipe,) = ["".join(cell["source"]) for cell in cells if "class WeightedTrainer" in "".join(cell["source"])]
    names: dict[str, Any] = {}
    exec(recipe, names)
    return names["WeightedTrainer"]


def without_dropout() -> DistilBertForSequenceClassification:
    """A tiny model, always the same one."""
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=30, dim=8, hidden_dim=8, n_layers=1, n_heads=1)
    config.dropout = config.attention_dropout = config.seq_classif_dropout = 0.0
    return DistilBertForSequenceClassification(config)


def test_the_recipe_for_a_hugging_face_trainer_uses_the_weights(tmp_path: Path) -> None:
    """One step of the notebook's ``WeightedTrainer`` with its arguments: the loss is the weighted one."""
    trainer, model = weighted_trainer(), without_dropout()
    tokens, labels, weights = torch.arange(24).reshape(4, 6), torch.tensor([0, 1, 0, 1]), torch.tensor([1.0, 0, 0.5, 2])
    with torch.no_grad():
        losses = model.eval()(tokens).logits.double().log_softmax(-1)[range(4), labels].neg()
    rows = [{"input_ids": t, "labels": y, "weight": w} for t, y, w in zip(tokens, labels, weights, strict=True)]
    once: dict[str, Any] = {"max_steps": 1, "per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True}
    settings = TrainingArguments(str(tmp_path), remove_unused_columns=False, logging_steps=1, **once)
    loss = trainer(model, settings, train_dataset=rows).train().training_loss
    assert loss == pytest.approx(float((weights * losses).mean()), rel=1e-5)
    assert loss != pytest.approx(float(losses.mean()), rel=1e-2)
    gold = [{name: value for name, value in row.items() if name != "weight"} for row in rows]
    with torch.no_grad():
        unweighted = model.eval()(tokens).logits.log_softmax(-1)[range(4), labels].neg().mean()
    evaluated = trainer(model, settings, eval_dataset=gold).evaluate()["eval_loss"]
    assert evaluated == pytest.approx(float(unweighted), rel=1e-5)


def test_the_recipe_averages_accumulated_gradients(tmp_path: Path) -> None:
    """Two batches of two make the step of one batch of four."""
    rows = [{"input_ids": torch.arange(i, i + 6), "labels": torch.tensor(i % 2), "weight": 0.5} for i in range(4)]
    found = []
    for size, steps in ((4, 1), (2, 2)):
        model = without_dropout()
        once: dict[str, Any] = {"max_steps": 1, "report_to": "none", "use_cpu": True, "optim": "sgd"}
        once |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        settings = TrainingArguments(str(tmp_path), remove_unused_columns=False, max_grad_norm=0, **once)
        trainer = weighted_trainer()(model, settings, train_dataset=rows)
        found.append((trainer.train().training_loss, model.classifier.weight.detach().clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1])


def test_papermill_is_told_all_parameters() -> None:
    told = set(papermill.inspect_notebook(str(NOTEBOOK)))
    assert {*your_data.PARAMETERS, "profile", "data_dir", "device", "out"} == told
