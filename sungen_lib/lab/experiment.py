"""``Experiment``: what a notebook works with. Its parameters, its data and methods as specs, execution, publication."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from sungen_lib.lab import evidence, execution, figures, parameters, profiles, results, tables, tidying
from sungen_lib.lab.methods import Methods
from sungen_lib.lab.parameters import TAMS, ParameterError
from sungen_lib.lab.profiles import Profile
from sungen_lib.lab.provenance import provenance
from sungen_lib.lab.results import Grid, MakeRun
from sungen_lib.lab.specs import Data, Spec, Weights
from sungen_lib.lab.store import Record
from sungen_lib.lab.task_data import TaskData
from sungen_lib.learn import LearnedWeights
from sungen_lib.paper import verdicts
from sungen_lib.paper.cells import Cell
from sungen_lib.paper.claims import FROZEN, WITHOUT_TAM
from sungen_lib.texts import plms
from sungen_lib.texts import tasks as known_tasks


@dataclass(frozen=True)
class Experiment:
    """One notebook's run: its name, profile, tasks, TAMs and seeds, where its data are and where results go.

    ``data`` names the data sets and ``methods`` the runs, as specs; ``execute`` makes records of them.
    """

    name: str
    profile: Profile
    tasks: tuple[str, ...]
    tams: tuple[str, ...]
    chosen_seeds: tuple[int, ...] | None
    data_dir: str | None
    device: str
    out: Path
    extras: dict[str, Any] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)  # why runs were left out that may be possible next time

    @classmethod
    def from_parameters(
        cls,
        name: str,
        namespace: Mapping[str, Any],
        *,
        tasks: Sequence[str],
        tams: Sequence[str] = ("lstm",),
        seeds: Sequence[int] | None = None,
        **extras: Any,
    ) -> Experiment:
        """Check the parameters in a notebook's ``globals()``. ``tasks``, ``tams`` and ``seeds`` replace parameters that
        are ``None``; without ``seeds`` the profile's are used.

        ``extras``: the types of the notebook's further parameters (``parameters.PositiveInteger`` and the like). Raises
        ``ParameterError``, one sentence, before anything is computed or written.
        """
        given = parameters.checked(namespace, extras)
        profile = profiles.get(given.profile)
        if given.plm is not None:
            profile = replace(profile, plm=given.plm, chat=False)
        if given.encoder is not None:
            profile = replace(profile, distilbert=replace(profile.distilbert, path=given.encoder))
        return cls(
            name=name,
            profile=profile,
            tasks=parameters.task_names(given, tasks),
            tams=given.tams or tuple(tams),
            chosen_seeds=given.seeds or (tuple(seeds) if seeds else None),
            data_dir=parameters.data_dir(given, profile),
            device=parameters.device(given, profile),
            out=parameters.output_folder(given),
            extras={key: getattr(given, key) for key in extras},
        )

    @cached_property
    def data(self) -> TaskData:
        """The tasks' data sets."""
        return TaskData(self.profile, self.data_dir)

    @cached_property
    def methods(self) -> Methods:
        """The paper's methods."""
        return Methods(self.profile, self.data, self.device)

    def only_task(self) -> str:
        """The task of a notebook that shows one; ``ParameterError`` if more were asked for."""
        if len(self.tasks) > 1:
            raise ParameterError(f"tasks must be one task in this notebook, got {', '.join(self.tasks)}")
        return self.tasks[0]

    def check_that_tasks_share_texts(self) -> None:
        """``ParameterError`` unless the tasks have one synthetic training set, as IMDb and SST-2 do."""
        if len({known_tasks.get(task).synthetic_from for task in self.tasks}) > 1:
            raise ParameterError(
                "tasks must share their synthetic texts, as imdb and sst2 do: those choose among the variants"
            )

    def sizes(self) -> tuple[int, ...]:
        """Table 4's sizes: parameter ``budgets``, else the profile's; ``ParameterError`` if one exceeds the pool."""
        sizes: tuple[int, ...] = self.extras["budgets"] or self.profile.budgets
        if max(sizes) > self.profile.pool:
            raise ParameterError(f"budgets must not exceed the pool of {self.profile.pool:,} texts, got {max(sizes):,}")
        return sizes

    def evidence(self, name: str | None = None, *, why_none: str = "") -> None:
        """Display the committed results on real text of this notebook, or of the table or figure called ``name``.

        If there are none, one sentence says so; ``why_none`` is its reason.
        """
        evidence.show(name or self.name, why_none=why_none)

    def seeds(self, tam: str) -> tuple[int, ...]:
        """The seeds asked for, else the profile's for this TAM."""
        return self.chosen_seeds or self.profile.seeds(tam)

    def supervised_seeds(self, tam: str) -> tuple[int, ...]:
        """The seeds of supervised runs: the parameter ``supervised_seeds``, else ``seeds``. No claim needs these runs,
        which are slow; those of a frozen encoder are cheap and always have all.
        """
        fewer: tuple[int, ...] | None = self.extras["supervised_seeds"] if tam != "frozen" else None
        return fewer or self.seeds(tam)

    def title(self, tam: str) -> str:
        """The TAM's name in tables, where only the paper's encoder is called DistilBERT."""
        path = self.profile.tam(tam).path
        if path is None or path == profiles.PAPER_DISTILBERT.path:
            return TAMS[tam]
        return plms.title(path) + (" (frozen)" if tam == "frozen" else "")

    def suffix(self, tam: str) -> str:
        """What the names of this TAM's rows end in, in a table about the paper's LSTM: nothing for the LSTM itself."""
        return "" if tam == "lstm" else f", {self.title(tam)}"

    def suffixes(self) -> dict[str, str]:
        """The TAMs of a table about the paper's LSTM, each with its ``suffix``: the LSTM and, at real profiles, a head
        on a frozen encoder.
        """
        return {tam: self.suffix(tam) for tam in (["lstm"] if self.profile.demo else ["lstm", "frozen"])}

    def grid(self, rows: Mapping[str, tuple[MakeRun, Sequence[int]]]) -> Grid:
        """Every row of a table on every task, with the row's seeds, as specs; what cannot run, with its reason."""
        found = results.grid(rows, self.tasks)
        # What a data folder lacks it lacks until it changes; a model may be within reach next time.
        self.lacking.extend(found.not_run[cell] for cell in found.without_model)
        return found

    def execute(self, specs: Sequence[Spec]) -> dict[Spec, Record]:
        """The specs' records, with a progress bar."""
        return execution.execute(specs, data_dir=self.data_dir, progress=self.name)

    def cells(self, grid: Grid, records: Mapping[Spec, Record]) -> list[Cell]:
        """One measured cell for each row and task of ``grid``."""
        return results.cells(grid, records, profile=self.profile, data_dir=self.data_dir)

    def learned(self, records: Mapping[Spec, Record]) -> dict[Weights, LearnedWeights]:
        """The weights among ``records``; prints one sentence for each set that has diverged."""
        return results.learned_weights(records)

    def wrong_samples(self, spec: Data) -> np.ndarray | None:
        """(N,) bool: which samples the grammar says are mislabelled or off topic; ``None`` for real texts."""
        return results.wrong_samples(spec, self.data_dir)

    def noise_separation(self, records: Mapping[Spec, Record]) -> pd.DataFrame:
        """``task``, ``tam``, ``seed`` and ``auc`` of each set of weights against the grammar's judgement."""
        return results.noise_separation(records, self.data_dir)

    def print_checks(self, rows: Iterable[str], cells: Sequence[Cell], records: Mapping[Spec, Record]) -> None:
        """Print what is the same on every machine: which rows are complete, and whether weights find planted noise."""
        for row in rows:
            columns = {cell.column for cell in cells if cell.row == row}
            print(f"{row}: measured on every task:", columns == set(map(results.column_of, self.tasks)))
        separation = self.noise_separation(records)
        if len(separation):
            weakest = separation.groupby(["task", "tam"]).auc.mean().min()
            print("weights find planted noise on every task, by a margin:", bool(weakest > 0.55))

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

        ``rows``: which row of ours stands for a row of the paper in a claim (``verdicts.check``).
        """
        profile = self.profile.name
        # DIR stands for the folder in ``--data DIR``, so that reasons are the same on every machine.
        reasons = {cell: reason.replace(self.data_dir or "DIR", "DIR") for cell, reason in (not_run or {}).items()}
        table = tidying.tidy(self.name, cells, reasons)
        claims = verdicts.check(self.name, cells, rows=rows)
        frozen = self._claims_of_the_frozen_encoder(cells, rows or {})
        claims = pd.concat([claims, frozen], ignore_index=True) if len(frozen) else claims  # pandas warns of empty ones
        tables.write(
            self.name,
            table,
            claims=claims,
            profile=profile,
            out=self.out,
            provenance=self.provenance(records),
            title=title,
        )
        return tables.show(table, title=title, profile=profile), tables.show_claims(claims, profile=profile)

    def _claims_of_the_frozen_encoder(self, cells: Sequence[Cell], rows: Mapping[str, str]) -> pd.DataFrame:
        """The paper's claims about the LSTM, tested on the frozen encoder's rows and those without a TAM.

        ``rows``: as in ``publish``, for the LSTM's rows.
        """
        title = self.title("frozen")
        frozen = [cell for cell in cells if title in cell.row or cell.row in WITHOUT_TAM]
        ours = {cell.row.replace(f", {title}", "").replace(title, TAMS["lstm"]): cell.row for cell in frozen}
        # The paper's rows last, over ours of the same name: "ZeroGen 10k" is 1 % of its pool, and all of ours.
        ours |= {row: ours[name] for row, name in rows.items() if name in ours}
        claims = verdicts.check(self.name, frozen, rows=ours)
        claims = claims[verdicts.ran(claims.verdict)]
        named = claims.text.where(claims.text.str.contains(title, regex=False), f"With {title}: " + claims.text)
        return claims.assign(claim=claims.claim + FROZEN, text=named)

    def publish_figure(self, figure: Figure, records: Mapping[Spec, Record]) -> None:
        """Write the figure under ``out``."""
        figures.write_figure(
            figure, self.name, profile=self.profile.name, out=self.out, provenance=self.provenance(records)
        )

    def provenance(self, records: Mapping[Spec, Record]) -> dict[str, Any]:
        """Where a result comes from: profile, parameters, versions, records."""
        given = {
            "tasks": list(self.tasks),
            "tams": list(self.tams),
            "seeds": self.chosen_seeds and list(self.chosen_seeds),
            **self._other_models(),
            **self.extras,
        }
        about = provenance(list(records.values()), profile=self.profile.name, parameters=given)
        return about | ({"lacking": sorted(set(self.lacking))} if self.lacking else {})

    def _other_models(self) -> dict[str, str | None]:
        """The PLM and the encoder, if they differ from the profile's."""
        default = profiles.get(self.profile.name)
        ours = {"plm": self.profile.plm, "encoder": self.profile.distilbert.path}
        usual = {"plm": default.plm, "encoder": default.distilbert.path}
        return {name: model for name, model in ours.items() if model != usual[name]}
