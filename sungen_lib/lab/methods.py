"""The paper's methods, and those it is compared with, as specs at a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sungen_lib.lab.profiles import Profile
from sungen_lib.lab.specs import LINEAR_MODEL, Gold, Run, Synthetic, Weights
from sungen_lib.lab.task_data import TaskData
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.served import is_address

# The rows of Tables 3, 8 and 11 that are not SunGen's: titles, and changes to ZeroGen's run.
BASELINES: Mapping[str, Mapping[str, Any]] = {
    "Confidence": {"selection": "confidence"},
    "Co-teaching": {"training": "coteaching"},
    "Meta-Weight-Net": {"training": "meta_weight_net"},
    "Label smoothing": {"loss": "smoothed_ce"},
    "Temporal ensembling": {"training": "temporal_ensembling"},
    "One-level RCE": {"loss": "rce", "budget": None},  # Table 11 is about the whole pool
    "cleanlab, then the TAM": {"selection": "cleanlab"},
}
LINEAR: Mapping[str, Mapping[str, Any]] = {
    LINEAR_MODEL: {},
    f"cleanlab, then {LINEAR_MODEL}": {"selection": "cleanlab"},
}
# Changes to SunGen's weights that the paper does not try: their names in parameters, titles, changes to ``Weights``.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "held_out": ("outer set held out", {"outer_draw": "held_out"}),
    "swapped": ("outer set swapped", {"outer_draw": "swapped"}),
    "centred": ("class means removed", {"centred": True}),
    "initialisations": ("five initialisations", {"initialisations": 5}),
}


@dataclass(frozen=True)
class Methods:
    """Each method makes the spec of one run, for a task, a TAM (a name that the profile knows) and a seed."""

    profile: Profile
    data: TaskData
    device: str

    def supervised(self, task: str, tam: str, seed: int) -> Run:
        """The TAM trained on gold data."""
        return self._run("supervised", task, tam, seed, train=self.data.gold(task, "train"))

    def zerogen(self, task: str, tam: str, seed: int, *, budget: int | None = None, **changes: Any) -> Run:
        """The TAM trained on synthetic texts without selection.

        ``budget`` defaults to the profile's; ``changes`` are to ``Run``'s fields.
        """
        train = self.data.synthetic(task)
        return self._run("zerogen", task, tam, seed, train=train, budget=self._budget(task, budget), **changes)

    def zerogen_at(self, task: str, tam: str, seed: int, *, budget: int) -> Run:
        """ZeroGen with ``budget`` texts of the pool, other ones for each seed, as SunGen's subsets are: with the same
        texts for all seeds, the seeds would not show how much depends on which texts they are."""
        run = self.zerogen(task, tam, seed, budget=budget)
        return run if run.budget is None else replace(run, selection="random")

    def sungen(
        self, task: str, tam: str, seed: int, *, budget: int | None = None, by: str | None = None, **changes: Any
    ) -> Run:
        """The TAM trained on a subset drawn by the learned weights, or on the whole weighted pool (``budget`` equals
        the pool's size). ``changes`` are to ``Weights``' fields; ``by``: the TAM that the weights are learned with."""
        weights = self.weights(task, by or tam, seed, **changes)
        budget = self._budget(task, budget)
        selection = "weighted" if budget is None else "bernoulli"
        return self._run(
            "sungen", task, tam, seed, train=weights.train, weights=weights, selection=selection, budget=budget
        )

    def weights(
        self, task: str, tam: str, seed: int, *, train: Gold | Synthetic | None = None, **changes: Any
    ) -> Weights:
        """Weights of the task's pool, or of ``train``, one set per seed; ``changes`` are to ``Weights``' fields."""
        profile = self.profile
        train = train or self.data.synthetic(task)
        spec = Weights(
            train=train,
            tam=profile.tam(tam),
            seed=seed,
            device=self.device,
            outer_size=profile.outer_size if train.rows is None else min(profile.outer_size, max(1, train.rows // 2)),
            outer_lr=profile.outer_lr,
            iterations=profile.iterations,
            snapshots=profile.snapshots,
        )
        return replace(spec, **changes)

    def baseline(self, name: str, task: str, tam: str, seed: int) -> Run:
        """A method that SunGen is compared with; ``name`` is a key of ``BASELINES``."""
        return replace(self.zerogen(task, tam, seed), method="baseline", **BASELINES[name])

    def linear(self, name: str, task: str, seed: int) -> Run:
        """What a user would try first, without a TAM, on the whole pool; ``name`` is a key of ``LINEAR``."""
        return replace(self.zerogen(task, "lstm", seed), method="linear", tam=None, budget=None, **LINEAR[name])

    def prompting(self, task: str, *, in_chat: bool = False) -> Run:
        """The PLM's zero-shot predictions; ``in_chat``: through the chat template it also writes in."""
        if self.profile.source == "folder":
            raise DataMissing("the data folder holds texts, not the PLM")
        if is_address(self.profile.plm):
            raise DataMissing("the server writes texts; prompting needs the PLM's probabilities")
        return Run("prompting", self.data.gold(task, "test"), self.device, plm=self.data.plm, in_chat=in_chat)

    def _run(self, method: str, task: str, tam: str, seed: int, **what: Any) -> Run:
        return Run(method, self.data.gold(task, "test"), self.device, tam=self.profile.tam(tam), seed=seed, **what)

    def _budget(self, task: str, budget: int | None) -> int | None:
        """``None`` for the whole pool, so that equal runs have equal specs."""
        budget = budget or self.profile.budget
        return None if budget is None or budget >= self.data.pool(task) else budget
