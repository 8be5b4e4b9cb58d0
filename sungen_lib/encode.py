"""Texts to tensors: vocabulary or tokenizer, length-bucketed batches, everything resident on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sungen_lib.texts.examples import Examples

if TYPE_CHECKING:  # transformers, scikit-learn and datasets take seconds to import, so import them only where used
    from transformers import PreTrainedTokenizerBase

PAD, UNKNOWN, START, SEPARATOR = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<start>", "<sep>")
MAX_LENGTH = 512  # tokens; longer texts are cut at the end (the paper states no limit; 6 % of IMDb reviews are longer)


class Vocabulary:
    """Lower-cased whitespace tokens, most frequent first (ties in alphabetical order), at most ``max_size``.

    As in the authors' release; the paper does not describe its tokenizer. ``start`` puts a start token in
    front of each text, for encoders that classify from their first position. If the training texts have fewer words
    than ``max_size``, none of them is unknown: the unknown word's vector is then not trained, and in a test text of
    other words it is as random as the seed made it.
    """

    def __init__(self, tokens: Sequence[str], *, start: bool = False) -> None:
        self.tokens = (*SPECIALS, *tokens)
        self.index = {token: i for i, token in enumerate(self.tokens)}
        self.start = start

    @classmethod
    def build(cls, data: Examples, *, max_size: int = 50_000, start: bool = False) -> Vocabulary:
        """The vocabulary of ``data``'s texts."""
        counts: Counter[str] = Counter()
        for text in (*data.texts, *(data.pairs or ())):
            counts.update(text.lower().split())
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([token for token, _ in ranked[:max_size]], start=start)

    def __len__(self) -> int:
        return len(self.tokens)

    def ids(self, text: str, pair: str | None = None) -> list[int]:
        """Token indices of one text, or of two with a separator between them."""
        ids = [START] if self.start else []
        ids += [self.index.get(token, UNKNOWN) for token in text.lower().split()]
        if pair is not None:
            ids += [SEPARATOR, *(self.index.get(token, UNKNOWN) for token in pair.lower().split())]
        return ids or [UNKNOWN]


Tokenizer: TypeAlias = "Vocabulary | PreTrainedTokenizerBase"


@dataclass(frozen=True)
class Batch:
    """``tokens`` and ``segments`` (B, L) int64, left-aligned and padded; ``lengths`` and ``labels`` (B,) int64."""

    tokens: Tensor
    segments: Tensor | None
    lengths: Tensor
    labels: Tensor


class Samples(Protocol):
    """A labelled set on one device, cut into batches: tokens (``Encoded``), or vectors (``frozen.Vectors``)."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""

    @property
    def classes(self) -> int:
        """Number of classes, K."""

    @property
    def sizes(self) -> np.ndarray:
        """(N,) lengths, on the host."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""

    def __len__(self) -> int: ...

    def gather(self, rows: Tensor, width: int) -> Any:
        """The batch of ``rows``, (B,) int64 on the device, padded to ``width``."""

    def batch(self, rows: np.ndarray) -> Any:
        """The batch of ``rows``, as wide as its longest sample."""

    def select(self, rows: np.ndarray) -> Self:
        """The given rows as another set."""

    def content(self) -> tuple[Tensor, ...]:
        """The tensors that decide what is learned from the set."""


@dataclass(frozen=True)
class Encoded:
    """A tokenised data set on one device.

    ``flat``: all tokens in one (total,) int32 tensor, text i at ``flat[starts[i] : starts[i] + lengths[i]]``;
    ``segments``: the same shape, 0 or 1 for the two texts of a pair (encoders that want it), else ``None``;
    ``sizes`` repeats ``lengths`` on the host, so that cutting batches never waits for the device.
    """

    flat: Tensor
    segments: Tensor | None
    starts: Tensor
    lengths: Tensor
    labels: Tensor
    sizes: np.ndarray
    classes: int
    pad: int

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.flat.device

    def content(self) -> tuple[Tensor, ...]:
        """The tensors that decide what is learned from the set."""
        return self.flat, self.lengths, self.labels

    def gather(self, rows: Tensor, width: int) -> Batch:
        """The batch of ``rows`` ((B,) int64, on the device), padded to ``width`` tokens; never waits for the device."""
        lengths = self.lengths[rows]
        columns = torch.arange(width, device=self.device)
        inside = columns < lengths[:, None]
        where = torch.where(inside, self.starts[rows][:, None] + columns, 0)
        tokens = torch.where(inside, self.flat[where].long(), self.pad)
        segments = None if self.segments is None else torch.where(inside, self.segments[where].long(), 0)
        return Batch(tokens, segments, lengths, self.labels[rows])

    def batch(self, rows: np.ndarray) -> Batch:
        """The batch of ``rows``, as wide as its longest text."""
        return self.gather(torch.as_tensor(rows, device=self.device), int(self.sizes[rows].max()))

    def select(self, rows: np.ndarray) -> Encoded:
        """The given rows as a separate set."""
        rows = np.asarray(rows, dtype=np.int64)
        index = torch.as_tensor(rows, device=self.device)
        sizes = self.sizes[rows]
        ends = torch.as_tensor(np.cumsum(sizes), device=self.device)
        starts = ends - self.lengths[index]
        source = torch.repeat_interleave(self.starts[index] - starts, self.lengths[index]) + torch.arange(
            int(sizes.sum()), device=self.device
        )
        return Encoded(
            self.flat[source],
            None if self.segments is None else self.segments[source],
            starts,
            self.lengths[index],
            self.labels[index],
            sizes,
            self.classes,
            self.pad,
        )

    def with_labels(self, labels: np.ndarray) -> Encoded:
        """The same texts with other labels, (N,) int64."""
        tensor = torch.as_tensor(np.asarray(labels, dtype=np.int64), device=self.device)
        return Encoded(self.flat, self.segments, self.starts, self.lengths, tensor, self.sizes, self.classes, self.pad)


def encode(
    data: Examples,
    tokenizer: Tokenizer,
    *,
    max_length: int = MAX_LENGTH,
    device: str | torch.device = "cpu",
) -> Encoded:
    """Tokenise ``data`` once and move it to ``device``; texts are cut to ``max_length`` tokens."""
    segments: list[list[int]] | None = None
    if isinstance(tokenizer, Vocabulary):
        pad = PAD
        pairs: Sequence[str | None] = data.pairs or [None] * len(data)
        rows = [tokenizer.ids(text, pair)[:max_length] for text, pair in zip(data.texts, pairs, strict=True)]
    else:
        if tokenizer.pad_token_id is None:
            raise ValueError(f"the tokenizer {tokenizer.name_or_path!r} has no pad token; set one before training")
        pad = int(tokenizer.pad_token_id)
        second = None if data.pairs is None else list(data.pairs)
        output = tokenizer(list(data.texts), second, truncation=True, max_length=max_length)
        rows = output["input_ids"]
        segments = output.get("token_type_ids")
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(rows) else sizes

    def flat(values: list[list[int]], dtype: type) -> Tensor:
        return torch.as_tensor(np.concatenate([np.asarray(v, dtype=dtype) for v in values]), device=device)

    return Encoded(
        flat=flat(rows, np.int32),
        segments=None if segments is None else flat(segments, np.int8),
        starts=torch.as_tensor(starts, device=device),
        lengths=torch.as_tensor(sizes, device=device),
        labels=torch.as_tensor(data.labels, device=device),
        sizes=sizes,
        classes=len(data.label_names),
        pad=pad,
    )


def shuffled_batches(
    sizes: np.ndarray, batch_size: int, rng: np.random.Generator, *, pool: int = 100
) -> list[np.ndarray]:
    """One epoch of batches: shuffled, with texts of similar length together.

    Rows are shuffled, cut into pools of ``pool`` batches, sorted by length within a pool and cut into batches, whose
    order is shuffled. So there is little padding, and with more rows than a pool holds they are grouped differently in
    each epoch. Fewer (3,200 at batches of 32) are sorted all together, so that a row meets much the same others again.
    """
    order = rng.permutation(len(sizes))
    batches = []
    for chunk in np.split(order, range(pool * batch_size, len(order), pool * batch_size)):
        chunk = chunk[np.argsort(sizes[chunk], kind="stable")]
        batches += np.split(chunk, range(batch_size, len(chunk), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(sizes: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Every row once, sorted by length, for evaluation and for gradients over a whole set."""
    order = np.argsort(sizes, kind="stable")
    return iter(np.split(order, range(batch_size, len(order), batch_size)))
