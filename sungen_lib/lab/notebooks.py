"""The notebooks: which there are, and how one is executed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE.parent
NOTEBOOKS = REPOSITORY / "notebooks"
TABLES = REPOSITORY / "tables"
TIDY = {"PYTHONWARNINGS": "ignore:resource_tracker"}  # which cleans up after stopped processes, and says so
SCOREBOARD = "scoreboard"  # the notebook that reads the others' results, so runs last
KERNEL_STARTUP = (  # before the first cell
    "__import__('logging').getLogger('asyncio').setLevel('CRITICAL')",  # on our stderr, and noise on Ctrl-C
    # Clearing away all that torch and the others have made would take a second. What cells register with atexit still
    # runs at the end; weakref finalizers and the flushing of files left open do not.
    "__import__('atexit').register(__import__('os')._exit, 0)",
)


def stem(name: str) -> str:
    """The name of a notebook's output files: table01_main_results -> table01, 00_quickstart -> quickstart."""
    found = re.match(r"((?:table|figure)\d+)_", name) or re.match(r"\d+_(.+)", name)
    return found[1] if found else name


def select(notebooks: Path, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks in name order, the scoreboard last; with ``only``, those whose name or output stem starts with one
    of its prefixes. ``ValueError`` where there are none."""
    found = sorted(notebooks.glob("*.ipynb"), key=lambda path: (path.stem == SCOREBOARD, path.stem))
    if not found:
        raise ValueError(f"no notebooks in {notebooks}: they are in the repository, not in the installed package")
    for prefix in only:
        if not any(_chosen(path, (prefix,)) for path in found):
            raise ValueError(f"no notebook starts with {prefix!r}")
    return [path for path in found if not only or _chosen(path, only)]


def _chosen(notebook: Path, prefixes: Sequence[str]) -> bool:
    return notebook.stem.startswith(tuple(prefixes)) or stem(notebook.stem).startswith(tuple(prefixes))


def execute(notebook: Path, copy: Path, parameters: Mapping[str, Any], *, store: Path) -> str | None:
    """Execute ``notebook`` into ``copy`` with those ``parameters`` it declares; the last line of its error, if any."""
    import papermill  # a second, which an unchanged suite saves

    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # pages about tasks that Ctrl-C left unfinished
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    try:
        with environment(**_kernel_environment(store)):
            known = papermill.inspect_notebook(_escaped(notebook)) if parameters else {}
            papermill.execute_notebook(
                # papermill takes braces in a path for its own parameters.
                _escaped(notebook),
                _escaped(copy),
                {name: value for name, value in parameters.items() if name in known},
                kernel_name="python3",
                cwd=str(notebook.parent),
                progress_bar=False,
                log_output=False,
                execution_timeout=None,
                extra_arguments=[
                    "--IPKernelApp.log_level=CRITICAL",  # its log is a warning about encryption each time
                    f"--IPKernelApp.exec_lines={'; '.join(KERNEL_STARTUP)}",
                ],
            )
    except Exception as error:  # whatever it is, the other notebooks still get their turn
        return last_line(error)
    return None


def _escaped(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")


def refresh(notebooks: Path = NOTEBOOKS, *, store: Path, only: Sequence[str] = ()) -> int:
    """Execute the committed notebooks in place, with the defaults they declare; how many failed, and so stay as is."""
    failed = 0
    for notebook in select(notebooks, only):
        print(f"{notebook.stem:<32}", end=" ", flush=True)
        copy = store.resolve() / "executed" / "refresh" / notebook.name
        started = time.monotonic()
        error = execute(notebook, copy, {}, store=store.resolve())
        print(f"{time.monotonic() - started:7.1f} s  {failure(error, copy) if error else 'refreshed'}", flush=True)
        if error:
            failed += 1
        else:
            write_json(notebook, without_traces(read_json(copy)))
    return failed


def without_traces(notebook: dict[str, Any]) -> dict[str, Any]:
    """``notebook`` less what papermill and the machine leave in it (times, paths, versions), to keep diffs small."""
    for name in ("papermill", "widgets"):  # those of bars that are shown no more
        notebook["metadata"].pop(name, None)
    notebook["metadata"].get("language_info", {}).pop("version", None)
    for cell in notebook["cells"]:
        for name in ("papermill", "execution"):
            cell["metadata"].pop(name, None)
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
    return notebook


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Environment variables changed for the length of a block."""
    before = dict(os.environ)
    os.environ |= changes
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _kernel_environment(store: Path) -> dict[str, str]:
    """What kernels inherit: this store, this checkout, this interpreter's kernel, and no progress bars."""

    def first(path: Path, variable: str) -> str:
        return os.pathsep.join(filter(None, (str(path), os.environ.get(variable))))

    return {
        "SUNGEN_STORE": str(store),
        "PYTHONPATH": first(REPOSITORY, "PYTHONPATH"),
        # A user's own "python3" kernel, which may be another interpreter's, must not come before ours.
        "JUPYTER_PATH": first(Path(sys.prefix, "share", "jupyter"), "JUPYTER_PATH"),
        "TQDM_DISABLE": "1",
        **TIDY,
    }


def last_line(error: Exception) -> str:
    """``KeyError: 'imdb'``, for an error in a cell (papermill's has ``ename`` and ``evalue``) as for any other."""
    name = getattr(error, "ename", type(error).__name__)
    lines = str(getattr(error, "evalue", error)).strip().splitlines()
    return f"{name}: {lines[-1]}" if lines else name


def failure(error: str, copy: Path) -> str:
    """The line that reports a failed notebook: its error, and the executed ``copy`` if there is one."""
    return f"FAILED  {error}" + (f"  [{copy}]" if copy.exists() else "")


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty if there is none, which is also what a missing or spoilt stamp means."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in the layout that nbformat gives notebooks."""
    from sungen_lib.storage import (
        write_text,  # not at the top: the command line is checked before anything is installed
    )

    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, separators=(",", ": "))
    write_text(path, text + "\n")
