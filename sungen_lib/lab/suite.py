"""Run the notebooks, skipping those for which nothing has changed.

Executed copies and their stamps go to ``<store>/executed/<profile>/``, tables where the notebooks write them. A stamp
says what a copy was made from and what it wrote; while all of it is still so, running the notebook again could only
give the same. Nothing heavy is imported before a notebook has to run: an unchanged suite is checked in a second.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sungen_lib.lab.notebooks import (
    NOTEBOOKS,
    PACKAGE,
    SCOREBOARD,
    TABLES,
    execute,
    failure,
    last_line,
    read_json,
    select,
    stem,
    write_json,
)
from sungen_lib.storage import locked

VERDICTS = ("holds", "fails", "undecided")


def run(
    notebooks: Path = NOTEBOOKS,
    *,
    out: Path,
    store: Path,
    profile: str = "embedded",
    data_dir: Path | None = None,
    encoder: str | None = None,
    only: Sequence[str] = (),
) -> int:
    """Bring every selected notebook's tables up to date, print a line for each; how many failed.

    A notebook that another process executes into the same store is waited for.
    """
    out, store = out.resolve(), store.resolve()
    parameters = {"profile": profile, "out": str(out)}
    if data_dir is not None:
        parameters["data_dir"] = str(data_dir.resolve())
    if encoder is not None:
        parameters["encoder"] = encoder
    about = {"package": _package_hash(), "parameters": parameters, "data": _data_hash(data_dir)}
    started, results = time.monotonic(), Counter[str]()
    for notebook in select(notebooks, only):
        print(f"{notebook.stem:<32}", end=" ", flush=True)
        copy = store / "executed" / profile / notebook.name
        try:
            with locked(store / "locks" / f"{profile}-{notebook.stem}"):
                outcome, text = _bring_up_to_date(notebook, copy, about, out=out / profile, store=store)
        except OSError as error:  # of this notebook's files; the others still get their turn
            outcome, text = "failed", failure(_with_remedy(error), copy)
        results[outcome] += 1
        print(text, flush=True)
    counts = ", ".join(f"{results[outcome]} {outcome}" for outcome in ("ran", "unchanged", "failed"))
    print(f"notebooks: {counts}; {time.monotonic() - started:.0f} s; tables in {out / profile}")
    return results["failed"]


def _with_remedy(error: OSError) -> str:
    """The error's last line; that of a folder which another user has made says what to do."""
    if not isinstance(error, PermissionError):
        return last_line(error)
    return f"OSError: {error.filename} cannot be written ({error.strerror}); name a store of your own (SUNGEN_STORE)"


def _bring_up_to_date(
    notebook: Path, copy: Path, about: Mapping[str, Any], *, out: Path, store: Path
) -> tuple[str, str]:
    """What happened ("ran", "unchanged" or "failed") and the rest of the line to print."""
    # Taken before the run: a notebook edited while it runs must count as changed afterwards.
    made_from = {"source": _source_hash(notebook), **about}
    stamp = copy.with_suffix(".stamp.json")
    stamps, key = read_json(stamp), str(out)
    results = {"outputs": _output_hashes(out, notebook), "records": _record_hashes(out, notebook, store)}
    if copy.exists() and stamps.get(key) == made_from | results:
        return "unchanged", f"unchanged  {verdicts(out, notebook)}".rstrip()
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
    results = {"outputs": _output_hashes(out, notebook), "records": _record_hashes(out, notebook, store)}
    write_json(stamp, stamps | {key: made_from | results})
    return "ran", f"{seconds}  {verdicts(out, notebook)}".rstrip()


def verdicts(out: Path, notebook: Path) -> str:
    """``holds 7, fails 1, undecided 4``, from the claims in the notebook's own JSON."""
    claims = read_json(out / f"{stem(notebook.stem)}.json").get("claims", [])
    # "not run: why" is one verdict, whatever the reasons.
    counts = Counter(str(claim["verdict"]).partition(":")[0] for claim in claims)
    order = [*VERDICTS, *sorted(set(counts) - set(VERDICTS))]
    return ", ".join(f"{verdict} {counts[verdict]}" for verdict in order if counts[verdict])


def _source_hash(notebook: Path) -> str:
    """Of the cells as written: outputs, counts and metadata may change without anything to run again."""
    cells = read_json(notebook).get("cells", [])
    return _hash(json.dumps([cell["cell_type"], "".join(cell["source"])]).encode() for cell in cells)


def _package_hash() -> str:
    files = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE / "embedded" / "weights").glob("*")])
    return _hash(part for path in files for part in (str(path.relative_to(PACKAGE)).encode(), path.read_bytes()))


def _data_hash(data_dir: Path | None) -> str | None:
    """Of names, sizes and times only: a data folder may be large."""
    if data_dir is None:
        return None
    files = sorted(path for path in data_dir.rglob("*") if path.is_file())
    about = ((str(path.relative_to(data_dir)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _hash(repr(row).encode() for row in about)


def _output_hashes(out: Path, notebook: Path) -> dict[str, str]:
    """Of what the notebook has written; for the scoreboard, of the results it reads and the page made from them."""
    name = stem(notebook.stem)
    folder = name if out.name == "embedded" else f"{name}-{out.name}"  # your_data's results have one of their own
    found = [*out.glob(f"{name}.*"), *(out.parent / folder).glob("*")]
    if notebook.stem == SCOREBOARD:
        found = [out.parent / "README.md", *out.parent.glob("*/*.json"), *TABLES.glob("*/*.json")]
    return {str(path): _hash([path.read_bytes()]) for path in sorted(found) if path.is_file()}


def _record_hashes(out: Path, notebook: Path, store: Path) -> dict[str, str | None]:
    """Of the records the notebook says its output came from; None for one that is not there."""
    records = read_json(out / f"{stem(notebook.stem)}.json").get("records", [])
    files = {record: store / record[:2] / record / "record.json" for record in records}
    return {record: _hash([path.read_bytes()]) if path.exists() else None for record, path in files.items()}


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)  # the length keeps ("ab", "c") from being ("a", "bc")
    return digest.hexdigest()


def ahead(notebooks: Sequence[Path], parameters: Mapping[str, Any], address: str) -> None:
    """All the notebooks' runs on a cluster, before the notebooks: they will find them in the store."""
    from sungen_lib.lab import cluster, plan
    from sungen_lib.lab.parameters import ParameterError
    from sungen_lib.texts.examples import DataMissing

    specs = []
    for notebook in notebooks:
        with suppress(ParameterError, DataMissing):  # the notebook will say so itself
            specs += plan.planned(notebook, parameters, anywhere=False)
    try:
        cluster.execute_on(address, specs, data_dir=parameters["data_dir"])
    except cluster.Unreachable:
        raise
    except Exception as error:  # of a run, or of a worker: the notebook that needs it will say so; others need not wait
        print(f"run_all.sh: on the cluster: {last_line(error)}", file=sys.stderr)
