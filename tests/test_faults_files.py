"""Files that are not what they look like, change while they are in use, or hold what cannot be written again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sungen_lib.storage import content_hash
from sungen_lib.texts import data_folder, files, tasks
from sungen_lib.texts.examples import DataError, Examples, warn_if_uncut
from sungen_lib.texts.imported import import_synthetic
from sungen_lib.texts.jsonl import read_jsonl

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
NAMES = ("negative", "positive")


# --- Git LFS ----------------------------------------------------------------------------------------------------------


def in_data_folder(place: Path, name: str) -> Path:
    (place / "imdb" / "std").mkdir(parents=True)
    (place / "imdb" / "labels.json").write_text(json.dumps(NAMES))
    return place / "imdb" / name


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "CSV": ("mine.csv", files.read),
    "JSONL": ("mine.jsonl", files.read),
    "packed": ("mine.jsonl.gz", files.read),
    "Parquet": ("mine.parquet", files.read),
    "a file of the authors": ("train.jsonl", lambda path: import_synthetic(path, label_order=NAMES)),
    "a user task": ("mood.yaml", lambda path: tasks.get(str(path))),
    "gold rows": ("imdb/std/test.jsonl", lambda path: data_folder.load(path.parents[2], "imdb", "std", "test")),
    "label names": ("imdb/labels.json", lambda path: data_folder.label_names(path.parents[1], "imdb")),
}


@pytest.mark.parametrize("case", READERS)
def test_a_git_lfs_pointer_is_told_from_the_file(case: str, tmp_path: Path) -> None:
    name, read = READERS[case]
    if "/" in name:
        in_data_folder(tmp_path, "std")
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ValueError, match=r"this is a Git LFS pointer, not the file itself; fetch it \(git lfs pull\)$"):
        read(tmp_path / name)


# --- rows written as they stand ---------------------------------------------------------------------------------------

LINES = [
    rb'{"text": "a fine film", "label": "positive", "by": "half \ud83d", "n": 1.0, "big": 12345678901234567890}',
    rb'{"label":"negative",  "text": "a dull film", "by": null, "by": "twice", "e": 1E5}',
]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lines_are_written_byte_for_byte(ending: str, tmp_path: Path) -> None:
    """Half a surrogate pair, numbers in any form, a name twice; less the byte-order mark and Windows line ends."""
    source, target = tmp_path / f"mine{ending}", tmp_path / f"subset{ending}"
    content = b"\xef\xbb\xbf" + b"\r\n".join(LINES)
    source.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    assert files.read(source).labels.tolist() == [1, 0]
    files.write_rows(target, source, np.array([1, 0]))
    written = gzip.decompress(target.read_bytes()) if ending.endswith("gz") else target.read_bytes()
    assert written == LINES[1] + b"\n" + LINES[0] + b"\n"
    assert files.read(target).texts == ("a dull film", "a fine film")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_no_rows_are_an_empty_file(ending: str, tmp_path: Path) -> None:
    files.write_rows(tmp_path / f"subset{ending}", rows_in(tmp_path / f"mine{ending}"), np.array([], dtype=np.int64))
    if ending == ".jsonl":
        assert (tmp_path / "subset.jsonl").read_bytes() == b""
    else:
        read = pd.read_csv if ending == ".csv" else pd.read_parquet
        assert list(read(tmp_path / f"subset{ending}").columns) == ["text", "label"]


def rows_in(path: Path, number: int = 4) -> Path:
    frame = pd.DataFrame({"text": [f"text number {i}" for i in range(number)], "label": ["a", "b"] * (number // 2)})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("change", ["sorted", "shorter", "gone"])
def test_a_file_that_changed_meanwhile_is_noticed(ending: str, change: str, tmp_path: Path) -> None:
    source, target = rows_in(tmp_path / f"mine{ending}"), tmp_path / f"subset{ending}"
    version = content_hash(source)
    files.write_rows(target, source, np.array([3]), version=version)
    before = target.read_bytes()
    rows_in(source, 6 if change == "sorted" else 2)
    if change == "gone":
        source.unlink()
    with pytest.raises(DataError, match=rf"mine\{ending} has changed since it was read; start again$"):
        files.write_rows(target, source, np.array([3]), version=version)
    assert target.read_bytes() == before


def test_rows_are_never_written_over_their_source(tmp_path: Path) -> None:
    source = rows_in(tmp_path / "mine.csv")
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for same in (source, tmp_path / "link" / "mine.csv", tmp_path / "link" / ".." / tmp_path.name / "mine.csv"):
        with pytest.raises(DataError, match="the rows come from this file; write them to another"):
            files.write_rows(same, source, np.array([0]))
    assert source.read_bytes() == before


# --- texts that white space does not cut ------------------------------------------------------------------------------

UNCUT = {
    "Chinese": "教练赛射比军教门军员联篮比防门防",
    "with some spaces": "湖人险胜凯尔特人队终结连败, 詹姆斯砍下三十分全场最高分",
    "Japanese": "この映画はとても面白かったです。",
    "Thai": "ภาพยนตร์เรื่องนี้สนุกมาก",
    "words in one": "thisfilmissimplytoolong",
}
CUT = (
    "a film of no great length",
    "Die Donaudampfschiffahrtsgesellschaft ist ein langes Wort",
    "教 练 赛 射",
    "😡 !!",
    "Fine.",
    "x",
)


@pytest.mark.parametrize("name", UNCUT)
def test_texts_without_white_space_are_told(name: str, tmp_path: Path) -> None:
    rows = [{"text": UNCUT[name], "label": label} for label in NAMES]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    readers: list[Callable[[], Examples]] = [
        lambda: files.read(path),
        lambda: read_jsonl(path, NAMES),
        lambda: import_synthetic(path, label_order=NAMES),
    ]
    for read in readers:
        with pytest.warns(UserWarning, match=r"mine\.jsonl: 100% of the texts have no white space .* put a space"):
            read()


def test_other_texts_are_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in CUT:
            warn_if_uncut(Examples.of([text, text], [0, 1], NAMES), "here")
        mixed = [UNCUT["Chinese"], *CUT]
        warn_if_uncut(Examples.of(mixed, [0] * len(mixed), NAMES), "here")


# --- whatever stands in a file: CSV and Parquet, beside the fuzzer's JSONL --------------------------------------------

CELLS = ("text", "label", "a fine film", "dull", "0", "1", "1.0", "true", "", " ", "\ud83d", "é", "<C>", "9" * 30)
BYTES = (b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"text,label\n", POINTER, b";")


def check(path: Path, again: Path) -> str:
    """The file is read, and all its rows written and read again the same, or refused in one sentence that names it."""
    try:
        rows = files.read(path)
    except DataError as error:
        assert str(error).startswith(f"{path}") and len(str(error).splitlines()) == 1, str(error)
        return "refused"
    files.write_rows(again, path, np.arange(len(rows)))
    back = files.read(again, labels=rows.label_names)
    assert back.fingerprint() == rows.fingerprint() and back.idx.tolist() == rows.idx.tolist()
    return "read"


def csv_bytes(moments: random.Random) -> bytes:
    """A table, or nearly one, with a piece of something else in it."""
    buffer = io.StringIO()
    header = moments.choice([("text", "label"), ("label", "text", "idx"), ("text1", "text2", "label")])
    words = [cell for cell in CELLS if cell.isprintable()]
    rows = [moments.choices(words, k=len(header) + (moments.random() < 0.05)) for _ in range(moments.randint(0, 6))]
    good = [[f"{name} {i % 2}" if name != "idx" else i for name in header] for i in range(moments.randint(0, 9))]
    csv.writer(buffer, quoting=moments.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])).writerows(
        [header, *good, *(rows if moments.random() < 0.7 else [])]
    )
    content = buffer.getvalue().encode()
    if moments.random() < 0.4:
        at = moments.randint(0, len(content))
        content = content[:at] + moments.choice(BYTES) + content[at + moments.randint(0, 3) :]
    return content


@pytest.mark.filterwarnings("ignore:.*no white space")
@pytest.mark.parametrize("seed", range(10))
def test_any_csv(seed: int, tmp_path: Path) -> None:
    moments = random.Random(seed)
    outcomes = []
    for _ in range(40):
        (tmp_path / "mine.csv").write_bytes(csv_bytes(moments))
        outcomes.append(check(tmp_path / "mine.csv", tmp_path / "again.csv"))
    assert set(outcomes) == {"read", "refused"}


VALUES: list[st.SearchStrategy[Any]] = [
    st.sampled_from(["negative", "positive"]),
    st.sampled_from(["Positive", "positive"]),
    st.integers(-1, 2),
    st.sampled_from([0.0, 1.0, 0.5, float("nan")]),
    st.booleans(),
    st.sampled_from([b"neg", b"\xff"]),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.lists(st.integers(0, 3), max_size=2),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns of one type each, here and there ``None``."""
    rows = draw(st.integers(0, 6))
    columns = {}
    for name in draw(st.sampled_from([("text", "label"), ("label", "idx", "text", "x"), ("text1", "text2", "label")])):
        values = draw(st.sampled_from(VALUES)) if draw(st.booleans()) else st.text("ab c", min_size=1, max_size=9)
        column = draw(st.lists(st.one_of(values, values, values, st.none()), min_size=rows, max_size=rows))
        columns[name] = pa.array(column)
    return pa.table(columns)


@pytest.mark.filterwarnings("ignore:.*no white space")
@settings(max_examples=150, derandomize=True)
@given(tables())
def test_any_parquet_table(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "mine.parquet")
        check(Path(folder) / "mine.parquet", Path(folder) / "again.parquet")


def test_any_damaged_parquet_file(tmp_path: Path) -> None:
    """Cut off, or a byte changed."""
    whole = rows_in(tmp_path / "whole.parquet").read_bytes()
    moments = random.Random(0)
    for _ in range(150):
        content = bytearray(whole[: moments.randint(0, len(whole))] if moments.random() < 0.3 else whole)
        if content:
            content[moments.randrange(len(content))] = moments.randrange(256)
        (tmp_path / "mine.parquet").write_bytes(content)
        check(tmp_path / "mine.parquet", tmp_path / "again.parquet")


def test_strings_of_a_parquet_file_that_are_not_utf_8(tmp_path: Path) -> None:
    raw = pa.array([b"fine \xff film", b"dull"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw, "label": ["a", "b"]}), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=r"mine\.parquet: holds strings that are not UTF-8 \("):
        files.read(tmp_path / "mine.parquet")


def test_a_missing_field_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"review": "fine", "label": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"field 'text' must be .* got None; the row has 'review', 'label'$"):
        files.read(tmp_path / "mine.jsonl")
    (tmp_path / "mine.csv").write_text("review,label\nfine,a\n", encoding="utf-8")
    with pytest.raises(DataError, match=r'; name yours \(text="\.\.\.", or --text \.\.\.\), or rename it$'):
        files.read(tmp_path / "mine.csv")
