"""Files from elsewhere are data: none of them runs code when it is read, and none becomes HTML when it is shown."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

import sungen_lib
from sungen_lib.estimator import SunGenWeights
from sungen_lib.lab import store, tables
from sungen_lib.lab.explorer import Explorer
from sungen_lib.learn import LearnedWeights
from sungen_lib.reweight import Iteration
from sungen_lib.texts import examples, jsonl
from sungen_lib.texts.examples import Examples

ROOT = Path(__file__).resolve().parents[1]

# --- what is read -----------------------------------------------------------------------------------------------------

# Calls, by how they end, that run what a file or a text says.
FORBIDDEN = (
    "eval", "exec", "os.system", "torch.load", "torch.hub.load", "read_pickle", "to_pickle", "joblib.load",
    "yaml.load", "yaml.full_load", "yaml.unsafe_load",
)  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
# The project's own notebooks, as a kernel would run them, up to the specs that they would execute.
ALLOWED = {("sungen_lib/lab/plan.py", "exec"), ("sungen_lib/lab/plan.py", "eval")}
NO_WEIGHTS = ("Tokenizer", "TokenizerFast", "Config")  # what ``from_pretrained`` reads as JSON


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Name and syntax tree of everything that a user runs."""
    for folder in ("sungen_lib", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        lines = (line for line in code.splitlines() if not line.startswith("%%"))  # a cell's magic
        yield str(path.relative_to(ROOT)), ast.parse("\n".join(lines))


def faults(name: str, tree: ast.Module) -> Iterator[str]:
    """What in a file could run somebody else's code, or render their text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (f"imports {module}" for module in modules if module.split(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called, options = ast.unparse(node.func), {option.arg: option.value for option in node.keywords}

        def is_true(option: str, options: dict[str | None, ast.expr] = options) -> bool:
            return option in options and ast.unparse(options[option]) != "False"

        for end in FORBIDDEN:
            if (called == end or called.endswith(f".{end}")) and (name, end) not in ALLOWED:
                method = end == "eval" and not isinstance(node.func, ast.Name)  # a model's mode
                yield from () if method else (f"calls {called}",)
        for option in ("trust_remote_code", "allow_pickle", "shell"):
            if is_true(option):
                yield f"calls {called} with {option}"
        model = called.endswith("from_pretrained") and not called.split(".")[-2].endswith(NO_WEIGHTS)
        if model and not is_true("use_safetensors"):
            yield f"calls {called} without use_safetensors=True"


def test_nothing_runs_what_a_file_says() -> None:
    trees = dict(sources())
    assert len(trees) > 50
    assert {name: found for name, tree in trees.items() if (found := list(faults(name, tree)))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "yaml.load(file, Loader=yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(name)",
        "AutoModel.from_pretrained(name, use_safetensors=False)",
        "AutoTokenizer.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_guard_notices(line: str) -> None:
    assert len(list(faults("sungen_lib/other.py", ast.parse(line)))) == 1


# --- what is shown ----------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script> <img src=x onerror=alert(1)> \" ' & | `x`"
HOSTILE = Examples.of([f"{EVIL} {i}" for i in range(12)], np.arange(12) % 2, ("<b>no</b>", "<script>yes</script>"))


class _Tags(HTMLParser):
    """The tags that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.found |= {name for name, _ in attributes if name.startswith("on")}


def tags(html: str) -> set[str]:
    parser = _Tags()
    parser.feed(html)
    return parser.found


HARMFUL = {"script", "img", "b", "onerror"}


def cell(notebook: str, holding: str) -> str:
    """The source of the one code cell of a notebook that holds this text."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    (found,) = [source for each in cells if holding in (source := "".join(each["source"]))]
    return found


def shown_by(source: str, names: dict[str, Any]) -> str:
    """The HTML that a cell ends in."""
    *statements, last = ast.parse(source).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(statements, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return str(value.data)


def test_what_table_6_shows_is_escaped() -> None:
    assert "Explorer(" in cell("table06_examples", "Explorer(")
    html = Explorer(HOSTILE, np.linspace(0, 1, 12), more={"type": [EVIL] * 12}).static()
    assert "script&gt;" in html and not tags(html) & HARMFUL
    markdown = tables.markdown_table(pd.DataFrame({"text": HOSTILE.texts}))
    assert r"\<script>" in markdown and r" <" not in markdown
    assert "<script" not in tables.latex_escape(EVIL)


def test_the_quickstart_escapes_its_texts() -> None:
    class Task:
        labels = HOSTILE.label_names

    learned = LearnedWeights(np.linspace(0, 1, 12), {})
    names = {"weights": learned, "texts": HOSTILE, "task": "imdb", "get": lambda task: Task}
    html = shown_by(cell("00_quickstart", "show.table("), names)
    assert "script&gt;" in html and not tags(html) & HARMFUL


def record() -> store.Record:
    metrics = {EVIL: EVIL, "accuracy": 0.5}
    return store.Record(EVIL, EVIL, {"method": EVIL}, metrics, 1.0, EVIL, {EVIL: EVIL}, EVIL, EVIL)


WITH_TEXT: dict[type, Callable[[], object]] = {
    Examples: lambda: HOSTILE,
    LearnedWeights: lambda: LearnedWeights(np.linspace(0, 1, 12), {}, [Iteration(1, 0.1, 0.1, 0.1, 0.1)]),
    SunGenWeights: lambda: SunGenWeights(settings={EVIL: EVIL}, device=EVIL),
    store.Record: record,
}


def classes() -> set[type]:
    """All of the package's."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(sungen_lib.__path__, "sungen_lib."):
        members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        found |= {member for _, member in members if member.__module__.startswith("sungen_lib")}
    return found


def test_whatever_shows_itself_as_html_escapes_its_texts() -> None:
    """A class that grows a ``_repr_html_`` has to be listed in ``WITH_TEXT``, with texts in it."""
    for kind in classes():
        if hasattr(kind, "_repr_html_"):
            html = WITH_TEXT[kind]()._repr_html_()  # type: ignore[attr-defined]
            # scikit-learn's page for an estimator has a script and bold words of its own; texts must add none.
            own = tags(kind()._repr_html_()) if issubclass(kind, BaseEstimator) else set()
            assert not (tags(html) - own) & HARMFUL and EVIL not in html, kind


def test_errors_about_a_file_quote_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "x", "label": EVIL + "\n" + EVIL}) + "\n")
    with pytest.raises(examples.DataError) as error:
        jsonl.read_jsonl(path, ["no", "yes"])
    assert "\n" not in str(error.value)
