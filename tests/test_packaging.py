"""What installs the suite agrees with itself: pyproject.toml, constraints.txt, environment.yml, CITATION.cff, hooks."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
INSTALLED = [Requirement(line) for line in PROJECT["dependencies"] + EXTRAS["suite"] + EXTRAS["test"]]


def pins() -> dict[str, Version]:
    lines = [line.split("#")[0].strip() for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s=*]+)", line) for line in lines if line]
    assert all(found), "constraints.txt holds something other than exact pins"
    pairs = [(canonicalize_name(match[1]), Version(match[2])) for match in found if match]
    assert len(dict(pairs)) == len(pairs), "a package is pinned twice"
    return dict(pairs)


def read_yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("requirement", INSTALLED, ids=lambda requirement: requirement.name)
def test_direct_dependencies_are_pinned_within_their_ranges(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_pins_fit_any_build_of_torch() -> None:
    """A local version (2.13.0+cpu) could be installed only where that build is offered."""
    assert all(version.local is None for version in pins().values())


def closure(direct: Sequence[Requirement] = INSTALLED) -> Iterator[str]:
    """Names of everything the installed distributions say that ``direct`` needs, direct or not."""
    waiting, seen = list(direct), set[tuple[str, str]]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        yield name
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                needed = map(Requirement, metadata.requires(name) or ())
                waiting += [item for item in needed if not item.marker or item.marker.evaluate({"extra": extra})]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="constraints.txt is the closure on Python 3.11")
def test_constraints_hold_the_whole_closure() -> None:
    # torch pins its CUDA libraries exactly itself, and only its CUDA builds have them.
    ours = {name for name in closure() if not re.match(r"nvidia-|cuda-|triton", name)}
    assert ours <= set(pins())


def test_the_library_alone_brings_no_jupyter() -> None:
    needed = set(closure([Requirement(line) for line in PROJECT["dependencies"]]))
    assert {"torch", "transformers", "filelock"} <= needed
    assert not [name for name in needed if re.match("jupyter|ipy|nb|notebook|papermill|matplotlib|nltk|cleanlab", name)]


def test_every_import_is_declared() -> None:
    """Each package that the library imports, at the top of a module or in a function, is a direct dependency."""
    distributions = metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in INSTALLED} | {"pydantic-core", "cycler"}
    imported = set()
    for path in (REPOSITORY / "sungen_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {name.partition(".")[0] for name in names}
    others = imported - set(sys.stdlib_module_names) - {"sungen_lib"}
    carriers = {name: {canonicalize_name(d) for d in distributions.get(name, [name])} for name in others}
    assert [name for name, names in carriers.items() if not names & declared] == []


def test_ranges_admit_the_versions_the_project_promises() -> None:
    ranges = {requirement.name: requirement.specifier for requirement in INSTALLED}
    assert all(Version(version) in ranges["torch"] for version in ("2.11.0", "2.13.0"))
    assert Version("5.17.0") in ranges["transformers"]
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in ("3.11.0", "3.12.0"))


def test_environment_installs_this_package_and_adds_nothing() -> None:
    environment = read_yaml("environment.yml")
    (pip,) = (item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    assert environment["channels"][0] == "conda-forge"
    assert pip == ["-c constraints.txt", "-e .[suite,test]"]
    assert [re.split("[=<>]", item)[0] for item in conda] == ["python", "pip"]
    python = conda[0].removeprefix("python=")
    assert Version(python) in SpecifierSet(PROJECT["requires-python"])


def test_extras_are_those_documented() -> None:
    pages = ("docs/guide.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md")
    text = "".join((REPOSITORY / page).read_text(encoding="utf-8") for page in pages)
    named = {name for names in re.findall(r"'?\.\[([\w,]+)\]", text) for name in names.split(",")}
    assert named == set(EXTRAS)


def test_citation_names_the_suite_and_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    paper = citation["preferred-citation"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert paper["title"] == "Self-Guided Noise-Free Data Generation for Efficient Zero-Shot Learning"
    names = "Gao Pi Lin Xu Ye Wu Zhang Liang Li Kong".split()
    assert [author["family-names"] for author in paper["authors"]] == names


HOOKS: list[dict[str, Any]] = [hook for repo in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]


def test_the_ruff_hook_runs_and_passes() -> None:
    """As pre-commit runs it: in the repository, with the names of the files to check."""
    program, *arguments = shlex.split(HOOKS[0]["entry"])
    assert program == "python"
    command = [sys.executable, *arguments, "tests/test_packaging.py", "notebooks/theory.ipynb"]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All checks passed" in ran.stdout


def test_the_notebooks_hook_is_a_test_of_this_suite() -> None:
    """Which has run it, so that it need not run twice."""
    *command, test = shlex.split(HOOKS[1]["entry"])
    assert command == ["python", "-m", "pytest", "-q"] and HOOKS[1]["pass_filenames"] is False
    file, name = test.split("::")
    assert f"\ndef {name}(" in (REPOSITORY / file).read_text(encoding="utf-8")


def test_the_hooks_are_those_documented() -> None:
    assert [hook["id"] for hook in HOOKS] == ["ruff", "notebooks"]
    assert all({"id", "name", "entry"} <= set(hook) and hook["language"] == "system" for hook in HOOKS)
    notebooks = HOOKS[1]
    assert re.search(notebooks["files"], "notebooks/00_quickstart.ipynb")
    assert not re.search(notebooks["files"], "notebooks/README.md")
