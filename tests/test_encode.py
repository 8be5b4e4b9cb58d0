"""Vocabulary, the resident tensors and the batches cut from them, against plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import keyword_examples
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sungen_lib.encode import (
    PAD,
    SEPARATOR,
    START,
    UNKNOWN,
    Encoded,
    Vocabulary,
    encode,
    shuffled_batches,
    sorted_batches,
)
from sungen_lib.texts.examples import Examples

NAMES = ("negative", "positive")
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=400).map(np.array)


def rows_of(encoded: Encoded) -> list[list[int]]:
    """The token lists of a set, cut from its flat tensor."""
    starts = encoded.starts.tolist()
    return [encoded.flat[s : s + n].tolist() for s, n in zip(starts, encoded.sizes.tolist(), strict=True)]


# --- vocabulary -------------------------------------------------------------------------------------------------------


def test_vocabulary_is_ordered_by_count_then_alphabet() -> None:
    vocabulary = Vocabulary.build(Examples.of(["b A c", "C c b a  d"], [0, 1], NAMES))
    assert vocabulary.tokens == ("<pad>", "<unk>", "<start>", "<sep>", "c", "a", "b", "d")
    assert (PAD, UNKNOWN, START, SEPARATOR) == (0, 1, 2, 3)
    assert len(vocabulary) == 8
    assert vocabulary.ids("C a\tzebra\nD") == [4, 5, UNKNOWN, 7]


def test_vocabulary_counts_second_texts() -> None:
    vocabulary = Vocabulary.build(Examples.of(["a b"], [0], NAMES, pairs=["b c b"]))
    assert vocabulary.tokens[4:] == ("b", "a", "c")
    assert vocabulary.ids("a", "b c") == [5, SEPARATOR, 4, 6]
    assert Vocabulary(vocabulary.tokens[4:], start=True).ids("a", "b") == [START, 5, SEPARATOR, 4]


def test_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    data = keyword_examples(60)
    assert Vocabulary.build(data).tokens == Vocabulary.build(data.select(np.arange(60)[::-1])).tokens


def test_vocabulary_is_capped_at_fifty_thousand_words() -> None:
    words = [f"w{i:05d}" for i in range(50_005)]
    data = Examples.of([" ".join(words), "w50004 w50003"], [0, 1], NAMES)
    vocabulary = Vocabulary.build(data)
    assert len(vocabulary) == 50_000 + 4
    assert vocabulary.tokens[4:7] == ("w50003", "w50004", "w00000")
    assert vocabulary.ids("w49997 w49998 w50004") == [50_003, UNKNOWN, 5]
    assert len(Vocabulary.build(data, max_size=3)) == 3 + 4


def test_a_text_without_tokens_is_one_unknown() -> None:
    assert Vocabulary(["a"]).ids(" \n") == [UNKNOWN]
    assert Vocabulary(["a"], start=True).ids("") == [START]


# --- encoded sets -----------------------------------------------------------------------------------------------------


def test_encode_cuts_long_texts_at_the_end() -> None:
    vocabulary = Vocabulary(["a", "b", "c"])
    encoded = encode(Examples.of(["a b c", "c"], [0, 1], NAMES), vocabulary, max_length=2)
    assert rows_of(encoded) == [[4, 5], [6]]
    assert encoded.sizes.tolist() == encoded.lengths.tolist() == [2, 1]
    assert (encoded.classes, encoded.pad, len(encoded)) == (2, PAD, 2)


@pytest.mark.parametrize("pairs", [False, True])
def test_batches_equal_a_plain_construction(pairs: bool) -> None:
    data = keyword_examples(50, pairs=pairs)
    vocabulary = Vocabulary.build(data, start=True)
    encoded = encode(data, vocabulary)
    expected = [vocabulary.ids(text, data.pairs[i] if data.pairs else None) for i, text in enumerate(data.texts)]
    assert rows_of(encoded) == expected
    rows = np.array([7, 3, 49, 0, 3])
    width = max(len(expected[i]) for i in rows)
    batch = encoded.batch(rows)
    assert batch.tokens.tolist() == [expected[i] + [PAD] * (width - len(expected[i])) for i in rows]
    assert batch.lengths.tolist() == [len(expected[i]) for i in rows]
    assert batch.labels.tolist() == data.labels[rows].tolist()
    assert batch.segments is None and batch.tokens.dtype == torch.int64
    wider = encoded.gather(torch.as_tensor(rows), width + 3).tokens
    assert wider[:, :width].tolist() == batch.tokens.tolist() and not wider[:, width:].any()


@given(picks=st.lists(st.integers(0, 29), max_size=40))
def test_select_equals_encoding_the_selection(picks: list[int]) -> None:
    data = keyword_examples(30)
    vocabulary = Vocabulary.build(data)
    encoded = encode(data, vocabulary)
    selected = encoded.select(np.array(picks, dtype=np.int64))
    assert rows_of(selected) == [rows_of(encoded)[i] for i in picks]
    assert selected.labels.tolist() == data.labels[picks].tolist()
    if picks:
        again = encode(data.select(picks), vocabulary)
        everything = np.arange(len(picks))
        assert torch.equal(selected.batch(everything).tokens, again.batch(everything).tokens)
        np.testing.assert_array_equal(selected.starts, again.starts)


def test_with_labels() -> None:
    data = keyword_examples(6)
    encoded = encode(data, Vocabulary.build(data))
    flipped = encoded.with_labels(1 - data.labels)
    assert flipped.labels.tolist() == (1 - data.labels).tolist()
    assert encoded.labels.tolist() == data.labels.tolist()
    assert rows_of(flipped) == rows_of(encoded)


def pretrained_style(data: Examples, folder: Path) -> PreTrainedTokenizerFast:
    """A BERT-like tokenizer: [CLS] a [SEP] b [SEP] with token types."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *Vocabulary.build(data).tokens[4:]]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def test_a_pretrained_tokenizer_brings_segments(tmp_path: Path) -> None:
    data = Examples.of(["a b", "c"], [0, 1], NAMES, pairs=["c", "a b a"])
    tokenizer = pretrained_style(data, tmp_path)
    a, b, c = (tokenizer.convert_tokens_to_ids(word) for word in "abc")
    encoded = encode(data, tokenizer)
    assert rows_of(encoded) == [[2, a, b, 3, c, 3], [2, c, 3, a, b, a, 3]]
    batch = encoded.batch(np.array([0, 1]))
    assert batch.segments is not None
    assert batch.segments.tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]]
    second = encoded.select(np.array([1]))
    assert second.segments is not None and second.segments.tolist() == [0, 0, 0, 1, 1, 1, 1]
    # The tokenizer cuts, and keeps its own end marker.
    assert rows_of(encode(data, tokenizer, max_length=5))[1] == [2, c, 3, a, 3]


def test_a_tokenizer_without_padding_is_refused() -> None:
    tokenizer = pretrained_style(keyword_examples(4), Path())
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="has no pad token"):
        encode(keyword_examples(4), tokenizer)


# --- batches ----------------------------------------------------------------------------------------------------------


@given(sizes=SIZES, batch_size=st.integers(1, 50), pool=st.integers(1, 5), seed=st.integers(0, 5))
def test_an_epoch_visits_every_row_once(sizes: np.ndarray, batch_size: int, pool: int, seed: int) -> None:
    def epoch(seed: int) -> list[np.ndarray]:
        return shuffled_batches(sizes, batch_size, np.random.default_rng(seed), pool=pool)

    batches = epoch(seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    counts = sorted(len(batch) for batch in batches)
    assert counts[0] >= 1 and counts[-1] <= batch_size
    assert counts[1:] == [batch_size] * (len(counts) - 1)  # at most one is smaller
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in epoch(seed)]


def test_batches_are_shuffled_and_bucketed() -> None:
    sizes = np.random.default_rng(0).integers(1, 200, size=4000)
    first = shuffled_batches(sizes, 32, np.random.default_rng(1))
    second = shuffled_batches(sizes, 32, np.random.default_rng(2))
    together = {frozenset(batch.tolist()) for batch in first} & {frozenset(batch.tolist()) for batch in second}
    assert len(first) == 125 and len(together) <= 1  # other company every epoch
    widths = [int(sizes[batch].max()) for batch in first]
    assert abs(np.corrcoef(np.arange(125), widths)[0, 1]) < 0.3  # the batches' order says nothing about length
    padded = sum(len(batch) * int(sizes[batch].max()) for batch in first)
    plain = np.random.default_rng(3).permutation(4000).reshape(125, 32)
    assert padded < 1.1 * sizes.sum() < 0.7 * sum(32 * int(sizes[batch].max()) for batch in plain)


@given(sizes=SIZES, batch_size=st.integers(1, 50))
def test_sorted_batches(sizes: np.ndarray, batch_size: int) -> None:
    batches = list(sorted_batches(sizes, batch_size))
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(sizes)))
    assert (np.diff(sizes[order]) >= 0).all()
    assert all(len(batch) == batch_size for batch in batches[:-1])
