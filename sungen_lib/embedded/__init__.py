"""The offline world: hand-written grammars of English for the eleven tasks, an exact oracle, and a tiny PLM.

Everything here is for demonstration, never evidence: it lets every table and figure be made without a network.

    gold(task, split, rows)           clean examples, the oracle's label for each
    judge(task, examples)             what each text really says, -1 where it is off-topic
    corpus(rows, seed)                the PLM's training text, which disobeys its prompts at NOISY_Y and UNRELATED_X
    load_plm()                        the shipped PLM and its tokenizer
    fingerprint()                     changes when the world does
    plm_fingerprint()                 changes when the PLM's weights or tokenizer do

``python -m sungen_lib.embedded.plm`` trains the PLM again. Importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sungen_lib.embedded.world import NOISY_Y, UNRELATED_X, corpus, fingerprint, gold, judge

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

__all__ = ["NOISY_Y", "UNRELATED_X", "corpus", "fingerprint", "gold", "judge", "load_plm", "plm_fingerprint"]


def load_plm() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The shipped PLM, float32 in eval mode, and its tokenizer; from this folder, without a network."""
    from sungen_lib.embedded import plm

    return plm.load_plm()


@cache
def plm_fingerprint() -> str:
    """A hash of the shipped PLM's files: what caches of its texts and predictions depend on."""
    files = [Path(__file__).parent / "weights" / name for name in ("model.safetensors", "tokenizer.json")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]
