"""What decides a result. A spec's hash names its record.

Four kinds, each naming its upstream: ``Synthetic`` (texts written by a PLM), ``Weights`` (learned on a set of texts),
``Trust`` (another method's score for each text) and ``Run`` (a TAM trained and tested, or a PLM prompted).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from sungen_lib.models import TamConfig
from sungen_lib.texts.writer import Sampling

# Raise a stage's revision when its results change; a golden-value test for each stage notices if it was forgotten.
REVISIONS = {"synthetic": 1, "weights": 1, "trust": 1, "run": 1}


LINEAR_MODEL = "TF-IDF + logistic regression"


SEEDLESS = ("prompting", LINEAR_MODEL)  # methods in which nothing is random


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
