"""run_all.sh and the notebook runner behind it, on toy notebooks and with a toy interpreter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sungen_lib import __main__ as command_line
from sungen_lib.lab import execution, notebooks, suite

REPOSITORY = Path(__file__).resolve().parents[1]
PARAMETERS = 'profile = "embedded"\nout = "tables"\n'


def write_notebook(path: Path, *sources: str, parameters: str = PARAMETERS) -> None:
    def cell(source: str, tags: list[str]) -> dict[str, Any]:
        metadata = {"tags": tags} if tags else {}
        lines = source.splitlines(keepends=True)
        return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": lines}

    cells = [cell(parameters, ["parameters"])] if parameters else []
    cells += [cell(source, []) for source in sources]
    for number, each in enumerate(cells):
        each["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


# A toy of what a notebook does: one record in the store, a table that says which records and claims are behind it.
TABLE = """
import json, os
from pathlib import Path
record = Path(os.environ["SUNGEN_STORE"], "ab", "abcd", "record.json")
record.parent.mkdir(parents=True, exist_ok=True)
record.write_text("{}")
folder = Path(out, profile)
folder.mkdir(parents=True, exist_ok=True)
(folder / "table01.csv").write_text("row,column,ours\\n")
claims = [{"verdict": verdict} for verdict in ("undecided", "holds", "holds", "not run: no data", "not run: no GPU")]
(folder / "table01.json").write_text(json.dumps({"claims": claims, "records": ["abcd"]}))
with open(os.path.join(os.environ["SUNGEN_STORE"], "ran"), "a") as log:
    log.write(profile)
"""


class World:
    """Notebooks, tables and a store of their own; ``ran`` counts executions of TABLE."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notebooks, self.out, self.store = root / "notebooks", root / "tables", root / "runs"
        self.notebook = self.notebooks / "table01_main_results.ipynb"

    def run(self, **options: Any) -> int:
        return suite.run(self.notebooks, **({"out": self.out, "store": self.store} | options))

    @property
    def ran(self) -> int:
        log = self.store / "ran"
        return len(log.read_text().split("embedded")) - 1 if log.exists() else 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_notebook_that_lacked_a_model_runs_again(world: World) -> None:
    """The model may be there next time."""
    lacking = TABLE.replace('"records": ["abcd"]', '"records": ["abcd"], "lacking": ["no encoder could be loaded"]')
    write_notebook(world.notebook, lacking)
    assert world.run() == 0 and world.run() == 0 and world.ran == 2
    write_notebook(world.notebook, TABLE)
    assert world.run() == 0 and world.run() == 0 and world.ran == 3


# --- the runner ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("table01_main_results", "table01"),
        ("figure03_weight_histograms", "figure03"),
        ("00_quickstart", "quickstart"),
        ("10_two_words", "two_words"),
        ("appendix", "appendix"),
        ("tables_all", "tables_all"),
    ],
)
def test_stem(name: str, stem: str) -> None:
    assert notebooks.stem(name) == stem


def test_selection_by_name_or_stem(tmp_path: Path) -> None:
    for name in ("table02_sizes", "00_quickstart", "table01_main_results"):
        write_notebook(tmp_path / f"{name}.ipynb")
    everything = ["00_quickstart", "table01_main_results", "table02_sizes"]
    assert [path.stem for path in notebooks.select(tmp_path)] == everything
    some = notebooks.select(tmp_path, ["table02", "quick"])
    assert [path.stem for path in some] == ["00_quickstart", "table02_sizes"]
    with pytest.raises(ValueError, match="no notebook starts with 'table9'"):
        notebooks.select(tmp_path, ["table01", "table9"])


def test_the_encoder_goes_to_the_notebooks_that_train_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = world.root / "my-encoder"
    folder.mkdir()
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("SUNGEN_STORE", str(world.store))
    told = 'from pathlib import Path; Path(out).mkdir(exist_ok=True); Path(out, "told").write_text(encoder)'
    write_notebook(world.notebook, told, parameters=PARAMETERS + "encoder = None\n")
    write_notebook(world.notebooks / "theory.ipynb", "assert 'encoder' not in globals()")
    options = ["run", "--encoder", folder.name, "--out", str(world.out)]
    assert command_line.main(options, notebooks=world.notebooks) == 0
    assert (world.out / "told").read_text() == str(folder)


def test_nothing_changed_means_nothing_run(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    write_notebook(world.notebook, TABLE)
    committed = world.notebook.read_bytes()
    assert world.run() == 0 and world.ran == 1
    first = capsys.readouterr().out
    assert "table01_main_results" in first and "holds 2, undecided 1, not run 2" in first
    assert world.notebook.read_bytes() == committed
    assert (world.store / "executed" / "embedded" / world.notebook.name).exists()

    assert world.run() == 0 and world.ran == 1
    second = capsys.readouterr().out
    assert "unchanged  holds 2, undecided 1" in second and "0 ran, 1 unchanged, 0 failed" in second


def test_whatever_changes_runs_it_once_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = world.root / "data"
    data.mkdir()
    executed = world.store / "executed" / "embedded"

    def edit_only_outputs() -> None:
        content = json.loads(world.notebook.read_text())
        content["cells"][1]["execution_count"] = 7
        world.notebook.write_text(json.dumps(content))

    changes: dict[str, tuple[Callable[[], object], int]] = {
        "outputs of the notebook": (edit_only_outputs, 0),
        "source": (lambda: write_notebook(world.notebook, TABLE, "1 + 1"), 1),
        "output": (lambda: (world.out / "embedded" / "table01.csv").write_text("edited"), 1),
        "output gone": (lambda: (world.out / "embedded" / "table01.json").unlink(), 1),
        "record": (lambda: (world.store / "ab" / "abcd" / "record.json").write_text("[]"), 1),
        "copy": (lambda: (executed / world.notebook.name).unlink(), 1),
        "stamp": (lambda: (executed / "table01_main_results.stamp.json").write_text("{"), 1),
        "data": (lambda: (data / "labels.json").write_text("[]"), 1),
    }
    write_notebook(world.notebook, TABLE)
    world.run(data_dir=data)
    for name, (change, expected) in changes.items():
        before = world.ran
        change()
        world.run(data_dir=data)
        assert world.ran == before + expected, name
    before = world.ran
    world.run(data_dir=data)
    assert world.ran == before
    world.run()
    assert world.ran == before + 1, "data_dir"
    (world.root / "installed" / "another-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(world.root / "installed")
    world.run()
    assert world.ran == before + 2, "libraries"


def test_a_changed_encoder_runs_it_once_more(world: World) -> None:
    folder = world.root / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write_notebook(world.notebook, TABLE, parameters=PARAMETERS + "encoder = None\n")
    for content, expected in (("{}", 1), ("{}", 1), ('{"hidden_size": 8}', 2)):
        if (folder / "config.json").read_text() != content:
            (folder / "config.json").write_text(content)
        world.run(encoder=str(folder))
        assert world.ran == expected


def test_what_a_kill_left_half_written_is_removed(world: World) -> None:
    write_notebook(world.notebook, TABLE)
    copies, tables = world.store / "executed" / "embedded", world.out / "embedded"
    left = [copies / ".table01_main_results.stamp.json.7.tmp", tables / ".table01.csv.abcdefgh.tmp"]
    others = [tables / ".table011.csv.abcdefgh.tmp", tables / "table01.tmp"]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert world.run() == 0
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)


def test_package_and_output_folder_are_part_of_the_stamp(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_notebook(world.notebook, TABLE)
    world.run()
    world.run(out=world.root / "elsewhere")
    assert world.ran == 2
    world.run()
    world.run(out=world.root / "elsewhere")
    assert world.ran == 2
    monkeypatch.setattr(suite, "_package_hash", lambda: "another")
    world.run()
    assert world.ran == 3


def test_a_cluster_that_is_not_there_is_said_in_a_line(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sungen_lib.lab import cluster

    def nobody(*_: object, **__: object) -> None:
        raise cluster.Unreachable("no Ray cluster at x:1")

    write_notebook(world.notebook, TABLE)
    monkeypatch.setenv("SUNGEN_STORE", str(world.store))
    monkeypatch.setattr(cluster, "execute_on", nobody)
    assert command_line.main(["run", "--ray", "x:1", "--out", str(world.out)], notebooks=world.notebooks) == 1
    said = capsys.readouterr().err
    assert "no Ray cluster at x:1" in said and said.count("\n") == 1 and world.ran == 0


def test_a_failing_notebook_stops_no_other(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    write_notebook(world.notebooks / "00_bad.ipynb", "raise ValueError('first line\\nno such task')")
    (world.notebooks / "01_broken.ipynb").write_text("{")
    write_notebook(world.notebooks / "02_plain.ipynb", "assert 'profile' not in globals()", parameters="")
    write_notebook(world.notebook, TABLE)
    assert world.run() == 2
    bad, broken, plain, table, summary = capsys.readouterr().out.splitlines()
    copy = world.store / "executed" / "embedded" / "00_bad.ipynb"
    assert "FAILED  ValueError: no such task" in bad and str(copy) in bad and "first line" not in bad
    assert "FAILED" in broken and "FAILED" not in plain and "holds 2" in table
    assert summary.startswith("notebooks: 2 ran, 0 unchanged, 2 failed")
    assert "no such task" in copy.read_text()

    assert world.run(only=["bad", "table01"]) == 1
    assert "1 unchanged, 1 failed" in capsys.readouterr().out.splitlines()[-1]


def test_two_notebooks_at_a_time_and_the_timed_one_alone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    meet = """
import pathlib, time
here = pathlib.Path({here!r})
(here / {mine!r}).touch()
end = time.monotonic() + 90
while not (here / {other!r}).exists():
    assert time.monotonic() < end, "alone"
    time.sleep(0.05)
"""
    here = str(world.root)
    write_notebook(world.notebooks / "table01_a.ipynb", meet.format(here=here, mine="a", other="b"))
    write_notebook(world.notebooks / "table02_b.ipynb", meet.format(here=here, mine="b", other="a"))
    write_notebook(world.notebooks / "speed.ipynb", "1 + 1")
    assert world.run() == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["table01_a", "table02_b", "speed"]


def test_the_runs_of_several_notebooks_come_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(suite, "ahead", lambda paths, _, **__: asked.append([path.stem for path in paths]))
    write_notebook(world.notebook, TABLE)
    write_notebook(world.notebooks / "table02_b.ipynb", "1 + 1")
    world.run()
    assert asked == [["table01_main_results", "table02_b"]]
    world.run()
    write_notebook(world.notebook, TABLE, "2 + 2")
    world.run()
    assert len(asked) == 1  # none is outdated; one is, and computes its runs itself


def test_an_error_before_the_notebooks_is_left_to_them(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(execution, "execute", fails)
    table = notebooks.NOTEBOOKS / "table11_one_level.ipynb"
    assert not suite.ahead([table], {"profile": "tiny"}, store=world.store)
    assert capsys.readouterr().err == "run_all.sh: before the notebooks: RuntimeError: no memory\n"


def test_the_kernel_is_this_interpreter_and_this_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = world.root / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    about = {"argv": ["false", "{connection_file}"], "display_name": "foreign", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(about))
    monkeypatch.setenv("JUPYTER_PATH", str(world.root / "jupyter"))
    before = dict(os.environ)
    check = f"""
import os, sys, sungen_lib
assert sys.prefix == {sys.prefix!r}
assert os.path.dirname(sungen_lib.__file__) == {str(notebooks.PACKAGE)!r}
assert os.getcwd() == {str(world.notebooks)!r} and os.environ["TQDM_DISABLE"] == "1"
"""
    write_notebook(world.notebook, check)
    assert world.run() == 0
    assert dict(os.environ) == before


def test_what_a_notebook_leaves_for_its_end_still_happens(world: World) -> None:
    """A kernel ends without clearing away its modules, but not before what cells have registered with atexit."""
    left = """
import atexit, pathlib
atexit.register(pathlib.Path({!r}).write_text, "done")
print("last", "words")
"""
    write_notebook(world.notebook, left.format(str(world.root / "left")))
    assert world.run() == 0
    assert (world.root / "left").read_text() == "done"
    assert "last words" in (world.store / "executed" / "embedded" / world.notebook.name).read_text()


@pytest.mark.parametrize("number", [1, 2])
def test_two_at_a_time_have_a_thread_each(world: World, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = "import os, pathlib; pathlib.Path({!r}).write_text(os.environ.get('OMP_NUM_THREADS', 'all'))"
    for name in ("a", "b")[:number]:
        write_notebook(world.notebooks / f"table01_{name}.ipynb", told.format(str(world.root / name)))
    assert world.run() == 0
    assert {(world.root / name).read_text() for name in ("a", "b")[:number]} == {"all" if number == 1 else "1"}


def test_refresh_leaves_results_and_no_traces(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    bad = world.notebooks / "00_bad.ipynb"
    write_notebook(world.notebook, "profile")
    write_notebook(bad, "1 / 0")
    before = bad.read_bytes()
    assert notebooks.refresh(world.notebooks, store=world.store) == 1
    assert bad.read_bytes() == before and "ZeroDivisionError: division by zero" in capsys.readouterr().out
    text = world.notebook.read_text()
    parameters, shown = json.loads(text)["cells"]
    assert parameters["metadata"] == {"tags": ["parameters"]} and shown["metadata"] == {}
    assert shown["execution_count"] == 2 and shown["outputs"][0]["data"]["text/plain"] == ["'embedded'"]
    assert "papermill" not in text and str(world.root) not in text
    assert sorted(path.name for path in world.notebooks.iterdir()) == [bad.name, world.notebook.name]

    notebooks.refresh(world.notebooks, store=world.store, only=["table01"])
    assert world.notebook.read_text() == text


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_kernel_outlives_the_suite(world: World, how: signal.Signals, status: int) -> None:
    started = world.root / "started"
    busy = f"import os, time\nopen({str(started)!r}, 'w').write(f'{{os.getpid()}}.')\ntime.sleep(300)"
    write_notebook(world.notebook, busy)
    code = (
        "import sys; from pathlib import Path; from sungen_lib.__main__ import main\n"
        "sys.exit(main(['run', '--out', sys.argv[1]], notebooks=Path(sys.argv[2])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(world.out), str(world.notebooks)],
        env=os.environ | {"SUNGEN_STORE": str(world.store), "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: started.exists() and started.read_text().endswith("."))
    process.send_signal(how)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == status
    assert errors.strip().startswith("interrupted; finished runs are kept") or how != signal.SIGINT
    assert len(errors.strip().splitlines()) <= 1
    wait_until(lambda: not alive(started.read_text().rstrip(".")))


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def alive(process: str) -> bool:
    """A zombie, which nobody may come to reap in a container, is not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", process], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


# --- run_all.sh ------------------------------------------------------------------------------------------------------

# Stands for every interpreter: makes virtual environments of itself, logs what it is asked to install and to run.
# Options are checked by the real one.
TOY_PYTHON = f"""#!/bin/bash
case "$*" in
    "-m sungen_lib run --check"* | "-m sungen_lib run --help") exec {sys.executable} "$@" ;;
esac
case "$1 $2" in
    "- "*) exit 1 ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") echo "pip ${{*: -1}}" >>"$LOG"; exit "${{PIP_STATUS:-0}}" ;;
    "-m "*) echo "${{*:2}}" >>"$LOG" ;;
esac
"""


class Clone:
    """A fresh clone, less everything but what run_all.sh looks at, on a machine with only the toy interpreter."""

    def __init__(self, root: Path) -> None:
        self.root, self.venv, self.log = root / "clone", root / "clone" / ".venv", root / "log"
        self.root.mkdir()
        write_notebook(self.root / "notebooks" / "00_quickstart.ipynb")
        for name in ("run_all.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, self.root)
        for name in ("__init__.py", "__main__.py", "lab/__init__.py", "lab/notebooks.py"):  # what checks the options
            (self.root / "sungen_lib" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / "sungen_lib" / name, self.root / "sungen_lib" / name)
        (root / "bin").mkdir()
        for name in ("python", "python3"):
            (root / "bin" / name).write_text(TOY_PYTHON)
            (root / "bin" / name).chmod(0o755)
        self.path = f"{root / 'bin'}:/usr/bin:/bin"

    def run(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        inherited = {"PATH": self.path, "LOG": str(self.log)} | environment
        command = [str(self.root / "run_all.sh"), *options]
        return subprocess.run(command, cwd=self.root.parent, env=inherited, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        ["--bogus"],
        ["table01"],
        ["--profile"],
        ["--profile", "huge"],
        ["--profile", "--test"],
        ["--data", "nowhere"],
        ["--data", "."],
        ["--profile", "small"],
        ["--data", ""],
        ["--only", ""],
        ["--only", "quickstart,"],
        ["--only", "../x"],
        ["--only", "quickstart,table99"],
        ["--out", "log"],
        ["--test", "--profile", "small"],
        ["--profile", "small", "--bogus"],
    ],
)
def test_wrong_options_are_refused_in_a_line(clone: Clone, options: list[str]) -> None:
    result = clone.run(*options)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("run_all.sh: ") and result.stderr.count("\n") == 1
    assert not clone.venv.exists() and clone.log.read_text() == ""


def test_help(clone: Clone) -> None:
    result = clone.run("--help")
    assert result.returncode == 0 and result.stdout.startswith("usage: ./run_all.sh") and not clone.venv.exists()


def test_a_fresh_clone_is_installed_once(clone: Clone) -> None:
    assert clone.run().returncode == 0
    assert clone.log.read_text().splitlines() == ["pip torch", "pip .[suite,test]", "sungen_lib run"]
    (clone.root.parent / "texts").mkdir()
    real = ("--profile", "small", "--data", "texts")
    assert clone.run("--only", "quick,00_q", *real, "--out", "there").returncode == 0
    expected = "sungen_lib run --only quick,00_q --profile small --data texts --out there"  # in the caller's folder
    assert clone.log.read_text().splitlines() == [expected]


def test_new_constraints_are_installed_over_the_old(clone: Clone) -> None:
    clone.run()
    kept = clone.venv / "kept"
    kept.touch()
    with (clone.root / "constraints.txt").open("a") as file:
        file.write("# new\n")
    clone.run()
    assert clone.log.read_text().startswith("pip torch\npip .[suite,test]\n") and kept.exists()


def test_an_installation_cut_off_starts_again(clone: Clone) -> None:
    failed = clone.run(PIP_STATUS="1")
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "installation failed" in failed.stderr
    half_unpacked = clone.venv / "half"
    half_unpacked.touch()
    assert "did not finish" in clone.run().stdout
    assert not half_unpacked.exists() and clone.log.read_text().startswith("pip torch\npip .[suite,test]\n")
    assert clone.run().stdout == ""


def test_a_clearing_cut_off_is_not_taken_for_an_environment(clone: Clone) -> None:
    """What is left of a package may be just what pip takes for all of it."""
    clone.run(PIP_STATUS="1")
    remove = clone.root.parent / "bin" / "rm"
    remove.write_text('#!/bin/bash\n/bin/rm "$@"\nexit 1\n')
    remove.chmod(0o755)
    assert clone.run().returncode == 1
    remove.unlink()
    assert "did not finish" in clone.run().stdout


def test_no_python_is_said_in_a_line(clone: Clone) -> None:
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13"):
        (clone.root.parent / "bin" / name).write_text("#!/bin/bash\nexit 1\n")
        (clone.root.parent / "bin" / name).chmod(0o755)
    result = clone.run()
    assert result.returncode == 1 and "Python 3.11 or newer" in result.stderr and result.stderr.count("\n") == 1
    assert not clone.venv.exists()


def test_an_environment_that_satisfies_is_used(clone: Clone) -> None:
    """And one that does not is left alone: here the real interpreter, and then one asked for what it cannot have."""
    main = clone.root / "sungen_lib" / "__main__.py"
    main.write_text("import sys\nif '--check' not in sys.argv: print(sys.executable, *sys.argv[1:])")
    for name in ("python", "python3"):
        (clone.root.parent / "bin" / name).write_text(f'#!/bin/bash\nexec "{sys.executable}" "$@"\n')
    result = clone.run()
    assert result.stdout == f"{sys.executable} run\n" and not clone.venv.exists()

    project = clone.root / "pyproject.toml"
    project.write_text(project.read_text().replace('"torch>=2.11,<3"', '"torch>=99"'))
    (clone.root.parent / "bin" / "python3").write_text(TOY_PYTHON)
    clone.run()
    assert "pip .[suite,test]" in clone.log.read_text()
