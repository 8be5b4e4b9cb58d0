"""The offline world: hand-written grammars (what is true), and a tiny PLM trained on them (what writes the texts)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sungen_lib.embedded.world import NOISY_Y, UNRELATED_X, corpus, fingerprint, gold, judge

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

__all__ = ["NOISY_Y", "UNRELATED_X", "corpus", "fingerprint", "gold", "judge", "load_plm"]


def load_plm() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The shipped PLM and its tokenizer (``plm.load_plm``), imported only now: the grammars need no torch."""
    from sungen_lib.embedded import plm

    return plm.load_plm()
