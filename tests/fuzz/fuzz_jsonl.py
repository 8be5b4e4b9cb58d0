"""A coverage-guided fuzzer over the JSONL readers, by hand: ``pip install atheris``, then

    python tests/fuzz/fuzz_jsonl.py tests/fuzz/corpus -max_total_time=600 -max_len=2048

It stops at the first input that ``check`` does not hold for. ``test_fuzz.py`` replays the corpus, all of it synthetic:
of what ten minutes found, the smallest input for each way through the reader and each complaint.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from sungen_lib.texts import examples, imported, jsonl
from sungen_lib.texts.examples import DataError, Examples
from sungen_lib.texts.imported import import_synthetic
from sungen_lib.texts.jsonl import read_jsonl, write_jsonl

NAMES = ("negative", "positive")
MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ": ".xz"}  # how packed files begin


def check(content: bytes, folder: Path) -> str:
    """A file with this content is read, and written and read again the same, or refused in one sentence that names it.

    By all readers; "read" if any of them takes it, else "refused".
    """
    suffix = next((end for magic, end in MAGIC.items() if content.startswith(magic)), "")
    path = folder / f"rows.jsonl{suffix}"
    path.write_bytes(content)
    readers: list[Callable[[], Examples]] = [
        lambda: read_jsonl(path, NAMES),
        lambda: import_synthetic(path, label_order=NAMES),
        lambda: import_synthetic(path, label_order=NAMES, pair=True),
    ]
    outcome = "refused"
    for read in readers:
        try:
            rows = read()
        except DataError as error:
            assert str(error).startswith(f"{path}:") and len(str(error).splitlines()) == 1, str(error)
            continue
        outcome = "read"
        again = folder / f"again.jsonl{suffix}"
        write_jsonl(again, rows)
        back = read_jsonl(again, NAMES)
        assert back.fingerprint() == rows.fingerprint() and back.idx.tolist() == rows.idx.tolist()
    return outcome


def main() -> None:
    import atheris  # not among the tests' dependencies: there is no wheel for every Python

    for module in (jsonl, imported, examples):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            atheris.instrument_func(function)
    warnings.simplefilter("ignore")  # labels that look inverted
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup(sys.argv, lambda content: check(content, Path(folder)) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
