"""``Experiment``: a notebook's parameters, and the paper's methods as specs at the chosen profile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from sungen_lib import embedded
from sungen_lib.lab import execution, figures, profiles, sources, stages, tables, tidying
from sungen_lib.lab.parameters import (
    ParameterError,
    _data_dir,
    _device,
    _model_or_none,
    _one_of,
    _only_known,
    _out,
    _some_of,
    _tasks_or_files,
    positive_integers,
)
from sungen_lib.lab.profiles import Profile
from sungen_lib.lab.provenance import provenance
from sungen_lib.lab.results import Grid, column_of, measured
from sungen_lib.lab.specs import LINEAR_MODEL, Data, Gold, Run, Spec, Synthetic, Weights, weights_of
from sungen_lib.lab.store import Record
from sungen_lib.learn import LearnedWeights
from sungen_lib.models import TamConfig
from sungen_lib.paper import verdicts
from sungen_lib.paper.cells import Cell, Scale
from sungen_lib.texts import data_folder, tasks
from sungen_lib.texts.examples import DataMissing, examples

TAMS = {"lstm": "LSTM", "distilbert": "DistilBERT", "bag": "bag"}


# The rows of Tables 3, 8 and 11 that are not SunGen's, as changes to ZeroGen's run.
BASELINES: dict[str, dict[str, Any]] = {
    "Confidence": {"selection": "confidence"},
    "Co-teaching": {"training": "coteaching"},
    "Meta-Weight-Net": {"training": "meta_weight_net"},
    "Label smoothing": {"loss": "smoothed_ce"},
    "Temporal ensembling": {"training": "temporal_ensembling"},
    "One-level RCE": {"loss": "rce", "budget": None},  # Table 11 is about the whole pool
    "cleanlab, then the TAM": {"selection": "cleanlab"},
}


LINEAR: dict[str, dict[str, Any]] = {
    LINEAR_MODEL: {},
    f"cleanlab, then {LINEAR_MODEL}": {"selection": "cleanlab"},
}


Seed = int


MakeRun = Callable[..., Run]  # (task, seed=...) -> Run


@dataclass(frozen=True)
class Experiment:
    """One notebook's run: what it is called, its profile, tasks, TAMs, seeds, and where data and results are."""

    name: str
    profile: Profile
    tasks: tuple[str, ...]
    tams: tuple[str, ...]
    chosen_seeds: tuple[int, ...] | None
    data_dir: str | None
    device: str
    out: Path
    extras: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_parameters(
        cls,
        name: str,
        parameters: Mapping[str, Any],
        *,
        tasks: Sequence[str],
        tams: Sequence[str] = ("lstm",),
        **extras: Callable[[str, object], Any],
    ) -> Experiment:
        """Validate a notebook's ``globals()``; ``tasks`` and ``tams`` are what ``None`` stands for.

        ``extras``: further parameters of the notebook, each with the function ``(name, value) -> value`` that checks
        it. Raises ``ParameterError``, one sentence, before anything is computed or written.
        """
        known = ("profile", "tasks", "tams", "seeds", "data_dir", "plm", "encoder", "device", "out", *extras)
        _only_known(parameters, known)
        profile = profiles.get(_one_of("profile", parameters["profile"], tuple(profiles.PROFILES)))
        if (plm := _model_or_none("plm", parameters.get("plm"))) is not None:
            profile = replace(profile, plm=plm)
        if (encoder := _model_or_none("encoder", parameters.get("encoder"))) is not None:
            profile = replace(profile, distilbert=replace(profile.distilbert, path=encoder))
        pairs = set(tasks) & set(_tasks.PAIRS)
        valid = _tasks.PAIRS if pairs else _tasks.CLASSIFICATION
        return cls(
            name=name,
            profile=profile,
            tasks=_tasks_or_files(parameters.get("tasks"), valid, tasks),
            tams=_some_of("tams", parameters.get("tams"), tuple(TAMS), tams),
            chosen_seeds=positive_integers("seeds", parameters.get("seeds")),
            data_dir=_data_dir(parameters.get("data_dir"), profile),
            device=_device(parameters.get("device", "auto"), profile),
            out=_out(parameters.get("out")),
            extras={key: check(key, parameters[key]) for key, check in extras.items()},
        )

    def only_task(self) -> str:
        """The task of a notebook that shows one; ``ParameterError`` if more were asked for."""
        if len(self.tasks) > 1:
            raise ParameterError(f"tasks must be one task in this notebook, got {', '.join(self.tasks)}")
        return self.tasks[0]

    def seeds(self, tam: str) -> tuple[int, ...]:
        """The seeds asked for, else the profile's for this TAM."""
        return self.chosen_seeds or self.profile.seeds(tam)

    # data

    def gold(self, task: str, split: str, *, rows: int | None = None) -> Gold:
        """The gold split at this profile's size; ``DataMissing`` where the data folder has none."""
        profile, known = self.profile, tasks.get(task)
        sizes = (profile.gold_train, profile.gold_test)
        if profile.source == "hub":  # Amazon's and DBpedia's sets are larger there than those of the paper
            sizes = (known.gold_train, known.gold_test)
        limit = rows or sizes[split == "test"]
        if known.files or (tasks.is_file(task) and self.data_dir is None):
            return Gold(task, split, "folder", limit, self._own_file(task, split))
        return Gold(task, split, profile.source, limit, self._fingerprint(task, data_folder.GOLD, split))

    def _own_file(self, task: str, split: str) -> str:
        """What an own task's gold rows are: their file's hash, and the task's."""
        path = dict(tasks.get(task).files).get(split)
        if path is None or not path.is_file():
            raise DataMissing(f"no {path}" if path else f"{task} names no {split} file of gold rows")
        return f"{_file_hash(path, path.stat().st_mtime_ns)} {self._own_task(task)}"

    def _own_task(self, task: str) -> str:
        return _file_hash(Path(task), Path(task).stat().st_mtime_ns) if tasks.is_file(task) else ""

    def synthetic(self, task: str) -> Synthetic:
        """The PLM-written pool for ``task``, which may be another task's (``synthetic_from``)."""
        profile, origin, plm = self.profile, tasks.get(task).synthetic_from, self.plm
        if profile.source == "folder" and tasks.get(task).pair and plm == profiles.get(profile.name).plm:
            plm = "ctrl"  # the folder's pair texts were written by CTRL
        return Synthetic(
            task=origin,
            plm=plm,
            source=profile.source,
            rows=self.pool(task),
            fingerprint=self._fingerprint(origin, plm, "train"),
            sampling=None if profile.source == "folder" else profile.sampling,
        )

    @property
    def plm(self) -> str:
        """The PLM as specs name it: the shipped one with its fingerprint, which changes when it is trained anew."""
        return f"embedded@{embedded.plm_fingerprint()}" if self.profile.plm == "embedded" else self.profile.plm

    def _fingerprint(self, task: str, source: str, split: str) -> str:
        if self.profile.source == "embedded":
            return " ".join(filter(None, (embedded.fingerprint(), self._own_task(task))))
        hub = tasks.get(task).hub
        if hub is not None and self.profile.source == "hub" and (self.data_dir is None or source != data_folder.GOLD):
            return hub.path  # texts are generated; gold comes from the hub, or from a folder
        if self.profile.source == "hub" and source != data_folder.GOLD:
            return self._own_task(task)
        if self.data_dir is None:
            raise DataMissing(f"no data_dir was given to read {source} data for {task} from")
        path = data_folder.locate(self.data_dir, task, source, split)
        return _file_hash(path, path.stat().st_mtime_ns)

    def validation(self, task: str) -> Synthetic:
        """More synthetic rows, a quarter of the pool, which nothing is trained on: variants are chosen by them."""
        pool = self.synthetic(task)
        return replace(pool, start=pool.rows, rows=pool.rows // 4)

    def noisy_gold(self, task: str, *, rows: int, noise: str, rate: float) -> Gold:
        """Gold training rows with label flips planted (``runs.NOISES``)."""
        return replace(self.gold(task, "train", rows=rows), noise=noise, noise_rate=rate)

    # the paper's methods

    def supervised(self, task: str, tam: str, seed: Seed) -> Run:
        """The TAM trained on gold data."""
        return self._run("supervised", task, tam, seed, train=self.gold(task, "train"))

    def zerogen(self, task: str, tam: str, seed: Seed, *, budget: int | None = None, **changes: Any) -> Run:
        """The TAM trained on synthetic texts as they come; ``budget`` defaults to the profile's, ``changes`` are to
        ``Run``'s fields."""
        return self._run(
            "zerogen", task, tam, seed, train=self.synthetic(task), budget=self._budget(task, budget), **changes
        )

    def pool(self, task: str) -> int:
        """Rows that weights are learned on."""
        return self.profile.pair_pool if tasks.get(task).pair else self.profile.pool

    def _budget(self, task: str, budget: int | None) -> int | None:
        """``None`` for the whole pool, so that equal runs have equal specs."""
        budget = budget or self.profile.budget
        return None if budget is None or budget >= self.pool(task) else budget

    def weights(
        self, task: str, tam: str, seed: Seed, *, train: Gold | Synthetic | None = None, **changes: Any
    ) -> Weights:
        """Weights of the task's pool, or of ``train``, learned once a seed; ``changes`` to ``Weights``' fields."""
        profile = self.profile
        train = train or self.synthetic(task)
        spec = Weights(
            train=train,
            tam=profile.tam(tam),
            seed=seed,
            device=self.device,
            outer_size=min(profile.outer_size, max(1, self.rows(train) // 2)),
            outer_lr=profile.outer_lr,
            iterations=profile.iterations,
            snapshots=profile.snapshots,
        )
        return replace(spec, **changes)

    def sungen(
        self, task: str, tam: str, seed: Seed, *, budget: int | None = None, by: str | None = None, **changes: Any
    ) -> Run:
        """The TAM trained on a subset drawn by the learned weights, or on the whole pool weighted (``budget`` of the
        pool's size); ``changes`` are to ``Weights``' fields. ``by``: the TAM that the weights are learned with."""
        weights = self.weights(task, by or tam, seed, **changes)
        budget = self._budget(task, budget)
        selection = "weighted" if budget is None else "bernoulli"
        return self._run(
            "sungen", task, tam, seed, train=weights.train, weights=weights, selection=selection, budget=budget
        )

    def baseline(self, name: str, task: str, tam: str, seed: Seed) -> Run:
        """What SunGen is compared with: a key of ``BASELINES``, which the run's ``method`` will be."""
        return replace(self.zerogen(task, tam, seed), method=name, **BASELINES[name])

    def linear(self, name: str, task: str, seed: Seed) -> Run:
        """What a user would try first, without a TAM, on the whole pool: a key of ``LINEAR``."""
        return replace(self.zerogen(task, "lstm", seed), method=name, tam=None, budget=None, **LINEAR[name])

    def prompting(self, task: str) -> Run:
        """The PLM's own zero-shot predictions."""
        if self.profile.source == "folder":
            raise DataMissing("the data folder holds texts, not the PLM")
        return Run("prompting", self.gold(task, "test"), self.device, plm=self.plm)

    def _run(self, method: str, task: str, tam: str, seed: Seed, **what: Any) -> Run:
        return Run(method, self.gold(task, "test"), self.device, tam=self.profile.tam(tam), seed=seed, **what)

    # execution and results

    def grid(self, rows: Mapping[str, tuple[MakeRun, Sequence[Seed]]]) -> Grid:
        """Every row of a table x every task x the row's seeds, as specs; what cannot run is noted with its reason."""
        grid = Grid()
        for row, (make, seeds) in rows.items():
            for task in self.tasks:
                try:
                    specs = [make(task, seed=seed) for seed in seeds]
                    for spec in specs:
                        encoder_at_hand(spec.tam)
                    grid.specs[row, task] = specs
                except DataMissing as error:
                    grid.not_run[row, column_of(task)] = str(error)
        return grid

    def execute(self, specs: Sequence[Spec]) -> dict[Spec, Record]:
        """The specs' records, with a progress bar."""
        return execution.execute(specs, data_dir=self.data_dir, progress=self.name)

    def cells(self, grid: Grid, records: Mapping[Spec, Record]) -> list[Cell]:
        """One measured cell for each row and task of ``grid``."""
        return [
            measured(row, column_of(task), [records[spec] for spec in specs], scale=self.scale(specs[0]))
            for (row, task), specs in grid.specs.items()
        ]

    def scale(self, spec: Run) -> Scale:
        """"demo", or "paper" where task, source, sizes and TAM are the paper's, else "other"."""
        if self.profile.demo:
            return "demo"
        if tasks.is_file(spec.test.task):
            return "other"
        task = tasks.get(spec.test.task)
        if any(isinstance(w.outer, Gold) and w.outer.rows != 1000 for w in weights_of(spec)):
            return "other"  # Table 2's outer set (Appendix F.2)
        paper_plm = profiles.get("paper").plm
        if (spec.plm or (spec.train.plm if isinstance(spec.train, Synthetic) else paper_plm)) != paper_plm:
            return "other"
        same_tam = spec.tam is None or spec.tam in (profiles.PAPER_LSTM, profiles.PAPER_DISTILBERT)
        if isinstance(spec.train, Gold):
            sizes = (self.rows(spec.train), self.rows(spec.test)) == (task.gold_train, task.gold_test)
            return "paper" if sizes and same_tam else "other"
        return "paper" if self.profile.name == "paper" and same_tam else "other"

    def rows(self, spec: Gold | Synthetic) -> int:
        """How many rows a data set has; a folder's may be fewer than were asked for."""
        if isinstance(spec, Gold) and spec.source == "folder":
            return len(sources.load(replace(spec, noise=None, noise_rate=0.0), self.data_dir))
        return spec.rows or len(sources.load(spec, self.data_dir))

    def publish(
        self,
        cells: Sequence[Cell],
        records: Mapping[Spec, Record],
        *,
        title: str,
        not_run: Mapping[tuple[str, str], str] | None = None,
        rows: Mapping[str, str] | None = None,
    ) -> tuple[Markdown, Markdown]:
        """Write the table and its claims under ``out``; returns both for the notebook to show.

        ``rows``: which row of ours stands for a row of the paper in a claim (``paper.check``).
        """
        profile = self.profile.name
        # Reasons are told as on any machine: DIR is that of ``--data DIR``.
        reasons = {cell: reason.replace(self.data_dir or "DIR", "DIR") for cell, reason in (not_run or {}).items()}
        table = tidying.tidy(self.name, cells, reasons)
        claims = verdicts.check(self.name, cells, rows=rows)
        provenance = self.provenance(records)
        tables.write(
            self.name, table, claims=claims, profile=profile, out=self.out, provenance=provenance, title=title
        )
        return tables.show(table, title=title, profile=profile), tables.show_claims(claims, profile=profile)

    def publish_figure(self, figure: Figure, records: Mapping[Spec, Record]) -> None:
        """Write the figure under ``out``."""
        figures.write_figure(
            figure, self.name, profile=self.profile.name, out=self.out, provenance=self.provenance(records)
        )

    def wrong_samples(self, spec: Data) -> np.ndarray | None:
        """(N,) bool: which samples are mislabelled or off topic, by the embedded grammar; ``None`` for other texts."""
        if spec.source != "embedded" or tasks.is_file(spec.task):
            return None
        examples = sources.load(spec, self.data_dir)
        wrong: np.ndarray = embedded.judge(spec.task, examples) != examples.labels
        return wrong

    def learned(self, records: Mapping[Spec, Record]) -> dict[Weights, LearnedWeights]:
        """The weights among ``records``; of those that have diverged, one printed sentence each."""
        found = {}
        for spec, record in records.items():
            if isinstance(spec, Weights) and record.diverged:
                print(f"{column_of(spec.train.task)}, seed {spec.seed}: the weights have diverged: {record.diverged}.")
            elif isinstance(spec, Weights):
                found[spec] = stages.learned(spec)
        return found

    def noise_separation(self, records: Mapping[Spec, Record]) -> pd.DataFrame:
        """``task``, ``tam``, ``seed``, ``auc`` of each set of learned weights against the grammar's judgement."""
        from sklearn.metrics import roc_auc_score

        lines = []
        for spec in records:
            wrong = self.wrong_samples(spec.train) if isinstance(spec, Weights) else None
            if isinstance(spec, Weights) and wrong is not None and not records[spec].diverged:
                auc = roc_auc_score(~wrong, stages.learned(spec).weights)
                lines.append({"task": spec.train.task, "tam": spec.tam.kind, "seed": spec.seed, "auc": auc})
        return pd.DataFrame(lines, columns=["task", "tam", "seed", "auc"])

    def _own_models(self) -> dict[str, str | None]:
        """The PLM and the encoder, where they are not the profile's."""
        default = profiles.get(self.profile.name)
        ours = {"plm": self.profile.plm, "encoder": self.profile.distilbert.path}
        usual = {"plm": default.plm, "encoder": default.distilbert.path}
        return {name: model for name, model in ours.items() if model != usual[name]}

    def provenance(self, records: Mapping[Spec, Record]) -> dict[str, Any]:
        """Where a result comes from: profile, parameters, versions, records."""
        parameters = {
            "tasks": list(self.tasks),
            "tams": list(self.tams),
            "seeds": self.chosen_seeds and list(self.chosen_seeds),
            **self._own_models(),
            **self.extras,
        }
        return provenance(list(records.values()), profile=self.profile.name, parameters=parameters)


_tasks = tasks  # the class's field of that name hides the module in its body


def encoder_at_hand(tam: TamConfig | None) -> None:
    """Raises ``DataMissing`` if the TAM is a pre-trained encoder that can be loaded from nowhere."""
    why = None if tam is None or tam.path is None else _why_missing(tam)
    if why is not None:
        raise DataMissing(why)


@lru_cache(maxsize=8)  # without a network it takes the hub's client most of a minute to find out
def _why_missing(tam: TamConfig) -> str | None:
    try:
        tam.tokenizer(examples([], [], ("",)))  # a pre-trained one does not look at the texts
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=64)
def _file_hash(path: Path, modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
