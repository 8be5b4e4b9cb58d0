"""Runs on a Ray cluster, where a worker dies or a node is lost on the way: the same results, each computed once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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
def ray_cluster() -> Iterator[Any]:
    """A cluster of one node with one core, on this machine."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 4 * cluster.GIB})
    yield started
    ray.shutdown()
    started.shutdown()


def attempts_at(log: Path) -> dict[str, list[str]]:
    """The nodes on which each run was begun, in order."""
    places: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        run, node = line.split()
        places.setdefault(run, []).append(node)
    return places


def computed_there_and_alone(
    ray_cluster: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, lost: str | None = None
) -> dict[str, list[str]]:
    """Compute a table's runs on the cluster and alone, compare, and return the attempts at each of them.

    Runs on the node ``lost`` hang. If there is no such node, the worker that begins the first run dies, and the runs
    of one task are enough.
    """
    shared, log = folder / "shared", folder / "attempts"
    parameters = {"profile": "tiny", "tasks": None if lost else ["imdb"]}
    specs = plan.planned(notebooks.NOTEBOOKS / f"{TABLE}.ipynb", parameters, anywhere=False)
    monkeypatch.setenv("SUNGEN_STORE", str(shared))

    def noted(spec: Spec, data_dir: str | None = None) -> Record:
        """``execution.compute``, on a worker, with a line about each attempt."""
        node, first = ray.get_runtime_context().get_node_id(), not log.exists()
        with log.open("a") as attempts:
            attempts.write(f"{identify(spec)} {node}\n")
        if node == lost:
            time.sleep(600)
        if lost is None and first:
            os._exit(1)
        return execution.compute(spec, data_dir)

    with monkeypatch.context() as patch:
        patch.setattr(execution, "compute", noted)
        records = cluster.execute_on(ray_cluster.address, specs, progress=None)
    written = {path: path.stat().st_mtime_ns for path in shared.glob("*/*/record.json")}
    assert set(records) == set(specs) and len(written) == len(specs)
    assert lines(execution.execute(specs, jobs=1, progress=None)) == lines(records)
    assert written == {path: path.stat().st_mtime_ns for path in written}  # found, not repeated
    monkeypatch.setenv("SUNGEN_STORE", str(folder / "serial"))
    assert lines(execution.execute(specs, jobs=1, progress=None)) == lines(records)
    return attempts_at(log)


@pytest.mark.timeout(900)  # on a busy machine a node and a serial run after it take minutes
def test_a_run_whose_worker_died_is_computed_again(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = map(len, computed_there_and_alone(ray_cluster, tmp_path, monkeypatch).values())
    assert first == 2 and set(others) == {1}


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_run_whose_node_was_lost_is_computed_elsewhere(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ray_cluster.add_node(num_cpus=1, memory=4 * cluster.GIB)
    lost, log = other.node_id, tmp_path / "attempts"

    def lose() -> None:
        while not log.exists() or lost not in log.read_text():
            time.sleep(0.1)
        time.sleep(1)
        ray_cluster.remove_node(other, allow_graceful=False)

    loss = threading.Thread(target=lose, daemon=True)
    loss.start()
    places = computed_there_and_alone(ray_cluster, tmp_path, monkeypatch, lost)
    loss.join()
    cut = [tried for tried in places.values() if lost in tried]
    assert cut and all(len(tried) > 1 and tried[-1] != lost for tried in cut)


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
    assert cluster.needs(Run("prompting", gold, "cpu", plm=texts.plm), gpus=True)["num_gpus"] == 0
    served = replace(texts, plm="http://one:8000/v1#gpt2-xl")  # which computes elsewhere
    assert cluster.needs(served, gpus=True) == {"num_cpus": 1, "num_gpus": 0.0, "memory": cluster.GIB}
    assert cluster.needs(Weights(texts, lstm, 1, "cpu"), gpus=False)["memory"] == 2 * cluster.GIB
    assert cluster.needs(Run("linear", gold, "cuda", texts), gpus=True) == {
        "num_cpus": 1,
        "num_gpus": 0.0,
        "memory": cluster.GIB,
    }


def test_another_server_at_the_address_is_no_reason_to_compute_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray notices only after it has connected."""

    def refused(address: str | None = None, **_settings: Any) -> None:
        assert address is not None, "a cluster of this machine alone was started instead"
        raise ConnectionError("no cluster answers")

    monkeypatch.setattr(ray, "init", refused)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(cluster.Unreachable, match=f"no Ray cluster at {address} .no cluster answers"):
            cluster.execute_on(address, [], progress=None)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:x"])
def test_no_cluster_is_one_sentence(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["run", "--profile", "tiny", "--only", TABLE, "--out", str(tmp_path), "--ray", address]
    assert command_line.main(options) == 1
    assert f"no Ray cluster at {address}" in capsys.readouterr().err.splitlines()[-1]
