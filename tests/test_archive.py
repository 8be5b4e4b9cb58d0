"""Records packed beside their tables and put back: the same tables without a run."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_runs import experiment, lines

from sungen_lib import __main__ as command_line
from sungen_lib import storage
from sungen_lib.lab import archive, execution, notebooks, plan, sources, stages, store
from sungen_lib.lab.specs import Spec, identify
from sungen_lib.paper.numbers import size_row


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The store of one finished run, and the records that its table names."""
    place = tmp_path_factory.mktemp("finished") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUNGEN_STORE", str(place))
        records = execution.execute([experiment().methods.sungen("imdb", "lstm", 1)], progress=None)
    return place, [record.id for record in records.values()]


@pytest.fixture
def tables(finished: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one table of a finished run, in a store of its own."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    sources.load.cache_clear()
    place, records = finished
    shutil.copytree(place, tmp_path / "store")
    folder = tmp_path / "tables" / "tiny"
    folder.mkdir(parents=True)
    (folder / "table01.json").write_text(json.dumps({"records": records}))
    (folder / "figure02.json").write_text("{}")
    return folder


def test_unpacked_records_are_found_and_nothing_is_computed(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = experiment()
    run, weights = one.methods.sungen("imdb", "lstm", 1), one.methods.weights("imdb", "lstm", 1)
    wanted: list[Spec] = [run, weights]
    before = lines({spec: execution.compute(spec) for spec in wanted})
    assert command_line.main(["pack", str(tables)]) == 0
    assert not list(tables.glob(".*"))
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "other"))
    assert store.find(run) is None
    assert command_line.main(["unpack", str(tables)]) == 0
    monkeypatch.setattr(stages, "STAGES", {})  # computing anything now is a KeyError
    execution.execute([run], progress=None)
    found = {spec: record for spec in wanted if (record := store.find(spec)) is not None}
    assert lines(found) == before
    assert found[run].correct().shape == (64,) and len(stages.learned(weights).weights) == 96
    assert archive.unpack(tables) == 0  # all there already
    assert "unpacked 3 records" in capsys.readouterr().out


def test_a_damaged_record_is_unpacked_again(tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive.pack(tables)
    run = experiment().methods.sungen("imdb", "lstm", 1)
    path = store.folder(identify(run)) / "record.json"
    path.write_text(path.read_text().replace("accuracy", "accuracies"))
    assert archive.unpack(tables) == 1
    assert store.find(run) is not None and "set aside" in capsys.readouterr().out


def test_packing_twice_gives_the_same_bytes(tables: Path) -> None:
    assert archive.pack(tables) == 3
    first = (tables / archive.NAME).read_bytes()
    archive.pack(tables)
    assert (tables / archive.NAME).read_bytes() == first


def test_a_damaged_record_is_not_packed(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = storage.store_root().rglob("correct.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert command_line.main(["pack", str(tables)]) == 1
    assert "run its notebook again" in capsys.readouterr().err and not (tables / archive.NAME).exists()


def test_a_folder_without_tables_is_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["pack", str(tmp_path / "nowhere")]) == 1
    assert "holds no tables that name records" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_damaged_archive_is_one_sentence(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive.pack(tables)
    path = tables / archive.NAME
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert command_line.main(["unpack", str(tables)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_record_that_is_not_there_is_named(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tables / "table02.json").write_text('{"records": ["00000000000000000000"]}')
    assert command_line.main(["pack", str(tables)]) == 1
    assert "names record 00000000000000000000, which" in capsys.readouterr().err
    assert not (tables / archive.NAME).exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/absolute.json", "aa/short/record.json", "aa/x.py"])
def test_an_archive_cannot_write_elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    with tarfile.open(tmp_path / archive.NAME, "w:xz") as file:
        member = tarfile.TarInfo(name)
        member.size = 2
        file.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(ValueError, match="not part of a record"):
        archive.unpack(tmp_path)
    assert not (tmp_path / "store").exists()


def test_junk_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / archive.NAME).write_bytes(b"junk")
    assert command_line.main(["unpack", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("sungen unpack: ") and "cannot be read" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["laptop", "small", "medium", "embedded"])
def test_the_committed_archive_holds_what_the_tables_beside_it_were_made_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record that a table names is there, undamaged, and none besides."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    folder = notebooks.TABLES / name
    named = {id for path in folder.glob("*.json") for id in json.loads(path.read_text()).get("records", [])}
    assert archive.unpack(folder) == len(named) > 0
    assert None not in [store.record_of(id) for id in named]
    if name == "small":
        table_4_follows_from_its_records(folder)


def table_4_follows_from_its_records(folder: Path) -> None:
    of_table = json.loads((folder / "table04.json").read_text())["records"]
    accuracy: dict[str, list[float]] = {}
    names, suffixes = {"zerogen": "ZeroGen", "sungen": "SunGen"}, {"lstm": "", "frozen": ", MiniLM-L6 (frozen)"}
    for record in map(store.record_of, of_table):
        assert record is not None
        if record.stage == "run":
            row = size_row(names[record.spec["method"]], record.spec["budget"] or 10_000, 10_000)
            row += suffixes[record.spec["tam"]["kind"]]
            accuracy.setdefault(row, []).append(100 * record.correct().mean())
    table = pd.read_csv(folder / "table04.csv").query("column == 'imdb'").set_index("row").ours
    for row, values in accuracy.items():
        assert table[row] == pytest.approx(np.mean(values), abs=5e-5)
        assert len(values) == 10
    assert len(accuracy) == 28


def test_the_committed_demonstration_has_every_run_of_the_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run_all.sh --test`` checks the notebooks with these records: a run that is not among them was not committed."""
    with tarfile.open(notebooks.TABLES / "embedded" / archive.NAME) as file:
        packed = {member.name.split("/")[1] for member in file}
    monkeypatch.chdir(notebooks.NOTEBOOKS)
    cpu = {"device": "cpu"}
    every = [plan.planned(notebook, cpu, anywhere=False) for notebook in notebooks.select(notebooks.NOTEBOOKS)]
    assert {identify(spec) for specs in every for spec in specs} == packed
