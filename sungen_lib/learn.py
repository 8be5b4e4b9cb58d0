"""``learn_weights``: Algorithm 1 for labelled texts, with a progress bar, snapshots and a checkpoint."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from sungen_lib import choice, show
from sungen_lib.derivative import default_method
from sungen_lib.encode import Samples
from sungen_lib.models import TamConfig
from sungen_lib.reweight import Bilevel, Iteration, OuterSets, State, iterations
from sungen_lib.seeds import derived_seed
from sungen_lib.storage import SEAL, Damaged, atomic_path
from sungen_lib.texts.examples import Examples, numbered_as, two_classes
from sungen_lib.train import Diverged, Trainer, predict

CHECKPOINT_SECONDS = 20.0
CHANCE_ROWS = 2000
PILOT = 10  # iterations that ``choose_outer_lr`` runs for each rate


@dataclass
class LearnedWeights:
    """``weights``: (N,) float32 in [0, 1]; ``snapshots``: iteration -> (N,); ``history``: one entry per iteration."""

    weights: np.ndarray
    snapshots: dict[int, np.ndarray]
    history: list[Iteration] = field(default_factory=list)

    def __repr__(self) -> str:
        low, high = float((self.weights < 0.1).mean()), float((self.weights > 0.9).mean())
        return (
            f"LearnedWeights({len(self.weights):,} samples, {len(self.history)} iterations; "
            f"mean {self.weights.mean():.3f}, {low:.0%} below 0.1, {high:.0%} above 0.9)"
        )

    def _repr_html_(self) -> str:
        """The same as ``repr``, with a histogram of ten bars."""
        counts = np.histogram(self.weights, bins=10, range=(0, 1))[0].tolist()
        return show.table(["0", "samples by weight", "1"], [["", show.bars(counts), ""]], caption=repr(self))


def learn_weights(
    texts: Examples,
    *,
    tam: TamConfig | None = None,
    outer_set: Examples | None = None,
    initialisations: int = 1,
    seed: int = 0,
    device: str = "cpu",
    snapshots: Sequence[int] = (0, 5, 10, 50),
    checkpoint: str | Path | None = None,
    progress: str | None = None,
    **settings: Any,
) -> LearnedWeights:
    """Learn one weight for each text (Algorithm 1): the higher, the more trustworthy its label.

    ``tam``: the task model; ``TamConfig()`` is the paper's BiLSTM. It sets text length, inner epochs, learning rate
    and batch size. By default ``choice.fitting`` picks a TAM and settings for it. ``settings`` are fields of
    ``reweight.Bilevel`` and take precedence. ``outer_set``: texts for the outer loss instead of a part of ``texts``;
    their labels count by name. ``seed`` decides the TAM's initial parameters (with ``initialisations`` above 1, several
    take turns), the outer set and the order of batches.

    ``snapshots``: iterations whose weights are kept. ``checkpoint``: a file in which progress is saved; the same call
    resumes from it, with identical results. ``progress`` names the bar, ``None`` hides it.

    Raises ``Diverged`` if weights collapse or numbers are not finite; ``ValueError`` for ``texts`` or a ``tam`` of
    another type, for impossible settings, for texts of fewer than two classes, for an outer set with labels that
    ``texts`` does not have, and for the checkpoint of another run; ``TypeError`` for a setting that is none. Warns if
    the TAM has learned nothing, and if the weights say little beyond which label a text has.
    """
    _check(texts, tam, seed, settings)
    if outer_set is not None:
        outer_set = numbered_as(texts, outer_set, "outer_set")
    tam, fitting = choice.fitting(texts) if tam is None else (tam, {})
    bilevel = Bilevel(**tam.inner | fitting | settings)
    tams, train_set, tokenizer = _prepared(tam, texts, initialisations, seed=seed, device=device)
    outer = None if outer_set is None else tam.encode(outer_set, tokenizer, device=device)
    saved = _Saved(checkpoint, State(train_set), snapshots)
    if checkpoint is not None:
        saved.resume(_identity(tam, bilevel, train_set, outer, tams, seed), bilevel.iterations)
    before = Trainer.steps

    def doing() -> str:
        loss = f"outer loss {saved.state.history[-1].outer_loss:.3f}, " if saved.state.done else ""
        return f"{loss}{Trainer.steps - before:,} inner steps"

    bar = tqdm(desc=progress, initial=saved.state.done, total=bilevel.iterations, disable=progress is None)
    with bar, show.ticking(bar, doing):
        for state in iterations(train_set, tams, bilevel, outer_set=outer, seed=seed, state=saved.state):
            saved.after_iteration(last=state.done == bilevel.iterations)
            if state.done == 1:
                _warn_if_at_chance(tams[0], train_set, seed)
            bar.update()
    learned = saved.learned()
    choice.warn_if_apart(learned.weights, texts.labels, balanced=bilevel.balanced, centred=bilevel.centred)
    return learned


def _check(texts: object, tam: object, seed: int, settings: dict[str, Any]) -> None:
    """Name the type that is wanted, where another is given, and a setting that is none; two classes are needed."""
    if not isinstance(texts, Examples):
        made_by = "sungen_lib.read(file) or Examples.of(texts, labels, label_names)"
        raise ValueError(f"texts must be Examples, made by {made_by}; got {type(texts).__name__}")
    if tam is not None and not isinstance(tam, TamConfig):
        raise ValueError(f"tam must be a TamConfig, such as TamConfig('lstm'); got {tam!r}")
    if seed < 0:
        raise ValueError(f"seed must be a whole number from 0 on, got {seed}")
    known = [field.name for field in fields(Bilevel)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise TypeError(f"learn_weights has no setting {unknown[0]!r}; known: {', '.join(known)}")
    if not len(texts):
        raise ValueError("there are no texts to learn weights of")
    two_classes(texts, "texts")


def _prepared(
    tam: TamConfig, texts: Examples, initialisations: int, *, seed: int, device: str
) -> tuple[list[nn.Module], Samples, Any]:
    """The TAM from each initialisation, the encoded texts, the tokenizer."""
    if initialisations < 1:
        raise ValueError(f"initialisations must be positive, got {initialisations}")
    prepared = tam.prepare(texts, seed=seed, device=device)
    model, train_set, tokenizer = prepared.model, prepared.data, prepared.tokenizer
    others = [derived_seed(seed, 3, number) for number in range(1, initialisations)]
    return [model, *(tam.build(tokenizer, train_set.classes, seed=other) for other in others)], train_set, tokenizer


def _warn_if_at_chance(tam: nn.Module, train_set: Samples, seed: int) -> None:
    """``choice.warn_if_at_chance`` on at most ``CHANCE_ROWS`` texts, which are enough to see it."""
    rows = np.random.default_rng(seed).permutation(len(train_set))[:CHANCE_ROWS]
    sample = train_set.select(rows)
    choice.warn_if_at_chance(predict(tam, sample).argmax(-1).cpu().numpy(), sample.labels.cpu().numpy())


def choose_outer_lr(texts: Examples, rates: Sequence[float], *, pilot: int = PILOT, **settings: Any) -> float:
    """The rate with the lowest outer loss after ``pilot`` iterations (mean over the last three).

    Appendix F.2 chooses among 0.25, 0.1 and 0.01 by whether the outer loss falls steadily to a low value, judged by eye
    over the whole run; a short pilot favours high rates, with which the weights move sooner. Only the outer set
    decides, which is synthetic unless ``outer_set`` says otherwise. ``settings`` are ``learn_weights``'s, but for
    ``outer_lr``, ``iterations``, ``snapshots`` and ``checkpoint``. Raises ``Diverged`` if every rate diverges.
    """
    ends: dict[float, float] = {}
    reason = None
    for rate in rates:
        try:
            learned = learn_weights(texts, outer_lr=rate, iterations=pilot, snapshots=(), **settings)
        except Diverged as error:
            reason = error
        else:
            ends[rate] = float(np.mean([iteration.outer_loss for iteration in learned.history[-3:]]))
    if not ends:
        raise Diverged(f"every outer rate of {', '.join(map(str, rates))} diverges: {reason}")
    return min(ends, key=ends.__getitem__)


class _Saved:
    """A run's state and snapshots, and the checkpoint file, if any, in which both are saved."""

    def __init__(self, path: str | Path | None, state: State, snapshots: Sequence[int]) -> None:
        self.path, self.state, self.wanted = None if path is None else Path(path), state, set(snapshots)
        self.snapshots = {0: state.weights.cpu().numpy()} if 0 in self.wanted else {}
        self.identity: dict[str, object] = {}
        self.time = time.perf_counter()

    def resume(self, identity: dict[str, object], iterations: int) -> None:
        """Resume from the checkpoint if there is one; raise ``ValueError`` if it belongs to another run."""
        assert self.path is not None
        self.identity = identity
        if not self.path.exists():
            return
        about, tensors = _read_checkpoint(self.path)
        if about["identity"] != identity:
            other = about["identity"]
            raise ValueError(f"{self.path} belongs to another run: {other}, not {identity}; remove it or name another")
        if len(about["history"]) > iterations:
            raise ValueError(f"{self.path} holds {len(about['history'])} iterations, {iterations} were asked for")
        for name in ("scores", "first", "second"):
            getattr(self.state, name).copy_(tensors[name])
        self.state.eps, self.state.inexact = about["eps"], about["inexact"]
        self.state.history = [Iteration(**entry) for entry in about["history"]]
        self.snapshots = _snapshots(tensors)

    def after_iteration(self, *, last: bool) -> None:
        """Keep the weights if a snapshot is wanted; save from time to time and at the end."""
        if self.state.done in self.wanted:
            self.snapshots[self.state.done] = self.state.weights.cpu().numpy()
        if self.path is not None and (last or time.perf_counter() - self.time > CHECKPOINT_SECONDS):
            self._save(self.path)
            self.time = time.perf_counter()

    def _save(self, path: Path) -> None:
        state = self.state
        tensors = {"scores": state.scores, "first": state.first, "second": state.second}
        tensors |= {f"snapshot.{n}": torch.as_tensor(w) for n, w in self.snapshots.items()}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        history = [asdict(iteration) for iteration in state.history]
        about = {"identity": self.identity, "eps": state.eps, "inexact": state.inexact, "history": history}
        metadata = {"about": json.dumps(about)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata | {SEAL: _seal(metadata["about"], tensors)})

    def learned(self) -> LearnedWeights:
        """The result."""
        return LearnedWeights(self.state.weights.cpu().numpy(), self.snapshots, self.state.history)


def _identity(
    tam: TamConfig,
    bilevel: Bilevel,
    train_set: Samples,
    outer_set: Samples | None,
    tams: Sequence[nn.Module],
    seed: int,
) -> dict[str, object]:
    """Everything that decides a run, except its number of iterations."""
    plain = ("outer_lr", "inner_epochs", "inner_lr", "batch_size", "precision", "guard_every")
    identity: dict[str, object] = {"seed": seed, **{name: getattr(bilevel, name) for name in plain}}
    identity["method"] = bilevel.method or default_method(tams[0])
    # Options beyond the paper are named only if used, so that older checkpoints can still be resumed. The two fields of
    # a TAM that its parameters, which are in the digest, do not show came later: without them a checkpoint is refused.
    hidden = {name: getattr(tam, name) for name in ("dropout", "heads")}
    identity |= {name: value for name, value in hidden.items() if value != getattr(TamConfig, name)}
    if bilevel.outer_draw != "once":
        identity |= {"outer_draw": bilevel.outer_draw, "outer_size": bilevel.outer_size}
    for option in ("centred", "balanced"):
        if getattr(bilevel, option):
            identity[option] = True
    # A function's name is not reliable, but its values identify it, one for each label.
    logits = torch.eye(train_set.classes, device=train_set.device)
    values = [round(value, 6) for value in bilevel.outer_loss(logits, logits.argmax(-1)).tolist()]
    identity["outer_loss"] = values[0] if len(set(values)) == 1 else values
    identity["digest"] = _digest(train_set, OuterSets(train_set, outer_set, bilevel, seed).of(1)[0], tams)
    return identity


def _digest(train_set: Samples, outer_set: Samples, tams: Sequence[nn.Module]) -> str:
    """SHA-256 over the texts, the labels and the TAMs' initial parameters."""
    digest = hashlib.sha256()
    texts = (tensor for samples in (train_set, outer_set) for tensor in samples.content())
    for tensor in (*texts, *(parameter for tam in tams for parameter in tam.parameters())):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            about = json.loads(metadata["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        seal = metadata.get(SEAL)
        if seal is not None and seal != _seal(metadata["about"], tensors):  # the first checkpoints had none
            raise ValueError("its content does not match its checksum")
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise Damaged(f"{path} is no checkpoint of learn_weights, or a damaged one ({error}); name another") from None
    return about, tensors


def _seal(about: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of everything in a checkpoint: safetensors would not notice a changed number."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _snapshots(tensors: dict[str, Tensor]) -> dict[int, np.ndarray]:
    return {int(key.removeprefix("snapshot.")): value.numpy() for key, value in tensors.items() if "." in key}


def load_weights(path: str | Path) -> LearnedWeights:
    """The weights, snapshots and history that ``learn_weights(checkpoint=path)`` saved.

    Raises ``ValueError`` if the file holds none, ``FileNotFoundError`` if there is no file.
    """
    about, tensors = _read_checkpoint(path)
    history = [Iteration(**entry) for entry in about["history"]]
    return LearnedWeights(tensors["scores"].sigmoid().numpy(), _snapshots(tensors), history)
