"""Gold data from the Hugging Face hub, converted once into a data folder (``data_folder.py`` has its layout)."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sungen_lib import storage
from sungen_lib.texts import data_folder, examples, jsonl, tasks
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.texts.tasks import Hub

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "test")
LABEL = "label"  # what all of the paper's data sets call that column


def fetch(task: str, data_dir: str | Path) -> None:
    """Download the task's gold splits and write them, and its label names, under ``data_dir``.

    A split that is there already is left alone. Raises ``DataMissing`` if the data set cannot be reached, ``DataError``
    if its columns or label names are not those expected or a split is empty; nothing is half written.
    """
    folder = Path(data_dir) / task
    for split in SPLITS:
        target = folder / data_folder.GOLD / f"{split}.jsonl.gz"
        if not target.is_file():
            with _download(task, split, target.parent) as rows:
                jsonl.write_jsonl(target, _convert(task, rows))
    if not (folder / "labels.json").is_file():
        storage.write_text(folder / "labels.json", json.dumps(tasks.get(task).labels) + "\n")


def _home(task: str) -> Hub:
    hub = tasks.get(task).hub
    if hub is None:
        raise DataMissing(f"{task}: the file names no gold rows for this split; give it train and test, JSONL files")
    return hub


@contextmanager
def _download(task: str, split: str, scratch: Path) -> Iterator[Dataset]:
    hub = _home(task)
    remedy = f"go online, or put gold data for {task} into a data folder and name it (data_dir)"
    wanted = hub.train if split == "train" else hub.test
    with _load(hub.path, hub.config, wanted, task, remedy, scratch) as rows:
        yield rows


def fetch_file(path: str, split: str, target: str | Path) -> None:
    """Write a split of the data set ``path``, a hub id or a local folder in the hub's format, to a Parquet file, unless
    that is there already: of a folder that may change, name it by ``storage.content_hash``.

    Its label names go along, in the file's schema. Raises as ``fetch`` does.
    """
    target = Path(target)
    if not target.is_file():
        rows = _load(path, None, split, path, "go online, or name a file", target.parent)
        with rows as found, storage.atomic_path(target) as temporary:
            found.to_parquet(temporary)


@contextmanager
def _load(path: str, config: str | None, split: str, name: str, remedy: str, scratch: Path) -> Iterator[Dataset]:
    """The split; whatever is wrong with it is one sentence.

    A local folder is read anew each time, by way of a folder in ``scratch``: a cache could be of an earlier state.
    """
    if not Path(path).is_dir():
        yield _explained(path, config, split, name, remedy, None)
        return
    for file in Path(path).rglob("*"):
        if file.is_file():
            jsonl.fetched(file)
    if any((Path(path) / about).is_file() for about in ("state.json", "dataset_dict.json")):
        yield _from_disk(path, split)
        return
    existing = next(place for place in (scratch, *scratch.parents) if place.is_dir())
    with tempfile.TemporaryDirectory(dir=existing, prefix=".reading-", ignore_cleanup_errors=True) as cache:
        yield _explained(path, config, split, name, remedy, cache)


def _explained(path: str, config: str | None, split: str, name: str, remedy: str, cache: str | None) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    try:
        return load_dataset(path, config, split=split, cache_dir=cache)
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError, PermissionError) as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
            sentence = f"the cache of datasets takes no files ({error}); set HF_DATASETS_CACHE to a folder that does"
            raise DataError(f"{path}: {sentence}") from None
        if Path(path).is_dir():
            raise DataMissing(
                f"{path} holds no data files (CSV, JSONL, Parquet or the like); name a folder that does"
            ) from None
        raise DataMissing(f"{name}: the hub's {path!r} cannot be reached ({_first_line(error)}); {remedy}") from None
    except DatasetGenerationError as error:
        raise DataError(f"{path}: {_of_its_files(error)}") from None
    except RuntimeError as error:  # a script, which datasets no longer runs
        found = re.search(r"found (\S+\.py)", str(error))
        reason = f"is made by {found[1]}, which is not run" if found else f"cannot be read ({_first_line(error)})"
        raise DataError(f"{path} {reason}; name one of its data files") from None
    except ValueError as error:  # an unknown configuration or split
        wanted = f"{split!r} of {config or 'the default configuration'}"
        raise DataError(f"{path}: the split {wanted} is not there or empty ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _of_its_files(error: Exception) -> str:
    """What is wrong with the files of a data set: ``datasets`` says it in ten lines, or only in the error's cause."""
    text = str(error)
    columns = re.search(r"there (?:is|are) (.+)", text)
    if columns is None:
        return f"cannot be read ({_first_line(error.__cause__ or error)}); mend its files, or name the right one itself"
    file = re.search(r"^(/[^,]+|hf://[^,]+)", text, re.MULTILINE)
    name = Path(file[0]).name if file else "one of them"
    return f"its files differ in columns, {name} has {columns[1]}; name the file that you mean itself (FOLDER/{name})"


def _from_disk(path: str, split: str) -> Dataset:
    """A split of what ``save_to_disk`` wrote; a data set without splits is its training rows."""
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: what save_to_disk wrote there cannot be read ({_first_line(error)})") from None
    splits = dict(found) if isinstance(found, DatasetDict) else {"train": found}
    if split not in splits:
        raise DataError(f"{path}: there is no split {split!r}, only {', '.join(splits)}; name a file")
    return splits[split]


def _convert(task: str, rows: Dataset) -> Examples:
    hub, labels = _home(task), tasks.get(task).labels
    missing = [column for column in (*hub.text, LABEL) if column not in rows.column_names]
    if missing:
        raise DataError(f"{hub.path}: no column {', '.join(missing)}; it has {', '.join(rows.column_names)}")
    _assert_labels(task, rows)
    first, *others = ([text.strip() for text in rows[column]] for column in hub.text)
    if tasks.get(task).pair:
        return examples.Examples.of(first, rows[LABEL], labels, others[0])
    return examples.Examples.of(_joined(first, *others), rows[LABEL], labels)


def _joined(*columns: Iterable[str]) -> list[str]:
    """A title and its text as one."""
    return [" ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


def _assert_labels(task: str, rows: Dataset) -> None:
    """Label orders differ between sources: the names are compared in index order, never assumed."""
    from datasets import ClassLabel

    hub = _home(task)
    feature = rows.features[LABEL]
    if isinstance(feature, ClassLabel):
        names = tuple(feature.names)
    elif "label_text" in rows.column_names:
        found = dict(zip(rows[LABEL], rows["label_text"], strict=True))
        names = tuple(found[index] for index in sorted(found))
    else:
        raise DataError(f"{hub.path}: its labels have no names (neither ClassLabel nor label_text)")
    if names != hub.labels:
        raise DataError(f"{hub.path}: labels are {', '.join(names)} in index order, not {', '.join(hub.labels)}")
