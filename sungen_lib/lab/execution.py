"""From specs to records, upstream first: finished ones are read, the rest computed, by one process or several
(``cluster`` does it on several machines)."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from sungen_lib.fast import limited_threads
from sungen_lib.lab.provenance import LIBRARIES, commit, device_name, versions
from sungen_lib.lab.specs import Run, Spec, Synthetic, Trust, Weights, identify, loads_plm, upstream
from sungen_lib.lab.stages import SHARDS, STAGES
from sungen_lib.lab.store import Record, exclusively, find, folder, keep, prepare, sound
from sungen_lib.show import TICK, ticking
from sungen_lib.storage import store_root
from sungen_lib.texts.plms import fastest_device
from sungen_lib.train import Diverged, Trainer

# What the bar says while a spec is computed.
DOING: dict[type, str] = {
    Synthetic: "writing texts",
    Weights: "learning weights",
    Trust: "scoring labels",
    Run: "training and testing",
}
Handle = TypeVar("Handle", bound=Hashable)  # identifies a started run


def compute(spec: Spec, data_dir: str | None = None) -> Record:
    """The record of ``spec``: read, or computed now (its upstream first) and stored."""
    for parent in upstream(spec):
        compute(parent, data_dir)
    place = folder(identify(spec))
    with exclusively(place):
        return sound(place) or _computed(spec, place, data_dir)


def _computed(spec: Spec, place: Path, data_dir: str | None) -> Record:
    prepare(place)
    start = time.perf_counter()
    diverged, metrics = None, {}
    with limited_threads(getattr(spec, "threads", 1)):
        try:
            metrics = STAGES[type(spec)](spec, place, data_dir)
        except Diverged as error:
            diverged = str(error)
    record = keep(
        Record(
            id=identify(spec),
            stage=type(spec).__name__.lower(),
            spec=asdict(spec),
            metrics=metrics,
            seconds=time.perf_counter() - start,
            device=device_name(device_of(spec)),
            versions=versions(*LIBRARIES),
            commit=commit(),
            diverged=diverged,
        )
    )
    # Not before the record is there: until then the shards are all that is left of the hours of a PLM if this dies.
    shutil.rmtree(place / SHARDS, ignore_errors=True)
    return record


def device_of(spec: Spec) -> str:
    """Where ``spec`` is computed, "cpu" or "cuda": texts, which name no device, on a GPU if there is one."""
    if isinstance(spec, Synthetic):
        return fastest_device() if loads_plm(spec) else "cpu"
    return spec.device


def closure(specs: Iterable[Spec]) -> list[Spec]:
    """``specs`` and everything upstream of them, each once, upstream first; files of a data folder are not runs."""
    ordered: dict[Spec, None] = {}

    def visit(spec: Spec) -> None:
        if spec not in ordered and getattr(spec, "source", None) != "folder":
            for parent in upstream(spec):
                visit(parent)
            ordered[spec] = None

    for spec in specs:
        visit(spec)
    return list(ordered)


def execute(
    specs: Iterable[Spec], *, data_dir: str | None = None, jobs: int | None = None, progress: str | None = "runs"
) -> dict[Spec, Record]:
    """The record of each spec and of its upstream; finished ones are read, not repeated.

    ``jobs``: number of processes; by default one per core, or 1 if any run is computed on CUDA, be it a PLM's texts. On
    the CPU a result is the same to the bit whatever ``jobs`` is. The first error ends the other runs and is raised;
    finished records stay.
    """
    specs = list(specs)
    missing = [spec for spec in closure(specs) if find(spec) is None]
    if jobs is None:
        cuda = any(device_of(spec) == "cuda" for spec in missing)
        jobs = 1 if cuda else _cores()
    jobs = min(jobs, len(missing))
    if jobs <= 1 or not poolable():

        def now(handles: list[Spec]) -> Iterable[tuple[Spec, Record]]:
            return ((spec, compute(spec, data_dir)) for spec in handles)

        return in_order(specs, lambda spec: spec, now, width=1, progress=progress)
    with processes(jobs) as (pool, steps):

        def finished(handles: list[Future[Record]]) -> Iterable[tuple[Future[Record], Record]]:
            return ((future, future.result()) for future in wait(handles, return_when=FIRST_COMPLETED).done)

        def submitted(spec: Spec) -> Future[Record]:
            return pool.submit(compute, spec, data_dir)

        return in_order(specs, submitted, finished, width=2 * jobs, steps=lambda: int(steps.value), progress=progress)


def in_order(
    specs: Iterable[Spec],
    start: Callable[[Spec], Handle],
    finished: Callable[[list[Handle]], Iterable[tuple[Handle, Record]]],
    *,
    width: int | None = None,
    steps: Callable[[], int] = lambda: Trainer.steps,
    progress: str | None = "runs",
) -> dict[Spec, Record]:
    """Run ``specs`` in dependency order on any executor.

    ``start`` submits one whose parents are done, at most ``width`` at a time; ``finished`` waits for one or more of
    those running and returns their records. ``steps``: training steps taken so far, shown on the bar.
    """
    ordered = closure(specs)
    records = {spec: record for spec in ordered if (record := find(spec)) is not None}
    waiting, running = [spec for spec in ordered if spec not in records], dict[Handle, Spec]()
    hidden = progress is None or bool(os.environ.get("TQDM_DISABLE"))  # tqdm's notebook bar ignores this variable
    bar = tqdm(total=len(ordered), initial=len(records), desc=progress, unit="run", miniters=1, disable=hidden)

    before = steps()

    def doing() -> str:
        taken = steps() - before
        stages = sorted({DOING[type(spec)] for spec in list(running.values())})
        return ", ".join([*stages, *([f"training steps: {taken:,}"] if taken else [])])

    with bar, ticking(bar, doing):
        while waiting or running:
            ready = [spec for spec in waiting if all(parent in records for parent in upstream(spec))]
            for spec in ready[: None if width is None else max(0, width - len(running))]:
                running[start(spec)] = spec
                waiting.remove(spec)
            for handle, record in finished(list(running)):
                records[running.pop(handle)] = record
                bar.update()
    return records


def _cores() -> int:
    """Cores that this process may use, if the system reports them; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def poolable() -> bool:
    """Whether there can be a pool of processes: not without a /dev/shm for semaphores (some containers), nor where
    processes cannot be forked (Windows)."""
    try:
        multiprocessing.get_context("forkserver").Lock()
    except (OSError, ImportError, ValueError):
        return False
    return True


def warm_up() -> None:
    """Start the server that ``processes`` forks from, where the platform is ``poolable``. It imports torch and
    transformers once for all workers, while the caller does something else.
    """
    from multiprocessing import forkserver  # Windows has none

    multiprocessing.set_forkserver_preload(["sungen_lib.lab.stages", "sungen_lib.embedded.plm"])
    forkserver.ensure_running()


@contextmanager
def processes(number: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    """A pool of ``number`` local processes, terminated if the block raises, and the number of training steps they have
    taken, a shared value."""
    warm_up()
    context = multiprocessing.get_context("forkserver")
    steps = context.Value("q", 0)
    with ProcessPoolExecutor(number, context, _begin, (str(store_root()), steps)) as pool:
        try:
            yield pool, steps
        except BaseException:
            workers = list((pool._processes or {}).values())  # shutdown() clears this list, so take it first
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.terminate()
            raise


def _begin(store: str, steps: Any) -> None:
    """Set up a worker: it uses its parent's store, leaves Ctrl-C to its parent, adds its training steps to ``steps``,
    and ends when its parent is killed.

    Workers are forked from a server that started earlier, so they have the environment of that time.
    """
    os.environ["SUNGEN_STORE"] = store
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        told = 0
        while parent.is_alive():
            parent.join(TICK)
            taken = Trainer.steps
            with steps.get_lock():
                steps.value += taken - told
            told = taken
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
