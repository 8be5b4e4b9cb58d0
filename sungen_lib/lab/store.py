"""Finished results, one folder a spec: the files it produced and, written last, ``record.json``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from sungen_lib import show
from sungen_lib.lab.specs import Spec, identify
from sungen_lib.storage import Damaged, locked, read_sealed, store_root, unless_damaged, write_sealed


@dataclass(frozen=True, repr=False)
class Record:
    """The stored result of a finished spec.

    ``metrics``: plain numbers and curves; ``diverged``: the reason if training diverged, else ``None``;
    ``files``: SHA-256 of each file beside the record.
    """

    id: str
    stage: str
    spec: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    device: str
    versions: dict[str, str]
    commit: str
    diverged: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{name} {value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        """The same as a table."""
        return show.table(["record", self.id], self._facts().items())

    def _facts(self) -> dict[str, str]:
        """The facts to show to a reader."""
        rows = self.spec.get("test") or self.spec.get("train") or self.spec
        facts = {"stage": self.stage, "method": self.spec.get("method"), "task": rows.get("task"), "seed": self.seed}
        if self.diverged:
            facts["diverged"] = self.diverged
        elif "accuracy" in self.metrics:
            facts["test accuracy"] = f"{self.accuracy:.2f} %"
        facts["took"] = f"{self.seconds:.1f} s"
        return {name: str(value) for name, value in facts.items() if value is not None}

    @property
    def seed(self) -> int | None:
        """The run's seed; ``None`` where nothing is random: for prompting, and the linear model on given rows."""
        fixed = self.stage == "run" and self.spec["tam"] is None and self.spec["selection"] == "first"
        return None if fixed else self.spec.get("seed")

    @property
    def folder(self) -> Path:
        """Where the record and its files are."""
        return folder(self.id)

    @property
    def accuracy(self) -> float:
        """Test accuracy in percent; NaN if the run diverged."""
        return float("nan") if self.diverged else 100 * self.metrics["accuracy"]

    def correct(self) -> np.ndarray:
        """(items,) bool: which test items were predicted correctly."""
        return load_file(self.folder / "correct.safetensors")["correct"].astype(bool)


def folder(spec_id: str) -> Path:
    """The folder of one spec."""
    return store_root() / spec_id[:2] / spec_id


def find(spec: Spec) -> Record | None:
    """The finished record of ``spec``; one whose files are damaged is set aside and counts as missing."""
    return record_of(identify(spec))


def record_of(spec_id: str) -> Record | None:
    """``find``, by the id."""
    place = folder(spec_id)
    try:
        return _read(place)
    except Damaged:
        with exclusively(place):  # not while another process computes it again
            return sound(place)


def _read(place: Path) -> Record | None:
    """The record there, if any; raises ``Damaged``."""
    path = place / "record.json"
    if not path.exists():
        return None
    try:
        record = Record(**read_sealed(path))
        damaged = [name for name, digest in record.files.items() if _digest(place / name) != digest]
    except (TypeError, FileNotFoundError, IsADirectoryError) as error:  # other OSErrors say nothing about the content
        raise Damaged(f"{path} cannot be read ({error})") from None
    if record.id != place.name:
        raise Damaged(f"{path} is the record of {record.id}")
    if damaged:
        raise Damaged(f"{', '.join(damaged)} does not match its record")
    return record


def sound(place: Path) -> Record | None:
    """The record there; a damaged one is set aside. Call it within ``exclusively``."""
    return unless_damaged(_read, place)


@contextmanager
def exclusively(place: Path) -> Iterator[None]:
    """Let only one process compute a spec; others wait and then find it finished."""
    with locked(store_root() / "locks" / place.name):
        yield


def prepare(place: Path) -> None:
    """An empty folder for a result, or what a killed process left of one, without its temporary files."""
    place.mkdir(parents=True, exist_ok=True)
    for left in place.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def keep(record: Record) -> Record:
    """Write ``record``, with a hash of each file beside it; return it as stored."""
    files = {path.name: _digest(path) for path in sorted(record.folder.glob("[!.]*")) if _is_result(path)}
    record = replace(record, files=files)
    write_sealed(record.folder / "record.json", asdict(record))
    return record


def _is_result(path: Path) -> bool:
    return path.is_file() and ".damaged-" not in path.name  # ``set_aside`` leaves such files


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
