"""A user's own file of texts and labels, JSONL, CSV or Parquet: read, and some of its rows written as they stand there.

Label names come from the file (labels written as names, or a Parquet file's own list of them, as ``datasets`` writes
it) or from the caller. Numbers without names are refused: their order differs from source to source.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sungen_lib import storage
from sungen_lib.storage import atomic_path
from sungen_lib.texts import jsonl
from sungen_lib.texts.examples import DataError, DataMissing, Examples

CSV = (".csv", ".csv.gz")
SUFFIXES = (*jsonl.SUFFIXES, *CSV, ".parquet")
LONGEST_CELL = 2**24  # characters; Python's csv refuses more than 2**17 unless told
Row = Mapping[str, Any]


def suffix(path: str | Path) -> str | None:
    """Which of ``SUFFIXES`` the file's name ends in."""
    return next((end for end in SUFFIXES if str(path).lower().endswith(end)), None)


def read(
    path: str | Path, *, labels: Sequence[str] | None = None, text: str = "text", label: str = "label"
) -> Examples:
    """The rows of a file: columns ``text`` (or ``text1`` and ``text2``) and ``label``, and ``idx`` where there is one.

    ``labels``: the label names in index order; without them they come from the file, in alphabetical order where it
    has no order of its own. What a label means does not depend on the format (``jsonl.label_index``). Raises
    ``DataError`` naming file and line (of a Parquet file: row) as ``jsonl.read_jsonl`` does, also for a missing column,
    for numbers, true and false that nobody has named, and for names that differ only in case or white space;
    ``DataMissing`` without a file. Warns of texts without white space. A file of another name is read as JSONL.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"{path} is a folder; name a file in it" if path.is_dir() else f"no such file: {path}")
    if labels is not None and not _names(labels):
        raise DataError(f"labels must be different names such as {EXAMPLE}, got {labels!r}"[:300])
    rows = list(_rows(path, (text, label)))
    own = _class_label(path, label) if suffix(path) == ".parquet" else None
    if own is not None:
        if labels is not None and own != tuple(labels):
            names = f"{jsonl.listed(own)} in this order, not {jsonl.listed(labels)}"
            raise DataError(f"{path}: its own label names are {names}")
        rows = [(number, _with_name(path, number, row, label, own)) for number, row in rows]
    known = own or labels or _label_names(path, [row.get(label) for _, row in rows], label)
    return jsonl.from_rows(path, rows, tuple(known), text=text, label=label)


def _names(labels: Sequence[str]) -> bool:
    """Whether ``labels`` are one or more different names."""
    several = not isinstance(labels, str) and 0 < len(labels) == len(set(labels))
    return several and all(isinstance(name, str) for name in labels)


def _rows(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, Row]]:
    if suffix(path) in CSV:
        return _csv_rows(path, wanted)
    if suffix(path) == ".parquet":
        return _parquet_rows(path, wanted)
    return jsonl.jsonl_rows(path) if suffix(path) else _rows_of_unknown(path)


def _rows_of_unknown(path: Path) -> Iterator[tuple[int, Row]]:
    """A file whose name says nothing is read as JSONL; one that is something else should be called by its name."""
    try:
        yield from jsonl.jsonl_rows(path)
    except DataError as error:
        otherwise = f"to have it read otherwise, give a file whose name ends in one of {', '.join(SUFFIXES)}"
        raise DataError(f"{error} (read as JSONL; {otherwise})") from None


def _csv_rows(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, Row]]:
    """(line number of its end, row) of each row."""
    for number, cells in _csv_cells(path):
        if number is None:
            header = cells
            _check_columns(path, header, wanted)
        elif len(cells) != len(header):
            raise DataError(f"{path}:{number}: {len(cells)} cells under {len(header)} columns; quote cells with commas")
        else:
            row = dict(zip(header, cells, strict=True))
            idx = row.get("idx", "").removesuffix(".0")  # which pandas adds in a column with gaps
            yield number, row | ({"idx": int(idx)} if _is_integer(idx) else {})


def _csv_cells(path: Path) -> Iterator[tuple[int | None, list[str]]]:
    """The header, with ``None``, and each row's cells, with the line number of its end; empty lines are left out."""
    before = csv.field_size_limit(LONGEST_CELL)
    with jsonl.opened(path) as packed, io.TextIOWrapper(packed, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            yield None, next(reader, [])
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); re-encode the file") from None
        except jsonl.UNPACKING as error:
            raise DataError(f"{path}: cannot be unpacked ({error}); fetch the file again") from None
        except csv.Error as error:
            at = f"{path}:{reader.line_num}"
            raise DataError(f"{at}: not CSV ({error}); fix the quotation marks of the row ending here") from None
        finally:
            csv.field_size_limit(before)


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(jsonl.fetched(path), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason}); write the file again") from None


def _parquet_rows(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, Row]]:
    table = _table(path)
    _check_columns(path, table.column_names, wanted)
    columns = [name for name in (*wanted, "text1", "text2", "idx") if name in table.column_names]
    try:
        return enumerate(table.select(list(dict.fromkeys(columns))).to_pylist(), start=1)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: holds strings that are not UTF-8 ({error}); re-encode them") from None


def _check_columns(path: Path, columns: Sequence[str], wanted: tuple[str, str]) -> None:
    text, label = wanted
    pairs = text == "text" and "text1" in columns  # a column that is asked for by name has to be there
    for parameter, name in {"label": label, **({} if pairs else {"text": text})}.items():
        if name not in columns:
            found = ", ".join(map(repr, columns)) or "none"
            remedy = f'name yours ({parameter}="...", or --{parameter} ...), or rename it'
            if len(columns) == 1 and any(other in columns[0] for other in ";\t|"):
                remedy = "columns are separated by commas: write the file again"
            raise DataError(f"{path}: no column {name!r} among {found[:200]}; {remedy}")
        if columns.count(name) > 1:
            raise DataError(f"{path}: {columns.count(name)} columns are called {name!r}; rename all but one")


def _is_integer(value: object) -> bool:
    return isinstance(value, str) and len(value) < 20 and value.isascii() and value.removeprefix("-").isdigit()


def _with_name(path: Path, number: int, row: Row, label: str, own: tuple[str, ...]) -> Row:
    """A row of a file with label names of its own: there a number is an index, also where names are numbers."""
    value = row[label]
    if not isinstance(value, int):
        return row
    if not 0 <= value < len(own):
        wrong = f"label {value} is no index into the file's own names, {jsonl.listed(own)}"
        raise DataError(f"{path}:{number}: {wrong}"[:300])
    return {**row, label: own[value]}


EXAMPLE = '["negative", "positive"]'
OR_SAY = 'label="...", or --label ...'
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]*)?")


def _label_names(path: Path, values: Sequence[object], label: str) -> tuple[str, ...]:
    """The names among the labels; ``DataError`` where there are none, or it is not sure what they are."""
    strings = {value for value in values if isinstance(value, str) and value.strip()}
    names = sorted(name for name in strings if not _DECIMAL.fullmatch(name))
    _check_numbers(path, values, names)
    if values and not names:
        raise DataError(f"{path}: {label!r} holds no names of labels; name the column that does ({OR_SAY})")
    if len(values) >= 10 and len(names) > len(values) // 2:
        several = f"{len(names)} different labels in {len(values)} rows"
        raise DataError(f"{path}: {several}; is {label!r} where the labels are?")
    _check_spelling(path, names)
    return tuple(names)


def _check_numbers(path: Path, values: Sequence[object], names: Sequence[str]) -> None:
    """Refuse numbers, and true and false: which class they stand for differs from source to source."""
    distinct = list(dict.fromkeys(value for value in values if isinstance(value, (str, int, float))))
    known = [value for value in distinct if jsonl.number_of(value) is not None]
    truths = [value for value in known if isinstance(value, bool) or str(value).lower() in ("true", "false")]
    if len(known) > len(truths) or any(map(_is_integer, distinct)):
        found = jsonl.listed(sorted({str(value) for value in distinct})[:5])
        advice = f"give the names in order: labels={EXAMPLE}, or --labels negative positive"
        raise DataError(f"{path}: labels are numbers without names; {advice} (found {found})"[:400])
    if truths and (len(truths) == len(distinct) or any(isinstance(value, bool) for value in truths)):
        advice = f"give the names for false and true: labels={EXAMPLE}, or --labels negative positive"
        raise DataError(f"{path}: labels are true and false without names; {advice}")


def _check_spelling(path: Path, names: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for name in names:
        if name.encode(errors="ignore").decode() != name:
            raise DataError(f"{path}: label {name!r} holds half a surrogate pair; write the character")
        other = first.setdefault(jsonl.spelling(name), name)
        if other != name:
            differ = f"labels {other!r} and {name!r} differ only in case or white space"
            raise DataError(f"{path}: {differ}; write them alike, or give both as labels if they are two classes")


def _class_label(path: Path, label: str) -> tuple[str, ...] | None:
    """The names that ``datasets`` keeps in a Parquet file's schema."""
    about = pq.read_schema(path).metadata or {}
    try:
        names = json.loads(about[b"huggingface"])["info"]["features"][label]["names"]
        return tuple(map(str, names))
    except (KeyError, TypeError, ValueError):  # another writer's file, or another kind of column
        return None


def write_rows(target: str | Path, source: str | Path, rows: np.ndarray, *, version: str | None = None) -> None:
    """The ``rows`` of ``source`` (positions from 0, in that order), with all their columns, to ``target``, atomically.

    Both files have the same suffix. ``version``: ``storage.content_hash`` of the file when it was read; raises
    ``DataError``, before anything is written, if that has changed: positions would mean other rows.
    """
    source = Path(source)
    if Path(target).exists() and storage.same_place(source, target):
        raise DataError(f"{target}: the rows come from this file; write them to another")
    if version is not None and not (source.is_file() and storage.content_hash(source) == version):
        raise DataError(f"{source} has changed since it was read; start again")
    if suffix(source) == ".parquet":
        table = _table(source).take(pa.array(rows))
        with atomic_path(target) as temporary:
            pq.write_table(table, temporary)
        return
    if suffix(source) in CSV:
        (_, header), *lines = _csv_cells(source)
        buffer = io.StringIO(newline="")
        # All cells quoted: the writer leaves those with a carriage return bare, which no reader takes.
        csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *(lines[i][1] for i in rows)])
        content = buffer.getvalue().encode()
    else:  # the bytes as they are: what JSON can spell, half a surrogate pair for one, cannot always be written again
        whole = [line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n") for _, line in jsonl.jsonl_lines(source)]
        content = b"".join(whole[i] + b"\n" for i in rows)
    jsonl.write_packed(target, content)


def write_weights(target: str | Path, idx: np.ndarray, weights: np.ndarray) -> None:
    """Columns ``idx``, int64, and ``weight``, float32 in [0, 1], both (N,), to a Parquet file, atomically."""
    with atomic_path(target) as temporary:
        pd.DataFrame({"idx": idx, "weight": weights}).to_parquet(temporary, index=False)


def write_csv(target: str | Path, rows: Examples) -> None:
    """Columns ``idx``, ``text`` and ``label`` (a name), atomically."""
    labels = [rows.label_names[label] for label in rows.labels]
    frame = pd.DataFrame({"idx": rows.idx, "text": rows.texts, "label": labels})
    storage.write_text(target, frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n"))
