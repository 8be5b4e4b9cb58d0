"""Weights for a file of labelled texts: what ``sungen weights FILE`` does.

Beside the weights it writes a cleaned subset in the file's format, and the suspects: the rows to look at first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sungen_lib import choice
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.storage import write_text
from sungen_lib.subset import bernoulli_subset
from sungen_lib.texts import files
from sungen_lib.texts.examples import DataError, Examples, two_classes
from sungen_lib.train import fit, predict


def weigh_file(
    path: str | Path,
    out: str | Path,
    *,
    text: str = "text",
    label: str = "label",
    labels: Sequence[str] | None = None,
    budget: int | None = None,
    seed: int = 0,
    progress: str | None = None,
) -> LearnedWeights:
    """Learn weights for the rows of ``path`` and write them to the folder ``out``.

    ``weights.parquet`` (``idx``, ``weight``), ``clean`` in the file's own format (rows drawn by weight, ``budget`` of
    them in expectation, by default half), ``suspects.csv`` (lowest weights first). Columns and ``labels`` are those of
    ``files.read``. Raises ``DataError`` and ``DataMissing`` before anything is learned, ``Diverged`` before anything is
    written.
    """
    source, folder = Path(path), Path(out)
    texts = two_classes(files.read(source, labels=labels, text=text, label=label), source)
    clean = folder / f"clean{files.suffix(source)}"
    if clean.exists() and os.path.samefile(clean, source):
        raise DataError(f"{source}: the cleaned rows would be written over it; name another folder (--out)")
    if budget is not None and budget > len(texts):
        raise DataError(f"budget must be at most {len(texts)}, the rows of {source}, got {budget}")
    tam, settings = choice.fitting(texts)
    learned = learn_weights(texts, tam=tam, seed=seed, progress=progress, **settings)
    files.write_weights(folder / "weights.parquet", texts.idx, learned.weights)
    kept = bernoulli_subset(learned.weights, budget or len(texts) // 2, seed=seed)
    files.write_rows(clean, source, kept)
    suspects(texts, learned.weights, preferred(texts, learned.weights, tam, seed=seed), folder / "suspects.csv")
    return learned


def preferred(texts: Examples, weights: np.ndarray, tam: TamConfig, *, seed: int = 0) -> np.ndarray:
    """(N,) int64: the label that ``tam``, trained on ``texts`` by weight, gives to each of them."""
    model, data, _ = tam.prepare(texts, seed=seed)
    fit(model, data, weights=torch.as_tensor(weights), seed=seed, **tam.training)
    return predict(model, data).argmax(-1).numpy()


def suspects(texts: Examples, weights: np.ndarray, preferences: np.ndarray, target: Path) -> None:
    """Write all rows, lowest weights first: ``idx``, ``weight``, ``label``, ``preferred`` (the model's), the text."""
    order = np.argsort(weights, kind="stable")
    names = np.array(texts.label_names)
    columns = {
        "idx": texts.idx[order],
        "weight": np.round(weights[order], 4),
        "label": names[texts.labels[order]],
        "preferred": names[preferences[order]],
        "text": [texts.texts[i] for i in order],
    }
    if texts.pairs is not None:
        columns["text2"] = [texts.pairs[i] for i in order]
    write_text(target, pd.DataFrame(columns).to_csv(index=False, lineterminator="\n"))
