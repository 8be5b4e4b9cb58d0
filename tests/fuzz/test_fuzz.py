"""What a coverage-guided fuzzer found its way with (``fuzz_jsonl.py``), replayed, and some hundred variations of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz_jsonl import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
pytestmark = pytest.mark.filterwarnings("ignore:.*telling texts fit their labels")


def test_the_corpus_reaches_both_ends(tmp_path: Path) -> None:
    outcomes = [check(path.read_bytes(), tmp_path) for path in CORPUS]
    assert len(CORPUS) <= 100 and outcomes.count("read") > 5 and outcomes.count("refused") > 20


@pytest.mark.parametrize("seed", range(20))
def test_variations(seed: int, tmp_path: Path) -> None:
    """Pieces of two files put together, and a byte changed."""
    moments = random.Random(seed)
    for _ in range(20):
        first, second = (path.read_bytes() for path in moments.choices(CORPUS, k=2))
        content = bytearray(first[: moments.randint(0, len(first))] + second[moments.randint(0, len(second)) :])
        if content:
            content[moments.randrange(len(content))] = moments.randrange(256)
        check(bytes(content), tmp_path)
