"""A generation job, killed at twenty random moments and started again each time, ends with the same file."""

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

KILLS = 20
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
    write_texts(folder / "synthetic.jsonl", "imdb", rows=600, shard_size=48, sampling=SAMPLING)


@pytest.fixture(scope="module")
def context() -> multiprocessing.context.ForkServerContext:
    """Processes that start within milliseconds: kills hit the job, not its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LAZY, "sungen_lib.texts.generation", "sungen_lib.embedded"])
    return context


def test_twenty_kills(context: multiprocessing.context.ForkServerContext, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    warm = context.Process(target=int)  # the server's own imports are not the job's time
    warm.start()
    warm.join()
    process = context.Process(target=job, args=(reference,))
    began = time.monotonic()
    process.start()
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - began
    moments = random.Random(0)
    kills, stages = 0, set()
    while kills < KILLS:  # in several jobs: each kill loses less than a shard, so that a job outlives some ten
        folder = tmp_path / f"after {kills} kills"
        while not (folder / "synthetic.jsonl").exists():
            process = context.Process(target=job, args=(folder,))
            process.start()
            process.join(moments.uniform(0.05, 0.4) * seconds if kills < KILLS else None)
            stages.add(len(list(folder.glob("shards/shard-*.json"))))
            kills += process.is_alive()
            process.kill()
            process.join()
        assert (folder / "synthetic.jsonl").read_bytes() == (reference / "synthetic.jsonl").read_bytes()
    assert len(stages) > 3
