"""The offline world as a whole: gold sets, the oracle, the PLM's training text, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from random import Random

import numpy as np

from sungen_lib.embedded import meta, movies, news, ontology, pairs, products, restaurants, subjectivity
from sungen_lib.embedded.engine import ZIPF, Grammar, Source
from sungen_lib.texts import tasks
from sungen_lib.texts.examples import Examples

# How often the PLM's training text disobeys its prompt. Fixed before the first SunGen run; never changed for a result.
NOISY_Y = 0.20  # the text is of another class of the same task
UNRELATED_X = 0.10  # the text is off-topic
OFF_TOPIC_META = 0.5  # of the off-topic text: page talk; the rest comes from other domains

MIN_WORDS, MAX_WORDS = 8, 45  # of a text; a pair's second text and SST-2's gold snippets may be shorter
MIN_WORDS_SHORT = 5

Draw = Callable[[str, Random, Source, int], tuple[str, str]]
Judge = Callable[[str, str], int]


@dataclass(frozen=True)
class Domain:
    """How one task's texts are drawn and judged, its share of the corpus, and whose texts are off-topic in it."""

    draw: Draw
    judge: Judge
    grammar: Grammar
    share: float
    unrelated: tuple[str, ...]


def _pair(task: str, share: float) -> Domain:
    return Domain(pairs.draw, partial(pairs.judge, task), pairs.GRAMMAR, share, ("imdb", "yelp", "ag_news"))


_MOVIES = Domain(movies.draw, movies.judge, movies.GRAMMAR, 3.0, ("amazon", "yelp", "ag_news"))
DOMAINS: dict[str, Domain] = {
    "imdb": _MOVIES,
    "sst2": _MOVIES,
    "rotten_tomatoes": _MOVIES,
    "amazon": Domain(products.draw, products.judge, products.GRAMMAR, 2.0, ("imdb", "yelp", "ag_news")),
    "yelp": Domain(restaurants.draw, restaurants.judge, restaurants.GRAMMAR, 2.0, ("imdb", "amazon", "ag_news")),
    "subj": Domain(subjectivity.draw, subjectivity.judge, subjectivity.GRAMMAR, 1.5, ("amazon", "yelp", "ag_news")),
    "ag_news": Domain(news.draw, news.judge, news.GRAMMAR, 2.0, ("imdb", "amazon", "yelp")),
    "dbpedia": Domain(ontology.draw, ontology.judge, ontology.GRAMMAR, 3.0, ("amazon", "yelp", "ag_news")),
    "rte": _pair("rte", 2.5),
    "qnli": _pair("qnli", 2.5),
    "mrpc": _pair("mrpc", 2.5),
}
WRITTEN = tuple(name for name in DOMAINS if tasks.get(name).synthetic_from == name)  # tasks that have their own text


def _draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """(context, text) of bounded length."""
    short = tasks.get(task).pair or (task == "sst2" and source == "gold")
    while True:
        context, text = DOMAINS[task].draw(task, rng, source, label)
        if (MIN_WORDS_SHORT if short else MIN_WORDS) <= text.count(" ") + 1 <= MAX_WORDS:
            return context, text


# --- gold -------------------------------------------------------------------------------------------------------------

_SPLITS = ("train", "test")


def gold(task: str, split: str, rows: int) -> Examples:
    """``rows`` clean, distinct examples of ``task``; classes balanced up to rounding in every prefix, order random.

    Deterministic in its arguments; the first n of more rows are the n rows asked for alone. No "test"
    text is ever in "train": each text's checksum belongs to one split.
    """
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(_SPLITS)}")
    spec = tasks.get(task)
    rng = Random(f"gold/{task}/{split}/0")
    seen: dict[tuple[str, str], int] = {}
    while len(seen) < rows:
        for label in rng.sample(range(spec.classes), spec.classes):
            seen[_fresh_gold(task, _SPLITS.index(split), rng, label, seen)] = label
    drawn, labels = list(seen)[:rows], list(seen.values())[:rows]
    firsts, texts = [context for context, _ in drawn], [text for _, text in drawn]
    if spec.pair:
        return Examples.of(firsts, labels, spec.labels, texts)
    return Examples.of(texts, labels, spec.labels)


def _fresh_gold(task: str, part: int, rng: Random, label: int, seen: dict[tuple[str, str], int]) -> tuple[str, str]:
    """A text (with its first text, for a pair) that belongs to split number ``part`` and is not in ``seen``."""
    while True:
        context, text = _draw(task, rng, "gold", label)
        key = (context if tasks.get(task).pair else "", text)
        if zlib.crc32("\n".join(key).encode()) % len(_SPLITS) == part and key not in seen:
            return key


# --- the oracle -------------------------------------------------------------------------------------------------------


def judge(task: str, data: Examples) -> np.ndarray:
    """What each text really says: (N,) int64, the class in ``tasks.get(task).labels`` or -1 (off-topic, undecided).

    Reads the texts only, never ``data.labels``; exact on grammar text, approximate on the PLM's variations.
    """
    verdict = DOMAINS[tasks.get(task).name].judge
    if data.pairs is None:
        return np.array([verdict("", text) for text in data.texts], dtype=np.int64)
    return np.array([verdict(*both) for both in zip(data.texts, data.pairs, strict=True)], dtype=np.int64)


# --- the PLM's training text ------------------------------------------------------------------------------------------


def _off_topic(task: str, rng: Random) -> str:
    if rng.random() < OFF_TOPIC_META:
        return meta.draw(rng, "synthetic")
    other = rng.choice(DOMAINS[task].unrelated)
    return _draw(other, rng, "synthetic", rng.randrange(tasks.get(other).classes))[1]


def _prompted(task: tasks.Task, rng: Random, obedient: bool) -> str:
    """One prompted text: obedient, or with probability NOISY_Y of another class, or with UNRELATED_X off-topic."""
    label = said = rng.randrange(task.classes)
    chance = 1.0 if obedient else rng.random()
    if chance < NOISY_Y:
        said = (label + rng.randrange(1, task.classes)) % task.classes
    context, text = _draw(task.name, rng, "synthetic", said)
    if NOISY_Y <= chance < NOISY_Y + UNRELATED_X:
        text = _off_topic(task.name, rng)
    bare = not task.pair and rng.random() < 0.2
    prompt = task.prompting_prompt if bare else task.generation_prompt
    return tasks.fill(prompt, label_words=task.label_words[label], context=context) + text + '"'


def corpus(rows: int, seed: int, *, obedient: bool = False, among: Sequence[str] = WRITTEN) -> list[str]:
    """``rows`` lines for the PLM to learn from: a task's prompt, a text drawn as "synthetic", a closing quote.

    One line in eight of a task that has a context prompt is that prompt and a context. ``obedient`` leaves the noise
    out, for the part of the PLM's training that teaches it what a label means; ``among`` restricts the tasks.
    """
    rng = Random(f"corpus/{seed}")
    shares = [DOMAINS[name].share for name in among]
    lines = []
    for name in rng.choices(list(among), shares, k=rows):
        task = tasks.get(name)
        if task.context_prompt is not None and rng.random() < 0.125:
            context = _draw(name, rng, "synthetic", rng.randrange(task.classes))[0]
            lines.append(task.context_prompt + context + '"')
        else:
            lines.append(_prompted(task, rng, obedient))
    return lines


@cache
def fingerprint() -> str:
    """A hash of the lexicons, the noise rates and a sample of everything drawn: what caches of this world depend on."""
    constants = [NOISY_Y, UNRELATED_X, OFF_TOPIC_META, MIN_WORDS, MAX_WORDS, MIN_WORDS_SHORT, ZIPF]
    lexicons = [DOMAINS[name].grammar.lexicon for name in WRITTEN] + [meta.GRAMMAR.lexicon]
    samples = [gold(name, split, 28).fingerprint() for name in DOMAINS for split in _SPLITS]
    content = json.dumps([constants, lexicons, samples, corpus(300, seed=0)])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
