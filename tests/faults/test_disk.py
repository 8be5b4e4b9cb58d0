"""A disk that takes no more: one sentence naming the file, nothing half written, what was there before still there."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import keyword_examples

from sungen_lib.learn import learn_weights, load_weights
from sungen_lib.models import TamConfig
from sungen_lib.storage import write_text
from sungen_lib.texts.jsonl import write_jsonl

ROOM = 3_000  # bytes: more than a small file, less than what the tests write


@pytest.fixture
def full() -> Iterator[None]:
    """No file may grow beyond ``ROOM``: the kernel refuses as a full disk would, in the middle of a write."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_texts_on_a_full_disk(tmp_path: Path, full: None) -> None:
    path = tmp_path / "synthetic.jsonl"
    write_jsonl(path, keyword_examples(4))
    before = files(tmp_path)
    with pytest.raises(OSError, match=r"synthetic\.jsonl cannot be written .*; make room"):
        write_jsonl(path, keyword_examples(400))
    assert files(tmp_path) == before


def test_weights_on_a_full_disk(tmp_path: Path, full: None) -> None:
    checkpoint, tam = tmp_path / "weights.safetensors", TamConfig(embedding=4, hidden=4)

    def learn(rows: int, iterations: int) -> None:
        texts = keyword_examples(rows)
        learn_weights(texts, tam=tam, iterations=iterations, snapshots=(), checkpoint=checkpoint)

    with pytest.raises(OSError, match=r"weights\.safetensors cannot be written .*; make room"):
        learn(400, 1)
    assert files(tmp_path) == {}
    learn(20, 1)
    assert np.isfinite(load_weights(checkpoint).weights).all()


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("not a folder")
    with pytest.raises(OSError, match=r"table01\.csv cannot be written .*or name another place"):
        write_text(tmp_path / "tables" / "table01.csv", "row,column\n")
