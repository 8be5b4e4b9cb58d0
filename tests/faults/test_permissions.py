"""Folders that take no files: one sentence that names the folder, before anything is computed; nothing half written.

Permissions do not bind root, so where the tests run as root they are tried in a process that has become nobody.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from conftest import keyword_examples

from sungen_lib import __main__ as command_line
from sungen_lib.lab import execution
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.specs import Synthetic
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.storage import write_text
from sungen_lib.texts.jsonl import write_jsonl
from sungen_lib.texts.writer import Sampling

NOBODY = 65534


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that others may enter and read, and in which they may make nothing."""
    place = Path(tempfile.mkdtemp())  # pytest's own folders cannot even be entered by another user
    (place / "before").write_text("kept")
    place.chmod(0o555)
    yield place
    place.chmod(0o755)
    shutil.rmtree(place)


def as_nobody(work: Callable[[], object]) -> str:
    """What ``work`` raises, in a process without root's rights."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_reported, args=(work, theirs))
    process.start()
    theirs.close()
    said = str(ours.recv())
    process.join()
    return said


def _reported(work: Callable[[], object], report: Connection) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        report.send(f"nothing: {work()!r}")
    except Exception as error:
        report.send(f"{type(error).__name__}: {error}")


def learn(folder: Path) -> object:
    tam, checkpoint = TamConfig(embedding=4, hidden=4), folder / "weights.safetensors"
    return learn_weights(keyword_examples(20), tam=tam, iterations=1, checkpoint=checkpoint)


def generated(folder: Path) -> object:
    os.environ["SUNGEN_STORE"] = str(folder / "store")
    return execution.compute(Synthetic("subj", "embedded", "embedded", 20, "", Sampling()))


def chosen(folder: Path) -> object:
    parameters = {"profile": "tiny", "tasks": None, "tams": None, "seeds": None, "out": str(folder / "tables")}
    return Experiment.from_parameters("table01", parameters, tasks=["imdb"])


WORK: dict[str, tuple[Callable[[Path], object], str]] = {
    "a text": (lambda folder: write_text(folder / "a.csv", "x"), "OSError: {}/a.csv cannot be written"),
    "in a new folder": (lambda folder: write_text(folder / "new" / "a.csv", "x"), "OSError: {}/new/a.csv cannot be"),
    "over a file": (lambda folder: write_text(folder / "before", "x"), "OSError: {}/before cannot be written"),
    "rows": (lambda folder: write_jsonl(folder / "a.jsonl.gz", keyword_examples(4)), "OSError: {}/a.jsonl.gz cannot"),
    "weights": (learn, "OSError: {}/weights.safetensors cannot be written"),
    "the store": (generated, "OSError: {}/store/locks/"),
    "a notebook's tables": (chosen, "ParameterError: out: no files can be written to '{}/tables'; name another folder"),
}


@pytest.mark.parametrize("case", WORK)
def test_a_folder_that_takes_no_files(case: str, locked: Path, tmp_path: Path) -> None:
    work, complaint = WORK[case]
    if work is learn:
        learn(tmp_path)  # with its first optimiser torch reads more of itself, which nobody may not be allowed to
    said = as_nobody(lambda: work(locked))
    assert said.startswith(complaint.format(locked)) and "\n" not in said, said
    assert "name another" in said
    assert [path.name for path in locked.iterdir()] == ["before"] and (locked / "before").read_text() == "kept"


@pytest.mark.parametrize("which", ["tables", "store"])
def test_the_suite_says_so_before_it_begins(
    which: str, locked: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as free:
        os.chmod(free, 0o777)
        store, out = (locked, free) if which == "store" else (free, locked)
        monkeypatch.setenv("SUNGEN_STORE", f"{store}/store")
        options = ["run", "--profile", "tiny", "--only", "table11", "--out", f"{out}/tables"]
        assert as_nobody(lambda: command_line.main(options)) == "nothing: 2"
        assert not list(Path(free).iterdir())
    said = capfd.readouterr()
    assert said.err == f"sungen run: no files can be written to {locked / which}; name another folder\n"
    assert said.out == "" and [path.name for path in locked.iterdir()] == ["before"]
