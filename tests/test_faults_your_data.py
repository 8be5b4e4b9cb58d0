"""The notebook ``your_data`` where files share a name, change, lie among its results, or leave it nothing to show.

Silent damage is what these are about: results over the input, over the results of another file, of rows that are no
longer there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import KEYWORDS, keyword_examples, run_cells
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from sungen_lib import __main__ as command_line
from sungen_lib.lab import notebooks, your_data
from sungen_lib.lab.experiment import Experiment
from sungen_lib.lab.parameters import ParameterError
from sungen_lib.texts.examples import DataError, DataMissing

NOTEBOOK = notebooks.NOTEBOOKS / "your_data.ipynb"
pytestmark = pytest.mark.usefixtures("place")


def write(path: Path, rows: int = 20, *, seed: int = 0, **columns: Any) -> str:
    """``keyword_examples`` with their labels by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = keyword_examples(rows, seed=seed)
    frame = pd.DataFrame({"text": found.texts, "label": [KEYWORDS[label] for label in found.labels]} | columns)
    frame.to_csv(path, index=False)
    return str(path)


def experiment(place: Path, data: str, **parameters: Any) -> Experiment:
    """The notebook's second cell."""
    fixed = {
        "text": "text",
        "label": "label",
        "seed": 1,
        "profile": "tiny",
        "tam": "lstm",
        "centred": False,
        "iterations": 1,
    }
    given = dict.fromkeys(your_data.PARAMETERS) | fixed | {"out": str(place / "out"), "data": data} | parameters
    return Experiment.from_parameters("your_data", given, tasks=["imdb"], **your_data.PARAMETERS)


def learn(one: Experiment) -> Path:
    """The weights of its file, and where they would be saved."""
    source, _ = your_data.locate(one)
    your_data.learn(one, your_data.read(one, source))
    return your_data.folder(one)


def run(place: Path, *, before_saving: Any = None, **parameters: Any) -> dict[str, Any]:
    """All the notebook's cells in this process; its names."""

    def before(source: str) -> None:
        if before_saving and "bernoulli_subset" in source:
            before_saving()

    given = {"profile": "tiny", "tam": "lstm", "out": str(place / "out"), "iterations": 1} | parameters
    return run_cells(NOTEBOOK, given, before=before)


# --- results never over the input, nor among the data -----------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["dots", "link to out", "link to the file's folder"])
def test_the_input_s_folder_is_recognised_however_it_is_spelled(spelling: str, place: Path) -> None:
    mine, out = write(place / "runs" / "subset" / "subset.csv"), place / "runs"
    if spelling == "dots":
        (place / "nb").mkdir()
        out = place / "nb" / ".." / "runs"
    elif spelling == "link to out":
        (place / "link").symlink_to(place / "runs")
        out = place / "link"
    else:
        (place / "link").symlink_to(place / "runs" / "subset")
        mine = str(place / "link" / "subset.csv")
    for given in ({"data": mine}, {"data": write(place / "other" / "subset.csv"), "test": mine}):
        with pytest.raises(ParameterError, match=r"^out: results would go among the data, to .*/runs/subset; name ano"):
            your_data.locate(experiment(place, **given, out=str(out)))
    assert [path.name for path in (place / "runs" / "subset").iterdir()] == ["subset.csv"]


@pytest.mark.parametrize("out", ["", "reviews", "reviews/deep/er"])
def test_nothing_goes_into_a_data_folder(out: str, place: Path) -> None:
    write(place / "reviews" / "train.csv")
    write(place / "reviews" / "test.csv", seed=1)
    for given in ({"data": str(place / "reviews")}, {"data": str(place / "reviews") + "/"}):
        with pytest.raises(ParameterError, match=r"^out: results would go among the data, to .*reviews; name another"):
            your_data.locate(experiment(place, **given, out=str(place / out)))
    with pytest.raises(ParameterError, match=r"^out: results would go among the data"):
        other = write(place / "other" / "reviews.csv")
        your_data.locate(experiment(place, other, test=str(place / "reviews"), out=str(place / out)))
    assert sorted(os.listdir(place / "reviews")) == ["test.csv", "train.csv"]


def test_tables_never_go_into_the_data_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = place / "data"
    (data / "imdb").mkdir(parents=True)
    (place / "link").symlink_to(data)
    for out in (data, data / "tables", place / "link"):
        command = ["run", "--profile", "small", "--data", str(data), "--out", str(out), "--only", "table10"]
        assert command_line.main(command) in (1, 2)
        assert "results would go among the data, to" in capsys.readouterr().err
    names = {"profile": "small", "data_dir": str(data), "out": str(place / "link" / "x"), "tasks": None}
    with pytest.raises(ParameterError, match=r"^out: tables would go among the data"):
        Experiment.from_parameters("table01", names, tasks=["imdb"])
    assert list(data.iterdir()) == [data / "imdb"] and not list((data / "imdb").iterdir())


# --- results of one file never over those of another ------------------------------------------------------------------


def test_two_files_of_one_name_have_two_folders(place: Path) -> None:
    one = experiment(place, write(place / "a" / "train.csv"))
    other = experiment(place, write(place / "b" / "train.csv", seed=1))
    columns = experiment(place, write(place / "a" / "train.csv", also=["x y", "z"] * 10), text="also")
    assert your_data.folder(one) == your_data.folder(other) == place / "out" / "train"  # none is there yet
    found = [learn(one), learn(other), learn(columns)]
    assert found[0] == place / "out" / "train" and len(set(found)) == 3
    assert all(path.parent == place / "out" and path.name.startswith("train") for path in found)
    assert [your_data.folder(each) for each in (one, other, columns)] == found  # and it stays so
    for path in found:
        assert len(list(path.glob("checkpoint-*"))) == 1 and (path / "source.json").is_file()


def test_a_file_that_moved_keeps_its_folder(place: Path) -> None:
    mine = write(place / "a" / "train.csv")
    before = learn(experiment(place, mine))
    (place / "b").mkdir()
    shutil.move(mine, place / "b" / "train.csv")
    assert your_data.folder(experiment(place, str(place / "b" / "train.csv"))) == before


def test_a_folder_of_something_else_is_left_alone(place: Path) -> None:
    """The user's, or the store's own: by default results go to where ``hub/`` and ``locks/`` are."""
    (place / "out" / "hub").mkdir(parents=True)
    (place / "out" / "hub" / "kept").write_text("x")
    found = learn(experiment(place, write(place / "hub.csv")))
    assert found.name.startswith("hub-") and os.listdir(place / "out" / "hub") == ["kept"]
    (place / "out" / "mine").write_text("a file")
    assert learn(experiment(place, write(place / "mine.csv"))).name.startswith("mine-")
    assert (place / "out" / "mine").read_text() == "a file"
    sample = learn(experiment(place, write(place / "your_data.csv")))  # called like the sample's own folder
    assert sample.name.startswith("your_data-") and sample.name != "your_data-tiny"


@pytest.mark.parametrize(("name", "expected"), [("MINE.CSV", "MINE"), ("a.b.Csv", "a.b"), (".csv", "data")])
def test_the_folder_is_called_after_the_file(name: str, expected: str, place: Path) -> None:
    mine = write(place / name)
    found = learn(experiment(place, mine, out=str(place)))
    assert found == place / expected and Path(mine).is_file()


# --- data that changes ------------------------------------------------------------------------------------------------


def test_a_data_folder_that_changed_is_read_again(place: Path) -> None:
    write(place / "reviews" / "train.csv", 20)
    one = experiment(place, str(place / "reviews"))
    assert len(your_data.read(one, your_data.locate(one)[0])) == 20
    write(place / "reviews" / "train.csv", 30)
    assert len(your_data.read(one, your_data.locate(one)[0])) == 30
    assert sorted(os.listdir(place / "reviews")) == ["train.csv"]


def test_a_file_that_changes_while_weights_are_learned_is_noticed(place: Path) -> None:
    mine = write(place / "mine.csv", 40)

    def sort() -> None:
        pd.read_csv(mine).sort_values("text").to_csv(mine, index=False)

    with pytest.raises(DataError, match=r"mine\.csv has changed since it was read; start again$"):
        run(place, data=mine, before_saving=sort)
    left = {path.name for path in (place / "out" / "mine").iterdir() if not path.name.startswith("checkpoint-")}
    assert left == {"source.json"}


# --- cells after the results are saved --------------------------------------------------------------------------------


def test_texts_without_a_word_end_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place / "emoji.csv", text=["😀 👍", "😡 !!"] * 10)
    run(place, data=str(place / "emoji.csv"), test=str(place / "emoji.csv"))
    assert "scikit-learn cannot learn from these texts: empty vocabulary" in capsys.readouterr().out
    assert {"weights.parquet", "subset.csv"} <= {path.name for path in (place / "out" / "emoji").iterdir()}


def test_a_subset_without_rows_ends_well(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sungen_lib.subset.bernoulli_subset", lambda weights, *_, **__: weights[:0].nonzero()[0])
    mine = write(place / "mine.csv")
    names = run(place, data=mine, test=mine, budget=1)
    assert "0 of 20 rows in the subset" in capsys.readouterr().out and len(names["kept"]) == 0
    assert "the subset, equal weights" not in names["found"]


# --- what a cell shows of an error ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ParameterError, DataError, DataMissing])
def test_an_error_is_shown_as_one_sentence(kind: type[Exception]) -> None:
    shell = InteractiveShell()
    shell.push({"kind": kind})
    with capture_output() as captured:
        shell.run_cell("raise kind('mine.csv: no rows')")
    assert captured.stdout.strip() == f"{kind.__name__}: mine.csv: no rows"


def test_lists_and_numbers_as_papermill_types_them(place: Path) -> None:
    more: dict[str, Any] = {"0": ["awful", "superb"] * 10, "1": ["a b", "c d"] * 10}
    mine = write(place / "mine.csv", **more)
    given: dict[str, Any] = {"labels": '["superb", "awful"]', "text": 1, "label": 0}
    found = run(place, data=mine, **given)["texts"]
    assert found.label_names == ("superb", "awful") and found.texts[0] == "a b"
    for value in ('["superb"', '"superb"', "superb, awful", '{"a": 1}'):
        with pytest.raises(ParameterError, match=r"^labels must be a list of different names such as \["):
            experiment(place, mine, labels=value)
