"""Runs on a Ray cluster of three nodes, one of which is lost on the way: the same results, each computed once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import lines

from sungen_lib import __main__ as command_line
from sungen_lib.lab import cluster, execution, notebooks, plan
from sungen_lib.lab.specs import Gold, Run, Spec, Synthetic, Weights, identify
from sungen_lib.lab.store import Record
from sungen_lib.models import TamConfig
from sungen_lib.texts.writer import Sampling

ray = pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
TABLE = "table11_one_level"


@pytest.fixture
def nodes() -> Iterator[tuple[object, list[object]]]:
    """Three nodes of one core on this machine; the first holds Ray's own bookkeeping."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 4 * cluster.GIB})
    others = [made.add_node(num_cpus=1, memory=4 * cluster.GIB) for _ in range(2)]
    yield made, others
    ray.shutdown()
    made.shutdown()


@pytest.mark.timeout(900)  # on a busy machine three nodes and a serial run after them take minutes
def test_a_table_survives_the_loss_of_a_node(
    nodes: tuple[object, list[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, others = nodes
    serial, shared, attempts = tmp_path / "serial", tmp_path / "shared", tmp_path / "attempts"
    lost = others[0].node_id  # type: ignore[attr-defined]
    specs = plan.planned(notebooks.NOTEBOOKS / f"{TABLE}.ipynb", {"profile": "tiny"}, anywhere=False)
    monkeypatch.setenv("SUNGEN_STORE", str(shared))

    def noted(spec: Spec, data_dir: str | None = None) -> Record:
        """``execution.compute``, on a worker, with a line about each attempt; on the node to be lost none gets on."""
        node = ray.get_runtime_context().get_node_id()
        with attempts.open("a") as log:
            log.write(f"{identify(spec)} {node}\n")
        if node == lost:
            time.sleep(600)
        return execution.compute(spec, data_dir)

    def lose() -> None:
        while not attempts.exists() or lost not in attempts.read_text():
            time.sleep(0.1)
        time.sleep(1)
        made.remove_node(others[0], allow_graceful=False)  # type: ignore[attr-defined]

    loss = threading.Thread(target=lose, daemon=True)
    loss.start()
    with monkeypatch.context() as patch:
        patch.setattr(execution, "compute", noted)
        records = cluster.execute_on(made.address, specs, progress=None)  # type: ignore[attr-defined]
    loss.join()
    places: dict[str, list[str]] = {}
    for line in attempts.read_text().splitlines():
        places.setdefault(line.split()[0], []).append(line.split()[1])
    cut = [tried for tried in places.values() if lost in tried]
    assert cut and all(len(tried) > 1 and tried[-1] != lost for tried in cut)  # a lost run is tried again elsewhere
    assert set(records) == set(specs) and len(list(shared.glob("*/*/record.json"))) == len(specs)
    written = {path: path.stat().st_mtime_ns for path in shared.glob("*/*/record.json")}
    assert command_line.main(["run", "--profile", "tiny", "--only", TABLE, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "tiny" / "table11.csv").exists()
    assert written == {path: path.stat().st_mtime_ns for path in shared.glob("*/*/record.json")}  # found, not repeated
    monkeypatch.setenv("SUNGEN_STORE", str(serial))
    alone = execution.execute(specs, jobs=1, progress=None)
    assert lines(alone) == lines(records)


def test_needs() -> None:
    gold = Gold("imdb", "test", "hub", None, "x")
    texts = Synthetic("imdb", "openai-community/gpt2-xl", "hub", 100, "x", Sampling())
    lstm, encoder = TamConfig(), TamConfig("distilbert")
    assert cluster.needs(texts, gpus=True) == {"num_cpus": 1, "num_gpus": 1.0, "memory": 16 * cluster.GIB}
    assert cluster.needs(texts, gpus=False)["num_gpus"] == 0
    assert cluster.needs(Weights(texts, lstm, 1, "cuda"), gpus=True)["num_gpus"] == 0.25
    assert cluster.needs(Weights(texts, encoder, 1, "cuda"), gpus=True)["num_gpus"] == 1
    assert cluster.needs(Run("zerogen", gold, "cpu", texts, lstm), gpus=True)["num_gpus"] == 0
    assert cluster.needs(Run("prompting", gold, "cuda", plm=texts.plm), gpus=True)["num_gpus"] == 1
    assert cluster.needs(Weights(texts, lstm, 1, "cpu"), gpus=False)["memory"] == 2 * cluster.GIB
    assert cluster.needs(Run("linear", gold, "cuda", texts), gpus=True) == {
        "num_cpus": 1,
        "num_gpus": 0.0,
        "memory": cluster.GIB,
    }


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:x"])
def test_no_cluster_is_one_sentence(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["run", "--profile", "tiny", "--only", TABLE, "--out", str(tmp_path), "--ray", address]
    assert command_line.main(options) == 1
    assert f"no Ray cluster at {address}" in capsys.readouterr().err.splitlines()[-1]
