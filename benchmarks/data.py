"""Training sets for the benchmarks: a file's rows, and beyond them (or without one) rows drawn at random.

What a batch costs depends on its lengths and its word numbers only, so drawn rows stand in for texts. They are drawn
from a length distribution and, for each label, a word distribution: words indicate the label, though not with
certainty, so that the TAM has something to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sungen_lib.encode import PAD, SPECIALS, Encoded, Vocabulary, encode
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.jsonl import read_jsonl

LABEL_NAMES = ("negative", "positive")
DRAWN_ROWS = 10_000
WORDS = 29_000  # vocabulary of drawn rows, special tokens included
LOG_MEAN, LOG_DEVIATION, SHORTEST, LONGEST = 3.18, 0.56, 10, 91  # log-normal lengths, mean 28: GPT2-XL's reviews
TILT = 1.5  # how much likelier a label's half of the words is under that label


@dataclass(frozen=True)
class TrainingSet:
    """``encoded`` rows, the ``vocabulary`` size their TAM needs, and a ``description`` of where they came from."""

    encoded: Encoded
    vocabulary: int
    description: str


def training_set(file: str | Path | None, rows: int | None, *, device: str = "cpu", seed: int = 0) -> TrainingSet:
    """``rows`` rows of ``file`` (JSONL with the labels of ``LABEL_NAMES``; ``None``: drawn rows, 10,000 by default).

    ``rows=None`` takes the whole file; rows beyond it are drawn as in ``from_texts``. Raises
    ``DataError`` or ``DataMissing`` for an unusable file.
    """
    if file is not None:
        return from_texts(read_jsonl(file, LABEL_NAMES), rows, device=device, seed=seed)
    rng = np.random.default_rng(seed)
    drawn = _draw(rows or DRAWN_ROWS, _lengths(rng), _zipf(), rng, device)
    words = f"Zipf words ({WORDS:,}), log-normal lengths (mean {drawn.sizes.mean():.1f})"
    return TrainingSet(drawn, WORDS, f"{len(drawn):,} drawn rows: {words}")


def from_texts(texts: Examples, rows: int | None = None, *, device: str = "cpu", seed: int = 0) -> TrainingSet:
    """``rows`` of ``texts``, by default all: fewer are selected at random, further ones drawn from lengths and words.

    The vocabulary is that of all ``texts``, for any ``rows``.
    """
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary.build(texts)
    encoded = encode(texts, vocabulary, device=device)
    rows = rows or len(encoded)
    lengths = f"mean length {encoded.sizes.mean():.1f}, vocabulary {len(vocabulary):,}"
    if rows <= len(encoded):
        chosen = encoded.select(rng.choice(len(encoded), rows, replace=False))
        return TrainingSet(chosen, len(vocabulary), f"{rows:,} of {len(encoded):,} texts, {lengths}")
    extra = _draw(rows - len(encoded), encoded.sizes, _word_counts(encoded, len(vocabulary)), rng, device)
    about = f"{len(encoded):,} texts and {len(extra):,} rows drawn from their lengths and words, {lengths}"
    return TrainingSet(_joined(encoded, extra), len(vocabulary), about)


def stratified_batches(data: Encoded, batch_size: int, rows: int) -> np.ndarray:
    """About ``rows`` rows, in whole batches spread evenly over the set's batches sorted by length.

    Timed on these, work done batch by batch in order of length can be scaled to the whole set by the number of rows.
    """
    batches = np.split(np.argsort(data.sizes, kind="stable"), range(batch_size, len(data), batch_size))
    count = min(len(batches), max(1, round(rows / batch_size)))
    middles = ((np.arange(count) + 0.5) * len(batches) / count).astype(int)
    return np.concatenate([batches[i] for i in middles])


def _lengths(rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.round(rng.lognormal(LOG_MEAN, LOG_DEVIATION, 20_000)), SHORTEST, LONGEST).astype(np.int64)


def _zipf() -> np.ndarray:
    """(2, WORDS) relative frequencies: 1 / rank, tilted towards even words under one label and odd under the other."""
    words = np.arange(WORDS)
    frequencies = np.where(words < len(SPECIALS), 0.0, 1.0 / np.maximum(words - len(SPECIALS) + 1, 1))
    return np.stack([frequencies * np.where(words % 2 == label, TILT, 1.0) for label in range(2)])


def _word_counts(data: Encoded, vocabulary: int) -> np.ndarray:
    """(K, V) counts of each word under each label."""
    words, labels = data.flat.cpu().numpy(), np.repeat(data.labels.cpu().numpy(), data.sizes)
    return np.stack([np.bincount(words[labels == k], minlength=vocabulary) for k in range(data.classes)])


def _draw(rows: int, lengths: np.ndarray, words: np.ndarray, rng: np.random.Generator, device: str) -> Encoded:
    """Rows with labels in turn, ``lengths`` sampled with replacement, words by their frequency under the label."""
    labels = np.arange(rows) % len(words)
    sizes = rng.choice(lengths, rows)
    of_token = np.repeat(labels, sizes)
    flat = np.empty(len(of_token), dtype=np.int32)
    for label, frequencies in enumerate(words):
        mine = of_token == label
        flat[mine] = rng.choice(len(frequencies), int(mine.sum()), p=frequencies / frequencies.sum())
    return _encoded(flat, sizes, labels, len(words), device)


def _joined(first: Encoded, second: Encoded) -> Encoded:
    parts = (first, second)
    flat = np.concatenate([part.flat.cpu().numpy() for part in parts])
    labels = np.concatenate([part.labels.cpu().numpy() for part in parts])
    return _encoded(flat, np.concatenate([part.sizes for part in parts]), labels, first.classes, first.device)


def _encoded(
    flat: np.ndarray, sizes: np.ndarray, labels: np.ndarray, classes: int, device: str | torch.device
) -> Encoded:
    return Encoded(
        flat=torch.as_tensor(flat, device=device),
        segments=None,
        starts=torch.as_tensor(np.cumsum(sizes) - sizes, device=device),
        lengths=torch.as_tensor(sizes, device=device),
        labels=torch.as_tensor(labels, dtype=torch.int64, device=device),
        sizes=sizes,
        classes=classes,
        pad=PAD,
    )
