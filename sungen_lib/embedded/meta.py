"""Off-topic talk about a web page, the kind a PLM writes when it loses the thread."""

from __future__ import annotations

from random import Random

from sungen_lib.embedded import movies
from sungen_lib.embedded.engine import Grammar, Source

RULES = {
    **movies.NAMES,
    "page": "Home | About us | Contact | Archive | Forum | Search | Help | Login | Gallery | Events | Shop | Blog | FAQ",
    "month": "January | March | April | June | July | August | October | November | December",
    "n": "two | three | four | five | six | seven | eight | nine | ten | twelve | twenty | thirty",
    "user": "{first} {last} | admin | a guest | {first}",
    "thing": "comment | message | newsletter | post | link | profile | page | thread | password",
    "bar": "{page} > {page} > {page} > {page} | {page}, {page}, {page}, {page} and {page}",
    "line": """Posted by {user} in {month}, {n} comments, leave a {thing} | Click here to read more and subscribe to our {thing}
        | Please log in to leave a {thing} or change your {thing} | This {thing} was deleted by {user} on {month} {n}th
        | Copyright {first} {last}, all rights reserved, last updated in {month} | {bar}
        | You are here: {bar} | Previous {thing}, next {thing}, back to the top of the {thing}
        | Thank you for visiting this {thing}, please share it with {n} friends | Sign up in {month} and get our {thing} every week
        | Your {thing} has been sent to {user}, who will answer in {n} days | The {thing} you are looking for has moved to {page}
        | Filed under {page} by {user}, tagged {page} and {page} | I started this blog in {month} and have {n} readers now
        | Does anyone know how to edit a {thing}? Thanks, {user}""",
    "talk": "{line}. | {line}. | {line}. {line}.",
}

GRAMMAR = Grammar(RULES)


def draw(rng: Random, source: Source) -> str:
    """A line or two of page talk."""
    return GRAMMAR.text("talk", rng, source)
