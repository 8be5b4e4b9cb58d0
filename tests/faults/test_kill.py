"""``run_all.sh``, killed, interrupted, or started twice: nothing lost, nothing repeated, the same tables."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import run_cells

from sungen_lib.lab import execution

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = "00_quickstart"  # texts, weights, two trained TAMs, a figure
SEVERAL = "table11,figure03"  # which share texts and weights
SENTENCE = "interrupted; finished runs are kept, and the same command continues from them"
pytestmark = pytest.mark.timeout(900)  # the first run_all.sh may install an environment


def start(folder: Path, only: str = SMALLEST) -> subprocess.Popen[str]:
    command = ["./run_all.sh", "--profile", "tiny", "--only", only, "--out", str(folder / "tables")]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "SUNGEN_STORE": str(folder / "store")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def tables(folder: Path) -> dict[str, bytes]:
    """What must be equal to the byte; the JSON beside it holds times."""
    files = [path for path in (folder / "tables").rglob("*") if path.suffix in (".csv", ".md", ".tex", ".png", ".svg")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def records(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / "store").glob("*/*/record.json")}


@pytest.fixture
def smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the results of SMALLEST's cells, run here: no kernel has to start and import torch again."""
    folder = tmp_path / "undisturbed"
    monkeypatch.setenv("SUNGEN_STORE", str(folder / "store"))
    monkeypatch.setattr(execution, "_cores", lambda: 1)  # no worker has to, either
    run_cells(ROOT / "notebooks" / f"{SMALLEST}.ipynb", {"profile": "tiny", "out": str(folder / "tables")})
    return folder


def run(folder: Path) -> None:
    """SEVERAL from start to end, undisturbed."""
    assert start(folder, SEVERAL).wait(timeout=600) == 0


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with the results of SEVERAL, and how long they took."""
    folder, began = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    run(folder)
    return folder, time.monotonic() - began


def stop(folder: Path, how: signal.Signals) -> tuple[int, str]:
    """Start it, and stop it as soon as there is another record; its exit status and last words."""
    before, process = set(records(folder)), start(folder)
    while process.poll() is None and set(records(folder)) == before:
        time.sleep(0.05)
    os.killpg(process.pid, how)
    said = process.communicate(timeout=90)[1].strip()
    return process.returncode, said


def ended_the_same(folder: Path, finished: dict[str, bytes], reference: Path) -> None:
    """Tables and records are those of an undisturbed run, and no finished record was made again (it holds its time)."""
    assert tables(folder) == tables(reference)
    assert finished.items() <= records(folder).items()
    assert set(records(folder)) == set(records(reference))
    assert not list(folder.rglob("*.tmp"))


def both_share_the_work(folder: Path, reference: Path) -> None:
    """Two at once, into one store and one folder: no record is ever replaced."""
    time.sleep(2.5)  # kernels are in sessions of their own; they see within a second or two that their parent is gone
    both = [start(folder) for _ in range(2)]
    versions: dict[Path, set[tuple[int, int]]] = {}
    while any(process.poll() is None for process in both):
        for path in folder.glob("store/*/*/record.json"):
            about = path.stat()
            versions.setdefault(path, set()).add((about.st_ino, about.st_mtime_ns))
        time.sleep(0.02)
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    assert all(len(seen) == 1 for seen in versions.values()) and len(versions) == len(records(reference))
    executed = folder / "store" / "executed" / "tiny"
    copies = [json.loads(path.read_text(encoding="utf-8")) for path in executed.glob("*.ipynb")]
    assert len(copies) == 1 and all(cell["execution_count"] for c in copies for cell in c["cells"] if "outputs" in cell)


def test_a_killed_suite_goes_on_twice_at_once_and_ends_the_same(smallest: Path, tmp_path: Path) -> None:
    """Killed among its runs; then two at once share what is left."""
    folder = tmp_path / "disturbed"
    assert stop(folder, signal.SIGKILL) == (-signal.SIGKILL, "")
    finished = records(folder)
    assert finished and set(finished) < set(records(smallest))
    both_share_the_work(folder, smallest)
    ended_the_same(folder, finished, smallest)


def goes_on_and_ends_the_same(folder: Path, reference: Path) -> None:
    time.sleep(2.5)  # kernels are in sessions of their own; they see within a second or two that their parent is gone
    finished = records(folder)
    run(folder)
    ended_the_same(folder, finished, reference)


@pytest.mark.heavy
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_suite_stopped_among_its_runs_says_so_and_goes_on(
    how: signal.Signals, several: tuple[Path, float], tmp_path: Path
) -> None:
    assert stop(tmp_path, how) == (128 + how, SENTENCE)
    goes_on_and_ends_the_same(tmp_path, several[0])


@pytest.mark.heavy
@pytest.mark.parametrize("number", range(20))
def test_a_killed_suite_goes_on_and_ends_the_same(number: int, several: tuple[Path, float], tmp_path: Path) -> None:
    reference, seconds = several
    process = start(tmp_path, SEVERAL)
    time.sleep(random.Random(number).uniform(0.1, 0.95) * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    goes_on_and_ends_the_same(tmp_path, reference)
