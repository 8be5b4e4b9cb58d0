"""Self-BLEU against nltk's definition, oracle correctness against counts by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from sungen_lib.quality import oracle_correctness, self_bleu, tokenize

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
    texts = [f"text number {i} and {i * i % 7}" for i in range(40)]
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


def test_oracle_correctness() -> None:
    predicted, labels = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 1, 1])
    assert oracle_correctness(predicted, labels, slice(None)) == 0.6
    assert oracle_correctness(predicted, labels, np.array([2, 3, 4])) == pytest.approx(1 / 3)
    assert oracle_correctness(predicted, labels, predicted == 1) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no rows"):
        oracle_correctness(predicted, labels, np.array([], dtype=int))
