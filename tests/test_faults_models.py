"""Models that are not what they look like, encoders with few positions, and machines without shared memory."""

from __future__ import annotations

import io
import json
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import keyword_examples
from safetensors.torch import load_file, save_file
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from sungen_lib.lab import execution, stages
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.quality import classifier_labels
from sungen_lib.lab.specs import Gold, Run, Synthetic
from sungen_lib.models import TamConfig
from sungen_lib.texts import plms
from sungen_lib.texts.examples import DataMissing, Examples
from sungen_lib.texts.writer import Sampling
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


def without_parameters(place: Path, pattern: str) -> Path:
    """The same model without the parameters whose names ``pattern`` matches."""
    kept = {
        name: tensor for name, tensor in load_file(place / "model.safetensors").items() if not re.match(pattern, name)
    }
    save_file(kept, place / "model.safetensors", {"format": "pt"})
    return place


def test_what_a_file_lacks_is_no_random_numbers(
    tiny_tokenizer: PreTrainedTokenizerFast, tiny_plm: GPT2LMHeadModel, tmp_path: Path
) -> None:
    body = without_parameters(encoder(tmp_path / "body", tiny_tokenizer, 32), r"distilbert\.transformer\.layer\.0\.ffn")
    with pytest.raises(
        ValueError, match=r"no encoder .*body': its weights lack distilbert\.transformer\.layer\.0\.ffn"
    ):
        TamConfig("distilbert", path=str(body)).build(tiny_tokenizer, 2, seed=0)

    other_shape = load_file(encoder(tmp_path / "shape", tiny_tokenizer, 32) / "model.safetensors")
    name = "distilbert.embeddings.position_embeddings.weight"
    save_file(other_shape | {name: other_shape[name][:16]}, tmp_path / "shape" / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError,
        match=rf"no encoder .*shape': {re.escape(name)} has another shape in its weights; it would be random",
    ):
        TamConfig("distilbert", path=str(tmp_path / "shape")).build(tiny_tokenizer, 2, seed=0)

    tiny_plm.save_pretrained(tmp_path / "plm")
    tiny_tokenizer.save_pretrained(tmp_path / "plm")
    plms.load_plm.cache_clear()
    plms.load_plm(str(tmp_path / "plm"))  # its output layer is that of the words, and the file has it once
    plms.load_plm.cache_clear()
    with pytest.raises(DataMissing, match=r"no PLM .*plm': its weights lack transformer\.h\.1\.attn"):
        plms.load_plm(str(without_parameters(tmp_path / "plm", r"transformer\.h\.1\.")))


def test_a_head_may_be_fresh_but_not_an_oracle_s(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    place = without_parameters(encoder(tmp_path / "base", tiny_tokenizer, 32), "classifier|pre_classifier")
    TamConfig("distilbert", path=str(place)).build(tiny_tokenizer, 3, seed=0)
    config = json.loads((place / "config.json").read_text()) | {"id2label": {"0": "negative", "1": "positive"}}
    (place / "config.json").write_text(json.dumps(config))
    texts = Examples.of(["superb word1", "awful"], [1, 0], ["negative", "positive"])
    with pytest.raises(ValueError, match=r"no encoder .*base': its weights lack classifier\.bias"):
        classifier_labels(str(place), texts)


def test_a_folder_among_its_files_is_no_trouble(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    place = encoder(tmp_path / "model", tiny_tokenizer, 32)
    (place / "original_tokenizer").mkdir()
    TamConfig("distilbert", path=str(place)).build(tiny_tokenizer, 2, seed=0)


def test_a_tokenizer_that_was_not_fetched_is_named(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    place = encoder(tmp_path / "model", tiny_tokenizer, 32)
    (place / "tokenizer.json").write_bytes(LFS)
    plms.load_plm.cache_clear()
    for load in (lambda: plms.load_plm(str(place)), lambda: TamConfig("distilbert", path=str(place)).tokenizer([])):  # type: ignore[arg-type]
        with pytest.raises((ValueError, DataMissing), match=r"tokenizer\.json is a Git LFS pointer"):
            load()


def test_a_plm_runs_where_the_run_says(
    tiny_tokenizer: PreTrainedTokenizerFast, tiny_plm: GPT2LMHeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with a GPU, too: it is stored, and found again, as a run on a CPU."""
    tiny_plm.save_pretrained(tmp_path / "plm")
    tiny_tokenizer.save_pretrained(tmp_path / "plm")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    plms.load_plm.cache_clear()
    model, _ = plms.load_plm(str(tmp_path / "plm"), "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}

    texts = Synthetic("imdb", "openai-community/gpt2-xl", "hub", 100, "x", Sampling())
    prompting = Run("prompting", Gold("imdb", "test", "hub", None, "x"), "cpu", plm=texts.plm)
    assert execution.device_of(texts) == "cuda"  # as many processes as cores would each load the PLM
    assert execution.device_of(prompting) == "cpu" and execution.device_of(replace(prompting, device="cuda")) == "cuda"
    for elsewhere in ("embedded@1", "http://one:8000/v1#gpt2-xl"):
        assert execution.device_of(replace(texts, plm=elsewhere)) == "cpu"
    used: list[str] = []

    def stop(name: str, device: str) -> None:
        used.append(device)
        raise DataMissing(name)

    monkeypatch.setattr(stages, "load_plm", stop)
    for spec in (texts, prompting, replace(prompting, device="cuda")):
        with pytest.raises(DataMissing):
            stages.STAGES[type(spec)](spec, tmp_path, None)
    assert used == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert execution.device_of(texts) == "cpu"


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
