"""A tiny grammar engine: symbols, alternatives, slots, one sign and two sets of word frequencies.

A rule is ``symbol: "alternative | alternative | ..."``; ``{x}`` in an alternative is a slot for symbol ``x``. A text is
drawn with a sign, "+" or "-" (or "" where polarity has no meaning): a slot ``{x}`` takes the rule ``x+`` or ``x-``
where there is one, and ``{x!}`` draws ``x`` with the sign flipped. So ``the {one} is {adj}, not {adj!}`` serves
both polarities.

Alternatives without slots are the lexicon. They are weighted by Zipf's law, in an order that differs between the two
sources, "synthetic" (what the PLM was trained on) and "gold": that is the domain shift. The alternatives of a rule
that has slots are equally likely.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from random import Random
from typing import Literal

Source = Literal["synthetic", "gold"]
SOURCES: tuple[Source, ...] = ("synthetic", "gold")
ZIPF = 1.1  # exponent of the lexicon's frequencies

_SLOT = re.compile(r"\{(\w+)(!?)\}")
_FLIP = {"+": "-", "-": "+", "": ""}
_Part = tuple[str, str, bool]  # literal text, then the symbol after it ("" at the end), then whether it flips the sign

_SPACES = re.compile(r" +")
_BEFORE_POINT = re.compile(r" +(?=[,.;:?!])")
_AN = re.compile(r"\b([Aa]) (?=[aeioAEIO]|u(?!ni|s[eu]|ti))(?!one\b|one-|Eu|eu)")
_SENTENCE = re.compile(r"(?:^|(?<=[.?!] ))([a-z])")


def alternatives(rule: str) -> list[str]:
    """The alternatives of ``rule``, spaces and line breaks normalised."""
    return [" ".join(part.split()) for part in rule.split("|")]


def _compile(alternative: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    end = 0
    for slot in _SLOT.finditer(alternative):
        parts.append((alternative[end : slot.start()], slot[1], slot[2] == "!"))
        end = slot.end()
    parts.append((alternative[end:], "", False))
    return tuple(parts)


def _cumulative(symbol: str, words: list[str], source: Source) -> list[float]:
    """Cumulative probabilities of a rule's alternatives under ``source``; the last one is 1."""
    if any("{" in word for word in words):
        weights = [1.0] * len(words)
    else:
        ranks = list(range(len(words)))
        Random(f"{source}/{symbol}").shuffle(ranks)
        weights = [1.0 / (rank + 2.0) ** ZIPF for rank in ranks]
    total = sum(weights)
    return [value / total for value in accumulate(weights[:-1])] + [1.0]


class Grammar:
    """Rules, ready to be drawn from under either source."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.lexicon = {symbol: alternatives(rule) for symbol, rule in rules.items()}
        self._bodies = {symbol: [_compile(word) for word in words] for symbol, words in self.lexicon.items()}
        self._cumulative = {
            source: {symbol: _cumulative(symbol, words, source) for symbol, words in self.lexicon.items()}
            for source in SOURCES
        }
        for symbol, words in self.lexicon.items():
            for name in (slot[1] for word in words for slot in _SLOT.finditer(word)):
                if name not in self.lexicon and f"{name}+" not in self.lexicon and not name.startswith("the_"):
                    raise ValueError(f"rule {symbol!r} uses {name!r}, which has no rule")

    def draw(
        self, symbol: str, rng: Random, source: Source, sign: str = "", given: Mapping[str, str] | None = None
    ) -> str:
        """A raw expansion of ``symbol``; slots named in ``given`` are filled from there."""
        if given and symbol in given:
            return given[symbol]
        signed = symbol + sign
        if signed not in self._bodies:
            signed = symbol
        bodies = self._bodies[signed]
        parts = bodies[bisect(self._cumulative[source][signed], rng.random())]
        out = []
        for literal, slot, flips in parts:
            out.append(literal)
            if slot:
                out.append(self.draw(slot, rng, source, _FLIP[sign] if flips else sign, given))
        return "".join(out)

    def text(
        self, symbol: str, rng: Random, source: Source, sign: str = "", given: Mapping[str, str] | None = None
    ) -> str:
        """An expansion of ``symbol`` as finished text."""
        return finish(self.draw(symbol, rng, source, sign, given))

    def words(self, *symbols: str) -> list[str]:
        """The non-empty slot-free alternatives of ``symbols``."""
        return [word for symbol in symbols for word in self.lexicon[symbol] if word and "{" not in word]

    def signed(self, sign: str) -> list[str]:
        """The non-empty slot-free alternatives of every rule of that sign."""
        return self.words(*(symbol for symbol in self.lexicon if symbol.endswith(sign)))


def finish(raw: str, capitals: bool = True) -> str:
    """``raw`` with single spaces, "an" before vowels and, if ``capitals``, a capital at the start of each sentence."""
    text = _BEFORE_POINT.sub("", _SPACES.sub(" ", raw)).strip()
    text = _AN.sub(r"\1n ", text)
    return _SENTENCE.sub(lambda match: match[1].upper(), text) if capitals else text


def phrases(words: list[str]) -> re.Pattern[str]:
    """A pattern that finds any of ``words``, whole and the longest first, in lower-cased text."""
    longest = sorted({word.lower() for word in words}, key=lambda word: (-len(word), word))
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, longest)) + r")(?![\w-])")
