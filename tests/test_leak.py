"""Gold test labels stay out of reach until a model is finished: in every kind of run that any notebook asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sungen_lib import train
from sungen_lib.baselines import tfidf_logreg
from sungen_lib.lab import execution, notebooks, plan, sources, specs, stages
from sungen_lib.lab.specs import Gold, Run, Spec, Trust, Weights


def kind(spec: Spec) -> tuple[object, ...]:
    """What a run does, whatever task, seed and size it does it with."""
    if isinstance(spec, Run):
        tam = spec.tam and spec.tam.kind
        about = (spec.method, tam, spec.selection, spec.training, spec.loss, spec.curve, type(spec.train))
        return (*about, type(spec.test), *map(kind, specs.weights_of(spec)))
    if isinstance(spec, Weights):
        options = spec.outer_draw, spec.centred, spec.initialisations > 1
        return "weights", spec.tam.kind, spec.outer_loss, type(spec.outer), type(spec.train), *options
    if isinstance(spec, Trust):
        return "trust", spec.by
    return ("texts",)


def kinds() -> dict[tuple[object, ...], Spec]:
    """One spec of each kind, of all notebooks; pair tasks share the code of the others."""
    found: dict[tuple[object, ...], Spec] = {}
    for notebook in notebooks.select(notebooks.NOTEBOOKS, []):
        for spec in plan.planned(notebook, {"profile": "tiny"}):
            found.setdefault(kind(spec), spec)
    return found


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """ "train" and "test" in the order of happening: passes over training data, and reads of a gold test set."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    seen: list[str] = []

    def noted(
        what: str, function: Callable[..., Any], when: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if when(*arguments):
                seen.append(what)
            return function(*arguments, **options)

        return call

    def of_test(spec: object, *_: object) -> bool:
        return isinstance(spec, Gold) and spec.split == "test"

    reading = noted("test", sources.load, of_test)
    for place in (sources, stages):
        monkeypatch.setattr(place, "load", reading)
    monkeypatch.setattr(stages, "learn_weights", noted("train", stages.learn_weights))
    monkeypatch.setattr(train.Trainer, "epoch", noted("train", train.Trainer.epoch))
    monkeypatch.setattr(tfidf_logreg, "fit", noted("train", tfidf_logreg.fit))
    return seen


def read_too_early(spec: Spec, events: list[str]) -> bool:
    """Whether a test set was read before ``spec``'s last pass over training data."""
    events.clear()
    execution.compute(spec)
    return "test" in events and "train" in events[events.index("test") :]


def test_no_run_of_any_notebook_reads_a_test_set_before_it_is_trained(events: list[str]) -> None:
    found = kinds()
    assert len(found) > 25
    trained = 0
    for spec in found.values():
        for upstream in specs.upstream(spec):
            assert not read_too_early(upstream, events) and "test" not in events
        # A curve is the test accuracy after each epoch: read between epochs, drawn and reported, used for nothing.
        between_epochs = isinstance(spec, Run) and spec.curve and spec.tam is not None and spec.tam.epochs > 1
        assert read_too_early(spec, events) == between_epochs, spec
        trained += "train" in events and "test" in events
        if isinstance(spec, Run) and isinstance(spec.test, Gold):
            assert "test" in events
        else:
            assert "test" not in events
    assert trained > 15


def test_the_guard_notices_a_selection_that_looks_ahead(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = next(spec for spec in kinds().values() if isinstance(spec, Run) and spec.selection == "bernoulli")
    draw = stages.bernoulli_subset

    def cheating(*arguments: Any, **options: Any) -> Any:
        stages.load(spec.test)
        return draw(*arguments, **options)

    monkeypatch.setattr(stages, "bernoulli_subset", cheating)
    assert read_too_early(spec, events)
