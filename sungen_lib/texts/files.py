"""A user's own file of texts and labels, JSONL, CSV or Parquet: read, and some of its rows written as they stand there.

Label names come from the file (labels written as names, or a Parquet file's own list of them, as ``datasets`` writes
it) or from the caller. Numbers without names are refused: their order differs from source to source.
"""

from __future__ import annotations

import csv
import io
import json
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

SUFFIXES = (*jsonl.SUFFIXES, ".csv", ".parquet")
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
    has no order of its own. Raises ``DataError`` naming file and line (of a Parquet file: row) as ``data.read_jsonl``
    does, also for a missing column, and for integer labels that nobody has named; ``DataMissing`` without a file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"no such file: {path}")
    rows = list(_rows(path, (text, label)))
    names = _label_names(path, [row.get(label) for _, row in rows], labels, label)
    numbered = ((number, _typed(row, label, names)) for number, row in rows) if suffix(path) == ".csv" else rows
    return jsonl.from_rows(path, numbered, names, text=text, label=label)


def _rows(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, Row]]:
    if suffix(path) == ".csv":
        return _csv_rows(path, wanted)
    return _parquet_rows(path, wanted) if suffix(path) == ".parquet" else jsonl.jsonl_rows(path)


def _csv_rows(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, Row]]:
    """(line number of its end, row) of each row."""
    for number, cells in _csv_cells(path):
        if number is None:
            header = cells
            _check_columns(path, header, wanted)
        elif len(cells) != len(header):
            raise DataError(f"{path}:{number}: {len(cells)} cells under {len(header)} columns; quote cells with commas")
        else:
            yield number, dict(zip(header, cells, strict=True))


def _csv_cells(path: Path) -> Iterator[tuple[int | None, list[str]]]:
    """The header, with ``None``, and each row's cells, with the line number of its end; empty lines are left out."""
    before = csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            yield None, next(reader, [])
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: cannot be read as UTF-8 text ({error}); re-encode the file") from None
        except csv.Error as error:
            at = f"{path}:{reader.line_num}"
            raise DataError(f"{at}: not CSV ({error}); fix the quotation marks of the row ending here") from None
        finally:
            csv.field_size_limit(before)


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason}); write the file again") from None


def _parquet_rows(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, Row]]:
    table = _table(path)
    _check_columns(path, table.column_names, wanted)
    columns = [name for name in (*wanted, "text1", "text2", "idx") if name in table.column_names]
    return enumerate(table.select(list(dict.fromkeys(columns))).to_pylist(), start=1)


def _check_columns(path: Path, columns: Sequence[str], wanted: tuple[str, str]) -> None:
    text, label = wanted
    for name in (label, *(() if "text1" in columns else (text,))):
        if name not in columns:
            found = ", ".join(map(repr, columns)) or "none"
            raise DataError(f"{path}: no column {name!r} among {found[:200]}; name yours, or rename it")
        if columns.count(name) > 1:
            raise DataError(f"{path}: {columns.count(name)} columns are called {name!r}; rename all but one")


def _typed(row: Row, label: str, names: Sequence[str]) -> Row:
    """A CSV file's row with numbers where they are meant: all its cells are texts."""
    meant = {name: row[name] for name in ("idx", label) if name in row and (name != label or row[name] not in names)}
    return {**row, **{name: int(cell) for name, cell in meant.items() if _is_integer(cell)}}


def _is_integer(value: object) -> bool:
    if isinstance(value, str):
        return len(value) < 20 and value.isascii() and value.removeprefix("-").isdigit()
    return isinstance(value, int) and not isinstance(value, bool)


def _label_names(path: Path, values: Sequence[object], given: Sequence[str] | None, label: str) -> tuple[str, ...]:
    own = _class_label(path, label) if suffix(path) == ".parquet" else None
    if own is not None and given is not None and own != tuple(given):
        raise DataError(f"{path}: its own label names are {', '.join(own)} in this order, not {', '.join(given)}")
    if given is not None or own is not None:
        return tuple(given or own or ())
    if any(map(_is_integer, values)):
        example = '["negative", "positive"]'
        raise DataError(f"{path}: labels are numbers without names; pass labels, the names in order such as {example}")
    names = sorted({value for value in values if isinstance(value, str) and value.strip()})
    if values and not names:
        raise DataError(f"{path}: {label!r} holds no names of labels; name the column or field that does")
    if len(values) >= 10 and len(names) > len(values) // 2:
        several = f"{len(names)} different labels in {len(values)} rows"
        raise DataError(f"{path}: {several}; is {label!r} where the labels are?")
    return tuple(names)


def _class_label(path: Path, label: str) -> tuple[str, ...] | None:
    """The names that ``datasets`` keeps in a Parquet file's schema."""
    about = _table(path).schema.metadata or {}
    try:
        names = json.loads(about[b"huggingface"])["info"]["features"][label]["names"]
        return tuple(map(str, names))
    except (KeyError, TypeError, ValueError):  # another writer's file, or another kind of column
        return None


def write_rows(target: str | Path, source: str | Path, rows: np.ndarray) -> None:
    """The ``rows`` of ``source`` (positions from 0, in that order), with all their columns, to ``target``, atomically.

    Both files have the same suffix.
    """
    source = Path(source)
    if suffix(source) == ".parquet":
        table = _table(source).take(pa.array(rows))
        with atomic_path(target) as temporary:
            pq.write_table(table, temporary)
        return
    if suffix(source) == ".csv":
        (_, header), *lines = _csv_cells(source)
        buffer = io.StringIO(newline="")
        # All cells quoted: the writer leaves those with a carriage return bare, which no reader takes.
        csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *(lines[i][1] for i in rows)])
        content = buffer.getvalue()
    else:
        objects = [row for _, row in jsonl.jsonl_rows(source)]
        content = "".join(json.dumps(objects[i], ensure_ascii=False) + "\n" for i in rows)
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
