"""A notebook's parameters: each is checked, and a bad one ends in a sentence that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sungen_lib.lab.profiles import Profile
from sungen_lib.storage import writable
from sungen_lib.texts import tasks


class ParameterError(ValueError):
    """A notebook parameter that cannot be used; one sentence naming it and the remedy."""


def _one_of(name: str, value: object, known: Sequence[str]) -> str:
    if value not in known:
        raise ParameterError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return str(value)


def _some_of(name: str, value: object, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    if value is None:
        return tuple(default)
    if not isinstance(value, (list, tuple)) or not value:
        raise ParameterError(f"{name} must be None or a list such as [{known[0]}], got {value!r}")
    return tuple(dict.fromkeys(_one_of(f"each of {name}", item, known) for item in value))


def _tasks_or_files(value: object, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Names of tasks, and absolute paths of the YAML files of own ones."""
    items = list(value) if isinstance(value, (list, tuple)) else []
    files = [item for item in items if isinstance(item, str) and tasks.is_file(item)]
    names = [item for item in items if item not in files]
    if names or not files:
        names = list(_some_of("tasks", names or value, known, default))
    for file in files:
        try:
            tasks.get(file)
        except ValueError as error:
            raise ParameterError(f"tasks: {error}") from None
    return tuple(dict.fromkeys([*names, *(str(Path(file).absolute()) for file in files)]))


def _model_or_none(name: str, value: object) -> str | None:
    """A hub id, or the absolute path of a folder with what it holds now: another content is another model."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{name} must be a hub id or a folder with a model, got {value!r}")
    folder = Path(value)
    if not folder.is_dir():
        if value.startswith((".", "/", "~")) or value.count("/") > 1:
            raise ParameterError(f"{name} {value!r} is no folder")
        return value
    if not (folder / "config.json").is_file():
        raise ParameterError(f"{name} {value!r} holds no config.json: save a model and its tokenizer there")
    return f"{folder.absolute()}@{_folder_hash(folder)}"


def _folder_hash(folder: Path) -> str:
    """Of its files' names, sizes and times of change: weights are too large to be read for this."""
    files = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir()) if f.is_file()]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:12]


def positive_integer(name: str, value: object) -> int:
    """``value`` if it is an integer above 0, else ``ParameterError``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ParameterError(f"{name} must be a positive integer, got {value!r}")
    return value


def optional_positive_integer(name: str, value: object) -> int | None:
    """An integer above 0, or ``None``; else ``ParameterError``."""
    return None if value is None else positive_integer(name, value)


def share(name: str, value: object) -> float:
    """A number above 0 and below 1, else ``ParameterError``."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise ParameterError(f"{name} must be a number between 0 and 1, got {value!r}")
    return value


def positive_numbers(name: str, value: object) -> tuple[float, ...]:
    """One or more numbers above 0, else ``ParameterError``."""
    if not isinstance(value, (list, tuple)) or not value or not all(type(v) in (int, float) and v > 0 for v in value):
        raise ParameterError(f"{name} must be a list of positive numbers such as [0.01, 1], got {value!r}")
    return tuple(map(float, value))


def positive_integers(name: str, value: object) -> tuple[int, ...] | None:
    """Distinct integers above 0, or ``None``; else ``ParameterError``."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise ParameterError(f"{name} must be None or a list of integers such as [1, 2, 3], got {value!r}")
    return tuple(dict.fromkeys(positive_integer(f"each of {name}", item) for item in value))


def _device(value: object, profile: Profile) -> str:
    name = _one_of("device", value, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device is 'cuda' but torch finds no CUDA device; use 'cpu' or 'auto'")
    if name == "auto":  # the demonstration is the same everywhere, so it stays on the CPU
        return "cuda" if torch.cuda.is_available() and not profile.demo else "cpu"
    return name


def _data_dir(value: object, profile: Profile) -> str | None:
    if value is None:
        if profile.source == "folder":
            raise ParameterError(f"profile {profile.name!r} reads real data from a folder: give data_dir")
        return None
    if not isinstance(value, str) or not Path(value).is_dir():
        raise ParameterError(f"data_dir {value!r} is not a folder")
    if profile.demo:
        raise ParameterError(f"profile {profile.name!r} reads no data: leave data_dir out, or take profile small")
    return str(Path(value).absolute())


def _out(value: object) -> Path:
    if value is None:
        return Path("../tables").absolute()
    if not isinstance(value, str) or not value or (Path(value).exists() and not Path(value).is_dir()):
        raise ParameterError(f"out must be a folder to write to, existing or not, got {value!r}")
    if not writable(value):
        raise ParameterError(f"out: no files can be written to {value!r}; name another folder")
    return Path(value).absolute()


def _only_known(parameters: Mapping[str, Any], known: Sequence[str]) -> None:
    """papermill injects unknown parameters with no more than a warning: look for them among the notebook's names."""
    literals = (str, int, float, bool, list, dict, tuple, type(None))
    for name, value in parameters.items():
        if not name.startswith("_") and name not in ("In", "Out", *known) and isinstance(value, literals):
            raise ParameterError(f"unknown parameter {name!r}; this notebook knows {', '.join(known)}")
