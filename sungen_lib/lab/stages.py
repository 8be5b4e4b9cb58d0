"""How each kind of spec is computed, in a folder of the store."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from sungen_lib import embedded
from sungen_lib.baselines import SCORES, SELECTIONS, TRAININGS, tfidf_logreg
from sungen_lib.encode import Samples
from sungen_lib.lab.sources import TEXTS_SEED, load
from sungen_lib.lab.specs import Run, Synthetic, Trust, Weights, identify, weights_of
from sungen_lib.lab.store import find, folder
from sungen_lib.learn import LearnedWeights, choose_outer_lr, learn_weights, load_weights
from sungen_lib.losses import LOSSES
from sungen_lib.models import Prepared, TamConfig
from sungen_lib.seeds import derived_seed
from sungen_lib.storage import atomic_path, read_sealed, set_aside, unless_damaged, write_sealed
from sungen_lib.subset import bernoulli_subset, random_subset
from sungen_lib.texts import prompting, tasks
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.generation import generate
from sungen_lib.texts.jsonl import write_jsonl
from sungen_lib.texts.plms import fastest_device, load_plm
from sungen_lib.texts.served import Served, is_address
from sungen_lib.train import Diverged, Epoch, epochs, evaluate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHARDS = "shards"  # the folder of a generation in progress, in its record's


def _synthetic(spec: Synthetic, place: Path, data_dir: str | None) -> dict[str, Any]:
    assert spec.sampling is not None
    model, tokenizer = (Served(spec.plm), None) if is_address(spec.plm) else _plm(spec.plm, fastest_device())
    shards = place / SHARDS
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
    return {"rows": len(rows), "fingerprint": rows.fingerprint()}


def _plm(name: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return embedded.load_plm() if name.partition("@")[0] == "embedded" else load_plm(name, device)


def _weights(spec: Weights, place: Path, data_dir: str | None) -> dict[str, Any]:
    texts = load(spec.train, data_dir)
    settings: dict[str, Any] = {
        "outer_set": None if spec.outer is None else load(spec.outer, data_dir),
        "tam": spec.tam,
        "initialisations": spec.initialisations,
        "outer_size": min(spec.outer_size, max(1, len(texts) // 2)),  # the set may be smaller than was asked for
        "outer_loss": LOSSES[spec.outer_loss],
        "outer_draw": spec.outer_draw,
        "centred": spec.centred,
        "seed": spec.seed,
        "device": spec.device,
    }
    chosen: dict[str, Any] = {}
    outer_lr = spec.outer_lr
    if isinstance(outer_lr, tuple):
        outer_lr = chosen["outer_lr"] = _outer_lr(place, texts, outer_lr, settings)
    checkpoint = place / "weights.safetensors"
    if checkpoint.exists():
        unless_damaged(load_weights, checkpoint)
    with warnings.catch_warnings():  # they are for users; a table shows what came of the weights
        warnings.simplefilter("ignore", UserWarning)
        learned = learn_weights(
            texts,
            outer_lr=outer_lr,
            iterations=spec.iterations,
            snapshots=spec.snapshots,
            checkpoint=checkpoint,
            **settings,
        )
    return {"history": [asdict(iteration) for iteration in learned.history]} | chosen


def _outer_lr(place: Path, texts: Examples, rates: tuple[float, ...], settings: dict[str, Any]) -> float:
    """The outer learning rate, chosen by the run's outer loss and saved, so that a restarted run uses the same one."""
    path = place / "outer_lr.json"
    saved = unless_damaged(read_sealed, path) if path.exists() else None
    if saved is None:
        saved = {"outer_lr": choose_outer_lr(texts, rates, **settings)}
        write_sealed(path, saved)
    return float(saved["outer_lr"])


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
    assert spec.train is not None
    precision = spec.tam.precision

    def test(trained: Prepared) -> Samples:
        # Called only once training is over, or between the epochs of a run that asks for a curve.
        assert spec.tam is not None
        return spec.tam.encode(load(spec.test, data_dir), trained.tokenizer, device=spec.device)

    def accuracy(trained: Prepared) -> dict[str, float]:
        return {"test_accuracy": evaluate(trained.model, test(trained), precision=precision).accuracy}

    if spec.curve:
        trained, rows, curve = _trained(spec, data_dir, accuracy)
    else:
        trained, rows, curve = _trained_once(replace(spec, method="", test=spec.train), data_dir)
    test_set = test(trained)
    result = evaluate(trained.model, test_set, precision=precision)
    _save_correct(place, result.correct)
    metrics = {"accuracy": result.accuracy, "loss": result.loss, "rows": rows, "curve": curve}
    if isinstance(spec.test, Synthetic):
        metrics["robust_loss"] = evaluate(trained.model, test_set, loss=LOSSES["rce"]).loss
    return metrics


def _trained(
    spec: Run, data_dir: str | None, measure: Callable[[Prepared], dict[str, float]] | None = None
) -> tuple[Prepared, int, list[dict[str, Any]]]:
    """The trained TAM, the number of its training rows, and a line per epoch, with what ``measure`` says after it."""
    assert spec.tam is not None
    weights = _mean_weights(spec)
    assert spec.train is not None
    pool = load(spec.train, data_dir)
    rows = _rows(spec, pool, weights)
    prepared = spec.tam.prepare(pool, rows=rows, seed=spec.seed, device=spec.device)
    texts = pool if len(rows) == len(pool) else pool.select(rows)  # what is cached belongs to the very object
    epochs = _training(spec, spec.tam, prepared, texts, weights)
    curve = [asdict(epoch) | (measure(prepared) if measure else {}) for epoch in epochs]
    return prepared, len(rows), curve


# Tasks that share their texts differ only in the test set, and follow one another in a table (``Grid.all``). That
# holds within a process: several at work on such runs at the same time train once each.
_trained_once = lru_cache(maxsize=1)(_trained)


def _mean_weights(spec: Run) -> np.ndarray | None:
    several = [learned(weights).weights for weights in weights_of(spec)]
    return np.stack(several).mean(axis=0) if several else None


def _rows(spec: Run, pool: Examples, weights: np.ndarray | None = None) -> np.ndarray:
    """The rows of ``pool`` that a run trains on."""
    if spec.selection == "weighted":
        return np.arange(len(pool))
    if spec.selection == "first":
        return np.arange(len(pool))[: spec.budget]
    if spec.selection == "random":
        return random_subset(len(pool), spec.budget or len(pool), seed=spec.seed)
    if spec.selection == "bernoulli":
        if weights is None or spec.budget is None:
            raise ValueError("a subset is drawn by weights, to a budget: give both")
        return bernoulli_subset(weights, spec.budget, seed=spec.seed)
    return SELECTIONS[spec.selection](pool, budget=spec.budget, tam=spec.tam, seed=spec.seed, device=spec.device)


def _training(
    spec: Run, tam: TamConfig, prepared: Prepared, rows: Examples, weights: np.ndarray | None
) -> Iterable[Epoch]:
    if spec.training != "fit":
        return TRAININGS[spec.training](prepared, rows, tam=tam, seed=spec.seed)
    weighted = None
    if spec.selection == "weighted":
        assert weights is not None
        weighted = torch.as_tensor(weights, device=spec.device)
    model, data = prepared.model, prepared.data
    return epochs(model, data, weights=weighted, loss=LOSSES[spec.loss], seed=spec.seed, **tam.training)


def _linear(spec: Run, place: Path, data_dir: str | None) -> dict[str, Any]:
    """TF-IDF and logistic regression instead of a TAM."""
    assert spec.train is not None
    pool, weights = load(spec.train, data_dir), _mean_weights(spec)
    rows = pool.select(_rows(spec, pool, weights))
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
    found = SCORES[spec.by](pool, tam=spec.tam, seed=spec.seed, device=spec.device)
    with atomic_path(place / "trust.safetensors") as temporary:
        save_file({"trust": found.astype(np.float32)}, temporary)
    return {"rows": len(found)}


def scores(spec: Trust | Weights) -> np.ndarray:
    """(N,) how far a finished spec trusts each label: learned weights, or another method's scores (NaN: none)."""
    if isinstance(spec, Weights):
        return learned(spec).weights
    return load_file(folder(identify(spec)) / "trust.safetensors")["trust"]


def _prompt(spec: Run, place: Path, data_dir: str | None) -> dict[str, Any]:
    assert spec.plm is not None
    model, tokenizer = _plm(spec.plm, spec.device)
    test = load(spec.test, data_dir)
    task = tasks.get(spec.test.task)
    predictions = prompting.predict(task, test, model=model, tokenizer=tokenizer, in_chat=spec.in_chat)
    correct = predictions == test.labels
    _save_correct(place, correct)
    return {"accuracy": float(correct.mean())}


def _save_correct(place: Path, correct: np.ndarray) -> None:
    with atomic_path(place / "correct.safetensors") as temporary:
        save_file({"correct": correct.astype(np.uint8)}, temporary)


STAGES: Mapping[type, Callable[..., dict[str, Any]]] = {
    Synthetic: _synthetic,
    Weights: _weights,
    Trust: _trust,
    Run: _run,
}
