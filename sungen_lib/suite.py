"""Run the notebooks, skipping those for which nothing has changed: ``python -m sungen_lib.suite --help``.

Executed copies and their stamps go to ``<store>/executed/<profile>/``, tables where the notebooks write them. A stamp
says what a copy was made from and what it wrote; while all of it is still so, running the notebook again could only
give the same. Nothing heavy is imported before a notebook has to run: an unchanged suite is checked in a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parent
NOTEBOOKS = REPOSITORY / "notebooks"
TABLES = REPOSITORY / "tables"
PROFILES = ("tiny", "embedded", "small", "paper")
VERDICTS = ("holds", "fails", "undecided")
SCOREBOARD = "scoreboard"  # the notebook that reads the others' results, so runs last


def stem(name: str) -> str:
    """The name of a notebook's output files: table01_main_results -> table01, 00_quickstart -> quickstart."""
    found = re.match(r"((?:table|figure)\d+)_", name) or re.match(r"\d+_(.+)", name)
    return found[1] if found else name


def select(notebooks: Path, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks in name order, the scoreboard last; with ``only``, those whose name or output stem starts with one
    of its prefixes."""
    found = sorted(notebooks.glob("*.ipynb"), key=lambda path: (path.stem == SCOREBOARD, path.stem))
    for prefix in only:
        if not any(_chosen(path, (prefix,)) for path in found):
            raise ValueError(f"no notebook starts with {prefix!r}")
    return [path for path in found if not only or _chosen(path, only)]


def _chosen(notebook: Path, prefixes: Sequence[str]) -> bool:
    return notebook.stem.startswith(tuple(prefixes)) or stem(notebook.stem).startswith(tuple(prefixes))


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
    from sungen_lib.data import locked

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


def execute(notebook: Path, copy: Path, parameters: Mapping[str, Any], *, store: Path) -> str | None:
    """Execute ``notebook`` into ``copy`` with those ``parameters`` it declares; the last line of its error, if any."""
    import papermill  # a second, which an unchanged suite saves

    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # pages about tasks that Ctrl-C left unfinished
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    try:
        with _kernel_environment(store):
            known = papermill.inspect_notebook(str(notebook)) if parameters else {}
            papermill.execute_notebook(
                str(notebook),
                str(copy),
                {name: value for name, value in parameters.items() if name in known},
                kernel_name="python3",
                cwd=str(notebook.parent),
                progress_bar=False,
                log_output=False,
                execution_timeout=None,
                # A kernel's own log, on our stderr, is a warning about encryption each time and noise on Ctrl-C.
                extra_arguments=[
                    "--IPKernelApp.log_level=CRITICAL",
                    "--IPKernelApp.exec_lines=__import__('logging').getLogger('asyncio').setLevel('CRITICAL')",
                ],
            )
    except Exception as error:  # whatever it is, the other notebooks still get their turn
        return _last_line(error)
    return None


def refresh(notebooks: Path = NOTEBOOKS, *, store: Path, only: Sequence[str] = ()) -> int:
    """Execute the committed notebooks in place, with the defaults they declare; how many failed, and so stay as is."""
    failed = 0
    for notebook in select(notebooks, only):
        print(f"{notebook.stem:<32}", end=" ", flush=True)
        copy = store.resolve() / "executed" / "refresh" / notebook.name
        started = time.monotonic()
        error = execute(notebook, copy, {}, store=store.resolve())
        print(f"{time.monotonic() - started:7.1f} s  {_failure(error, copy) if error else 'refreshed'}", flush=True)
        if error:
            failed += 1
        else:
            _write_json(notebook, without_traces(_read_json(copy)))
    return failed


def without_traces(notebook: dict[str, Any]) -> dict[str, Any]:
    """``notebook`` less what papermill and the machine leave in it (times, paths, versions), to keep diffs small."""
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"].get("language_info", {}).pop("version", None)
    for cell in notebook["cells"]:
        for name in ("papermill", "execution"):
            cell["metadata"].pop(name, None)
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
    return notebook


@contextmanager
def _kernel_environment(store: Path) -> Iterator[None]:
    """What kernels inherit: this store, this checkout, this interpreter's kernel, and no progress bars."""

    def first(path: Path, variable: str) -> str:
        return os.pathsep.join(filter(None, (str(path), os.environ.get(variable))))

    before = dict(os.environ)
    os.environ |= {
        "SUNGEN_STORE": str(store),
        "PYTHONPATH": first(REPOSITORY, "PYTHONPATH"),
        # A user's own "python3" kernel, which may be another interpreter's, must not come before ours.
        "JUPYTER_PATH": first(Path(sys.prefix, "share", "jupyter"), "JUPYTER_PATH"),
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore:resource_tracker",  # which cleans up after a kernel that was stopped, and says so
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _last_line(error: Exception) -> str:
    """``KeyError: 'imdb'``, for an error in a cell (papermill's has ``ename`` and ``evalue``) as for any other."""
    name = getattr(error, "ename", type(error).__name__)
    lines = str(getattr(error, "evalue", error)).strip().splitlines()
    return f"{name}: {lines[-1]}" if lines else name


def _failure(error: str, copy: Path) -> str:
    return f"FAILED  {error}" + (f"  [{copy}]" if copy.exists() else "")


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


def _read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty if there is none, which is also what a missing or spoilt stamp means."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Atomically, in the layout nbformat gives notebooks."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, separators=(",", ": "))
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


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
    from sungen_lib import cluster, plan
    from sungen_lib.data import DataMissing
    from sungen_lib.experiments import ParameterError

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
    from sungen_lib.data import writable

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
            from sungen_lib import plan  # heavy, like _ahead's, and nobody else needs it

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
