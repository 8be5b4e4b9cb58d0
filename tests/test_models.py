"""The TAMs: the BiLSTM against torch's packed bidirectional LSTM, encoders from configurations and from folders."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import keyword_examples, keyword_set, keyword_vocabulary
from test_encode import pretrained_style
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from sungen_lib.encode import Batch, Vocabulary, encode
from sungen_lib.models import BiLSTM, Encoder, TamConfig, reverse


def tiny_lstm(seed: int = 0, classes: int = 2) -> BiLSTM:
    """A BiLSTM in float64."""
    torch.manual_seed(seed)
    return BiLSTM(len(keyword_vocabulary()), classes, embedding=7, hidden=5).double()


def packed(model: BiLSTM) -> tuple[nn.LSTM, Callable[[Batch], Tensor]]:
    """torch's own bidirectional LSTM with the same weights, and the forward pass of the paper's TAM around it."""
    lstm = nn.LSTM(7, 5, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for side, suffix in ((model.left, ""), (model.right, "_reverse")):
            for name, value in side.named_parameters():
                lstm.get_parameter(name + suffix).copy_(value)

    def forward(batch: Batch) -> Tensor:
        inputs = nn.functional.embedding(batch.tokens, model.embedding.weight)
        sequence = pack_padded_sequence(inputs, batch.lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = lstm(sequence)
        return nn.functional.linear(torch.cat([last[0], last[1]], dim=1), model.linear.weight, model.linear.bias)

    return lstm, forward


def test_the_bilstm_is_torch_s_packed_bidirectional_lstm() -> None:
    model, batch = tiny_lstm(classes=3), keyword_set(40, classes=3).batch(np.arange(40))
    assert len(set(batch.lengths.tolist())) > 5
    lstm, forward = packed(model)
    ours, theirs = model(batch), forward(batch)
    assert float((ours - theirs).detach().abs().max()) < 1e-12

    def gradients(logits: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        lstm.zero_grad()
        nn.functional.cross_entropy(logits, batch.labels).backward()
        pairs = (*model.named_parameters(), *((f"packed.{n}", p) for n, p in lstm.named_parameters()))
        return {name: p.grad.clone() for name, p in pairs if p.grad is not None}

    mine, other = gradients(ours), gradients(theirs)
    for name in ("embedding.weight", "linear.weight", "linear.bias"):
        assert float((mine[name] - other[name]).abs().max()) < 1e-12, name
    for side, suffix in (("left", ""), ("right", "_reverse")):
        for name, _ in model.left.named_parameters():
            assert float((mine[f"{side}.{name}"] - other[f"packed.{name}{suffix}"]).abs().max()) < 1e-12, (side, name)


def test_padding_has_no_influence() -> None:
    model, data = tiny_lstm(), keyword_set(40)
    together = model(data.batch(np.arange(40)))
    wide = model(data.gather(torch.arange(40), 64))
    alone = torch.cat([model(data.batch(np.array([i]))) for i in range(40)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14)
    torch.testing.assert_close(together, wide, rtol=0, atol=1e-14)


def test_word_order_matters_and_reverse_reverses() -> None:
    batch = Batch(torch.tensor([[4, 5, 6], [7, 8, 0], [9, 0, 0]]), None, torch.tensor([3, 2, 1]), torch.zeros(3).long())
    assert reverse(batch).tolist() == [[6, 5, 4], [8, 7, 0], [9, 0, 0]]
    model = tiny_lstm()
    swapped = Batch(reverse(batch), None, batch.lengths, batch.labels)
    assert (model(batch) - model(swapped)).detach().abs()[:2].min() > 1e-6


def test_sizes_and_initialisation_of_the_release() -> None:
    model = TamConfig().build(Vocabulary([f"w{i}" for i in range(996)]), 4, seed=0)
    # 1,000 words x 100; each direction 4 gates x 150 x (100 + 150) and two biases; 300 x 4 and a bias.
    assert sum(p.numel() for p in model.parameters()) == 100_000 + 2 * (600 * 250 + 1200) + 1204
    bound = 1 / math.sqrt(300)
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        assert float(values.abs().max()) <= bound, name
        if values.numel() > 1000:
            assert float(values.min()) < -0.98 * bound and float(values.max()) > 0.98 * bound
            assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)  # uniform
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())


@pytest.mark.parametrize("config", [TamConfig(), TamConfig(kind="distilbert", hidden=8, heads=2)], ids=["lstm", "bert"])
def test_building_is_seeded_and_leaves_the_global_state(config: TamConfig) -> None:
    tokenizer = config.tokenizer(keyword_examples(10))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (config.build(tokenizer, 2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


# --- encoders ---------------------------------------------------------------------------------------------------------


def test_a_small_distilbert() -> None:
    config = TamConfig(kind="distilbert", hidden=16, layers=2, heads=2, max_length=32)
    data = keyword_examples(30, classes=3, pairs=True)
    tokenizer = config.tokenizer(data)
    assert isinstance(tokenizer, Vocabulary) and tokenizer.start
    encoded = encode(data, tokenizer, max_length=config.max_length)
    model = config.build(tokenizer, 3, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)  # or the fresh logits hardly differ
    logits = model(encoded.batch(np.arange(30))).detach()
    assert logits.shape == (30, 3)
    alone = torch.cat([model(encoded.batch(np.array([i]))) for i in range(30)]).detach()
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)  # padding has no influence
    assert float((logits[0] - logits[1]).abs().max()) > 1e-2
    longest = encode(data, tokenizer, max_length=32)
    assert longest.sizes.max() <= 32


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights and its tokenizer, saved as the hub would."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = pretrained_style(keyword_examples(60, pairs=True), folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.2,
        num_labels=2,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_saved_encoder_loads(bert_folder: Path) -> None:
    config = TamConfig(kind="distilbert", path=str(bert_folder))
    data = keyword_examples(20, pairs=True)
    tokenizer = config.tokenizer(data)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    model = config.build(tokenizer, 2, seed=0).eval()
    assert isinstance(model, Encoder)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    # The same through transformers' own padding and forward pass.
    batch = tokenizer(list(data.texts), list(data.pairs or ()), padding=True, return_tensors="pt")
    reference = BertForSequenceClassification.from_pretrained(bert_folder, dtype=torch.float32).eval()
    encoded = encode(data, tokenizer)
    with torch.no_grad():
        ours, theirs = model(encoded.batch(np.arange(20))), reference(**batch).logits
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        untyped = reference(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert float((ours - untyped).abs().max()) > 1e-3  # the segments are used


def test_another_number_of_classes_gets_a_new_head(bert_folder: Path) -> None:
    config = TamConfig(kind="distilbert", path=str(bert_folder))
    tokenizer = config.tokenizer(keyword_examples(4))
    two, four = config.build(tokenizer, 2, seed=0), config.build(tokenizer, 4, seed=0)
    encoded = config.encode(keyword_examples(6, classes=4), tokenizer)
    assert two(encoded.batch(np.arange(6))).shape == (6, 2)
    assert four(encoded.batch(np.arange(6))).shape == (6, 4)
    again, other = (config.build(tokenizer, 4, seed=seed).state_dict() for seed in (0, 1))
    head = "model.classifier.weight"
    assert torch.equal(four.state_dict()[head], again[head]) and not torch.equal(again[head], other[head])


def test_a_bad_path_is_one_clear_sentence(bert_folder: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    config = TamConfig(kind="distilbert", path=missing)
    with pytest.raises(ValueError, match="no tokenizer could be loaded from") as raised:
        config.tokenizer(keyword_examples(4))
    assert missing in str(raised.value) and "\n" not in str(raised.value)
    tokenizer = TamConfig(kind="distilbert", path=str(bert_folder)).tokenizer(keyword_examples(4))
    with pytest.raises(ValueError, match="no encoder could be loaded from") as raised:
        config.build(tokenizer, 2, seed=0)
    assert missing in str(raised.value) and "\n" not in str(raised.value)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokenizer.save_pretrained(tmp_path / "tokenizer-only")
    with pytest.raises(ValueError, match="no encoder could be loaded from") as raised:
        TamConfig(kind="distilbert", path=str(tmp_path / "tokenizer-only")).build(tokenizer, 2, seed=0)
    assert "\n" not in str(raised.value)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown TAM 'bilstm'; known: lstm, distilbert, bag"):
        TamConfig(kind="bilstm")
