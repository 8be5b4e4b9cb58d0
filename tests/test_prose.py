"""The notebooks' prose: the form of their first cells, the numbers on real text, and links to files that exist."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sungen_lib.lab import notebooks, scoreboard

REPOSITORY = notebooks.REPOSITORY
LAPTOP, SMALL, MEDIUM = (notebooks.TABLES / name for name in ("laptop", "small", "medium"))
NOTEBOOKS = notebooks.select(notebooks.NOTEBOOKS)
PAPERS = [path for path in NOTEBOOKS if re.match(r"(table|figure)\d\d_", path.name)]
PAPERS_BY_STEM = {notebooks.stem(path.stem): path for path in PAPERS}
README = REPOSITORY / "README.md"
RESULTS = REPOSITORY / "benchmarks" / "RESULTS.md"
NOTES, LAPTOP_NOTES, MEDIUM_NOTES = (folder / "NOTES.md" for folder in (SMALL, LAPTOP, MEDIUM))
GUIDES = [notebooks.NOTEBOOKS / "README.md", REPOSITORY / "docs" / "guide.md", REPOSITORY / "CONTRIBUTING.md"]
PAGES = [README, *GUIDES, RESULTS, NOTES, LAPTOP_NOTES, MEDIUM_NOTES, notebooks.TABLES / "README.md", *NOTEBOOKS]

CLAIM, FOUND, DEVIATIONS = "**The paper's claim** (", "**What we found on real text", "**Where we deviate"
NUMBER = r"(?<![\w.])[+-]?\d+(?:\.\d+)?"
UNIT = r"(?:%|points\b|±)"
# "66.0, 69.2 and 72.4 %": the unit belongs to all of them.
LISTED = re.compile(rf"{NUMBER}(?:(?:,| and| or| to| against|, and) {NUMBER})* ?(?={UNIT})")
PAIR = re.compile(rf"({NUMBER}) ± ({NUMBER})")


def markdown(path: Path) -> list[str]:
    """The Markdown of a page: a notebook's cells, or a whole file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return [text]
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]


# --- the form of the first cell ---------------------------------------------------------------------------------------


def missing_parts(cell: str) -> list[str]:
    """What the first cell lacks: the claim, the finding, the deviations, in this order, and theirs beside ours."""
    places = [cell.find(part) for part in (CLAIM, FOUND, DEVIATIONS)]
    missing = [part for part, place in zip((CLAIM, FOUND, DEVIATIONS), places, strict=True) if place < 0]
    if missing:
        return missing
    if places != sorted(places):
        return ["the parts in order"]
    finding = cell[places[1] : places[2]].strip().splitlines()
    items = re.findall(r"^\d+\. .*$", cell[places[2] :], re.M)
    both = [item for item in items if "Theirs:" in item and "Ours" in item]
    rest = [item for item in items if item not in both and "Everything in the list of" not in item]
    return [
        *([] if 2 <= len(finding) <= 3 else ["a finding of two lines, three at most"]),
        *([] if both else ["a numbered list, theirs beside ours"]),
        *(f"theirs beside ours: {item}" for item in rest),
    ]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_the_first_cell_says_the_claim_the_finding_and_the_deviations(path: Path) -> None:
    assert missing_parts(markdown(path)[0]) == []


def test_a_missing_part_is_noticed() -> None:
    whole = f"{CLAIM}Table 0). A.\n\n{FOUND}.** B.\nC.\n\n{DEVIATIONS}.**\n\n1. *A.* Theirs: b. Ours: c.\n"
    assert missing_parts(whole) == []
    assert missing_parts(whole.replace(FOUND, "")) == [FOUND]
    assert missing_parts(whole.replace("\nC.", "")) == ["a finding of two lines, three at most"]
    assert missing_parts(whole.replace("Theirs", "Their")) == [
        "a numbered list, theirs beside ours",
        "theirs beside ours: 1. *A.* Their: b. Ours: c.",
    ]


# --- the numbers ------------------------------------------------------------------------------------------------------


def finding(path: Path) -> str:
    """The paragraph "What we found on real text" of a notebook, without its formulas; "" if it has none."""
    cell = markdown(path)[0].replace("−", "-")
    found = re.search(rf"^{re.escape(FOUND)}.*?(?=^\*\*|^#|\Z)", cell, re.M | re.S)
    return re.sub(r"\$+[^$]+\$+", "", found[0]) if found else ""


def tables_of(path: Path) -> list[Path]:
    """The files with a notebook's numbers on real text."""
    if path.stem == "speed":
        return [RESULTS]
    names = [f"{notebooks.stem(path.stem)}.{kind}" for kind in ("csv", "md")]
    return [folder / name for folder in (LAPTOP, SMALL, MEDIUM) for name in names if (folder / name).exists()]


def evidence(path: Path) -> str:
    """What a finding's numbers must come from: the notebook's tables and the notes; all of ``small`` if it has none."""
    tables = tables_of(path) or ([] if path in PAPERS else sorted([*SMALL.glob("*.csv"), *SMALL.glob("*.md")]))
    texts = [file.read_text(encoding="utf-8") for file in dict.fromkeys([NOTES, LAPTOP_NOTES, MEDIUM_NOTES, *tables])]
    return "\n".join(texts).replace("−", "-")


def agrees(shown: str, source: str) -> bool:
    """Whether ``shown`` is ``source`` rounded to the digits shown. Without a sign only the size counts.

    Sources are rounded too: 68.55 in a table may stand for 68.5 and for 68.6.
    """
    there = float(source) if shown[0] in "+-" else abs(float(source))
    step = 10.0 ** -len(shown.partition(".")[2])
    return abs(float(shown) - there) <= step / 2 + 1e-9


def unsupported(text: str, source: str) -> list[str]:
    """The numbers with a decimal point and a unit, and the "mean ± deviation", that ``source`` does not have."""
    numbers = set(re.findall(NUMBER, source))
    pairs = {(mean, deviation) for mean, deviation in PAIR.findall(source)}
    # A line of the CSV: row, column, paper, ours, sd, ...
    pairs |= set(re.findall(rf"^.+?,\w+,[\d.]*,({NUMBER}),({NUMBER}),\d+,\d+,", source, re.M))
    shown = [number for match in LISTED.finditer(text) for number in re.findall(NUMBER, match[0]) if "." in number]
    wrong = [number for number in shown if not any(agrees(number, other) for other in numbers)]
    for mean, deviation in PAIR.findall(text):
        if not any(agrees(mean, other[0]) and agrees(deviation, other[1]) for other in pairs):
            wrong.append(f"{mean} ± {deviation}")
    return wrong


def unsupported_without_unit(text: str, source: str) -> list[str]:
    """The same for all numbers with a decimal point; an AUC may be in the tables as "AUC x 100"."""
    numbers = set(re.findall(NUMBER, source))
    shown = [number for number in re.findall(NUMBER, text) if "." in number]
    sources = [*numbers, *(str(float(number) / 100) for number in numbers if "." in number)]
    return [number for number in shown if not any(agrees(number, other) for other in sources)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_numbers_on_real_text_are_those_of_the_tables(path: Path) -> None:
    assert unsupported(finding(path), evidence(path)) == []
    if tables_of(path):
        assert unsupported_without_unit(finding(path), evidence(path)) == []


def committed(folder: Path) -> str:
    """All committed tables in ``folder`` and the differences behind their claims."""
    files = sorted([*folder.glob("*.csv"), *folder.glob("*.md"), notebooks.TABLES / "README.md"])
    claims = [claim for path in sorted(folder.glob("*.json")) for claim in notebooks.read_json(path).get("claims", [])]
    texts = [path.read_text(encoding="utf-8") for path in files if path.name != "NOTES.md"]
    return "\n".join([*texts, *(f"{claim['ours']} {claim['low']} {claim['high']}" for claim in claims)])


def test_the_numbers_of_the_readme_are_those_of_the_tables() -> None:
    text = README.read_text(encoding="utf-8").replace("−", "-")
    pages = [page.read_text(encoding="utf-8") for page in (NOTES, LAPTOP_NOTES, MEDIUM_NOTES, RESULTS)]
    source = "\n".join([committed(SMALL), committed(LAPTOP), committed(MEDIUM), *pages])
    assert unsupported(text, source) == []
    assert unsupported_without_unit(re.sub(r"Python 3\.11|127\.0\.0\.1|2\.5 GHz", "", text), source) == []


def cells_of(text: str) -> dict[tuple[str, str], list[str]]:
    """The README's table of findings: training set and model, then the cells."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {(line[0], line[1]): line[2:] for line in lines if len(line) == 5 and line[0] in FOUND_ROWS}


FOUND_ROWS = {
    "gold": "Supervised {}",
    "raw texts (ZeroGen)": "ZeroGen {}",
    "weighted texts (SunGen)": "SunGen {}",
    "texts that cleanlab keeps": "cleanlab, then {}",
    "raw texts": "{}",
}


def test_the_readmes_findings_are_cells_of_table_1() -> None:
    """Each in its place. The rows of the frozen encoder are in the notes until Table 1 has them."""
    with (SMALL / "table01.csv").open(encoding="utf-8", newline="") as file:
        measured = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    found = cells_of(README.read_text(encoding="utf-8"))
    assert len(found) == 9
    for (training, model), cells in found.items():
        for column, cell in zip(("imdb", "sst2", "rotten_tomatoes"), cells, strict=True):
            line = measured.get(
                (FOUND_ROWS[training].format(model.replace("frozen MiniLM", "MiniLM-L6 (frozen)")), column)
            )
            if line is None or not line["ours"]:
                assert model == "frozen MiniLM" and (cell == "–" or cell in NOTES.read_text(encoding="utf-8")), cell
                continue
            mean, _, deviation = cell.partition(" ± ")
            assert agrees(mean, line["ours"]) and bool(deviation) == bool(line["sd"]), (training, model, column)
            assert not deviation or agrees(deviation, line["sd"]), (training, model, column)


# Of Figure 1's curves, and a gap and intervals of no claim in the tables.
IN_RECORDS = {"7.7", "9.1"}


def test_the_claims_in_the_notes_are_those_of_the_tables() -> None:
    section = NOTES.read_text(encoding="utf-8").replace("−", "-").split("## The paper's claims")[1].split("\n## ")[0]
    source = committed(SMALL).replace("-", "")  # a claim about "no better" has the table's difference turned round
    assert set(unsupported_without_unit(section.replace("-", ""), source)) == IN_RECORDS


# Accuracies of single seeds on SST-2; no table has them.
OF_SINGLE_SEEDS = {"66.4", "70.5"}


def test_the_prose_of_the_notes_agrees_with_its_tables() -> None:
    """Every number below the claims is in the notes' tables of diagnoses, which are the record, or in another table."""
    notes = NOTES.read_text(encoding="utf-8").replace("−", "-").replace("-", "")
    lines = notes.split("## The paper's claims")[1].partition("\n## ")[2].splitlines()
    tables, prose = ("\n".join(line for line in lines if line.startswith("|") == row) for row in (True, False))
    source = tables + committed(SMALL)
    assert set(unsupported_without_unit(prose, source)) <= OF_SINGLE_SEEDS
    changed = prose.replace("65.6 after five", "63.33 after five")
    assert changed != prose and "63.33" in unsupported_without_unit(changed, source)


def test_figure_6_has_the_numbers_of_its_picture() -> None:
    """They are in no table, but the SVG keeps its texts as comments, in order."""
    drawn = (SMALL / "figure06.svg").read_text(encoding="utf-8")
    accuracies = re.findall(r"<!-- (\d+) % \(paper: (\d+) %\) -->", drawn)
    areas = re.findall(r"<!-- AUC ([\d.]+) -->", drawn)
    lists = re.findall(rf"{NUMBER}(?:, {NUMBER}){{3}} and {NUMBER}", finding(PAPERS_BY_STEM["figure06"]))
    ours, theirs = zip(*accuracies, strict=True)
    assert [re.findall(NUMBER, found) for found in lists] == [list(ours), list(theirs), areas]


def test_the_findings_have_numbers() -> None:
    """Else the test above would pass because it sees none."""
    for path in PAPERS:
        if path.stem.startswith("table") and (SMALL / f"{notebooks.stem(path.stem)}.csv").exists():
            assert len(re.findall(rf"\d\.\d+ ?(?={UNIT})", finding(path))) >= 3, path.stem


def test_the_scoreboard_counts_the_claims_by_their_seeds() -> None:
    claims = [claim for path in sorted(SMALL.glob("*.json")) for claim in notebooks.read_json(path).get("claims", [])]
    signs = [set(claim["seeds"].split()) for claim in claims if claim["seeds"]]
    counts = [len(signs), signs.count({"+"}), signs.count({"-"})]
    counts.append(counts[0] - counts[1] - counts[2])
    scoreboard = next(path for path in NOTEBOOKS if path.stem == notebooks.SCOREBOARD)
    counted = re.search(
        r"test (\d+) claims.* support (\d+) of .* against (\d+); on the other (\d+) ", finding(scoreboard)
    )
    assert counted and [int(count) for count in counted.groups()] == counts


def changed(text: str) -> Iterator[tuple[str, str]]:
    """``text`` with one mean of a "mean ± deviation" changed in its last digit, for each of them; and that pair."""
    for match in PAIR.finditer(text):
        digits = len(match[1].partition(".")[2])
        mean = f"{float(match[1]) + 3 * 10.0**-digits:.{digits}f}"
        yield text[: match.start(1)] + mean + text[match.end(1) :], f"{mean} ± {match[2]}"


@pytest.mark.parametrize("path", [path for path in PAPERS if PAIR.search(finding(path))], ids=lambda path: path.stem)
def test_a_changed_number_is_noticed(path: Path) -> None:
    for text, pair in changed(finding(path)):
        assert pair in unsupported(text, evidence(path))


def test_how_numbers_agree() -> None:
    assert agrees("68.5", "68.5453") and agrees("68.6", "68.55") and not agrees("68.6", "68.5453")
    assert agrees("4.8", "-4.75") and not agrees("+4.8", "-4.75") and agrees("+2.5", "+2.53")
    source = "|  | 68.55 ± 3.06 (84.10) |\n+2.53 [+2.11, +2.97]\nSunGen,imdb,84.1000,68.5453,3.0641,3,0,other,,False\n"
    assert unsupported("68.5 ± 3.1 %, 2.5 points, 84.1 %, AUC 0.99, 12.3 texts", source) == []
    assert unsupported("2.6 points", source) == ["2.6"]
    assert unsupported("84.1 and 85.2 %", source) == ["85.2"]
    assert unsupported("84.1 ± 3.1 %", source) == ["84.1 ± 3.1"]  # each number is there, together they are not
    assert unsupported_without_unit("AUC 0.69 and 0.70", source) == ["0.70"]


# --- links ------------------------------------------------------------------------------------------------------------


def dead_links(path: Path, cells: list[str]) -> list[str]:
    """Relative links in Markdown that do not lead to a file or folder."""
    text = re.sub(r"```.*?```|`[^`\n]*`(?!\])", "", "\n\n".join(cells), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = [target.partition("#")[0] for target in targets if not re.match(r"\w+:|#", target)]
    return [target for target in files if not (path.parent / target).exists()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_relative_links_lead_to_files(path: Path) -> None:
    assert dead_links(path, markdown(path)) == []


def test_a_dead_link_is_noticed() -> None:
    cells = ["[a](../README.md#x) [b](none.ipynb) ![c](../tables/none.png) [d](https://x.y/z) [e](#here)"]
    assert dead_links(NOTEBOOKS[0], cells) == ["none.ipynb", "../tables/none.png"]


def test_the_scoreboard_shows_the_committed_tables() -> None:
    """The notebook and the page: both are made again when a table changes."""
    folder = notebooks.TABLES
    committed = (folder / "README.md").read_text(encoding="utf-8")
    assert committed == scoreboard.page(folder, out=folder), "python -m sungen_lib run --only scoreboard --out tables"
    path = next(path for path in NOTEBOOKS if path.stem == notebooks.SCOREBOARD)
    shown = path.read_text(encoding="utf-8")
    tables = [scoreboard.scoreboard(folder), scoreboard.evidence(folder)]
    for table in tables:
        lines = json.dumps(scoreboard.linked(table, notebooks.NOTEBOOKS).splitlines(keepends=True), ensure_ascii=False)
        assert re.sub(r"\s*\n\s*", " ", shown).count(lines[1:-1]) == 1, "python -m sungen_lib refresh --only scoreboard"
