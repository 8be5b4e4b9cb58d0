"""A measured cell of a table: one value per seed, and which test items were predicted correctly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from sungen_lib.paper.numbers import AVERAGE

Array = npt.NDArray[Any]
Scale = Literal["paper", "other", "demo"]


@dataclass(frozen=True, eq=False)
class Cell:
    """One measured cell.

    ``seeds``: S distinct seeds; ``(None,)`` for a measurement without a seed (prompting), which then pairs with every
    seed of another cell. ``values``: S numbers, percent (Self-BLEU: in [0, 1]). ``correct``: (S, items) bool, or
    ``None`` where a value is not a mean over items or these are not known. ``diverged``: the seeds that diverged; their
    value is NaN and they are left out of every mean, because divergence is an outcome and not an accuracy.
    """

    row: str
    column: str
    scale: Scale
    seeds: tuple[int | None, ...]
    values: tuple[float, ...]
    correct: Array | None = None
    diverged: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        where = f"cell {self.row!r}, {self.column!r}"
        if self.column == AVERAGE:
            raise ValueError(f"{where}: averages are computed, not measured")
        if self.scale not in get_args(Scale):
            raise ValueError(f"{where}: scale {self.scale!r} is not one of {', '.join(get_args(Scale))}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or (None in self.seeds and len(self.seeds) > 1):
            raise ValueError(f"{where}: seeds {self.seeds} are not distinct seeds, nor (None,)")
        if len(self.values) != len(self.seeds):
            raise ValueError(f"{where}: {len(self.seeds)} seeds, {len(self.values)} values")
        not_numbers = {s for s, v in zip(self.seeds, self.values, strict=True) if not np.isfinite(v)}
        if not_numbers != set(self.diverged):
            raise ValueError(f"{where}: seeds {not_numbers} have no number, seeds {set(self.diverged)} diverged")
        if self.correct is not None:
            self._check_items(where, self.correct)

    def _check_items(self, where: str, correct: Array) -> None:
        if correct.dtype != np.bool_ or correct.ndim != 2 or len(correct) != len(self.seeds) or not correct.size:
            shape = f"({len(self.seeds)}, items)"
            raise ValueError(f"{where}: correct must be bool, {shape}; got {correct.dtype}, {correct.shape}")
        for seed, value, items in zip(self.seeds, self.values, correct, strict=True):
            if seed not in self.diverged and abs(100.0 * items.mean() - value) > 0.01:
                raise ValueError(f"{where}: seed {seed} says {value}, its items say {100.0 * items.mean():.4f}")

    def __repr__(self) -> str:
        number = f"{self.mean:.2f}" + ("" if np.isnan(self.sd) else f" ± {self.sd:.2f}")
        gone = f", {len(self.diverged)} diverged" if self.diverged else ""
        where = f"{self.row!r}, {self.column!r}"
        return f"Cell({where}: {number if self.finished else 'diverged'}; {len(self.seeds)} seeds{gone}, {self.scale})"

    @property
    def finished(self) -> tuple[int | None, ...]:
        """The seeds that did not diverge."""
        return tuple(seed for seed in self.seeds if seed not in self.diverged)

    @property
    def mean(self) -> float:
        """Mean over the finished seeds; NaN if all diverged."""
        return float(np.mean(self.at(self.finished))) if self.finished else float("nan")

    @property
    def sd(self) -> float:
        """Sample standard deviation over the finished seeds; NaN for fewer than two."""
        return float(np.std(self.at(self.finished), ddof=1)) if len(self.finished) > 1 else float("nan")

    def at(self, seeds: Sequence[int | None]) -> Array:
        """(len(seeds),) float: the values of these seeds."""
        return np.array(self.values)[self._positions(seeds)]

    def items_at(self, seeds: Sequence[int | None]) -> Array | None:
        """(len(seeds), items) bool: per-item correctness of these seeds; ``None`` without items."""
        return None if self.correct is None else self.correct[self._positions(seeds)]

    def _positions(self, seeds: Sequence[int | None]) -> list[int]:
        return [0 if self.seeds == (None,) else self.seeds.index(seed) for seed in seeds]


def scale_of(cells: Iterable[Cell]) -> Scale:
    """The scale of a statement about several cells: that of the one farthest from the paper."""
    scales: tuple[Scale, ...] = get_args(Scale)
    return max((cell.scale for cell in cells), key=scales.index)


def common_seeds(cells: Sequence[Cell]) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """(finished, diverged): the seeds that all cells ran, split by whether one diverged; a seedless cell fits any."""
    seeded = [set(cell.seeds) for cell in cells if cell.seeds != (None,)]
    if not seeded:
        return (None,), ()
    shared = sorted(seed for seed in set.intersection(*seeded) if seed is not None)
    gone = {seed for cell in cells for seed in cell.diverged}
    return tuple(s for s in shared if s not in gone), tuple(s for s in shared if s in gone)
