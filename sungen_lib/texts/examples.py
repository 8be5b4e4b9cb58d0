"""``Examples``: labelled texts, their label names, and the errors of data that cannot be used."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sungen_lib import show


class OneSentence:
    """For errors whose message says it all: IPython shows that alone, without pages of traceback above it."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class DataError(OneSentence, ValueError):
    """A data file that cannot be used; the message names the file, the line and the remedy."""


class DataMissing(OneSentence, FileNotFoundError):
    """A data set that is not there; the message says what to put where."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled texts.

    ``texts``: N strings. ``labels``: (N,) int64 indices into ``label_names``. ``pairs``: the N second texts of a
    sentence-pair task, else ``None``. ``idx``: (N,) int64, each row's number in the file or set it came from, kept by
    ``select`` so that a weight or a prediction can always be traced back to its text.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    idx: np.ndarray
    pairs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.texts)
        if len(self.labels) != n or len(self.idx) != n or (self.pairs is not None and len(self.pairs) != n):
            raise ValueError(f"{n} texts, {len(self.labels)} labels, {len(self.idx)} idx: lengths differ")
        if n and not (int(self.labels.min()) >= 0 and int(self.labels.max()) < len(self.label_names)):
            raise ValueError(f"labels run from {self.labels.min()} to {self.labels.max()}, names: {self.label_names}")

    @classmethod
    def of(
        cls,
        texts: Iterable[str],
        labels: npt.ArrayLike,
        label_names: Sequence[str],
        pairs: Iterable[str] | None = None,
    ) -> Examples:
        """``Examples`` numbered from 0; ``labels``: (N,) indices into ``label_names``.

        Raises ``ValueError`` for a text that is no string, and for labels that are no whole numbers.
        """
        firsts, seconds = tuple(texts), None if pairs is None else tuple(pairs)
        for column in (firsts, seconds or ()):
            for i, text in enumerate(column):
                if not isinstance(text, str):
                    raise ValueError(f"text {i} is no string but {text!r}; drop such rows"[:300])
        numbers = np.asarray(labels)
        if numbers.size and numbers.dtype.kind not in "biu":
            raise ValueError(f"labels must be whole numbers, indices into label_names; got {numbers.dtype}")
        return cls(
            texts=firsts,
            labels=numbers.astype(np.int64),
            label_names=tuple(label_names),
            idx=np.arange(len(firsts), dtype=np.int64),
            pairs=seconds,
        )

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {int((self.labels == k).sum()):,}" for k, name in enumerate(self.label_names))
        return f"Examples({len(self):,} {'pairs' if self.pairs else 'texts'}; {counts})"

    def _repr_html_(self) -> str:
        """The same, and the first texts."""
        columns = [self.texts] if self.pairs is None else [self.texts, self.pairs]
        rows = [
            [self.idx[i], self.label_names[self.labels[i]], *(show.clipped(column[i], 200) for column in columns)]
            for i in range(min(3, len(self)))
        ]
        names = ["text"] if self.pairs is None else ["text1", "text2"]
        return show.table(["idx", "label", *names], rows, caption=f"{self!r}, the first {len(rows)}:")

    def select(self, rows: Sequence[int] | np.ndarray) -> Examples:
        """The given rows (indices or a boolean mask), in that order."""
        rows = np.arange(len(self))[list(rows)]
        return replace(
            self,
            texts=tuple(self.texts[i] for i in rows),
            labels=self.labels[rows],
            idx=self.idx[rows],
            pairs=None if self.pairs is None else tuple(self.pairs[i] for i in rows),
        )

    def with_labels(self, labels: np.ndarray) -> Examples:
        """The same texts with other labels, (N,) int64."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))

    def fingerprint(self) -> str:
        """SHA-256 over texts, labels and label names: equal data, equal fingerprint."""
        digest = hashlib.sha256(json.dumps([self.texts, self.pairs, self.label_names]).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]


LONGEST_WORDS = 10  # characters a word on average; in English it is about 5, in Finnish 8


def warn_if_uncut(data: Examples, place: object) -> Examples:
    """``data``; warns where white space does not tell its words apart, as in Chinese, Japanese or Thai."""
    some = data.texts[:1000]
    uncut = sum(len(text) > LONGEST_WORDS * len(text.split()) for text in some)
    if uncut > len(some) / 2:
        warnings.warn(
            f"{place}: {uncut / len(some):.0%} of the texts have no white space between their words. The LSTM and the "
            "bag split there, so each text is a token or two to them and their weights say next to nothing: put a "
            "space between the words, or the characters. MiniLM reads English only. An encoder of this language, "
            'TamConfig("frozen", path=...), needs no spaces',
            stacklevel=4,
        )
    return data


def renumbered(data: Examples, names: Sequence[str]) -> Examples:
    """``data`` with its labels as indices into ``names``, which hold all of its own."""
    order = np.array([names.index(name) for name in data.label_names])
    return replace(data, labels=order[data.labels], label_names=tuple(names))


def numbered_as(texts: Examples, data: Examples, place: object) -> Examples:
    """``data`` with its labels numbered as in ``texts``; ``DataError`` naming ``place`` for rows of another kind or
    class."""
    for name in data.label_names:
        if name not in texts.label_names:
            names = ", ".join(map(repr, texts.label_names))
            raise DataError(f"{place}: label {name!r} is none of the training set's: {names}")
    if (data.pairs is None) != (texts.pairs is None):
        raise DataError(f"{place}: pairs go with pairs only; give rows like the training set's")
    return renumbered(data, texts.label_names)


def two_classes(data: Examples, place: object) -> Examples:
    """``data``, if it has rows of two classes or more; else ``DataError`` naming ``place``."""
    if len(set(data.labels.tolist())) < 2:
        only = data.label_names[data.labels[0]]
        raise DataError(f"{place}: all rows are {only!r}; two classes are needed")
    return data
