"""``learn_weights`` and a run, killed at random moments; Ctrl-C and SIGTERM: nothing lost, nothing done twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from test_generation import write_texts

from sungen_lib import checkpoint as checkpoint_module
from sungen_lib import derivative, embedded
from sungen_lib.lab import execution
from sungen_lib.lab.specs import Gold, Run
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.storage import write_text
from sungen_lib.texts.writer import Sampling

Context = multiprocessing.context.ForkServerContext
ITERATIONS = 10
TAM = TamConfig(embedding=12, hidden=12, epochs=20)
LAZY = ["torch._dynamo", "transformers.models.gpt2.modeling_gpt2", "transformers.tokenization_utils_fast"]


def weights(folder: Path) -> None:
    """Weights with a checkpoint after each iteration; an iteration that is begun leaves a line in ``begun``."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    checkpoint_module.SECONDS = -1.0
    gradient = derivative.outer_gradient

    def noted(*arguments: object) -> object:
        with (folder / "begun").open("a") as log:
            log.write("x\n")
        return gradient(*arguments)  # type: ignore[arg-type]

    derivative.outer_gradient = noted  # type: ignore[assignment]
    learned = learn_weights(
        embedded.gold("imdb", "train", 300),
        tam=TAM,
        iterations=ITERATIONS,
        snapshots=(0, 5),
        checkpoint=folder / "weights.safetensors",
    )
    history = [asdict(replace(iteration, seconds=0.0)) for iteration in learned.history]
    content = {"weights": learned.weights.tolist(), "first": learned.snapshots[5].tolist(), "history": history}
    write_text(folder / "result.json", json.dumps(content))


def run(folder: Path) -> None:
    """A TAM trained and tested; its record less the clock."""
    os.environ["SUNGEN_STORE"] = str(folder / "store")
    train, test = (Gold("imdb", split, "embedded", 300, embedded.fingerprint()) for split in ("train", "test"))
    record = execution.compute(Run("gold", test, "cpu", train, TAM, seed=1))
    curve = [{**epoch, "seconds": 0} for epoch in record.metrics["curve"]]
    write_text(folder / "result.json", json.dumps([record.id, record.metrics | {"curve": curve}, record.files]))


def texts(folder: Path) -> None:
    """Generated texts, in some seven shards."""
    sampling = Sampling(min_tokens=5, max_tokens=48, batch_size=32)
    write_texts(folder / "result.json", "subj", rows=150, shard_size=32, sampling=sampling)


JOBS: dict[str, Callable[[Path], None]] = {"weights": weights, "run": run, "texts": texts}


@pytest.fixture(scope="module")
def context() -> Context:
    """Processes that start within milliseconds: signals hit the job, not its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "sungen_lib.lab.execution", *LAZY])
    warm = context.Process(target=int)
    warm.start()
    warm.join()
    return context


def finished(context: Context, job: Callable[[Path], None], folder: Path) -> tuple[bytes, float]:
    """What the job writes when it is left alone, and the seconds it takes."""
    began = time.monotonic()
    process = context.Process(target=job, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return (folder / "result.json").read_bytes(), time.monotonic() - began


@pytest.mark.timeout(900)  # on a busy machine the job alone may take a minute
@pytest.mark.parametrize("name", ["weights", "run"])
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.heavy)])
def test_random_kills(kills: int, name: str, context: Context, tmp_path: Path) -> None:
    job = JOBS[name]
    expected, seconds = finished(context, job, tmp_path / "alone")
    moments, folder = random.Random(f"{name}, {kills} kills"), tmp_path / "killed"
    killed = 0
    while killed < kills:
        process = context.Process(target=job, args=(folder,))
        process.start()
        process.join(moments.uniform(0.1, 0.9) * seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        else:  # checkpoints carried it to its end between kills: another one
            assert process.exitcode == 0 and (folder / "result.json").read_bytes() == expected
            folder = tmp_path / f"after {killed} kills"
    assert finished(context, job, folder)[0] == expected
    if name == "weights":  # a kill repeats no more than the iteration it hit
        begun = [len(path.read_text().splitlines()) for path in tmp_path.glob("*/begun")]
        assert sum(begun) <= ITERATIONS * len(begun) + kills


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("name", ["weights", "texts"])
def test_a_signal_keeps_what_is_done(name: str, how: signal.Signals, context: Context, tmp_path: Path) -> None:
    job, folder = JOBS[name], tmp_path / "stopped"
    expected, _ = finished(context, job, tmp_path / "alone")
    process = context.Process(target=stopping, args=(job, folder))
    process.start()
    deadline = time.monotonic() + 60
    while parts(folder) < (4 if name == "weights" else 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid or 0, how)
    process.join()
    assert process.exitcode == -how and not (folder / "result.json").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("shards/*.json")}
    assert finished(context, job, folder)[0] == expected
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.damaged-*"))
    assert before == {path: path.stat().st_mtime_ns for path in before}  # no shard was written again
    if name == "weights":
        assert len((folder / "begun").read_text().splitlines()) <= ITERATIONS + 1


def parts(folder: Path) -> int:
    """Shards that are finished, or iterations that are begun."""
    begun = folder / "begun"
    return len(begun.read_text().splitlines()) if begun.exists() else len(list(folder.glob("shards/shard-*.json")))


def stopping(job: Callable[[Path], None], folder: Path) -> None:
    """As a program of its own would: Ctrl-C that nobody catches ends it by the signal, not by multiprocessing's 1."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job(folder)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
