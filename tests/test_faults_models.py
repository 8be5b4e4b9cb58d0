"""Models that are not what they look like, encoders with few positions, and machines without shared memory."""

from __future__ import annotations

import io
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import keyword_examples
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from sungen_lib.lab import execution
from sungen_lib.lab.experiment import Experiment
from sungen_lib.models import TamConfig
from sungen_lib.texts import plms
from sungen_lib.texts.examples import DataMissing, Examples
from sungen_lib.train import fit

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def encoder(place: Path, tokenizer: PreTrainedTokenizerFast, positions: int, kind: str = "distilbert") -> Path:
    """A random one whose tokenizer knows of no limit."""
    small: dict[str, Any] = {"vocab_size": len(tokenizer) + 1, "max_position_embeddings": positions}
    torch.manual_seed(0)
    if kind == "roberta":
        config = RobertaConfig(
            **small, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, pad_token_id=1
        )
        RobertaForSequenceClassification(config).save_pretrained(place)
    else:
        DistilBertForSequenceClassification(
            DistilBertConfig(**small, dim=8, hidden_dim=16, n_layers=1, n_heads=1)
        ).save_pretrained(place)
    tokenizer.save_pretrained(place)
    PreTrainedTokenizerFast.from_pretrained(place, pad_token="<pad>").save_pretrained(place)
    return place


@pytest.mark.parametrize(("kind", "longest"), [("distilbert", 32), ("roberta", 30)])
def test_texts_are_cut_to_the_encoder_s_positions(
    kind: str, longest: int, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """RoBERTa's first two are for padding."""
    texts = Examples.of(["superb word1 " * 40, "awful " * 40], [1, 0], ["no", "yes"])
    config = TamConfig("distilbert", path=str(encoder(tmp_path / "model", tiny_tokenizer, 32, kind)), batch_size=2)
    prepared = config.prepare(texts, seed=0)
    model, data = prepared.model, prepared.data
    assert data.sizes.tolist() == [longest, longest]
    fit(model, data, epochs=1, lr=0.1, batch_size=2, precision="float32", seed=0)


DAMAGE: dict[str, tuple[bytes | int, str]] = {
    "Git LFS": (LFS, r"model\.safetensors is a Git LFS pointer, not the file itself; fetch it \(git lfs pull\)$"),
    "cut off": (300, ".+"),
    "nothing": (b"", ".+"),
    "junk": (b"\xff" * 5000, ".+"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("what", ["encoder", "PLM"])
def test_damaged_weights_are_one_sentence(
    case: str, what: str, tiny_tokenizer: PreTrainedTokenizerFast, tiny_plm: GPT2LMHeadModel, tmp_path: Path
) -> None:
    content, words = DAMAGE[case]
    place = encoder(tmp_path / "model", tiny_tokenizer, 32)
    if what == "PLM":
        tiny_plm.save_pretrained(place)
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:content] if isinstance(content, int) else content)
    plms.load_plm.cache_clear()
    with pytest.raises((ValueError, DataMissing), match=rf"no {what} could be loaded from '.*model': {words}") as error:
        if what == "PLM":
            plms.load_plm(str(place))
        else:
            TamConfig("distilbert", path=str(place)).build(tiny_tokenizer, 2, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("what", ["encoder", "PLM", "tokenizer"])
def test_a_model_s_own_code_is_neither_run_nor_asked_about(
    what: str, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = encoder(tmp_path / "model", tiny_tokenizer, 32)
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    names = ("AutoConfig", "AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoTokenizer", "AutoModel")
    wanted = {name: ["evil.Evil", "evil.Evil"] if name == "AutoTokenizer" else "evil.Evil" for name in names}
    for name in ("config.json", "tokenizer_config.json"):
        (place / name).write_text(json.dumps({"model_type": "evil", "auto_map": wanted}))
    answers = io.StringIO("y\n" * 9)
    monkeypatch.setattr("sys.stdin", answers)
    plms.load_plm.cache_clear()
    with pytest.raises((ValueError, DataMissing), match=f"no {what} could be loaded from"):
        if what == "PLM":
            plms.load_plm(str(place))
        elif what == "tokenizer":
            TamConfig("distilbert", path=str(place)).tokenizer(keyword_examples(4))
        else:
            TamConfig("distilbert", path=str(place)).build(tiny_tokenizer, 2, seed=0)
    assert answers.tell() == 0 and not (tmp_path / "ran").exists()


def test_without_shared_memory_runs_come_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_semaphores(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path))
    monkeypatch.setattr("multiprocessing.synchronize.SemLock", no_semaphores)
    monkeypatch.setattr(multiprocessing.synchronize.Lock, "__init__", no_semaphores)
    one = Experiment.from_parameters("table01", {"profile": "tiny"}, tasks=["imdb"])
    specs = [one.data.synthetic(task) for task in ("imdb", "subj")]
    assert len(execution.execute(specs, jobs=2, progress=None)) >= 2


def test_weights_of_an_encoder_without_a_pooler_are_read(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """What is not damaged goes on as before: a head for other classes gives way to a fresh one."""
    place = encoder(tmp_path / "model", tiny_tokenizer, 32)
    assert TamConfig("distilbert", path=str(place)).build(tiny_tokenizer, 5, seed=0) is not None
