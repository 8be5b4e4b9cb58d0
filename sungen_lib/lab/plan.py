"""What the notebooks would compute, without computing it: ``./run_all.sh --dry-run``.

Each notebook runs in this process up to its first ``experiment.execute(specs)``, where its specs are collected. The
hours are calculated, not measured: arithmetic operations over an assumed rate (``OPERATIONS_A_SECOND``).
"""

from __future__ import annotations

import ast
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from sungen_lib.lab import execution, store
from sungen_lib.lab.notebooks import environment
from sungen_lib.lab.results import Grid
from sungen_lib.lab.specs import Data, Run, Spec, Synthetic, Trust, Weights, identify
from sungen_lib.learn import PILOT
from sungen_lib.models import TamConfig
from sungen_lib.texts import tasks

EXECUTE = "experiment.execute("
# What one GPU of 2022 or later sustains: a small LSTM at batch 32 is bound by its recurrence, a transformer is not.
OPERATIONS_A_SECOND = {"lstm": 2e12, "bag": 2e12, "frozen": 2e12, "distilbert": 4e13, "plm": 4e13}
# Multiplications and additions per token in one forward pass, two per parameter; a training step costs three passes.
OPERATIONS_A_TOKEN = {
    "lstm": 2 * 2 * 600 * (100 + 150),
    "bag": 2 * 2 * 100,
    "frozen": 2 * 64 * 384,
    "distilbert": 2 * 66e6,
    "plm": 2 * 1.56e9,
}
TRAININGS = {"coteaching": 2, "meta_weight_net": 3}  # cost relative to plain training: two networks; lookahead passes
TOKENS = {"synthetic": 30, "gold": 100}  # a text's mean length: measured on GPT2-XL's IMDb texts; a round number


def planned(notebook: Path, parameters: Mapping[str, Any], *, anywhere: bool = True) -> list[Spec]:
    """The specs that ``notebook`` would execute with ``parameters`` and everything upstream of them; none if it
    computes in its cells. Raises what a cell raises, ``ParameterError`` for instance.

    ``anywhere``: include runs for which this machine lacks a model.
    """
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    if not any(EXECUTE in "".join(cell["source"]) for cell in cells):
        return []
    # A plan writes nothing; but the parameters are checked, and the notebook's own folder may belong to another user.
    parameters = {"out": tempfile.gettempdir()} | dict(parameters)
    names: dict[str, Any] = {"In": [""]}  # as in a kernel
    # A plan downloads nothing: a model in a wheel that is not in the store counts as missing here.
    with redirect_stdout(io.StringIO()), environment(HF_HUB_OFFLINE="1"):
        for cell in cells:
            names["In"].append("".join(cell["source"]))
            specs = _run_up_to_execute("".join(cell["source"]), names)
            if specs is not None:
                specs = [*specs, *_executed_later(cells, names)]
                break
            if "parameters" in cell["metadata"].get("tags", ()):
                names |= {name: value for name, value in parameters.items() if name in names}
    values = [item for value in names.values() for item in (value.values() if isinstance(value, dict) else [value])]
    grids = [value for value in values if isinstance(value, Grid)] if anywhere else []
    elsewhere = [spec for grid in grids for runs in grid.without_model.values() for spec in runs]
    return execution.closure([*(specs or ()), *elsewhere])


def _run_up_to_execute(source: str, names: dict[str, Any]) -> Sequence[Spec] | None:
    """Run a cell, as a kernel would, up to ``experiment.execute(specs)``; return the specs if it gets there."""
    for statement in ast.parse(source).body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == EXECUTE.rstrip("("):
                return list(eval(ast.unparse(node.args[0]), names))
        exec(ast.unparse(statement), names)  # the project's notebooks
    return None


def _executed_later(cells: Sequence[Mapping[str, Any]], names: dict[str, Any]) -> Iterator[Spec]:
    """What the further calls of ``experiment.execute`` get, of those whose specs are known before the first."""
    trees = [ast.parse("".join(cell["source"])) for cell in cells if EXECUTE in "".join(cell["source"])]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) == EXECUTE.rstrip("("):
            with suppress(NameError):
                yield from eval(ast.unparse(call.args[0]), names)


def show(notebooks: Sequence[Path], parameters: Mapping[str, Any]) -> None:
    """Print every run, which notebooks share it, and what all runs would cost."""
    users: dict[Spec, list[str]] = {}
    for notebook in notebooks:
        specs = planned(notebook, parameters)
        print(f"{notebook.stem:<36} {len(specs):4d} runs, {sum(s not in users for s in specs):4d} of them new")
        for spec in specs:
            users.setdefault(spec, []).append(notebook.stem.split("_")[0])
    print()
    for spec, names in users.items():
        state = "finished" if store.find(spec) else f"{hours(spec):8.3f} h"
        print(f"{identify(spec)}  {state}  {describe(spec)}  [{', '.join(names)}]")
    missing = [spec for spec in users if store.find(spec) is None]
    shared = sum(len(names) > 1 for names in users.values())
    rates = ", ".join(f"{name} {rate:.0e}" for name, rate in OPERATIONS_A_SECOND.items())
    print(
        f"\n{len(users)} runs, {shared} of them shared by notebooks, {len(users) - len(missing)} finished; the others "
        f"need about {sum(map(hours, missing)):.1f} GPU hours.\nThe hours are operations over an assumed rate "
        f"(operations per second: {rates}), not measured; see sungen_lib/lab/plan.py. Not counted: training inside "
        "notebook cells (figures 4 to 6), linear models, and Table 5's fine-tuned oracles."
    )


def describe(spec: Spec) -> str:
    """A one-line description for readers."""
    if isinstance(spec, Synthetic):
        return f"texts: {spec.rows:,} for {spec.task} by {spec.plm}"
    if isinstance(spec, Weights):
        outer = spec.outer_loss + ("" if spec.outer is None else ", gold outer set")
        return f"weights: {spec.train.task}, {spec.tam.kind}, seed {spec.seed} ({outer})"
    if isinstance(spec, Trust):
        return f"trust: {spec.train.task}, {spec.tam.kind}, seed {spec.seed} ({spec.by})"
    who = spec.plm or (spec.tam.kind if spec.tam else "linear")
    size = "" if spec.budget is None else f", {spec.budget:,} rows"
    return f"{spec.method}: {spec.test.task}, {who}, seed {spec.seed}{size}"


def task(spec: Spec) -> str:
    """The task whose texts a run reads."""
    if isinstance(spec, Synthetic):
        return spec.task
    return (spec.train or spec.test).task if isinstance(spec, Run) else spec.train.task


def hours(spec: Spec) -> float:
    """GPU hours by the module's calculation; 0 for the linear model."""
    if isinstance(spec, Synthetic):
        return _hours("plm", spec.rows * TOKENS["synthetic"])
    if isinstance(spec, Weights):
        train, outer = _tokens(spec.train), spec.outer_size * TOKENS["synthetic"]
        # An iteration: the inner epochs (3 passes each), the outer gradient (3), the derivative along it (2).
        tokens = 3 * spec.tam.inner_epochs * train + 3 * outer + 2 * train
        pilots = PILOT * len(spec.outer_lr) if isinstance(spec.outer_lr, tuple) else 0
        return (spec.iterations + pilots) * _hours(spec.tam.kind, tokens)
    if isinstance(spec, Trust):
        return _hours(spec.tam.kind, 3 * spec.tam.epochs * TRAININGS.get(spec.by, 1) * _tokens(spec.train))
    test = _tokens(spec.test)
    if spec.plm is not None:
        return _hours("plm", tasks.get(spec.test.task).classes * test)
    return 0.0 if spec.tam is None else _training_hours(spec, spec.tam) + _hours(spec.tam.kind, test)


def _training_hours(spec: Run, tam: TamConfig) -> float:
    assert spec.train is not None
    tokens = _tokens(spec.train) if spec.budget is None else spec.budget * TOKENS["synthetic"]
    epochs = tam.epochs * TRAININGS.get(spec.training, 1) * tokens
    if spec.selection == "confidence":  # looks at the whole pool first
        epochs += tam.epochs * _tokens(spec.train)
    return _hours(tam.kind, 3 * epochs)


def _tokens(spec: Data) -> int:
    if isinstance(spec, Synthetic):
        return spec.rows * TOKENS["synthetic"]
    task = tasks.get(spec.task)
    rows = spec.rows or (task.gold_train if spec.split == "train" else task.gold_test)
    return (rows or 0) * TOKENS["gold"]  # the whole file of a user task: not counted


def _hours(kind: str, tokens: float) -> float:
    return tokens * OPERATIONS_A_TOKEN[kind] / OPERATIONS_A_SECOND[kind] / 3600
