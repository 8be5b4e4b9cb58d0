"""``Examples`` (texts, labels, label names); JSONL in and out; gold and synthetic sets from a data folder.

A data folder is laid out ``<data>/<task>/<source>/<split>.jsonl[.xz|.gz]`` with ``<data>/<task>/labels.json``, the
label names in index order. ``source`` is ``std`` for human-labelled (gold) data, else the PLM that wrote the texts.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import lzma
import os
import re
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError

from sungen_lib import tasks

GOLD = "std"
SUFFIXES = (".jsonl", ".jsonl.xz", ".jsonl.gz")


class DataError(ValueError):
    """A data file that cannot be used; the message names the file, the line and the remedy."""


class Damaged(ValueError):
    """A file of our own is not as it was written; the message names it."""


class DataMissing(FileNotFoundError):
    """A data set that is not there; the message says what to put where."""


@dataclass(frozen=True)
class Examples:
    """Labelled texts.

    ``texts``: N strings. ``labels``: (N,) int64 indices into ``label_names``. ``pairs``: the N second texts of a
    sentence-pair task, else ``None``. ``idx``: (N,) int64, each row's number in the file or set it came from, kept by
    ``select`` so that a weight or a prediction can always be traced back to its text.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    idx: np.ndarray
    pairs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.texts)
        if len(self.labels) != n or len(self.idx) != n or (self.pairs is not None and len(self.pairs) != n):
            raise ValueError(f"{n} texts, {len(self.labels)} labels, {len(self.idx)} idx: lengths differ")
        if n and not (int(self.labels.min()) >= 0 and int(self.labels.max()) < len(self.label_names)):
            raise ValueError(f"labels run from {self.labels.min()} to {self.labels.max()}, names: {self.label_names}")

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{name}: {int((self.labels == k).sum()):,}" for k, name in enumerate(self.label_names)
        )
        return f"Examples({len(self):,} {'pairs' if self.pairs else 'texts'}; {counts})"

    def select(self, rows: Sequence[int] | np.ndarray) -> Examples:
        """The given rows (indices or a boolean mask), in that order."""
        rows = np.arange(len(self))[list(rows)]
        return replace(
            self,
            texts=tuple(self.texts[i] for i in rows),
            labels=self.labels[rows],
            idx=self.idx[rows],
            pairs=None if self.pairs is None else tuple(self.pairs[i] for i in rows),
        )

    def with_labels(self, labels: np.ndarray) -> Examples:
        """The same texts with other labels, (N,) int64."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))

    def fingerprint(self) -> str:
        """SHA-256 over texts, labels and label names: equal data, equal fingerprint."""
        digest = hashlib.sha256(json.dumps([self.texts, self.pairs, self.label_names]).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]


def examples(
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    label_names: Sequence[str],
    pairs: Sequence[str] | None = None,
) -> Examples:
    """``Examples`` numbered from 0."""
    return Examples(
        texts=tuple(texts),
        labels=np.asarray(labels, dtype=np.int64),
        label_names=tuple(label_names),
        idx=np.arange(len(texts), dtype=np.int64),
        pairs=None if pairs is None else tuple(pairs),
    )


# --- JSONL ------------------------------------------------------------------------------------------------------------


_OPEN: dict[str, Callable[..., IO[bytes]]] = {".xz": lzma.open, ".gz": gzip.open}  # type: ignore[dict-item]
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {".xz": lzma.compress, ".gz": partial(gzip.compress, mtime=0)}


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of each line; a byte-order mark and Windows line ends are accepted, blank lines are not."""
    number = 0
    try:
        with _OPEN.get(path.suffix, open)(path, "rb") as file:
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


def _text(path: Path, number: int, row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}:{number}: field {field!r} must be a non-empty string, got {value!r}"[:300])
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}:{number}: field {field!r} holds half a surrogate pair; write the character") from None
    return value


def _label(path: Path, number: int, row: dict[str, Any], names: Sequence[str]) -> int:
    value = row.get("label")
    if value in names:
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
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[int] = []
    idx: list[int] = []
    seen: set[int] = set()
    for number, row in _rows(path):
        is_pair = "text1" in row or "text2" in row
        if number > 1 and is_pair != bool(pairs):
            raise DataError(f"{path}:{number}: single texts and pairs are mixed; use one or the other throughout")
        texts.append(_text(path, number, row, "text1" if is_pair else "text"))
        if is_pair:
            pairs.append(_text(path, number, row, "text2"))
        labels.append(_label(path, number, row, label_names))
        row_idx = row.get("idx", number - 1)
        if not isinstance(row_idx, int) or isinstance(row_idx, bool) or abs(row_idx) >= 2**63 or row_idx in seen:
            raise DataError(
                f"{path}:{number}: idx {row_idx!r} is not a 64-bit integer or was used before; give each row its own"
            )
        seen.add(row_idx)
        idx.append(row_idx)
    if not texts:
        raise DataError(f"{path}: no rows; expected one JSON object a line")
    return replace(examples(texts, labels, label_names, pairs or None), idx=np.asarray(idx, dtype=np.int64))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name if the block succeeds: a reader sees all of it or none.

    Raises ``OSError`` naming ``path`` if it cannot be written: a full disk, a folder that takes no files.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(path, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: Exception) -> OSError:
    return OSError(f"{path} cannot be written ({error}); make room, or name another place")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


SEAL = "sha256"


def _seal(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # as it will be read: with strings for keys, lists for tuples
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with the SHA-256 of the rest as its last field, ``SEAL``."""
    write_text(path, json.dumps({**content, SEAL: _seal(content)}, indent=1, ensure_ascii=False) + "\n")


def read_sealed(path: str | Path, *, required: bool = True) -> dict[str, Any]:
    """What ``write_sealed`` wrote. Raises ``Damaged`` for anything else; without ``required`` the seal may be absent,
    but not wrong."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    seal = content.pop(SEAL, None) if isinstance(content, dict) else ""
    if seal is None and not required:
        return dict(content)
    if seal != _seal(content):
        raise Damaged(f"{path} does not match its checksum")
    return dict(content)


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder of our own, and say so: it is made again, and can still be looked at."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    print(f"set aside {aside}: {why}; it will be made again")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is in a block with this lock file; others wait. A lock ends with its process.

    Raises ``OSError`` naming ``path`` if it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise _unwritable(path, error) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def writable(folder: str | Path) -> bool:
    """Whether files can be written to ``folder``, or it can be made; by its permissions, nothing is tried."""
    place = Path(folder).absolute()
    existing = next(path for path in (place, *place.parents) if os.path.exists(path))
    return os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)


def write_jsonl(path: str | Path, data: Examples) -> None:
    """Write ``data`` in the form ``read_jsonl`` reads, atomically; ``.gz`` and ``.xz`` paths are compressed."""
    lines = []
    for i, text in enumerate(data.texts):
        body = {"text": text} if data.pairs is None else {"text1": text, "text2": data.pairs[i]}
        lines.append(json.dumps({"idx": int(data.idx[i]), **body, "label": int(data.labels[i])}, ensure_ascii=False))
    content = "".join(line + "\n" for line in lines).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(_COMPRESS.get(Path(path).suffix, bytes)(content))


# --- the data folder --------------------------------------------------------------------------------------------------


def locate(data_dir: str | Path, task: str, source: str, split: str) -> Path:
    """The file of one split; ``DataMissing`` saying where it was looked for."""
    stem = Path(data_dir) / tasks.get(task).name / source
    for suffix in SUFFIXES:
        path = stem / f"{split}{suffix}"
        if path.is_file():
            return path
    wanted = "gold" if source == GOLD else source
    raise DataMissing(f"no {stem / split}.jsonl (nor .xz, .gz): put {wanted} data for {task} there")


def label_names(data_dir: str | Path, task: str) -> tuple[str, ...]:
    """The folder's label names for ``task``, checked against ``tasks.py``: label orders differ between sources."""
    path = Path(data_dir) / tasks.get(task).name / "labels.json"
    expected = tasks.get(task).labels
    if not path.is_file():
        raise DataMissing(f"no {path}: write the label names there, in index order, for example {json.dumps(expected)}")
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path}: not a JSON list of label names ({error})") from None
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(expected):
        raise DataError(f"{path}: label names {names} are not those of {task}: {list(expected)}")
    return tuple(names)


def load(data_dir: str | Path, task: str, source: str, split: str) -> Examples:
    """One split from a data folder, with labels in the index order of ``tasks.py`` whatever the file's order."""
    names, expected = label_names(data_dir, task), tasks.get(task).labels
    data = read_jsonl(locate(data_dir, task, source, split), names)
    fitting(data, task, f"{data_dir}/{task}/{source}/{split}")
    order = np.array([expected.index(name) for name in names])
    return replace(data, labels=order[data.labels], label_names=expected)


def fitting(data: Examples, task: str, place: str) -> Examples:
    """``data``, if the task can be learned or tested on it; else ``DataError`` naming ``place``."""
    if (data.pairs is not None) != tasks.get(task).pair:
        found = "single texts" if data.pairs is None else "pairs"
        raise DataError(f"{place}: {found} do not fit {task}")
    if len(set(data.labels.tolist())) < 2:
        only = data.label_names[data.labels[0]]
        raise DataError(f"{place}: all rows are {only!r}; two classes are needed")
    return data


# --- other people's files ---------------------------------------------------------------------------------------------

# Words that tell the polarity of a review: enough to notice labels that are the wrong way round, and for nothing else.
_POLAR = (
    {"bad", "worst", "boring", "awful", "terrible", "waste", "poor", "dull", "disappointing", "horrible"},
    {"good", "great", "best", "excellent", "wonderful", "amazing", "love", "perfect", "beautiful", "enjoyable"},
)


def import_synthetic(path: str | Path, *, label_order: Sequence[str], pair: bool = False) -> Examples:
    """Synthetic rows in the form of ZeroGen's files (``C``, ``X``, ``Y``) or SunGen's (``idx``, ``text``, ``label``).

    ``label_order``: the label names in the file's index order, which its authors changed from task to task and which
    no file states. ``C``, the context that ``X`` was written for, is the first text of a ``pair``, else left out. Warns
    if, of polarity labels, the texts' own words say the opposite. Raises ``DataError`` naming file and line, and
    ``DataMissing``.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"no such file: {path}")
    if isinstance(label_order, str) or len(set(label_order)) < 2:
        raise DataError(f"label_order must name the labels in the file's index order, got {label_order!r}")
    contexts: list[str] = []
    texts: list[str] = []
    labels: list[int] = []
    for number, row in _rows(path):
        text, label = ("X", "Y") if "Y" in row else ("text", "label")
        if pair:
            contexts.append(_text(path, number, row, "C"))
        texts.append(_text(path, number, row, text))
        labels.append(_label(path, number, {"label": row.get(label)}, label_order))
    if not texts:
        raise DataError(f"{path}: no rows; expected one JSON object a line")
    data = examples(contexts, labels, label_order, texts) if pair else examples(texts, labels, label_order)
    _warn_if_inverted(path, data)
    return data


def _warn_if_inverted(path: Path, data: Examples) -> None:
    if set(data.label_names) != {"negative", "positive"}:
        return
    bodies = data.pairs or data.texts
    words = [set(re.findall(r"[a-z]+", text.lower())) for text in bodies]
    tone = np.array([len(w & _POLAR[1]) - len(w & _POLAR[0]) for w in words])
    positive = data.labels == data.label_names.index("positive")
    telling = tone != 0
    agree = float(((tone > 0) == positive)[telling].mean()) if telling.any() else 1.0
    if telling.sum() >= 20 and agree < 0.4:
        warnings.warn(
            f"{path}: only {agree:.0%} of {telling.sum()} telling texts fit their labels; is label_order "
            f"{list(data.label_names)} the wrong way round?",
            stacklevel=3,
        )
