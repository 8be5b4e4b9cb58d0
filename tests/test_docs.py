"""What readers are told: every public name has a docstring, the API pages build, the lists of notebooks are whole."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from sungen_lib.lab import notebooks, suite

REPOSITORY = notebooks.REPOSITORY
NAMES = {path.stem for path in notebooks.select(notebooks.NOTEBOOKS)}
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
INDEX = (notebooks.NOTEBOOKS / "README.md").read_text(encoding="utf-8")


def undocumented(node: ast.Module | ast.ClassDef, where: str) -> Iterator[str]:
    """The public names without a docstring: ``node`` itself, its classes, functions and methods."""
    if not ast.get_docstring(node):
        yield where
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from undocumented(child, f"{where}.{child.name}")
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_") and not ast.get_docstring(child):
            yield f"{where}.{child.name}"


@pytest.mark.parametrize("path", sorted(notebooks.PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_public_name_has_a_docstring(path: Path) -> None:
    assert list(undocumented(ast.parse(path.read_text(encoding="utf-8")), path.stem)) == []


def test_a_missing_docstring_is_noticed() -> None:
    source = '"""."""\nclass A:\n    """."""\n    def b(self): 0\n    def _c(self): 0\ndef d(): 0\nclass _E: 0\n'
    assert list(undocumented(ast.parse(source), "m")) == ["m.A.b", "m.d"]


def test_the_api_pages_build_without_a_word(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pdoc", "sungen_lib", "-o", str(tmp_path)]
    # Without this, a variable of the shell that happens to equal a default would be a warning about leaked secrets.
    environment = os.environ | {"PDOC_DISPLAY_ENV_VARS": "1"}
    built = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    page = (tmp_path / "sungen_lib" / "learn.html").read_text(encoding="utf-8")
    assert 'id="learn_weights"' in page and 'id="_digest"' not in page
    assert ".venv/bin/python -m pdoc sungen_lib -o" in README


def rows(text: str, folder: str) -> dict[str, list[str]]:
    """The lines of a Markdown table that begin with, or link to, a notebook of ``folder``: its name and the cells."""
    found = {}
    for line in text.splitlines():
        link = re.search(rf"\[([^]]+)\]\({folder}(\w+)\.ipynb\)", line) if line.startswith("|") else None
        if link:
            assert link[1] == link[2] and link[1] not in found, line
            found[link[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return found


def test_the_readme_lists_every_notebook_with_the_command_that_runs_it_alone() -> None:
    listed = rows(README, "notebooks/")
    assert set(listed) == NAMES
    for name, cells in listed.items():
        command = re.fullmatch(r"`\./run_all\.sh --only (\w+)`", cells[2])
        assert command and [path.stem for path in notebooks.select(notebooks.NOTEBOOKS, [command[1]])] == [name]


def test_the_readme_counts_the_claims_of_the_committed_tables() -> None:
    for name, cells in rows(README, "notebooks/").items():
        folders = (notebooks.TABLES / profile for profile in ("embedded", "small"))
        assert cells[4:6] == [suite.verdicts(folder, notebooks.NOTEBOOKS / name) for folder in folders], name


def test_the_index_lists_every_notebook_with_the_files_it_writes() -> None:
    listed = rows(INDEX, "")
    assert set(listed) == NAMES
    for name, (_, _, _, files) in listed.items():
        committed = sorted(path.suffix for path in (notebooks.TABLES / "embedded").glob(f"{notebooks.stem(name)}.*"))
        # One that leaves nothing there says where it does.
        assert files == f"`{notebooks.stem(name)}` {' '.join(committed)}" if committed else "/" in files, name


def test_the_steps_of_algorithm_1_are_where_the_index_says() -> None:
    steps = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| \[(\w+)\.py\]\(\.\./sungen_lib/([\w/]+)\.py\) \|$", INDEX, re.M)
    assert len(steps) == INDEX.split("## Algorithm 1")[1].count("\n| ") - 1
    for functions, shown, linked in steps:
        dotted = "sungen_lib." + linked.replace("/", ".")
        assert shown == linked.rpartition("/")[2]
        for function in re.findall(r"`([^`]+)`", functions):
            module, name = function.split(".", 1)
            assert module == shown
            assert attrgetter(name)(importlib.import_module(dotted)).__module__ == dotted


def test_one_address_everywhere() -> None:
    """pyproject.toml says where the suite is published; what cannot read it agrees with it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"].removeprefix("https://github.com/")
    pages = [README, *(path.read_text(encoding="utf-8") for path in notebooks.select(notebooks.NOTEBOOKS))]
    found = [match for page in pages for match in re.findall(r"(?:github\.com|/github)/([\w.-]+/sungen[\w-]*)", page)]
    assert found.count(address) == len(found) >= 2
    assert f"https://colab.research.google.com/github/{address}/blob/main/notebooks/00_quickstart.ipynb" in README
