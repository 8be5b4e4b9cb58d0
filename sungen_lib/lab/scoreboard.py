"""Every claim of the paper and its verdicts: on real text first, at every profile, and as the page of ``tables/``."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from sungen_lib.lab import PROFILES, notebooks, tables
from sungen_lib.lab.profiles import DEMO_PROFILES
from sungen_lib.lab.tidying import column_title
from sungen_lib.paper.claims import CLAIMS, FROZEN
from sungen_lib.paper.outcomes import NOT_RUN, VERDICTS, kind
from sungen_lib.paper.verdicts import check

SHOWN = tuple(profile for profile in PROFILES if profile != "tiny")  # which is for tests
REAL = tuple(profile for profile in reversed(SHOWN) if profile not in DEMO_PROFILES)  # the largest first: it counts

WITH_CLAIMS = tuple(dict.fromkeys(claim.table for claim in CLAIMS))  # tables, and Figure 1

Claims = dict[tuple[str, str, str], dict[str, Any]]  # by table, claim and column


def scoreboard(*folders: str | Path) -> pd.DataFrame:
    """Every claim of the paper and its verdict at each profile that has results; later folders take precedence.

    One line per claim and task, in the paper's order: ``table``, ``claim``, ``on``, ``published`` (the paper's
    difference), then a column per profile: the verdict and our difference, "not run" where there is no result.
    """
    found = _results(folders)
    lines = []
    for key, line in _published().items():
        verdicts = {profile: _verdict_text(claims.get(key)) for profile, claims in found.items()}
        lines.append(_about(key, line) | verdicts)
    return pd.DataFrame(lines)


def evidence(*folders: str | Path) -> pd.DataFrame:
    """The claims that real text tests, a line each: ``table``, ``claim``, ``on``, ``published``, ``ours``,
    ``verdict``, ``95 % interval``, ``seeds`` (one sign each), ``profile``. Of several profiles, the largest counts."""
    found = _results(folders)
    lines = []
    of_paper = _published().items()
    published = {(table, claim + tam, on): line for (table, claim, on), line in of_paper for tam in ("", FROZEN)}
    for key, line in published.items():
        for profile in (name for name in REAL if name in found):
            claim = found[profile].get(key)
            if claim is None or _verdict_text(claim) == NOT_RUN:
                continue
            ends = [_difference(claim[end], line["paper"]) for end in ("low", "high")]
            interval = "none" if claim["low"] is None else " to ".join(ends)
            about = _about(key, line)
            ours = {"ours": _difference(claim["ours"], line["paper"]), "verdict": claim["verdict"]}
            detail = {"95 % interval": interval, "seeds": claim["seeds"], "profile": profile}
            lines.append(about | {"claim": claim["text"]} | ours | detail)
            break
    return pd.DataFrame(lines)


def counts(board: pd.DataFrame) -> pd.DataFrame:
    """How many claims of ``scoreboard`` have each verdict: a column per profile, and one on real text.

    Of several profiles with real text, the largest counts, as in ``evidence``.
    """
    columns = {name: board[name] for name in SHOWN if name in board}
    real = [columns[name] for name in REAL if name in columns]
    if real:
        columns["on real text"] = pd.concat(real, axis=1).apply(_first_run, axis=1)
    numbers = {name: [int(of.str.startswith(verdict).sum()) for verdict in VERDICTS] for name, of in columns.items()}
    return pd.DataFrame(numbers, index=pd.Index(VERDICTS, name="verdict"))


def _first_run(verdicts: pd.Series) -> str:
    return next((verdict for verdict in verdicts if verdict != NOT_RUN), NOT_RUN)


def not_run(*folders: str | Path) -> pd.DataFrame:
    """Why no real text tests a claim: ``why``, the number of ``claims``, and of which ``tables``.

    The reason is that of the largest profile with such a table, and of the first missing cell.
    """
    found, cells = _results(folders), cache(partial(_cells, folders))
    reasons: dict[str, list[str]] = {}
    for key in _published():
        lines = [(name, found[name][key]) for name in REAL if key in found.get(name, {})]
        if all(_verdict_text(line) == NOT_RUN for _, line in lines):
            why = _why(lines[0][1], cells(lines[0][0], key[0])) if lines else "no such result has been made"
            reasons.setdefault(why, []).append(key[0])
    rows = [(why, len(of), ", ".join(dict.fromkeys(of))) for why, of in reasons.items()]
    return pd.DataFrame(rows, columns=["why", "claims", "tables"])


def _cells(folders: Sequence[str | Path], profile: str, table: str) -> pd.DataFrame:
    """``row``, ``column``, ``verdict`` of a table's cells; those of later folders come first."""
    paths = [Path(out) / profile / f"{table}.csv" for out in reversed(folders)]
    columns = ["row", "column", "verdict"]
    return pd.concat([pd.DataFrame(columns=columns), *(pd.read_csv(p, usecols=columns) for p in paths if p.exists())])


def _why(claim: Mapping[str, Any], cells: pd.DataFrame) -> str:
    """What the table's own ``cells`` say of the missing one; without such a cell, which row is missing."""
    told = str(claim["verdict"]).removeprefix("not run: ")
    row, _, task = told.removeprefix("no ").partition(" on ")
    reason = cells.verdict[(cells.row == row) & (cells.column == (task or claim["column"]))].dropna()
    return str(reason.iloc[0]).removeprefix("not run: ") if len(reason) else told


def linked(lines: pd.DataFrame, folder: str | Path) -> str:
    """``lines`` as Markdown; each table's name is a link to its notebook, for a page in ``folder``."""
    names = {notebooks.stem(path.stem): path.name for path in notebooks.select(notebooks.NOTEBOOKS)}
    place = Path(os.path.relpath(notebooks.NOTEBOOKS, folder)).as_posix()
    links = {table: f"[{table}]({place}/{names[table]})" for table in lines["table"]}
    page = tables.unbroken(tables.markdown_table(lines))
    return re.sub(r"^\| (\w+) ", lambda start: f"| {links.get(start[1], start[1])} ", page, flags=re.M)


def page(*folders: str | Path, out: Path) -> str:
    """``out``/README.md: the evidence on real text, how many claims have each verdict, and every claim."""
    board, real = scoreboard(*folders), evidence(*folders)
    return f"""# The paper's claims, and what became of them here

Written by `notebooks/scoreboard.ipynb`, which explains the verdicts. Numbers are differences, in the unit of the table.
Signs, one per seed: `+` the seed alone supports the claim, `-` goes against it, `0` is level, `x` diverged.
Where a row names MiniLM the published difference is the LSTM's; it is `none` where the paper prints no numbers.
Of several profiles that test a claim the largest is shown; each profile's own tables have all of its claims.

## On real text

{linked(real, out) if len(real) else "Nothing has been run on real text."}
### Not run on real text

{tables.markdown_table(not_run(*folders))}
## Every claim, at every profile

Sizes in Table 4's claims are the paper's: ours have the same share of the pool. Rows that name MiniLM, above, test
these claims a second time; they are neither counted nor shown here. `embedded` is a demonstration of the machinery and
no evidence about the paper.

{tables.markdown_table(counts(board).reset_index())}
{linked(board, out)}"""


def _results(folders: tuple[str | Path, ...]) -> dict[str, Claims]:
    found: dict[str, Claims] = {}
    for profile in SHOWN:
        paths = [Path(out) / profile / f"{table}.json" for out in folders for table in WITH_CLAIMS]
        results = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
        latest = {result["name"]: result["claims"] for result in results if result.get("claims")}
        claims = {(table, c["claim"], c["column"]): c for table, of_table in latest.items() for c in of_table}
        if claims:
            found[profile] = claims
    return found


def _published() -> dict[tuple[str, str, str], Mapping[Any, Any]]:
    """The paper's side of every claim: ``check`` without cells."""
    checked = {table: check(table, []).to_dict("records") for table in WITH_CLAIMS}
    return {(table, line["claim"], line["column"]): line for table, lines in checked.items() for line in lines}


def _about(key: tuple[str, str, str], line: Mapping[Any, Any]) -> dict[str, str]:
    table, _, column = key
    published = _difference(line["paper"], line["paper"])
    return {"table": table, "claim": line["text"], "on": column_title(column), "published": published}


def _difference(value: float | None, paper: float) -> str:
    return tables.difference(math.nan if value is None else value, paper)


def _verdict_text(claim: Mapping[str, Any] | None) -> str:
    """``holds (+4.20)``; reasons for "not run" are in the table's own file."""
    if claim is None or kind(claim["verdict"]) == NOT_RUN:
        return NOT_RUN
    if claim["ours"] is None:  # NaN is not JSON
        return str(claim["verdict"])
    return f"{claim['verdict']} ({claim['ours']:+.2f})"
