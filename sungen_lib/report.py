"""Measured cells and claims -> CSV, Markdown, LaTeX and figures under ``<out>/<profile>/``.

CSV, Markdown, LaTeX, PNG and SVG are functions of the results alone: identical runs give identical bytes. What differs
between identical runs (times, commit) is in the JSON beside them.
"""

from __future__ import annotations

import io
import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sungen_lib import data, paper, tasks
from sungen_lib.paper import AVERAGE, Cell
from sungen_lib.reweight import LearnedWeights

DEMO_PROFILES = ("embedded", "tiny")
PROFILES = ("embedded", "small", "paper")  # those the scoreboard shows
DEMO = "demo scale"
ANY = "*"  # in ``not_run``: every row, or every column
CSV_DIGITS = 4  # decimals of every float in a CSV
TIDY_COLUMNS = (
    "row", "column", "paper", "ours", "sd", "n_seeds", "diverged", "scale", "verdict", "ours_only"
)  # fmt: skip


# --- cells -> tidy ----------------------------------------------------------------------------------------------------


def tidy(table: str, cells: Sequence[Cell], not_run: Mapping[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """Published and measured cells of one table, outer join, one line a cell, columns ``TIDY_COLUMNS``.

    The paper's cells come first, in its order, then ``ours_only`` ones, with ``paper`` NaN. ``sd`` is the sample
    standard deviation over seeds, ``n_seeds`` the seeds that finished, ``diverged`` those that did not. ``verdict`` is
    ``paper.number_verdict``'s, ``diverged`` where every seed did, or ``not run: why`` with ``ours`` NaN; the reasons
    come from ``not_run`` by (row, column), either of which may be ``ANY``; default "not asked for". In a table with
    averages a row has one only if all its tasks ran.
    """
    numbers = paper.printed(table)
    reasons = not_run or {}
    measured = {(cell.row, cell.column): cell for cell in cells}
    if len(measured) != len(cells):
        raise ValueError(f"{table}: two cells have the same row and column")
    columns = list(dict.fromkeys(column for _, column in numbers))
    keys = dict.fromkeys([*numbers, *measured, *(key for key in reasons if ANY not in key)])
    if AVERAGE in columns:
        keys |= dict.fromkeys((row, AVERAGE) for row, _ in measured)
    averaged = [column for column in columns if column != AVERAGE]
    lines = []
    for row, column in keys:
        number = numbers.get((row, column), math.nan)
        if column == AVERAGE:
            ran = [measured[row, task] for task in averaged if (row, task) in measured]
            absent = [task for task in averaged if (row, task) not in measured]
            line = _average(ran, absent, number) if ran else {"verdict": _reason(reasons, row, column)}
        else:
            cell = measured.get((row, column))
            line = _measured(cell, number) if cell else {"verdict": _reason(reasons, row, column)}
        ours_only = (row, column) not in numbers
        lines.append(_EMPTY | {"row": row, "column": column, "paper": number, "ours_only": ours_only} | line)
    return pd.DataFrame(_rows_together(lines), columns=list(TIDY_COLUMNS))


_EMPTY: dict[str, Any] = {"ours": math.nan, "sd": math.nan, "n_seeds": 0, "diverged": 0, "scale": ""}


def _rows_together(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines grouped by row, rows in order of first appearance, averages last in each row."""
    order = {row: n for n, row in enumerate(dict.fromkeys(line["row"] for line in lines))}
    return sorted(lines, key=lambda line: (order[line["row"]], line["column"] == AVERAGE))


def _reason(reasons: Mapping[tuple[str, str], str], row: str, column: str) -> str:
    """The verdict of a cell that was not run, by the most specific entry."""
    keys = ((row, column), (row, ANY), (ANY, column), (ANY, ANY))
    why = next((reasons[key] for key in keys if key in reasons), "not asked for")
    return why if why.startswith("not run") else f"not run: {why}"


def _measured(cell: Cell, number: float) -> dict[str, Any]:
    return {
        "ours": cell.mean,
        "sd": cell.sd,
        "n_seeds": len(cell.finished),
        "diverged": len(cell.diverged),
        "scale": cell.scale,
        "verdict": paper.number_verdict(cell, number),
    }


def _average(cells: Sequence[Cell], absent: Sequence[str], number: float) -> dict[str, Any]:
    """The mean over a row's tasks, if none is ``absent``; over the seeds that finished on all of them."""
    if absent:
        return {"verdict": f"not run: average needs {', '.join(absent)}"}
    finished, diverged = paper.common_seeds(cells)
    line = {"n_seeds": len(finished), "diverged": len(diverged), "scale": paper.scale_of(cells)}
    if not finished:
        return line | {"verdict": "diverged" if diverged else "not run: the tasks share no seed"}
    means = np.mean([cell.at(finished) for cell in cells], axis=0)
    return line | {
        "ours": float(means.mean()),
        "sd": float(means.std(ddof=1)) if len(means) > 1 else math.nan,
        "verdict": paper.average_verdict(cells, number),
    }


def column_title(column: str) -> str:
    """What a reader calls the column: a task of the paper by its title there, any other as it is."""
    return tasks.TASKS[column].title if column in tasks.TASKS else column


# --- tidy -> text -----------------------------------------------------------------------------------------------------


def show(tidy_df: pd.DataFrame, *, title: str, profile: str) -> Markdown:
    """The table for a notebook: one line a row, a column a task, each cell "ours ± sd (paper)".

    Markdown, because it renders alike in JupyterLab and on web pages that show notebooks.
    """
    return Markdown(markdown(tidy_df, title=title, profile=profile))


def markdown(tidy_df: pd.DataFrame, *, title: str, profile: str) -> str:
    """``show`` as text: title, what a cell says, the table, and why cells were not run."""
    header, *body = _grid(tidy_df)
    lines = [f"**{_markdown_escape(title)}**", "", _markdown_escape(_caption(tidy_df, profile)), ""]
    lines += _markdown_table(header, body)
    notes = _reasons(tidy_df)
    return "\n".join([*lines, *([""] if notes else []), *(f"- {_markdown_escape(note)}" for note in notes)]) + "\n"


def _grid(tidy_df: pd.DataFrame) -> list[list[str]]:
    """Header and body of the wide table, plain text."""
    columns = list(dict.fromkeys(tidy_df["column"]))
    columns.sort(key=lambda column: column == AVERAGE)  # stable: averages last
    header = ["", *(column_title(c) if c in tasks.TASKS else c.capitalize() for c in columns)]
    body = []
    for row, lines in tidy_df.groupby("row", sort=False):
        texts = {line["column"]: _cell_text(line) for line in lines.to_dict("records")}
        mixed = not tidy_df["ours_only"].all()
        name = f"{row} (ours)" if mixed and lines["ours_only"].all() else str(row)
        body.append([name, *(texts.get(column, "not run") for column in columns)])
    return [header, *body]


def _cell_text(line: Mapping[Any, Any]) -> str:
    """One cell: "ours ± sd (paper) verdict", leaving out what there is not."""
    seeds = line["n_seeds"] + line["diverged"]
    if str(line["verdict"]).startswith("not run"):
        ours, verdict = "not run", ""
    elif line["verdict"] == "diverged":
        ours, verdict = "diverged", ""
    else:
        ours = f"{line['ours']:.2f}" + ("" if math.isnan(line["sd"]) else f" ± {line['sd']:.2f}")
        ours += f" [{line['diverged']} of {seeds} seeds diverged]" if line["diverged"] else ""
        verdict = f" {line['verdict']}" if line["verdict"] else ""
    return ours + ("" if math.isnan(line["paper"]) else f" ({line['paper']:.2f})") + verdict


def _forbid_claims_of_scale(scales: pd.Series, profile: str) -> None:
    """A demo profile can hold demo cells only: nothing in it may look like a reproduction."""
    other = sorted(set(scales) - {"demo", ""})
    if profile in DEMO_PROFILES and other:
        raise ValueError(f"profile {profile!r} is at demo scale, but some cells say {', '.join(other)}")


def _caption(tidy_df: pd.DataFrame, profile: str) -> str:
    _forbid_claims_of_scale(tidy_df["scale"], profile)
    counts = sorted(set(tidy_df.loc[tidy_df["n_seeds"] > 0, "n_seeds"]))
    seeds = f" over {' or '.join(str(n) for n in counts)} seed{'' if counts == [1] else 's'}" if counts else ""
    note = ""
    if profile in DEMO_PROFILES:
        note = f" {DEMO.capitalize()}: the texts and models are small stand-ins."
    elif counts and "paper" not in set(tidy_df["scale"]):
        note = " Not at the paper's scale: numbers get no verdict."
    paper_too = "" if tidy_df["paper"].isna().all() else " (the paper's number)"
    return f"Profile {profile}.{note} A cell is our mean ± standard deviation{seeds}{paper_too}."


def _reasons(tidy_df: pd.DataFrame) -> list[str]:
    """One line a reason, with the number of cells it explains."""
    verdicts = tidy_df.loc[tidy_df["verdict"].str.startswith("not run"), "verdict"]
    return [f"{why} ({n} {'cell' if n == 1 else 'cells'})" for why, n in verdicts.value_counts(sort=False).items()]


def _markdown_table(
    header: Sequence[str], body: Iterable[Sequence[str]], rule: Sequence[str] | None = None
) -> list[str]:
    """Lines of a table; all columns but the first hold numbers, unless ``rule`` says otherwise."""
    rule = rule or ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(_markdown_escape(text) for text in line) + " |" for line in (header, rule, *body)]


def markdown_table(frame: pd.DataFrame) -> str:
    """``frame`` without its index as a Markdown table; links in cells stay links."""
    body = ([str(value) for value in row] for row in frame.itertuples(index=False))
    rule = ["---:" if pd.api.types.is_numeric_dtype(dtype) else "---" for dtype in frame.dtypes]
    return "\n".join(_markdown_table([str(name) for name in frame.columns], body, rule)) + "\n"


def _markdown_escape(text: str) -> str:
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "\n": " ",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def latex_escape(text: str) -> str:
    """``text`` for LaTeX, character by character so that nothing is escaped twice."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(tidy_df: pd.DataFrame, *, title: str, profile: str) -> str:
    """The table of ``markdown`` as a LaTeX ``table`` float; needs the ``booktabs`` package."""
    header, *body = ([latex_escape(text) for text in line] for line in _grid(tidy_df))
    lines = [" & ".join(line) + r" \\" for line in body]
    paper_rows = int((~tidy_df.groupby("row", sort=False)["ours_only"].all()).sum())  # they come first
    if 0 < paper_rows < len(lines):
        lines.insert(paper_rows, r"\midrule")
    caption = latex_escape(". ".join([f"{title}. {_caption(tidy_df, profile)}".rstrip("."), *_reasons(tidy_df)]) + ".")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def show_claims(claims: pd.DataFrame, *, profile: str) -> Markdown:
    """``paper.check``'s result for a notebook."""
    return Markdown(claims_markdown(claims, profile=profile))


def claims_markdown(claims: pd.DataFrame, *, profile: str) -> str:
    """``paper.check``'s result as a Markdown table; differences to two decimals."""
    _forbid_claims_of_scale(claims["scale"], profile)
    header = ["Claim", "On", "Paper", "Ours [95 % interval]", "Seeds", "Verdict", "Scale"]
    body = []
    for line in claims.to_dict("records"):
        interval = "" if math.isnan(line["low"]) else f" [{line['low']:+.2f}, {line['high']:+.2f}]"
        ours = "not run" if math.isnan(line["ours"]) else f"{line['ours']:+.2f}{interval}"
        on = column_title(line["column"])
        body.append([line["text"], on, f"{line['paper']:+.2f}", ours, line["seeds"], line["verdict"], line["scale"]])
    demo = [f"{DEMO.capitalize()} (profile {profile}).", ""] if profile in DEMO_PROFILES else []
    return "\n".join([*demo, *_markdown_table(header, body)]) + "\n"


def scoreboard(out: str | Path) -> pd.DataFrame:
    """Every claim of the paper and its verdict at each profile that has results under ``out``.

    One line a claim and task, in the paper's order: ``table``, ``claim``, ``on``, ``published`` (the paper's
    difference), then a column a profile: the verdict and our difference, "not run" where there is no result.
    """
    found: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = {}
    for profile in PROFILES:
        files = sorted((Path(out) / profile).glob("table*.json"))
        results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        claims = {(r["name"], c["claim"], c["column"]): c for r in results for c in r.get("claims", ())}
        if claims:
            found[profile] = claims
    lines = []
    for table in dict.fromkeys(claim.table for claim in paper.CLAIMS):
        for line in paper.check(table, []).to_dict("records"):
            key = table, line["claim"], line["column"]
            verdicts = {profile: _verdict_text(claims.get(key)) for profile, claims in found.items()}
            on = column_title(line["column"])
            lines.append({"table": table, "claim": line["text"], "on": on, "published": line["paper"]} | verdicts)
    return pd.DataFrame(lines)


def _verdict_text(claim: Mapping[str, Any] | None) -> str:
    """``holds (+4.20)``; reasons for "not run" are in the table's own file."""
    if claim is None or claim["verdict"].startswith("not run"):
        return "not run"
    if claim["ours"] is None:  # NaN is not JSON
        return str(claim["verdict"])
    return f"{claim['verdict']} ({claim['ours']:+.2f})"


# --- files ------------------------------------------------------------------------------------------------------------


def write(
    name: str,
    tidy_df: pd.DataFrame,
    *,
    claims: pd.DataFrame | None = None,
    profile: str,
    out: str | Path,
    provenance: Mapping[str, Any],
    title: str,
) -> list[Path]:
    """Write ``<out>/<profile>/<name>`` as .csv, .md, .tex (booktabs) and .json; the paths written.

    Each file atomically. The JSON holds the fields of ``provenance`` and the claims with all digits; the Markdown shows
    both tables.
    """
    text = markdown(tidy_df, title=title, profile=profile)
    if claims is not None and len(claims):
        text += "\n" + claims_markdown(claims, profile=profile)
    records = [] if claims is None else claims.to_dict("records")
    files = {
        "csv": tidy_df.to_csv(index=False, float_format=f"%.{CSV_DIGITS}f", lineterminator="\n"),
        "md": text,
        "tex": latex(tidy_df, title=title, profile=profile),
        "json": _json({"name": name, "title": title, **provenance, "claims": records}),
    }
    folder = Path(out) / profile
    for suffix, content in files.items():
        data.write_text(folder / f"{name}.{suffix}", content)
    return [folder / f"{name}.{suffix}" for suffix in files]


def write_figure(fig: Figure, name: str, *, profile: str, out: str | Path, provenance: Mapping[str, Any]) -> list[Path]:
    """Write ``<out>/<profile>/<name>`` as .png (150 dpi), .svg and .json (provenance); the paths written.

    The pictures carry neither date nor version. At the embedded and tiny profiles the figure is marked "demo scale",
    also for whoever shows it afterwards.
    """
    folder = Path(out) / profile
    if profile in DEMO_PROFILES:
        _mark_demo(fig)
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):
        pictures = {
            "png": _picture(fig, format="png", dpi=150, metadata={"Software": None}),
            "svg": _picture(fig, format="svg", metadata={"Date": None, "Creator": None}),
        }
    for suffix, content in pictures.items():
        with data.atomic_path(folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)
    paths = [folder / f"{name}.{suffix}" for suffix in pictures]
    if not (folder / f"{name}.csv").exists():  # a table of the same name has a JSON, and its claims are in there
        paths.append(folder / f"{name}.json")
        data.write_text(paths[-1], _json({"name": name, **provenance}))
    return paths


def write_png(fig: Figure, path: Path) -> None:
    """Write the figure as .png (150 dpi), atomically, and close it: a cell would show it once more."""
    with data.atomic_path(path) as temporary:
        temporary.write_bytes(_picture(fig, format="png", dpi=150, metadata={"Software": None}))
    plt.close(fig)


def _picture(fig: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, **options)
    return buffer.getvalue()


def _mark_demo(fig: Figure) -> None:
    """Write "demo scale" into the figure's lower right corner, once, and make room for it."""
    if any(text.get_gid() == DEMO for text in fig.texts):
        return
    engine = fig.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0.05, 1, 0.95))
    fig.text(0.99, 0.01, DEMO, ha="right", va="bottom", fontsize=8, color="0.4", gid=DEMO)


def _json(content: Mapping[str, Any]) -> str:
    """JSON with NaN as null: NaN is not JSON."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def weights_figure(learned: LearnedWeights, *, title: str = "") -> Figure:
    """The outer loss, iteration by iteration, and a histogram of the weights as they are."""
    with plt.style.context(style()):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
        numbers = [iteration.number for iteration in learned.history]
        left.plot(numbers, [iteration.outer_loss for iteration in learned.history], marker="o", markersize=3)
        left.xaxis.get_major_locator().set_params(integer=True)
        left.set(xlabel="outer iteration", ylabel="reverse cross-entropy", title="Outer loss")
        right.hist(learned.weights, bins=np.linspace(0, 1, 26))
        right.set(xlabel="weight", ylabel="samples", title=f"Weights after iteration {len(learned.history)}")
        figure.suptitle(title, fontsize=11, parse_math=False)  # it may be a file's name
    return figure


# --- provenance and style ---------------------------------------------------------------------------------------------


class RecordLike(Protocol):
    """What ``provenance`` reads of a record."""

    @property
    def id(self) -> str:
        """The hash that names it in the store."""

    @property
    def seconds(self) -> float:
        """How long it took to compute."""

    @property
    def device(self) -> str:
        """What it was computed on."""

    @property
    def seed(self) -> int | None:
        """Its seed; ``None`` where nothing is random."""


def provenance(records: Sequence[RecordLike], *, profile: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Where results come from: profile, parameters, devices, versions, commit, seconds in total, seeds, record ids."""
    return {
        "profile": profile,
        "parameters": dict(parameters),
        "device": ", ".join(sorted({record.device for record in records})) or "none",
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in ("torch", "transformers", "numpy", "sungen_lib")},
        "commit": _commit(),
        "seconds": round(sum(record.seconds for record in records), 3),
        "seeds": sorted({record.seed for record in records if record.seed is not None}),
        "records": [record.id for record in records],
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _commit() -> str:
    """The checkout's commit; "unknown" for an installed package, even one inside some other repository."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer[1] if Path(answer[0]).resolve() == root else "unknown"


OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.0, 4.0),
    "figure.dpi": 100,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.prop_cycle": cycler(color=OKABE_ITO),
    "svg.hashsalt": "sungen",
}


def style() -> dict[str, Any]:
    """matplotlib settings of the suite, for ``plt.style.use``; colour-blind safe palette (Okabe & Ito 2008)."""
    return dict(STYLE)
