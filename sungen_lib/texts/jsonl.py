"""JSONL files of labelled texts, in and out: plain, ``.gz`` or ``.xz``."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from sungen_lib.storage import atomic_path
from sungen_lib.texts.examples import DataError, DataMissing, Examples

SUFFIXES = (".jsonl", ".jsonl.xz", ".jsonl.gz")
_OPEN: dict[str, Callable[..., IO[bytes]]] = {".xz": lzma.open, ".gz": gzip.open}  # type: ignore[dict-item]
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.compress, ".gz": partial(gzip.compress, mtime=0)}


def jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of each line; a byte-order mark and Windows line ends are accepted, blank lines are not."""
    number = 0
    try:
        with _OPEN.get(path.suffix.lower(), open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, _row(path, number, line)
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
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
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}:{number}: field {field!r} must be a non-empty string, got {value!r}"[:300])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}:{number}: field {field!r} holds half a surrogate pair; write the character") from None
    return value


def label_index(path: Path, number: int, value: object, names: Sequence[str]) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value
    raise DataError(
        f"{path}:{number}: label {value!r} is neither an index 0..{len(names) - 1} nor one of {', '.join(names)}"[:300]
    )


def read_jsonl(path: str | Path, label_names: Sequence[str]) -> Examples:
    """Read ``{"idx", "text" | "text1" + "text2", "label"}`` rows; plain, ``.gz`` or ``.xz``.

    ``label`` is an index into ``label_names`` or one of the names; ``idx`` defaults to the row's number, from 0.
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
    for position, (number, row) in enumerate(rows):
        is_pair = text not in row and ("text1" in row or "text2" in row)
        if position and is_pair != bool(pairs):
            raise DataError(f"{path}:{number}: single texts and pairs are mixed; use one or the other throughout")
        texts.append(text_field(path, number, row, "text1" if is_pair else text))
        if is_pair:
            pairs.append(text_field(path, number, row, "text2"))
        labels.append(label_index(path, number, row.get(label), label_names))
        row_idx = row.get("idx", position)
        if not isinstance(row_idx, int) or isinstance(row_idx, bool) or abs(row_idx) >= 2**63 or row_idx in seen:
            raise DataError(
                f"{path}:{number}: idx {row_idx!r} is not a 64-bit integer or was used before; give each row its own"
            )
        seen.add(row_idx)
        idx.append(row_idx)
    if not texts:
        raise DataError(f"{path}: no rows; expected a text and its label in each")
    return replace(Examples.of(texts, labels, label_names, pairs or None), idx=np.asarray(idx, dtype=np.int64))


def write_jsonl(path: str | Path, data: Examples) -> None:
    """Write ``data`` in the form ``read_jsonl`` reads, atomically; ``.gz`` and ``.xz`` paths are compressed."""
    lines = []
    for i, text in enumerate(data.texts):
        body = {"text": text} if data.pairs is None else {"text1": text, "text2": data.pairs[i]}
        lines.append(json.dumps({"idx": int(data.idx[i]), **body, "label": int(data.labels[i])}, ensure_ascii=False))
    write_packed(path, "".join(line + "\n" for line in lines))


def write_packed(path: str | Path, text: str) -> None:
    """Write ``text`` atomically, UTF-8; ``.gz`` and ``.xz`` paths are compressed."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_COMPRESS.get(Path(path).suffix.lower(), bytes)(text.encode()))
