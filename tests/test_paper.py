"""The published numbers as printed, the claims true of them, and the bootstrap against closed forms."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sungen_lib.lab import notebooks
from sungen_lib.paper import bootstrap, numbers, verdicts
from sungen_lib.paper.cells import Array, Cell, Scale
from sungen_lib.paper.claims import CLAIMS
from sungen_lib.texts import tasks

TABLES = ("table01", "table02", "table03", "table04", "table05", "table07", "table08", "table09", "table11")


def cell(
    rates: Sequence[float],
    *,
    row: str = "SunGen",
    column: str = "imdb",
    items: int = 1000,
    scale: Scale = "paper",
    seeds: tuple[int | None, ...] | None = None,
) -> Cell:
    """A cell with exactly these rates of correct items, one a seed; the same items are easy for every seed."""
    correct = np.stack([np.arange(items) < round(rate * items) for rate in rates])
    values = tuple(float(value) for value in 100.0 * correct.mean(axis=1))
    return Cell(row, column, scale, seeds or tuple(range(len(rates))), values, correct)


def noisy(rate: float, *, row: str, column: str = "imdb", items: int = 1000, seed: int = 0, seeds: int = 3) -> Cell:
    """A cell whose items are independent coin tosses."""
    correct = np.random.default_rng(seed).random((seeds, items)) < rate
    values = tuple(float(value) for value in 100.0 * correct.mean(axis=1))
    return Cell(row, column, "paper", tuple(range(seeds)), values, correct)


def line(frame: pd.DataFrame, claim: str, column: str = "imdb") -> pd.Series:
    """One line of ``check``."""
    found = frame[(frame["claim"] == claim) & (frame["column"] == column)]
    assert len(found) == 1
    return found.iloc[0]


# --- the published numbers --------------------------------------------------------------------------------------------

# Typed again from the paper, table by table, not copied from paper.py.
PRINTED = [
    ("table01", "Supervised DistilBERT", "dbpedia", 99.14),
    ("table01", "Supervised LSTM", "rotten_tomatoes", 77.49),
    ("table01", "Prompting", "sst2", 89.22),
    ("table01", "Prompting", "average", 77.85),
    ("table01", "ZeroGen DistilBERT", "subj", 80.45),
    ("table01", "SunGen DistilBERT", "imdb", 89.38),
    ("table01", "ZeroGen LSTM", "amazon", 80.48),
    ("table01", "ZeroGen LSTM", "ag_news", 73.34),
    ("table01", "SunGen LSTM", "yelp", 89.06),
    ("table01", "SunGen LSTM", "average", 81.61),
    ("table02", "Supervised", "rotten_tomatoes", 77.49),
    ("table02", "ZeroGen", "yelp", 84.95),
    ("table02", "SunGen, gold outer set", "imdb", 82.34),
    ("table02", "SunGen, gold outer set", "rotten_tomatoes", 80.05),
    ("table02", "SunGen, synthetic outer set", "amazon", 84.22),
    ("table03", "Confidence", "amazon", 70.44),
    ("table03", "Co-teaching", "yelp", 75.50),
    ("table03", "Meta-Weight-Net", "imdb", 71.23),
    ("table03", "SunGen", "imdb", 84.10),
    ("table04", "ZeroGen 10k", "imdb", 62.40),
    ("table04", "ZeroGen 50k", "yelp", 80.81),
    ("table04", "ZeroGen 100k", "amazon", 80.25),
    ("table04", "ZeroGen 1,000k", "imdb", 78.29),
    ("table04", "SunGen 10k", "imdb", 72.05),
    ("table04", "SunGen 20k", "imdb", 79.96),
    ("table04", "SunGen 50k", "amazon", 81.97),
    ("table04", "SunGen 100k", "yelp", 88.41),
    ("table04", "SunGen 1,000k", "imdb", 86.56),
    ("table05", "Self-BLEU-4 Gold", "imdb", 0.30),
    ("table05", "Self-BLEU-4 ZeroGen", "yelp", 0.14),
    ("table05", "Self-BLEU-4 SunGen", "amazon", 0.10),
    ("table05", "Correctness Gold", "yelp", 98.35),
    ("table05", "Correctness ZeroGen", "imdb", 75.86),
    ("table05", "Correctness SunGen", "amazon", 88.87),
    ("table05", "Correctness SunGen-Top", "yelp", 85.33),
    ("table05", "Correctness SunGen-Bottom", "imdb", 4.57),
    ("table07", "Bilevel CE", "amazon", 79.81),
    ("table07", "SunGen RCE", "yelp", 89.06),
    ("table07", "SunGen MAE", "imdb", 84.23),
    ("table08", "Label smoothing", "yelp", 86.07),
    ("table08", "Temporal ensembling", "imdb", 74.10),
    ("table09", "Prompting", "rte", 54.51),
    ("table09", "ZeroGen", "qnli", 65.46),
    ("table09", "SunGen", "mrpc", 71.25),
    ("table11", "One-level RCE", "imdb", 81.92),
    ("table11", "SunGen", "yelp", 90.38),
]


@pytest.mark.parametrize(("table", "row", "column", "value"), PRINTED)
def test_numbers_are_the_printed_ones(table: str, row: str, column: str, value: float) -> None:
    frame = numbers.published(table)
    assert frame[(frame["row"] == row) & (frame["column"] == column)]["value"].tolist() == [value]


def test_every_table_is_complete() -> None:
    sizes = {table: len(numbers.published(table)) for table in TABLES}
    assert sizes == {
        "table01": 7 * 9,
        "table02": 4 * 4,
        "table03": 4 * 3,
        "table04": 12 * 3,
        "table05": 8 * 3,
        "table07": 4 * 3,
        "table08": 4 * 3,
        "table09": 3 * 3,
        "table11": 2 * 3,
    }
    for table in TABLES:
        frame = numbers.published(table)
        assert not frame.duplicated(["row", "column"]).any()
        assert set(frame["column"]) <= {*tasks.TASKS, "average"}
    assert numbers.published("table06").empty, "not a table of numbers"


# Column sums of each table, added up from the paper's text: a misread digit anywhere shows.
SUMS = {
    "table01": {
        "imdb": 581.76,
        "sst2": 591.39,
        "rotten_tomatoes": 567.25,
        "amazon": 603.52,
        "yelp": 620.22,
        "subj": 562.85,
        "ag_news": 563.99,
        "dbpedia": 566.38,
        "average": 582.18,
    },
    "table02": {"imdb": 322.56, "amazon": 335.77, "yelp": 354.14, "rotten_tomatoes": 314.20},
    "table03": {"imdb": 307.94, "amazon": 307.44, "yelp": 324.88},
    "table04": {"imdb": 902.63, "amazon": 959.44, "yelp": 1007.00},
    "table05": {"imdb": 345.51, "amazon": 425.26, "yelp": 414.13},
    "table07": {"imdb": 313.90, "amazon": 328.56, "yelp": 347.14},
    "table08": {"imdb": 302.90, "amazon": 328.03, "yelp": 345.90},
    "table09": {"rte": 174.37, "qnli": 197.88, "mrpc": 205.00},
    "table11": {"imdb": 168.48, "amazon": 166.13, "yelp": 175.74},
}


@pytest.mark.parametrize("table", SUMS)
def test_column_sums(table: str) -> None:
    sums = numbers.published(table).groupby("column")["value"].sum()
    assert sums.to_dict() == pytest.approx(SUMS[table], abs=1e-6)


def test_printed_averages_are_the_averages() -> None:
    wide = numbers.published("table01").pivot(index="row", columns="column", values="value")
    recomputed = wide[list(tasks.CLASSIFICATION)].mean(axis=1)
    assert (recomputed - wide["average"]).abs().max() <= 0.005 + 1e-9  # printed to two digits: all seven agree


def test_numbers_printed_in_several_tables_agree() -> None:
    one = numbers.printed("table01")
    for column in ("imdb", "amazon", "yelp"):
        for table, row in (
            ("table02", "SunGen, synthetic outer set"),
            ("table03", "SunGen"),
            ("table04", "SunGen 200k"),
            ("table07", "SunGen RCE"),
            ("table08", "SunGen"),
        ):
            assert numbers.printed(table)[row, column] == one["SunGen LSTM", column]
        for table, row in (("table02", "ZeroGen"), ("table04", "ZeroGen 200k"), ("table07", "ZeroGen")):
            assert numbers.printed(table)[row, column] == one["ZeroGen LSTM", column]
        assert numbers.printed("table02")["Supervised", column] == one["Supervised LSTM", column]
        assert numbers.printed("table11")["SunGen", column] == numbers.printed("table04")["SunGen 1,000k", column]


# --- cells ------------------------------------------------------------------------------------------------------------


def test_cell_statistics() -> None:
    three = Cell("SunGen", "imdb", "paper", (0, 1, 2), (80.0, 82.0, 87.0))
    assert three.mean == pytest.approx(83.0)
    assert three.sd == pytest.approx(math.sqrt(13.0))  # deviations -3, -1, 4; 26 / 2
    assert math.isnan(Cell("SunGen", "imdb", "paper", (0,), (80.0,)).sd)


def test_diverged_seeds_are_left_out() -> None:
    nan = float("nan")
    part = Cell("SunGen", "imdb", "paper", (0, 1, 2), (80.0, nan, 82.0), diverged=(1,))
    assert part.mean == 81.0
    assert part.sd == pytest.approx(math.sqrt(2.0))
    none = Cell("SunGen", "imdb", "paper", (0, 1), (nan, nan), diverged=(0, 1))
    assert math.isnan(none.mean) and math.isnan(none.sd)
    assert verdicts.number_verdict(none, 84.1) == "diverged"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "huge"}, "scale 'huge'"),
        ({"column": "average"}, "computed, not measured"),
        ({"seeds": (0, 0)}, "distinct seeds"),
        ({"seeds": (None, 1)}, "distinct seeds"),
        ({"values": (50.0,)}, "2 seeds, 1 values"),
        ({"values": (50.0, float("nan")), "correct": None}, "have no number"),
        ({"diverged": (1,)}, "have no number"),
        ({"values": (50.0, 60.0)}, "its items say 50"),
        ({"correct": np.array([[1, 0], [0, 1]])}, "correct must be bool"),
        ({"correct": np.array([[True, False]])}, "correct must be bool"),
    ],
)
def test_impossible_cells_are_refused(options: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "row": "SunGen",
        "column": "imdb",
        "scale": "paper",
        "seeds": (0, 1),
        "values": (50.0, 50.0),
        "correct": np.array([[True, False], [False, True]]),
    }
    Cell(**good)
    with pytest.raises(ValueError, match=message):
        Cell(**(good | options))


# --- the bootstrap ----------------------------------------------------------------------------------------------------


def test_patterns_are_the_distinct_columns() -> None:
    scores = np.random.default_rng(0).integers(0, 4, size=(3, 500))
    expected, counts = np.unique(scores, axis=1, return_counts=True)
    ours, our_counts = bootstrap._patterns(scores)
    order = np.lexsort(ours[::-1])
    np.testing.assert_array_equal(ours[:, order], expected)
    np.testing.assert_array_equal(our_counts[order], counts)


def test_many_seeds_do_not_overflow_the_pattern_codes() -> None:
    scores = np.random.default_rng(0).random((200, 50)) < 0.5
    patterns, counts = bootstrap._patterns(scores)
    assert patterns.shape == (200, 50) and counts.sum() == 50


def test_item_interval_is_the_normal_one() -> None:
    single = cell([0.8], seeds=(None,), items=4000)
    half = 1.96 * 100 * math.sqrt(0.8 * 0.2 / 4000)
    assert bootstrap.number_interval([single]) == pytest.approx((80 - half, 80 + half), abs=0.08 * half)


def test_paired_interval_is_the_normal_one() -> None:
    high, low = noisy(0.80, row="SunGen", seed=1), noisy(0.75, row="ZeroGen", seed=2)
    assert high.correct is not None and low.correct is not None
    gaps = 100 * (high.correct.astype(float) - low.correct)
    per_item, per_seed = gaps.mean(axis=0), gaps.mean(axis=1)
    half = math.hypot(1.96 * per_item.std() / math.sqrt(1000), 4.303 * per_seed.std(ddof=1) / math.sqrt(3))  # t, 2 df
    got = line(verdicts.check("table08", [high, low]), "above-zerogen")
    assert got["ours"] == pytest.approx(per_item.mean())
    assert (got["low"], got["high"]) == pytest.approx((per_item.mean() - half, per_item.mean() + half), abs=0.15 * half)


def test_pairing_matters() -> None:
    # Two points apart on the same items: certain when paired, lost in the noise of the items otherwise.
    cells = [
        cell([0.80], row="Correctness SunGen-Top", items=500),
        cell([0.78], row="Correctness SunGen-Bottom", items=500),
    ]
    unpaired = line(verdicts.check("table05", cells), "bottom-far-below-top")
    cells = [cell([0.80], row="SunGen", items=500), cell([0.78], row="ZeroGen", items=500)]
    paired = line(verdicts.check("table08", cells), "above-zerogen")
    width = 2 * 1.96 * 100 * math.sqrt((0.8 * 0.2 + 0.78 * 0.22) / 500)
    assert unpaired["high"] - unpaired["low"] == pytest.approx(width, rel=0.08)
    assert paired["high"] - paired["low"] == pytest.approx(2 * 1.96 * 100 * math.sqrt(0.02 * 0.98 / 500), rel=0.1)


@pytest.mark.parametrize(("rates", "gap_of_seeds"), [([0.35, 0.40, 0.45], 0.0), ([0.45, 0.40, 0.35], 0.10)])
def test_a_seed_s_two_ends_are_resampled_together(rates: list[float], gap_of_seeds: float) -> None:
    """They come from the same weights, whatever their items. ``gap_of_seeds``: the gap's standard deviation."""
    both = [cell([0.75, 0.80, 0.85], row="Correctness SunGen-Top"), cell(rates, row="Correctness SunGen-Bottom")]
    of_items = sum(one.correct.mean(axis=0).var() / 1000 for one in both if one.correct is not None)
    half = 100 * math.hypot(1.96 * math.sqrt(of_items), 4.303 * gap_of_seeds / math.sqrt(3))
    got = line(verdicts.check("table05", both), "bottom-far-below-top")
    assert (got["high"] - got["low"]) / 2 == pytest.approx(half, rel=0.15)


@pytest.mark.parametrize(
    ("bottom", "diverged", "verdict"),
    [(0.3, (), "holds"), (0.7, (), "fails"), (0.5, (), "undecided"), (0.3, (2,), "undecided")],
)
def test_a_claim_about_one_row(bottom: float, diverged: tuple[int, ...], verdict: str) -> None:
    whole = cell([bottom] * 4, row="Correctness SunGen-Bottom")
    values = tuple(float("nan") if seed in diverged else 100 * bottom for seed in range(4))
    one = dataclasses.replace(whole, values=values, diverged=diverged)
    got = line(verdicts.check("table05", [one]), "bottom-mostly-wrong")
    assert got["verdict"] == verdict and got["paper"] == pytest.approx(4.57)


def test_seed_weights_have_the_variance_of_a_mean() -> None:
    values = np.array([80.0, 82.0, 87.0])
    weights = bootstrap.seed_weights(3, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    # sd^2 / S, sd the sample one; and Student's t for two degrees of freedom in place of the normal quantile.
    assert (weights @ values).var() == pytest.approx(13.0 / 3 * (4.3027 / 1.96) ** 2, rel=0.08)


def test_seeds_widen_the_interval_of_a_number() -> None:
    narrow = bootstrap.number_interval([cell([0.84, 0.84, 0.84], items=25_000)])
    wide = bootstrap.number_interval([cell([0.80, 0.84, 0.88], items=25_000)])
    assert narrow[1] - narrow[0] < 1.0
    assert wide[1] - wide[0] > 6.0


def test_bootstrap_is_repeatable() -> None:
    cells = [noisy(0.80, row="SunGen", seed=1), noisy(0.75, row="ZeroGen", seed=2)]
    pd.testing.assert_frame_equal(verdicts.check("table08", cells), verdicts.check("table08", cells))
    pd.testing.assert_series_equal(
        line(verdicts.check("table08", cells), "above-zerogen"),
        line(verdicts.check("table08", cells[::-1]), "above-zerogen"),
    )


class CountingGenerator:
    """A generator that remembers how many counts each draw held at once."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.held: list[int] = []

    def multinomial(self, n: int, pvals: Array, size: int) -> Array:
        self.held.append(size * len(pvals))
        return self.generator.multinomial(n, pvals, size=size)


def test_resampling_in_blocks_bounds_memory_and_keeps_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random((1, 1000)) < 0.5
    monkeypatch.setattr(bootstrap, "_BLOCK", 7)
    rng = CountingGenerator(1)
    means = bootstrap._resample_items(scores, rng)  # type: ignore[arg-type]
    assert max(rng.held) <= 7
    assert means.shape == (bootstrap.RESAMPLES, 1)
    assert means.std() == pytest.approx(math.sqrt(0.25 / 1000), rel=0.08)


def test_full_sized_test_sets_stay_fast() -> None:
    cells = [
        noisy(0.8, row=f"{m} LSTM", column=c, items=25_000) for m in ("SunGen", "ZeroGen") for c in tasks.CLASSIFICATION
    ]
    start = time.perf_counter()
    verdicts.check("table01", cells)
    assert time.perf_counter() - start < 20  # about one second


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "items", "printed", "verdict"),
    [
        ([0.840, 0.842, 0.841], 25_000, 84.10, "reproduced"),
        ([0.840, 0.842, 0.841], 25_000, 85.00, "reproduced"),
        ([0.740, 0.742, 0.741], 25_000, 84.10, "differs"),
        ([0.940, 0.942, 0.941], 25_000, 84.10, "differs"),
        ([0.840, 0.842, 0.841], 25_000, 86.00, "undecided"),  # the interval straddles 2 points
        ([0.840, 0.840, 0.840], 100, 84.10, "undecided"),  # too few items
        ([0.780, 0.840, 0.900], 25_000, 84.10, "undecided"),  # too far apart
        ([0.841, 0.841], 25_000, 84.10, "undecided"),  # too few seeds
    ],
)
def test_number_verdicts(rates: list[float], items: int, printed: float, verdict: str) -> None:
    assert verdicts.number_verdict(cell(rates, items=items), printed) == verdict


@pytest.mark.parametrize("scale", ["other", "demo"])
def test_only_paper_scale_has_number_verdicts(scale: Scale) -> None:
    assert verdicts.number_verdict(cell([0.841, 0.841, 0.841], items=25_000, scale=scale), 84.10) == ""


def test_a_seedless_number_is_judged_by_its_items() -> None:
    assert verdicts.number_verdict(cell([0.8064], items=25_000, seeds=(None,)), 80.64) == "reproduced"


def test_self_bleu_is_judged_on_its_own_scale() -> None:
    bleu = Cell("Self-BLEU-4 SunGen", "imdb", "paper", (0, 1, 2), (0.30, 0.30, 0.30))
    assert verdicts.number_verdict(bleu, 0.14) == "differs"  # 0.16 is within 2, but not within 0.02
    assert verdicts.number_verdict(bleu, 0.31) == "reproduced"


# --- claims -----------------------------------------------------------------------------------------------------------


def test_claims_are_well_formed() -> None:
    keys = [(claim.table, claim.key) for claim in CLAIMS]
    assert len(set(keys)) == len(keys)
    assert {claim.table for claim in CLAIMS} == {*TABLES, "figure01"}
    known = {table: set(numbers.printed(table)) for table in TABLES}
    drawn = pd.read_csv(notebooks.TABLES / "embedded" / "figure01.csv")  # the paper prints no numbers for Figure 1
    known["figure01"] = set(zip(drawn.row, drawn.column, strict=True))
    for claim in CLAIMS:
        cells = {(row, column) for row in claim.rows for column in claim.columns}
        assert cells <= known[claim.table]
        assert not claim.relative or len(claim.rows) == 2
        assert "—" not in claim.text


def epochs(method: str, first: Array, last: Array) -> list[Cell]:
    """Two rows of Figure 1; which items were right is known for the last epoch only."""
    at_last = cell(list(last), row=f"{method}, epoch 15", scale="other")
    values = tuple(100 * rate for rate in first)
    return [dataclasses.replace(at_last, row=f"{method}, epoch 1", values=values, correct=None), at_last]


def test_the_figure_s_claims_are_judged_without_a_number_of_the_paper() -> None:
    """Over seeds alone where an epoch without items is involved, about as Student's t says."""
    raw = np.array([0.66, 0.72, 0.69, 0.70, 0.64, 0.71]), np.array([0.64, 0.67, 0.66, 0.66, 0.65, 0.67])
    selected = np.array([0.68, 0.70, 0.72, 0.69, 0.71, 0.70]), np.array([0.72, 0.71, 0.73, 0.72, 0.71, 0.72])
    got = verdicts.check("figure01", [*epochs("ZeroGen", *raw), *epochs("SunGen", *selected)])
    assert got.paper.isna().all() and (got.verdict == "holds").all()
    for key, one, other, signs in (
        ("zerogen-overfits", *raw, "+ + + + - +"),
        ("sungen-improves", *selected[::-1], "+ + + + 0 +"),
        ("sungen-overfits-less", selected[1] - selected[0], raw[1] - raw[0], "+ + + + - +"),
        ("longer-gain", selected[1], raw[1], "+ + + + + +"),
    ):
        found, exact = line(got, key), stats.ttest_rel(one, other).confidence_interval(0.95)
        assert found["seeds"] == signs and found["ours"] == pytest.approx(100 * np.mean(one - other))
        assert (found["low"], found["high"]) == pytest.approx((100 * exact.low, 100 * exact.high), abs=0.75)
    worse = verdicts.check("figure01", [*epochs("ZeroGen", *raw[::-1]), *epochs("SunGen", *selected[::-1])])
    assert set(worse.verdict[:3]) == {"fails"}


@pytest.mark.parametrize("table", TABLES)
def test_every_claim_is_true_of_the_published_numbers(table: str) -> None:
    claims = {claim.key: claim for claim in CLAIMS if claim.table == table}
    for _, got in verdicts.check(table, []).iterrows():
        claim = claims[got["claim"]]
        assert verdicts._support(claim, got["paper"], got["paper"]) == 1, got["text"]


def test_prose_claims() -> None:
    got = verdicts.check("table01", [])
    assert line(got, "lstm-relative-gain", "average")["paper"] == pytest.approx(9.8, abs=0.05)
    assert line(got, "lstm-average-gain", "average")["paper"] == pytest.approx(7.26, abs=0.01)
    assert line(got, "lstm-gains-more", "average")["paper"] == pytest.approx(7.26 - 2.80, abs=0.01)
    assert line(got, "lstm-above-pretrained", "rotten_tomatoes")["paper"] == pytest.approx(0.19)
    assert line(got, "lstm-above-pretrained", "yelp")["paper"] == pytest.approx(1.48)
    assert line(verdicts.check("table04", []), "two-percent-above-all")["paper"] == pytest.approx(79.96 - 78.29)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "seeds"),
    [
        ([0.84, 0.85, 0.86], [0.70, 0.71, 0.72], "holds", "+ + +"),
        ([0.70, 0.71, 0.72], [0.84, 0.85, 0.86], "fails", "- - -"),
        ([0.80, 0.80, 0.80], [0.80, 0.80, 0.80], "undecided", "0 0 0"),
        ([0.802, 0.799, 0.801], [0.80, 0.80, 0.80], "undecided", "+ - +"),
    ],
)
def test_ordering_verdicts(ours: list[float], theirs: list[float], verdict: str, seeds: str) -> None:
    got = line(verdicts.check("table08", [cell(ours, row="SunGen"), cell(theirs, row="ZeroGen")]), "above-zerogen")
    assert (got["verdict"], got["seeds"], got["scale"]) == (verdict, seeds, "paper")
    assert got["ours"] == pytest.approx(100 * (np.mean(ours) - np.mean(theirs)))
    assert got["low"] <= got["ours"] <= got["high"]


@pytest.mark.parametrize(
    ("synthetic", "verdict"), [(0.90, "holds"), (0.795, "holds"), (0.782, "undecided"), (0.70, "fails")]
)
def test_a_margin_shifts_the_verdict(synthetic: float, verdict: str) -> None:
    cells = [
        cell([synthetic] * 3, row="SunGen, synthetic outer set"),
        cell([0.80] * 3, row="SunGen, gold outer set"),
    ]
    assert line(verdicts.check("table02", cells), "synthetic-outer-set-suffices")["verdict"] == verdict


@pytest.mark.parametrize(
    ("mae", "verdict", "seeds"),
    [(0.80, "holds", "+ + +"), (0.78, "undecided", "0 0 0"), (0.90, "fails", "- - -"), (0.70, "fails", "- - -")],
)
def test_equality_is_two_sided(mae: float, verdict: str, seeds: str) -> None:
    cells = [cell([0.80] * 3, row="SunGen RCE"), cell([mae] * 3, row="SunGen MAE")]
    got = line(verdicts.check("table07", cells), "rce-equals-mae")
    assert (got["verdict"], got["seeds"]) == (verdict, seeds)


def averages(sungen: float, zerogen: float, scale: Scale, items: int = 5000) -> list[Cell]:
    return [
        cell([rate, rate + 0.002, rate - 0.002], row=row, column=task, items=items, scale=scale)
        for row, rate in (("SunGen LSTM", sungen), ("ZeroGen LSTM", zerogen))
        for task in tasks.CLASSIFICATION
    ]


def test_average_claims() -> None:
    got = verdicts.check("table01", averages(0.82, 0.75, "demo"))
    assert line(got, "lstm-average-gain", "average")["ours"] == pytest.approx(7.0)
    assert line(got, "lstm-relative-gain", "average")["ours"] == pytest.approx(100 * 7 / 75)
    assert line(got, "lstm-relative-gain", "average")["verdict"] == "holds"
    assert line(got, "lstm-relative-gain", "average")["scale"] == "demo"
    assert line(got, "lstm-gains-more", "average")["verdict"] == "not run: no ZeroGen DistilBERT on imdb"
    half = 1.96 * 100 * math.sqrt(0.07 * 0.93 / 5000 / 8)  # eight independent sets of items
    low, high = line(got, "lstm-average-gain", "average")[["low", "high"]]
    assert high - low == pytest.approx(2 * half, rel=0.08)


def test_an_average_over_some_tasks_is_no_average() -> None:
    some = [c for c in averages(0.82, 0.75, "demo") if c.column != "yelp"]
    got = line(verdicts.check("table01", some), "lstm-average-gain", "average")
    assert got["verdict"] == "not run: no SunGen LSTM on yelp"
    assert math.isnan(got["ours"])


@pytest.mark.parametrize(
    ("sungen", "scale", "verdict"),
    [
        (0.8232, "paper", "holds"),
        (0.90, "paper", "fails"),
        (0.84, "paper", "undecided"),
        (0.8232, "demo", "not run: a number is judged at paper scale only"),
    ],
)
def test_the_number_claim(sungen: float, scale: Scale, verdict: str) -> None:
    got = verdicts.check("table01", averages(sungen, 0.75, scale))
    assert line(got, "lstm-relative-gain-number", "average")["verdict"] == verdict


def test_the_number_claim_counts_seeds_too() -> None:
    # Eight tasks whose seeds swing by 20 points: the mean gain is the paper's, but it is not known to 2 points.
    cells = [
        cell([rate - 0.1, rate, rate + 0.1] if row == "SunGen LSTM" else [rate] * 3, row=row, column=task, items=25_000)
        for row, rate in (("SunGen LSTM", 0.8232), ("ZeroGen LSTM", 0.75))
        for task in tasks.CLASSIFICATION
    ]
    got = verdicts.check("table01", cells)
    assert line(got, "lstm-relative-gain-number", "average")["verdict"] == "undecided"
    # Nor is its sign, with three such seeds.
    assert line(got, "lstm-relative-gain", "average")["verdict"] == "undecided"


def test_an_average_s_tasks_share_their_seeds() -> None:
    """Tasks with the same texts share their models: luck that they have in common does not average out, and luck that
    cancels within each seed is none."""
    swings = [-0.04, -0.02, 0.0, 0.02, 0.04]
    widths = {}
    for name, signs in (("common", [1] * 8), ("cancelling", [1, -1] * 4)):
        cells = [
            cell([rate + sign * swing * (row == "SunGen LSTM") for swing in swings], row=row, column=task, items=50_000)
            for row, rate in (("SunGen LSTM", 0.82), ("ZeroGen LSTM", 0.75))
            for task, sign in zip(tasks.CLASSIFICATION, signs, strict=True)
        ]
        low, high = line(verdicts.check("table01", cells), "lstm-average-gain", "average")[["low", "high"]]
        widths[name] = high - low
    of_t = 2 * stats.t.ppf(0.975, 4) * 100 * np.std(swings, ddof=1) / math.sqrt(5)
    assert widths["common"] == pytest.approx(of_t, rel=0.1)
    assert widths["cancelling"] < 0.6


@pytest.mark.parametrize(
    ("diverged", "verdict"), [(("SunGen",), "undecided"), (("ZeroGen",), "holds"), (("SunGen", "ZeroGen"), "undecided")]
)
def test_a_method_that_diverged_in_a_seed_does_not_hold_in_the_others(diverged: tuple[str, ...], verdict: str) -> None:
    nan = float("nan")
    cells = []
    for row, rate in (("SunGen", 900), ("ZeroGen", 700)):
        gone = row in diverged
        correct = np.stack([np.arange(1000) < n for n in (0 if gone else rate, rate, rate + 5, rate - 5)])
        values = (nan if gone else rate / 10, rate / 10, rate / 10 + 0.5, rate / 10 - 0.5)
        cells.append(Cell(row, "imdb", "demo", (0, 1, 2, 3), values, correct, diverged=(0,) if gone else ()))
    got = line(verdicts.check("table08", cells), "above-zerogen")
    assert (got["seeds"], got["verdict"]) == ("x + + +", verdict)


@pytest.mark.parametrize(("diverged", "verdict"), [("SunGen", "fails"), ("ZeroGen", "undecided")])
def test_nor_does_a_claim_fail_by_the_seeds_that_its_rival_survived(diverged: str, verdict: str) -> None:
    cells = []
    for row, rate in (("SunGen", 700), ("ZeroGen", 900)):
        gone = tuple(range(7)) if row == diverged else ()
        right = [0 if seed in gone else rate + seed % 3 for seed in range(10)]
        values = tuple(float("nan") if seed in gone else n / 10 for seed, n in enumerate(right))
        correct = np.stack([np.arange(1000) < n for n in right])
        cells.append(Cell(row, "imdb", "demo", tuple(range(10)), values, correct, diverged=gone))
    got = line(verdicts.check("table08", cells), "above-zerogen")
    assert (got["seeds"], got["verdict"]) == ("x x x x x x x - - -", verdict)


def test_a_number_at_another_scale_is_not_judged_because_a_seed_diverged() -> None:
    cells = [
        Cell(row, task, "other", (0, 1, 2, 3), (rate, rate, rate, float("nan")), None, (3,))
        for row, rate in (("SunGen LSTM", 80.0), ("ZeroGen LSTM", 70.0))
        for task in tasks.CLASSIFICATION
    ]
    assert line(verdicts.check("table01", cells), "lstm-relative-gain-number", "average")["verdict"].startswith(
        "not run: a number is judged"
    )


def test_a_number_of_which_seeds_diverged_is_not_reproduced() -> None:
    right = [840, 841, 842, 0]
    values = (84.0, 84.1, 84.2, float("nan"))
    correct = np.repeat(np.stack([np.arange(1000) < n for n in right]), 10, axis=1)
    whole = Cell("SunGen", "imdb", "paper", (0, 1, 2), values[:3], correct[:3])
    assert verdicts.number_verdict(whole, 84.1) == "reproduced"
    assert verdicts.number_verdict(Cell("SunGen", "imdb", "paper", (0, 1, 2, 3), values, correct, (3,)), 84.1) == (
        "undecided"
    )


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """For simulations of many verdicts, which this hardly changes."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 2_000)


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize(("seeds", "swing"), [(3, 0.0), (3, 0.02), (5, 0.02), (10, 0.02), (10, 0.05)])
def test_an_effect_that_is_not_there_holds_at_most_one_time_in_twenty(seeds: int, swing: float) -> None:
    """Two methods of the same accuracy, each seed off by its luck (standard deviation ``swing``), 800 shared items."""
    rng = np.random.default_rng(seeds)
    verdicts_found = []
    for _ in range(200):
        hard = rng.uniform(-0.3, 0.3, 800)  # items differ, for both methods alike
        rates = 0.75 + rng.normal(0, swing, (2, seeds))
        correct = rng.random((2, seeds, 800)) < np.clip(rates[:, :, None] + hard, 0, 1)
        cells = [
            Cell(row, "imdb", "other", tuple(range(seeds)), tuple(100 * items.mean(axis=1)), items)
            for row, items in zip(("SunGen", "ZeroGen"), correct, strict=True)
        ]
        verdicts_found.append(line(verdicts.check("table08", cells), "above-zerogen")["verdict"])
    assert verdicts_found.count("holds") <= 0.05 * 200 and verdicts_found.count("fails") <= 0.05 * 200


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize(("seeds", "least"), [(3, 0.4), (10, 0.99)])
def test_an_effect_that_is_there_is_found(seeds: int, least: float) -> None:
    """Five points apart, seeds off by one point, 1,800 items (as many as SST-2's test)."""
    rng = np.random.default_rng(seeds)
    held = 0
    for _ in range(100):
        rates = np.array([[0.75], [0.70]]) + rng.normal(0, 0.01, (2, seeds))
        correct = rng.random((2, seeds, 1800)) < rates[:, :, None]
        cells = [
            Cell(row, "imdb", "other", tuple(range(seeds)), tuple(100 * items.mean(axis=1)), items)
            for row, items in zip(("SunGen", "ZeroGen"), correct, strict=True)
        ]
        held += line(verdicts.check("table08", cells), "above-zerogen")["verdict"] == "holds"
    assert held >= least * 100


def bleu(row: str, values: tuple[float, ...]) -> Cell:
    return Cell(f"Self-BLEU-4 {row}", "imdb", "demo", tuple(range(len(values))), values)


@pytest.mark.parametrize(
    ("zerogen", "sungen", "verdict"),
    [
        ((0.15, 0.16, 0.15), (0.135, 0.14, 0.135), "holds"),
        ((0.135, 0.14, 0.135), (0.15, 0.16, 0.15), "fails"),
        ((0.15, 0.16, 0.15), (0.14, 0.13, 0.14), "undecided"),  # all seeds agree, but three of them differ too much
        ((0.15, 0.16, 0.13), (0.14, 0.13, 0.14), "undecided"),
        ((0.15, 0.16), (0.14, 0.13), "undecided"),
        ((0.15, 0.15, 0.15, 0.15, 0.14), (0.13, 0.13, 0.13, 0.13, 0.141), "holds"),  # though one seed disagrees
    ],
)
def test_claims_without_items_are_judged_over_seeds_alone(
    zerogen: tuple[float, ...], sungen: tuple[float, ...], verdict: str
) -> None:
    got = line(verdicts.check("table05", [bleu("ZeroGen", zerogen), bleu("SunGen", sungen)]), "more-diverse")
    assert got["verdict"] == verdict
    exact = stats.ttest_rel(zerogen, sungen).confidence_interval(0.95)  # a bootstrap of few seeds is coarse
    if len(zerogen) >= 3:
        assert (got["low"] > 0, got["high"] < 0) == (exact.low > 0, exact.high < 0)


def test_missing_rows_and_seeds_are_named() -> None:
    only = cell([0.8] * 3, row="SunGen")
    assert line(verdicts.check("table08", [only]), "above-zerogen")["verdict"] == "not run: no ZeroGen"
    other = cell([0.8], row="ZeroGen", seeds=(7,))
    assert line(verdicts.check("table08", [only, other]), "above-zerogen")["verdict"] == "not run: no common seed"


def test_only_common_finished_seeds_count() -> None:
    nan = float("nan")
    correct = np.stack([np.arange(1000) < n for n in (0, 800, 900)])
    sungen = Cell("SunGen", "imdb", "demo", (0, 1, 2), (nan, 80.0, 90.0), correct, diverged=(0,))
    zerogen = cell([0.7, 0.7], row="ZeroGen", seeds=(0, 1), scale="paper")
    got = line(verdicts.check("table08", [sungen, zerogen]), "above-zerogen")
    assert got["ours"] == pytest.approx(10.0)
    assert (got["seeds"], got["verdict"], got["scale"]) == ("x +", "undecided", "demo")
    gone = Cell("SunGen", "imdb", "demo", (0, 1), (nan, nan), diverged=(0, 1))
    got = line(verdicts.check("table08", [gone, zerogen]), "above-zerogen")
    assert (got["verdict"], got["seeds"]) == ("diverged", "x x")


def test_a_seedless_row_pairs_with_every_seed() -> None:
    cells = [
        cell([0.84, 0.79, 0.86], row="SunGen", column="rte"),
        cell([0.80], row="Prompting", column="rte", seeds=(None,)),
    ]
    got = line(verdicts.check("table09", cells), "above-prompting", "rte")
    assert (got["ours"], got["seeds"]) == (pytest.approx(3.0), "+ - +")


def test_cells_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same test items"):
        verdicts.check("table08", [cell([0.8], row="SunGen"), cell([0.8], row="ZeroGen", items=999)])
    with pytest.raises(ValueError, match="same row and column"):
        verdicts.check("table08", [cell([0.8]), cell([0.8])])


def test_rows_of_table_4_scale_with_the_pool() -> None:
    rows = numbers.rows_at(20_000)
    assert rows["SunGen 20k"] == "SunGen 400 of 20k"
    assert rows["ZeroGen 50k"] == "ZeroGen 1k"
    assert rows["ZeroGen 1,000k"] == "ZeroGen 20k"
    assert numbers.rows_at(1_000_000) == {row: row for row, _ in numbers.printed("table04")}
    cells = [cell([0.8] * 3, row="SunGen 400 of 20k", scale="demo"), cell([0.7] * 3, row="ZeroGen 20k", scale="demo")]
    got = line(verdicts.check("table04", cells, rows=rows), "two-percent-above-all")
    assert got["verdict"] == "holds"
    assert "SunGen 400" in got["text"] and "ZeroGen 20k" in got["text"]
    # Nor does a row of ours stand beside the paper's number of the same size, whose weights know a larger pool.
    assert numbers.size_row("SunGen", 20_000, 20_000) == "SunGen 20k of 20k"
    # ZeroGen 20k is the whole pool here, not the 2 % it is in the paper
    assert line(verdicts.check("table04", cells, rows=rows), "gain-20k")["verdict"] == "not run: no ZeroGen 400"


def test_check_has_the_agreed_columns() -> None:
    for table in TABLES:
        got = verdicts.check(table, [])
        assert tuple(got.columns) == verdicts.CHECK_COLUMNS
        assert got["verdict"].str.startswith("not run: no ").all()
