"""Self-BLEU against nltk's definition, oracle correctness and noise types against counts by hand."""

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import keyword_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from transformers import (
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from sungen_lib.lab.quality import (
    align,
    classifier_labels,
    group_size,
    judged_types,
    oracle_correctness,
    predicted_types,
    self_bleu,
    tokenize,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c", "film", "plot", "."]), max_size=14).map(" ".join)


def nltk_self_bleu(texts: list[str], n: int = 4) -> float:
    sentences = [tokenize(text) for text in texts]
    method1 = SmoothingFunction().method1
    scores = [
        sentence_bleu(sentences[:i] + sentences[i + 1 :], sentence, weights=(1 / n,) * n, smoothing_function=method1)
        for i, sentence in enumerate(sentences)
    ]
    return sum(scores) / len(scores)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=8), st.integers(1, 5))
def test_equals_nltk(texts: list[str], n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert self_bleu(texts, n=n) == pytest.approx(nltk_self_bleu(texts, n), abs=1e-12)


@pytest.mark.parametrize(
    "texts",
    [
        ["the the the plot", "the the plot", "the plot"],  # clipped counts: the maximum excludes the text itself
        ["a b", "a b c d e f", "a b c d e f g h i j"],  # shorter than every reference
        ["a b c d e", "a b c", "a b c d e f g"],  # two references equally close: the shorter one counts
        ["a b c d", "e f g h", "a x y z"],  # no common word in one, zero counts to smooth in the others
        ["", "a b c d e"],
    ],
)
def test_corner_cases_equal_nltk(texts: list[str]) -> None:
    assert self_bleu(texts) == pytest.approx(nltk_self_bleu(texts), abs=1e-12)


def test_literal_values() -> None:
    assert self_bleu(["one two three four five"] * 3) == 1.0
    assert self_bleu(["one two", "three four"]) == 0.0
    # "a b c d" against "a b c d e": all n-grams match, brevity exp(1 - 5/4); the other way 4/5, 3/4, 2/3, 1/2.
    expected = (np.exp(1 - 5 / 4) + (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25) / 2
    assert self_bleu(["a b c d", "a b c d e"]) == pytest.approx(expected, abs=1e-12)


def test_samples_by_seed_without_replacement() -> None:
    texts = [" ".join(str(i * j % 11) for j in range(5 + i % 4)) for i in range(40)]
    assert self_bleu(texts, sample=10, seed=1) == self_bleu(texts, sample=10, seed=1)
    assert self_bleu(texts, sample=10, seed=1) != self_bleu(texts, sample=10, seed=2)
    assert self_bleu(texts, sample=40, seed=1) == pytest.approx(self_bleu(texts, sample=1000, seed=2), abs=1e-12)
    # With replacement a sample of 40 out of 40 distinct words would meet itself.
    assert self_bleu([f"word{i}" for i in range(40)], sample=40, n=1) == 0.0


def test_tokens() -> None:
    assert tokenize("I didn't like it's end -- well-made?!") == [
        "I", "did", "n't", "like", "it", "'s", "end", "--", "well", "-", "made", "?", "!"
    ]  # fmt: skip
    assert tokenize("The film... 'Twas  fine.") == ["The", "film", "...", "'", "Twas", "fine", "."]


def test_needs_two_texts() -> None:
    with pytest.raises(ValueError, match="two or more, got 1"):
        self_bleu(["alone"])
    with pytest.raises(ValueError, match="two or more, got 1"):
        self_bleu(["a", "b"], sample=1)


# --- correctness ---


def test_oracle_correctness() -> None:
    predicted, labels = np.array([0, 1, 1, 0, -1, 1]), np.array([0, 1, 0, 1, 1, 1])
    everything = oracle_correctness(predicted, labels, [np.arange(6)])
    assert everything.dtype == bool and everything.shape == (1, 6) and everything.mean() == 0.5
    two = oracle_correctness(predicted, labels, [np.array([2, 3, 4]), np.array([0, 1, 3])])
    assert two.sum(axis=1).tolist() == [0, 2]
    with pytest.raises(ValueError, match="no rows"):
        oracle_correctness(predicted, labels, [np.arange(3), np.array([], dtype=int)])


@given(st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=4), st.integers(0, 5))
def test_align_keeps_rows_and_cuts_to_the_smallest(sets: list[set[int]], seed: int) -> None:
    table = align([np.array(sorted(rows)) for rows in sets], seed=seed)
    assert table.shape == (len(sets), min(map(len, sets)))
    for line, rows in zip(table.tolist(), sets, strict=True):
        assert len(set(line)) == len(line) and set(line) <= rows


@given(st.sets(st.integers(0, 50), min_size=1), st.sets(st.integers(0, 50), min_size=1))
def test_align_puts_what_two_selections_share_into_one_column(first: set[int], second: set[int]) -> None:
    one, two = align([np.array(sorted(first)), np.array(sorted(second))])
    assert (one == two).sum() == len(set(one.tolist()) & set(two.tolist()))


def test_align_cuts_at_random() -> None:
    kept = [align([np.arange(100), np.arange(100, 150)], seed=seed)[0] for seed in range(4)]
    assert len({tuple(sorted(rows)) for rows in kept}) == 4
    assert 40 < np.mean(kept) < 60  # the first half only would be 24.5


@pytest.mark.parametrize(
    ("pool", "share", "size"),
    [
        (1_000_000, None, 10_000),
        (10_000, None, 100),
        (1_000, None, 50),
        (30, None, 30),
        (1_000, 0.2, 200),
        (9, 0.01, 1),
    ],
)
def test_group_size(pool: int, share: float | None, size: int) -> None:
    assert group_size(pool, share) == size


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A random DistilBERT on disk, as a user's fine-tuned oracle would be; its outputs are "Superb", "awful"."""
    folder = tmp_path_factory.mktemp("oracle")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DistilBertForSequenceClassification(
            DistilBertConfig(
                vocab_size=len(tiny_tokenizer),
                dim=16,
                hidden_dim=32,
                n_layers=1,
                n_heads=2,
                initializer_range=0.5,
                id2label={0: "Superb", 1: "awful"},
            )
        ).eval()
    model.save_pretrained(folder)
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


def test_classifier_labels_are_matched_by_name(classifier: Path) -> None:
    data = keyword_examples(24)  # label names "awful", "superb": the classifier's in the other order
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    model = DistilBertForSequenceClassification.from_pretrained(classifier).eval()
    with torch.no_grad():
        outputs = [int(model(**tokenizer(text, return_tensors="pt")).logits.argmax()) for text in data.texts]
    assert len(set(outputs)) == 2
    assert classifier_labels(str(classifier), data).tolist() == [1 - output for output in outputs]


def test_classifier_of_other_labels_is_refused(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="predicts superb, awful and not awful, superb, boxing"):
        classifier_labels(str(classifier), keyword_examples(6, classes=3))
    with pytest.raises(ValueError, match="no classifier could be loaded"):
        classifier_labels(str(tmp_path), keyword_examples(6))


# --- noise types ---


def test_judged_types() -> None:
    types = judged_types(np.array([0, 1, -1, 1]), np.array([0, 0, 1, 1]))
    assert types.tolist() == ["correct", "Noisy Y", "Unrelated X", "correct"]


def test_predicted_types() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    assert predicted_types(probabilities, np.array([0, 1, 0, 0])).tolist() == [
        "correct", "Noisy Y", "undecided", "undecided"
    ]  # fmt: skip
    # The other classes have to agree on one class: 0.45 + 0.45 contradicts nothing.
    assert predicted_types(np.array([[0.1, 0.45, 0.45]]), np.array([0])).tolist() == ["undecided"]
    assert probabilities[0, 0] == 0.9  # the caller's array is left alone
