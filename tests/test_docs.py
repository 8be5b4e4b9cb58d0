"""What readers are told: every public name has a docstring, the API pages build, the lists of notebooks are whole."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from urllib.parse import unquote

import pytest

from sungen_lib.lab import notebooks

REPOSITORY = notebooks.REPOSITORY
NAMES = {path.stem for path in notebooks.select(notebooks.NOTEBOOKS)}
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GUIDE = (REPOSITORY / "docs" / "guide.md").read_text(encoding="utf-8")
RESULTS = (REPOSITORY / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
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
    # Coloured sources and the search index are pdoc's own work, and half of its time.
    command = [sys.executable, "-m", "pdoc", "--no-show-source", "--no-search", "sungen_lib", "-o", str(tmp_path)]
    # Without this, a variable of the shell that happens to equal a default would be a warning about leaked secrets.
    environment = os.environ | {"PDOC_DISPLAY_ENV_VARS": "1"}
    built = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    page = (tmp_path / "sungen_lib" / "learn.html").read_text(encoding="utf-8")
    assert 'id="learn_weights"' in page and 'id="_digest"' not in page
    assert ".venv/bin/python -m pdoc sungen_lib -o" in GUIDE
    reached, dead = followed(tmp_path / "index.html")
    assert dead == []
    modules = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in notebooks.PACKAGE.rglob("*.py")}
    public = {name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")}
    # The offline world shows its porch only: what stands behind it is grammar.
    assert {name for name in public if not name.startswith("sungen_lib.embedded.")} <= reached


def followed(index: Path) -> tuple[set[str], list[str]]:
    """All pages that local links lead to from ``index``, as modules; and the links that lead to no file or no place."""
    waiting, seen, dead = [index], {index}, []
    while waiting:
        page = waiting.pop()
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href="|url=)([^"]+)"', text):
            target, _, place = link.partition("#")
            file = (page.parent / target).resolve() if target else page
            if re.match(r"https?:|\$\{", target):  # elsewhere, or a template of the search
                continue
            if not file.exists() or (place and f'id="{unquote(place)}"' not in file.read_text(encoding="utf-8")):
                dead.append(f"{page.name}: {link}")
            elif file not in seen:
                seen.add(file)
                waiting.append(file)
    return {".".join(page.relative_to(index.parent).with_suffix("").parts) for page in seen}, dead


def test_a_dead_link_of_the_api_pages_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="a.html#here">a</a><a href="b.html">b</a><a id="top" href="#top">c</a>'
    )
    (tmp_path / "a.html").write_text('<p id="there"></p>')
    assert followed(tmp_path / "index.html") == ({"index"}, ["index.html: a.html#here", "index.html: b.html"])


def test_the_readme_can_be_read_in_ten_minutes() -> None:
    assert len(re.findall(r"\S*\w\S*", README)) < 2_500  # at 250 words a minute


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


def test_the_times_are_those_of_the_results() -> None:
    """Which say how they were taken."""
    measured = dict(re.findall(r"^\| (\w+) \| (\d+ (?:s|min)) \|$", RESULTS, re.M))
    assert {name: cells[3] for name, cells in rows(README, "notebooks/").items()} == measured


def test_the_plan_of_the_paper_profile_is_as_long_as_the_readme_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sungen_lib", "plan", "--profile", "paper"]
    environment = os.environ | {"SUNGEN_STORE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    printed = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    ).stdout
    planned = re.search(r"^(\d+) runs,.* need about ([\d.]+) GPU hours", printed, re.M)
    assert planned is not None
    assert f"{int(planned[1]):,} runs, about {float(planned[2]):.0f} GPU hours" in README


def test_the_index_lists_every_notebook_with_the_files_it_writes() -> None:
    listed = rows(INDEX, "")
    assert set(listed) == NAMES
    for name, (_, _, _, files) in listed.items():
        committed = sorted(path.suffix for path in (notebooks.TABLES / "embedded").glob(f"{notebooks.stem(name)}.*"))
        # One that leaves nothing there says where it does.
        assert files == f"`{notebooks.stem(name)}` {' '.join(committed)}" if committed else "/" in files, name


def test_the_gallery_shows_every_picture_real_text_first() -> None:
    for name, (picture, *_) in rows(INDEX, "").items():
        stem = notebooks.stem(name)
        found = [profile for profile in ("small", "embedded") if (notebooks.TABLES / profile / f"{stem}.png").exists()]
        image = re.fullmatch(r'<img src="../tables/(\w+)/(\w+)\.png" width="\d+" alt="[^"]+">(<br>demo)?', picture)
        assert bool(image) == bool(found), name
        assert image is None or (image[1], image[2], bool(image[3])) == (found[0], stem, found[0] == "embedded"), name


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


def test_jupyterlab_starts_at_the_root_where_links_work() -> None:
    found = [line for page in (README, GUIDE) for line in re.findall(r"jupyter lab[^`\n]*", page)]
    assert len(found) == 2 and set(found) == {"jupyter lab --ip=127.0.0.1"}
    assert all("--allow-root" in page for page in (README, GUIDE))


def test_no_address_is_a_placeholder() -> None:
    """A badge or an address that cannot work is left out."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    files = [
        REPOSITORY / name for name in listed.splitlines() if name.endswith((".md", ".ipynb", ".toml", ".cff", ".yml"))
    ]
    placeholder = "OWN" + "ER"
    assert [path.name for path in files if placeholder in path.read_text(encoding="utf-8")] == []
