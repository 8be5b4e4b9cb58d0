"""Specs to records, in order of need: what is finished is found, the rest computed by several processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from tqdm.auto import tqdm

from sungen_lib import runs
from sungen_lib.runs import Record, Spec


def closure(specs: Iterable[Spec]) -> list[Spec]:
    """``specs`` and everything upstream of them, each once, upstream first; files of a data folder are not runs."""
    ordered: dict[Spec, None] = {}

    def visit(spec: Spec) -> None:
        if spec not in ordered and getattr(spec, "source", None) != "folder":
            for parent in runs.upstream(spec):
                visit(parent)
            ordered[spec] = None

    for spec in specs:
        visit(spec)
    return list(ordered)


def execute(
    specs: Iterable[Spec], *, data_dir: str | None = None, jobs: int | None = None, progress: str | None = "runs"
) -> dict[Spec, Record]:
    """The record of each spec and of its upstream; finished ones are read, not repeated.

    ``jobs``: processes side by side; by default one a core, or 1 where a spec asks for CUDA. On the CPU a result is
    the same to the bit whatever ``jobs`` is. The first error ends the others and is raised; what is finished stays.
    """
    ordered = closure(specs)
    records = {spec: record for spec in ordered if (record := runs.find(spec)) is not None}
    missing = [spec for spec in ordered if spec not in records]
    if jobs is None:
        cuda = any(getattr(spec, "device", "cpu") == "cuda" for spec in missing)
        jobs = 1 if cuda else _cores()
    hidden = progress is None or bool(os.environ.get("TQDM_DISABLE"))  # which tqdm's bar for notebooks does not heed
    with tqdm(total=len(ordered), initial=len(records), desc=progress, unit="run", disable=hidden) as bar:
        if min(jobs, len(missing)) <= 1:
            for spec in missing:
                records[spec] = runs.compute(spec, data_dir)
                bar.update()
        else:
            _parallel(missing, records, data_dir, min(jobs, len(missing)), bar)
    return records


def _cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parallel(
    missing: list[Spec], records: dict[Spec, Record], data_dir: str | None, jobs: int, bar: tqdm[Any]
) -> None:
    context = multiprocessing.get_context("forkserver")  # imports torch once, then forks: workers start at once
    context.set_forkserver_preload(["sungen_lib.runs"])
    with ProcessPoolExecutor(jobs, context, _begin, (str(runs.store()),)) as pool:
        waiting, running = list(missing), dict[Future[Record], Spec]()
        try:
            while waiting or running:
                ready = [spec for spec in waiting if all(parent in records for parent in runs.upstream(spec))]
                for spec in ready[: 2 * jobs - len(running)]:
                    running[pool.submit(runs.compute, spec, data_dir)] = spec
                    waiting.remove(spec)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    records[running.pop(future)] = future.result()
                    bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _begin(store: str) -> None:
    """Workers use their parent's store, and end when it is killed rather than compute for nobody.

    They are forked from a server that started earlier, with the environment of that time.
    """
    os.environ["SUNGEN_STORE"] = store
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
