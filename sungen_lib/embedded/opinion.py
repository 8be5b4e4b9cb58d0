"""What the three review domains share: how English affirms, negates and contrasts; and the reader that reverses this.

A domain brings ``one`` and ``many`` (what is judged, singular and plural), ``thing`` (the film, the device, the place),
``adj``, ``noun`` and ``did`` (signed lexicon), ``special`` and ``special_turned`` (clauses specific to the domain,
without and with negation), ``aside`` (neutral sentences) and ``verdict`` (signed closing remarks).
"""

from __future__ import annotations

import re

from sungen_lib.embedded.engine import Grammar, phrases

SKELETON = {
    "degree": "| | truly | really | quite | simply | often | very | rather | mostly | always | genuinely | downright",
    "neg": """not | never | hardly | not exactly | anything but | far from | not remotely | not in the least
        | by no means | not particularly | scarcely""",
    "clause": "{plain} | {plain} | {plain} | {plain} | {plain} | {plain} | {special} | {special} | {special} | {turned}",
    "plain": """the {one} is {degree} {adj} | the {one} is {degree} {adj} | the {many} are {degree} {adj}
        | the {one} is {adj} and {adj} | the {many} are {adj} and {adj} | the {one} {did} | the {many} {did}
        | the {one} {did} and the {many} are {adj} | the {one} is never less than {adj}
        | the {many} could not be more {adj} | the {one} is not only {adj} but {adj} | the {thing} is a {kind} {noun}""",
    "turned": """the {one} is {neg} {adj!} | the {many} are {neg} {adj!} | the {one} never {did!}
        | nothing about the {one} is {adj!} | the {thing} is {neg} a {noun!} | {special_turned}""",
    "kind": "real | minor | genuine | complete | total | rare | small | proper | certified | modern",
    "someone": """my {kin} | a friend of mine | a critic I know | everyone at work | one magazine | the local paper
        | my neighbor | the internet""",
    "kin": "wife | husband | brother | sister | mother | father | son | daughter | cousin | roommate | aunt | uncle",
    "conceded": """although {clause!}, {clause} | while {clause!}, {clause} | {clause!}, but {clause}
        | {clause!}, yet {clause} | {clause}, even though {clause!} | despite its {adj!} {many}, {clause}
        | for all its {adj!} {many}, {clause} | {clause} in spite of the {adj!} {one}
        | {someone} found the {many} {adj!}, but {clause} | {someone} called it {adj!}, yet {clause}
        | the {one} should have been {adj!}, and {clause} | I expected the {one} to be {adj!}, and {clause}
        | I wanted to say that {clause!}, but {clause}""",
    "hedge": """I suppose | to my mind | frankly, | in the end | all in all, | to be fair, | as far as I can tell,
        | I would say that | it must be said that | on balance,""",
    "statement": """{clause} | {clause} | {clause} | {hedge} {clause} | {clause}, and {clause} | {clause}, and {clause}
        | {clause} and {clause} | {conceded}""",
    "granted": "sure, | granted, | admittedly,",
    "rebuttal": "{granted} {clause!}. But {clause}",
    "day": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    "when": "last {day} | on {day} night | over the weekend | last month | two weeks ago | on a rainy {day} | this spring",
    "short": """{statement}. | {statement}. | {statement}. {verdict}. | {conceded}. | {aside}. {statement}. | {statement}. {statement}.
        | {statement}. {verdict}. | {rebuttal}. {verdict}.""",
    "long": """{aside}. {statement}. {statement}. | {statement}. {conceded}. {verdict}. | {statement}. {aside}. {statement}.
        | {rebuttal}. {statement}. {verdict}. | {aside}. {statement}. {verdict}. | {statement}. {rebuttal}.
        | {aside}. {clause}. {clause}. {verdict}. | {statement}. {statement}. {verdict}.""",
}

# What negates a phrase, what may stand in between, and what only looks like a negation.
_EMPHASIS = re.compile(
    r"\b(?:never less than|nothing less than|nothing short of|could not be more|not only|not just|no less than)\b"
)
_FILLER = r"(?:a|an|the|exactly|remotely|particularly|really|truly|quite|very|in the least|at all|once|even|that|ever|made|served|had|owned)"
_NEGATOR = (
    r"(?:never found the (?:[\w-]+ ){0,3}[\w-]+|not|never|hardly|scarcely|anything but|far from|by no means|without|no"
    r"|should have been|could have been|nothing(?! about)"
    r"|nothing about the (?:[\w-]+ ){1,6}?(?:is|was)|expected the (?:[\w-]+ ){1,6}?to be)"
)
_LEADING = re.compile(r"(?:although|though|even though|while|despite|in spite of|for all|as) [^,]*, ")
_TURN = re.compile(r", (?:but|yet|and yet|still) ")
_TRAILING = re.compile(r",? (?:even though|although|though|despite|in spite of|even if) ")
_CONCEDES = ("sure, ", "granted, ", "admittedly, ")


def main_clauses(text: str) -> list[str]:
    """The lower-cased sentences of ``text`` without what they concede: what follows "but" wins."""
    kept = []
    for sentence in re.split(r"(?<=[.?!]) ", text.lower()):
        if sentence.startswith(_CONCEDES):
            continue
        sentence = sentence.removeprefix("but ")
        leading = _LEADING.match(sentence)
        sentence = sentence[leading.end() :] if leading else sentence
        kept.append(_TRAILING.split(_TURN.split(sentence)[-1])[0])
    return kept


class Reader:
    """Reads polarity with a grammar's signed lexicon."""

    def __init__(self, grammar: Grammar, topic: list[str]) -> None:
        """``topic``: words; every text on the domain's topic contains at least one of them."""
        positive, negative = grammar.signed("+"), grammar.signed("-")
        if both := {word.lower() for word in positive} & {word.lower() for word in negative}:
            raise ValueError(f"both positive and negative: {sorted(both)}")
        self._sign = {word.lower(): 1 for word in positive} | {word.lower(): -1 for word in negative}
        polar = phrases([*positive, *negative]).pattern
        self._polar = re.compile(rf"(?:\b({_NEGATOR}) (?:{_FILLER} )*)?(?<![\w-])({polar})")
        self._topic = phrases(topic)

    def score(self, clause: str, absolute: bool = False) -> int:
        """Positive minus negative phrases in one lower-cased clause, negated ones flipped; ``absolute``: their number."""
        found = self._polar.findall(_EMPHASIS.sub("", clause).replace("  ", " "))
        return sum(
            1 if absolute else -self._sign[phrase] if negator else self._sign[phrase] for negator, phrase in found
        )

    def on_topic(self, text: str) -> bool:
        """Whether ``text`` is about the domain at all."""
        return self._topic.search(text.lower()) is not None

    def polarity(self, text: str) -> int:
        """1 positive, 0 negative, -1 off-topic or undecided."""
        if not self.on_topic(text):
            return -1
        total = sum(map(self.score, main_clauses(text)))
        return -1 if total == 0 else int(total > 0)
