"""Run the notebooks, skipping those for which nothing has changed.

Executed copies and their stamps go to ``<store>/executed/<profile>/``, tables where the notebooks write them. A stamp
says what a copy was made from and what it wrote; while all of it is still so, running the notebook again would give
the same. A notebook that lacked a model gets no stamp, since the model may be there next time. Nothing heavy is
imported before a notebook has to run: an unchanged suite is checked in a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sungen_lib.lab.notebooks import (
    NOTEBOOKS,
    PACKAGE,
    SCOREBOARD,
    TABLES,
    TIDY,
    environment,
    execute,
    failure,
    last_line,
    read_json,
    select,
    stem,
    write_json,
)
from sungen_lib.paper.outcomes import VERDICTS, kind
from sungen_lib.storage import locked

ALONE = ("speed", SCOREBOARD)  # at the end: the one measures time, the other reads the others' results
Turn = Callable[[Path], tuple[str, str]]


def run(
    notebooks: Path = NOTEBOOKS,
    *,
    out: Path,
    store: Path,
    profile: str = "embedded",
    data_dir: Path | None = None,
    encoder: str | None = None,
    only: Sequence[str] = (),
    ray: str | None = None,
) -> int:
    """Bring every selected notebook's tables up to date, print a line for each; how many failed.

    The runs of several notebooks come first, all together, those of ``ray`` on the Ray cluster at that address. A
    notebook that another process executes into the same store is waited for.
    """
    out, store = out.resolve(), store.resolve()
    parameters = {"profile": profile, "out": str(out)}
    if data_dir is not None:
        parameters["data_dir"] = str(data_dir.resolve())
    if encoder is not None:
        parameters["encoder"] = encoder
    about: dict[str, Any] = {
        "package": _package_hash(),
        "libraries": _libraries_hash(),
        "parameters": parameters,
        "data": _folder_hash(data_dir),
    }
    if encoder is not None and Path(encoder).is_dir():
        about["encoder"] = _folder_hash(Path(encoder))
    started, results = time.monotonic(), Counter[str]()
    places: dict[str, Any] = {"out": out / profile, "store": store}
    turn: Turn = partial(_turn, about=about, **places)
    chosen = sorted(select(notebooks, only), key=lambda notebook: notebook.stem in ALONE)
    outdated = [notebook for notebook in chosen if not _unchanged(notebook, about, **places)]
    several = (ray or len(outdated) > 1) and ahead(outdated, parameters, store=store, ray=ray)
    with _side_by_side(turn, outdated if several else []) as begun:
        for notebook in chosen:
            print(f"{notebook.stem:<32}", end=" ", flush=True)
            outcome, text = begun[notebook].result() if notebook in begun else turn(notebook)
            results[outcome] += 1
            print(text, flush=True)
    counts = ", ".join(f"{results[outcome]} {outcome}" for outcome in ("ran", "unchanged", "failed"))
    print(f"notebooks: {counts}; {time.monotonic() - started:.0f} s; tables in {out / profile}")
    return results["failed"]


@contextmanager
def _side_by_side(turn: Turn, notebooks: Sequence[Path]) -> Iterator[dict[Path, Future[tuple[str, str]]]]:
    """Two notebooks at a time, whose runs are finished: what is left for a kernel keeps less than a core busy."""
    begun = [notebook for notebook in notebooks if notebook.stem not in ALONE]
    if len(begun) > 1:
        from sungen_lib.lab import execution

        if execution.poolable():
            with execution.processes(2) as (pool, _):
                yield {notebook: pool.submit(_on_one_thread, turn, notebook) for notebook in begun}
            return
    yield {}


def _on_one_thread(turn: Turn, notebook: Path) -> tuple[str, str]:
    """``turn`` with one thread in its kernel, unless the user asks for more: two kernels with a thread for every core
    slow each other down. What cells train can so differ in its last bits from a run of that notebook alone."""
    with environment(OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1")):
        return turn(notebook)


def _turn(notebook: Path, *, about: Mapping[str, Any], out: Path, store: Path) -> tuple[str, str]:
    """What happened ("ran", "unchanged" or "failed") and the rest of the line to print."""
    copy = _copy(notebook, about, store)
    try:
        with locked(store / "locks" / f"{out.name}-{notebook.stem}"):
            if _unchanged(notebook, about, out=out, store=store):
                return "unchanged", f"unchanged  {verdicts(out, notebook)}".rstrip()
            return _bring_up_to_date(notebook, copy, about, out=out, store=store)
    except OSError as error:  # of this notebook's files; the others still get their turn
        return "failed", failure(_with_remedy(error), copy)


def _copy(notebook: Path, about: Mapping[str, Any], store: Path) -> Path:
    return store / "executed" / str(about["parameters"]["profile"]) / notebook.name


def _with_remedy(error: OSError) -> str:
    """The error's last line; that of a folder which another user has made says what to do."""
    if not isinstance(error, PermissionError):
        return last_line(error)
    return f"OSError: {error.filename} cannot be written ({error.strerror}); name a store of your own (SUNGEN_STORE)"


def _bring_up_to_date(
    notebook: Path, copy: Path, about: Mapping[str, Any], *, out: Path, store: Path
) -> tuple[str, str]:
    """``_turn`` of one that has changed, under its lock."""
    # Taken before the run: a notebook edited while it runs must count as changed afterwards.
    made_from = _made_from(notebook, about)
    stamp = copy.with_suffix(".stamp.json")
    stamps, key = read_json(stamp), str(out)
    if stamps.pop(key, None):  # a run cut off from here on leaves no stamp for this output folder
        write_json(stamp, stamps)
    for folder, name in ((out, stem(notebook.stem)), (copy.parent, notebook.stem)):
        for left in folder.glob(f".{name}.*.tmp"):  # by a process that was killed as it wrote
            left.unlink(missing_ok=True)
    started = time.monotonic()
    error = execute(notebook, copy, about["parameters"], store=store)
    seconds = f"{time.monotonic() - started:7.1f} s"
    if error:
        return "failed", f"{seconds}  {failure(error, copy)}"
    if not read_json(out / f"{stem(notebook.stem)}.json").get("lacking"):
        write_json(stamp, stamps | {key: made_from | _results(notebook, out=out, store=store)})
    return "ran", f"{seconds}  {verdicts(out, notebook)}".rstrip()


def _unchanged(notebook: Path, about: Mapping[str, Any], *, out: Path, store: Path) -> bool:
    """Whether running the notebook again would give the same: the stamp of its copy says so."""
    copy = _copy(notebook, about, store)
    now = _made_from(notebook, about) | _results(notebook, out=out, store=store)
    return copy.exists() and read_json(copy.with_suffix(".stamp.json")).get(str(out)) == now


def _made_from(notebook: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    return {"source": _source_hash(notebook), **about}


def _results(notebook: Path, *, out: Path, store: Path) -> dict[str, Any]:
    return {"outputs": _output_hashes(out, notebook), "records": _record_hashes(out, notebook, store)}


def verdicts(out: Path, notebook: Path) -> str:
    """``holds 7, fails 1, undecided 4``, from the claims in the notebook's own JSON."""
    claims = read_json(out / f"{stem(notebook.stem)}.json").get("claims", [])
    counts = Counter(kind(claim["verdict"]) for claim in claims)
    return ", ".join(f"{verdict} {counts[verdict]}" for verdict in VERDICTS if counts[verdict])


def _source_hash(notebook: Path) -> str:
    """A hash of the cells as written: outputs, counts and metadata may change without anything to run again."""
    cells = read_json(notebook).get("cells", [])
    return _hash(json.dumps([cell["cell_type"], "".join(cell["source"])]).encode() for cell in cells)


def _package_hash() -> str:
    files = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE / "embedded" / "weights").glob("*")])
    return _hash(part for path in files for part in (str(path.relative_to(PACKAGE)).encode(), path.read_bytes()))


def _libraries_hash() -> str:
    """A hash of all that is installed: a folder's name has the package and its version, and reading names is quick."""
    return _hash(sorted(path.name.encode() for folder in sys.path for path in Path(folder).glob("*.dist-info")))


def _folder_hash(folder: Path | None) -> str | None:
    """A hash of names, sizes and times only: a folder of data or of a model may be large."""
    if folder is None:
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = ((str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _hash(repr(row).encode() for row in about)


def _output_hashes(out: Path, notebook: Path) -> dict[str, str]:
    """Hashes of what the notebook has written; for the scoreboard, of the results it reads and the page it makes."""
    name = stem(notebook.stem)
    folder = name if out.name == "embedded" else f"{name}-{out.name}"  # your_data's results have one of their own
    found = [*out.glob(f"{name}.*"), *(out.parent / folder).glob("*")]
    if notebook.stem == SCOREBOARD:
        found = [out.parent / "README.md", *out.parent.glob("*/*.json"), *TABLES.glob("*/*.json")]
    return {str(path): _hash([path.read_bytes()]) for path in sorted(found) if path.is_file()}


def _record_hashes(out: Path, notebook: Path, store: Path) -> dict[str, str | None]:
    """Hashes of the records that the notebook says its output came from; None for one that is not there."""
    records = read_json(out / f"{stem(notebook.stem)}.json").get("records", [])
    files = {record: store / record[:2] / record / "record.json" for record in records}
    return {record: _hash([path.read_bytes()]) if path.exists() else None for record, path in files.items()}


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)  # the length keeps ("ab", "c") from being ("a", "bc")
    return digest.hexdigest()


def ahead(notebooks: Sequence[Path], parameters: Mapping[str, str], *, store: Path, ray: str | None = None) -> bool:
    """All the notebooks' runs, which they will then find in ``store``: on all cores, or on a Ray cluster.

    False if runs are left to the notebooks: those on this machine's GPU, and errors other than
    ``cluster.Unreachable``, which is raised.
    """
    from sungen_lib.lab import cluster, execution, plan

    data_dir, specs = parameters.get("data_dir"), list[Any]()
    with environment(SUNGEN_STORE=str(store), **TIDY):
        if execution.poolable():
            execution.warm_up()
        for notebook in notebooks:
            with suppress(Exception):  # the notebook will say so itself
                specs += plan.planned(notebook, parameters, anywhere=False)
        specs.sort(key=plan.task)  # a worker keeps the texts of the last few sets that it has read
        progress = "runs" if sys.stderr.isatty() else None
        try:
            if ray:
                cluster.execute_on(ray, specs, data_dir=data_dir, progress=progress)
            elif any(getattr(spec, "device", "cpu") != "cpu" for spec in specs):
                return False
            else:
                execution.execute(specs, data_dir=data_dir, progress=progress)
            return True
        except cluster.Unreachable:
            raise
        except Exception as error:  # the notebook that needs the run will say so; others need not wait
            print(f"run_all.sh: before the notebooks: {last_line(error)}", file=sys.stderr)
            return False
