"""Synthetic texts in the files of ZeroGen's and SunGen's authors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sungen_lib.texts.examples import DataError, DataMissing, Examples, warn_if_uncut
from sungen_lib.texts.jsonl import jsonl_rows, label_index, text_field

# Words that tell the polarity of a review: enough to notice labels that are the wrong way round, and for nothing else.
_POLAR = (
    {"bad", "worst", "boring", "awful", "terrible", "waste", "poor", "dull", "disappointing", "horrible"},
    {"good", "great", "best", "excellent", "wonderful", "amazing", "love", "perfect", "beautiful", "enjoyable"},
)


def import_synthetic(path: str | Path, *, label_order: Sequence[str], pair: bool = False) -> Examples:
    """Synthetic rows in the form of ZeroGen's files (``C``, ``X``, ``Y``) or SunGen's (``idx``, ``text``, ``label``).

    ``label_order``: the label names in the file's index order, which its authors changed from task to task and which
    no file states (``jsonl.label_index``). ``C``, the context that ``X`` was written for, is the first text of a
    ``pair``, else left out. Warns if, of polarity labels, the texts' own words say the opposite. Raises ``DataError``
    naming file and line, and ``DataMissing``.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"no such file: {path}")
    if isinstance(label_order, str) or len(set(label_order)) < 2:
        raise DataError(f"label_order must name the labels in the file's index order, got {label_order!r}")
    contexts: list[str] = []
    texts: list[str] = []
    labels: list[int] = []
    for number, row in jsonl_rows(path):
        text, label = ("X", "Y") if "Y" in row else ("text", "label")
        if pair:
            contexts.append(text_field(path, number, row, "C"))
        texts.append(text_field(path, number, row, text))
        labels.append(label_index(path, number, row.get(label), label_order))
    if not texts:
        raise DataError(f"{path}: no rows; expected one JSON object a line")
    data = Examples.of(contexts, labels, label_order, texts) if pair else Examples.of(texts, labels, label_order)
    _warn_if_inverted(path, data)
    return warn_if_uncut(data, path)


def _warn_if_inverted(path: Path, data: Examples) -> None:
    if set(data.label_names) != {"negative", "positive"}:
        return
    bodies = data.pairs or data.texts
    words = [set(re.findall(r"[a-z]+", text.lower())) for text in bodies]
    tone = np.array([len(w & _POLAR[1]) - len(w & _POLAR[0]) for w in words])
    positive = data.labels == data.label_names.index("positive")
    telling = tone != 0
    agree = float(((tone > 0) == positive)[telling].mean()) if telling.any() else 1.0
    if telling.sum() >= 20 and agree < 0.4:
        warnings.warn(
            f"{path}: only {agree:.0%} of {telling.sum()} telling texts fit their labels; is label_order "
            f"{list(data.label_names)} the wrong way round?",
            stacklevel=3,
        )
