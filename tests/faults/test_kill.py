"""``run_all.sh``, killed at random moments and started again: nothing lost, nothing repeated, the same tables.

``SUNGEN_KILLS`` (default 5) says how many kills are tried; twenty take some ten minutes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = "table11,figure03"  # a table and a figure that share texts and weights
KILLS = int(os.environ.get("SUNGEN_KILLS", "5"))


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = ["./run_all.sh", "--profile", "tiny", "--only", NOTEBOOKS, "--out", str(folder / "tables")]
    environment = {**os.environ, "SUNGEN_STORE": str(folder / "store")}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def tables(folder: Path) -> dict[str, bytes]:
    """What must be equal to the byte; the JSON beside it holds times."""
    files = [path for path in (folder / "tables").rglob("*") if path.suffix in (".csv", ".md", ".tex", ".png", ".svg")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def records(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / "store").glob("*/*/record.json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with an undisturbed run's results, and how long it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    assert start(folder).wait(timeout=600) == 0
    return folder, time.monotonic() - began


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_suite_goes_on_and_ends_the_same(number: int, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    reference, seconds = undisturbed
    process = start(tmp_path)
    time.sleep(random.Random(number).uniform(0.1, 0.95) * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2.5)  # kernels are in sessions of their own; they see within a second or two that their parent is gone
    finished = records(tmp_path)
    assert start(tmp_path).wait(timeout=600) == 0
    assert tables(tmp_path) == tables(reference)
    after = records(tmp_path)
    assert {name: after[name] for name in finished} == finished  # a repeated run would have another time in its record
    assert set(after) == set(records(reference))
    assert not list(tmp_path.rglob("*.tmp"))
