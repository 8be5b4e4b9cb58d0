"""Prompting against one text at a time through transformers' own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import keyword_examples
from hypothesis import given
from hypothesis import strategies as st
from transformers import BloomConfig, BloomForCausalLM, GPT2LMHeadModel, PreTrainedTokenizerFast

from sungen_lib.texts import prompting, tasks
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.prompting import mean_losses, predict, prompted_tokens
from sungen_lib.texts.writer import INSTRUCTION

LIMIT = 96


def polar(n: int, *, pairs: bool = False, task: str = "imdb") -> Examples:
    """Texts the tiny PLM knows the words of."""
    data = keyword_examples(n, pairs=pairs)
    return Examples.of(data.texts, data.labels, tasks.get(task).labels, data.pairs)


def one_by_one(
    data: Examples, task: str, model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, before: str = ""
) -> np.ndarray:
    """(N, K) losses: each prompted text by itself, its mean loss a token by the model's own ``labels=``.

    Every prompt comes after the text ``before``, which is not scored.
    """
    unscored = len(tokenizer(before)["input_ids"])
    prompt, words = tasks.get(task).prompting_prompt, tasks.get(task).label_words
    losses = np.empty((len(data), len(words)))
    for i, text in enumerate(data.texts):
        for k, word in enumerate(words):
            filled = prompt.replace("<y>", word)
            if data.pairs is not None:
                filled = filled.replace("<c>", text)
            full = filled.replace("<x>", text if data.pairs is None else data.pairs[i])
            ids = torch.tensor([tokenizer(before + full)["input_ids"]])
            labels = ids.masked_fill(torch.arange(ids.shape[1]) < unscored, -100)
            with torch.no_grad():
                losses[i, k] = model(input_ids=ids, labels=labels).loss
    return losses


@pytest.mark.parametrize(("task", "pairs"), [("imdb", False), ("subj", False), ("ag_news", False), ("qnli", True)])
def test_batches_equal_one_by_one(
    task: str, pairs: bool, tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    data = polar(40, pairs=pairs, task=task)
    expected = one_by_one(data, task, tiny_plm, tiny_tokenizer)
    for label in range(tasks.get(task).classes):
        rows = prompted_tokens(tasks.get(task), data, label, tiny_tokenizer, LIMIT)
        assert len({len(row) for row in rows}) > 4
        for shared in (None, [min(5, len(row) - 1) for row in rows], [1 + i % 4 for i in range(len(rows))]):
            got = mean_losses(tiny_plm, rows, batch_size=7, shared=shared)
            np.testing.assert_allclose(got.numpy(), expected[:, label], rtol=1e-5, atol=1e-5)
    predicted = predict(tasks.get(task), data, model=tiny_plm, tokenizer=tiny_tokenizer, batch_size=7)
    # Unknown label words are one token to the tiny tokenizer: ties go to the first.
    np.testing.assert_array_equal(predicted, np.round(expected, 5).argmin(1))
    assert predicted.dtype == np.int64


@pytest.mark.parametrize(("task", "pairs"), [("imdb", False), ("qnli", True)])
def test_an_instruction_tuned_plm_can_be_prompted_in_a_chat(
    task: str,
    pairs: bool,
    tiny_plm: GPT2LMHeadModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is when it writes; what the chat begins with is read, and is not scored."""
    data = polar(40, pairs=pairs, task=task)
    alone = predict(tasks.get(task), data, model=tiny_plm, tokenizer=tiny_tokenizer)
    turns = "{% for m in messages %}superb {{ m.content }} {% endfor %}"
    monkeypatch.setattr(tiny_tokenizer, "chat_template", turns + "{% if add_generation_prompt %}awful {% endif %}")
    np.testing.assert_array_equal(predict(tasks.get(task), data, model=tiny_plm, tokenizer=tiny_tokenizer), alone)
    expected = one_by_one(data, task, tiny_plm, tiny_tokenizer, f"superb {INSTRUCTION} awful ")
    found: list[torch.Tensor] = []

    def spy(*arguments: Any, **options: Any) -> torch.Tensor:
        found.append(mean_losses(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(prompting, "mean_losses", spy)
    predicted = predict(tasks.get(task), data, model=tiny_plm, tokenizer=tiny_tokenizer, in_chat=True, batch_size=7)
    gaps = np.abs(found[0].numpy()[:, None] - expected.ravel())  # equal texts have one loss
    assert max(gaps.min(axis=0).max(), gaps.min(axis=1).max()) < 1e-4
    np.testing.assert_array_equal(predicted, np.round(expected, 5).argmin(1))
    assert (predicted != alone).sum() > 0


@given(st.lists(st.integers(2, 60), max_size=30), st.integers(1, 6), st.integers(1, 120))
def test_a_batch_holds_so_many_rows_and_tokens(lengths: list[int], batch_size: int, tokens: int) -> None:
    rows, order = [[0] * length for length in lengths], list(range(len(lengths)))[::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompting, "BATCH_TOKENS", tokens)
        batches = list(prompting._batches(order, rows, batch_size))
    assert [i for batch in batches for i in batch] == order
    for batch, following in zip(batches, [*batches, []][1:], strict=True):
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens
        if following:  # there was no room for the next one
            longest = max(lengths[i] for i in [*batch, following[0]])
            assert len(batch) == batch_size or (len(batch) + 1) * longest > tokens


@pytest.mark.parametrize(("task", "pairs"), [("imdb", False), ("qnli", True)])
def test_shared_beginnings_are_read_once(
    task: str,
    pairs: bool,
    tiny_plm: GPT2LMHeadModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = polar(24, pairs=pairs, task=task)
    forward, tokens = tiny_plm.forward, []

    def counting(*arguments: object, **options: torch.Tensor) -> object:
        tokens.append(options["input_ids"].numel())
        return forward(*arguments, **options)

    monkeypatch.setattr(tiny_plm, "forward", counting)
    predict(tasks.get(task), data, model=tiny_plm, tokenizer=tiny_tokenizer, batch_size=48)
    rows = [row for k in range(2) for row in prompted_tokens(tasks.get(task), data, k, tiny_tokenizer, LIMIT)]
    width = max(map(len, rows))
    assert sum(tokens) < 0.75 * len(rows) * width  # what whole rows in one batch would have cost


def test_predictions_change_with_the_text(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    data = polar(100)
    predicted = predict(tasks.get("imdb"), data, model=tiny_plm, tokenizer=tiny_tokenizer)
    assert 5 < predicted.sum() < 95
    order = np.random.default_rng(0).permutation(100)
    again = predict(tasks.get("imdb"), data.select(order), model=tiny_plm, tokenizer=tiny_tokenizer)
    np.testing.assert_array_equal(again, predicted[order])


def test_labels_are_not_read(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    data = polar(60)
    plain = predict(tasks.get("imdb"), data, model=tiny_plm, tokenizer=tiny_tokenizer)
    for labels in (1 - data.labels, np.zeros(60)):
        other = predict(tasks.get("imdb"), data.with_labels(labels), model=tiny_plm, tokenizer=tiny_tokenizer)
        np.testing.assert_array_equal(other, plain)
    unreadable = data.with_labels(data.labels)
    object.__setattr__(unreadable, "labels", None)
    np.testing.assert_array_equal(
        predict(tasks.get("imdb"), unreadable, model=tiny_plm, tokenizer=tiny_tokenizer), plain
    )


def test_a_plm_that_knows_of_no_limit_is_prompted_too(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = BloomConfig(vocab_size=len(tiny_tokenizer), hidden_size=16, n_layer=1, n_head=2)
    assert not hasattr(config, "max_position_embeddings")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bloom = BloomForCausalLM(config).eval()
    predicted = predict(tasks.get("imdb"), polar(8), model=bloom, tokenizer=tiny_tokenizer)
    assert predicted.shape == (8,) and set(predicted.tolist()) <= {0, 1}


def test_long_texts_are_cut_at_the_end(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    start = "superb " + " ".join(["word1"] * 200)
    data = Examples.of([start, start + " awful"], [0, 1], tasks.get("imdb").labels)
    rows = prompted_tokens(tasks.get("imdb"), data, 0, tiny_tokenizer, LIMIT)
    assert [len(row) for row in rows] == [LIMIT, LIMIT] and rows[0] == rows[1]
    assert str(tiny_tokenizer.decode(rows[0])).startswith('The movie review in negative sentiment is : " superb word1')
    predicted = predict(tasks.get("imdb"), data, model=tiny_plm, tokenizer=tiny_tokenizer)
    assert predicted[0] == predicted[1]


def test_the_model_is_scored_without_dropout(
    tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = prompted_tokens(tasks.get("imdb"), polar(5), 1, tiny_tokenizer, LIMIT)
    before = mean_losses(tiny_plm, rows)
    tiny_plm.train()
    torch.testing.assert_close(mean_losses(tiny_plm, rows), before, rtol=0, atol=0)
