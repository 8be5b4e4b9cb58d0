"""The same specs on a Ray cluster (extra ``cluster``): ``./run_all.sh --ray auto|ADDRESS``.

All machines need this clone, its environment and the store at the same path on a shared file system. Results equal
those of a serial run, and none is computed twice. If a machine is lost, its run restarts elsewhere from its checkpoint.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sungen_lib.lab import execution
from sungen_lib.lab.specs import Spec, Synthetic, loads_plm
from sungen_lib.lab.store import Record
from sungen_lib.storage import store_root

GIB = 2**30
RETRIES = 3  # of a run whose worker or machine was lost; an error in the run is raised at once


class Unreachable(RuntimeError):
    """Ray is not installed, or there is no cluster at that address; one sentence."""


def needs(spec: Spec, *, gpus: bool) -> dict[str, float]:
    """What a run asks the cluster for: CPU cores, a share of a GPU where there are ``gpus``, and bytes of memory.

    A PLM, unless it is to run on a CPU, or an encoder fills a GPU; four small LSTMs share one.
    """
    tam = None if isinstance(spec, Synthetic) else spec.tam
    share, memory = 0.0, 2 * GIB if tam is not None else GIB
    if loads_plm(spec):
        share, memory = float(getattr(spec, "device", "cuda") == "cuda"), 16 * GIB
    elif tam is not None and getattr(spec, "device", "cpu") == "cuda":
        share, memory = (0.25, 4 * GIB) if tam.kind == "lstm" else (1.0, 8 * GIB)
    cores = getattr(spec, "threads", 1)
    return {"num_cpus": cores, "num_gpus": share if gpus else 0.0, "memory": memory}


def execute_on(
    address: str, specs: Iterable[Spec], *, data_dir: str | None = None, progress: str | None = "runs"
) -> dict[Spec, Record]:
    """``execution.execute`` on the cluster at ``address``; "auto": this machine's cluster, or the machine alone.

    Raises ``Unreachable``, or whatever a run raises.
    """
    with _connected(address) as cluster:
        gpus = cluster.cluster_resources().get("GPU", 0) > 0
        # A worker that has used a GPU keeps its memory and cannot get another GPU, so use a new worker for each run.
        remote = cluster.remote(max_calls=1)(execution.compute) if gpus else cluster.remote(execution.compute)
        largest = max(node["Resources"].get("memory", 0.0) for node in cluster.nodes() if node["Alive"])

        def start(spec: Spec) -> Any:
            asked = needs(spec, gpus=gpus)
            asked["memory"] = min(asked["memory"], largest)  # a larger request would wait for ever
            return remote.options(max_retries=RETRIES, **asked).remote(spec, data_dir)

        def finished(handles: list[Any]) -> Iterator[tuple[Any, Record]]:
            done, _ = cluster.wait(handles)
            return ((handle, cluster.get(handle)) for handle in done)

        return execution.in_order(specs, start, finished, progress=progress)


def _reachable(address: str) -> None:
    """Raise ``Unreachable`` early: Ray takes minutes to notice that there is no cluster."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise Unreachable(f"no Ray cluster at {address} ({error}): --ray takes auto or HOST:PORT") from None


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The ``ray`` module, connected."""
    try:
        import ray
    except ImportError:
        raise Unreachable("--ray needs Ray: pip install -e '.[cluster]'") from None
    if address != "auto":
        _reachable(address)
    hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    environment = {"env_vars": {"SUNGEN_STORE": str(store_root().resolve()), **hub}}
    settings: dict[str, Any] = {"runtime_env": environment, "log_to_driver": False, "logging_level": "warning"}
    try:
        ray.init(address=address, **settings)
    except ConnectionError as error:
        if address != "auto":
            raise Unreachable(f"no Ray cluster at {address} ({error}): --ray takes auto or HOST:PORT") from None
        ray.init(**settings)  # there is no cluster: start one on this machine
    try:
        yield ray
    finally:
        ray.shutdown()
