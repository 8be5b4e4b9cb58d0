"""Sentence pairs: RTE, QNLI and MRPC share one premise grammar.

A sentence says who did what to what, where, when and for how much (a ``Frame``, some of it left out). The second text
says, or asks about, the same frame in other words, or one that differs in one place. The reader recovers both frames
and compares them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from random import Random

from sungen_lib.embedded import movies, news
from sungen_lib.embedded.engine import Grammar, Source, finish, phrases

# Base form, then the past forms that mean the same; the participle is the past form except in _PARTICIPLE.
ACTIONS = {
    "open": ("opened", "inaugurated"),
    "build": ("built", "constructed"),
    "buy": ("bought", "acquired"),
    "sell": ("sold", "auctioned off"),
    "restore": ("restored", "renovated"),
    "close": ("closed", "shut down"),
    "visit": ("visited", "toured"),
    "praise": ("praised", "applauded"),
    "criticize": ("criticized", "condemned"),
    "inspect": ("inspected", "examined"),
    "demolish": ("demolished", "tore down"),
    "finance": ("financed", "paid for"),
    "rent": ("rented", "leased"),
    "paint": ("painted", "sketched"),
}
_PARTICIPLE = {"tore down": "torn down"}
OBJECTS = {
    "theater": "playhouse",
    "hospital": "clinic",
    "prison": "jail",
    "store": "shop",
    "hotel": "inn",
    "cemetery": "graveyard",
    "stadium": "arena",
    "airport": "airfield",
    "museum": "gallery",
    "factory": "plant",
    "villa": "country house",
    "park": "public garden",
    "tavern": "pub",
    "harbor": "port",
    "cinema": "movie house",
    "bridge": "river crossing",
}

RULES = {
    **movies.NAMES,
    "city": " | ".join(news.GRAMMAR.lexicon["city"]),
    "action": " | ".join(ACTIONS),
    "object": " | ".join(OBJECTS),
    "year": "1889 | 1897 | 1904 | 1913 | 1926 | 1938 | 1949 | 1955 | 1966 | 1972 | 1981 | 1990 | 1998 | 2003",
    "cost": "two | three | four | five | six | seven | eight | nine | ten | twelve | twenty | forty",
    "job": "architect | mayor | banker | engineer | merchant | lawyer | doctor | actor | painter | farmer | teacher | judge",
    "detail": """after long talks with the town council | with the help of volunteers | while thousands of people watched
        | as part of a larger plan | although {first} {last} had voted against it | despite a letter from {first} {last}
        | although {first} {last} had asked for more time | after years of delay | to the surprise of the neighbors
        | although the {job} {first} {last} had advised against it | in spite of bad weather""",
    "source": "according to the Morning Post | a local paper wrote | records show | according to a biography",
    "refusal": "did not | refused to | decided not to | never wanted to | declined to",
    "person": "{first} {last}",
    "active": """{who} {past} the {thing} {in_city} {in_year} {for_cost} | {in_year_first} {who} {past} the {thing} {in_city} {for_cost}
        | it was {who} who {past} the {thing} {in_city} {in_year} {for_cost}""",
    "passive": """the {thing} {in_city} was {participle} by {who} {in_year} {for_cost}
        | {in_year_first} the {thing} {in_city} was {participle} by {who} {for_cost}""",
    "refused": "{who} {refusal} {base} the {thing} {in_city} {in_year} {for_cost}",
    "agentless": "the {thing} {in_city} was {participle} {in_year} {for_cost} | someone {past} the {thing} {in_city} {in_year} {for_cost}",
    "premise": "{said}, {detail}. | {said}. | {said}, {detail}. | {source}, {said}. | {said}, {source}. | {source}, {said}, {detail}.",
    "claim": "{said}. | {said}. | {said}. | It is true that {said}. | {source}, {said}. | {said}, {source}.",
    "ask_agent": """who {past} the {thing} {in_city} {in_year}? | by whom was the {thing} {in_city} {participle}?
        | what is the name of the person who {past} the {thing} {in_city}?""",
    "ask_year": """when did {who} {base} the {thing} {in_city}? | in what year was the {thing} {in_city} {participle}?
        | when was the {thing} {in_city} {participle} by {who}?""",
    "ask_city": """where did {who} {base} the {thing} {in_year}? | in which city was the {thing} {participle} by {who}?
        | where is the {thing} that {who} {past}?""",
    "ask_cost": """how many crowns did {who} spend to {base} the {thing} {in_city}?
        | for how many crowns was the {thing} {in_city} {participle}? | how many crowns changed hands when {who} {past} the {thing}?""",
}
_PER_TEXT = "who past participle base thing in_city in_year in_year_first for_cost said".split()

GRAMMAR = Grammar(RULES | dict.fromkeys(_PER_TEXT, ""))
FIELDS = ("agent", "action", "thing", "city", "year", "cost")
_ASKED = ("agent", "year", "city", "cost")


@dataclass(frozen=True)
class Frame:
    """What a sentence says; "" where it does not say. ``asked`` is the field a question asks for."""

    agent: str = ""
    action: str = ""
    thing: str = ""
    city: str = ""
    year: str = ""
    cost: str = ""
    refused: bool = False
    asked: str = ""


def _value(field: str, rng: Random, source: Source) -> str:
    return GRAMMAR.draw({"agent": "person", "thing": "object"}.get(field, field), rng, source)


def _other(frame: Frame, field: str, rng: Random, source: Source) -> Frame:
    """``frame`` with another value of ``field``."""
    value = getattr(frame, field)
    while value == getattr(frame, field) or (field == "agent" and value.split()[-1] == frame.agent.split()[-1]):
        value = _value(field, rng, source)
    return replace(frame, **{field: value})


def _frame(rng: Random, source: Source, keep: str = "") -> Frame:
    """A full premise; city, year and cost are sometimes left out, except ``keep``."""
    shares = {"agent": 1.0, "action": 1.0, "thing": 1.0, "city": 0.8, "year": 0.7, "cost": 0.3}
    values = {f: _value(f, rng, source) if f == keep or rng.random() < shares[f] else "" for f in FIELDS}
    return Frame(**values, refused=not keep and rng.random() < 0.2)


def _slots(frame: Frame, rng: Random) -> dict[str, str]:
    """The frame in words, synonyms drawn at random."""
    past = rng.choice(ACTIONS[frame.action])
    return {
        "who": frame.agent,
        "past": past,
        "participle": _PARTICIPLE.get(past, past),
        "base": frame.action,
        "thing": rng.choice((frame.thing, OBJECTS[frame.thing])),
        "in_city": f"in {frame.city}" if frame.city else "",
        "in_year": f"in {frame.year}" if frame.year else "",
        "in_year_first": f"in {frame.year}," if frame.year else "",
        "for_cost": f"for {frame.cost} million crowns" if frame.cost else "",
    }


def _say(symbol: str, frame: Frame, rng: Random, source: Source) -> str:
    """``frame`` as a "premise" or a "claim"."""
    given = _slots(frame, rng)
    form = "refused" if frame.refused else rng.choice(("active", "passive")) if frame.agent else "agentless"
    given["said"] = GRAMMAR.draw(form, rng, source, given=given)
    return finish(GRAMMAR.draw(symbol, rng, source, given=given))


def _less(frame: Frame, rng: Random) -> Frame:
    """A part of what ``frame`` says: agent, place or time may be dropped."""
    optional = [field for field in ("city", "year", "cost") if rng.random() < 0.5]
    if not frame.refused and rng.random() < 0.25:
        optional.append("agent")
    return replace(frame, **dict.fromkeys(optional, ""))  # type: ignore[arg-type]


def _spoil(frame: Frame, rng: Random, source: Source) -> Frame:
    """``frame`` with one thing wrong: refused where it was done (or the reverse), or another value of one field."""
    if frame.agent and rng.random() < 0.35:
        return replace(frame, refused=not frame.refused)
    return _other(frame, rng.choice([field for field in FIELDS if getattr(frame, field)]), rng, source)


def _rte(rng: Random, source: Source, label: int) -> tuple[str, str]:
    frame = _frame(rng, source)
    claim = _less(frame, rng)
    claim = claim if label == 0 else _spoil(claim, rng, source)
    return _say("premise", frame, rng, source), _say("claim", claim, rng, source)


def _qnli(rng: Random, source: Source, label: int) -> tuple[str, str]:
    asked = rng.choice(_ASKED)
    frame = _frame(rng, source, keep=asked)
    about = frame
    if label == 1 and asked != "agent" and rng.random() < 0.5:
        frame = replace(frame, **{asked: ""})  # type: ignore[arg-type]  # the premise does not say
    elif label == 1:
        about = _other(frame, rng.choice([field for field in ("thing", "action") if field != asked]), rng, source)
    question = GRAMMAR.text(f"ask_{asked}", rng, source, given=_slots(about, rng))
    return _say("premise", frame, rng, source), question


def _mrpc(rng: Random, source: Source, label: int) -> tuple[str, str]:
    frame = _frame(rng, source)
    other = frame if label == 1 else _spoil(frame, rng, source)
    return _say("premise", frame, rng, source), _say(rng.choice(("premise", "claim")), other, rng, source)


_DRAW = {"rte": _rte, "qnli": _qnli, "mrpc": _mrpc}

_ACTION = {past: base for base, pasts in ACTIONS.items() for past in pasts} | {base: base for base in ACTIONS}
_ACTION |= {participle: _ACTION[past] for past, participle in _PARTICIPLE.items()}
_THING = {word: word for word in OBJECTS} | {synonym: word for word, synonym in OBJECTS.items()}
_ACTIONS, _THINGS = phrases(list(_ACTION)), phrases(list(_THING))
_CITIES = phrases(GRAMMAR.words("city"))
_NAME = re.compile(rf"\b(?:{'|'.join(GRAMMAR.words('first'))}) (?:{'|'.join(GRAMMAR.words('last'))})\b")
_YEAR = re.compile(r"\b(?:1[89]|20)\d\d\b")
_COST = re.compile(r"\b(\w+) million crowns")
_REFUSED = phrases(GRAMMAR.words("refusal"))
_DETAIL = re.compile(r", (?:although|despite|in spite of|after|while|with|as|to) ")
_QUESTIONS = {
    "agent": re.compile(r"^(?:who\b|by whom\b|what is the name)"),
    "year": re.compile(r"^(?:when\b|in what year\b)"),
    "city": re.compile(r"^(?:where\b|in which city\b)"),
    "cost": re.compile(r"\bhow many crowns\b"),
}


def read(text: str) -> Frame:
    """What ``text`` says or asks, without details and asides."""
    main = _DETAIL.split(text)[0]
    lowered = main.lower()

    def first(pattern: re.Pattern[str]) -> str:
        found = pattern.search(lowered)
        return found[0] if found else ""

    name, cost = _NAME.search(main), _COST.search(lowered)
    asked = [field for field, pattern in _QUESTIONS.items() if text.endswith("?") and pattern.search(lowered)]
    return Frame(
        agent=name[0] if name else "",
        action=_ACTION.get(first(_ACTIONS), ""),
        thing=_THING.get(first(_THINGS), ""),
        city=first(_CITIES),
        year=first(_YEAR),
        cost=cost[1] if cost else "",
        refused=bool(_REFUSED.search(lowered)),
        asked=asked[0] if asked else "",
    )


def _fits(second: Frame, first: Frame) -> bool:
    """Whether everything ``second`` says, ``first`` says too."""
    said = [field for field in FIELDS if getattr(second, field)]
    return second.refused == first.refused and all(getattr(second, f) == getattr(first, f) for f in said)


def judge(task: str, context: str, text: str) -> int:
    """The class of (first text, second text); -1 if the second is about something else or is not of the task's kind."""
    first, second = read(context), read(text)
    shared = [f for f in ("agent", "action", "thing") if getattr(second, f) and getattr(second, f) == getattr(first, f)]
    if not shared or not second.action or not second.thing or bool(second.asked) != (task == "qnli"):
        return -1
    if task == "qnli":
        return int(not (_fits(second, first) and getattr(first, second.asked)))
    if task == "rte":
        return int(not _fits(second, first))
    return int(_fits(second, first) and _fits(first, second))


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """(first text, second text) of class ``label`` in ``task``'s order."""
    return _DRAW[task](rng, source, label)
