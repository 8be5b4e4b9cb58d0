"""``Spec -> Record``: every result is computed once, stored under the hash of what decides it, and shared.

Four kinds of spec, each naming its upstream: ``Synthetic`` (texts written by a PLM), ``Weights`` (learned on a set of
texts), ``Trust`` (another method's opinion of each text) and ``Run`` (a TAM trained and tested, or a PLM prompted). A
spec's hash names its folder in the store, which holds the files it produced and, written last, ``record.json``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits
from torch import nn

from sungen_lib import data, embedded, hub, methods, prompting, show, tasks
from sungen_lib.baselines import tfidf_logreg
from sungen_lib.data import (
    Damaged,
    DataMissing,
    Examples,
    atomic_path,
    locked,
    read_sealed,
    set_aside,
    write_jsonl,
    write_sealed,
)
from sungen_lib.encode import Encoded, Tokenizer, encode
from sungen_lib.generate import Sampling, generate
from sungen_lib.losses import LOSSES
from sungen_lib.models import TamConfig, has_no_words, pretrained
from sungen_lib.reweight import LearnedWeights, choose_outer_lr, learn_weights, load_weights
from sungen_lib.theory import class_noise, uniform_noise
from sungen_lib.train import Diverged, Epoch, derived_seed, epochs, evaluate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Raise a stage's revision when its results change; a golden-value test for each stage notices if it was forgotten.
REVISIONS = {"synthetic": 1, "weights": 1, "trust": 1, "run": 1}
NOISES: dict[str, Callable[[float, int], np.ndarray]] = {"uniform": uniform_noise, "class": class_noise}
TEXTS_SEED = 0  # texts stay fixed across seeds
LINEAR = "TF-IDF + logistic regression"
SEEDLESS = ("prompting", LINEAR)  # methods in which nothing is random


# --- specs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gold:
    """Human-labelled rows: ``rows`` of a split (``None``: all), from the embedded world, a data folder or the hub.

    ``noise`` "uniform" or "class" plants label flips at ``noise_rate`` (a key of ``NOISES``).
    """

    task: str
    split: str
    source: str
    rows: int | None
    fingerprint: str
    noise: str | None = None
    noise_rate: float = 0.0


@dataclass(frozen=True)
class Synthetic:
    """PLM-written rows of a task: generated (``embedded``, ``hub``) or read from a data folder.

    ``start``: how many other rows of the folder come before them. Generated rows that start elsewhere are drawn anew.
    """

    task: str
    plm: str
    source: str
    rows: int
    fingerprint: str
    sampling: Sampling | None = None
    revision: int = field(default_factory=lambda: REVISIONS["synthetic"])
    start: int = 0


Data = Gold | Synthetic


@dataclass(frozen=True)
class Weights:
    """Sample weights learned by ``learn_weights``; ``outer`` names another outer set than a part of ``train``.

    Of several rates in ``outer_lr``, ``choose_outer_lr`` takes one. ``initialisations`` of the TAM take turns.
    """

    train: Data
    tam: TamConfig
    seed: int
    device: str
    outer_loss: str = "rce"
    outer: Data | None = None
    outer_size: int = 50_000
    outer_lr: float | tuple[float, ...] = 0.25
    iterations: int = 50
    snapshots: tuple[int, ...] = (0, 5, 10, 50)
    threads: int = 1
    revision: int = field(default_factory=lambda: REVISIONS["weights"])
    outer_draw: str = "once"
    centred: bool = False
    initialisations: int = 1


@dataclass(frozen=True)
class Trust:
    """How far another method trusts each label of ``train``: ``by`` is one of ``methods.TRUSTS``."""

    train: Data
    by: str
    tam: TamConfig
    seed: int
    device: str
    threads: int = 1
    revision: int = field(default_factory=lambda: REVISIONS["trust"])


@dataclass(frozen=True)
class Run:
    """One accuracy on ``test``: of a TAM, or of the linear model (no ``tam``), trained on rows of ``train``; or of a
    PLM, prompted (``plm``).

    ``selection`` and ``training`` are those of ``methods``; ``loss`` is for plain training ("fit"). ``curve`` also
    tests after every epoch of plain training. Of several ``weights`` the mean counts. On synthetic rows, which serve
    to choose among variants, the robust loss is measured, too.
    """

    method: str
    test: Data
    device: str
    train: Data | None = None
    tam: TamConfig | None = None
    weights: Weights | tuple[Weights, ...] | None = None
    selection: str = "first"
    budget: int | None = None
    loss: str = "ce"
    training: str = "fit"
    curve: bool = False
    plm: str | None = None
    seed: int = 0
    threads: int = 1
    revision: int = field(default_factory=lambda: REVISIONS["run"])


Spec = Synthetic | Weights | Trust | Run


def identify(spec: Spec) -> str:
    """The spec's id: a hash of everything that decides the result.

    Fields at their default are left out, so that a field added later does not make older records unfindable.
    """
    return hashlib.sha256(json.dumps(_told(spec), sort_keys=True).encode()).hexdigest()[:20]


def _told(value: Any) -> Any:
    """``value`` as plain JSON: of a dataclass its name and the fields that are not at their default."""
    if is_dataclass(value):
        told = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
        return [type(value).__name__, {name: _told(item) for name, item in told.items()}]
    return [_told(item) for item in value] if isinstance(value, tuple) else value


def upstream(spec: Spec) -> list[Spec]:
    """The specs whose results ``spec`` reads; gold data and files of a data folder are not runs."""
    parents: list[Any] = []
    if isinstance(spec, Run):
        parents = [spec.train, *weights_of(spec), spec.test]
    elif isinstance(spec, Weights):
        parents = [spec.train, spec.outer]
    elif isinstance(spec, Trust):
        parents = [spec.train]
    return [p for p in parents if isinstance(p, Weights) or (isinstance(p, Synthetic) and p.source != "folder")]


def weights_of(spec: Run) -> tuple[Weights, ...]:
    """The weights that a run uses: none, one, or several to be averaged."""
    if spec.weights is None:
        return ()
    return spec.weights if isinstance(spec.weights, tuple) else (spec.weights,)


# --- the store --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Record:
    """What is kept of a finished spec.

    ``metrics``: plain numbers and curves; ``diverged``: the reason if training left the finite numbers, else ``None``;
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
        """What a reader wants to know of it."""
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
        """The run's seed; ``None`` where nothing is random across seeds."""
        return None if self.spec.get("method") in SEEDLESS else self.spec.get("seed")

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


def store() -> Path:
    """The store's folder: ``SUNGEN_STORE``, else ``runs/`` beside the package."""
    return Path(os.environ.get("SUNGEN_STORE") or Path(__file__).parents[1] / "runs").absolute()


def folder(spec_id: str) -> Path:
    """The folder of one spec."""
    return store() / spec_id[:2] / spec_id


def find(spec: Spec) -> Record | None:
    """The finished record of ``spec``; one whose files are damaged is set aside and counts as missing."""
    return record_of(identify(spec))


def record_of(spec_id: str) -> Record | None:
    """``find``, for whoever has only the hash."""
    place = folder(spec_id)
    try:
        return _read(place)
    except Damaged:
        with locked(_lock(place)):  # not while somebody computes it anew
            return _sound(place)


def _read(place: Path) -> Record | None:
    """The record there, if any; raises ``Damaged``."""
    path = place / "record.json"
    if not path.exists():
        return None
    try:
        record = Record(**read_sealed(path, required=False))  # the first records had no seal
        damaged = [name for name, digest in record.files.items() if _digest(place / name) != digest]
    except (TypeError, OSError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    if record.id != place.name:
        raise Damaged(f"{path} is the record of {record.id}")
    if damaged:
        raise Damaged(f"{', '.join(damaged)} does not match its record")
    if not record.diverged and not np.isfinite(record.metrics.get("loss", 0.0)):  # the first took it for an accuracy
        raise Damaged(f"{path} holds a loss that is not finite")
    return record


def _sound(place: Path) -> Record | None:
    """``_read``, but what is damaged is set aside; under the lock."""
    try:
        return _read(place)
    except Damaged as error:
        set_aside(place, str(error))
        return None


def _is_result(path: Path) -> bool:
    return path.is_file() and ".damaged-" not in path.name  # which ``set_aside`` leaves


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"


def _lock(place: Path) -> Path:
    """Only one process computes a spec; another one waits and then finds it finished."""
    return store() / "locks" / place.name


@cache
def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


@cache
def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# --- stages -----------------------------------------------------------------------------------------------------------


def compute(spec: Spec, data_dir: str | None = None) -> Record:
    """The record of ``spec``: found, or computed now (its upstream first) and stored."""
    for parent in upstream(spec):
        compute(parent, data_dir)
    place = folder(identify(spec))
    with locked(_lock(place)):
        record = _sound(place)
        if record is not None:
            return record
        place.mkdir(parents=True, exist_ok=True)
        for left in place.rglob(".*.tmp"):  # by a process that was killed as it wrote
            left.unlink(missing_ok=True)
        start = time.perf_counter()
        diverged, metrics = None, {}
        with limited_threads(getattr(spec, "threads", 1)):
            try:
                metrics = _STAGES[type(spec)](spec, place, data_dir)
            except Diverged as error:
                diverged = str(error)
        record = Record(
            id=identify(spec),
            stage=type(spec).__name__.lower(),
            spec=asdict(spec),
            metrics=metrics,
            seconds=time.perf_counter() - start,
            device=_device_name(getattr(spec, "device", "cpu")),
            versions=_versions(),
            commit=_commit(),
            diverged=diverged,
            files={path.name: _digest(path) for path in sorted(place.glob("[!.]*")) if _is_result(path)},
        )
        write_sealed(place / "record.json", asdict(record))
        return record


@contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """So many threads for torch, NumPy and scikit-learn alike: another number can change the last bits."""
    with threadpool_limits(number):
        torch.set_num_threads(number)
        yield


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"


@lru_cache(maxsize=8)
def load(spec: Data, data_dir: str | None = None) -> Examples:
    """The rows a ``Gold`` or ``Synthetic`` spec names; generated texts must be in the store already."""
    if isinstance(spec, Gold) and spec.noise is not None:
        clean = load(replace(spec, noise=None, noise_rate=0.0), data_dir)
        transition = NOISES[spec.noise](spec.noise_rate, len(clean.label_names))
        return data.with_noise(clean, transition, seed=TEXTS_SEED)
    if isinstance(spec, Gold) and spec.source == "embedded":
        assert spec.rows is not None
        return embedded.gold(spec.task, spec.split, spec.rows)
    task = tasks.get(spec.task)
    if isinstance(spec, Synthetic) and spec.source != "folder":
        return data.read_jsonl(folder(identify(spec)) / "synthetic.jsonl", task.labels)
    if isinstance(spec, Gold) and task.files:
        own = data.read_jsonl(dict(task.files)[spec.split], task.labels)
        return _some(data.fitting(own, spec.task, spec.split), spec.rows)
    if spec.source == "hub" and data_dir is None:
        data_dir = str(store() / "hub")
        hub.fetch(spec.task, data_dir)
    if data_dir is None:
        raise DataMissing(f"no data folder given: {spec.task} is read from one at this profile (data_dir)")
    source = data.GOLD if isinstance(spec, Gold) else spec.plm
    everything = data.load(data_dir, spec.task, source, spec.split if isinstance(spec, Gold) else "train")
    if isinstance(spec, Gold):
        return _some(everything, spec.rows)
    needed = spec.start + spec.rows
    if len(everything) < needed:
        raise DataMissing(f"{needed:,} rows by {spec.plm} for {spec.task} are needed, there are {len(everything):,}")
    return _some(everything, spec.rows, start=spec.start)


def _some(everything: Examples, rows: int | None, *, start: int = 0) -> Examples:
    """``rows`` of them, in a random order from ``start`` on, or all."""
    if rows is None:
        return everything
    return everything.select(np.random.default_rng(TEXTS_SEED).permutation(len(everything))[start : start + rows])


def _synthetic(spec: Synthetic, place: Path, data_dir: str | None) -> dict[str, Any]:
    assert spec.sampling is not None
    model, tokenizer = load_plm(spec.plm)
    shards = place / "shards"
    if shards.exists() and not (shards / "manifest.json").exists():
        set_aside(shards, "no manifest says what wrote it")
    rows = generate(
        tasks.get(spec.task),
        model=model,
        tokenizer=tokenizer,
        rows=spec.rows,
        seed=derived_seed(TEXTS_SEED, spec.start) if spec.start else TEXTS_SEED,
        sampling=spec.sampling,
        shard_size=min(1024, max(64, spec.rows // 2)),  # small sets would waste most of a large shard
        folder=shards,
    )
    write_jsonl(place / "synthetic.jsonl", rows)
    shutil.rmtree(shards)
    return {"rows": len(rows), "fingerprint": rows.fingerprint()}


@lru_cache(maxsize=1)
def load_plm(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of the embedded PLM, or of a hub id or a local folder; ``@`` and a revision may follow."""
    base, revision = pretrained(name)
    if base == "embedded":
        return embedded.load_plm()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, use_safetensors=True, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(base, revision=revision)
        if has_no_words(tokenizer):
            raise ValueError("save its tokenizer beside it")
        return model.to(device), tokenizer  # type: ignore[arg-type]  # a wrapper hides .to's signature
    except (OSError, ValueError) as error:
        raise DataMissing(f"no PLM could be loaded from {name!r}: {str(error).splitlines()[0]}") from None


def _weights(spec: Weights, place: Path, data_dir: str | None) -> dict[str, Any]:
    train = load(spec.train, data_dir)
    tokenizer = spec.tam.tokenizer(train)
    train_set = encode(train, tokenizer, max_length=spec.tam.max_length, device=spec.device)
    outer_set = None
    if spec.outer is not None:
        outer = load(spec.outer, data_dir)
        outer_set = encode(outer, tokenizer, max_length=spec.tam.max_length, device=spec.device)
    seeds = [spec.seed, *(derived_seed(spec.seed, 3, number) for number in range(1, spec.initialisations))]
    settings: dict[str, Any] = {
        "tam": [spec.tam.build(tokenizer, train_set.classes, seed=seed) for seed in seeds],
        "outer_set": outer_set,
        "outer_size": spec.outer_size,
        "outer_loss": LOSSES[spec.outer_loss],
        "outer_draw": spec.outer_draw,
        "centred": spec.centred,
        "inner_epochs": spec.tam.inner_epochs,
        "inner_lr": spec.tam.lr,
        "batch_size": spec.tam.batch_size,
        "precision": spec.tam.precision,
        "seed": spec.seed,
    }
    chosen: dict[str, Any] = {}
    outer_lr = spec.outer_lr
    if isinstance(outer_lr, tuple):
        outer_lr = chosen["outer_lr"] = _outer_lr(place, train_set, outer_lr, {**settings, "outer_set": None})
    checkpoint = place / "weights.safetensors"
    _set_aside_if_damaged(checkpoint, load_weights)
    learned = learn_weights(
        train_set,
        outer_lr=outer_lr,
        iterations=spec.iterations,
        snapshots=spec.snapshots,
        checkpoint=checkpoint,
        **settings,
    )
    return {"history": [asdict(iteration) for iteration in learned.history]} | chosen


def _outer_lr(place: Path, train_set: Encoded, rates: tuple[float, ...], settings: dict[str, Any]) -> float:
    """Chosen on synthetic samples whatever the outer set is, and written down: a restart goes on with it."""
    path = place / "outer_lr.json"
    _set_aside_if_damaged(path, read_sealed)
    if not path.exists():
        write_sealed(path, {"outer_lr": choose_outer_lr(train_set, rates, **settings)})
    return float(read_sealed(path)["outer_lr"])


def _set_aside_if_damaged(path: Path, read: Callable[[Path], object]) -> None:
    """Of a run that was cut off: what the file held is computed again."""
    try:
        if path.exists():
            read(path)
    except ValueError as error:
        set_aside(path, str(error))


def learned(spec: Weights) -> LearnedWeights:
    """The weights of a finished spec; raises ``Diverged`` where there are none."""
    record = find(spec)
    if record is not None and record.diverged:
        raise Diverged(f"no weights: {record.diverged}")
    return load_weights(folder(identify(spec)) / "weights.safetensors")


def _run(spec: Run, place: Path, data_dir: str | None) -> dict[str, Any]:
    if spec.plm is not None:
        return _prompt(spec, place, data_dir)
    if spec.tam is None:
        return _linear(spec, place, data_dir)
    weights = _mean_weights(spec)
    rows = _rows(spec, data_dir, weights)
    tokenizer = spec.tam.tokenizer(rows)
    train_set = encode(rows, tokenizer, max_length=spec.tam.max_length, device=spec.device)
    model = spec.tam.build(tokenizer, train_set.classes, seed=spec.seed)
    length = spec.tam.max_length

    def test() -> Encoded:
        # Called only once training is over, or between the epochs of a run that asks for a curve.
        return encode(load(spec.test, data_dir), tokenizer, max_length=length, device=spec.device)

    curve = []
    for epoch in _training(spec, spec.tam, model, train_set, rows, tokenizer, weights):
        entry = asdict(epoch)
        if spec.curve:
            entry["test_accuracy"] = evaluate(model, test()).accuracy
        curve.append(entry)
    test_set = test()
    result = evaluate(model, test_set)
    _save_correct(place, result.correct)
    metrics = {"accuracy": result.accuracy, "loss": result.loss, "rows": len(train_set), "curve": curve}
    if isinstance(spec.test, Synthetic):
        metrics["robust_loss"] = evaluate(model, test_set, loss=LOSSES["rce"]).loss
    return metrics


def _mean_weights(spec: Run) -> np.ndarray | None:
    several = [learned(weights).weights for weights in weights_of(spec)]
    return np.stack(several).mean(axis=0) if several else None


def _rows(spec: Run, data_dir: str | None, weights: np.ndarray | None = None) -> Examples:
    """The rows that a run trains on."""
    assert spec.train is not None
    pool = load(spec.train, data_dir)
    given = {"tam": spec.tam, "seed": spec.seed, "device": spec.device}
    return pool.select(methods.select(spec.selection, pool, budget=spec.budget, weights=weights, **given))  # type: ignore[arg-type]


def _training(
    spec: Run,
    tam: TamConfig,
    model: nn.Module,
    train_set: Encoded,
    rows: Examples,
    tokenizer: Tokenizer,
    weights: np.ndarray | None,
) -> Iterable[Epoch]:
    if spec.training != "fit":
        return methods.fit_baseline(spec.training, model, train_set, rows, tokenizer, tam=tam, seed=spec.seed)
    weighted = None
    if spec.selection == "weighted":
        assert weights is not None
        weighted = torch.as_tensor(weights, device=spec.device)
    return epochs(model, train_set, weights=weighted, loss=LOSSES[spec.loss], seed=spec.seed, **tam.training)


def _linear(spec: Run, place: Path, data_dir: str | None) -> dict[str, Any]:
    """TF-IDF and logistic regression instead of a TAM."""
    weights = _mean_weights(spec)
    rows = _rows(spec, data_dir, weights)
    model = tfidf_logreg.fit(rows, sample_weight=weights if spec.selection == "weighted" else None)
    test = load(spec.test, data_dir)
    correct = tfidf_logreg.predict(model, test) == test.labels
    _save_correct(place, correct)
    metrics = {"accuracy": float(correct.mean()), "rows": len(rows)}
    if isinstance(spec.test, Synthetic):
        logits = torch.as_tensor(tfidf_logreg.probabilities(model, test)).log()
        metrics["robust_loss"] = float(LOSSES["rce"](logits, torch.as_tensor(test.labels)).mean())
    return metrics


def _trust(spec: Trust, place: Path, data_dir: str | None) -> dict[str, Any]:
    pool = load(spec.train, data_dir)
    scores = methods.trust(spec.by, pool, tam=spec.tam, seed=spec.seed, device=spec.device)
    with atomic_path(place / "trust.safetensors") as temporary:
        save_file({"trust": scores.astype(np.float32)}, temporary)
    return {"rows": len(scores)}


def trust(spec: Trust | Weights) -> np.ndarray:
    """(N,) the trust of a finished spec in each label; of weights, the weights. NaN where a method has none."""
    if isinstance(spec, Weights):
        return learned(spec).weights
    return load_file(folder(identify(spec)) / "trust.safetensors")["trust"]


def _prompt(spec: Run, place: Path, data_dir: str | None) -> dict[str, Any]:
    assert spec.plm is not None
    model, tokenizer = load_plm(spec.plm)
    test = load(spec.test, data_dir)
    predictions = prompting.predict(tasks.get(spec.test.task), test, model=model, tokenizer=tokenizer)
    correct = predictions == test.labels
    _save_correct(place, correct)
    return {"accuracy": float(correct.mean())}


def _save_correct(place: Path, correct: np.ndarray) -> None:
    with atomic_path(place / "correct.safetensors") as temporary:
        save_file({"correct": correct.astype(np.uint8)}, temporary)


_STAGES: Mapping[type, Callable[..., dict[str, Any]]] = {
    Synthetic: _synthetic,
    Weights: _weights,
    Trust: _trust,
    Run: _run,
}
