"""Run the notebooks, skipping those for which nothing has changed: ``python -m sungen_lib.suite --help``.

Executed copies and their stamps go to ``<store>/executed/<profile>/``, tables where the notebooks write them. A stamp
says what a copy was made from and what it wrote; while all of it is still so, running the notebook again could only
give the same. Nothing heavy is imported before a notebook has to run: an unchanged suite is checked in a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
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
    REPOSITORY,
    SCOREBOARD,
    TABLES,
    _failure,
    _last_line,
    _read_json,
    _write_json,
    execute,
    refresh,
    select,
    stem,
)

PROFILES = ("tiny", "embedded", "small", "paper")


VERDICTS = ("holds", "fails", "undecided")


def run(
    notebooks: Path = NOTEBOOKS,
    *,
    out: Path,
    store: Path,
    profile: str = "embedded",
    data_dir: Path | None = None,
    only: Sequence[str] = (),
) -> int:
    """Bring every selected notebook's tables up to date, print a line for each; how many failed.

    A notebook that another process executes into the same store is waited for.
    """
    from sungen_lib.storage import locked

    out, store = out.resolve(), store.resolve()
    parameters = {"profile": profile, "out": str(out)}
    if data_dir is not None:
        parameters["data_dir"] = str(data_dir.resolve())
    about = {"package": _package_hash(), "parameters": parameters, "data": _data_hash(data_dir)}
    started, results = time.monotonic(), Counter[str]()
    for notebook in select(notebooks, only):
        print(f"{notebook.stem:<32}", end=" ", flush=True)
        copy = store / "executed" / profile / notebook.name
        with locked(store / "locks" / f"{profile}-{notebook.stem}"):
            outcome, text = _bring_up_to_date(notebook, copy, about, out=out / profile, store=store)
        results[outcome] += 1
        print(text, flush=True)
    counts = ", ".join(f"{results[outcome]} {outcome}" for outcome in ("ran", "unchanged", "failed"))
    print(f"notebooks: {counts}; {time.monotonic() - started:.0f} s; tables in {out / profile}")
    return results["failed"]


def _bring_up_to_date(
    notebook: Path, copy: Path, about: Mapping[str, Any], *, out: Path, store: Path
) -> tuple[str, str]:
    """What happened ("ran", "unchanged" or "failed") and the rest of the line to print."""
    # Taken before the run: a notebook edited while it runs must count as changed afterwards.
    made_from = {"source": _source_hash(notebook), **about}
    stamp = copy.with_suffix(".stamp.json")
    stamps, key = _read_json(stamp), str(out)
    results = {"outputs": _output_hashes(out, notebook), "records": _record_hashes(out, notebook, store)}
    if copy.exists() and stamps.get(key) == made_from | results:
        return "unchanged", f"unchanged  {verdicts(out, notebook)}".rstrip()
    if stamps.pop(key, None):  # a run cut off from here on leaves no stamp for this output folder
        _write_json(stamp, stamps)
    for folder, name in ((out, stem(notebook.stem)), (copy.parent, notebook.stem)):
        for left in folder.glob(f".{name}.*.tmp"):  # by a process that was killed as it wrote
            left.unlink(missing_ok=True)
    started = time.monotonic()
    error = execute(notebook, copy, about["parameters"], store=store)
    seconds = f"{time.monotonic() - started:7.1f} s"
    if error:
        return "failed", f"{seconds}  {_failure(error, copy)}"
    results = {"outputs": _output_hashes(out, notebook), "records": _record_hashes(out, notebook, store)}
    _write_json(stamp, stamps | {key: made_from | results})
    return "ran", f"{seconds}  {verdicts(out, notebook)}".rstrip()


def verdicts(out: Path, notebook: Path) -> str:
    """``holds 7, fails 1, undecided 4``, from the claims in the notebook's own JSON."""
    claims = _read_json(out / f"{stem(notebook.stem)}.json").get("claims", [])
    # "not run: why" is one verdict, whatever the reasons.
    counts = Counter(str(claim["verdict"]).partition(":")[0] for claim in claims)
    order = [*VERDICTS, *sorted(set(counts) - set(VERDICTS))]
    return ", ".join(f"{verdict} {counts[verdict]}" for verdict in order if counts[verdict])


def _source_hash(notebook: Path) -> str:
    """Of the cells as written: outputs, counts and metadata may change without anything to run again."""
    cells = _read_json(notebook).get("cells", [])
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
    """Of what the notebook has written; for the scoreboard, of every profile's results and the page made from them."""
    name = stem(notebook.stem)
    folder = name if out.name == "embedded" else f"{name}-{out.name}"  # your_data's results have one of their own
    own = f"{out.name}/{name}.*", f"{folder}/*"
    patterns = ("README.md", "*/*.json") if notebook.stem == SCOREBOARD else own
    files = sorted(path for pattern in patterns for path in out.parent.glob(pattern))
    return {str(path.relative_to(out.parent)): _hash([path.read_bytes()]) for path in files}


def _record_hashes(out: Path, notebook: Path, store: Path) -> dict[str, str | None]:
    """Of the records the notebook says its output came from; None for one that is not there."""
    records = _read_json(out / f"{stem(notebook.stem)}.json").get("records", [])
    files = {record: store / record[:2] / record / "record.json" for record in records}
    return {record: _hash([path.read_bytes()]) if path.exists() else None for record, path in files.items()}


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)  # the length keeps ("ab", "c") from being ("a", "bc")
    return digest.hexdigest()


def _prefixes(text: str) -> list[str]:
    prefixes = text.split(",")
    if not all(re.fullmatch(r"\w+", prefix) for prefix in prefixes):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of notebook names or their beginnings")
    return prefixes


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {text}")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sungen_lib.suite", description="Run the notebooks.")
    parser.add_argument("--profile", choices=PROFILES, default="embedded", help="sizes and sources (embedded)")
    parser.add_argument("--data", type=_folder, metavar="DIR", help="data folder for the notebooks' data_dir")
    parser.add_argument("--only", type=_prefixes, default=[], metavar="PREFIX[,PREFIX]", help="only these notebooks")
    parser.add_argument("--out", type=Path, default=TABLES, metavar="DIR", help="where tables go (tables)")
    parser.add_argument("--ray", metavar="ADDRESS", help="compute on a Ray cluster: its address, or auto")
    parser.add_argument("--dry-run", action="store_true", help="list the runs that all this needs, and run none")
    parser.add_argument("--refresh", action="store_true", help="execute the committed notebooks in place, as they are")
    return parser


def _ahead(notebooks: Sequence[Path], parameters: Mapping[str, Any], address: str) -> None:
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
        print(f"run_all.sh: on the cluster: {_last_line(error)}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None, *, notebooks: Path = NOTEBOOKS) -> int:
    """The command line; 0 if every notebook is up to date, 1 if one failed, 2 for options that will not do, 130 on
    Ctrl-C, 143 on SIGTERM."""
    from sungen_lib.storage import writable

    parser = _parser()
    options = parser.parse_args(arguments)
    if options.refresh and (options.profile != "embedded" or options.data or options.out != TABLES):
        parser.error("--refresh uses the notebooks' own defaults: only --only goes with it")
    if options.profile == "small" and options.data is None:
        parser.error("profile small reads real data: give --data DIR")
    if options.data is not None and options.profile in ("tiny", "embedded"):
        parser.error(f"profile {options.profile} reads no data folder: --data goes with small or paper")
    store = Path(os.environ.get("SUNGEN_STORE") or REPOSITORY / "runs")
    try:
        select(notebooks, options.only)
    except ValueError as error:
        parser.error(str(error))
    for folder in (options.out, store):
        if not (options.dry_run or writable(folder)):
            print(f"run_all.sh: no files can be written to {folder}; name another folder", file=sys.stderr)
            return 2
    try:
        if options.refresh:
            return int(refresh(notebooks, store=store, only=options.only) > 0)
        parameters = {"profile": options.profile, "data_dir": options.data and str(options.data.resolve())}
        if options.dry_run:
            from sungen_lib.lab import plan  # heavy, like _ahead's, and nobody else needs it

            plan.show(select(notebooks, options.only), parameters)
            return 0
        if options.ray:
            os.environ["SUNGEN_STORE"] = str(store)
            _ahead(select(notebooks, options.only), parameters, options.ray)
        chosen = {"profile": options.profile, "data_dir": options.data, "only": options.only}
        return int(run(notebooks, out=options.out, store=store, **chosen) > 0)
    except RuntimeError as error:  # no cluster
        print(f"run_all.sh: {_last_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as how:
        print("\ninterrupted; finished runs are kept, the same command goes on from them", file=sys.stderr)
        return 143 if isinstance(how, Terminated) else 130


class Terminated(KeyboardInterrupt):
    """SIGTERM, taken like Ctrl-C."""


def _terminated(*_: object) -> None:
    raise Terminated


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())
