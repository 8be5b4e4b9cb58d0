"""Tables and figures: the outer join, the files, their bytes."""

from __future__ import annotations

import io
import itertools
import json
import math
import platform
import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sungen_lib.lab import figures, provenance, tables, tidying
from sungen_lib.lab.store import Record
from sungen_lib.paper import verdicts
from sungen_lib.paper.cells import Cell, Scale
from sungen_lib.texts import tasks

NAN = float("nan")


def cell(
    row: str, column: str, values: tuple[float, ...], *, scale: Scale = "demo", diverged: tuple[int, ...] = ()
) -> Cell:
    """A cell without items."""
    return Cell(row, column, scale, tuple(range(len(values))), values, diverged=diverged)


def one(frame: pd.DataFrame, row: str, column: str) -> dict[Any, Any]:
    found = frame[(frame["row"] == row) & (frame["column"] == column)]
    assert len(found) == 1
    return found.to_dict("records")[0]


CELLS = (
    cell("ZeroGen", "imdb", (70.0, 71.0, 72.0)),
    cell("SunGen", "imdb", (80.0, 82.0, 87.0)),
    cell("SunGen", "amazon", (NAN, 81.0, 83.0), diverged=(0,)),
    cell("SunGen", "yelp", (NAN, NAN), diverged=(0, 1)),
    cell("TF-IDF & logistic regression", "imdb", (80.7,)),
)


@pytest.fixture
def frame() -> pd.DataFrame:
    return tidying.tidy("table08", CELLS, {("Label smoothing", tidying.ANY): "too slow"})


@pytest.fixture
def origin() -> dict[str, Any]:
    """Of no record."""
    return provenance.provenance([], profile="embedded", parameters={})


# --- tidy -------------------------------------------------------------------------------------------------------------


def test_tidy_joins_published_and_measured(frame: pd.DataFrame) -> None:
    assert tuple(frame.columns) == tidying.TIDY_COLUMNS
    assert list(dict.fromkeys(frame["row"])) == [
        "ZeroGen",
        "Label smoothing",
        "Temporal ensembling",
        "SunGen",
        "TF-IDF & logistic regression",
    ]
    assert len(frame) == 13
    ran = one(frame, "SunGen", "imdb")
    assert (ran["paper"], ran["ours"], ran["sd"]) == (84.10, pytest.approx(83.0), pytest.approx(math.sqrt(13.0)))
    assert (ran["n_seeds"], ran["diverged"], ran["scale"], ran["verdict"], ran["ours_only"]) == (
        3,
        0,
        "demo",
        "",
        False,
    )


def test_what_was_not_run_says_why(frame: pd.DataFrame) -> None:
    assert one(frame, "Label smoothing", "yelp")["verdict"] == "not run: too slow"
    left = one(frame, "Temporal ensembling", "imdb")
    assert left["verdict"] == "not run: not asked for"
    assert math.isnan(left["ours"]) and left["paper"] == 74.10 and left["n_seeds"] == 0 and left["scale"] == ""


def test_the_most_specific_reason_wins() -> None:
    reasons = {
        (tidying.ANY, tidying.ANY): "d",
        (tidying.ANY, "imdb"): "c",
        ("SunGen", tidying.ANY): "b",
        ("SunGen", "imdb"): "not run: a",
        ("TF-IDF", "imdb"): "e",
    }
    frame = tidying.tidy("table08", [], reasons)
    assert one(frame, "SunGen", "imdb")["verdict"] == "not run: a"
    assert one(frame, "SunGen", "yelp")["verdict"] == "not run: b"
    assert one(frame, "ZeroGen", "imdb")["verdict"] == "not run: c"
    assert one(frame, "ZeroGen", "yelp")["verdict"] == "not run: d"
    assert one(frame, "TF-IDF", "imdb")["ours_only"] is True  # a reason alone makes a row of ours


def test_ours_only_rows_come_last_and_have_no_verdict(frame: pd.DataFrame) -> None:
    ours = one(frame, "TF-IDF & logistic regression", "imdb")
    assert ours["ours_only"] is True and math.isnan(ours["paper"]) and math.isnan(ours["sd"])
    extra = tidying.tidy("table08", [cell("SunGen", "sst2", (80.0,))])  # a task of ours in a row of the paper's
    assert one(extra, "SunGen", "sst2")["ours_only"] is True and one(extra, "SunGen", "imdb")["ours_only"] is False
    full = cell("TF-IDF", "imdb", (80.7, 80.7, 80.7), scale="paper")
    assert one(tidying.tidy("table08", [full]), "TF-IDF", "imdb")["verdict"] == ""


def test_divergence_is_an_outcome(frame: pd.DataFrame) -> None:
    some, every = one(frame, "SunGen", "amazon"), one(frame, "SunGen", "yelp")
    assert (some["ours"], some["n_seeds"], some["diverged"], some["verdict"]) == (82.0, 2, 1, "")
    assert math.isnan(every["ours"]) and (every["n_seeds"], every["diverged"], every["verdict"]) == (0, 2, "diverged")


def test_paper_scale_numbers_get_their_verdict() -> None:
    frame = tidying.tidy("table08", [cell("SunGen", "imdb", (84.0, 84.1, 84.2), scale="paper")])
    assert one(frame, "SunGen", "imdb")["verdict"] == "reproduced"


def test_average_needs_every_task() -> None:
    cells = [cell("SunGen LSTM", task, (80.0 + n, 82.0 + n)) for n, task in enumerate(tasks.CLASSIFICATION)]
    average = one(tidying.tidy("table01", cells), "SunGen LSTM", "average")
    assert (average["ours"], average["paper"], average["n_seeds"]) == (pytest.approx(84.5), 81.61, 2)
    assert average["sd"] == pytest.approx(math.sqrt(2.0))  # of the two averages, 83.5 and 85.5
    average = one(tidying.tidy("table01", cells[:-1]), "SunGen LSTM", "average")
    assert math.isnan(average["ours"]) and average["verdict"] == "not run: average needs dbpedia"
    absent = one(tidying.tidy("table01", [], {("Prompting", tidying.ANY): "no PLM"}), "Prompting", "average")
    assert absent["verdict"] == "not run: no PLM"


def test_average_is_over_seeds_that_finished_everywhere() -> None:
    cells = [cell("Ours", task, (80.0, 82.0)) for task in tasks.CLASSIFICATION[:-1]]
    part = [*cells, cell("Ours", "dbpedia", (NAN, 90.0), diverged=(0,))]
    average = one(tidying.tidy("table01", part), "Ours", "average")
    assert (average["ours"], average["n_seeds"], average["diverged"]) == (pytest.approx(83.0), 1, 1)
    assert average["ours_only"] is True
    none = [*cells, cell("Ours", "dbpedia", (NAN, NAN), diverged=(0, 1))]
    average = one(tidying.tidy("table01", none), "Ours", "average")
    assert math.isnan(average["ours"]) and average["verdict"] == "diverged"


def test_tidy_refuses_two_cells_in_one_place() -> None:
    with pytest.raises(ValueError, match="same row and column"):
        tidying.tidy("table08", [CELLS[0], CELLS[0]])


def test_a_table_that_is_not_the_papers_has_our_cells_and_no_claims(tmp_path: Path, origin: dict[str, Any]) -> None:
    table, claims = tidying.tidy("mine", CELLS), verdicts.check("mine", CELLS)
    assert len(table) == len(CELLS) and table["ours_only"].all() and table["paper"].isna().all()
    tables.write("mine", table, claims=claims, profile="tiny", out=tmp_path, provenance=origin, title="Mine")
    assert "Claim" not in (tmp_path / "tiny" / "mine.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "tiny" / "mine.json").read_text(encoding="utf-8"))["claims"] == []


# --- text -------------------------------------------------------------------------------------------------------------


def table_lines(text: str) -> list[list[str]]:
    """The cells of a Markdown table, split at unescaped pipes as a renderer does."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]


def test_markdown_shows_ours_beside_the_paper(frame: pd.DataFrame) -> None:
    text = tables.markdown(frame, title="Table 8", profile="small")
    rows = table_lines(text)
    assert [len(row) for row in rows] == [4] * 7
    assert [name.strip() for name in rows[0]] == ["", "IMDb", "Amazon", "Yelp"]
    assert [name.strip() for name in rows[1]] == ["---", "---:", "---:", "---:"]
    assert [c.strip() for c in rows[2]] == ["ZeroGen", "71.00 ± 1.00 (71.52)", "not run (80.48)", "not run (84.95)"]
    assert [c.strip() for c in rows[5]] == [
        "SunGen",
        "83.00 ± 3.61 (84.10)",
        "82.00 ± 1.41 [1 of 3 seeds diverged] (84.22)",
        "diverged (89.06)",
    ]
    assert [c.strip() for c in rows[6]] == ["TF-IDF & logistic regression (ours)", "80.70", "not run", "not run"]
    assert all(c.strip() for row in rows[2:] for c in row)
    assert "- not run: too slow (3 cells)" in text


def test_markdown_escapes_what_would_break_a_table() -> None:
    frame = tidying.tidy("table08", [cell("a|b_*c*<i>", "imdb", (1.0,))])
    text = tables.markdown(frame, title="A | B", profile="embedded")
    assert r"a\|b\_\*c\*\<i> (ours)" in text and r"**A \| B**" in text
    assert {len(row) for row in table_lines(text)} == {4}


@pytest.mark.parametrize("profile", ["embedded", "tiny"])
def test_a_demonstration_stands_without_the_papers_numbers(
    profile: str, tmp_path: Path, frame: pd.DataFrame, origin: dict[str, Any]
) -> None:
    claims = verdicts.check("table08", CELLS)
    csv, md, tex, _ = tables.write(
        "table08", frame, claims=claims, profile=profile, out=tmp_path, provenance=origin, title="T"
    )
    assert "71.52" in tables.markdown(frame, title="T", profile="small") + frame.to_csv()
    for path in (csv, md, tex):
        assert not re.search(r"71\.52|84\.10|Paper|paper's number|\+12\.58", path.read_text(encoding="utf-8"))
    assert "ZeroGen | 71.00 ± 1.00 | not run |" in md.read_text(encoding="utf-8")


def size_cells() -> pd.DataFrame:
    """Two sizes from a pool of 10,000, one of which is also a size of the paper's."""
    return tidying.tidy(
        "table04",
        [
            cell("ZeroGen 5k", "imdb", (60.0, 62.0)),
            cell("SunGen 5k of 10k", "imdb", (70.0, 72.0)),
            cell("ZeroGen 10k", "imdb", (61.0, 63.0)),
            cell("SunGen 10k of 10k", "imdb", (71.0, 73.0)),
            cell("ZeroGen 2,500, MiniLM-L6 (frozen)", "yelp", (80.0, 82.0)),
            cell("SunGen 2,500 of 10k, MiniLM-L6 (frozen)", "yelp", (90.0, 92.0)),
        ],
    )


def test_table_4_has_one_row_for_each_size_and_tam() -> None:
    rows = [[c.strip() for c in row] for row in table_lines(tables.markdown(size_cells(), title="T", profile="small"))]
    assert rows[0][:5] == ["", "IMDb, ZeroGen", "IMDb, SunGen", "Amazon, ZeroGen", "Amazon, SunGen"]
    named = {row[0]: row[1:3] for row in rows[2:]}
    assert named["10k of 1,000k"] == ["62.00 ± 1.41 (62.40)", "not run (72.05)"]
    assert named["5k of 10k"] == ["61.00 ± 1.41", "71.00 ± 1.41"]
    assert named["10k of 10k"] == ["62.00 ± 1.41 (62.40)", "72.00 ± 1.41"]
    assert rows[-1][:3] == ["2,500 of 10k, MiniLM-L6 (frozen) (ours)", "not run", "not run"]
    assert rows[-1][5:] == ["81.00 ± 1.41", "91.00 ± 1.41"]
    assert len(named) == len(rows) - 2 == 9
    few = cell("ZeroGen 2,500, MiniLM-L6 (frozen)", "imdb", (80.0,) * 3)
    mixed = pd.concat([size_cells(), tidying.tidy("none", [few])])
    assert 'With 3 seeds: "2,500 of 10k, MiniLM-L6 (frozen)" on IMDb, ZeroGen.' in tables.markdown(
        mixed, title="T", profile="small"
    )
    demo = table_lines(tables.markdown(size_cells(), title="T", profile="embedded"))
    assert [row[0].strip() for row in demo[2:]] == [
        "5k of 10k", "10k of 10k", "2,500 of 10k, MiniLM-L6 (frozen) (ours)"
    ]  # fmt: skip


def test_numbers_do_not_wrap(frame: pd.DataFrame) -> None:
    space = "\N{NO-BREAK SPACE}"
    shown = tables.show(frame, title="T", profile="small").data
    assert f"71.00{space}±{space}1.00 (71.52)" in shown and " ± 1" not in shown
    assert tables.unbroken("+2.53 [-5.20, +10.80] on 3 of 4") == f"+2.53{space}[-5.20,{space}+10.80] on 3 of 4"


@pytest.mark.parametrize("profile", ["embedded", "tiny"])
def test_demo_profiles_are_marked_everywhere(profile: str, frame: pd.DataFrame) -> None:
    claims = verdicts.check("table08", CELLS)
    assert "Demo scale" in tables.markdown(frame, title="T", profile=profile)
    assert "Demo scale" in tables.latex(frame, title="T", profile=profile)
    assert "Demo scale" in tables.claims_markdown(claims, profile=profile)
    real = tidying.tidy("table08", [cell("SunGen", "imdb", (84.0,) * 3, scale="paper")])
    with pytest.raises(ValueError, match="demo scale, but some cells say paper"):
        tables.markdown(real, title="T", profile=profile)


def test_other_profiles_are_not_marked_as_demos() -> None:
    frame = tidying.tidy("table08", [cell("SunGen", "imdb", (84.0,) * 3, scale="other")])
    text = tables.markdown(frame, title="T", profile="small")
    assert "Demo" not in text and "numbers get no verdict" in text
    real = tidying.tidy("table08", [cell("SunGen", "imdb", (84.0,) * 3, scale="paper")])
    text = tables.markdown(real, title="T", profile="paper")
    assert "get no verdict" not in text and "84.00 ± 0.00 (84.10) reproduced" in text


def test_show_is_markdown(frame: pd.DataFrame) -> None:
    shown = tables.show(frame, title="T", profile="embedded")
    assert isinstance(shown, Markdown)
    assert shown.data == tables.unbroken(tables.markdown(frame, title="T", profile="embedded"))


def test_claims_as_markdown() -> None:
    claims = verdicts.check("table08", CELLS)
    claims["scale"] = "other"
    rows = table_lines(tables.claims_markdown(claims, profile="small"))
    assert {len(row) for row in rows} == {7} and len(rows) == 2 + 9
    ours = "+12.00 [{:+.2f}, {:+.2f}]".format(*claims.loc[0, ["low", "high"]])
    assert [c.strip() for c in rows[2]] == [
        "SunGen is more accurate than ZeroGen", "IMDb", "+12.58", ours, "+ + +", "holds", "other"
    ]  # fmt: skip
    assert rows[3][3].strip() == "not run"


def test_claims_about_a_figure_have_no_column_for_the_paper() -> None:
    cells = [Cell(f"{name}, epoch 15", "imdb", "other", (1,), (72.0,)) for name in ("SunGen", "ZeroGen")]
    rows = table_lines(tables.claims_markdown(verdicts.check("figure01", cells), profile="small"))
    heads = ["Claim", "On", "Ours [95 % interval]", "Seeds", "Verdict", "Scale"]
    assert [c.strip() for c in rows[0]] == heads and {len(row) for row in rows} == {6}
    assert [c.strip() for c in rows[-1]][1:] == ["IMDb", "+0.00 [+0.00, +0.00]", "0", "undecided", "other"]


def test_latex_escapes() -> None:
    assert tables.latex_escape(r"50% & $1 #2 a_b {c} ~^\ 1 ± 2 <>") == (
        r"50\% \& \$1 \#2 a\_b \{c\} \textasciitilde{}\textasciicircum{}\textbackslash{} 1 $\pm$ 2 $<$$>$"
    )


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([1], "1 seed."),
        ([3], "3 seeds."),
        ([10, 10, 3], '10 seeds. With 3 seeds: "A" on Yelp.'),
        (
            [10, 10, 10, 3, 3, 1],
            '10 seeds. With 3 seeds: "B, C" on IMDb, "B, C" on Amazon. One run: "B, C" on Yelp.',
        ),
        ([10, 10, 10, 1, 1, 1, 3, 3, 3], '10 seeds. With 3 seeds: "D". One run: "B, C".'),
    ],
)
def test_the_caption_says_how_many_seeds_each_row_has(counts: list[int], said: str) -> None:
    places = itertools.product(("A", "B, C", "D"), ("imdb", "amazon", "yelp"))
    cells = [cell(row, task, (80.0,) * count) for (row, task), count in zip(places, counts, strict=False)]
    text = tables.markdown(tidying.tidy("none", cells), title="T", profile="embedded")
    assert f"standard deviation over {said}\n" in text


def test_the_caption_counts_seeds_that_diverged(frame: pd.DataFrame) -> None:
    some = frame.iloc[:2].assign(n_seeds=[3, 1], diverged=[0, 2])
    assert "standard deviation over 3 seeds.\n" in tables.markdown(some, title="T", profile="embedded")


def test_latex_is_a_booktabs_table(frame: pd.DataFrame) -> None:
    text = tables.latex(frame, title="Table 8: 100% & more", profile="small")
    assert r"\caption{Table 8: 100\% \& more. Profile small." in text
    assert r"\begin{tabular}{lrrr}" in text and text.count(r"\\") == 6
    assert r"TF-IDF \& logistic regression (ours) & 80.70 & not run & not run \\" in text
    assert r"ZeroGen & 71.00 $\pm$ 1.00 (71.52) &" in text
    rules = [line for line in text.splitlines() if line.endswith("rule") or "(ours)" in line]
    ours = r"TF-IDF \& logistic regression (ours) & 80.70 & not run & not run \\"
    assert rules == [r"\toprule", r"\midrule", r"\midrule", ours, r"\bottomrule"]  # ours stand below a rule


def test_latex_without_rows_of_ours_has_one_rule(frame: pd.DataFrame) -> None:
    assert tables.latex(frame[~frame.ours_only], title="T", profile="embedded").count(r"\midrule") == 1


# --- files ------------------------------------------------------------------------------------------------------------


def test_write_gives_four_files(tmp_path: Path, frame: pd.DataFrame, origin: dict[str, Any]) -> None:
    claims = verdicts.check("table08", CELLS)
    paths = tables.write(
        "table08", frame, claims=claims, profile="embedded", out=tmp_path, provenance=origin, title="Table 8"
    )
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        f"embedded/table08.{suffix}" for suffix in ("csv", "md", "tex", "json")
    ]
    assert sorted(p.name for p in (tmp_path / "embedded").iterdir()) == sorted(p.name for p in paths)
    assert "SunGen is more accurate than ZeroGen" in paths[1].read_text(encoding="utf-8")
    content = json.loads(paths[3].read_text(encoding="utf-8"))
    assert content.items() >= origin.items() and len(content["claims"]) == len(claims)
    assert content["claims"][1]["low"] is None  # not run: NaN is not JSON


def test_csv_reads_back(tmp_path: Path, frame: pd.DataFrame) -> None:
    paths = tables.write("t", frame, claims=None, profile="small", out=tmp_path, provenance={}, title="T")
    back = pd.read_csv(paths[0], keep_default_na=False, na_values={c: [""] for c in ("paper", "ours", "sd")})
    pd.testing.assert_frame_equal(back, frame, check_dtype=False, atol=5e-5)
    assert ",83.0000,3.6056,3," in paths[0].read_text(encoding="utf-8")
    assert b"\r" not in paths[0].read_bytes()


def test_identical_runs_give_identical_bytes(tmp_path: Path) -> None:
    written = []
    for run, noise in (("a", 0.0), ("b", 1e-9)):  # rounding hides what differs in the last bits
        frame = tidying.tidy("table08", [cell("SunGen", "imdb", (80.0 + noise, 82.0, 87.0))])
        paths = tables.write(
            "t", frame, claims=None, profile="embedded", out=tmp_path / run, provenance={"seconds": noise}, title="T"
        )
        written.append([path.read_bytes() for path in paths])
    assert written[0][:3] == written[1][:3]
    assert written[0][3] != written[1][3]


def figure() -> Figure:
    with mpl.rc_context():
        mpl.style.use(figures.style())
        fig = Figure()
        FigureCanvasAgg(fig)
        axes = fig.subplots()
        axes.plot([0, 1], [0, 1], label="SunGen")
        axes.set_xlabel("epoch")
        axes.legend()
    return fig


def test_figures_are_byte_stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for run, epoch in (("a", "0"), ("b", "1000000000")):  # another date
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        paths = figures.write_figure(figure(), "f", profile="embedded", out=tmp_path / run, provenance={})
        written.append([path.read_bytes() for path in paths])
    assert [path.suffix for path in paths] == [".png", ".svg", ".json"]
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0][1] and b"Matplotlib v" not in written[0][1]
    width = mpl.image.imread(io.BytesIO(written[0][0])).shape[1]
    assert width == 7 * 150


@pytest.mark.parametrize(("profile", "marks"), [("embedded", 1), ("tiny", 1), ("small", 0), ("paper", 0)])
def test_demo_figures_are_marked_once(tmp_path: Path, profile: str, marks: int) -> None:
    fig = figure()
    for name in ("f", "g"):
        figures.write_figure(fig, name, profile=profile, out=tmp_path, provenance={})
    assert [text.get_text() for text in fig.texts] == ["demo scale"] * marks


def test_the_demo_mark_does_not_cover_the_axes(tmp_path: Path) -> None:
    fig = figure()
    figures.write_figure(fig, "f", profile="embedded", out=tmp_path, provenance={})
    axes, mark = fig.axes[0].get_tightbbox(), fig.texts[0].get_window_extent()
    assert axes is not None and not mark.overlaps(axes)


@pytest.mark.parametrize("table_first", [True, False])
def test_a_figure_leaves_its_tables_json_alone(tmp_path: Path, frame: pd.DataFrame, table_first: bool) -> None:
    options: dict[str, Any] = {"profile": "embedded", "out": tmp_path, "provenance": {"seconds": 1.0}}
    claims = verdicts.check("table08", CELLS)
    if table_first:
        tables.write("a", frame, claims=claims, title="T", **options)
    figures.write_figure(figure(), "a", **options)
    if not table_first:
        tables.write("a", frame, claims=claims, title="T", **options)
    content = json.loads((tmp_path / "embedded" / "a.json").read_text(encoding="utf-8"))
    assert len(content["claims"]) == len(claims) and content["seconds"] == 1.0
    assert {path.suffix for path in (tmp_path / "embedded").iterdir()} == {
        ".csv", ".md", ".tex", ".json", ".png", ".svg"
    }  # fmt: skip


# --- provenance and style ---------------------------------------------------------------------------------------------


def record(name: str, seconds: float, device: str, seed: int | None) -> Record:
    """A run's; without a seed the linear model's, in which nothing is random."""
    spec = {"tam": None if seed is None else {"kind": "lstm"}, "selection": "first", "seed": seed or 0}
    return Record(name, "run", spec, {}, seconds, device, {}, "unknown")


def test_provenance() -> None:
    records = [record("aa", 1.5, "cpu", 1), record("bb", 2.25, "cuda", 0), record("cc", 0.0, "cpu", None)]
    got = provenance.provenance(records, profile="embedded", parameters={"tasks": None})
    assert (got["seconds"], got["device"], got["seeds"]) == (3.75, "cpu, cuda", [0, 1])
    assert got["records"] == ["aa", "bb", "cc"]
    assert got["versions"]["python"] == platform.python_version() and got["versions"]["numpy"] == np.__version__
    assert set(got["versions"]) == {"python", "torch", "transformers", "numpy", "sungen_lib"}
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", got["commit"])
    json.dumps(got, allow_nan=False)


def test_commit_is_that_of_our_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path / "checkout"), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    installed = tmp_path / "checkout" / "site-packages" / "sungen_lib" / "lab"
    for folder in (installed, tmp_path / "elsewhere" / "sungen_lib" / "lab"):
        folder.mkdir(parents=True)
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "checkout" / "sungen_lib" / "lab" / "provenance.py"))
    assert provenance.commit() == git("rev-parse", "HEAD")
    # installed inside some other repository: that one's commit says nothing about us
    monkeypatch.setattr(provenance, "__file__", str(installed / "provenance.py"))
    assert provenance.commit() == "unknown"
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "elsewhere" / "sungen_lib" / "lab" / "provenance.py"))
    assert provenance.commit() == "unknown"


def test_style_suits_matplotlib() -> None:
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns about settings that are none of a style's business
        mpl.style.use(figures.style())
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(figures.OKABE_ITO)
        assert mpl.rcParams["figure.constrained_layout.use"] is True
        assert mpl.rcParams["svg.hashsalt"] == "sungen"
    assert len(set(figures.OKABE_ITO)) == 8
    figures.style()["font.size"] = 99
    assert figures.style()["font.size"] != 99
