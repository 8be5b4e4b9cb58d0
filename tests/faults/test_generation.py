"""A generation job, killed at random moments and started again each time, ends with the same file."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch

from sungen_lib import embedded
from sungen_lib.texts import tasks
from sungen_lib.texts.generation import generate
from sungen_lib.texts.jsonl import write_jsonl
from sungen_lib.texts.writer import Sampling

LAZY = ["transformers.models.gpt2.modeling_gpt2", "transformers.generation", "transformers.tokenization_utils_fast"]
SAMPLING = Sampling(min_tokens=5, max_tokens=48, batch_size=64, refill=48)


def write_texts(path: Path, task: str, *, rows: int, shard_size: int, sampling: Sampling) -> None:
    """Texts by the embedded PLM to ``path``, by way of shards beside it."""
    torch.set_num_threads(1)
    model, tokenizer = embedded.load_plm()
    texts = generate(
        tasks.get(task),
        model=model,
        tokenizer=tokenizer,
        rows=rows,
        seed=3,
        sampling=sampling,
        shard_size=shard_size,
        folder=path.parent / "shards",
    )
    write_jsonl(path, texts)


def job(folder: Path) -> None:
    """What is killed: texts of a task with a first stage, and their file."""
    write_texts(folder / "synthetic.jsonl", "imdb", rows=300, shard_size=24, sampling=SAMPLING)


@pytest.fixture(scope="module")
def context() -> multiprocessing.context.ForkServerContext:
    """Processes that start within milliseconds: kills hit the job, not its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LAZY, "sungen_lib.texts.generation", "sungen_lib.embedded"])
    return context


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.heavy)])
def test_kills(kills: int, context: multiprocessing.context.ForkServerContext, tmp_path: Path) -> None:
    """Each kill comes a moment after a shard is finished, however slow the machine is."""
    reference = tmp_path / "reference"
    process = context.Process(target=job, args=(reference,))
    process.start()
    process.join()
    assert process.exitcode == 0
    moments, stages = random.Random(0), set()
    left = kills
    while left:  # in several jobs: a job has thirteen shards
        folder = tmp_path / f"before {left} kills"
        while not (folder / "synthetic.jsonl").exists():
            before = shards(folder)
            process = context.Process(target=job, args=(folder,))
            process.start()
            while process.is_alive() and (not left or shards(folder) == before):
                time.sleep(0.005)
            process.join(moments.uniform(0, 0.1) if left else None)
            stages.add(shards(folder))
            left -= process.is_alive()
            process.kill()
            process.join()
        assert (folder / "synthetic.jsonl").read_bytes() == (reference / "synthetic.jsonl").read_bytes()
    assert len(stages) > min(kills, 3)


def shards(folder: Path) -> int:
    return len(list(folder.glob("shards/shard-*.json")))
