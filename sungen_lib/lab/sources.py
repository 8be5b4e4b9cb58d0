"""The rows that a ``Gold`` or ``Synthetic`` spec names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from sungen_lib import embedded
from sungen_lib.lab.specs import Data, Gold, Synthetic, identify
from sungen_lib.lab.store import folder
from sungen_lib.storage import store_root
from sungen_lib.texts import data_folder, hub, jsonl, noise, tasks
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.texts.noise import class_noise, uniform_noise

NOISES: dict[str, Callable[[float, int], np.ndarray]] = {"uniform": uniform_noise, "class": class_noise}
TEXTS_SEED = 0  # texts stay fixed across seeds


@lru_cache(maxsize=8)
def load(spec: Data, data_dir: str | None = None) -> Examples:
    """The rows a ``Gold`` or ``Synthetic`` spec names; generated texts must be in the store already."""
    if isinstance(spec, Gold) and spec.noise is not None:
        clean = load(replace(spec, noise=None, noise_rate=0.0), data_dir)
        transition = NOISES[spec.noise](spec.noise_rate, len(clean.label_names))
        return noise.with_noise(clean, transition, seed=TEXTS_SEED)
    if isinstance(spec, Gold) and spec.source == "embedded":
        assert spec.rows is not None
        return embedded.gold(spec.task, spec.split, spec.rows)
    task = tasks.get(spec.task)
    if isinstance(spec, Synthetic) and spec.source != "folder":
        return jsonl.read_jsonl(folder(identify(spec)) / "synthetic.jsonl", task.labels)
    if isinstance(spec, Gold) and task.files:
        path = dict(task.files)[spec.split]
        own = data_folder.fitting(jsonl.read_jsonl(path, task.labels), spec.task, path)
        _refuse_changed(spec, file_fingerprint(path, spec.task), path)
        return _some(own, spec.rows)
    from_hub = spec.source == "hub" and data_dir is None  # its fingerprint is a name there, not a file's hash
    if from_hub:
        data_dir = str(store_root() / "hub")
        hub.fetch(spec.task, data_dir)
    if data_dir is None:
        raise DataMissing(f"no data folder given: {spec.task} is read from one at this profile (data_dir)")
    source = data_folder.GOLD if isinstance(spec, Gold) else spec.plm
    split = spec.split if isinstance(spec, Gold) else "train"
    everything = data_folder.load(data_dir, spec.task, source, split)
    path = data_folder.locate(data_dir, spec.task, source, split)
    if not from_hub:
        _refuse_changed(spec, folder_fingerprint(data_dir, spec.task, source, split), path)
    if isinstance(spec, Gold):
        return _some(everything, spec.rows)
    needed = spec.start + spec.rows
    if len(everything) < needed:
        raise DataMissing(f"{path}: {needed:,} rows are needed, there are {len(everything):,}; add rows")
    return _some(everything, spec.rows, start=spec.start)


def file_fingerprint(path: Path, task: str) -> str:
    """What names a set of rows that is read from ``path``: its hash, and that of a user-defined task's file."""
    return " ".join(map(file_hash, [path, Path(task)] if tasks.is_file(task) else [path]))


def folder_fingerprint(data_dir: str, task: str, source: str, split: str) -> str:
    """The same for a set of the data folder; label names in another order than the task's count, too."""
    found = file_fingerprint(data_folder.locate(data_dir, task, source, split), task)
    names = data_folder.label_names(data_dir, task)
    return found if names == tasks.get(task).labels else f"{found} {'/'.join(names)}"


def file_hash(path: Path) -> str:
    """A hash of the file's content."""
    about = path.stat()
    return _file_hash(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _refuse_changed(spec: Data, fingerprint: str, path: Path) -> None:
    """After reading: a file replaced since its set was named would give a record of other data than its id says."""
    if spec.fingerprint != fingerprint:
        raise DataError(f"{path} has changed since this run was planned: start again")


def _some(everything: Examples, rows: int | None, *, start: int = 0) -> Examples:
    """``rows`` rows of a random order, from position ``start``; ``None``: all, in their order."""
    if rows is None:
        return everything
    return everything.select(np.random.default_rng(TEXTS_SEED).permutation(len(everything))[start : start + rows])
