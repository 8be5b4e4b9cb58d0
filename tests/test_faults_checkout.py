"""Where the checkout, the store and their users are: odd paths, links, other shells, other users, no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from sungen_lib import storage
from sungen_lib.lab import notebooks, suite

ROOT = notebooks.REPOSITORY


# --- run_all.sh -------------------------------------------------------------------------------------------------------

# Stands for every interpreter, but for what run_all.sh itself asks of Python; logs what it is to install and to run.
TOY = f"""#!/bin/bash
case "$1 $2" in
    "-c "*) exec "{sys.executable}" "$@" ;;
    "-m sungen_lib") [[ "$*" == *--check* || "$*" == *--help* ]] && exec "{sys.executable}" "$@"; echo "ran" >>"$LOG" ;;
    "- "*) exit 1 ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") echo "installed ${{*: -1}}" >>"$LOG" ;;
esac
"""


class Clone:
    """As much of a fresh clone as run_all.sh looks at, in ``place``."""

    def __init__(self, place: Path, tools: Path) -> None:
        self.script, self.log, self.tools = place / "run_all.sh", tools / "log", tools
        place.mkdir(parents=True)
        (place / "notebooks").mkdir()
        nbformat.write(new_notebook(), place / "notebooks" / "00_quickstart.ipynb")
        for name in ("run_all.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, place)
        for name in ("__init__.py", "__main__.py", "lab/__init__.py", "lab/notebooks.py"):
            (place / "sungen_lib" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "sungen_lib" / name, place / "sungen_lib" / name)
        tools.mkdir()
        for name in ("python", "python3"):
            (tools / name).write_text(TOY)
            (tools / name).chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": f"{self.tools}:/usr/bin:/bin", "LOG": str(self.log)} | more

    def run(self, *command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        whole = [str(part) for part in command or (self.script,)]
        self.log.write_text("")
        return subprocess.run(whole, env=self.environment(**more), capture_output=True, text=True, timeout=120)


INSTALLED = ["installed torch", "installed .[suite,test]", "ran"]


@pytest.mark.parametrize("name", ["plain", "{sungen}", "sungen [2026]", "a 'b' \"c\" $d"])
def test_any_path_without_a_colon_will_do(name: str, tmp_path: Path) -> None:
    clone = Clone(tmp_path / name, tmp_path / "tools")
    assert clone.run().returncode == 0
    assert clone.log.read_text().splitlines() == INSTALLED


def test_a_colon_is_refused_in_a_line(tmp_path: Path) -> None:
    result = Clone(tmp_path / "a:b", tmp_path / "tools").run()
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "no virtual environment can be made in a folder with ':' in its path; move the checkout" in result.stderr


def test_links_and_other_shells(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", tmp_path / "tools")
    (tmp_path / "sungen").symlink_to(clone.script)
    assert clone.run(tmp_path / "sungen").returncode == 0 and clone.log.read_text().splitlines() == INSTALLED
    assert clone.run("/bin/sh", clone.script, "--help").stdout.startswith("usage: ")


def no_locks(place: Path) -> dict[str, str]:
    """For a process on a file system without locks: NFS without lockd, some FUSE and SMB mounts."""
    place.mkdir()
    lines = ["import fcntl", "def none(*_): raise OSError(37, 'No locks available')", "fcntl.flock = none"]
    (place / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    return {"PYTHONPATH": str(place)}


def test_a_clone_without_locks_is_installed_and_told(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", tmp_path / "tools")
    result = clone.run(**no_locks(tmp_path / "none"))
    assert result.returncode == 0 and result.stderr == "" and "waiting" not in result.stdout
    assert "cannot be locked: start no second installation until this one has ended" in result.stdout
    assert clone.log.read_text().splitlines() == INSTALLED


def test_a_lock_that_is_held_is_waited_for(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", tmp_path / "tools")
    clone.log.write_text("")
    with clone.script.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen([clone.script], env=clone.environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting for another installation into .venv to end\n"
        assert clone.log.read_text() == ""
    assert process.wait(60) == 0 and clone.log.read_text().splitlines() == INSTALLED


def test_line_ends_stay_as_they_are() -> None:
    """Also where git is told to make Windows's of them: bash takes no others."""
    command = ["git", "check-attr", "text", "eol", "--", "run_all.sh", "sungen_lib/plain.py"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no git checkout")
    assert found.stdout.count("eol: lf") == 2


# --- the store --------------------------------------------------------------------------------------------------------


class FileLock36:
    """How older versions of filelock take a file system without locks: for one on which another process holds it."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def acquire(self) -> NoReturn:
        raise AssertionError("waits for ever")

    def release(self) -> None:
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_store_without_locks_is_one_sentence(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(storage, "FileLock", FileLock36)
    words = r"locks/x cannot be locked \(.*\); name another store \(SUNGEN_STORE\)$"
    with pytest.raises(OSError, match=words), storage.locked(tmp_path / "locks" / "x"):
        pass


def test_a_lock_is_for_all_users_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with storage.locked(tmp_path / "x"):
            assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_a_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from sungen_lib import storage\n"
    code += f"with storage.locked(Path({str(tmp_path / 'x')!r})): print('in', flush=True); input()\nprint('out')"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        assert other.stdout is not None and other.stdin is not None and other.stdout.readline() == "in\n"
        storage._try_lock(tmp_path / "x")  # held, which is no error
        other.stdin.write("\n")
        other.stdin.close()
        with storage.locked(tmp_path / "x"):
            assert other.wait(60) == 0


def test_a_notebook_without_a_lock_leaves_the_others_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("table01_a", "table02_b"):
        nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / f"{name}.ipynb")
    (tmp_path / "store" / "locks" / "embedded-table01_a").mkdir(parents=True)  # nothing that can be locked
    assert suite.run(tmp_path, out=tmp_path / "tables", store=tmp_path / "store") == 1
    first, second, last = capsys.readouterr().out.strip().splitlines()
    assert "FAILED  OSError: " in first and "name another store (SUNGEN_STORE)" in first and "FAILED" not in second
    assert last.startswith("notebooks: 1 ran, 0 unchanged, 1 failed")


def test_a_store_of_another_user_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Permissions do not bind root, as whom tests may run."""

    def taken(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "store" / "executed"))

    nbformat.write(new_notebook(), tmp_path / "table01_a.ipynb")
    monkeypatch.setattr(suite, "execute", taken)
    assert suite.run(tmp_path, out=tmp_path / "tables", store=tmp_path / "store") == 1
    words = "store/executed cannot be written (Permission denied); name a store of your own (SUNGEN_STORE)"
    assert words in capsys.readouterr().out.splitlines()[0]


# --- notebooks --------------------------------------------------------------------------------------------------------


def test_a_notebook_in_a_folder_with_braces(tmp_path: Path) -> None:
    place = tmp_path / "{sungen} [2026]"
    place.mkdir()
    nbformat.write(new_notebook(cells=[new_code_cell("print('done')")]), place / "a.ipynb")
    assert notebooks.execute(place / "a.ipynb", place / "out" / "a.ipynb", {}, store=tmp_path / "store") is None
    assert "done" in (place / "out" / "a.ipynb").read_text()


CELLS = {
    "parameters": "profile = 'tiny'\nseeds = None",
    "check": "from sungen_lib import Experiment\nExperiment.from_parameters('table01', globals(), tasks=['imdb']).out",
    "rest": "rows, helper = [1], {'a': 2}\nnumber = 3",
}


def test_all_cells_run_twice_and_a_misspelt_parameter_is_still_refused() -> None:
    """In one kernel, as after changing a parameter; then with a cell as papermill injects it."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS.values()])
    client = NotebookClient(notebook, kernel_name="python3", timeout=None)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with client.setup_kernel(env=environment):
        for _ in range(2):
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
        client.execute_cell(notebook.cells[0], 0)
        injected: NotebookNode = new_code_cell("# Parameters\nsedes = [1]\n")
        notebook.cells.append(injected)
        client.execute_cell(injected, 3)
        with pytest.raises(CellExecutionError) as error:
            client.execute_cell(notebook.cells[1], 1)
    shown = notebook.cells[1].outputs[-1]
    assert error.value.ename == "ParameterError" and "unknown parameter 'sedes'" in error.value.evalue
    assert shown.traceback == [f"ParameterError: {error.value.evalue}"]  # the sentence, and nothing around it
