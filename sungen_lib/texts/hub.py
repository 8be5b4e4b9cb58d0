"""Gold data from the Hugging Face hub, converted once into a data folder (``data.py`` has its layout)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sungen_lib import storage
from sungen_lib.texts import data_folder, examples, jsonl, tasks
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.texts.tasks import Hub

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "test")


def fetch(task: str, data_dir: str | Path, *, source: str | None = None) -> None:
    """Download the task's gold splits and write them, and its label names, under ``data_dir``.

    A split that is there already is left alone. ``source``: another hub id, or a local folder in the hub's format,
    instead of the one in ``tasks.py``. Raises ``DataMissing`` if the data set cannot be reached, ``DataError`` if its
    columns or label names are not those expected or a split is empty; nothing is half written.
    """
    folder = Path(data_dir) / task
    for split in SPLITS:
        target = folder / data_folder.GOLD / f"{split}.jsonl.gz"
        if not target.is_file():
            jsonl.write_jsonl(target, _convert(task, _download(task, split, source)))
    if not (folder / "labels.json").is_file():
        storage.write_text(folder / "labels.json", json.dumps(tasks.get(task).labels) + "\n")


def _home(task: str) -> Hub:
    hub = tasks.get(task).hub
    if hub is None:
        raise DataMissing(f"{task}: the file names no gold rows for this split; give it train and test, JSONL files")
    return hub


def _download(task: str, split: str, source: str | None) -> Dataset:
    hub = _home(task)
    remedy = f"go online, or put gold data for {task} into a data folder and name it (data_dir)"
    return _load(source or hub.path, hub.config, hub.train if split == "train" else hub.test, task, remedy)


def fetch_file(path: str, split: str, target: str | Path) -> None:
    """Write a split of the data set ``path``, a hub id or a local folder in the hub's format, to a Parquet file, unless
    that is there already.

    Its label names go along, in the file's schema. Raises as ``fetch`` does.
    """
    if not Path(target).is_file():
        rows = _load(path, None, split, path, "go online, or name a file")
        with storage.atomic_path(target) as temporary:
            rows.to_parquet(temporary)


def _load(path: str, config: str | None, split: str, name: str, remedy: str) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(path, config, split=split)
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataMissing(f"{name}: the hub's {path!r} cannot be reached ({reason}); {remedy}") from None
    except ValueError as error:  # an unknown configuration or split
        wanted = f"{split!r} of {config or 'the default configuration'}"
        raise DataError(f"{path}: the split {wanted} is not there or empty ({error})") from None


def _convert(task: str, rows: Dataset) -> Examples:
    hub, labels = _home(task), tasks.get(task).labels
    missing = [column for column in (*hub.text, hub.label_column) if column not in rows.column_names]
    if missing:
        raise DataError(f"{hub.path}: no column {', '.join(missing)}; it has {', '.join(rows.column_names)}")
    _assert_labels(task, rows)
    first, *others = ([text.strip() for text in rows[column]] for column in hub.text)
    if tasks.get(task).pair:
        return examples.Examples.of(first, rows[hub.label_column], labels, others[0])
    return examples.Examples.of(_joined(first, *others), rows[hub.label_column], labels)


def _joined(*columns: Iterable[str]) -> list[str]:
    """A title and its text as one."""
    return [" ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


def _assert_labels(task: str, rows: Dataset) -> None:
    """Label orders differ between sources: the names are compared in index order, never assumed."""
    from datasets import ClassLabel

    hub = _home(task)
    feature = rows.features[hub.label_column]
    if isinstance(feature, ClassLabel):
        names = tuple(feature.names)
    elif "label_text" in rows.column_names:
        found = dict(zip(rows[hub.label_column], rows["label_text"], strict=True))
        names = tuple(found[index] for index in sorted(found))
    else:
        raise DataError(f"{hub.path}: its labels have no names (neither ClassLabel nor label_text)")
    if names != hub.labels:
        raise DataError(f"{hub.path}: labels are {', '.join(names)} in index order, not {', '.join(hub.labels)}")
