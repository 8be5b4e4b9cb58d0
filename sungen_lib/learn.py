"""``learn_weights``: Algorithm 1 for labelled texts, with a progress bar, snapshots and a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from sungen_lib import choice, show
from sungen_lib.checkpoint import Saved, identity_of, read_checkpoint, snapshots_in
from sungen_lib.encode import Samples
from sungen_lib.models import TamConfig
from sungen_lib.reweight import Bilevel, Iteration, State, iterations
from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import Examples, numbered_as, two_classes
from sungen_lib.train import Diverged, Trainer, predict

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
    _check({"texts": texts} if outer_set is None else {"texts": texts, "outer_set": outer_set}, tam, seed, settings)
    if outer_set is not None:
        outer_set = numbered_as(texts, outer_set, "outer_set")
    tam, fitting = choice.fitting(texts) if tam is None else (tam, {})
    bilevel = Bilevel(**tam.inner | fitting | settings)
    tams, train_set, tokenizer = _prepared(tam, texts, initialisations, seed=seed, device=device)
    outer = None if outer_set is None else tam.encode(outer_set, tokenizer, device=device)
    saved = Saved(checkpoint, State(train_set), snapshots)
    if checkpoint is not None:
        saved.resume(identity_of(tam, bilevel, train_set, outer, tams, seed), bilevel.iterations)
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
    learned = LearnedWeights(saved.state.weights.cpu().numpy(), saved.snapshots, saved.state.history)
    choice.warn_if_apart(learned.weights, texts.labels, balanced=bilevel.balanced, centred=bilevel.centred)
    return learned


def _check(sets: dict[str, Examples], tam: object, seed: object, settings: dict[str, Any]) -> None:
    """Name the type that is wanted, where another is given, and a setting that is none; two classes are needed."""
    made_by = "sungen_lib.read(file) or Examples.of(texts, labels, label_names)"
    for name, given in sets.items():
        if not isinstance(given, Examples):
            raise ValueError(f"{name} must be Examples, made by {made_by}; got {type(given).__name__}")
        if not len(given):
            raise ValueError(f"{name} is empty: there are no texts")
    if tam is not None and not isinstance(tam, TamConfig):
        raise ValueError(f"tam must be a TamConfig, such as TamConfig('lstm'); got {tam!r}")
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0 on, got {seed}")
    known = [field.name for field in fields(Bilevel)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise TypeError(f"learn_weights has no setting {unknown[0]!r}; known: {', '.join(known)}")
    two_classes(sets["texts"], "texts")


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


def load_weights(path: str | Path) -> LearnedWeights:
    """The weights, snapshots and history that ``learn_weights(checkpoint=path)`` saved.

    Raises ``ValueError`` if the file holds none, ``FileNotFoundError`` if there is no file.
    """
    about, tensors = read_checkpoint(path)
    history = [Iteration(**entry) for entry in about["history"]]
    return LearnedWeights(tensors["scores"].sigmoid().numpy(), snapshots_in(tensors), history)
