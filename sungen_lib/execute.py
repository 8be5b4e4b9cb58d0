"""Specs to records, in order of need: what is finished is found, the rest computed by several processes
(or machines: ``cluster.py``)."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from tqdm.auto import tqdm

from sungen_lib import runs
from sungen_lib.runs import Record, Spec

Handle = TypeVar("Handle", bound=Hashable)  # of a run that was started


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
    specs = list(specs)
    missing = [spec for spec in closure(specs) if runs.find(spec) is None]
    if jobs is None:
        cuda = any(getattr(spec, "device", "cpu") == "cuda" for spec in missing)
        jobs = 1 if cuda else _cores()
    jobs = min(jobs, len(missing))
    if jobs <= 1:

        def now(handles: list[Spec]) -> Iterable[tuple[Spec, Record]]:
            return ((spec, runs.compute(spec, data_dir)) for spec in handles)

        return in_order(specs, lambda spec: spec, now, width=1, progress=progress)
    with _processes(jobs) as pool:

        def finished(handles: list[Future[Record]]) -> Iterable[tuple[Future[Record], Record]]:
            return ((future, future.result()) for future in wait(handles, return_when=FIRST_COMPLETED).done)

        return in_order(
            specs, lambda spec: pool.submit(runs.compute, spec, data_dir), finished, width=2 * jobs, progress=progress
        )


def in_order(
    specs: Iterable[Spec],
    start: Callable[[Spec], Handle],
    finished: Callable[[list[Handle]], Iterable[tuple[Handle, Record]]],
    *,
    width: int | None = None,
    progress: str | None = "runs",
) -> dict[Spec, Record]:
    """``execute``, whoever computes: ``start`` begins a run whose upstream is there, at most ``width`` at a time;
    ``finished`` waits for one or more of the running and gives their records."""
    ordered = closure(specs)
    records = {spec: record for spec in ordered if (record := runs.find(spec)) is not None}
    waiting, running = [spec for spec in ordered if spec not in records], dict[Handle, Spec]()
    hidden = progress is None or bool(os.environ.get("TQDM_DISABLE"))  # which tqdm's bar for notebooks does not heed
    with tqdm(total=len(ordered), initial=len(records), desc=progress, unit="run", miniters=1, disable=hidden) as bar:
        while waiting or running:
            ready = [spec for spec in waiting if all(parent in records for parent in runs.upstream(spec))]
            for spec in ready[: None if width is None else max(0, width - len(running))]:
                running[start(spec)] = spec
                waiting.remove(spec)
            for handle, record in finished(list(running)):
                records[running.pop(handle)] = record
                bar.update()
    return records


def _cores() -> int:
    """Cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """So many, on this machine; an error in the block ends them."""
    context = multiprocessing.get_context("forkserver")  # imports torch once, then forks: workers start at once
    context.set_forkserver_preload(["sungen_lib.runs"])
    with ProcessPoolExecutor(number, context, _begin, (str(runs.store()),)) as pool:
        try:
            yield pool
        except BaseException:
            workers = list((pool._processes or {}).values())  # which the shutdown forgets
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.terminate()
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
