"""Gold data from the hub, exercised with small data sets in the hub's own format: parquet files and a README."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from sungen_lib.lab.sources import load
from sungen_lib.lab.specs import Gold
from sungen_lib.texts import data_folder, hub, tasks
from sungen_lib.texts.examples import DataError, DataMissing

ROWS = 2  # of each class


def home(task: str) -> tasks.Hub:
    """Where the task's gold rows come from."""
    where = tasks.get(task).hub
    assert where is not None
    return where


def columns_of(task: str) -> dict[str, list[Any]]:
    """The columns of a split in the hub's form, labels in turn."""
    where = home(task)
    labels = [k for _ in range(ROWS) for k in range(len(where.labels))]
    texts = {name: [f" {name} {i}" for i in range(len(labels))] for name in where.text}
    return texts | {"label": labels}


def save(folder: Path, task: str, names: tuple[str, ...] | None = None, **changes: Any) -> str:
    """Save both splits where ``load_dataset`` finds them; ``names`` are the ClassLabel's, ``changes`` to columns."""
    where = home(task)
    columns = columns_of(task) | changes
    columns = {name: values for name, values in columns.items() if values is not None}
    features = Features({name: Value("string") for name in columns})
    features["label"] = ClassLabel(names=list(names or where.labels))
    splits = []
    for split in (where.train, where.test):
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}.parquet")
        splits.append({"split": split, "path": f"{split}.parquet"})
    config = [{"config_name": where.config or "default", "data_files": splits}]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(config)}\n---\n", encoding="utf-8")
    return str(folder)


def fetch(task: str, data_dir: Path, source: str) -> None:
    """``hub.fetch`` from ``source``, a folder in the hub's format."""
    known = tasks.get(task)
    with mock.patch.dict(tasks.TASKS, {task: replace(known, hub=replace(home(task), path=source))}):
        hub.fetch(task, data_dir)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    return tmp_path


@pytest.mark.parametrize("task", tasks.TASKS)
def test_each_task_becomes_a_data_folder(task: str, here: Path) -> None:
    fetch(task, here / "data", save(here / "hub", task))
    known = tasks.get(task)
    for split in ("train", "test"):
        rows = data_folder.load(here / "data", task, data_folder.GOLD, split)
        assert rows.label_names == known.labels
        assert rows.labels.tolist() == list(range(known.classes)) * ROWS  # the hub's index is ours, by name
        title, *others = (f"{name} 1" for name in home(task).text)
        if known.pair:
            assert (rows.texts[1], (rows.pairs or ())[1]) == (title, others[0])
        else:
            assert rows.texts[1] == " ".join([title, *others])  # a title and its text become one


def test_label_names_without_a_class_label(here: Path) -> None:
    names = ["negative", "positive"] * ROWS
    where = save(here / "hub", "sst2")
    for split in ("train", "test"):
        plain = {"text": ["a", "b"] * ROWS, "label": [0, 1] * ROWS, "label_text": names}
        Dataset.from_dict(plain).to_parquet(here / "hub" / f"{split}.parquet")
    fetch("sst2", here / "data", where)
    assert data_folder.load(here / "data", "sst2", data_folder.GOLD, "test").labels.tolist() == [0, 1] * ROWS


def test_other_label_orders_are_refused(here: Path) -> None:
    where = save(here / "hub", "imdb", names=("pos", "neg"))
    with pytest.raises(DataError, match="hub: labels are pos, neg in index order, not neg, pos"):
        fetch("imdb", here / "data", where)
    assert not list((here / "data").rglob("*.jsonl*"))


def test_nameless_labels_are_refused(here: Path) -> None:
    where = save(here / "hub", "sst2")
    for split in ("train", "test"):
        Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).to_parquet(here / "hub" / f"{split}.parquet")
    with pytest.raises(DataError, match="labels have no names"):
        fetch("sst2", here / "data", where)


def test_a_missing_column_is_named(here: Path) -> None:
    where = save(here / "hub", "amazon", content=None)
    with pytest.raises(DataError, match="hub: no column content; it has title, label"):
        fetch("amazon", here / "data", where)


def test_an_empty_split_is_refused(here: Path) -> None:
    where = save(here / "hub", "imdb", text=[], label=[])
    with pytest.raises(DataError, match="the split 'train' of the default configuration is not there or empty"):
        fetch("imdb", here / "data", where)


def test_a_missing_split_is_named(here: Path) -> None:
    where = save(here / "hub", "mrpc")
    with pytest.raises(DataError, match="the split 'train' of rte is not there or empty"):
        fetch("rte", here / "data", where)


def test_unreachable_says_what_to_do(here: Path) -> None:
    with pytest.raises(DataMissing, match=r"imdb: the hub's '.*nowhere' cannot be reached .* \(data_dir\)"):
        fetch("imdb", here / "data", str(here / "nowhere"))


def test_what_is_there_is_not_fetched_again(here: Path) -> None:
    fetch("imdb", here / "data", save(here / "hub", "imdb"))
    fetch("imdb", here / "data", str(here / "nowhere"))


def test_runs_read_the_hub_through_the_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUNGEN_STORE", str(here))
    fetch("imdb", here / "hub", save(here / "hub", "imdb"))
    rows = load(Gold("imdb", "test", "hub", 3, "stanfordnlp/imdb"))
    assert len(rows) == 3 and rows.label_names == ("negative", "positive")
