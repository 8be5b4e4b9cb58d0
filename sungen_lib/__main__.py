"""The command line, ``sungen`` or ``python -m sungen_lib``: weights FILE | run | plan | refresh | pack | unpack.

``./run_all.sh`` is ``run``.

Options are checked here and nowhere else. Until then only the standard library is imported, so that ``run_all.sh`` can
check them before it installs anything.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from sungen_lib.lab import PROFILES
from sungen_lib.lab.notebooks import NOTEBOOKS, TABLES, refresh, select, stem


class _Parser(argparse.ArgumentParser):
    """Errors in one line, options in full."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog.removeprefix('./')}: {message} (see --help)\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


def _prefixes(text: str) -> list[str]:
    prefixes = text.split(",")
    if not all(re.fullmatch(r"\w+", prefix) for prefix in prefixes):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of notebook names or their beginnings")
    return prefixes


def _folder(text: str) -> Path:
    if not text or not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {text}")
    return Path(text).absolute()


def _output_folder(text: str) -> Path:
    if not text or (Path(text).exists() and not Path(text).is_dir()):
        raise argparse.ArgumentTypeError(f"not a folder: {text}")
    return Path(text).absolute()


def _whole(text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"not a whole number from {least} on: {text!r}")
    return int(text)


_seed, _positive = partial(_whole, least=0), partial(_whole, least=1)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=program, description="SunGen, every table and figure.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run", prog=program, help="run the notebooks, write tables and figures", description=RUN, epilog=STATUS
    )
    plan = commands.add_parser("plan", help="list the runs that the notebooks need; run none")
    for command in (run, plan):
        command.add_argument("--profile", choices=PROFILES, default="embedded", help="sizes and sources (embedded)")
        command.add_argument("--data", type=_folder, metavar="DIR", help="data folder, <task>/<source>/<split>.jsonl")
        command.add_argument(
            "--encoder", metavar="NAME", help="fine-tuned instead of DistilBERT: minilm-l6, a folder or a hub id"
        )
    refresh = commands.add_parser("refresh", help="execute the committed notebooks in place, with their defaults")
    for command in (run, plan, refresh):
        command.add_argument(
            "--only", type=_prefixes, default=[], metavar="PREFIX[,PREFIX]", help="notebooks that start with PREFIX"
        )
    run.add_argument("--out", type=_output_folder, metavar="DIR", help="where tables go (runs/tables)")
    run.add_argument("--ray", metavar="ADDRESS", help="compute on a Ray cluster: auto, or its address")
    run.add_argument("--dry-run", action="store_true", help="list the runs that all this needs; run none")
    run.add_argument("--check", action="store_true", help=argparse.SUPPRESS)  # check the options, then stop
    if program == SCRIPT:
        run.add_argument("--test", action="store_true", help="run ruff, mypy, pytest and the committed notebooks")
    weights = commands.add_parser("weights", help="learn weights for a file of labelled texts")
    weights.add_argument("file", type=Path, metavar="FILE", help="a .jsonl, .csv (both also .gz) or .parquet file")
    weights.add_argument("--text", default="text", help="the column of texts (text)")
    weights.add_argument("--label", default="label", help="the column of labels (label)")
    weights.add_argument("--labels", nargs="+", metavar="NAME", help="the label names in index order, for numbers")
    weights.add_argument("--budget", type=int, metavar="ROWS", help="rows of the cleaned file, approximately (half)")
    weights.add_argument(
        "--iterations", type=_positive, metavar="NUMBER", help="outer iterations (20; 15 without MiniLM)"
    )
    weights.add_argument("--centred", action="store_true", help="no class may lose its weight as a whole")
    weights.add_argument("--seed", type=_seed, default=0, help="random seed (0)")
    weights.add_argument("--out", type=_output_folder, metavar="DIR", help="where results go (FILE's name-weights)")
    for name, what in (("pack", "store -> DIR/records.tar.xz"), ("unpack", "DIR/records.tar.xz -> store")):
        archive = commands.add_parser(name, help=f"the records behind committed tables: {what}")
        archive.add_argument("tables", type=Path, metavar="DIR", help="a folder of tables, such as tables/small")
    return parser


SCRIPT = "./run_all.sh"
RUN = "Run every notebook, skipping those for which nothing has changed, and write the tables and figures."
STATUS = (
    "Finished runs are kept in runs/ (or $SUNGEN_STORE) and never computed again; executed notebooks are beside them. "
    "Exit status: 0, all is well; 1, a notebook, a test or the installation failed; 2, a wrong option; 130, Ctrl-C; "
    "143, SIGTERM."
)


def _checked(arguments: Sequence[str] | None, notebooks: Path) -> argparse.Namespace:
    """The options, or one line on stderr and exit status 2."""
    name = "sungen" if Path(sys.argv[0]).stem == "sungen" else "python -m sungen_lib"
    parser = _parser(SCRIPT if os.environ.get("SUNGEN_RUN_ALL") else name)
    options = parser.parse_args(arguments)
    if getattr(options, "test", False):
        parser.error("--test takes no other option")
    if options.command in ("run", "plan"):
        needed = PROFILES[options.profile]
        if needed == "required" and options.data is None:
            parser.error(f"profile {options.profile} reads real data: give --data DIR")
        if needed == "none" and options.data is not None:
            parser.error(
                f"profile {options.profile} reads no data folder: --data goes with laptop, small, medium or paper"
            )
    if options.command in ("run", "plan", "refresh"):
        try:
            select(notebooks, options.only)
        except ValueError as error:
            parser.error(str(error))
    return options


def _archive(options: argparse.Namespace) -> int:
    from sungen_lib.lab import archive

    number = getattr(archive, options.command)(options.tables)
    print(f"{options.command}ed {number} records: {options.tables / archive.NAME}")
    return 0


def _weights(options: argparse.Namespace) -> int:
    from sungen_lib.weigh import weigh_file

    warnings.formatwarning = lambda message, *_, **__: f"sungen weights: {message}\n"  # without a line of code
    out = options.out or Path(f"{options.file.stem.partition('.')[0]}-weights").absolute()
    given = {name: getattr(options, name) for name in ("text", "label", "labels", "budget", "seed", "centred")}
    if options.iterations is not None:
        given["iterations"] = options.iterations
    print(weigh_file(options.file, out, progress="weights", **given))
    print(f"weights.parquet, suspects.csv and the cleaned file are in {out}")
    return 0


def _notebooks(options: argparse.Namespace, notebooks: Path, store: Path) -> int:
    """``run``, ``plan`` and ``refresh``."""
    if options.command == "refresh":
        return int(refresh(notebooks, store=store, only=options.only) > 0)
    chosen = select(notebooks, options.only)
    encoder = _model(options.encoder)
    parameters = {"profile": options.profile, "data_dir": options.data and str(options.data), "encoder": encoder}
    if options.command == "plan" or options.dry_run:
        from sungen_lib.lab import plan

        plan.show(chosen, parameters)
        return 0
    from sungen_lib.lab import comparison, suite

    out = options.out or store / "tables"
    wrong = _unusable((out, store, out / options.profile), options.data)
    if wrong:
        print(f"sungen run: {wrong}; name another folder", file=sys.stderr)
        return 2
    given = {"profile": options.profile, "data_dir": options.data, "encoder": encoder}
    failed = suite.run(notebooks, out=out, store=store, only=options.only, ray=options.ray, **given)
    names = [stem(notebook.stem) for notebook in chosen]
    for line in comparison.report(out / options.profile, TABLES / options.profile, names):
        print(line)
    return int(failed > 0)


def _model(name: str | None) -> str | None:
    """A folder by its absolute path, because notebooks run elsewhere; any other name as it is."""
    return str(Path(name).absolute()) if name and Path(name).is_dir() else name


def _unusable(folders: Sequence[Path], data: Path | None) -> str | None:
    """Why results cannot go where they should, if they cannot."""
    from sungen_lib.storage import inside, writable

    for folder in folders:
        if not writable(folder):
            return f"no files can be written to {folder}"
        if data is not None and inside(folder, data):
            return f"results would go among the data, to {folder}"
    return None


def main(arguments: Sequence[str] | None = None, *, notebooks: Path = NOTEBOOKS) -> int:
    """Run the command line; 0 if all is well, 1 if a notebook failed or something is wrong with the data, 2 for invalid
    options, 130 on Ctrl-C, 143 on SIGTERM."""
    options = _checked(arguments, notebooks)
    if getattr(options, "check", False):
        return 0
    from sungen_lib.storage import store_root

    store = store_root()
    try:
        if options.command in ("pack", "unpack"):
            return _archive(options)
        return _weights(options) if options.command == "weights" else _notebooks(options, notebooks, store)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        print(f"sungen {options.command}: {reason[-1]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as how:
        kept = "finished runs are kept, and the same command continues from them"
        what = "run the same command again" if options.command == "weights" else kept
        print(f"\ninterrupted; {what}", file=sys.stderr)
        return 143 if isinstance(how, Terminated) else 130


def _terminated(*_: object) -> NoReturn:
    raise Terminated


def cli() -> int:
    """``main`` as the whole process: SIGTERM ends it as Ctrl-C does, with files cleaned up."""
    signal.signal(signal.SIGTERM, _terminated)
    return main()


if __name__ == "__main__":
    sys.exit(cli())
