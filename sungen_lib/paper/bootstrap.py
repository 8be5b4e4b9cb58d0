"""Bootstrap intervals over test items and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special  # its ``stats`` takes a second to import

from sungen_lib.paper.cells import Array, Cell, common_seeds

RESAMPLES = 10_000
BOOTSTRAP_SEED = 20_230_501
_BLOCK = 4_000_000  # resample counts held at once: 32 MB


def _patterns(scores: Array) -> tuple[Array, Array]:
    """The distinct columns of (k, items) whole numbers >= 0, (k, P) float, and how often each occurs, (P,).

    ``np.unique(scores, axis=1)`` returns the same, but sorts whole columns and is many times slower.
    """
    codes = np.zeros(scores.shape[1], dtype=np.int64)
    for row in scores:  # renumbered after each row, so that codes stay below ``items`` and never overflow
        codes = np.unique(codes * (int(row.max()) + 1) + row, return_inverse=True)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return scores[:, first].astype(np.float64), counts


def _resample_items(scores: Array, rng: np.random.Generator) -> Array:
    """(RESAMPLES, k) means over resampled items, for (k, items) scores, the same items in all k.

    Items with the same k scores are interchangeable, so drawing items with replacement means drawing how often each
    distinct column occurs: a multinomial over a handful of patterns, whatever the number of items.
    """
    items = scores.shape[1]
    patterns, counts = _patterns(scores)
    block = max(1, _BLOCK // len(counts))
    sizes = [min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block)]
    draws = [rng.multinomial(items, counts / items, size=size) @ patterns.T for size in sizes]
    means: Array = np.concatenate(draws) / items
    return means


def seed_weights(seeds: int, rng: np.random.Generator) -> Array:
    """(RESAMPLES, seeds) weights of resampled seeds, each row summing to 1.

    Their deviations from 1 / seeds are stretched twice. By sqrt(S / (S - 1)) (Rao & Wu 1988): plain resampling of three
    seeds understates the variance of their mean by a third. And by Student's t over the normal quantile: the spread
    itself is estimated from S seeds.
    """
    if seeds == 1:
        return np.ones((RESAMPLES, 1))
    counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    stretch = np.sqrt(seeds / (seeds - 1)) * special.stdtrit(seeds - 1, 0.975) / special.ndtri(0.975)
    weights: Array = 1 / seeds + stretch * (counts - 1 / seeds)
    return weights


def resample(rows: Sequence[Array], *, paired: bool, rng: np.random.Generator, of_seeds: Array | None = None) -> Array:
    """(RESAMPLES, rows) resampled percentages of (S, items) bool arrays: items and seeds are resampled.

    Items are resampled in the mean over seeds, seeds in the mean over items, and the two deviations are added.
    ``paired``: all rows were measured on the same items, and these are resampled together; seeds always are.
    ``of_seeds``: the ``seed_weights`` of all tasks of an average, which are drawn once because tasks that share their
    texts share their models as well.
    """
    seeds = len(rows[0])
    if not paired:
        together = seed_weights(seeds, rng) if of_seeds is None else of_seeds
        return np.hstack([resample([row], paired=True, rng=rng, of_seeds=together) for row in rows])
    of_items = _resample_items(np.stack([row.sum(axis=0) for row in rows]), rng) / seeds
    means = np.stack([row.mean(axis=1) for row in rows], axis=1)
    weights = seed_weights(seeds, rng) if of_seeds is None else of_seeds
    resampled: Array = 100.0 * (of_items + (weights - 1 / seeds) @ means)
    return resampled


def resample_cells(
    cells: Sequence[Cell],
    seeds: Sequence[int | None],
    *,
    paired: bool,
    rng: np.random.Generator,
    of_seeds: Array | None = None,
) -> Array:
    """``resample`` for the cells' items at ``seeds``; over seeds alone, kept together, if a cell has no items."""
    items = [found for found in (cell.items_at(seeds) for cell in cells) if found is not None]
    if len(items) == len(cells):
        return resample(items, paired=paired, rng=rng, of_seeds=of_seeds)
    weights = seed_weights(len(seeds), rng) if of_seeds is None else of_seeds
    resampled: Array = weights @ np.stack([cell.at(seeds) for cell in cells], axis=1)
    return resampled


def resample_tasks(grid: Sequence[Sequence[Cell]], seeds: Sequence[int | None], *, paired: bool) -> Array:
    """(RESAMPLES, rows): ``resample_cells`` of the rows of each task, averaged over the tasks of ``grid``.

    With several tasks a seed is drawn for all of them together, since tasks that share their texts share their models.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    of_seeds = seed_weights(len(seeds), rng) if len(grid) > 1 else None
    drawn = [resample_cells(cells, seeds, paired=paired, rng=rng, of_seeds=of_seeds) for cells in grid]
    mean: Array = np.mean(drawn, axis=0)
    return mean


def interval(resampled: Array) -> tuple[float, float]:
    """The middle 95 % of (RESAMPLES,) values."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def paired_gap(above: Cell, below: Cell) -> tuple[float, float, float, str]:
    """(gap, low, high, signs): ``above`` less ``below`` in points, the mean over common seeds; its 95 % interval by a
    paired bootstrap over seeds and test items; each seed's sign. NaN without common seeds or items.
    """
    seeds, _ = common_seeds([above, below])
    items = [cell.items_at(seeds) for cell in (above, below)]
    if not seeds or items[0] is None or items[1] is None:
        return (float("nan"),) * 3 + ("",)
    gaps = above.at(seeds) - below.at(seeds)
    draws = resample_tasks([[above, below]], seeds, paired=True)
    signs = " ".join("-0+"[int(np.sign(gap)) + 1] for gap in gaps)
    return (float(gaps.mean()), *interval(draws[:, 0] - draws[:, 1]), signs)


def number_interval(cells: Sequence[Cell]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over ``cells`` (one, or the tasks of an average), seeds and items together.

    Items are resampled in each cell, seeds, those that finished in every cell, in all of them together.
    """
    seeds, _ = common_seeds(cells)
    return interval(resample_tasks([[cell] for cell in cells], seeds, paired=True)[:, 0])
