"""``Examples``, JSONL in and out, the data folder: what is accepted, what is refused and where it says so."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sungen_lib import storage
from sungen_lib.storage import write_text
from sungen_lib.texts import data_folder, tasks
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.texts.imported import import_synthetic
from sungen_lib.texts.jsonl import read_jsonl, write_jsonl

NAMES = ("negative", "positive")
# Everything UTF-8 can hold, with what line-based readers trip over more often than by chance.
CHARACTERS = st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('"\\\n\r\t\u2028\u0085\ufeff'))
TEXTS = st.text(CHARACTERS).filter(str.strip)
ROWS = st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 1)), min_size=1, max_size=8)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def row(text: str = "fine", label: object = 1, **more: object) -> str:
    """One line of a file."""
    return json.dumps({"text": text, "label": label, **more}) + "\n"


def read(path: Path, content: str | bytes) -> Examples:
    """What ``read_jsonl`` makes of a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_jsonl(path, NAMES)


# --- Examples ---------------------------------------------------------------------------------------------------------


def test_examples_are_checked() -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        Examples.of(["a", "b"], [0], NAMES)
    with pytest.raises(ValueError, match="lengths differ"):
        Examples.of(["a", "b"], [0, 1], NAMES, pairs=["c"])
    with pytest.raises(ValueError, match="lengths differ"):
        Examples(("a", "b"), np.array([0, 1]), NAMES, idx=np.arange(3))
    for label in (-1, 2):
        with pytest.raises(ValueError, match="labels run from"):
            Examples.of(["a", "b"], [0, label], NAMES)


def test_select_keeps_rows_together() -> None:
    full = Examples.of(list("abcd"), [0, 1, 1, 0], NAMES, pairs=list("ABCD"))
    picked = full.select([2, 0])
    assert (picked.texts, picked.pairs, picked.labels.tolist(), picked.idx.tolist()) == (
        ("c", "a"),
        ("C", "A"),
        [1, 0],
        [2, 0],
    )
    masked = full.select(np.array([False, True, False, True]))
    assert masked.texts == ("b", "d") and masked.idx.tolist() == [1, 3]
    assert masked.select([1]).idx.tolist() == [3]  # idx goes back to the file, however often rows were picked
    assert len(full.select([])) == 0 and len(full.select(full.labels > 5)) == 0


def test_fingerprint_sees_every_field() -> None:
    base = Examples.of(["a", "b"], [0, 1], NAMES)
    assert base.fingerprint() == Examples.of(["a", "b"], np.array([0, 1], dtype=np.int32), NAMES).fingerprint()
    others = [
        Examples.of(["a", "c"], [0, 1], NAMES),
        Examples.of(["b", "a"], [0, 1], NAMES),
        Examples.of(["a", "b"], [1, 1], NAMES),
        Examples.of(["a", "b"], [0, 1], NAMES[::-1]),
        Examples.of(["a", "b"], [0, 1], NAMES, pairs=["a", "b"]),
        Examples.of(["ab", ""], [0, 1], NAMES),
    ]
    assert len({other.fingerprint() for other in [base, *others]}) == 7


def test_repr_counts_classes() -> None:
    assert repr(Examples.of(["a", "b", "c"], [0, 1, 1], NAMES)) == "Examples(3 texts; negative: 1, positive: 2)"


# --- JSONL ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@given(rows=ROWS, paired=st.booleans(), offset=st.integers(-5, 10**12))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[tuple[str, str, int]], paired: bool, offset: int
) -> None:
    first, second, labels = zip(*rows, strict=True)
    made = Examples.of(first, labels, NAMES, second if paired else None)
    made = Examples(made.texts, made.labels, NAMES, made.idx + offset, made.pairs)
    path = tmp_path_factory.mktemp("round") / f"train.jsonl{suffix}"
    write_jsonl(path, made)
    back = read_jsonl(path, NAMES)
    assert (back.texts, back.pairs, back.label_names) == (made.texts, made.pairs, NAMES)
    np.testing.assert_array_equal(back.labels, made.labels)
    np.testing.assert_array_equal(back.idx, made.idx)
    assert back.fingerprint() == made.fingerprint()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_files_compressed_elsewhere_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.jsonl{suffix}"
    assert read(path, COMPRESS[suffix]((row("café") + row("naïve")).encode())).texts == ("café", "naïve")


def test_labels_by_index_or_by_name(tmp_path: Path) -> None:
    got = read(tmp_path / "a.jsonl", row(label=0) + row(label="positive") + row(label=1) + row(label="negative"))
    assert got.labels.tolist() == [0, 1, 1, 0]
    assert got.idx.tolist() == [0, 1, 2, 3]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (row("one") + row("two")).replace("\n", "\r\n").encode()
    assert read(tmp_path / "a.jsonl", content).texts == ("one", "two")


def test_blank_lines_at_the_end_are_no_rows(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.jsonl", row() + row() + "\n \r\n")) == 2
    with pytest.raises(DataError, match=r":2: not a JSON object \(a blank line\); remove"):
        read(tmp_path / "a.jsonl", row() + "\n\n" + row())


def test_all_rows_without_a_text_are_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2: .* got ' '; .* remove the row; more rows have none: 2, the last at :5$"):
        read(tmp_path / "a.jsonl", row() + row(" ") + row("") + row() + row("\t"))
    with pytest.raises(DataError, match=r":1: .* got ' '; fill it in or remove the row$"):
        read(tmp_path / "a.jsonl", row(" ") + row())
    renamed = row().replace('"text"', '"review"')
    with pytest.raises(DataError, match=r":1: .* got None; the row has 'review', 'label'.*$") as raised:
        read(tmp_path / "a.jsonl", renamed * 3)
    assert "more rows" not in str(raised.value)  # all of them have one, under another name


def test_an_idx_may_be_a_whole_float(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", row(idx=7.0) + row(idx=2)).idx.tolist() == [7, 2]
    with pytest.raises(DataError, match=r":1: idx 7\.5 is not a 64-bit integer; call the field something else"):
        read(tmp_path / "a.jsonl", row(idx=7.5))


def test_the_last_line_may_lack_its_end(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.jsonl", (row() + row()).rstrip("\n"))) == 2


PAIR = json.dumps({"text1": "a", "text2": "b", "label": 0}) + "\n"
BAD_LINES = {
    "malformed": ('{"text": "a", "label": 1\n', "not a JSON object"),
    "no object": ("[1, 2]\n", "expected a JSON object, got list"),
    "blank": ("\n", "not a JSON object"),
    "two rows in a line": (row()[:-1] + row(), "not a JSON object"),
    "no text": ('{"label": 1}\n', "'text' must be a non-empty string"),
    "empty text": (row(" "), "'text' must be a non-empty string"),
    "number for text": ('{"text": 5, "label": 1}\n', "'text' must be a non-empty string, got 5"),
    "no label": ('{"text": "a"}\n', "the label is missing; fill it in or remove the row"),
    "label too large": (row(label=2), "label 2 is neither"),
    "negative label": (row(label=-1), "label -1 is neither"),
    "unknown name": (row(label="neutral"), "label 'neutral' is neither"),
    "list as label": (row(label=[1]), r"label \[1\] is neither"),
    "label between two": (row(label=0.5), r"label 0\.5 is neither"),
    "idx of text": (row(idx="7"), "idx '7' is not a 64-bit integer"),
    "idx too large": (row(idx=2**63), "idx 9223372036854775808 is not a 64-bit integer"),
    "pair among singles": (PAIR, "single texts and pairs are mixed"),
    "endless number": ('{"text": "a", "label": ' + "1" * 5000 + "}\n", "not a JSON object"),
    "bad encoding": ('{"text": "caf\udce9", "label": 1}\n', "cannot be read as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines_are_named(tmp_path: Path, case: str, suffix: str) -> None:
    line, message = BAD_LINES[case]
    content = "".join(row(f"row {i}") for i in range(2)) + line + row()
    path = tmp_path / f"train.jsonl{suffix}"
    with pytest.raises(DataError, match=message) as raised:
        read(path, COMPRESS[suffix](content.encode(errors="surrogateescape")))
    assert str(raised.value).startswith(f"{path}:3: ")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_singles_among_pairs_and_half_a_pair(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2: single texts and pairs are mixed"):
        read(tmp_path / "a.jsonl", PAIR + row())
    with pytest.raises(DataError, match=r":1: field 'text2' must be a non-empty string"):
        read(tmp_path / "a.jsonl", '{"text1": "a", "label": 0}\n')


def test_a_repeated_idx_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":3: idx 5 was used before"):
        read(tmp_path / "a.jsonl", row(idx=5) + row(idx=6) + row(idx=5))
    with pytest.raises(DataError, match=r":2: idx 1 was used before"):
        read(tmp_path / "a.jsonl", row(idx=1) + row())  # the second row's default


@pytest.mark.parametrize("suffix", COMPRESS)
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    with pytest.raises(DataError, match="no rows") as raised:
        read(path, COMPRESS[suffix](b""))
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "not compressed", *range(20, 120, 10)])
def test_damaged_archives_are_named(tmp_path: Path, suffix: str, damage: str | int) -> None:
    content = "".join(row(f"text {i * i}") for i in range(200)).encode()
    if damage != "not compressed":
        content = COMPRESS[suffix](content)
    if damage == "cut":
        content = content[: len(content) // 2]
    if isinstance(damage, int):
        content = content[:damage] + bytes([content[damage] ^ 0xFF]) + content[damage + 1 :]
    path = tmp_path / f"a.jsonl{suffix}"
    with pytest.raises(DataError) as raised:
        read(path, content)
    assert str(raised.value).startswith(f"{path}:")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"no such file: .*nothing\.jsonl"):
        read_jsonl(tmp_path / "nothing.jsonl", NAMES)
    with pytest.raises(DataMissing):
        read_jsonl(tmp_path, NAMES)


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="half way"), storage.atomic_path(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    with storage.atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


# --- the data folder --------------------------------------------------------------------------------------------------


def folder(root: Path, task: str, names: object, rows: str, split: str = "train.jsonl") -> Path:
    """A data folder with one gold file."""
    place = root / task / "std"
    place.mkdir(parents=True, exist_ok=True)
    (root / task / "labels.json").write_text(json.dumps(names))
    (place / split).write_bytes(COMPRESS[Path(split).suffix.replace(".jsonl", "")](rows.encode()))
    return root


def test_labels_are_mapped_by_name(tmp_path: Path) -> None:
    names = ["Sports", "Sci/Tech", "World", "Business"]
    rows = "".join(row(name, i) for i, name in enumerate(names)) + row("Business", "Business")
    got = data_folder.load(folder(tmp_path, "ag_news", names, rows), "ag_news", "std", "train")
    assert got.label_names == tasks.get("ag_news").labels
    assert [got.label_names[k] for k in got.labels] == list(got.texts)


@pytest.mark.parametrize("split", ["test.jsonl", "test.jsonl.gz", "test.jsonl.xz"])
def test_a_split_is_found_in_any_form(tmp_path: Path, split: str) -> None:
    folder(tmp_path, "imdb", NAMES, row() + row("bad", 0), split)
    assert data_folder.locate(tmp_path, "imdb", "std", "test").name == split
    assert len(data_folder.load(tmp_path, "imdb", "std", "test")) == 2


@pytest.mark.parametrize(
    "names",
    [["neg", "pos"], ["negative"], ["negative", "positive", "negative"], [0, 1], [["negative"], ["positive"]], 7, "no",
     {"positive": 0, "negative": 1}],
)  # fmt: skip
def test_wrong_label_names_are_refused(tmp_path: Path, names: object) -> None:
    folder(tmp_path, "imdb", names, row())
    with pytest.raises(DataError, match=r"imdb.labels\.json: "):
        data_folder.load(tmp_path, "imdb", "std", "train")


def test_label_names_may_be_numbers(tmp_path: Path) -> None:
    """Those of a user's task whose labels are digits."""
    task = tmp_path / "stars.yaml"
    prompt = 'A <y> text: "<x>'
    task.write_text(json.dumps({"name": "stars", "labels": ["1", "2"], "generation_prompt": prompt}))
    folder(tmp_path, "stars", [2, 1], row(label="1") + row(idx=1, label="2"))
    data = data_folder.load(tmp_path, str(task), "std", "train")
    assert (data.label_names, data.labels.tolist()) == (("1", "2"), [0, 1])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r'labels\.json: write the label names .*\["negative", "positive"\]'):
        data_folder.load(tmp_path, "imdb", "std", "train")
    folder(tmp_path, "imdb", NAMES, row())
    with pytest.raises(DataMissing, match=r"imdb.std.test\.jsonl \(nor \.xz, \.gz\): put gold data for imdb there"):
        data_folder.load(tmp_path, "imdb", "std", "test")
    with pytest.raises(DataMissing, match="put gpt2-xl data for imdb there"):
        data_folder.load(tmp_path, "imdb", "gpt2-xl", "train")


def test_pairs_and_singles_must_fit_the_task(tmp_path: Path) -> None:
    folder(tmp_path, "imdb", NAMES, PAIR)
    folder(tmp_path, "rte", tasks.get("rte").labels, row())
    with pytest.raises(DataError, match=r"imdb.std.train\.jsonl: pairs do not fit imdb"):
        data_folder.load(tmp_path, "imdb", "std", "train")
    with pytest.raises(DataError, match=r"rte.std.train\.jsonl: single texts do not fit rte"):
        data_folder.load(tmp_path, "rte", "std", "train")


# Rows and labels of ../shared/data, as its README states them.
REAL = {
    ("imdb", "std", "train"): 25_000,
    ("imdb", "gpt2-xl", "train"): 14_143,
    ("sst2", "std", "train"): 6_920,
    ("sst2", "std", "dev"): 872,
    ("sst2", "std", "test"): 1_821,
    ("subj", "std", "test"): 2_000,
    ("ag_news", "std", "test"): 7_600,
    ("dbpedia", "std", "train"): 1_344,
    ("yelp", "std", "test"): 2_282,
    ("amazon", "std", "test"): 1_965,
    ("rte", "std", "test"): 277,
    ("rte", "ctrl", "train"): 6_000,
    ("mrpc", "std", "test"): 408,
}


@pytest.mark.parametrize("key", REAL, ids="-".join)
def test_the_real_folder_loads(real_data: Path, key: tuple[str, str, str]) -> None:
    task, source, split = key
    got = data_folder.load(real_data, task, source, split)
    assert len(got) == REAL[key]
    assert got.label_names == tasks.get(task).labels
    assert np.bincount(got.labels, minlength=tasks.get(task).classes).min() > 0.2 * len(got) / tasks.get(task).classes
    assert len(set(got.idx.tolist())) == len(got)


def test_real_polarity_is_the_right_way_round(real_data: Path) -> None:
    for task, source in (("imdb", "std"), ("imdb", "gpt2-xl"), ("sst2", "std"), ("yelp", "std"), ("amazon", "std")):
        got = data_folder.load(real_data, task, source, "train")
        excellent = np.array(["excellent" in text.lower() for text in got.texts])
        assert got.labels[excellent].mean() > 0.6, (task, source)


# --- other people's files ---------------------------------------------------------------------------------------------


def reviews(path: Path, *, positive: int, form: str) -> Path:
    """Forty reviews in ZeroGen's or SunGen's form, whose positive label is ``positive``."""
    rows = []
    for i in range(40):
        text, label = f"a {['dull', 'great'][i % 2]} film, number {i}", positive if i % 2 else 1 - positive
        zerogen = {"C": f"Film {i}", "X": text, "Y": label}
        rows.append(zerogen if form == "zerogen" else {"idx": i, "text": text, "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["zerogen", "sungen"])
@pytest.mark.parametrize("positive", [0, 1])
def test_import_follows_the_order_it_is_told(form: str, positive: int, tmp_path: Path) -> None:
    path = reviews(tmp_path / "train.jsonl", positive=positive, form=form)
    order = ["negative", "positive"] if positive else ["positive", "negative"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = import_synthetic(path, label_order=order)
    names = [data.label_names[label] for label in data.labels]
    assert names == ["negative", "positive"] * 20 and data.pairs is None
    assert data.texts[3] == "a great film, number 3"


def test_import_notices_the_wrong_order(tmp_path: Path) -> None:
    path = reviews(tmp_path / "train.jsonl", positive=0, form="zerogen")
    with pytest.warns(UserWarning, match="only 0% of 40 telling texts fit"):
        import_synthetic(path, label_order=["negative", "positive"])


def test_a_few_texts_say_nothing_about_the_order(tmp_path: Path) -> None:
    path = reviews(tmp_path / "train.jsonl", positive=0, form="zerogen")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:18]), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(import_synthetic(path, label_order=["negative", "positive"])) == 18


def test_import_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "rte.jsonl"
    path.write_text('{"C": "One.", "X": "Two.", "Y": 1}\n{"C": "Three.", "X": "Four.", "Y": 0}\n', encoding="utf-8")
    data = import_synthetic(path, label_order=["entailment", "not_entailment"], pair=True)
    assert (data.texts, data.pairs, data.labels.tolist()) == (("One.", "Three."), ("Two.", "Four."), [1, 0])


@pytest.mark.parametrize(
    ("line", "order", "pair", "complaint"),
    [
        ('{"X": "a", "Y": 2}', ["no", "yes"], False, "label 2 is neither an index 0..1 nor one of no, yes"),
        ('{"X": "", "Y": 1}', ["no", "yes"], False, "field 'X' must be a non-empty string"),
        ('{"X": "a", "Y": 1}', ["no", "yes"], True, "field 'C' must be a non-empty string"),
        ('{"text": "a"}', ["no", "yes"], False, "the label is missing"),
        ('{"X": "a", "Y": 1}', "no", False, "label_order must name the labels"),
        ('{"X": "a", "Y": 1}', ["no"], False, "label_order must name the labels"),
    ],
)
def test_import_refuses(line: str, order: list[str], pair: bool, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(DataMissing, match=r"no such file: .*rows\.jsonl"):
        import_synthetic(path, label_order=["no", "yes"])
    path.write_text("")
    with pytest.raises(DataError, match=r"rows\.jsonl: no rows; expected one JSON object a line"):
        import_synthetic(path, label_order=["no", "yes"])
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(complaint)):
        import_synthetic(path, label_order=order, pair=pair)


def test_columns_of_a_data_frame() -> None:
    frame = pd.DataFrame({"a": ["x", "y", None], "b": ["u", "v", "w"], "right": [True, False, True]}, index=[7, 5, 3])
    whole = frame.iloc[:2]
    pairs = Examples.of(whole.a, whole.right, ("no", "yes"), whole.b)
    assert (pairs.texts, pairs.pairs, pairs.labels.tolist()) == (("x", "y"), ("u", "v"), [1, 0])
    with pytest.raises(ValueError, match=r"text 2 is no string but (None|nan)"):
        Examples.of(frame.a, frame.right, ("no", "yes"))
