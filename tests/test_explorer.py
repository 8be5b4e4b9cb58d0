"""What notebooks show: the explorer, escaped whatever the texts hold, and objects that print themselves."""

from __future__ import annotations

import csv
import re
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import keyword_examples
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.manager import KernelManager
from tqdm.auto import tqdm

from sungen_lib import show
from sungen_lib.lab import execution, stages
from sungen_lib.lab.explorer import ALL, Explorer
from sungen_lib.lab.specs import Spec, Synthetic
from sungen_lib.lab.store import Record
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.paper.cells import Cell
from sungen_lib.reweight import Iteration
from sungen_lib.texts.examples import Examples
from sungen_lib.train import fit

NASTY = "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><b>bold</b> & <i>more</i>'
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "p"}
VIEW = "application/vnd.jupyter.widget-view+json"


class Parsed(HTMLParser):
    """The tags with their attributes' names, and the text, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def nasty() -> Examples:
    return Examples.of([*NASTY, "plain"], [0, 1, 0, 1], ["<u>bad</u>", "good"])


def explorer() -> Explorer:
    return Explorer(nasty(), np.array([0.9, 0.1, 0.5, 0.7]), more={"<s>type</s>": ["<hr>"] * 4})


def walk(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def of_kind(view: Any, kind: str, description: str | None = None) -> Any:
    """The view's one widget of a kind, or with a description."""
    found = [w for w in walk(view) if type(w).__name__ == kind and description in (None, w.description)]
    assert len(found) == 1
    return found[0]


def test_texts_are_shown_and_never_run() -> None:
    pages = [explorer().static(), of_kind(explorer().view(), "HTML").value, nasty()._repr_html_()]
    for page in pages:
        seen = Parsed(page)
        assert seen.tags <= TAGS and seen.attributes <= {"style"}
        assert all(text in seen.text for text in NASTY) and "<u>bad</u>" in seen.text


@given(st.text(), st.text())
def test_a_table_shows_any_text_as_it_is(first: str, second: str) -> None:
    seen = Parsed(show.table(["a", first], [[second, 3]], caption=first))
    assert seen.tags <= TAGS and seen.attributes == {"style"}
    # HTML has one line end, and no NUL.
    assert seen.text == f"{first}a{first}{second}3"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 4)), min_size=1), st.data())
def test_filters_are_those_of_a_plain_loop(rows: list[tuple[str, int, int]], data: st.DataObject) -> None:
    texts = Examples.of([text for text, _, _ in rows], [label for _, label, _ in rows], ["x", "y"])
    weights = np.array([weight / 4 for _, _, weight in rows])
    low, high = sorted((data.draw(st.integers(0, 4)) / 4, data.draw(st.integers(0, 4)) / 4))
    name, search = data.draw(st.sampled_from([None, "x", "y"])), data.draw(st.sampled_from(["", "A", "b"]))
    found = Explorer(texts, weights).matching(name=name, low=low, high=high, search=search)
    expected = [
        i
        for i, (text, label, weight) in enumerate(rows)
        if low <= weight / 4 <= high and name in (None, "xy"[label]) and search.lower() in text
    ]
    assert found.tolist() == sorted(expected, key=lambda i: (rows[i][2], i))


@pytest.mark.parametrize("number", [1, 2, 5, 30])
def test_no_text_is_at_both_ends(number: int) -> None:
    texts = Examples.of(["t"] * number, [0] * number, ["x", "y"])
    highest, lowest = Explorer(texts, np.linspace(0, 1, number)).ends()
    assert not set(highest) & set(lowest) and len(highest) == min(5, -(-number // 2))


def test_the_view_follows_its_controls() -> None:
    texts = Examples.of([f"text {i}" for i in range(25)], [i % 2 for i in range(25)], [ALL, "other"])
    view = Explorer(texts, np.arange(25) / 25).view()
    page, count = of_kind(view, "HTML"), next(w for w in walk(view) if type(w).__name__ == "Label")

    def shown() -> list[int]:
        return [i for i in range(25) if f">text {i}<" in page.value]

    assert shown() == list(range(10)) and count.value == "25 of 25 texts; page 1 of 3"
    of_kind(view, "BoundedIntText").value = 3
    assert shown() == list(range(20, 25))
    of_kind(view, "Dropdown").index = 1  # a class that is called like the choice of all
    assert shown() == list(range(0, 20, 2)) and count.value == "13 of 25 texts; page 1 of 2"
    of_kind(view, "FloatRangeSlider").value = (0.5, 1.0)
    assert shown() == list(range(14, 25, 2))
    of_kind(view, "Text").value = "TEXT 2"
    assert shown() == [20, 22, 24]
    of_kind(view, "ToggleButtons").value = "highest first"
    assert page.value.index("text 24") < page.value.index("text 20")
    of_kind(view, "Text").value = "nothing like it"
    assert shown() == [] and count.value.startswith("0 of 25 texts")


def test_marked_texts_stay_marked_and_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    texts = Examples.of([f'text "{i}",\nmore' for i in range(25)], [0] * 25, ["x", "y"])
    one = Explorer(texts, np.arange(25) / 25, more={"type": list("abcde" * 5)})
    view = one.view()

    def buttons() -> list[Any]:
        return [w for w in walk(view) if type(w).__name__ == "ToggleButton" and w.layout.display != "none"]

    assert [button.description for button in buttons()] == [f"mark {i}" for i in range(10)]
    buttons()[3].value = True
    of_kind(view, "BoundedIntText").value = 3
    assert [button.description for button in buttons()] == [f"mark {i}" for i in range(20, 25)]
    assert not any(button.value for button in buttons())
    buttons()[1].value = True
    of_kind(view, "BoundedIntText").value = 1
    assert [button.value for button in buttons()] == [i == 3 for i in range(10)]
    assert one.marked == {3, 21} and len(texts.select(sorted(one.marked))) == 2
    of_kind(view, "Button").click()
    with (tmp_path / "store" / "marked.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["idx", "weight", "label", "type", "text"]
    assert lines == [["3", "0.1200", "x", "d", 'text "3",\nmore'], ["21", "0.8400", "x", "b", 'text "21",\nmore']]
    buttons()[3].value = False
    assert one.marked == {21} and one.save(tmp_path / "marks.csv").startswith("1 marked, saved to ")


def test_a_spreadsheet_runs_nothing_of_what_is_saved(tmp_path: Path) -> None:
    texts = Examples.of(["=1+1", "fine"], [0, 1], ["-x", "y"])
    one = Explorer(texts, np.array([0.5, 0.25]), more={"@note": ["+a", "b"]})
    one.marked.update({0, 1})
    one.save(tmp_path / "marked.csv")
    with (tmp_path / "marked.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["idx", "weight", "label", "'@note", "text"],
            ["0", "0.5000", "'-x", "'+a", "'=1+1"],
            ["1", "0.2500", "y", "b", "fine"],
        ]


def test_without_ipywidgets_there_is_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "attended", lambda: True)
    assert set(explorer()._repr_mimebundle_()) == {"text/plain", "text/html", VIEW}
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(explorer()._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="4 texts, 3 weights and the columns beside them differ in length"):
        Explorer(nasty(), np.zeros(3))
    with pytest.raises(ValueError, match="differ in length"):
        Explorer(nasty(), np.zeros(4), more={"type": ["x"]})


def test_only_a_front_end_with_a_person_gets_widgets() -> None:
    """JupyterLab lets a cell ask for input; papermill and nbval do not."""
    assert not show.attended()  # no kernel here
    source = """
import numpy as np
from sungen_lib.lab.explorer import Explorer
from sungen_lib.texts.examples import Examples
Explorer(Examples.of(["a", "b"], [0, 1], ["x", "y"]), np.zeros(2))
"""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=120)
        for allowed in (True, False):
            outputs: list[Any] = []
            client.execute_interactive(source, allow_stdin=allowed, output_hook=outputs.append, timeout=120)
            (bundle,) = [m["content"]["data"] for m in outputs if m["msg_type"] == "execute_result"]
            assert "text/html" in bundle and (VIEW in bundle) == allowed
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_a_bar_moves_before_its_first_update(capsys: pytest.CaptureFixture[str]) -> None:
    """Within a second, with the time and what is being done."""
    with tqdm(total=2, desc="runs", disable=False) as bar, show.ticking(bar, lambda: "writing texts"):
        time.sleep(1.3)
        assert re.search(r"runs:\s+0%.* 0/2 \[00:01.*writing texts", capsys.readouterr().err)
        bar.update()
    threads = threading.active_count()
    capsys.readouterr()
    with tqdm(total=2, disable=True) as bar, show.ticking(bar, lambda: "writing texts"):
        assert threading.active_count() == threads
    assert "writing" not in capsys.readouterr().err


def test_the_bar_over_runs_says_what_is_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    spec = Synthetic("imdb", plm="embedded", source="embedded", rows=8, fingerprint="")

    def same(spec: Spec) -> Spec:
        return spec

    def finished(handles: list[Spec]) -> Iterator[tuple[Spec, Record]]:
        time.sleep(0.8)
        yield from ((handle, record()) for handle in handles)

    counts = iter(range(7, 100))
    execution.in_order([spec], same, finished, steps=lambda: next(counts))
    assert "0/1" in (shown := capsys.readouterr().err) and "writing texts, training steps: 1" in shown
    assert set(execution.DOING) == set(stages.STAGES)


def trained(texts: Examples) -> None:
    """In a worker: three epochs of two steps, and time to tell them."""
    prepared = TamConfig("bag", embedding=4, hidden=4, batch_size=2).prepare(texts, seed=0)
    fit(prepared.model, prepared.data, batch_size=2, epochs=3)
    time.sleep(2.5 * show.TICK)


def test_workers_tell_their_training_steps() -> None:
    texts = keyword_examples(3)
    with execution.processes(2) as (pool, steps):
        list(pool.map(trained, [texts] * 2))
        assert steps.value == 2 * 3 * 2


def test_the_bar_over_iterations_counts_inner_steps(capsys: pytest.CaptureFixture[str]) -> None:
    texts = keyword_examples(1_200)
    tam = TamConfig("bag", embedding=4, hidden=4, batch_size=2)
    learn_weights(texts, tam=tam, iterations=3, outer_size=100, progress="weights")
    counts = [int(count.replace(",", "")) for count in re.findall(r"([\d,]+) inner steps", capsys.readouterr().err)]
    assert counts == sorted(counts) and 0 < counts[0] < counts[-1] <= 3 * 600


# --- objects that print themselves ------------------------------------------------------------------------------------


def record(**changes: Any) -> Record:
    about: dict[str, Any] = {
        "id": "0123456789abcdef0123",
        "stage": "run",
        "spec": {"method": "sungen", "test": {"task": "imdb"}, "tam": {}, "selection": "bernoulli", "seed": 2},
        "metrics": {"accuracy": 0.8525, "curve": [0.1] * 50},
        "seconds": 12.34,
        "device": "cpu",
        "versions": {},
        "commit": "unknown",
    }
    return Record(**(about | changes))


def test_a_record_is_one_line() -> None:
    assert repr(record()) == "Record(stage run, method sungen, task imdb, seed 2, test accuracy 85.25 %, took 12.3 s)"
    gone = record(diverged="the <b>loss</b> is nan", metrics={})
    assert "diverged the <b>loss</b> is nan" in repr(gone) and "accuracy" not in repr(gone)
    assert Parsed(gone._repr_html_()).tags <= TAGS
    assert repr(record(stage="synthetic", spec={"task": "imdb"}, metrics={"rows": 3})).startswith("Record(stage synth")


def test_weights_show_their_histogram() -> None:
    weights = np.array([0.05] * 2 + [0.55] + [1.0] * 8, dtype=np.float32)
    learned = LearnedWeights(weights, {}, [Iteration(1, 0.5, 0.5, 0.5, 1.0)])
    assert repr(learned) == ("LearnedWeights(11 samples, 1 iterations; mean 0.786, 18% below 0.1, 73% above 0.9)")
    assert "▂    ▁   █" in Parsed(learned._repr_html_()).text


def test_a_cell_is_one_line() -> None:
    cell = Cell("SunGen", "imdb", "demo", (1, 2, 3), (80.0, 90.0, float("nan")), diverged=(3,))
    assert repr(cell) == "Cell('SunGen', 'imdb': 85.00 ± 7.07; 3 seeds, 1 diverged, demo)"
    cell = Cell("SunGen", "imdb", "demo", (1,), (float("nan"),), diverged=(1,))
    assert repr(cell) == "Cell('SunGen', 'imdb': diverged; 1 seeds, 1 diverged, demo)"


def test_examples_show_their_first_texts() -> None:
    page = Examples.of([f"text {i} " + "x" * 500 for i in range(9)], [0] * 9, ["a", "b"])._repr_html_()
    assert "Examples(9 texts; a: 9, b: 0), the first 3:" in page and "text 2" in page and "text 3" not in page
    assert len(page) < 2000
    pairs = Examples.of(["one"], [0], ["a", "b"], ["two"])._repr_html_()
    assert "text1" in pairs and "two" in pairs
    assert "Examples(0 texts" in Examples.of([], [], ["a"])._repr_html_()
