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
from sungen_lib.texts import plms
from sungen_lib.texts.served import is_address
from sungen_lib.texts.writer import Sampling

# Raise a stage's revision when its results change; a golden-value test for each stage fails if this was forgotten.
REVISIONS = {"synthetic": 1, "weights": 1, "trust": 1, "run": 1}
LINEAR_MODEL = "TF-IDF + logistic regression"
FOR_READERS = {"identity": None}  # a field that does not decide the result
MODEL = {"identity": plms.identity}  # a field that names a model; the id depends on the model, not on where it is


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

    ``start``: position of the first row in the shuffled file of the data folder; for generated texts, any value but 0
    selects another random seed.
    """

    task: str
    plm: str = field(metadata=MODEL)
    source: str
    rows: int
    fingerprint: str
    sampling: Sampling | None = None
    revision: int = field(default_factory=lambda: REVISIONS["synthetic"])
    start: int = 0


Data = Gold | Synthetic


@dataclass(frozen=True)
class Weights:
    """Sample weights learned by ``learn_weights``; most fields are its arguments.

    ``outer`` replaces the outer set that is drawn from ``train``, ``outer_size`` rows or at most half of it. If
    ``outer_lr`` has several rates, ``choose_outer_lr`` picks one.
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
    """How far another method trusts each label of ``train``: ``by`` is a key of ``baselines.SCORES``."""

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
    PLM, prompted (``plm``), bare or ``in_chat``.

    ``method`` is for readers; the other fields decide the result. ``selection``: "first", "random" (a subset, by
    ``seed``), "bernoulli" (one drawn by ``weights``), "weighted", or a key of ``baselines.SELECTIONS``. ``training``:
    "fit" (plain, by ``loss``) or a key of ``baselines.TRAININGS``. ``curve`` also tests after every epoch of plain
    training. Several ``weights`` are averaged. If ``test`` is synthetic (for choosing among variants), the robust loss
    is recorded as well.
    """

    method: str = field(metadata=FOR_READERS)
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
    plm: str | None = field(default=None, metadata=MODEL)
    seed: int = 0
    threads: int = 1
    revision: int = field(default_factory=lambda: REVISIONS["run"])
    in_chat: bool = False


Spec = Synthetic | Weights | Trust | Run


def identify(spec: Spec) -> str:
    """The spec's id: a hash of everything that decides the result.

    Fields at their default are left out, so that a field added later does not make older records unfindable.
    """
    return hashlib.sha256(json.dumps(_told(spec), sort_keys=True).encode()).hexdigest()[:20]


def _told(value: Any) -> Any:
    """``value`` as plain JSON; a dataclass becomes its name and its fields that are not at their default."""
    if is_dataclass(value):
        told = {}
        for f in fields(value):
            item, identity = getattr(value, f.name), f.metadata.get("identity", lambda item: item)
            if item != f.default and identity is not None:
                told[f.name] = _told(identity(item))
        return [type(value).__name__, told]
    return [_told(item) for item in value] if isinstance(value, tuple) else value


def loads_plm(spec: Spec) -> bool:
    """Whether computing ``spec`` itself loads a PLM, other than the small one that the package ships."""
    plm = spec.plm if isinstance(spec, (Synthetic, Run)) else None
    return plm is not None and not plm.startswith("embedded") and not is_address(plm)


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
