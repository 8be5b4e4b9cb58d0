"""Plot facts against opinions: Subj. Opinions borrow the movie reviews' lexicon, and so do the people in the plots."""

from __future__ import annotations

import re
from random import Random

from sungen_lib.embedded import movies
from sungen_lib.embedded.engine import Grammar, Source, phrases
from sungen_lib.embedded.opinion import Reader

RULES = movies.RULES | {
    "quality": " | ".join(
        movies.GRAMMAR.words("adj+", "adj-")
    ),  # people in plots are brilliant or dull too: the words alone do not tell
    "place": """Berlin | Boston | Naples | Prague | Tokyo | Dublin | Mexico City | Montreal | Warsaw | Bombay | Texas
        | Sicily | Brooklyn | Seville""",
    "year": "1912 | 1929 | 1936 | 1941 | 1944 | 1958 | 1963 | 1969 | 1977 | 1984 | 1991 | 1999",
    "group": """two brothers | three students | a young couple | four friends | a family of refugees | twin sisters
        | a crew of divers | the members of a choir""",
    "deed": """meet in {where} | are stranded in {where} | set out for {place} | share an apartment in {place}
        | plan the robbery of a bank in {place} | cross {where} on foot | are drafted into the army in {year}""",
    "turn": """a stranger arrives with a suitcase | the police find a body in the river | the father is arrested
        | war breaks out | a letter arrives from {place} | the money disappears | a storm cuts off the road
        | an old friend is released from prison | the ship is lost at sea | the bride vanishes | the king falls ill""",
    "who": """{first}, a {role} from {place}, | {first} {last}, a {quality} {role}, | a {quality} {role} | a young {role}
        | the {quality} {role} {first} {last} | a {role} in {where}""",
    "fact": """{who} {event} when {turn} | in {year}, {who} {event} | set in {where}, the {thing} follows a {quality} {role} who {event}
        | when {turn}, {who} {event} | {group} {deed} until {turn} | {who} {event}, and {turn} | after {turn}, {who} {event}
        | {who} {event} and {event}, while {turn} | everyone calls the {role} {quality}, until he {event} | {group} {deed}, and {turn}
        | in {place}, the {quality} {role} {first} {event}, but {turn}""",
    "made": """the {one} was finished in {place} in {year} | the {many} were shot in {place} in {year} | {the_title} was directed by {first} {last} in {year}
        | the {thing} was written by {first} {last}, a {quality} {role} | the {one} was changed after {first} {last} left the {thing}
        | the {many} took two years and were filmed in {where} | the {thing} was banned in {place} until {year}""",
    "plot": """{fact}. | {fact}. | {fact}. | {fact}. Soon {turn}. | {made}. | {made}. | {made}, and {made}. | {fact}. {made}.
        | the {one} begins before {turn}, and {who} {event}. | in the {thing}, {who} {event}.""",
    "view": """{clause}. | {conceded}. | the story of a {role} who {event} is {adj}, and the {many} are {adj}.
        | a {adj} {thing} about a {role} who {event}. | {the_title} is {neg} {adj!}, and {clause}. | {clause}; {clause}.
        | when a {role} {event}, the {thing} becomes {adj}, and {clause}. | {hedge} {clause}.
        | {who} {event}, and the {one} is {adj}. | it all begins when {turn}, but the {one} is {neg} {adj!}.
        | the scenes in which a {role} {event} are {adj}. | set in {where}, this {thing} {did}. | {fact}, and the {one} is {adj}.
        | {fact}. The {many} are {adj}. | {fact}. The {thing} {did}. | {made}, and the {one} is {adj}. | {made}, but the {thing} {did}.""",
}

GRAMMAR = Grammar(RULES)
READER = Reader(
    movies.GRAMMAR,
    [*GRAMMAR.words("one", "many", "genre"), *"film movie picture sequel remake scenes performance".split()],
)
_EVENTS = phrases(
    [
        *GRAMMAR.words("event", "turn"),
        *"meet in|are stranded|set out for|share an apartment|robbery of a bank|on foot|are drafted".split("|"),
        *"was finished|were shot|was directed by|was written by|was changed|took two years|was banned".split("|"),
    ]
)
_QUALITY = "|".join(map(re.escape, sorted(GRAMMAR.words("quality"), key=len, reverse=True)))
_ROLE = "|".join(map(re.escape, sorted(GRAMMAR.words("role"), key=len, reverse=True)))
# A quality of a person in the plot is no opinion of the film.
_CHARACTER = re.compile(rf"\b(?:{_QUALITY}) (?={_ROLE})|\bcalls the (?:{_ROLE}) (?:{_QUALITY})")
OBJECTIVE, SUBJECTIVE = 0, 1


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """("", sentence) of class ``label``, 0 objective or 1 subjective."""
    title = GRAMMAR.text("title", rng, source)
    sign = "+-"[rng.randrange(2)]
    return "", GRAMMAR.text(("plot", "view")[label], rng, source, sign, {"the_title": title})


def judge(context: str, text: str) -> int:
    """1 if the film is judged, 0 if only its plot is told, -1 if neither."""
    told = _CHARACTER.sub("", text.lower())
    if READER.on_topic(told) and READER.score(told, absolute=True):
        return SUBJECTIVE
    return OBJECTIVE if _EVENTS.search(told) else -1
