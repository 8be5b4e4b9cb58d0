"""What a label means: the same in every format, never an index by accident, never two classes by a typing error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Value

from sungen_lib.texts import data_folder, files, tasks
from sungen_lib.texts.examples import DataError, Examples
from sungen_lib.texts.imported import import_synthetic
from sungen_lib.texts.jsonl import read_jsonl, write_jsonl

FORMATS = (".csv", ".jsonl", ".parquet")


def write(path: Path, labels: list[Any]) -> Path:
    """A row for each label, as the format's usual writer writes it."""
    rows = [{"text": f"text number {i}", "label": label} for i, label in enumerate(labels)]
    if path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        ([1, 2, 1], ["1", "2", "3"], [0, 1, 0]),  # names that are numbers: never 1 -> "2"
        (["1", "2", "1"], ["1", "2", "3"], [0, 1, 0]),
        ([1.0, 2.0, 1.0], ["1", "2", "3"], [0, 1, 0]),
        ([1, 0], ["1", "0"], [0, 1]),
        ([1, 0], ["negative", "positive"], [1, 0]),
        (["1", "0"], ["negative", "positive"], [1, 0]),
        ([1.0, 0.0], ["negative", "positive"], [1, 0]),
        ([True, False], ["negative", "positive"], [1, 0]),
        (["True", "False"], ["negative", "positive"], [1, 0]),
        ([True, False], ["true", "false"], [0, 1]),
        (["b", "a"], ["b", "a"], [0, 1]),
    ],
)
def test_one_meaning_in_every_format(
    ending: str, labels: list[Any], names: list[str], indices: list[int], tmp_path: Path
) -> None:
    found = files.read(write(tmp_path / f"mine{ending}", labels), labels=names)
    assert found.label_names == tuple(names) and found.labels.tolist() == indices


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 1], ["1", "2"], "label .*0.* is none of 1, 2; beside names that are numbers, a number is a name, and no"),
        ([2, 0], ["negative", "positive"], "label .*2.* is neither an index 0..1 nor one of negative, positive"),
        ([0.5, 1.0], ["negative", "positive"], "label .*0.5.* is neither an index"),
        ([-1, 1], ["negative", "positive"], "label .*-1.* is neither an index"),
        (["Positive", "negative"], ["negative", "positive"], "; write it as 'positive'$"),
        ([" negative", "positive"], ["negative", "positive"], "; write it as 'negative'$"),
        ([0, 1], None, "labels are numbers without names; .*--labels negative positive \\(found 0, 1\\)$"),
        ([0.0, 1.0], None, "labels are numbers without names; .*--labels negative positive \\(found 0.0, 1.0\\)$"),
        (["0", "1"], None, "labels are numbers without names"),
        ([True, False], None, "labels are true and false without names; give the names for false and true"),
        (["true", "false"], None, "labels are true and false without names"),
        (["Positive", "positive", "negative"], None, "labels 'Positive' and 'positive' differ only in case or white"),
        (["negative ", "positive", "negative"], None, "labels 'negative' and 'negative ' differ only in case or white"),
        (["caf\u00e9", "x", "cafe\u0301"], None, "differ only in case or white space; write them alike, or give"),
    ],
)
def test_refused_in_every_format(
    ending: str, labels: list[Any], names: list[str] | None, words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"mine{ending}", labels)
    with pytest.raises(DataError, match=words) as error:
        files.read(path, labels=names)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("ending", FORMATS)
def test_spellings_that_are_named_are_classes(ending: str, tmp_path: Path) -> None:
    found = files.read(write(tmp_path / f"mine{ending}", ["US", "us"]), labels=["us", "US"])
    assert found.labels.tolist() == [1, 0]


@pytest.mark.parametrize("ending", FORMATS)
def test_true_and_false_beside_other_names_are_names(ending: str, tmp_path: Path) -> None:
    found = files.read(write(tmp_path / f"mine{ending}", ["true", "false", "unverified"]))
    assert found.label_names == ("false", "true", "unverified") and found.labels.tolist() == [1, 0, 2]


def test_half_a_character_in_a_label_is_found_before_learning(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="half a surrogate pair"):
        files.read(write(tmp_path / "mine.jsonl", ["a", "\ud83d"]))


def test_numbers_in_a_file_of_the_hub_are_indices_into_its_own_names(tmp_path: Path) -> None:
    """Yelp's labels are called "1" and "2" and stored as 0 and 1."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["1", "2"])})
    path = tmp_path / "train.parquet"
    Dataset.from_dict({"text": ["dull", "fine", "so"], "label": [0, 1, 1]}, features=features).to_parquet(path)
    assert files.read(path).labels.tolist() == [0, 1, 1]
    rows = Dataset.from_dict({"text": ["dull", "fine"], "label": [-1, -1]}, features=features)
    rows.to_parquet(path)  # how the hub marks test rows whose labels are kept back
    with pytest.raises(DataError, match=r"train\.parquet:1: label -1 is no index into the file's own names, 1, 2$"):
        files.read(path)


def test_names_that_are_numbers_survive_the_store(tmp_path: Path) -> None:
    rows = Examples.of(["a b", "c d", "e f"], [0, 1, 2], ["1", "2", "0"])
    write_jsonl(tmp_path / "synthetic.jsonl", rows)
    assert read_jsonl(tmp_path / "synthetic.jsonl", rows.label_names).labels.tolist() == [0, 1, 2]


def test_files_of_the_authors_follow_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"X": "so so", "Y": 1}\n{"X": "all good", "Y": 2}\n', encoding="utf-8")
    assert import_synthetic(path, label_order=["1", "2"]).labels.tolist() == [0, 1]
    path.write_text('{"X": "so so", "Y": 0}\n{"X": "all good", "Y": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl:1: label 0 is none of 1, 2"):
        import_synthetic(path, label_order=["1", "2"])
    path.write_text('{"X": "so so", "Y": false}\n{"X": "all good", "Y": 1.0}\n', encoding="utf-8")
    assert import_synthetic(path, label_order=["negative", "positive"]).labels.tolist() == [0, 1]


def test_a_data_folder_follows_the_same_rule(tmp_path: Path) -> None:
    (tmp_path / "imdb" / "std").mkdir(parents=True)
    (tmp_path / "imdb" / "labels.json").write_text('["positive", "negative"]', encoding="utf-8")
    for labels in ([0, 1], [0.0, 1.0], ["0", "1"], [False, True], ["positive", "negative"]):
        write(tmp_path / "imdb" / "std" / "test.jsonl", labels)
        assert data_folder.load(tmp_path, "imdb", "std", "test").labels.tolist() == [1, 0]
    write(tmp_path / "imdb" / "std" / "test.jsonl", ["Positive", "negative"])
    with pytest.raises(DataError, match=r"label 'Positive' is neither .*; write it as 'positive'$"):
        data_folder.load(tmp_path, "imdb", "std", "test")


def test_a_user_task_s_labels_are_strings(tmp_path: Path) -> None:
    """YAML makes numbers and truths of what looks like one."""
    fields = {"name": "mood", "labels": [False, True], "generation_prompt": 'A <y> text: "<x>'}
    path = tmp_path / "mood.yaml"
    path.write_text(yaml.safe_dump(fields).replace("false", "no").replace("true", "yes"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels must be a list of strings, got \[False, True\]; put quotation marks"):
        tasks.get(str(path))
