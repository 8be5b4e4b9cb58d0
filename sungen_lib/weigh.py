"""Weights for a file of labelled texts: what ``sungen weights FILE`` does.

Besides the weights it writes a cleaned subset in the file's format, and the suspects: the rows to check first.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sungen_lib import choice, storage
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.subset import bernoulli_subset
from sungen_lib.texts import files
from sungen_lib.texts.examples import DataError, Examples, two_classes
from sungen_lib.train import Diverged, fit, predict

FORMULAS = (*"=+-@\t\r\n", *"＝＋－＠")  # first characters of cells that a spreadsheet runs (OWASP, "CSV injection")


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
    **settings: Any,
) -> LearnedWeights:
    """Learn weights for the rows of ``path`` and write them to the folder ``out``.

    ``weights.parquet`` (``idx``, ``weight``), ``clean`` in the file's own format (rows drawn by weight, ``budget`` of
    them in expectation, by default half), ``suspects.csv`` (lowest weights first). Columns and ``labels`` are those of
    ``files.read``, ``settings`` the fields of ``reweight.Bilevel``. Before anything is learned, raises ``DataError``,
    ``DataMissing`` and ``OSError``, also if one of these files is there already; before anything is written
    ``Diverged``, and ``DataError`` if ``path`` has changed meanwhile.
    """
    source, folder = Path(path), Path(out)
    version = storage.content_hash(source) if source.is_file() else None
    texts = two_classes(files.read(source, labels=labels, text=text, label=label), source)
    clean = folder / f"clean{files.suffix(source) or '.jsonl'}"
    targets = (clean, folder / "weights.parquet", folder / "suspects.csv")
    _check(source, targets, len(texts), budget)
    tam, fitting = choice.fitting(texts)
    learned = learn_weights(texts, tam=tam, seed=seed, progress=progress, **fitting | settings)
    preferences = preferred(texts, learned.weights, tam, seed=seed)
    kept = bernoulli_subset(learned.weights, budget or len(texts) // 2, seed=seed)
    files.write_rows(clean, source, kept, version=version)  # first, because it refuses a file that has changed
    files.write_weights(targets[1], texts.idx, learned.weights)
    suspects(texts, learned.weights, preferences, targets[2])
    return learned


def _check(source: Path, targets: Sequence[Path], rows: int, budget: int | None) -> None:
    """Raise early, before the computation, what would go wrong when the results are written."""
    if any(storage.same_place(target, source) for target in targets):
        raise DataError(f"{source}: results would be written over it; name another folder (--out)")
    if budget is not None and not 1 <= budget <= rows:
        raise DataError(f"budget must lie in 1..{rows}, the rows of {source}; got {budget}")
    for target in targets:
        if not storage.writable(target.parent) or target.is_dir():
            raise OSError(f"{target} cannot be written; name another folder (--out)")
        if target.exists():  # maybe edited by hand since, or of another file of this name
            raise FileExistsError(f"{target} is there already; move it, or name another folder (--out)")


def preferred(texts: Examples, weights: np.ndarray, tam: TamConfig, *, seed: int = 0) -> np.ndarray:
    """(N,) int64: the label that ``tam``, trained on ``texts`` with ``weights``, predicts for each of them.

    Raises ``Diverged`` if the trained model gives none.
    """
    prepared = tam.prepare(texts, seed=seed)
    model, data = prepared.model, prepared.data
    fit(model, data, weights=torch.as_tensor(weights), seed=seed, **tam.training)
    logits = predict(model, data)
    if not bool(torch.isfinite(logits).all()):
        raise Diverged("the trained model's outputs are not finite")
    return logits.argmax(-1).numpy()


def suspects(texts: Examples, weights: np.ndarray, preferences: np.ndarray, target: Path) -> None:
    """Write all rows, lowest weights first: ``idx``, ``weight``, ``label``, ``preferred`` (the model's), the text.

    The file is for reading, also in a spreadsheet: a cell that would run as a formula gets an apostrophe in front.
    ``idx`` leads to the unchanged text.
    """
    order = np.argsort(weights, kind="stable")
    names = [harmless(name) for name in texts.label_names]
    columns: dict[str, Any] = {
        "idx": texts.idx[order],
        "weight": np.round(weights[order].astype(np.float64), 4),
        "label": [names[label] for label in texts.labels[order]],
        "preferred": [names[label] for label in preferences[order]],
    }
    if texts.pairs is None:
        columns["text"] = [harmless(texts.texts[i]) for i in order]
    else:
        columns["text1"] = [harmless(texts.texts[i]) for i in order]
        columns["text2"] = [harmless(texts.pairs[i]) for i in order]
    # Quote all texts: the writer leaves those with a carriage return unquoted, which no reader accepts.
    content = pd.DataFrame(columns).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    storage.write_text(target, content)


def harmless(cell: str) -> str:
    """``cell``, with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULAS) else cell
