"""Every claim of the paper and its verdict at each profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sungen_lib.lab import PROFILES
from sungen_lib.lab.tidying import column_title
from sungen_lib.paper.claims import CLAIMS
from sungen_lib.paper.verdicts import check

SHOWN = tuple(profile for profile in PROFILES if profile != "tiny")  # which is for tests


def scoreboard(*folders: str | Path) -> pd.DataFrame:
    """Every claim of the paper and its verdict at each profile that has results; later folders take precedence.

    One line per claim and task, in the paper's order: ``table``, ``claim``, ``on``, ``published`` (the paper's
    difference), then a column per profile: the verdict and our difference, "not run" where there is no result.
    """
    found: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = {}
    for profile in SHOWN:
        files = {path.name: path for out in folders for path in sorted((Path(out) / profile).glob("table*.json"))}
        results = [json.loads(path.read_text(encoding="utf-8")) for path in files.values()]
        claims = {(r["name"], c["claim"], c["column"]): c for r in results for c in r.get("claims", ())}
        if claims:
            found[profile] = claims
    lines = []
    for table in dict.fromkeys(claim.table for claim in CLAIMS):
        for line in check(table, []).to_dict("records"):
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
