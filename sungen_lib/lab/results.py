"""Records to table cells: the grid of a table's runs, and what a cell is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sungen_lib.lab import sources, stages
from sungen_lib.lab.specs import Gold, Run, Spec, Trust, Weights
from sungen_lib.lab.store import Record
from sungen_lib.paper import cells
from sungen_lib.paper.cells import Cell
from sungen_lib.texts import tasks


@dataclass
class Grid:
    """``specs``: the runs of each (row, column), one a seed; ``not_run``: why a (row, column) has none."""

    specs: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    not_run: dict[tuple[str, str], str] = field(default_factory=dict)

    def all(self) -> list[Run]:
        """Every run of the grid."""
        return [spec for specs in self.specs.values() for spec in specs]


def noise_auc(spec: Trust | Weights, records: Mapping[Spec, Record], data_dir: str | None) -> float:
    """Area under the ROC curve of a method's trust in noisy gold labels (``spec.train``) against the truth; NaN if it
    diverged."""
    from sklearn.metrics import roc_auc_score

    if records[spec].diverged:
        return float("nan")
    assert isinstance(spec.train, Gold) and spec.train.noise is not None
    noisy = sources.load(spec.train, data_dir)
    right = noisy.labels == sources.load(replace(spec.train, noise=None, noise_rate=0.0), data_dir).labels
    trust = stages.trust(spec)  # NaN: no opinion
    known = ~np.isnan(trust)
    return float(roc_auc_score(right[known], trust[known]))


def chosen_by_synthetic(variants: Mapping[str, Sequence[Record]]) -> str:
    """The variant of the least robust loss on synthetic rows, the mean over its seeds; none with a diverged seed.

    Raises ``ValueError`` where a record was tested on gold rows: they must have no say.
    """
    means = {}
    for name, records in variants.items():
        if any("robust_loss" not in record.metrics for record in records if not record.diverged):
            raise ValueError(f"{name}: variants are chosen by synthetic rows, and a record was tested on others")
        if records and not any(record.diverged for record in records):
            means[name] = float(np.mean([record.metrics["robust_loss"] for record in records]))
    if not means:
        raise ValueError("no variant to choose from: each has a diverged seed")
    return min(means, key=means.__getitem__)


def column_of(task: str) -> str:
    """What a table calls the task, or a column that is none: an own one's file is a path."""
    return tasks.get(task).name if tasks.is_file(task) else task


def measured(row: str, column: str, records: Sequence[Record], *, scale: cells.Scale) -> Cell:
    """A table cell from the records of its seeds; a diverged seed has no accuracy."""
    items = {record.id: record.correct() for record in records if not record.diverged}
    size = len(next(iter(items.values()))) if items else 1
    correct = np.stack([items.get(record.id, np.zeros(size, dtype=bool)) for record in records])
    return Cell(
        row=row,
        column=column,
        scale=scale,
        seeds=tuple(record.seed for record in records),
        values=tuple(record.accuracy for record in records),
        correct=correct,
        diverged=tuple(record.seed for record in records if record.diverged),
    )
