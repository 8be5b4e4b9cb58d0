"""What the notebook ``your_data`` works with: a file of one's own, weights for it, and what they are worth."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sungen_lib import choice, show, storage
from sungen_lib.baselines import cleanlab
from sungen_lib.encode import MAX_LENGTH
from sungen_lib.fast import limited_threads
from sungen_lib.lab import execution, profiles, sources
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.notebooks import read_json
from sungen_lib.lab.parameters import Column, FileOrHub, Names, ParameterError, PositiveInteger, Seed, YesOrNo, one_of
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.texts import examples, files, hub
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.train import evaluate, fit

SAMPLE = "imdb"  # the task of the embedded sample
PARAMETERS: dict[str, Any] = {  # the notebook's, besides those of every notebook
    "data": FileOrHub | None,
    "test": FileOrHub | None,
    "labels": Names | None,
    "text": Column,
    "label": Column,
    "tam": one_of(("lstm", "bag", "frozen")) | None,
    "budget": PositiveInteger | None,
    "iterations": PositiveInteger | None,
    "centred": YesOrNo,
    "seed": Seed,
}

NOTE = "source.json"  # in a folder of results: what they are of


def folder(experiment: Experiment) -> Path:
    """Where the results go: in ``out``, under the name of the data.

    Where that folder holds anything else, the results of another file of that name for one, a hash is put to the name.
    """
    source = experiment.extras["data"]
    plain = _plain_folder(experiment)
    if source is None:
        return plain
    ours = plain.name == experiment.name or plain.name.startswith(f"{experiment.name}-")  # the sample's
    if not ours and _free_for(plain, _about(experiment)):
        return plain
    return plain.with_name(f"{plain.name}-{_short(_about(experiment))}")


def _plain_folder(experiment: Experiment) -> Path:
    source, profile = experiment.extras["data"], experiment.profile.name
    if source is None:
        return experiment.out / (experiment.name if profile == "embedded" else f"{experiment.name}-{profile}")
    name = Path(source).resolve().name if Path(source).exists() else Path(source).name
    return experiment.out / (name[: len(name) - len(files.suffix(name) or "")] or "data")


def _about(experiment: Experiment) -> dict[str, str]:
    """What the results are of: the data, by their place or else their content, and the columns that are read."""
    source = experiment.extras["data"]
    place = Path(source)
    about = {"data": str(place.resolve()) if place.exists() else source}
    return about | {name: experiment.extras[name] for name in ("text", "label")}


def _short(about: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]


def _free_for(place: Path, about: dict[str, str]) -> bool:
    """Whether the folder is not there, is empty, or holds results of the same."""
    if not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir())):
        return True
    noted = read_json(place / NOTE)
    version = noted.pop("sha256", None)
    if noted == about:
        return True
    moved = {name: about[name] for name in ("text", "label")} == {name: noted.get(name) for name in ("text", "label")}
    return moved and Path(about["data"]).exists() and storage.content_hash(about["data"]) == version


def _claimed(experiment: Experiment) -> Path:
    """``folder``, with a note of what the results in it are of, before the first of them."""
    place = folder(experiment)
    if experiment.extras["data"] is None:
        return place
    about = _about(experiment)
    note = json.dumps(about | {"sha256": _version(about["data"])}, indent=1) + "\n"
    if not storage.create(place / NOTE, note):
        place = folder(experiment)  # another process may have been first
        storage.write_text(place / NOTE, note)
    return place


def _version(source: str) -> str | None:
    return storage.content_hash(source) if Path(source).exists() else None


def locate(experiment: Experiment) -> tuple[Path, str | None]:
    """The file to learn weights of, and what to test on, as ``read_test`` takes it.

    From the hub comes a Parquet file, into ``folder``. Without ``data`` it is a sample of the embedded world, as CSV.
    """
    source, test = experiment.extras["data"], experiment.extras["test"]
    if source is None:
        return _sample(experiment)
    for given in (source, test):
        if given is not None and any(_among(place, given) for place in (_plain_folder(experiment), folder(experiment))):
            place = _plain_folder(experiment).resolve()
            raise ParameterError(f"out: results would go among the data, to {place}; name another folder")
    return (Path(source) if files.suffix(source) else _fetched(experiment, source, "train")), test


def _among(place: Path, given: str) -> bool:
    """Whether ``place`` is the folder of the file ``given``, or in the folder ``given``."""
    if files.suffix(given):
        return storage.same_place(place, Path(given).resolve().parent) or storage.same_place(place, Path(given).parent)
    return Path(given).is_dir() and storage.inside(place, given)


def _fetched(experiment: Experiment, source: str, split: str) -> Path:
    """A split as a Parquet file; a local folder's has its content's hash in the name, so it is never an old state."""
    local = Path(source).is_dir()
    name = f"{Path(source).resolve().name}-{storage.content_hash(source)}" if local else source
    place = _claimed(experiment)
    target = place / f"{re.sub(r'[^0-9A-Za-z._-]+', '--', name).strip('-')}.{split}.parquet"
    try:
        hub.fetch_file(source, split, target)
    except (DataMissing, DataError):
        if [path.name for path in place.iterdir()] == [NOTE]:  # an unreachable hub leaves nothing
            (place / NOTE).unlink()
        raise
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
    return examples.numbered_as(texts, _read(experiment, path), path)


# As in every run of the suite: more threads could change the last bits, and on a busy machine they wait for one
# another, which makes a small LSTM many times slower.
THREADS = 1


def fitting(experiment: Experiment, texts: Examples) -> tuple[TamConfig, dict[str, Any]]:
    """The TAM, and fields of ``reweight.Bilevel`` that suit it.

    For a file what ``learn_weights(texts)`` would choose, unless ``tam`` names one of the profile's; for the sample
    the profile's LSTM.
    """
    name = experiment.extras["tam"]
    if name is None and experiment.extras["data"] is not None:
        return choice.fitting(texts)
    config = experiment.profile.tam(name or "lstm")
    if config.kind != "frozen":
        config = replace(config, max_length=MAX_LENGTH)
    size = min(experiment.profile.outer_size, max(1, len(texts) // 2))
    return choice.with_steps(config, len(texts)), {"iterations": experiment.profile.iterations, "outer_size": size}


def learn(experiment: Experiment, texts: Examples) -> LearnedWeights:
    """Weights for ``texts``; work is saved in ``folder`` on the way, and a restart goes on from there.

    Raises ``Diverged``.
    """
    tam, settings = fitting(experiment, texts)
    given = {name: experiment.extras[name] for name in ("iterations", "centred") if experiment.extras[name]}
    settings = {"tam": tam, "seed": experiment.extras["seed"]} | settings | given
    run = hashlib.sha256(repr((texts.fingerprint(), settings)).encode()).hexdigest()[:12]
    with limited_threads(THREADS):
        return learn_weights(
            texts,
            device=experiment.device,
            checkpoint=_claimed(experiment) / f"checkpoint-{run}.safetensors",
            progress="weights" if show.attended() else None,
            **settings,
        )


def beside_cleanlab(texts: Examples, weights: np.ndarray, *, rows: int = 10) -> pd.DataFrame:
    """The ``rows`` texts with the lowest weights, (N,), each beside cleanlab's label quality in [0, 1].

    ``rank`` is the text's place among all in cleanlab's opinion, 1 the worst. Empty where cleanlab has no opinion: it
    needs ``cleanlab.FOLDS`` texts of each label, with words.
    """
    order = np.argsort(weights, kind="stable")[:rows]
    try:
        quality = cleanlab.score(texts)
    except ValueError:
        return pd.DataFrame()
    columns: dict[str, Any] = {
        "idx": texts.idx[order],
        "weight": weights[order],
        "cleanlab": quality[order],
        "rank": quality.argsort(kind="stable").argsort(kind="stable")[order] + 1,
        "label": [texts.label_names[label] for label in texts.labels[order]],
        "text": [texts.texts[row] for row in order],
    }
    return pd.DataFrame(columns).set_index("idx").round({"weight": 3, "cleanlab": 3})


def accuracy(experiment: Experiment, texts: Examples, test: Examples, *, weights: np.ndarray | None = None) -> float:
    """Test accuracy, in percent, of the TAM trained on ``texts`` with or without ``weights``, (N,)."""
    tam, seed = fitting(experiment, texts)[0], experiment.extras["seed"]
    prepared = tam.prepare(texts, seed=seed, device=experiment.device)
    weighted = None if weights is None else torch.as_tensor(weights, device=experiment.device)
    with limited_threads(THREADS):
        fit(prepared.model, prepared.data, weights=weighted, seed=seed, **tam.training)
        test_set = tam.encode(test, prepared.tokenizer, device=experiment.device)
        return 100 * evaluate(prepared.model, test_set).accuracy
