"""``weigh_file`` and ``python -m sungen_lib weights``: three formats in, three files out, never over the input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import keyword_examples
from hypothesis import given
from hypothesis import strategies as st

from sungen_lib import __main__ as command_line
from sungen_lib import choice, weigh
from sungen_lib.learn import learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.subset import bernoulli_subset
from sungen_lib.texts import files
from sungen_lib.texts.examples import DataError, DataMissing, Examples
from sungen_lib.texts.noise import uniform_noise, with_noise
from sungen_lib.train import Diverged
from sungen_lib.weigh import weigh_file

TAM = TamConfig(embedding=8, hidden=8, lr=0.02, batch_size=16, inner_epochs=4)
SETTINGS: dict[str, Any] = {"iterations": 6, "balanced": True}
FORMATS = (".jsonl", ".csv", ".csv.gz", ".parquet", ".jsonl.gz", ".jsonl.xz")
OUTPUTS = ["suspects.csv", "weights.parquet"]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small TAM instead of the default, an empty store."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(choice, "fitting", lambda texts: (TAM, SETTINGS))
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # the command line sets it
    yield


def noisy(n: int = 80, *, pairs: bool = False) -> tuple[Examples, np.ndarray]:
    """Texts with a fifth of their labels flipped, and which are right."""
    clean = keyword_examples(n, pairs=pairs, filler=3)
    flipped = with_noise(clean, uniform_noise(0.2, 2), seed=1)
    return flipped, flipped.labels == clean.labels


def frame(texts: Examples, **columns: Any) -> pd.DataFrame:
    names = [texts.label_names[label] for label in texts.labels]
    both = {"text": texts.texts} if texts.pairs is None else {"text1": texts.texts, "text2": texts.pairs}
    return pd.DataFrame({**both, "label": names, **columns})


def write(path: Path, table: pd.DataFrame) -> Path:
    if ".csv" in path.suffixes:
        table.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


def read(path: Path) -> pd.DataFrame:
    if ".csv" in path.suffixes:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True)


def suspects_of(out: Path) -> list[dict[str, str]]:
    """As Python's own reader has them, every character of a cell."""
    with (out / "suspects.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- in and out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_comes_back(ending: str, tmp_path: Path) -> None:
    texts, right = noisy()
    table = frame(texts, stars=np.arange(80), idx=np.arange(80) * 3 + 5)
    source, out = write(tmp_path / f"mine{ending}", table), tmp_path / "out"
    before = source.read_bytes()
    learned = weigh_file(source, out, seed=2)
    assert source.read_bytes() == before
    assert written(out) == sorted([f"clean{ending}", *OUTPUTS])

    weights = pd.read_parquet(out / "weights.parquet")
    assert weights.idx.tolist() == table.idx.tolist()
    assert np.array_equal(weights.weight.to_numpy(), learned.weights)
    expected = learn_weights(files.read(source), tam=TAM, seed=2, **SETTINGS)
    assert np.array_equal(learned.weights, expected.weights)

    kept = bernoulli_subset(learned.weights, 40, seed=2)
    clean = read(out / f"clean{ending}")
    assert clean.astype(str).values.tolist() == table.iloc[kept].astype(str)[clean.columns].values.tolist()
    assert set(clean.columns) == set(table.columns)  # with the columns that are nobody's business

    suspects = suspects_of(out)
    assert list(suspects[0]) == ["idx", "weight", "label", "preferred", "text"]
    order = np.argsort(learned.weights, kind="stable")
    assert [int(row["idx"]) for row in suspects] == table.idx.iloc[order].tolist()
    assert [row["text"] for row in suspects] == [texts.texts[i] for i in order]
    assert [row["label"] for row in suspects] == [texts.label_names[texts.labels[i]] for i in order]
    np.testing.assert_allclose([float(row["weight"]) for row in suspects], learned.weights[order], atol=5.01e-5)
    assert all(len(row["weight"]) <= 6 for row in suspects)
    wrong = ~right
    assert wrong[order[: wrong.sum()]].mean() > 0.8  # the first suspects are the flipped ones, and
    agree = [
        texts.label_names[label] == row["preferred"] for label, row in zip(texts.labels[order], suspects, strict=True)
    ]
    assert np.mean(agree[: wrong.sum()]) < 0.3 and np.mean(agree[wrong.sum() :]) > 0.9  # the model prefers another


def test_columns_of_other_names_and_a_budget(tmp_path: Path) -> None:
    table = frame(noisy()[0]).rename(columns={"text": "review", "label": "mood"})
    source, out = write(tmp_path / "mine.csv", table), tmp_path / "deep" / "out"
    learned = weigh_file(source, out, text="review", label="mood", budget=10, seed=3)
    assert read(out / "clean.csv").columns.tolist() == ["review", "mood"]
    assert len(read(out / "clean.csv")) == len(bernoulli_subset(learned.weights, 10, seed=3)) < 25


def test_numbers_with_names(tmp_path: Path) -> None:
    texts, _ = noisy()
    source = write(tmp_path / "mine.jsonl", pd.DataFrame({"text": texts.texts, "label": texts.labels}))
    weigh_file(source, tmp_path / "out", labels=["bad", "good"])
    assert {row["label"] for row in suspects_of(tmp_path / "out")} == {"bad", "good"}
    assert set(read(tmp_path / "out" / "clean.jsonl").label) == {0, 1}  # as they stand in the file


def test_pairs(tmp_path: Path) -> None:
    texts, _ = noisy(pairs=True)
    weigh_file(write(tmp_path / "mine.csv", frame(texts)), tmp_path / "out")
    row = suspects_of(tmp_path / "out")[0]
    assert list(row) == ["idx", "weight", "label", "preferred", "text1", "text2"]
    assert texts.pairs is not None and (row["text1"], row["text2"]) == (
        texts.texts[int(row["idx"])],
        texts.pairs[int(row["idx"])],
    )


def test_jsonl_under_another_name(tmp_path: Path) -> None:
    source = write(tmp_path / "mine.jsonl", frame(noisy()[0])).rename(tmp_path / "mine.txt")
    weigh_file(source, tmp_path / "out")
    assert written(tmp_path / "out") == sorted(["clean.jsonl", *OUTPUTS])
    assert set(read(tmp_path / "out" / "clean.jsonl").columns) == {"text", "label"}


def test_the_same_again_and_another_seed(tmp_path: Path) -> None:
    source = write(tmp_path / "mine.csv", frame(noisy()[0]))
    found = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        weigh_file(source, tmp_path / place, seed=seed)
        found.append({name: (tmp_path / place / name).read_bytes() for name in written(tmp_path / place)})
    assert found[0] == found[1] and found[0]["weights.parquet"] != found[2]["weights.parquet"]


@pytest.mark.parametrize("name", ["clean.csv", *OUTPUTS])
def test_nothing_that_is_there_is_written_over(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a user's own file, or suspects that somebody has worked through."""
    source, out = write(tmp_path / "mine.csv", frame(noisy()[0])), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("precious")
    monkeypatch.setattr(weigh, "learn_weights", never)
    with pytest.raises(FileExistsError, match=f"{name} is there already; move it, or name another folder"):
        weigh_file(source, out)
    assert (out / name).read_text() == "precious" and written(out) == [name]


# --- texts that files do not like -------------------------------------------------------------------------------------

AWKWARD = [
    "a, comma",
    'a "quoted" word',
    '"',
    "two\nlines",
    "a carriage\rreturn",
    "both\r\n",
    "  spaces  ",
    "é 漢字 😀 \u200b",
    "tab\there",
    "\\N",
    "NULL",
    "1e5",
    "'quoted'",
]
FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("x","y")',
    "＝1+1",
]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_awkward_texts(ending: str, tmp_path: Path) -> None:
    plain = keyword_examples(40)
    each = [*AWKWARD, *FORMULAS, *plain.texts]
    table = pd.DataFrame({"text": each, "label": [plain.label_names[i % 2] for i in range(len(each))]})
    out = tmp_path / "out"
    weigh_file(write(tmp_path / f"mine{ending}", table), out, budget=len(each))
    by_idx = {int(row["idx"]): row["text"] for row in suspects_of(out)}
    for i, text in enumerate(each):
        # A spreadsheet shows what follows the apostrophe, and runs nothing.
        assert by_idx[i] == (f"'{text}" if text in FORMULAS else text)
    clean = files.read(out / f"clean{ending}")  # data, for programs: to the letter
    assert clean.texts == tuple(each)


def test_names_of_labels_are_cells_too(tmp_path: Path) -> None:
    plain = keyword_examples(40)
    names = np.array(["=good", "-bad"])[plain.labels]
    source = write(tmp_path / "mine.csv", pd.DataFrame({"text": plain.texts, "label": names}))
    weigh_file(source, tmp_path / "out")
    rows = suspects_of(tmp_path / "out")
    assert {row["label"] for row in rows} | {row["preferred"] for row in rows} == {"'=good", "'-bad"}


@given(st.text(st.characters(codec="utf-8")))
def test_no_cell_begins_like_a_formula(cell: str) -> None:
    safe = weigh.harmless(cell)
    assert not safe.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert safe in (cell, f"'{cell}") and (safe == cell or not cell[0].isalnum())


def test_a_spreadsheet_s_reader_gets_the_same(tmp_path: Path) -> None:
    texts = Examples.of([*AWKWARD, "x"], [0] * len(AWKWARD) + [1], ["a", "b"])
    weights = np.linspace(0, 1, len(texts)).astype(np.float32)
    weigh.suspects(texts, weights, texts.labels, tmp_path / "suspects.csv")
    table = pd.read_csv(tmp_path / "suspects.csv", keep_default_na=False, lineterminator="\n")
    assert table.text.tolist() == list(texts.texts)
    assert table.weight.dtype == float and table.idx.dtype == int and not table.weight.is_monotonic_decreasing


# --- what is refused, and when ----------------------------------------------------------------------------------------


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("learned")


@pytest.mark.parametrize("name", ["clean.csv", "suspects.csv", "weights.parquet"])
@pytest.mark.parametrize("way", ["itself", "a link to it", "a link to the folder", "a hard link"])
def test_never_over_the_input(name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    source, out = write(tmp_path / "data" / name, frame(noisy()[0])), tmp_path / "out"
    before = source.read_bytes()
    if way == "itself":
        out = tmp_path / "data" / ".." / "data"
    elif way == "a link to the folder":
        out.symlink_to(tmp_path / "data")
    else:
        out.mkdir()
        (os.link if way == "a hard link" else os.symlink)(source, out / name)
    monkeypatch.setattr(weigh, "learn_weights", never)
    with pytest.raises(DataError, match="would be written over it; name another folder"):
        weigh_file(source, out)
    assert source.read_bytes() == before and written(tmp_path / "data") == [name]


@pytest.mark.parametrize("budget", [0, -1, 81])
def test_a_budget_beyond_the_rows(budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "mine.csv", frame(noisy()[0]))
    monkeypatch.setattr(weigh, "learn_weights", never)
    with pytest.raises(DataError, match=rf"^budget must .*80.* got {budget}$"):
        weigh_file(source, tmp_path / "out", budget=budget)
    assert not (tmp_path / "out").exists()


BAD: dict[str, tuple[str, str]] = {
    "one class": ("text,label\na,x\nb,x\n", "two classes are needed"),
    "numbers": ("text,label\na,1\nb,0\n", "labels are numbers without names"),
    "no column": ("review,label\na,1\nb,0\n", "no column 'text'"),
    "no rows": ("text,label\n", "no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_before_anything_is_learned(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.csv").write_text(BAD[case][0])
    monkeypatch.setattr(weigh, "learn_weights", never)
    with pytest.raises(DataError, match=BAD[case][1]):
        weigh_file(tmp_path / "mine.csv", tmp_path / "out")
    assert written(tmp_path) == ["mine.csv"]


def test_no_file(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.csv", "no such file"), (tmp_path, "is a folder; name a file in it")):
        with pytest.raises(DataMissing, match=why):
            weigh_file(path, tmp_path / "out")


def test_a_place_that_takes_no_files_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "mine.csv", frame(noisy()[0]))
    monkeypatch.setattr(weigh, "learn_weights", never)
    (tmp_path / "file").write_text("")
    (tmp_path / "odd" / "weights.parquet").mkdir(parents=True)
    for out in (tmp_path / "file", tmp_path / "file" / "deeper", tmp_path / "odd"):
        with pytest.raises(OSError, match="cannot be written; name another folder"):
            weigh_file(source, out)
    monkeypatch.setattr(weigh.storage, "writable", lambda folder: False)
    with pytest.raises(OSError, match="cannot be written; name another folder"):
        weigh_file(source, tmp_path / "out")


def test_nothing_is_written_where_there_are_no_sound_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "mine.csv", frame(noisy()[0]))
    with monkeypatch.context() as patch, pytest.raises(Diverged):
        patch.setattr(choice, "fitting", lambda texts: (TAM, SETTINGS | {"inner_lr": 1e38}))
        weigh_file(source, tmp_path / "out")
    for name in ("fit", "predict"):  # also where only the model that prefers labels does
        with monkeypatch.context() as patch, pytest.raises(Diverged, match=r"no good|not finite"):
            patch.setattr(weigh, name, diverged if name == "fit" else nothing)
            weigh_file(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def diverged(*_: Any, **__: Any) -> Any:
    raise Diverged("no good")


def nothing(model: Any, data: Any) -> torch.Tensor:
    return torch.full((len(data), 2), float("nan"))


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "mine.csv", frame(noisy()[0]))

    def changing(*arguments: Any, **options: Any) -> Any:
        learned = learn_weights(*arguments, **options)
        write(source, frame(noisy()[0]).iloc[::-1])
        return learned

    monkeypatch.setattr(weigh, "learn_weights", changing)
    with pytest.raises(DataError, match="changed since it was read"):
        weigh_file(source, tmp_path / "out")
    assert written(tmp_path / "out") == []


def test_what_the_model_prefers() -> None:
    texts = keyword_examples(60)
    flipped = texts.labels.copy()
    flipped[:6] = 1 - flipped[:6]
    weights = np.ones(60, dtype=np.float32)
    weights[:6] = 0
    found = weigh.preferred(texts.with_labels(flipped), weights, replace(TAM, epochs=12))
    assert found.tolist() == texts.labels.tolist()  # samples of weight 0 taught it nothing
    assert found.dtype == np.int64


# --- the command ------------------------------------------------------------------------------------------------------


def sungen(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m sungen_lib``, offline."""
    home = {"HF_HUB_OFFLINE": "1", "SUNGEN_STORE": str(cwd / "store"), "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "sungen_lib", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **home, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_the_command_from_end_to_end(tmp_path: Path) -> None:
    texts, right = noisy(60)
    write(tmp_path / "mine.csv", frame(texts).rename(columns={"text": "review"}))
    done = sungen("weights", "mine.csv", "--text", "review", "--budget", "20", "--seed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "mine-weights"
    assert written(out) == sorted(["clean.csv", *OUTPUTS])
    assert "60 samples" in done.stdout and str(out) in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if "MiniLM" in line]
    assert warning.startswith("sungen weights: ") and "LSTM" in warning
    weights = pd.read_parquet(out / "weights.parquet").weight.to_numpy()
    assert weights[right].mean() > weights[~right].mean()
    assert set(written(tmp_path)) - {"store"} == {"mine-weights", "mine.csv"}


def test_sigterm_ends_the_installed_command_like_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    script = metadata.EntryPoint("sungen", scripts["sungen"], "console_scripts").load()
    write(tmp_path / "mine.csv", frame(noisy()[0]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sungen", "weights", "mine.csv"])
    monkeypatch.setattr(weigh, "learn_weights", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert script() == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err.strip() == "interrupted; run the same command again"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def command(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and lines on stderr, in this process."""
    try:
        status = command_line.main(["weights", *arguments])
    except SystemExit as end:
        status = int(str(end.code))
    return status, capsys.readouterr().err.strip().splitlines()


def test_the_command_s_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = frame(noisy()[0])
    mine = str(write(tmp_path / "mine.csv", table))
    write(tmp_path / "one.csv", table[table.label == "awful"])
    write(tmp_path / "clean.csv", table)
    shutil.copy(mine, tmp_path / "a file")
    expected: list[tuple[int, list[str], str]] = [
        (0, [mine, "--out", "out"], ""),
        (1, ["none.csv"], "no such file: none.csv"),
        (1, ["one.csv"], "two classes are needed"),
        (1, [mine, "--text", "review"], "no column 'review'"),
        (1, [mine, "--budget", "81"], "budget must"),
        (1, [mine, "--budget", "0"], "budget must"),
        (1, ["clean.csv", "--out", "."], "would be written over it"),
        (2, [mine, "--out", "a file"], "not a folder: a file"),
        (2, [mine, "--budget", "many"], "invalid int value: 'many'"),
        (2, [mine, "--seed", "-1"], "argument --seed: not a whole number from 0 on: '-1'"),
        (2, [mine, "--iterations", "0"], "argument --iterations: not a whole number from 1 on: '0'"),
        (1, [mine, "--labels", "bad", "bad"], "labels must be different names"),
        (2, [mine, "--speed", "3"], "unrecognized arguments: --speed 3"),
        (2, [], "required: FILE"),
    ]
    for status, arguments, words in expected:
        found, lines = command(*arguments, capsys=capsys)
        assert found == status, (arguments, lines)
        if status:
            assert len(lines) == 1 and words in lines[0], (arguments, lines)
    assert written(tmp_path / "out") == sorted(["clean.csv", *OUTPUTS])
    assert not list(tmp_path.glob("*-weights"))
    monkeypatch.setattr(weigh, "learn_weights", diverged)
    assert command(mine, capsys=capsys) == (1, ["sungen weights: no good"])
    assert not list(tmp_path.glob("*-weights"))
    monkeypatch.setattr(weigh, "learn_weights", interrupted)
    assert command(mine, capsys=capsys) == (130, ["interrupted; run the same command again"])
    assert not list(tmp_path.glob("*-weights"))


def test_label_names_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    texts, _ = noisy()
    rows = [{"t": text, "y": int(label)} for text, label in zip(texts.texts, texts.labels, strict=True)]
    (tmp_path / "mine.data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["mine.data.jsonl", "--text", "t", "--label", "y", "--labels", "bad", "good"]
    assert command(*arguments, capsys=capsys)[0] == 0
    assert {row["label"] for row in suspects_of(tmp_path / "mine-weights")} == {"bad", "good"}


def test_settings_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    mine, given = str(write(tmp_path / "mine.csv", frame(noisy()[0]))), []
    learn = weigh.learn_weights

    def noted(texts: Any, **settings: Any) -> Any:
        given.append((settings["centred"], settings["iterations"]))
        return learn(texts, **settings)

    monkeypatch.setattr(weigh, "learn_weights", noted)
    assert command(mine, "--out", str(tmp_path / "a"), capsys=capsys)[0] == 0
    arguments = ["--iterations", "2", "--centred", "--out", str(tmp_path / "b")]
    assert command(mine, *arguments, capsys=capsys)[0] == 0
    assert given == [(False, SETTINGS["iterations"]), (True, 2)]


def test_two_files_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "train.csv", frame(noisy()[0]))
    assert command("a/train.csv", capsys=capsys)[0] == 0
    kept = (tmp_path / "train-weights" / "weights.parquet").read_bytes()
    status, lines = command("b/train.csv", capsys=capsys)
    assert status == 1 and len(lines) == 1 and "is there already; move it, or name another folder" in lines[0]
    assert (tmp_path / "train-weights" / "weights.parquet").read_bytes() == kept
    assert command("b/train.csv", "--out", "b/weights", capsys=capsys)[0] == 0
