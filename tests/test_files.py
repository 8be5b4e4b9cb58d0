"""A user's own files: what the three formats hold is the same, bad ones are refused in one sentence."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from sungen_lib.texts import files
from sungen_lib.texts.examples import DataError, DataMissing

ROWS = [
    {"idx": 7, "text": 'a "fine", film', "label": "pos", "stars": 5},
    {"idx": 3, "text": "dull,\nand long", "label": "neg", "stars": 1},
    {"idx": 9, "text": "<C> café", "label": "pos", "stars": 4},
]
FORMATS = (".jsonl", ".csv", ".csv.gz", ".parquet")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """``rows`` as pandas writes them."""
    frame = pd.DataFrame(rows)
    if files.suffix(path) in files.CSV:
        frame.to_csv(path, index=False)
    elif files.suffix(path) == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_holds_the_same(ending: str, tmp_path: Path) -> None:
    found = files.read(write(tmp_path / f"mine{ending}", ROWS))
    assert found.texts == ('a "fine", film', "dull,\nand long", "<C> café")
    assert (found.label_names, found.labels.tolist()) == (("neg", "pos"), [1, 0, 1])
    assert found.idx.tolist() == [7, 3, 9]


@given(st.lists(st.text(st.characters(codec="utf-8")).filter(str.strip), min_size=2, max_size=8))
def test_any_text_survives_a_csv(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "mine.csv", Path(folder) / "again.csv"
        rows = pd.DataFrame({"text": texts, "label": (["b", "a"] * 4)[: len(texts)]})
        rows.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
        files.write_rows(again, path, np.arange(len(texts)))
        assert files.read(path).texts == files.read(again).texts == tuple(texts)


@pytest.mark.parametrize("ending", FORMATS)
def test_numbers_are_labels_only_with_names(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"mine{ending}", [{"text": "fine", "label": 1}, {"text": "dull", "label": 0}])
    with pytest.raises(DataError, match=r"mine\..*: labels are numbers without names; give the names in order: "):
        files.read(path)
    assert files.read(path, labels=["neg", "pos"]).labels.tolist() == [1, 0]
    # Names that are numbers: then a number is a name, in every format.
    assert files.read(path, labels=["1", "0"]).labels.tolist() == [0, 1]


@pytest.mark.parametrize("ending", FORMATS)
def test_names_in_the_order_given(ending: str, tmp_path: Path) -> None:
    found = files.read(write(tmp_path / f"mine{ending}", ROWS), labels=["pos", "neg"])
    assert (found.label_names, found.labels.tolist()) == (("pos", "neg"), [0, 1, 0])


@pytest.mark.parametrize("ending", FORMATS)
def test_columns_of_other_names_and_pairs(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"mine{ending}", [{"review": "fine", "mood": "up"}, {"review": "dull", "mood": "down"}])
    assert files.read(path, text="review", label="mood").texts == ("fine", "dull")
    path = write(tmp_path / f"pair{ending}", [{"text1": "a", "text2": t, "label": t} for t in ("b", "c")])
    assert files.read(path).pairs == ("b", "c")


def test_a_parquet_file_of_the_hub_has_its_own_order(tmp_path: Path) -> None:
    names = ["positive", "negative"]  # not the alphabet's
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    path = tmp_path / "train.parquet"
    Dataset.from_dict({"text": ["fine", "dull"], "label": [0, 1]}, features=features).to_parquet(path)
    found = files.read(path)
    assert (found.label_names, found.labels.tolist()) == (("positive", "negative"), [0, 1])
    with pytest.raises(DataError, match="its own label names are positive, negative in this order, not negative"):
        files.read(path, labels=["negative", "positive"])


CSV: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no column 'label' among none"),
    "no rows": (b"text,label\n", "no rows"),
    "another delimiter": (b"text;label\nfine;a\n", "no column 'label' among 'text;label'"),
    "no text column": (b"review,label\nfine,a\n", "no column 'text' among 'review', 'label'; name yours"),
    "a column twice": (b"text,text,label\nx,y,a\n", "2 columns are called 'text'"),
    "too many cells": (b"text,label\nfine,really,a\n", ":2: 3 cells under 2 columns"),
    "too few cells": (b"text,label\n\nfine\n", ":3: 1 cells under 2 columns"),
    "an open quotation mark": (b'text,label\n"fine,a\nx,b\n', ":3: not CSV"),
    "a quotation mark inside": (b'text,label\n"fine" x,a\n', ":2: not CSV"),
    "empty text": (b"text,label\nx,b\n,a\n", ":3: field 'text' must be a non-empty string"),
    "an empty label": (b"text,label\nx,b\ny,\n", ":3: the label is missing; fill it in or remove the row"),
    "no labels at all": (b"text,label\nx,\ny,\n", "'label' holds no names of labels"),
    "idx twice": (b"text,label,idx\nx,b,1\ny,a,1\n", ":3: idx 1 was used before"),
    "idx of letters": (b"text,label,idx\nx,b,one\n", ":2: idx 'one' is not a 64-bit integer"),
    "numbers and names": (b"text,label\nx,b\ny,1\n", "labels are numbers without names"),
    "texts as labels": (
        b"label,text\n" + b"".join(b"t%d,a\n" % i for i in range(20)),
        "20 different labels in 20 rows; is 'label' where the labels are",
    ),
    "UTF-16": ("text,label\nx,a\n".encode("utf-16"), "cannot be read as UTF-8"),
    "junk": (bytes(range(128, 256)), "cannot be read as UTF-8"),
}


@pytest.mark.parametrize("case", CSV)
def test_a_bad_csv_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    content, words = CSV[case]
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(DataError) as error:
        files.read(tmp_path / "mine.csv")
    assert str(error.value).startswith(f"{tmp_path}/mine.csv:") and words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, b"text,label\n"])
def test_a_bad_parquet_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.parquet: cannot be read as Parquet \(.*\); write the file again$"):
        files.read(tmp_path / "mine.parquet")


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="no such file"):
        files.read(tmp_path / "mine.csv")
    path = write(tmp_path / "mine.parquet", [{"text": None, "label": "a"}, {"text": "x", "label": "b"}])
    with pytest.raises(DataError, match=r"mine\.parquet:1: field 'text' must be a non-empty string, got None"):
        files.read(path)
    path = write(tmp_path / "mine.jsonl", [{"text": "x", "label": "a"}, {"txt": "x", "label": "b"}])
    with pytest.raises(DataError, match=r"mine\.jsonl:2: field 'text' must be a non-empty string"):
        files.read(path)
    path = write(tmp_path / "floats.jsonl", [{"text": "x", "label": 0.5}])
    with pytest.raises(DataError, match="holds no names of labels"):
        files.read(path)


@pytest.mark.parametrize("ending", (*FORMATS, ".jsonl.gz", ".jsonl.xz"))
def test_rows_are_written_as_they_stand(ending: str, tmp_path: Path) -> None:
    source, target = write(tmp_path / f"mine{ending}", ROWS), tmp_path / "new" / f"subset{ending}"
    files.write_rows(target, source, np.array([2, 1]))
    reader = {".csv": pd.read_csv, ".csv.gz": pd.read_csv, ".parquet": pd.read_parquet}.get(
        ending, lambda path: pd.read_json(path, lines=True)
    )
    assert reader(target).to_dict("records") == [ROWS[2], ROWS[1]]  # type: ignore[operator]
    assert files.read(target).texts == (ROWS[2]["text"], ROWS[1]["text"])
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_label_names_stay_in_a_parquet_subset(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["z", "a"])})
    rows = Dataset.from_dict({"text": ["fine", "dull"], "label": [0, 1]}, features=features)
    rows.to_parquet(tmp_path / "mine.parquet")
    files.write_rows(tmp_path / "subset.parquet", tmp_path / "mine.parquet", np.array([1]))
    assert files.read(tmp_path / "subset.parquet").label_names == ("z", "a")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "mine.csv", ROWS)
    with pytest.raises(IndexError):
        files.write_rows(tmp_path / "subset.csv", source, np.array([5]))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_weights_are_a_table(tmp_path: Path) -> None:
    files.write_weights(tmp_path / "weights.parquet", np.array([4, 2]), np.array([0.25, 1.0], dtype=np.float32))
    assert pd.read_parquet(tmp_path / "weights.parquet").to_dict("list") == {"idx": [4, 2], "weight": [0.25, 1.0]}


def test_examples_as_csv(tmp_path: Path) -> None:
    rows = files.read(write(tmp_path / "mine.jsonl", ROWS))
    files.write_csv(tmp_path / "mine.csv", rows)
    again = files.read(tmp_path / "mine.csv")
    assert again.fingerprint() == rows.fingerprint() and again.idx.tolist() == rows.idx.tolist()


def test_labels_are_a_list_of_different_names(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", ROWS)
    for labels in ("negative", ["a", "a"], [], [0, 1]):
        with pytest.raises(
            DataError, match=r"labels must be different names such as \[\"negative\", \"positive\"\], got"
        ):
            files.read(path, labels=labels)  # type: ignore[arg-type]


def test_a_file_of_another_kind_says_what_it_was_taken_for(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("text\tlabel\nfine\ta\n")
    with pytest.raises(DataError, match=r"mine\.tsv:1: not a JSON object .* \(read as JSONL; .* \.parquet\)$"):
        files.read(tmp_path / "mine.tsv")
    (tmp_path / "mine.csv").write_text("text;label\nfine;a\n")
    with pytest.raises(DataError, match="no column 'label' among 'text;label'; columns are separated by commas"):
        files.read(tmp_path / "mine.csv")


def test_a_damaged_csv_gz_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv.gz", ROWS)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"mine\.csv\.gz: cannot be unpacked .* fetch the file again"):
        files.read(path)
    path.write_bytes(b"text,label")
    with pytest.raises(DataError, match=r"mine\.csv\.gz: cannot be unpacked"):
        files.read(path)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_text_column_that_is_asked_for_is_not_passed_over_for_pairs(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"pairs{ending}", [{"text1": "a", "text2": t, "body": t, "label": t} for t in ("b", "c")])
    assert files.read(path).pairs is not None
    assert files.read(path, text="body").texts == ("b", "c")
    with pytest.raises(DataError, match="bdoy"):
        files.read(path, text="bdoy")
