"""Results and weights are read by what everybody has: pandas and safetensors, without this package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import keyword_examples
from safetensors.numpy import load_file

from sungen_lib.lab import notebooks
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig

CSV = sorted(notebooks.TABLES.glob("*/*.csv"))


@pytest.mark.parametrize("path", CSV, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_tables_load_with_pandas(path: Path) -> None:
    """One line a cell: our mean is a number, or the verdict says why there is none."""
    table = pd.read_csv(path)
    assert len(table) and not table.columns.str.startswith("Unnamed").any()
    if "ours" in table:
        assert table["ours"].dtype == table["paper"].dtype == "float64"
        why = table.loc[table["ours"].isna(), "verdict"].astype(str)
        assert (why.str.startswith("not run: ") | (why == "diverged")).all()
        assert not table.duplicated(["row", "column"]).any()


def test_every_table_of_numbers_is_among_them() -> None:
    assert {path.stem for path in CSV} >= {f"table{number:02d}" for number in range(1, 12)}


def test_weights_load_with_safetensors(tmp_path: Path) -> None:
    """The file holds the scores, whose sigmoids are the weights, and says in its header how they were learned."""
    config = TamConfig("lstm", embedding=8, hidden=8, lr=1e-2, batch_size=8)
    texts, path = keyword_examples(40), tmp_path / "weights.safetensors"
    learned = learn_weights(texts, tam=config, outer_size=20, iterations=2, snapshots=(1,), checkpoint=path)

    tensors = load_file(path)
    weights = 1 / (1 + np.exp(-tensors["scores"]))
    np.testing.assert_allclose(weights, learned.weights, rtol=1e-6)
    np.testing.assert_array_equal(tensors["snapshot.1"], learned.snapshots[1])

    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    history = pd.DataFrame(json.loads(header["__metadata__"]["about"])["history"])
    assert list(history["number"]) == [1, 2]
    assert history["mean_weight"].iloc[-1] == pytest.approx(weights.mean(), rel=1e-6)
