"""A task, a PLM and an encoder of the user's own go all the way, without touching the package."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import keyword_examples
from transformers import DistilBertConfig, DistilBertForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerFast

from sungen_lib.lab import execution, profiles, sources, stages
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.parameters import ParameterError
from sungen_lib.lab.results import column_of, scale
from sungen_lib.lab.specs import Run, Spec, Synthetic, Weights, identify
from sungen_lib.lab.task_data import TaskData
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts import tasks
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.generation import generate
from sungen_lib.texts.plms import pretrained
from sungen_lib.texts.writer import Sampling
from sungen_lib.train import evaluate, fit

FIELDS = {
    "name": "mood",
    "labels": ["sad", "happy"],
    "label_words": ["negative", "positive"],
    "generation_prompt": 'The movie review in <y> sentiment is: "<x>',
    "test": "test.jsonl",
}
NOTEBOOK: dict[str, object] = {"profile": "tiny", "tasks": None, "tams": None, "seeds": None, "data_dir": None}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    sources.load.cache_clear()


@pytest.fixture
def mood(tmp_path: Path) -> Path:
    """A task's file, and its gold rows beside it."""
    rows = keyword_examples(40)
    lines = [
        json.dumps({"text": text, "label": FIELDS["labels"][label]})
        for text, label in zip(rows.texts, rows.labels, strict=True)
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = tmp_path / "mood.yaml"
    path.write_text(yaml.safe_dump(FIELDS), encoding="utf-8")
    return path


@pytest.fixture
def plm(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A PLM's folder."""
    tiny_plm.save_pretrained(tmp_path / "plm")
    tiny_tokenizer.save_pretrained(tmp_path / "plm")
    return tmp_path / "plm"


@pytest.fixture
def encoder(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A small encoder's folder, with a tokenizer that can pad."""
    config = DistilBertConfig(
        vocab_size=len(tiny_tokenizer) + 1, dim=16, hidden_dim=32, n_layers=1, n_heads=2, max_position_embeddings=128
    )
    torch.manual_seed(0)
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path / "encoder")
    tiny_tokenizer.save_pretrained(tmp_path / "encoder")
    padding = PreTrainedTokenizerFast.from_pretrained(tmp_path / "encoder", pad_token="<pad>")
    padding.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def experiment(**parameters: object) -> Experiment:
    return Experiment.from_parameters("table01", NOTEBOOK | parameters, tasks=["imdb"], tams=("lstm", "distilbert"))


def test_an_own_task_in_a_notebook(mood: Path, plm: Path, encoder: Path) -> None:
    ours = experiment(tasks=[str(mood)], plm=str(plm), encoder=str(encoder))
    rows = {
        "ZeroGen": (lambda task, seed: ours.methods.zerogen(task, "lstm", seed), [1]),
        "SunGen": (lambda task, seed: ours.methods.sungen(task, "distilbert", seed), [1]),
        "Prompting": (lambda task, seed: ours.methods.prompting(task), [0]),
        "Supervised": (lambda task, seed: ours.methods.supervised(task, "lstm", seed), [1]),
    }
    grid = ours.grid(rows)
    assert grid.not_run == {("Supervised", "mood"): f"{mood} names no train file of gold rows"}
    records = ours.execute(grid.all())
    cells = {cell.row: cell for cell in ours.cells(grid, records)}
    assert {cell.column for cell in cells.values()} == {"mood"} and set(cells) == {"ZeroGen", "SunGen", "Prompting"}
    assert all(np.asarray(cell.correct).shape == (1, 40) for cell in cells.values())
    sungen = next(spec for spec in records if isinstance(spec, Run) and spec.method == "sungen")
    assert sungen.tam is not None and str(sungen.tam.path).startswith(f"{encoder}@")
    texts = sources.load(next(spec for spec in records if isinstance(spec, Synthetic)))
    assert texts.label_names == ("sad", "happy") and len(texts) == 96


def test_what_is_behind_a_path_is_part_of_the_spec(mood: Path, plm: Path, encoder: Path) -> None:
    def identity() -> str:
        ours = experiment(tasks=[str(mood)], plm=str(plm), encoder=str(encoder))
        return identify(ours.methods.sungen(str(mood), "distilbert", 1))

    before = [identity()]
    mood.write_text(yaml.safe_dump(FIELDS | {"label_words": ["bad", "good"]}), encoding="utf-8")
    before.append(identity())
    for folder in (plm, encoder):
        (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
        before.append(identity())
    with (mood.parent / "test.jsonl").open("a") as file:
        file.write('{"text": "one more", "label": "sad"}\n')
    before.append(identity())
    assert len(set(before)) == 5


@pytest.mark.parametrize("what", ["encoder", "plm"])
def test_a_model_is_what_its_folder_holds_and_not_where_it_is(what: str, plm: Path, encoder: Path) -> None:
    """A copy elsewhere is the same model, with other times; a changed bit makes it another."""
    folder = encoder if what == "encoder" else plm
    copy = folder.parent / "somewhere else" / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    os.utime(copy / "config.json", (1, 1))

    def specs(model: Path) -> list[Spec]:
        ours = experiment(**{what: str(model)})
        methods = ours.methods
        if what == "plm":
            return [ours.data.synthetic("imdb"), methods.prompting("imdb"), methods.zerogen("imdb", "lstm", 1)]
        return [methods.weights("imdb", "distilbert", 1), methods.sungen("imdb", "distilbert", 1)]

    there, elsewhere = ([identify(spec) for spec in specs(model)] for model in (folder, copy))
    assert there == elsewhere
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # neither its size nor, below, its time tells
    before = weights.stat()
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert not set(there) & {identify(spec) for spec in specs(copy)}


def test_an_own_task_in_python(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    task = tasks.define(name="mood", labels=["sad", "happy"], generation_prompt=str(FIELDS["generation_prompt"]))
    sampling = Sampling(min_tokens=3, max_tokens=14, batch_size=32)
    texts = generate(task, model=tiny_plm, tokenizer=tiny_tokenizer, rows=60, seed=0, sampling=sampling, shard_size=64)
    tam = TamConfig(embedding=8, hidden=8)
    vocabulary = tam.tokenizer(texts)
    data = tam.encode(texts, vocabulary)
    learned = learn_weights(texts, tam=tam, outer_size=30, iterations=2)
    model = tam.build(vocabulary, 2, seed=1)
    fit(model, data, weights=torch.as_tensor(learned.weights), epochs=1)
    assert 0 <= evaluate(model, data).accuracy <= 1 and texts.label_names == ("sad", "happy")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": "sad"}, "labels must be a list of strings"),
        ({"labels": ["sad"]}, "two or more different labels"),
        ({"labels": ["sad", "sad"]}, "two or more different labels"),
        ({"label_words": ["one"]}, "a label word for each"),
        ({"generation_prompt": 'A review: "<x>'}, "must hold <y>"),
        ({"generation_prompt": "A <y> review: <x>"}, "end in an opened quotation mark"),
        ({"generation_prompt": 'A <y> review of <c>: "<x>'}, "prompting_prompt is needed"),
        ({"contexts": ["one"]}, "need each other"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"name": "a/b"}, "a name without '/'"),
        ({"pair": "yes"}, "pair must be true or false"),
        ({"pair": True}, "in a pair task, generation_prompt must hold <c>"),
        ({"name": "imdb"}, "cannot be called 'imdb'"),
        ({"name": "average"}, "cannot be called 'average'"),
        ({"labels": None}, "labels must be a list of strings"),
    ],
)
def test_a_wrong_task_file_is_one_sentence(change: dict[str, object], complaint: str, mood: Path) -> None:
    mood.write_text(yaml.safe_dump(FIELDS | change), encoding="utf-8")
    with pytest.raises(ParameterError, match=complaint) as error:
        experiment(tasks=[str(mood)])
    assert str(mood) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"tasks": ["nowhere.yaml"]}, "nowhere.yaml: no such file"),
        ({"encoder": "./nowhere"}, "encoder: there is no folder './nowhere'"),
        ({"plm": "/nowhere/at/all"}, "plm: there is no folder '/nowhere/at/all'"),
        ({"plm": 3}, "plm must be a hub id or a folder"),
        ({"encoder": "."}, "encoder: '.' holds no config.json"),
    ],
)
def test_a_wrong_path_is_one_sentence(
    parameters: dict[str, object], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=complaint):
        experiment(**parameters)


def test_an_own_task_without_gold_rows_is_not_run(mood: Path) -> None:
    mood.write_text(yaml.safe_dump({name: value for name, value in FIELDS.items() if name != "test"}), encoding="utf-8")
    ours = experiment(tasks=[str(mood)])
    grid = ours.grid({"ZeroGen": (lambda task, seed: ours.methods.zerogen(task, "lstm", seed), [1])})
    assert not grid.specs and grid.not_run == {("ZeroGen", "mood"): f"{mood} names no test file of gold rows"}


def test_another_plm_s_numbers_are_not_the_paper_s(plm: Path, tmp_path: Path) -> None:
    given = {"profile": "paper", "data_dir": None, "seeds": [1], "tams": ["lstm"]}
    (tmp_path / "data").mkdir()
    own, usual = experiment(**given, plm=str(plm)), experiment(**given)
    for method in ("zerogen", "prompting"):
        given_to = ("imdb", "lstm", 1) if method == "zerogen" else ("imdb",)
        specs = [getattr(e.methods, method)(*given_to) for e in (own, usual)]
        assert [scale(spec, e.profile) for e, spec in zip((own, usual), specs, strict=True)] == ["other", "paper"]
        assert scale(replace(specs[1], test=replace(specs[1].test, rows=1_000)), usual.profile) == "other"
    paper = usual.methods.sungen("imdb", "lstm", 1)
    assert isinstance(paper.weights, Weights) and scale(paper, usual.profile) == "paper"
    gold = usual.data.gold("imdb", "train")
    others = [
        replace(paper, tam=TamConfig("frozen", path="minilm-l6")),
        replace(paper, weights=replace(paper.weights, outer=replace(gold, rows=999))),
        replace(paper, train=replace(gold, rows=24_999), weights=None),
    ]
    assert [scale(spec, usual.profile) for spec in others] == ["other"] * 3
    as_published = replace(paper, weights=replace(paper.weights, outer=replace(gold, rows=1_000)))
    assert scale(as_published, usual.profile) == "paper"
    # The hub's Amazon is another set, and pairs begin with a prompt of ours.
    kinds = [(task, method) for task in ("amazon", "mrpc") for method in ("zerogen", "supervised")]
    scales = [scale(getattr(usual.methods, method)(task, "lstm", 1), usual.profile) for task, method in kinds]
    assert scales == ["other", "other", "other", "paper"]
    assert own.provenance({})["parameters"]["plm"].startswith(str(plm))
    assert "plm" not in usual.provenance({})["parameters"]


def test_a_path_may_hold_an_at_sign(encoder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "me@work" / "encoder"
    encoder.rename(moved.parent.with_name("encoder2"))
    moved.parent.mkdir()
    (tmp_path / "encoder2").rename(moved)
    assert pretrained(f"{moved}@0123456789ab") == (str(moved), "main")
    assert pretrained(str(moved)) == (str(moved), "main")
    assert pretrained("openai-community/gpt2@abc") == ("openai-community/gpt2", "abc")
    assert pretrained("gpt2") == ("gpt2", "main")


def test_columns_have_the_task_s_name(mood: Path) -> None:
    assert [column_of(name) for name in ("imdb", str(mood), "average")] == ["imdb", "mood", "average"]


@pytest.mark.parametrize("task", ["rte", "mrpc"])
@pytest.mark.parametrize("given", [False, True])
def test_real_pairs_with_an_encoder(task: str, given: bool, encoder: Path, real_data: Path) -> None:
    small = TamConfig("distilbert", hidden=16, layers=1, heads=2, epochs=1, max_length=64, batch_size=16)
    tam = TamConfig("distilbert", path=str(encoder), epochs=1, max_length=64, batch_size=16) if given else small
    data = TaskData(replace(profiles.get("small"), pair_pool=200), str(real_data))
    train, test = data.synthetic(task), data.gold(task, "test", rows=100)
    weights = Weights(train, tam, 1, "cpu", outer_size=100, iterations=2, snapshots=())
    run = Run("sungen", test, "cpu", train, tam, weights, "bernoulli", 100, seed=1)
    record = execution.compute(run, str(real_data))
    assert record.diverged is None and record.correct().shape == (100,)
    assert 70 < record.metrics["rows"] < 130  # drawn to a budget of 100
    assert np.ptp(stages.learned(weights).weights) > 0.1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: [unclosed", r"not YAML \("),
        ("- a\n- list\n", "expected fields such as name, labels and generation_prompt"),
        ("labels: [a, b]\n", "no name and no generation_prompt"),
    ],
)
def test_a_task_file_that_is_none_is_refused_in_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"task.yaml: {words}") as error:
        tasks.get(str(path))
    assert "\n" not in str(error.value)


def test_gold_rows_that_a_task_does_not_name_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "mood.yaml"
    path.write_text("name: mood\nlabels: [sad, happy]\ngeneration_prompt: 'A <y> entry: \"<x>'\ntest: gone.jsonl\n")
    given = {"profile": "embedded", "tasks": [str(path)]}
    one = Experiment.from_parameters("table01", given, tasks=["imdb"])
    with pytest.raises(DataMissing, match="names no train file of gold rows"):
        one.data.gold(str(path), "train")
    with pytest.raises(DataMissing, match=r"no .*gone\.jsonl"):
        one.data.gold(str(path), "test")


def test_a_pool_of_a_folder_needs_the_folder() -> None:
    one = Experiment.from_parameters("table01", {"profile": "embedded"}, tasks=["imdb"])
    real = replace(one, profile=profiles.get("small"))  # past the check of parameters
    with pytest.raises(DataMissing, match="no data_dir was given to read gpt2-xl data for imdb from"):
        real.data.synthetic("imdb")
