"""Table 5's sets of texts: gold texts, ZeroGen's, SunGen's selection, and the two ends of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from sungen_lib import embedded, subset
from sungen_lib.baselines import tfidf_logreg
from sungen_lib.lab import quality, results, sources
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.specs import Data, Weights
from sungen_lib.learn import LearnedWeights
from sungen_lib.paper.cells import Scale
from sungen_lib.subset import bernoulli_subset
from sungen_lib.texts import tasks
from sungen_lib.texts.examples import DataMissing, Examples

Oracle = Callable[[Examples], np.ndarray]
RAW = ("Gold", "ZeroGen")
SELECTED = ("SunGen", "SunGen-Top", "SunGen-Bottom")


@dataclass(frozen=True, eq=False)
class TextSets:
    """The sets "Gold", "ZeroGen", "SunGen", "SunGen-Top" and "SunGen-Bottom" of each task.

    SunGen's three are there for each TAM of ``experiment.suffixes()``, whose suffix ends their names. ``learned``: the
    TAMs' weights, those that have not diverged. ``share`` of the pool is an end; ``None``: 1 %, but at least 50 texts.
    A set that is not available raises ``DataMissing``.
    """

    experiment: Experiment
    learned: Mapping[Weights, LearnedWeights]
    share: float | None
    _judged: dict[tuple[str, Data], np.ndarray] = field(default_factory=dict)
    _oracles: dict[str, Oracle] = field(default_factory=dict)

    def whole(self) -> list[str]:
        """The sets that are more than an end of the weights: "Gold", "ZeroGen", and each TAM's "SunGen"."""
        return [*RAW, *(name for name, (kind, _) in self._selected.items() if kind == "SunGen")]

    def all(self) -> list[str]:
        """Every set, those without a TAM first."""
        return [*RAW, *self._selected]

    def seeds(self, name: str, task: str) -> tuple[int, ...]:
        """The seeds of a set: every TAM's; of SunGen's sets those whose weights have not diverged."""
        if name in RAW:
            return tuple(sorted({seed for tam in self.experiment.suffixes() for seed in self.experiment.seeds(tam)}))
        _, tam = self._selected[name]
        return tuple(seed for seed in self.experiment.seeds(tam) if self._spec(task, tam, seed) in self.learned)

    def texts(self, name: str, task: str) -> list[tuple[str, ...]]:
        """The texts of a set, one tuple a seed."""
        if name == "Gold":
            found = [self._load(self.experiment.data.gold(task, "train")).texts]
        else:
            pool = self._load(self.experiment.data.synthetic(task))
            found = [pool.select(rows).texts for rows in self.rows(name, task)]
        return found * (len(self.seeds(name, task)) // len(found))

    def rows(self, name: str, task: str) -> list[np.ndarray]:
        """The rows of the pool that are in a set: one array a seed, or a single one where nothing is random."""
        pool, budget = self._load(self.experiment.data.synthetic(task)), self.experiment.profile.budget
        if name == "ZeroGen":
            return [np.arange(len(pool))[:budget]]
        kind, tam = self._selected[name]
        weights = {seed: self.learned[self._spec(task, tam, seed)].weights for seed in self.seeds(name, task)}
        if not weights:
            raise DataMissing("the weights of every seed have diverged")
        if kind == "SunGen":
            size = budget or len(pool) // 2
            return [bernoulli_subset(w, size, seed=seed) for seed, w in weights.items()]
        end = {"SunGen-Top": subset.top, "SunGen-Bottom": subset.bottom}[kind]
        return [end(w, quality.group_size(len(pool), self.share)) for w in weights.values()]

    def scale(self, task: str) -> Scale:
        """How the task's numbers compare with the paper's: as ZeroGen's run does, if ``share`` is the paper's."""
        experiment = self.experiment
        try:
            spec = experiment.methods.zerogen(task, "lstm", seed=1)
        except DataMissing:
            return "other"
        scale = results.scale(spec, experiment.profile, experiment.data_dir)
        return "other" if scale == "paper" and self.share is not None else scale

    def confirmed(self, name: str, task: str) -> np.ndarray:
        """(S, k) bool: whether the oracle confirms the labels; sets of different size are cut to the smallest."""
        data = self.experiment.data
        spec = data.gold(task, "test") if name == "Gold" else data.synthetic(task)
        texts = self._load(spec)
        if task not in self._oracles:
            self._oracles[task] = self._oracle(task)
        if (task, spec) not in self._judged:  # tasks may share their texts, and each has an oracle
            self._judged[task, spec] = self._oracles[task](texts)
        rows = [np.arange(len(texts))] if name == "Gold" else self.rows(name, task)
        return quality.oracle_correctness(self._judged[task, spec], texts.labels, rows)

    def _oracle(self, task: str) -> Oracle:
        """The classifier named in the parameter ``oracles``, else the profile's."""
        experiment = self.experiment
        if task in (experiment.extras["oracles"] or {}):
            return partial(quality.classifier_labels, experiment.extras["oracles"][task], device=experiment.device)
        if experiment.profile.demo:
            return partial(embedded.judge, task)
        if experiment.profile.name != "paper":
            rows = None if experiment.data_dir else tasks.get(task).gold_train  # on the hub there may be millions
            gold = replace(experiment.data.gold(task, "train"), rows=rows)
            return partial(tfidf_logreg.predict, tfidf_logreg.fit(self._load(gold)))
        raise DataMissing("needs a fine-tuned RoBERTa-large: name one in oracles")

    @cached_property
    def _selected(self) -> dict[str, tuple[str, str]]:
        """SunGen's sets by name: the kind of set, and the TAM that learned the weights."""
        suffixes = self.experiment.suffixes()
        return {kind + suffix: (kind, tam) for tam, suffix in suffixes.items() for kind in SELECTED}

    def _spec(self, task: str, tam: str, seed: int) -> Weights:
        return self.experiment.methods.weights(task, tam, seed)

    def _load(self, spec: Data) -> Examples:
        return sources.load(spec, self.experiment.data_dir)
