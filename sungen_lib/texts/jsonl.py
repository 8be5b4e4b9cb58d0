"""JSONL files of labelled texts, in and out: plain, ``.gz`` or ``.xz``."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from sungen_lib.storage import atomic_path, is_lfs_pointer
from sungen_lib.texts.examples import DataError, DataMissing, Examples, warn_if_uncut

SUFFIXES = (".jsonl", ".jsonl.xz", ".jsonl.gz")
_OPEN: dict[str, Callable[..., IO[bytes]]] = {".xz": lzma.open, ".gz": gzip.open}  # type: ignore[dict-item]
UNPACKING = (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.compress, ".gz": partial(gzip.compress, mtime=0)}


def fetched(path: Path) -> Path:
    """``path``, if the file is more than a Git LFS pointer; else ``DataError``."""
    if is_lfs_pointer(path):
        raise DataError(f"{path}: this is a Git LFS pointer, not the file itself; fetch it (git lfs pull)")
    return path


def opened(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked; reading them raises one of ``UNPACKING`` if it is damaged."""
    opener: Callable[..., IO[bytes]] = _OPEN.get(path.suffix.lower(), open)
    return opener(fetched(path), "rb")


def jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of each line; a byte-order mark and Windows line ends are accepted, and blank lines at the
    end, but none before it."""
    blank = 0
    for number, line in jsonl_lines(path):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            raise DataError(f"{path}:{blank}: not a JSON object (a blank line); remove the line")
        yield number, _row(path, number, line)


def jsonl_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number, line as it stands) of each line."""
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, start=1):
                yield number, line
    except UNPACKING as error:
        raise DataError(f"{path}:{number + 1}: cannot be unpacked ({error}); fetch the file again") from None


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: cannot be read as UTF-8 text ({error}); re-encode the file") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        raise DataError(f"{path}:{number}: not a JSON object ({reason}); fix or remove the line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}")
    return row


def text_field(path: Path, number: int, row: Mapping[str, Any], field: str) -> str:
    """The text in ``row[field]``, not blank; else ``DataError`` naming ``path``, the line ``number`` and the field."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        has = f"the row has {', '.join(map(repr, row)) or 'no fields'}"
        empty = value is None or isinstance(value, str)
        remedy = "fill it in or remove the row" if empty else "write a text, in quotation marks"
        got = f"{repr(value)[:60]}; {remedy if field in row else has}"
        raise DataError(f"{path}:{number}: field {field!r} must be a non-empty string, got {got}"[:300])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}:{number}: field {field!r} holds half a surrogate pair; write the character") from None
    return value


_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.0+)?")
_BOOLEANS = {"false": 0, "true": 1}


def number_of(value: object) -> int | None:
    """The number that a label stands for, however the format spells it: 1, 1.0, "1", true and "True" are all 1."""
    if isinstance(value, str):
        if value.lower() in _BOOLEANS:
            return _BOOLEANS[value.lower()]
        return int(value.partition(".")[0]) if _NUMBER.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, int) else None


@lru_cache(maxsize=64)
def _numbers(names: tuple[str, ...]) -> tuple[int | None, ...]:
    return tuple(map(number_of, names))


def spelling(name: str) -> str:
    """What names have in common that differ in case, white space or the form of their accents."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def listed(names: Sequence[str]) -> str:
    """``names`` for a message of one line, whatever they hold."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names)


def label_index(path: Path, number: int, value: object, names: Sequence[str]) -> int:
    """The index of a label among ``names``: the same in every format.

    What stands in ``names`` is a name. A number (``number_of``) is an index from 0, unless names are numbers
    themselves, such as "1" to "5" for stars: then it is the name that has these digits, never an index.
    """
    if isinstance(value, str) and value in names:
        return names.index(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{path}:{number}: the label is missing; fill it in or remove the row")
    found = number_of(value)
    numbers = _numbers(tuple(names))
    if found is None or set(numbers) == {None}:
        if found is not None and 0 <= found < len(names):
            return found
        wrong = f"is neither an index 0..{len(names) - 1} nor one of {listed(names)}"
        alike = [name for name in names if isinstance(value, str) and spelling(name) == spelling(value)]
        wrong += f"; write it as {alike[0]!r}" if alike else ""
    elif found in numbers:
        return numbers.index(found)
    else:
        wrong = f"is none of {listed(names)}; beside names that are numbers, a number is a name, and no index"
    raise DataError(f"{path}:{number}: label {value!r} {wrong}"[:300])


def read_jsonl(path: str | Path, label_names: Sequence[str]) -> Examples:
    """Read ``{"idx", "text" | "text1" + "text2", "label"}`` rows; plain, ``.gz`` or ``.xz``.

    ``label`` is one of ``label_names`` or a number (``label_index``); ``idx`` defaults to the row's number, from 0.
    Raises ``DataError`` naming file and line for a malformed line, an empty text, an unknown label, a repeated
    ``idx``, single texts mixed with pairs, or a file without rows; ``DataMissing`` if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"no such file: {path}")
    return from_rows(path, jsonl_rows(path), label_names)


def from_rows(
    path: Path,
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    label_names: Sequence[str],
    *,
    text: str = "text",
    label: str = "label",
) -> Examples:
    """``Examples`` of a file's (line number, fields); ``text`` and ``label`` are the fields' names.

    Raises ``DataError`` as ``read_jsonl`` does.
    """
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[int] = []
    idx: list[int] = []
    seen: set[int] = set()
    rows = iter(rows)
    for position, (number, row) in enumerate(rows):
        is_pair = text == "text" and text not in row and ("text1" in row or "text2" in row)
        if position and is_pair != bool(pairs):
            raise DataError(f"{path}:{number}: single texts and pairs are mixed; use one or the other throughout")
        try:
            texts.append(text_field(path, number, row, "text1" if is_pair else text))
            if is_pair:
                pairs.append(text_field(path, number, row, "text2"))
        except DataError as error:
            fields = ("text1", "text2") if is_pair else (text,)
            raise (_with_others(error, rows, fields) if all(field in row for field in fields) else error) from None
        labels.append(label_index(path, number, row.get(label), label_names))
        row_idx = _idx(path, number, row.get("idx", position))
        if row_idx in seen:
            raise DataError(f"{path}:{number}: idx {row_idx} was used before; give each row its own")
        seen.add(row_idx)
        idx.append(row_idx)
    if not texts:
        raise DataError(f"{path}: no rows; expected a text and its label in each")
    data = replace(Examples.of(texts, labels, label_names, pairs or None), idx=np.asarray(idx, dtype=np.int64))
    return warn_if_uncut(data, path)


def _with_others(error: DataError, rest: Iterable[tuple[int, Mapping[str, Any]]], fields: Sequence[str]) -> DataError:
    """``error``, about an empty text, and how many of the rows after it have none either."""
    others = []
    with suppress(DataError):  # of a line that is no row
        others = [number for number, row in rest if not all(str(row.get(field) or "").strip() for field in fields)]
    return DataError(f"{error}; more rows have none: {len(others)}, the last at :{others[-1]}") if others else error


def _idx(path: Path, number: int, value: object) -> int:
    """A row's ``idx``; 3.0, which pandas makes of 3 in a column with gaps, is 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        remedy = "call the field something else, and rows are numbered from 0"
        raise DataError(f"{path}:{number}: idx {value!r} is not a 64-bit integer; {remedy}"[:300])
    return value


def write_jsonl(path: str | Path, data: Examples) -> None:
    """Write ``data`` in the form ``read_jsonl`` reads, atomically; ``.gz`` and ``.xz`` paths are compressed.

    Labels are indices, or names where these are numbers themselves.
    """
    lines = []
    by_name = any(number_of(name) is not None for name in data.label_names)
    for i, text in enumerate(data.texts):
        body = {"text": text} if data.pairs is None else {"text1": text, "text2": data.pairs[i]}
        label = data.label_names[data.labels[i]] if by_name else int(data.labels[i])
        lines.append(json.dumps({"idx": int(data.idx[i]), **body, "label": label}, ensure_ascii=False))
    write_packed(path, "".join(line + "\n" for line in lines).encode())


def write_packed(path: str | Path, content: bytes) -> None:
    """Write ``content`` atomically; ``.gz`` and ``.xz`` paths are compressed."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_COMPRESS.get(Path(path).suffix.lower(), bytes)(content))
