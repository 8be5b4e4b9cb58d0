"""Records to results: a table's grid of runs, its cells, and what weights say about noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pandas as pd

from sungen_lib import embedded
from sungen_lib.lab import profiles, sources, stages
from sungen_lib.lab.profiles import Profile
from sungen_lib.lab.specs import Data, Gold, Run, Spec, Synthetic, Trust, Weights, weights_of
from sungen_lib.lab.store import Record
from sungen_lib.learn import LearnedWeights
from sungen_lib.models import TamConfig
from sungen_lib.paper.cells import Cell, Scale
from sungen_lib.texts import plms, tasks
from sungen_lib.texts.examples import DataMissing, Examples

MakeRun = Callable[..., Run]  # (task, seed=...) -> Run


@dataclass
class Grid:
    """``specs``: the runs of each (row, task), one per seed; ``not_run``: why a (row, column) has none.

    ``without_model``: runs that lack only a model on this machine, by their cell in ``not_run``.
    """

    specs: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    not_run: dict[tuple[str, str], str] = field(default_factory=dict)
    without_model: dict[tuple[str, str], list[Run]] = field(default_factory=dict)

    def all(self) -> list[Run]:
        """Every run of the grid; those of one row and seed, which may share their training, one after the other."""
        rows = dict.fromkeys(row for row, _ in self.specs)
        by_row = [[specs for (name, _), specs in self.specs.items() if name == row] for row in rows]
        return [spec for tasks in by_row for same_seed in zip(*tasks, strict=True) for spec in same_seed]


def grid(rows: Mapping[str, tuple[MakeRun, Sequence[int]]], task_names: Sequence[str]) -> Grid:
    """Every row on every task, with the row's seeds; a row for which data or a model is missing is noted."""
    found = Grid()
    for row, (make, seeds) in rows.items():
        for task in task_names:
            try:
                specs = [make(task, seed=seed) for seed in seeds]
            except DataMissing as error:
                found.not_run[row, column_of(task)] = str(error)
                continue
            missing = next(filter(None, (_why_missing(spec.tam) for spec in specs)), None)
            if missing is None:
                found.specs[row, task] = specs
            else:
                found.not_run[row, column_of(task)] = missing
                found.without_model[row, column_of(task)] = specs
    return found


@lru_cache(maxsize=8)  # without a network the hub's client needs most of a minute to find out
def _why_missing(tam: TamConfig | None) -> str | None:
    """Why a pre-trained encoder cannot be loaded, if it cannot."""
    if tam is None or tam.path is None:
        return None
    try:
        plms.pretrained(tam.path)
        tam.tokenizer(Examples.of([], [], ("",)))  # a pre-trained one does not look at the texts
    except (ValueError, DataMissing) as error:
        return str(error)
    return None


# --- cells ------------------------------------------------------------------------------------------------------------


def cells(grid: Grid, records: Mapping[Spec, Record], *, profile: Profile, data_dir: str | None = None) -> list[Cell]:
    """One measured cell for each row and task of ``grid``."""
    return [
        measured(row, column_of(task), [records[spec] for spec in specs], scale=scale(specs[0], profile, data_dir))
        for (row, task), specs in grid.specs.items()
    ]


def measured(row: str, column: str, records: Sequence[Record], *, scale: Scale) -> Cell:
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


def column_of(task: str) -> str:
    """The heading of a task's column: its name, also for a task given as a YAML path."""
    return tasks.get(task).name if tasks.is_file(task) else task


def scale(spec: Run, profile: Profile, data_dir: str | None = None) -> Scale:
    """The scale: "demo", or "paper" where task, prompts, source, sizes and TAM are the paper's, else "other"."""
    if profile.demo:
        return "demo"
    task = tasks.get(spec.test.task)
    if tasks.is_file(spec.test.task) or not task.gold_as_in_paper:
        return "other"
    if not isinstance(spec.train, Gold) and (profile.name != "paper" or task.pair):  # a pair's prompts are ours
        return "other"
    if any(isinstance(w.outer, Gold) and w.outer.rows != 1000 for w in weights_of(spec)):
        return "other"  # Table 2's outer set (Appendix F.2)
    paper_plm = profiles.get("paper").plm
    if (spec.plm or (spec.train.plm if isinstance(spec.train, Synthetic) else paper_plm)) != paper_plm:
        return "other"
    same_tam = spec.tam is None or spec.tam in (profiles.PAPER_LSTM, profiles.PAPER_DISTILBERT)
    if not same_tam or _size(spec.test, data_dir) != task.gold_test:
        return "other"
    if isinstance(spec.train, Gold) and _size(spec.train, data_dir) != task.gold_train:
        return "other"
    return "paper"


def _size(data: Data, data_dir: str | None) -> int:
    """Rows of a set; the hub's are known without reading it."""
    if data_dir is None and data.rows is not None:
        return data.rows
    return len(sources.load(data, data_dir))


# --- weights and noise ------------------------------------------------------------------------------------------------


def learned_weights(records: Mapping[Spec, Record]) -> dict[Weights, LearnedWeights]:
    """The weights among ``records``; prints one sentence for each set that has diverged."""
    found = {}
    for spec, record in records.items():
        if isinstance(spec, Weights) and record.diverged:
            print(f"{column_of(spec.train.task)}, seed {spec.seed}: the weights have diverged: {record.diverged}.")
        elif isinstance(spec, Weights):
            found[spec] = stages.learned(spec)
    return found


def wrong_samples(spec: Data, data_dir: str | None) -> np.ndarray | None:
    """(N,) bool: which samples the grammar says are mislabelled or off topic; ``None`` for other texts."""
    if spec.source != "embedded" or tasks.is_file(spec.task):
        return None
    texts = sources.load(spec, data_dir)
    wrong: np.ndarray = embedded.judge(spec.task, texts) != texts.labels
    return wrong


def noise_separation(records: Mapping[Spec, Record], data_dir: str | None) -> pd.DataFrame:
    """``task``, ``tam``, ``seed`` and ``auc`` of each set of learned weights against the grammar's judgement."""
    from sklearn.metrics import roc_auc_score

    lines = []
    for spec, record in records.items():
        if not isinstance(spec, Weights) or record.diverged:
            continue
        wrong = wrong_samples(spec.train, data_dir)
        if wrong is not None:
            auc = roc_auc_score(~wrong, stages.learned(spec).weights)
            lines.append({"task": spec.train.task, "tam": spec.tam.kind, "seed": spec.seed, "auc": auc})
    return pd.DataFrame(lines, columns=["task", "tam", "seed", "auc"])


def noise_auc(spec: Trust | Weights, records: Mapping[Spec, Record], data_dir: str | None) -> float:
    """Area under the ROC curve of a method's scores of noisy gold labels (``spec.train``) against the truth.

    Samples without a score are left out. NaN if the method diverged.
    """
    from sklearn.metrics import roc_auc_score

    if records[spec].diverged:
        return float("nan")
    assert isinstance(spec.train, Gold) and spec.train.noise is not None
    noisy = sources.load(spec.train, data_dir)
    right = noisy.labels == sources.load(replace(spec.train, noise=None, noise_rate=0.0), data_dir).labels
    scores = stages.scores(spec)
    known = ~np.isnan(scores)
    return float(roc_auc_score(right[known], scores[known]))


def chosen_by_synthetic(variants: Mapping[str, Sequence[Record]]) -> str:
    """The variant with the lowest robust loss on synthetic rows, averaged over its seeds.

    A variant with a diverged seed is left out. Raises ``ValueError`` if a record was tested on gold rows, which must
    not influence the choice.
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
