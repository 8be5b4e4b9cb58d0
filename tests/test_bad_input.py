"""Everything a user can hand in wrong: accepted with a stated meaning, or refused in one sentence, leaving nothing.

A refusal names the place (file, line, field, parameter or option) in its last line and says what is wrong with it; no
record and no table is written. Add a case here whenever somebody finds another.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import keyword_examples, keyword_set, keyword_vocabulary
from safetensors.torch import save_file
from transformers import DistilBertConfig, DistilBertForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerFast

from sungen_lib import __main__ as command_line
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.parameters import ParameterError, PositiveInteger, PositiveNumbers
from sungen_lib.learn import learn_weights, load_weights
from sungen_lib.models import TamConfig
from sungen_lib.reweight import Bilevel
from sungen_lib.texts import data_folder, examples, plms
from sungen_lib.train import Trainer

GOOD = b'{"text": "a fine film", "label": 1}\n{"text": "a dull film", "label": 0}\n'
NAMES = b'["negative", "positive"]'
PAIRS = b'{"text1": "One.", "text2": "Two.", "label": 0}\n{"text1": "One.", "text2": "Six.", "label": 1}\n'
REFUSALS = (ValueError, examples.DataError, examples.DataMissing, ParameterError, SystemExit)


# --- data files -------------------------------------------------------------------------------------------------------


def line(**fields: object) -> bytes:
    """A good first row and this one."""
    return GOOD.splitlines(keepends=True)[1] + json.dumps({"text": "x", "label": 1} | fields).encode() + b"\n"


FILES: dict[str, tuple[bytes, str]] = {
    "binary junk": (bytes(range(128, 256)), r"test\.jsonl:1: cannot be read as UTF-8"),
    "UTF-16": (GOOD.decode().encode("utf-16"), r"test\.jsonl:1: cannot be read as UTF-8"),
    "Latin-1": ('{"text": "café", "label": 1}\n'.encode("latin-1"), r"test\.jsonl:1: cannot be read as UTF-8"),
    "zero bytes": (b"\0" * 40 + b"\n", r"test\.jsonl:1: not a JSON object"),
    "half a line": (GOOD + b'{"text": "a', r"test\.jsonl:3: not a JSON object"),
    "CSV": (b"text,label\nfine,1\n", r"test\.jsonl:1: not a JSON object"),
    "a JSON list a line": (b'["fine", 1]\n', r"test\.jsonl:1: expected a JSON object, got list"),
    "a number a line": (b"3\n", r"test\.jsonl:1: expected a JSON object, got int"),
    "one JSON list for all": (
        json.dumps([{"text": "a", "label": 1}]).encode(),
        r"test\.jsonl:1: expected a JSON object",
    ),
    "no rows": (b"", r"test\.jsonl: no rows"),
    "an empty line": (GOOD + b"\n" + GOOD, r"test\.jsonl:3: not a JSON object"),
    "a hundred thousand brackets": (b"[" * 100_000, r"test\.jsonl:1: not a JSON object"),
    "empty text": (line(text=""), r"test\.jsonl:2: field 'text' must be a non-empty string"),
    "blank text": (line(text=" \t"), r"test\.jsonl:2: field 'text' must be a non-empty string"),
    "null text": (line(text=None), r"test\.jsonl:2: field 'text' must be a non-empty string, got None"),
    "a number as text": (line(text=3), r"test\.jsonl:2: field 'text' must be a non-empty string, got 3"),
    "half a character": (line(text="\ud83d"), r"test\.jsonl:2: field 'text' holds half a surrogate pair"),
    "no text": (b'{"label": 1}\n', r"test\.jsonl:1: field 'text' must be a non-empty string, got None"),
    "no label": (b'{"text": "fine"}\n', r"test\.jsonl:1: the label is missing; fill it in or remove the row"),
    "label too large": (line(label=2), r"test\.jsonl:2: label 2 is neither"),
    "negative label": (line(label=-1), r"test\.jsonl:2: label -1 is neither"),
    "label 1.5": (line(label=1.5), r"test\.jsonl:2: label 1\.5 is neither"),
    "a list as label": (line(label=[1]), r"test\.jsonl:2: label \[1\] is neither"),
    "unknown label name": (line(label="pos"), r"test\.jsonl:2: label 'pos' is neither"),
    "repeated idx": (line(idx=0), r"test\.jsonl:2: idx 0 was used before"),
    "idx as text": (line(idx="7"), r"test\.jsonl:2: idx '7' is not a 64-bit integer"),
    "idx true": (line(idx=True), r"test\.jsonl:2: idx True is not a 64-bit integer"),
    "idx too large": (line(idx=2**63), r"test\.jsonl:2: idx 9223372036854775808 is not a 64-bit integer"),
    "text1 without text2": (b'{"text1": "One.", "label": 0}\n', r"test\.jsonl:1: field 'text2' must be"),
    "text2 without text1": (b'{"text2": "One.", "label": 0}\n', r"test\.jsonl:1: field 'text1' must be"),
    "pairs after single texts": (GOOD + PAIRS, r"test\.jsonl:3: single texts and pairs are mixed"),
    "pairs for single texts": (PAIRS, r"std/test\.jsonl: pairs do not fit imdb"),
    "one class only": (GOOD.splitlines(keepends=True)[0] * 3, r"std/test\.jsonl: all rows are 'positive'; two classes"),
}
PACKED: dict[str, tuple[str, bytes, str]] = {
    "half a gz": ("test.jsonl.gz", gzip.compress(GOOD * 99)[:60], r"test\.jsonl\.gz:\d+: cannot be unpacked"),
    "half an xz": ("test.jsonl.xz", lzma.compress(GOOD * 99)[:60], r"test\.jsonl\.xz:\d+: cannot be unpacked"),
    "not a gz": ("test.jsonl.gz", GOOD, r"test\.jsonl\.gz:1: cannot be unpacked"),
    "not an xz": ("test.jsonl.xz", GOOD, r"test\.jsonl\.xz:1: cannot be unpacked"),
    "another split": ("train.jsonl", GOOD, r"no .*test\.jsonl .*: put gold data for imdb there"),
}
LABELS: dict[str, tuple[bytes | None, str]] = {
    "no labels.json": (None, r"no .*labels\.json: write the label names there"),
    "labels.json is not JSON": (b"negative, positive", r"labels\.json: not a JSON list"),
    "other label names": (b'["neg", "pos"]', r"labels\.json: label names .* are not those of imdb"),
    "labels.json is an object": (b'{"0": "negative", "1": "positive"}', r"labels\.json: label names"),
    "labels.json has one name": (b'["negative"]', r"labels\.json: label names"),
}


def folder(place: Path, content: bytes, *, name: str = "test.jsonl", labels: bytes | None = NAMES) -> Path:
    """A data folder with one file for IMDb."""
    (place / "imdb" / "std").mkdir(parents=True)
    (place / "imdb" / "std" / name).write_bytes(content)
    if labels is not None:
        (place / "imdb" / "labels.json").write_bytes(labels)
    return place


def load(place: Path) -> examples.Examples:
    return data_folder.load(place, "imdb", "std", "test")


# --- parameters, options ----------------------------------------------------------------------------------------------

PARAMETERS: dict[str, tuple[dict[str, object], str]] = {
    "unknown profile": ({"profile": "huge"}, "profile must be one of .*, got 'huge'"),
    "profile None": ({"profile": None}, "profile must be one of"),
    "unknown task": ({"tasks": ["imbd"]}, "each of tasks must be one of .*, got 'imbd'"),
    "a task, no list": ({"tasks": "imdb"}, r"tasks must be a list such as \[imdb\], got 'imdb'"),
    "no tasks": ({"tasks": []}, r"tasks must be a list such as \[imdb\], got \[\]"),
    "a task's file that is not there": ({"tasks": ["/no/such.yaml"]}, "tasks: /no/such.yaml: no such file"),
    "unknown TAM": ({"tams": ["bert"]}, "each of tams must be one of lstm, distilbert, bag, frozen, got 'bert'"),
    "seed zero": ({"seeds": [0]}, "each of seeds must be a positive integer, got 0"),
    "negative seed": ({"seeds": [-1]}, "each of seeds must be a positive integer, got -1"),
    "no seeds": ({"seeds": []}, r"seeds must be a list such as \[1, 2, 3\], got \[\]"),
    "one seed, no list": ({"seeds": 1}, r"seeds must be a list such as \[1, 2, 3\], got 1"),
    "a float as seed": ({"seeds": [1.0]}, "each of seeds must be a positive integer, got 1.0"),
    "true as seed": ({"seeds": [True]}, "each of seeds must be a positive integer, got True"),
    "seeds as text": ({"seeds": "1,2"}, r"seeds must be a list such as \[1, 2, 3\], got '1,2'"),
    "unknown device": ({"device": "gpu"}, "device must be one of auto, cpu, cuda, got 'gpu'"),
    "data folder that is not there": ({"data_dir": "/no/such"}, "data_dir must be a folder, got '/no/such'"),
    "a number as data folder": ({"data_dir": 7}, "data_dir must be a folder, got 7"),
    "data for the demonstration": ({"data_dir": "."}, "profile 'tiny' reads no data"),
    "small without data": ({"profile": "small"}, "profile 'small' reads real data from a folder: give data_dir"),
    "no output folder": ({"out": ""}, "out must be a folder to write to"),
    "a file as output folder": ({"out": __file__}, "out must be a folder to write to"),
    "a misspelt parameter": ({"taks": ["imdb"]}, "unknown parameter 'taks'; this notebook knows profile, tasks"),
    "a number as PLM": ({"plm": 2}, "plm must be a hub id or a folder with a model, got 2"),
    "a PLM's folder that is not there": ({"plm": "./none"}, "plm: there is no folder './none'"),
    "an encoder's folder without a model": ({"encoder": "/"}, "encoder: '/' holds no config.json"),
    "a notebook's own number": ({"iterations": 0}, "iterations must be a positive integer, got 0"),
    "a notebook's own numbers": ({"rates": [0.1, "a"]}, "each of rates must be a positive number, got 'a'"),
}
OPTIONS: dict[str, tuple[list[str], str]] = {
    "unknown profile": (["run", "--profile", "huge"], "argument --profile: invalid choice: 'huge'"),
    "unknown notebook": (["run", "--only", "table99"], "no notebook starts with 'table99'"),
    "not a name": (["plan", "--only", "a b"], "'a b' is not a list of notebook names"),
    "data folder that is not there": (["run", "--profile", "small", "--data", "/no/such"], "no such folder: /no/such"),
    "small without data": (["plan", "--profile", "small"], "profile small reads real data: give --data DIR"),
    "data for the demonstration": (["run", "--data", "."], "profile embedded reads no data folder"),
    "refresh at another profile": (["refresh", "--profile", "tiny"], "unrecognized arguments: --profile tiny"),
    "unknown option": (["run", "--fast"], "unrecognized arguments: --fast"),
}


def parameters(**given: object) -> Experiment:
    names = {"profile": "tiny", "tasks": None, "tams": None, "seeds": None, "iterations": 1, "rates": [1]}
    checks: dict[str, Any] = {"iterations": PositiveInteger, "rates": PositiveNumbers}
    return Experiment.from_parameters("table01", names | given, tasks=["imdb"], **checks)


# --- models and weights -----------------------------------------------------------------------------------------------


@pytest.fixture
def encoder(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A whole encoder's folder."""
    place = tmp_path / "encoder"
    config = DistilBertConfig(vocab_size=90, dim=8, hidden_dim=16, n_layers=1, n_heads=1, max_position_embeddings=64)
    DistilBertForSequenceClassification(config).save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return place


def without(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).unlink()
    return place


def as_pickle(place: Path) -> Path:
    """The same weights in the form that can run code when it is read."""
    torch.save({"weight": torch.zeros(1)}, place / "pytorch_model.bin")
    return without(place, "model.safetensors")


def examples_of(texts: Any, labels: Any) -> object:
    return examples.Examples.of(texts, labels, ("a", "b"))


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "encoder without a tokenizer": (
        lambda place: tam_of(without(place, "tokenizer.json", "tokenizer_config.json")),
        "no tokenizer could be loaded from '.*encoder'",
    ),
    "tokenizer without a pad token": (lambda place: tam_of(place), "has no pad token; set one before training"),
    "encoder without weights": (lambda place: built(without(place, "model.safetensors")), "no encoder could be loaded"),
    "encoder as a pickle": (lambda place: built(as_pickle(place)), "no encoder could be loaded from '.*encoder'"),
    "encoder without a configuration": (
        lambda place: built(without(place, "config.json")),
        "no encoder could be loaded",
    ),
    "PLM that is none": (
        lambda place: plms.load_plm(str(without(place, "config.json"))),
        "no PLM could be loaded from",
    ),
    "PLM as a pickle": (lambda place: plms.load_plm(str(as_pickle(plm_in(place)))), "no PLM could be loaded from"),
    "PLM without a tokenizer": (
        lambda place: plms.load_plm(str(plm_in(place))),
        "no PLM could be loaded from '.*encoder': ",
    ),
    "unknown TAM": (lambda place: TamConfig("gru"), "unknown TAM 'gru'; known: lstm, distilbert, bag"),
    "weights that are none": (lambda place: load_weights(place / "config.json"), "config.json is no checkpoint"),
    "somebody else's weights": (lambda place: load_weights(foreign(place)), "other.safetensors is no checkpoint"),
    "NaN among weights": (lambda place: weighted([1.0, float("nan")]), "sample weights must be finite"),
    "negative weights": (lambda place: weighted([1.0, -0.5]), "sample weights must not be negative, got -0.5"),
    "weights of nothing": (
        lambda place: weighted([0.0, 0.0]),
        "finite with a positive mean, got a mean of 0.0",
    ),
    "no iterations": (lambda place: learned(iterations=0), "iterations must be positive, got 0"),
    "a batch of nothing": (lambda place: learned(batch_size=0), "batch_size must be positive, got 0"),
    "unknown method": (lambda place: learned(method="magic"), "unknown method 'magic'; known: difference, dual"),
    "unknown precision": (lambda place: learned(precision="int8"), "unknown precision 'int8'; known: float32, bf16"),
    "a TAM's name": (lambda place: learned(tam="lstm"), "tam must be a TamConfig, .* got 'lstm'"),
    "no Examples": (lambda place: learned(texts=["a", "b"]), "texts must be Examples, .* got list"),
    "no texts": (lambda place: learn_weights(keyword_examples(8).select([])), "texts is empty: there are no texts"),
    "an outer set of nothing": (
        lambda place: learned(outer_set=keyword_examples(8).select([])),
        "outer_set is empty: there are no texts",
    ),
    "an outer set of strings": (lambda place: learned(outer_set=["a"]), "outer_set must be Examples, .* got list"),
    "no seed": (lambda place: learned(seed=None), "seed must be a whole number from 0 on, got None"),
    "one class": (lambda place: learn_weights(keyword_examples(8).select([0, 2])), "two classes are needed"),
    "an outer rate below 0": (lambda place: learned(outer_lr=-0.1), "outer_lr must be a finite number, not negative"),
    "an outer rate of NaN": (lambda place: Bilevel(outer_lr=float("nan")), "outer_lr must be a finite .* got nan"),
    "a loss's name": (lambda place: learned(outer_loss="rce"), "outer_loss must be a function .* got 'rce'"),
    "a text of None": (lambda place: examples_of(["a", None], [0, 1]), "text 1 is no string but None"),
    "labels between": (lambda place: examples_of(["a", "b"], [0.2, 1.9]), "whole numbers, .* got float64"),
    "labels as names": (lambda place: examples_of(["a", "b"], ["x", "y"]), "whole numbers, .* got <U1"),
}


def tam_of(place: Path) -> object:
    tam = TamConfig("distilbert", path=str(place))
    tokenizer = tam.tokenizer(examples.Examples.of([], [], ("no", "yes")))
    return tam.encode(examples.Examples.of(["review"], [1], ("no", "yes")), tokenizer)


def built(place: Path) -> object:
    return TamConfig("distilbert", path=str(place)).build(None, 2, seed=0)


def plm_in(place: Path) -> Path:
    shutil.rmtree(place)
    shutil.copytree(place.parent / "plm", place)
    return place


def foreign(place: Path) -> Path:
    save_file({"weights": torch.ones(3)}, place / "other.safetensors")
    return place / "other.safetensors"


def weighted(values: list[float]) -> object:
    trainer = Trainer(SMALL.build(keyword_vocabulary(), 2, seed=0), keyword_set(2))
    trainer.set_weights(torch.tensor(values))
    return trainer


def learned(**given: Any) -> object:
    settings: dict[str, Any] = {"texts": keyword_examples(8), "tam": SMALL} | given
    return learn_weights(**settings)


SMALL = TamConfig(embedding=4, hidden=4)


# --- the tables as tests ----------------------------------------------------------------------------------------------


def refused(what: Callable[[], object], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``what`` raises one sentence with ``complaint`` in it, or exits with a last line that has it; nothing is left."""
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(REFUSALS) as error:
        what()
    if isinstance(error.value, SystemExit):
        assert error.value.code not in (0, None)
        last = capsys.readouterr().err.strip().splitlines()[-1]
    else:
        last = str(error.value)
        assert "\n" not in last
    assert re.search(complaint, last), last
    after = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert after == before and not (tmp_path / "store").exists() and not (tmp_path / "tables").exists()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store and tables that must not come to be."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize("case", FILES)
def test_file(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, complaint = FILES[case]
    place = folder(tmp_path, content)
    refused(lambda: load(place), complaint, tmp_path, capsys)


@pytest.mark.parametrize("case", PACKED)
def test_packed_file(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, content, complaint = PACKED[case]
    place = folder(tmp_path, content, name=name)
    refused(lambda: load(place), complaint, tmp_path, capsys)


@pytest.mark.parametrize("case", LABELS)
def test_labels(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, complaint = LABELS[case]
    place = folder(tmp_path, GOOD, labels=labels)
    refused(lambda: load(place), complaint, tmp_path, capsys)


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameter(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, complaint = PARAMETERS[case]
    refused(lambda: parameters(**given), complaint, tmp_path, capsys)


HISTORY = ["", "import math", "profile = 'tiny'", "# Parameters\nseeds = [1]\n"]


@pytest.mark.parametrize(
    ("cells", "known"),
    [
        ([], True),
        (["import math\nhelper = 3"], True),  # another cell between: what it assigns to is no parameter
        (["%matplotlib inline"], True),
        (["helper = 3"], False),  # an injected cell
        (["seeds = [2]\nhelper: int = 3"], True),  # not papermill's form
    ],
)
def test_in_a_kernel_only_the_parameters_cells_are_looked_at(cells: list[str], known: bool) -> None:
    """Other plain values may stand there, imported ones for instance; without a kernel nobody can tell them apart."""
    names = {"profile": "tiny", "seeds": [1], "helper": 3}
    kernel = names | {"In": [*HISTORY, *cells, "Experiment.from_parameters(...)"]}
    if known:
        assert Experiment.from_parameters("table01", kernel, tasks=["imdb"]).chosen_seeds == (1,)
    for given in (names, *(() if known else (kernel,))):
        with pytest.raises(ParameterError, match=r"^unknown parameter 'helper'; this notebook knows profile, tasks"):
            Experiment.from_parameters("table01", given, tasks=["imdb"])


def test_two_tasks_for_a_notebook_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = parameters(tasks=["imdb", "sst2"])
    refused(two.only_task, "tasks must be one task in this notebook, got imdb, sst2", tmp_path, capsys)


def test_prompting_without_a_plm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = parameters(profile="small", data_dir=str(tmp_path))
    refused(lambda: small.methods.prompting("imdb"), "the data folder holds texts, not the PLM", tmp_path, capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(lambda: parameters(device="cuda"), "device is 'cuda' but torch finds no CUDA device", tmp_path, capsys)


@pytest.mark.parametrize("case", OPTIONS)
def test_option(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, complaint = OPTIONS[case]
    out = ["--out", str(tmp_path / "tables")] if options[0] == "run" else []
    refused(lambda: command_line.main([*options, *out]), complaint, tmp_path, capsys)


@pytest.mark.parametrize("case", MODELS)
def test_model(
    case: str, encoder: Path, tiny_plm: GPT2LMHeadModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_plm.save_pretrained(tmp_path / "plm")
    make, complaint = MODELS[case]
    plms.load_plm.cache_clear()
    with pytest.raises((*REFUSALS, RuntimeError)) as error:
        make(encoder)
    assert re.search(complaint, str(error.value)) and "\n" not in str(error.value), str(error.value)
    assert not (tmp_path / "store").exists()


# --- accepted, and what it means --------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_not_part_of_the_first_row(tmp_path: Path) -> None:
    assert load(folder(tmp_path, b"\xef\xbb\xbf" + GOOD)).texts == ("a fine film", "a dull film")


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    assert load(folder(tmp_path, GOOD.replace(b"\n", b"\r\n"))).texts == ("a fine film", "a dull film")


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    assert len(load(folder(tmp_path, GOOD.rstrip()))) == 2


def test_a_gigantic_line_is_a_long_text_and_is_cut_when_encoded(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    rows = load(folder(tmp_path, GOOD + json.dumps({"text": long, "label": 1}).encode()))
    assert len(rows.texts[2]) == len(long)
    assert TamConfig().encode(rows, TamConfig().tokenizer(rows)).sizes.tolist() == [3, 3, 512]


@pytest.mark.parametrize("one", [1, 1.0, "1", True, "true"], ids=repr)
def test_a_number_is_one_label_however_it_is_spelled(one: object, tmp_path: Path) -> None:
    assert load(folder(tmp_path, line(label=one))).labels.tolist() == [0, 1]


def test_labels_may_be_names(tmp_path: Path) -> None:
    assert load(folder(tmp_path, GOOD.replace(b": 1", b': "positive"'))).labels.tolist() == [1, 0]


def test_other_fields_are_left_alone(tmp_path: Path) -> None:
    assert len(load(folder(tmp_path, line(stars=5, text="y")))) == 2


def test_labels_in_another_order_are_followed_by_name(tmp_path: Path) -> None:
    assert load(folder(tmp_path, GOOD, labels=b'["positive", "negative"]')).labels.tolist() == [0, 1]


def test_fewer_rows_than_a_batch_are_a_smaller_batch() -> None:
    learned = learn_weights(keyword_examples(5), tam=SMALL, iterations=1, batch_size=32)
    assert learned.weights.shape == (5,) and np.isfinite(learned.weights).all()


def test_a_parameter_given_twice_counts_once() -> None:
    assert parameters(tasks=["imdb", "imdb"], seeds=[2, 2]).tasks == ("imdb",)


@pytest.mark.parametrize(("default", "others"), [(["imdb"], ["rte"]), (["rte"], ["imdb"]), (["rte", "imdb"], [])])
def test_tasks_are_of_the_kinds_that_a_notebook_has(default: list[str], others: list[str]) -> None:
    """Of one text, of two, or of both."""

    def chosen(task: str) -> tuple[str, ...]:
        names = {"profile": "tiny", "tasks": [task], "tams": None, "seeds": None}
        return Experiment.from_parameters("table01", names, tasks=default).tasks

    assert all(chosen(task) == (task,) for task in default)
    for task in others:
        with pytest.raises(ParameterError, match=f"got {task!r}"):
            chosen(task)
