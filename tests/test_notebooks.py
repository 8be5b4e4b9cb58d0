"""The notebooks' form: parameters are literals, the next cell refuses wrong ones in one sentence, outputs are there;
weights that have diverged are told in a sentence."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from conftest import run_cells

from sungen_lib.lab import execution, notebooks, stages
from sungen_lib.lab.parameters import ParameterError
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.train import Diverged

NOTEBOOKS = notebooks.select(notebooks.NOTEBOOKS)
WRONG: dict[str, list[Any]] = {
    "profile": ["big", 3, None],
    "tasks": [["imbd"], "imdb", [], [3]],
    "tams": [["bert"], "lstm"],
    "seeds": [[0], [-1], "1", [1.5], [True]],
    "data_dir": ["/no/such/folder", 7],
    "device": ["tpu", None],
    "out": [7],
}


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def literals(notebook: Path) -> dict[str, Any]:
    """The parameters cell as names and values; fails if anything in it is not a literal."""
    source = "".join(code_cells(notebook)[0]["source"])
    found = {}
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name), source
        found[statement.targets[0].id] = ast.literal_eval(statement.value)
    return found


def wrong_values() -> list[tuple[Path, str, Any]]:
    cases: list[tuple[Path, str, Any]] = []
    for notebook in NOTEBOOKS:
        for name, value in literals(notebook).items():
            # Of a parameter of the notebook's own we know its type by its default: numbers out of range, another type.
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            own = [-5, "x", *([-0.5, 7.5] if isinstance(value, float) else [])] if number else [object()]
            cases += [(notebook, name, bad) for bad in WRONG.get(name, own)]
        cases.append((notebook, "quick", "false"))  # papermill only warns of a name it does not know
    return cases


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells, code = content["cells"], code_cells(notebook)
    assert content["metadata"]["kernelspec"]["name"] == "python3" and "widgets" not in content["metadata"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    assert code[0]["metadata"].get("tags") == ["parameters"]
    assert {"profile", "out"} <= set(literals(notebook))
    assert "Experiment.from_parameters(" in "".join(code[1]["source"])
    assert any("# NBVAL_CHECK_OUTPUT" in "".join(cell["source"]) for cell in code)
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "committed without outputs"
    outputs = json.dumps([cell["outputs"] for cell in code])
    assert "Traceback" not in outputs and '"output_type": "error"' not in outputs
    assert "READING" not in json.dumps(cells), "its reading is still to be written"


EVIDENCE = [path for path in NOTEBOOKS if path.stem not in ("your_data", "scoreboard")]  # they have other jobs
WITHOUT_EVIDENCE = ("figure02_framework", "speed", "table10_prompts", "theory")  # nothing is measured on real text
LONGEST_CELL, FIRST_RESULT = 20, 30  # lines of code


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_is_longer_than_it_can_be_read(notebook: Path) -> None:
    lengths = {cell["id"]: len("".join(cell["source"]).splitlines()) for cell in code_cells(notebook)}
    assert {name: length for name, length in lengths.items() if length > LONGEST_CELL} == {}


def lines_before_the_first_result(notebook: Path) -> int:
    """Lines of code, blank ones not counted, down to the first cell that displays something."""
    lines = 0
    for cell in code_cells(notebook):
        lines += sum(bool(line.strip()) for line in "".join(cell["source"]).splitlines())
        if any(output["output_type"] in ("display_data", "execute_result") for output in cell["outputs"]):
            break
    return lines


@pytest.mark.parametrize("notebook", EVIDENCE, ids=lambda path: path.stem)
def test_the_evidence_comes_first(notebook: Path) -> None:
    """Right after the check of the parameters, in one call, and shown before any run."""
    _, _, evidence, *rest = code_cells(notebook)
    assert re.fullmatch(r"experiment\.evidence\(.*\)", "".join(evidence["source"]), re.S)
    shown = json.dumps(evidence["outputs"])
    assert ("No result on real text: " if notebook.stem in WITHOUT_EVIDENCE else "tables/small/") in shown
    assert "experiment.execute(" not in "".join(code_cells(notebook)[1]["source"])
    assert all("experiment.evidence(" not in "".join(cell["source"]) for cell in rest)
    assert lines_before_the_first_result(notebook) <= FIRST_RESULT


@pytest.mark.parametrize("notebook", EVIDENCE, ids=lambda path: path.stem)
def test_checks_are_folded(notebook: Path) -> None:
    checks = [cell for cell in code_cells(notebook) if "# NBVAL_CHECK_OUTPUT" in "".join(cell["source"])]
    assert all(cell["metadata"].get("jupyter", {}).get("source_hidden") for cell in checks)


@pytest.mark.parametrize(
    ("notebook", "name", "value"), wrong_values(), ids=lambda value: value.stem if isinstance(value, Path) else None
)
def test_a_wrong_parameter_stops_in_the_second_cell(
    notebook: Path, name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    parameters, second = ("".join(cell["source"]) for cell in code_cells(notebook)[:2])
    names = literals(notebook) | {"out": str(tmp_path / "tables"), name: value}
    injected = f"# Parameters\nout = ...\n{name} = ...\n"  # papermill's cell
    with pytest.raises(ParameterError, match=rf"^(each of |unknown parameter ')?{name}\b") as error:
        exec(second, names | {"In": ["", parameters, injected, second]})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spared", [(), (2,)])
@pytest.mark.parametrize("prefix", ["quickstart", "figure03", "table05", "table06"])
def test_weights_that_diverged_are_told_in_a_sentence(
    prefix: str,
    spared: tuple[int, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of all seeds, or of all but one."""

    def collapsing(*arguments: Any, seed: int, **settings: Any) -> LearnedWeights:
        if seed not in spared:
            raise Diverged("all weights are close to 0 after iteration 2")
        return learn_weights(*arguments, seed=seed, **settings)

    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(stages, "learn_weights", collapsing)
    monkeypatch.setattr(execution, "_cores", lambda: 1)  # another process would not collapse
    (notebook,) = notebooks.select(notebooks.NOTEBOOKS, [prefix])
    with mpl.rc_context({"backend": "agg"}):
        run_cells(notebook, {"profile": "tiny", "tasks": ["imdb"], "out": str(tmp_path)})
    shown = capsys.readouterr().out
    assert shown.count("imdb, seed 1: the weights have diverged: all weights are close to 0 after iteration 2.") == 1
    assert "seed 2: the weights" not in shown or not spared
    if prefix == "table05":
        table = (tmp_path / "tiny" / "table05.md").read_text(encoding="utf-8")
        assert ("not run: the weights of every seed have diverged (4 cells)" in table) == (not spared)
