"""Shared by the tests: the real data folder, a tiny PLM, small data sets."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: a test never waits for the hub

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import settings

from sungen_lib.encode import Encoded, Vocabulary, encode
from sungen_lib.lab.specs import Spec
from sungen_lib.lab.store import Record
from sungen_lib.texts.examples import Examples

if TYPE_CHECKING:  # pytest waits for this file before it starts its workers, and transformers' models take five seconds
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

settings.register_profile("suite", deadline=None)  # a busy machine is not a failure
settings.load_profile("suite")
torch.set_num_threads(1)  # results are compared to the bit, and xdist runs the tests side by side


@pytest.fixture(autouse=True, scope="session")
def dual_numbers() -> None:
    """torch warns, of itself, when a process uses them for the first time; some tests let nothing warn."""
    with warnings.catch_warnings(action="ignore"):
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


KEYWORDS = ("awful", "superb", "boxing", "orbit")
FILLER = tuple(f"word{i}" for i in range(20))


def keyword_examples(n: int, *, classes: int = 2, seed: int = 0, pairs: bool = False, filler: int = 8) -> Examples:
    """Texts of 1 to ``filler`` + 1 words, one of which gives the label away; classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes

    def text(label: int) -> str:
        words = list(rng.choice(FILLER, size=rng.integers(0, filler + 1)))
        words.insert(int(rng.integers(0, len(words) + 1)), KEYWORDS[label])
        return " ".join(words)

    texts = [text(int(label)) for label in labels]
    seconds = [text(int(label)) for label in labels] if pairs else None
    return Examples.of(texts, labels, KEYWORDS[:classes], seconds)


def keyword_vocabulary(*, start: bool = False) -> Vocabulary:
    """All words of ``keyword_examples``, whatever its size, seed and classes."""
    return Vocabulary((*KEYWORDS, *FILLER), start=start)


def keyword_set(n: int, *, classes: int = 2, seed: int = 0, start: bool = False) -> Encoded:
    """``keyword_examples``, encoded."""
    return encode(keyword_examples(n, classes=classes, seed=seed), keyword_vocabulary(start=start))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data: ``SUNGEN_DATA``, else ``../shared/data`` beside the repository; skips without one."""
    folder = Path(os.environ.get("SUNGEN_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set SUNGEN_DATA to a data folder)")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer; quotation marks, colons and the like are words of their own."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Punctuation, Sequence, WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    prompt_words = "The movie review in negative positive sentiment for is Movie Sentence Information Question"
    words = ["<unk>", "<end>", '"', '."', ".", ":", "<C>", *prompt_words.split(), *KEYWORDS, *FILLER]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")


@pytest.fixture(scope="session")
def tiny_plm(tiny_tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A random GPT-2; its weights are large enough that what it writes depends on what it read."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tiny_tokenizer),
        n_positions=96,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty store, and pictures that go nowhere."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with mpl.rc_context({"backend": "agg"}):
        yield tmp_path


def run_cells(
    notebook: Path, parameters: Mapping[str, Any], *, before: Callable[[str], None] = lambda source: None
) -> dict[str, Any]:
    """The names after all of a notebook's code cells have run in this process, with ``parameters`` in place of its
    own. ``before`` gets each cell's source first."""
    names: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            before("".join(cell["source"]))
            exec("".join(cell["source"]), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                names |= parameters
    return names


def lines(records: Mapping[Spec, Record]) -> dict[str, tuple]:
    """What must be equal to the bit: metrics without times, and the files."""

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k != "seconds"}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    def kept(record: Record) -> dict:
        return {name: digest for name, digest in record.files.items() if name != "weights.safetensors"}

    return {record.id: (timeless(record.metrics), kept(record)) for record in records.values()}
