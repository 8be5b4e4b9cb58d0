"""Data sets on the hub and in folders: what is wrong with them in one sentence, and never an earlier state of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from test_hub import fetch

from sungen_lib.texts import files, hub
from sungen_lib.texts.examples import DataError, DataMissing

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a test of an earlier state would find it in."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def table(path: Path, rows: int = 4, **more: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"text": [f"number {i}" for i in range(rows)], "label": (["a", "b"] * rows)[:rows]})
    frame.assign(**more).to_csv(path, index=False)


def columns(place: Path) -> None:
    table(place / "train.csv")
    table(place / "test.csv", source="us")


def unreadable(place: Path) -> None:
    table(place / "train.csv")
    (place / "train.csv").write_text('text,label\n"a,b\nc,"d,e\n,,,\n')


def pointer(place: Path) -> None:
    (place / "train.csv").write_bytes(LFS)


def saved(place: Path) -> None:
    Dataset.from_dict({"text": ["x"], "label": ["a"]}).save_to_disk(str(place))
    (place / "state.json").write_text("{")


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "columns": (columns, r"reviews: its files differ in columns, test\.csv has 1 new columns \({'source'}\); name the"),
    "a script": (
        lambda place: (place / "reviews.py").write_text("raise SystemExit"),
        r"reviews is made by reviews\.py, ",
    ),
    "nothing": (lambda place: None, r"reviews holds no data files \(CSV, JSONL, Parquet or the like\); name a folder"),
    "no data": (lambda place: (place / "notes.txt2").write_text("x"), "reviews holds no data files"),
    "bad CSV": (unreadable, r"reviews: cannot be read \(.*\); mend its files, or name the right one itself$"),
    "Git LFS": (pointer, r"train\.csv: this is a Git LFS pointer, not the file itself"),
    "half of what was saved": (saved, "reviews: what save_to_disk wrote there cannot be read"),
    "another split": (
        lambda place: table(place / "test.csv"),
        "reviews: the split 'train' of .* is not there or empty",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_will_not_do_is_one_sentence(case: str, tmp_path: Path) -> None:
    make, words = FOLDERS[case]
    (tmp_path / "reviews").mkdir()
    make(tmp_path / "reviews")
    with pytest.raises((DataError, DataMissing), match=words) as error:
        hub.fetch_file(str(tmp_path / "reviews"), "train", tmp_path / "out" / "train.parquet")
    assert "\n" not in str(error.value) and "go online" not in str(error.value)
    assert str(tmp_path / "reviews") in str(error.value)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".reading-*"))


def test_a_cache_that_takes_no_files_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_files(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/cache/lock")

    monkeypatch.setattr("datasets.load_dataset", no_files)
    with pytest.raises(DataError, match=r"takes no files \(.*\); set HF_DATASETS_CACHE to a folder that does$"):
        hub.fetch_file("somebody/something", "train", tmp_path / "train.parquet")


def test_a_folder_needs_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", "/proc/none")
    table(tmp_path / "reviews" / "train.csv")
    hub.fetch_file(str(tmp_path / "reviews"), "train", tmp_path / "train.parquet")
    assert len(files.read(tmp_path / "train.parquet")) == 4


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["x", "y"], "label": ["a", "b"]})
    rows.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"train": rows, "test": rows.select([1])}).save_to_disk(str(tmp_path / "both"))
    hub.fetch_file(str(tmp_path / "one"), "train", tmp_path / "one.parquet")
    hub.fetch_file(str(tmp_path / "both"), "test", tmp_path / "both.parquet")
    assert len(pd.read_parquet(tmp_path / "one.parquet")) == 2 and len(pd.read_parquet(tmp_path / "both.parquet")) == 1
    with pytest.raises(DataError, match="one: there is no split 'test', only train; name a file"):
        hub.fetch_file(str(tmp_path / "one"), "test", tmp_path / "none.parquet")


def test_a_folder_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Also where neither size nor time of a file tells: ``datasets`` would take its cache for it."""
    table(tmp_path / "reviews" / "train.csv")
    hub.fetch_file(str(tmp_path / "reviews"), "train", tmp_path / "before.parquet")
    place = tmp_path / "reviews" / "train.csv"
    shutil.copyfile(place, tmp_path / "copy.csv")
    shutil.copystat(place, tmp_path / "copy.csv")
    place.write_text(place.read_text().replace("number", "digits"))
    shutil.copystat(tmp_path / "copy.csv", place)
    hub.fetch_file(str(tmp_path / "reviews"), "train", tmp_path / "after.parquet")
    assert files.read(tmp_path / "after.parquet").texts[0] == "digits 0"


def gold(place: Path, rows: int) -> None:
    for split in ("train", "test"):
        table = {"text": ["fine", "dull"] * rows, "label": [1, 0] * rows, "label_text": ["positive", "negative"] * rows}
        Dataset.from_dict(table).to_parquet(place / f"{split}.parquet")


def test_gold_rows_of_the_user_s_own_are_left_alone(tmp_path: Path) -> None:
    gold(tmp_path / "reviews", 2)
    own = tmp_path / "data" / "sst2" / "std" / "train.jsonl.gz"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"the user's")
    fetch("sst2", tmp_path / "data", str(tmp_path / "reviews"))
    assert own.read_bytes() == b"the user's"
