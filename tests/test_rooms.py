"""The package's rooms: who imports whom, and that no module, function or parameter list grows out of hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import sungen_lib

PACKAGE = Path(__file__).resolve().parents[1] / "sungen_lib"
# Top to bottom as in the package's docstring. A module imports from layers above its own, and from its own layer.
LAYERS = (
    "show storage seeds",
    "texts",
    "embedded",
    "losses encode encoder frozen models subset fast train",
    "derivative reweight choice checkpoint learn plain",
    "weigh estimator",
    "baselines",
    "paper",
    "lab",
)
EXEMPT = {"sungen_lib", "sungen_lib.__main__"}  # the porch, the command line
# Data, not code: as long as they have to be.
TABLES = ("paper/numbers.py", "paper/claims.py", "texts/tasks.py", "embedded/")
LINES, CODE_LINES, PARAMETERS = 300, 40, 10


# --- imports ----------------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    """Each module's syntax tree, by its name."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in paths}


def path_of(name: str) -> Path:
    path = PACKAGE.parent / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(name: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Modules of the package that ``name`` imports, anywhere in its text, and the lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports would be overlooked here"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [full if full in modules() else str(node.module) for full in whole]
        else:
            continue
        yield from ((module, node.lineno) for module in found if module.split(".")[0] == "sungen_lib")


def layer(name: str) -> int | None:
    """The module's layer, counted from the top; ``None`` for one that the list does not know."""
    room = name.split(".")[1]
    return next((number for number, names in enumerate(LAYERS) if room in names.split()), None)


def test_the_layers_are_those_of_the_docstring() -> None:
    """So that a layer moved there is moved here."""
    text = sungen_lib.__doc__ or ""
    rooms = " ".join(LAYERS).split()
    lines = text[text.index("    show storage seeds") :].splitlines()
    named = [word.strip("/`,;") for line in lines for word in line.split() if word.strip("/`,;") in rooms]
    assert list(dict.fromkeys(named)) == rooms
    homeless = sorted(module for module in modules() if module not in EXEMPT and layer(module) is None)
    assert not homeless, f"in no layer: {', '.join(homeless)}"


def test_imports_go_up_the_list_only() -> None:
    offenders = []
    for name, tree in modules().items():
        if name in EXEMPT:
            continue
        for other, line in imported(name, tree):
            if other in EXEMPT:
                offenders.append(f"{name}:{line} imports {other}, the top of the house")
                continue
            mine, theirs = layer(name), layer(other)
            if mine is None or theirs is None or theirs > mine:
                offenders.append(f"{name}:{line} imports {other}")
    assert not offenders, "\n".join(["imports from a layer below:", *dict.fromkeys(offenders)])


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach one another, smallest first (strongly connected components by reachability)."""
    reached: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in edges.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        reached[start] = seen
    groups = {frozenset(o for o in seen if n in reached.get(o, ())) for n, seen in reached.items() if n in seen}
    return sorted((sorted(group) for group in groups), key=len)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [["d"], ["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_import_circle() -> None:
    """A module and the room that it stands in are two: a room's own ``__init__`` may import its modules."""
    edges = {name: {other for other, _ in imported(name, tree)} for name, tree in modules().items()}
    del edges["sungen_lib"]  # the porch imports nothing until a name is used
    found = circles(edges)
    assert not found, "\n".join(["modules that import one another:", *(" <-> ".join(group) for group in found)])


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_no_module_is_longer_than_it_can_be_read() -> None:
    offenders = []
    for name in modules():
        path = path_of(name)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LINES and not path.relative_to(PACKAGE).as_posix().startswith(TABLES):
            offenders.append(f"{name}: {lines} lines")
    assert not offenders, "\n".join([f"modules over {LINES} lines:", *offenders])


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, Function]]:
    """Every function, with the names of the classes and functions around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.ClassDef):
            title = f"{within}{node.name}"
            if isinstance(node, Function):
                yield title, node
            yield from functions(node, f"{title}.")
        else:
            yield from functions(node, within)


def code_lines(function: Function) -> int:
    """The lines from ``def`` to the end, less the docstring."""
    first = function.body[0]
    docstring = 0 if ast.get_docstring(function) is None else (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def parameters(function: Function) -> int:
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize(
    ("source", "lines", "count"),
    [
        ("def f(a, b=1, *c, d, **e):\n    return a\n", 2, 3),
        ('def f(self, a):\n    """One.\n\n    Two.\n    """\n    return a\n\n', 2, 1),
        ("@cache\ndef f(\n    a,\n):\n    # a remark\n    return a\n", 5, 1),
    ],
)
def test_what_is_counted(source: str, lines: int, count: int) -> None:
    ((_, function),) = functions(ast.parse(source))
    assert (code_lines(function), parameters(function)) == (lines, count)


def test_no_function_is_longer_than_a_screen() -> None:
    offenders = [
        f"{name}:{title}, line {function.lineno}: {code_lines(function)} lines"
        for name, tree in modules().items()
        for title, function in functions(tree)
        if code_lines(function) > CODE_LINES
    ]
    assert not offenders, "\n".join([f"functions over {CODE_LINES} lines, docstrings not counted:", *offenders])


def test_no_function_has_more_parameters_than_anyone_remembers() -> None:
    offenders = [
        f"{name}:{title}, line {function.lineno}: {parameters(function)} parameters"
        for name, tree in modules().items()
        for title, function in functions(tree)
        if parameters(function) > PARAMETERS
    ]
    assert not offenders, "\n".join([f"functions with more than {PARAMETERS} parameters:", *offenders])
