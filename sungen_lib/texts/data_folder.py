"""Gold and synthetic sets from a data folder.

It is laid out ``<data>/<task>/<source>/<split>.jsonl[.xz|.gz]`` with ``<data>/<task>/labels.json``, the label names in
index order. ``source`` is ``std`` for human-labelled (gold) data, else the PLM that wrote the texts.
"""

from __future__ import annotations

import json
from pathlib import Path

from sungen_lib.texts import tasks
from sungen_lib.texts.examples import DataError, DataMissing, Examples, renumbered, two_classes
from sungen_lib.texts.jsonl import SUFFIXES, fetched, read_jsonl

GOLD = "std"


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
        names = json.loads(fetched(path).read_text(encoding="utf-8-sig"))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not a JSON list of label names ({error})") from None
    found = tuple(map(str, names)) if isinstance(names, list) else ()
    if sorted(found) != sorted(expected):
        raise DataError(f"{path}: label names {names} are not those of {task}: {list(expected)}")
    return found


def load(data_dir: str | Path, task: str, source: str, split: str) -> Examples:
    """One split from a data folder, with labels in the index order of ``tasks.py`` whatever the file's order."""
    names, expected = label_names(data_dir, task), tasks.get(task).labels
    path = locate(data_dir, task, source, split)
    data = fitting(read_jsonl(path, names), task, path)
    return renumbered(data, expected)


def fitting(data: Examples, task: str, path: Path) -> Examples:
    """``data`` of the file ``path``, if the task can be learned or tested on it; else ``DataError`` naming the file."""
    if (data.pairs is not None) != tasks.get(task).pair:
        found = "single texts" if data.pairs is None else "pairs"
        raise DataError(f"{path}: {found} do not fit {task}")
    return two_classes(data, str(path))
