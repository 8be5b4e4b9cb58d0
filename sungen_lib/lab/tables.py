"""Tables as CSV, Markdown, LaTeX and JSON under ``<out>/<profile>/``.

CSV, Markdown and LaTeX are functions of the results alone: identical runs give identical bytes. What differs between
identical runs (times, commit) is in the JSON beside them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from sungen_lib import storage
from sungen_lib.lab.profiles import DEMO, DEMO_PROFILES
from sungen_lib.lab.tidying import by_size, column_title
from sungen_lib.paper.numbers import AVERAGE
from sungen_lib.paper.outcomes import NOT_RUN, NUMBER_VERDICTS, kind
from sungen_lib.paper.verdicts import CHECK_COLUMNS, ran
from sungen_lib.texts import tasks

CSV_DIGITS = 4  # decimals of every float in a CSV


def show(tidy_df: pd.DataFrame, *, title: str, profile: str) -> Markdown:
    """The table for a notebook: one line per row, one column per task, each cell "ours ± sd (paper)".

    Markdown, because it renders alike in JupyterLab and on web pages that show notebooks.
    """
    return Markdown(unbroken(markdown(tidy_df, title=title, profile=profile)))


def unbroken(text: str) -> str:
    """``text`` with no line break inside "84.20 ± 2.46", "+2.53 [-5.20, +10.80]" or "-5.20 to +10.80"."""
    places = r" (?=± )|(?<=±) |(?<=\d) (?=\[[+-])|(?<=\d,) (?=[+-])|(?<=\d) (?=to [+-])|(?<=\d to) (?=[+-])"
    return re.sub(places, "\N{NO-BREAK SPACE}", text)


def comparable(tidy_df: pd.DataFrame, profile: str) -> pd.DataFrame:
    """``tidy_df``; at a demo profile without the paper's numbers, so that no toy result stands beside one."""
    return tidy_df.assign(paper=math.nan) if profile in DEMO_PROFILES else tidy_df


def markdown(tidy_df: pd.DataFrame, *, title: str, profile: str) -> str:
    """``show`` as text: title, what a cell says, the table, and why cells were not run."""
    tidy_df = comparable(tidy_df, profile)
    header, *body = _grid(tidy_df)
    lines = [f"**{_markdown_escape(title)}**", "", _markdown_escape(_caption(tidy_df, profile)), ""]
    lines += _markdown_table(header, body)
    notes = _reasons(tidy_df)
    return "\n".join([*lines, *([""] if notes else []), *(f"- {_markdown_escape(note)}" for note in notes)]) + "\n"


def _grid(tidy_df: pd.DataFrame) -> list[list[str]]:
    """Header and body of the wide table, plain text."""
    tidy_df = by_size(tidy_df)
    columns = list(dict.fromkeys(tidy_df["column"]))
    columns.sort(key=lambda column: column == AVERAGE)  # stable: averages last
    header = ["", *(column_title(c) if c in tasks.TASKS else c[:1].upper() + c[1:] for c in columns)]
    body = []
    for row, lines in tidy_df.groupby("row", sort=False):
        texts = {line["column"]: _cell_text(line) for line in lines.to_dict("records")}
        mixed = not tidy_df["ours_only"].all()
        name = f"{row} (ours)" if mixed and lines["ours_only"].all() else str(row)
        body.append([name, *(texts.get(column, NOT_RUN) for column in columns)])
    return [header, *body]


def _cell_text(line: Mapping[Any, Any]) -> str:
    """One cell: "ours ± sd (paper) verdict", leaving out what is missing."""
    seeds = line["n_seeds"] + line["diverged"]
    if kind(line["verdict"]) == NOT_RUN:
        ours, verdict = NOT_RUN, ""
    elif line["verdict"] == "diverged":
        ours, verdict = "diverged", ""
    else:
        ours = f"{line['ours']:.2f}" + ("" if math.isnan(line["sd"]) else f" ± {line['sd']:.2f}")
        ours += f" [{line['diverged']} of {seeds} seeds diverged]" if line["diverged"] else ""
        verdict = f" {line['verdict']}" if line["verdict"] else ""
    return ours + ("" if math.isnan(line["paper"]) else f" ({line['paper']:.2f})") + verdict


def _forbid_claims_of_scale(scales: pd.Series, profile: str) -> None:
    """Refuse cells at another scale in a demo profile: nothing in it may look like a reproduction."""
    other = sorted(set(scales) - {"demo", ""})
    if profile in DEMO_PROFILES and other:
        raise ValueError(f"profile {profile!r} is at demo scale, but some cells say {', '.join(other)}")


def _caption(tidy_df: pd.DataFrame, profile: str) -> str:
    _forbid_claims_of_scale(tidy_df["scale"], profile)
    paper_too = "" if tidy_df["paper"].isna().all() else " (the paper's number)"
    over, exceptions = _seeds(by_size(tidy_df))
    lines = [f"Profile {profile}."]
    if profile in DEMO_PROFILES:
        lines.append(f"{DEMO.capitalize()}: the texts and models are small stand-ins.")
    elif (tidy_df["n_seeds"] > 0).any() and "paper" not in set(tidy_df["scale"]):
        lines.append("Not at the paper's scale: numbers get no verdict.")
    lines.append(f"A cell is our mean ± standard deviation{over}{paper_too}.")
    if tidy_df["verdict"].isin(NUMBER_VERDICTS).any():
        lines.append("The verdict after it says whether the two are within 2 points, by a 95 % interval.")
    return " ".join([*lines, *exceptions])


def _seeds(tidy_df: pd.DataFrame) -> tuple[str, list[str]]:
    """How many seeds most cells had, " over 10 seeds", and which had others: 'With 3 seeds: "Supervised LSTM".'

    One run may have one seed, or nothing that is random.
    """
    ran = tidy_df.assign(had=tidy_df["n_seeds"] + tidy_df["diverged"])
    ran = ran[(ran["had"] > 0) & (ran["column"] != AVERAGE)]
    if ran.empty:
        return "", []
    usual = ran["had"].mode().max()
    others: dict[int, list[str]] = {}
    for (row, had), cells in ran[ran["had"] != usual].groupby(["row", "had"], sort=False):
        whole = len(cells) == (ran["row"] == row).sum()
        names = [f'"{row}"'] if whole else [f'"{row}" on {column_title(column)}' for column in cells["column"]]
        others.setdefault(had, []).extend(names)
    told = sorted(others.items(), reverse=True)
    exceptions = [f"{'One run' if had == 1 else f'With {had} seeds'}: {', '.join(names)}." for had, names in told]
    return f" over {usual} seed{'' if usual == 1 else 's'}", exceptions


def _reasons(tidy_df: pd.DataFrame) -> list[str]:
    """One line per reason, with the number of cells it explains."""
    verdicts = tidy_df.loc[~ran(tidy_df["verdict"]), "verdict"]
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
    tidy_df = comparable(tidy_df, profile)
    header, *body = ([latex_escape(text) for text in line] for line in _grid(tidy_df))
    lines = [" & ".join(line) + r" \\" for line in body]
    paper_rows = int((~by_size(tidy_df).groupby("row", sort=False)["ours_only"].all()).sum())  # they come first
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
    """``verdicts.check``'s result for a notebook."""
    return Markdown(unbroken(claims_markdown(claims, profile=profile)))


def difference(value: float, paper: float) -> str:
    """A claim's difference, signed, to two decimals; to three where the paper's is Self-BLEU's, which is that small.

    "none" if it is NaN.
    """
    if math.isnan(value):
        return "none"
    return f"{value:+.{3 if abs(paper) < 0.05 else 2}f}"


def claims_markdown(claims: pd.DataFrame, *, profile: str) -> str:
    """``verdicts.check``'s result as a Markdown table, without the paper's differences where the paper prints none
    and at a demo profile."""
    _forbid_claims_of_scale(claims["scale"], profile)
    demo = profile in DEMO_PROFILES
    header = ["Claim", "On", "Paper", "Ours [95 % interval]", "Seeds", "Verdict", "Scale"]
    body = []
    for line in claims.to_dict("records"):
        paper, ours, low, high = (difference(line[of], line["paper"]) for of in ("paper", "ours", "low", "high"))
        found = NOT_RUN if math.isnan(line["ours"]) else f"{ours} [{low}, {high}]"
        on = column_title(line["column"])
        body.append([line["text"], on, paper, found, line["seeds"], line["verdict"], line["scale"]])
    rule = ["---", "---", "---:", "---:", "---", "---", "---"]
    left_out = {"Paper": demo or claims["paper"].isna().all(), "Scale": demo}
    kept = [n for n, name in enumerate(header) if not left_out.get(name)]
    header, rule, *body = ([line[n] for n in kept] for line in (header, rule, *body))
    above = [f"{DEMO.capitalize()} (profile {profile}).", ""] if demo else []
    return "\n".join([*above, *_markdown_table(header, body, rule)]) + "\n"


def read(folder: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The cells, the claims and the title that ``write`` has written to ``folder``; ``FileNotFoundError`` if none."""
    numbers = {column: [""] for column in ("paper", "ours", "sd")}
    cells = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=numbers)
    content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    claims = pd.DataFrame(content["claims"], columns=list(CHECK_COLUMNS))
    return cells, claims.astype(dict.fromkeys(("paper", "ours", "low", "high"), float)), content["title"]


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
    """Write ``<out>/<profile>/<name>`` as .csv, .md, .tex (booktabs) and .json; return the paths.

    Each file is written atomically. The JSON holds the fields of ``provenance`` and the claims with all digits; the
    Markdown shows both tables.
    """
    tidy_df = comparable(tidy_df, profile)
    text = markdown(tidy_df, title=title, profile=profile)
    if claims is not None and len(claims):
        text += "\n" + claims_markdown(claims, profile=profile)
    records = [] if claims is None else claims.to_dict("records")
    files = {
        "csv": tidy_df.to_csv(index=False, float_format=f"%.{CSV_DIGITS}f", lineterminator="\n"),
        "md": text,
        "tex": latex(tidy_df, title=title, profile=profile),
        "json": json_text({"name": name, "title": title, **provenance, "claims": records}),
    }
    folder = Path(out) / profile
    for suffix, content in files.items():
        storage.write_text(folder / f"{name}.{suffix}", content)
    return [folder / f"{name}.{suffix}" for suffix in files]


def json_text(content: Mapping[str, Any]) -> str:
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
