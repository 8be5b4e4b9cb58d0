"""What the notebook ``your_data`` works with: a file of one's own, weights for it, and what they are worth."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sungen_lib import show
from sungen_lib.encode import MAX_LENGTH
from sungen_lib.fast import limited_threads
from sungen_lib.lab import execution, profiles, sources
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.parameters import ParameterError
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts import examples, files, hub
from sungen_lib.texts.examples import DataError, Examples
from sungen_lib.train import evaluate, fit

SAMPLE = "imdb"  # the task of the embedded sample


def file_or_hub(name: str, value: object) -> str | None:
    """The absolute path of a file, or a data set on the hub or in a folder; ``None``; else ``ParameterError``."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{name} must be a file ({', '.join(files.SUFFIXES)}) or a hub data set id, got {value!r}")
    if Path(value).is_file() or files.suffix(value):
        if not Path(value).is_file():
            raise ParameterError(f"{name}: no such file: {Path(value).absolute()}")
        if not files.suffix(value):
            raise ParameterError(f"{name} {value!r} must end in one of {', '.join(files.SUFFIXES)}")
        return str(Path(value).absolute())
    if not Path(value).is_dir() and (value.startswith((".", "/", "~")) or value.count("/") > 1):
        raise ParameterError(f"{name}: no such file or folder: {value}")
    return value


def label_names(name: str, value: object) -> tuple[str, ...] | None:
    """Two or more different names, or ``None``; else ``ParameterError``."""
    if value is None:
        return None
    texts = isinstance(value, (list, tuple)) and all(isinstance(item, str) and item for item in value)
    if not isinstance(value, (list, tuple)) or not texts or len(set(value)) < max(2, len(value)):
        raise ParameterError(f'{name} must be None or different names such as ["negative", "positive"], got {value!r}')
    return tuple(value)


def yes_or_no(name: str, value: object) -> bool:
    """``True`` or ``False``; else ``ParameterError``."""
    if not isinstance(value, bool):
        raise ParameterError(f"{name} must be True or False, got {value!r}")
    return value


def column(name: str, value: object) -> str:
    """The name of a column; else ``ParameterError``."""
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{name} must be the name of a column, got {value!r}")
    return value


def folder(experiment: Experiment) -> Path:
    """Where the results go: in ``out``, under the name of the data."""
    source, profile = experiment.extras["data"], experiment.profile.name
    if source is None:
        return experiment.out / (experiment.name if profile == "embedded" else f"{experiment.name}-{profile}")
    name = Path(source).name
    return experiment.out / name.removesuffix(files.suffix(name) or "")


def locate(experiment: Experiment) -> tuple[Path, str | None]:
    """The file to learn weights of, and what to test on, as ``read_test`` takes it.

    From the hub comes a Parquet file, into ``folder``. Without ``data`` it is a sample of the embedded world, as CSV.
    """
    source, test = experiment.extras["data"], experiment.extras["test"]
    if source is None:
        return _sample(experiment)
    given = [Path(path).absolute().parent for path in (source, test) if path and files.suffix(path)]
    if folder(experiment) in given:
        raise ParameterError(f"out: results would go among the data, to {folder(experiment)}; name another folder")
    return (Path(source) if files.suffix(source) else _fetched(experiment, source, "train")), test


def _fetched(experiment: Experiment, source: str, split: str) -> Path:
    target = folder(experiment) / f"{re.sub(r'[^0-9A-Za-z._-]+', '--', source).strip('-')}.{split}.parquet"
    hub.fetch_file(source, split, target)
    return target


def _sample(experiment: Experiment) -> tuple[Path, str]:
    profile = experiment.profile if experiment.profile.demo else profiles.get("embedded")
    world = replace(experiment, profile=profile, data_dir=None)
    pool, gold = world.data.synthetic(SAMPLE), world.data.gold(SAMPLE, "test")
    execution.compute(pool)
    paths = folder(experiment) / "sample.csv", folder(experiment) / "sample_test.csv"
    for path, spec in zip(paths, (pool, gold), strict=True):
        files.write_csv(path, sources.load(spec))
    return paths[0], str(paths[1])


def read(experiment: Experiment, path: Path) -> Examples:
    """The rows to learn weights of: two classes or more, and as many rows as ``budget`` asks for."""
    texts = examples.two_classes(_read(experiment, path), path)
    budget = experiment.extras["budget"]
    if budget is not None and budget > len(texts):
        raise ParameterError(f"budget must be at most {len(texts)}, the rows of {path}, got {budget}")
    return texts


def _read(experiment: Experiment, path: Path) -> Examples:
    return files.read(path, **{name: experiment.extras[name] for name in ("labels", "text", "label")})


def read_test(experiment: Experiment, test: str, texts: Examples) -> Examples:
    """The rows to test on, labels numbered as in ``texts``; ``DataError`` for rows of another kind or class."""
    path = Path(test) if files.suffix(test) else _fetched(experiment, test, "test")
    found = _read(experiment, path)
    unknown = [name for name in found.label_names if name not in texts.label_names]
    if unknown:
        raise DataError(f"{path}: label {unknown[0]!r} is none of the training file's: {', '.join(texts.label_names)}")
    if (found.pairs is None) != (texts.pairs is None):
        raise DataError(f"{path}: pairs go with pairs only; test on rows like the training file's")
    return examples.renumbered(found, texts.label_names)


# As in every run of the suite: more threads could change the last bits, and on a busy machine they wait for one
# another, which makes a small LSTM many times slower.
THREADS = 1
# Training steps in the inner loop, at least. A TAM that has made too few knows only which label is the more frequent,
# and so do the weights it steers.
STEPS = 60


def tam(experiment: Experiment) -> TamConfig:
    """The profile's LSTM, for texts of any length."""
    return replace(experiment.profile.lstm, max_length=MAX_LENGTH)


def learn(experiment: Experiment, texts: Examples) -> LearnedWeights:
    """Weights for ``texts``; work is saved in ``folder`` on the way, and a restart goes on from there.

    A small file gets more than one epoch in the inner loop, up to ``STEPS``. Raises ``Diverged``.
    """
    config = tam(experiment)
    an_epoch = math.ceil(len(texts) / config.batch_size)
    settings = {
        "tam": config,
        "outer_size": min(experiment.profile.outer_size, max(1, len(texts) // 2)),
        "iterations": experiment.extras["iterations"] or experiment.profile.iterations,
        "inner_epochs": max(config.inner_epochs, math.ceil(STEPS / an_epoch)),
        "centred": experiment.extras["centred"],
        "seed": experiment.extras["seed"],
    }
    run = hashlib.sha256(repr((texts.fingerprint(), settings)).encode()).hexdigest()[:12]
    with limited_threads(THREADS):
        return learn_weights(
            texts,
            device=experiment.device,
            checkpoint=folder(experiment) / f"checkpoint-{run}.safetensors",
            progress="weights" if show.attended() else None,
            **settings,
        )


def accuracy(experiment: Experiment, texts: Examples, test: Examples, *, weights: np.ndarray | None = None) -> float:
    """Test accuracy, in percent, of the LSTM trained on ``texts`` with or without ``weights``, (N,)."""
    config, seed = tam(experiment), experiment.extras["seed"]
    model, train_set, tokenizer = config.prepare(texts, seed=seed, device=experiment.device)
    weighted = None if weights is None else torch.as_tensor(weights, device=experiment.device)
    with limited_threads(THREADS):
        fit(model, train_set, weights=weighted, seed=seed, **config.training)
        return 100 * evaluate(model, config.encode(test, tokenizer, device=experiment.device)).accuracy
