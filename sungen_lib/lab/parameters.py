"""A notebook's parameters: types that check them, and one sentence for a value that cannot be used."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from sungen_lib.lab.profiles import PROFILES, Profile
from sungen_lib.storage import inside, writable
from sungen_lib.texts import files, plms, served, tasks
from sungen_lib.texts.examples import OneSentence

T = TypeVar("T")
# Names in parameters, and in tables (``Experiment.title``, which knows other encoders).
TAMS = {"lstm": "LSTM", "distilbert": "DistilBERT", "bag": "bag", "frozen": "frozen"}


class ParameterError(OneSentence, ValueError):
    """A notebook parameter that cannot be used; one sentence that names it and the remedy."""


# --- building blocks ------------------------------------------------------------------------------------------------


def must(requirement: str) -> Any:
    """Words for a type: whatever is wrong with a value of it, ``NAME must REQUIREMENT, got VALUE``."""

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] in ("must", "says") and first["msg"] != "-":  # it has words of its own
                raise
            raise PydanticCustomError("must", "must {requirement}", {"requirement": requirement}) from None

    return WrapValidator(check)


def says(check: Callable[[T], str | None]) -> Any:
    """A further check: ``check(value)`` is what is wrong with it, a sentence, or ``None``."""

    def checked(value: T) -> T:
        wrong = check(value)
        if wrong is not None:
            raise PydanticCustomError("says", "{wrong}", {"wrong": wrong})
        return value

    return AfterValidator(checked)


def one_of(known: Iterable[str]) -> Any:
    """A string among ``known``."""
    names = tuple(known)
    return Annotated[StrictStr, says(lambda v: None if v in names else "-"), must(f"be one of {', '.join(names)}")]


def several(item: Any, example: str) -> Any:
    """A list with one or more different items; as text, a JSON list, which is how ``papermill -p`` passes one."""
    items = Annotated[tuple[item, ...], Field(min_length=1), AfterValidator(lambda v: tuple(dict.fromkeys(v)))]
    return Annotated[items, BeforeValidator(_json_list), must(f"be a list such as {example}")]


def _json_list(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):
            return json.loads(value)
    return value


PositiveInteger = Annotated[StrictInt, Field(gt=0), must("be a positive integer")]
Seed = Annotated[StrictInt, Field(ge=0), must("be a whole number from 0")]
PositiveNumber = Annotated[StrictInt | StrictFloat, Field(gt=0), must("be a positive number")]
PositiveIntegers = several(PositiveInteger, "[1, 2, 3]")
PositiveNumbers = several(PositiveNumber, "[0.01, 1]")
Share = Annotated[StrictFloat, Field(gt=0, lt=1), must("be a number between 0 and 1")]
Name = Annotated[StrictStr, Field(min_length=1), must("be a name")]
_text = BeforeValidator(lambda v: str(v) if type(v) is int else v)  # names that look like numbers arrive as numbers
Column = Annotated[StrictStr, Field(min_length=1), _text, must("name a column")]
YesOrNo = Annotated[StrictBool, must("be True or False")]
Names = Annotated[
    tuple[Name, ...],
    Field(min_length=2),
    says(lambda v: "-" if len(set(v)) < len(v) else None),
    BeforeValidator(_json_list),
    must('be a list of different names such as ["negative", "positive"]'),
]
Odd = Annotated[StrictInt, Field(ge=3), says(lambda v: None if v % 2 else "-"), must("be odd and at least 3")]
TwoOrMore = Annotated[StrictInt, Field(ge=2), must("be two or more: texts are compared with one another")]
ShareOfAll = Annotated[StrictFloat, Field(gt=0, le=1), must("be above 0 and at most 1, such as 0.01")]
NoiseRate = Annotated[
    StrictFloat, Field(gt=0, lt=1 / 3), must("be above 0 and below 1/3, or class-dependent noise has the majority")
]


# --- what the suite reads and writes ----------------------------------------------------------------------------------


def _looks_like_a_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or (text.count("/") > 1 and not served.is_address(text))


def _model(value: str) -> str:
    """A hub id as it is; of a folder the path and a hash of its content, so that a changed one is another model."""
    folder = Path(value)
    if not folder.is_dir():
        if _looks_like_a_path(value):
            raise PydanticCustomError("says", "{wrong}", {"wrong": f"there is no folder {value!r}"})
        return value
    if not (folder / "config.json").is_file():
        wrong = f"{value!r} holds no config.json: save a model and its tokenizer there"
        raise PydanticCustomError("says", "{wrong}", {"wrong": wrong})
    return f"{folder.absolute()}@{plms.content_hash(folder)}"


def _file_or_hub(value: str) -> str:
    """A file's absolute path, or a data set on the hub or in a folder."""
    path, suffix, wrong = Path(value), files.suffix(value), None
    if suffix and not path.is_file():
        wrong = f"no such file: {path.absolute()}"
    elif path.is_file() and not suffix:
        wrong = f"{value!r} must end in one of {', '.join(files.SUFFIXES)}"
    elif not path.exists() and _looks_like_a_path(value):
        wrong = f"no such file or folder: {value}"
    if wrong:
        raise PydanticCustomError("says", "{wrong}", {"wrong": wrong})
    return str(path.absolute()) if suffix else value


def _classifiers(value: dict[str, str]) -> str | None:
    unknown = [task for task in value if task not in tasks.TASKS]
    if unknown:
        return f"unknown task {unknown[0]!r}"
    missing = [path for path in value.values() if not Path(path).is_dir() and path.startswith(("/", ".", "~"))]
    return f"no such folder: {missing[0]}" if missing else None


Model = Annotated[StrictStr, Field(min_length=1), AfterValidator(_model), must("be a hub id or a folder with a model")]
FileOrHub = Annotated[
    StrictStr,
    Field(min_length=1),
    AfterValidator(_file_or_hub),
    must(f"be a file ({', '.join(files.SUFFIXES)}) or a hub data set id"),
]
Folder = Annotated[
    StrictStr,
    says(lambda v: None if Path(v).is_dir() else "-"),
    AfterValidator(lambda v: str(Path(v).absolute())),
    must("be a folder"),
]
Classifiers = Annotated[
    dict[StrictStr, StrictStr], says(_classifiers), must('be paths by task such as {"imdb": "a folder"}')
]
OutputFolder = Annotated[
    StrictStr,
    Field(min_length=1),
    says(lambda v: None if Path(v).is_dir() or not Path(v).exists() else "-"),
    must("be a folder to write to, existing or not"),
]


class Parameters(BaseModel):
    """The parameters that every notebook has; a notebook's further ones are added by ``checked``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: one_of(PROFILES)  # type: ignore[valid-type]
    tasks: several(Name, "[imdb]") | None = None  # type: ignore[valid-type]
    tams: several(one_of(TAMS), "[lstm]") | None = None  # type: ignore[valid-type]
    seeds: PositiveIntegers | None = None  # type: ignore[valid-type]
    data_dir: Folder | None = None
    plm: Model | None = None
    encoder: Model | None = None
    device: one_of(("auto", "cpu", "cuda")) = "auto"  # type: ignore[valid-type]
    out: OutputFolder = "../runs/tables"


def checked(namespace: Mapping[str, Any], extras: Mapping[str, Any]) -> Parameters:
    """The parameters among a notebook's ``globals()``; ``extras`` are the types of those that only it has.

    Raises ``ParameterError``, one sentence.
    """
    further: dict[str, Any] = {name: (kind, ...) for name, kind in extras.items()}
    model = create_model("NotebookParameters", __base__=Parameters, **further)
    names = _given(namespace) | (set(model.model_fields) & set(namespace))
    try:
        return model(**{name: namespace[name] for name in names})
    except ValidationError as error:
        raise ParameterError(_sentence(error, list(model.model_fields))) from None


def _sentence(error: ValidationError, known: Sequence[str]) -> str:
    """pydantic's first error as one sentence."""
    found = error.errors(include_url=False)[0]
    name, *inside = found["loc"]
    if found["type"] == "extra_forbidden":
        return f"unknown parameter {name!r}; this notebook knows {', '.join(known)}"
    where = f"each of {name}" if inside else str(name)
    if found["type"] == "must":
        return f"{where} {found['msg']}, got {found['input']!r}"
    return f"{where}: {found['msg']}"


def _given(namespace: Mapping[str, Any]) -> set[str]:
    """The names that the parameters cell, or the one that papermill injects below it, assigns to.

    papermill only warns of unknown ones. ``In`` has each cell's source; without a kernel every plain value counts.
    """
    if "In" not in namespace:
        plain = (str, int, float, bool, list, dict, tuple, type(None))
        return {name for name, value in namespace.items() if not name.startswith("_") and isinstance(value, plain)}
    names: set[str] = set()
    for source in reversed(namespace["In"][:-1]):
        assigned = _assigned(source)
        if assigned is None:
            break
        names |= assigned
    return names


def _assigned(source: str) -> set[str] | None:
    """The names that a cell assigns to, if it does nothing else."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic command
        return None
    if not statements or not all(isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) for s in statements):
        return None
    return {s.targets[0].id for s in statements}  # type: ignore[attr-defined]


# --- what depends on one another --------------------------------------------------------------------------------------


def device(parameters: Parameters, profile: Profile) -> str:
    """``cpu`` or ``cuda``; the demonstration is the same everywhere, so "auto" leaves it on the CPU."""
    if parameters.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device is 'cuda' but torch finds no CUDA device; use 'cpu' or 'auto'")
    if parameters.device == "auto":
        return "cpu" if profile.demo else plms.fastest_device()
    return str(parameters.device)


def data_dir(parameters: Parameters, profile: Profile) -> str | None:
    """The data folder; ``ParameterError`` for a profile that needs one and has none, or reads none and has one."""
    if parameters.data_dir is None and profile.source == "folder":
        raise ParameterError(f"profile {profile.name!r} reads real data from a folder: give data_dir")
    if parameters.data_dir is not None and profile.demo:
        raise ParameterError(f"profile {profile.name!r} reads no data: leave data_dir out, or take profile small")
    return parameters.data_dir


def output_folder(parameters: Parameters) -> Path:
    """Where tables and figures go; ``ParameterError`` where no files can be written, or among the data."""
    if parameters.data_dir is not None and inside(Path(parameters.out) / parameters.profile, parameters.data_dir):
        raise ParameterError(f"out: tables would go among the data, to {parameters.out!r}; name another folder")
    if not writable(parameters.out):
        raise ParameterError(f"out: no files can be written to {parameters.out!r}; name another folder")
    return Path(parameters.out).absolute()


def task_names(parameters: Parameters, default: Sequence[str]) -> tuple[str, ...]:
    """Names of tasks of ``default``'s kinds, and absolute paths of the YAML files that describe user tasks."""
    known = [task for kind in (tasks.CLASSIFICATION, tasks.PAIRS) if set(default) & set(kind) for task in kind]
    check = partial(_task_name, known=known)
    return tuple(dict.fromkeys(map(check, parameters.tasks or default)))


def _task_name(name: str, known: Sequence[str]) -> str:
    if tasks.is_file(name):
        try:
            tasks.get(name)
        except ValueError as error:
            raise ParameterError(f"tasks: {error}") from None
        return str(Path(name).absolute())
    if name not in known:
        raise ParameterError(f"each of tasks must be one of {', '.join(known)}, got {name!r}")
    return name
