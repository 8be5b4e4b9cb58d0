"""Restaurant reviews: Yelp."""

from __future__ import annotations

from random import Random

from sungen_lib.embedded.engine import Grammar, Source
from sungen_lib.embedded.opinion import SKELETON, Reader

RULES = {
    **SKELETON,
    "title": """{r_adj} {r_noun} | The {r_adj} {r_noun} | {r_owner}'s {r_kind} | {r_owner} and Sons | Casa {r_owner}
        | {r_noun} and {r_noun} {r_kind} | {r_adj} {r_noun} {r_kind} | Little {r_city} | {r_city} {r_kind}""",
    "r_adj": "Golden | Blue | Rusty | Lucky | Copper | Green | Hungry | Old | Royal | Salty | Smoky | Red | Wild | Jade",
    "r_noun": """Dragon | Spoon | Olive | Lobster | Kettle | Pepper | Fig | Lantern | Anchor | Rooster | Basil | Fork
        | Tomato | Pelican | Oak | Ladle""",
    "r_owner": "Mario | Rosa | Benny | Luigi | Carmen | Pablo | Sal | Maggie | Ahmed | Chen | Olga | Dimitri",
    "r_kind": "Grill | Kitchen | Bistro | Diner | Cafe | Tavern | Trattoria | Cantina | Noodle House | Steakhouse",
    "r_city": "Naples | Saigon | Athens | Bombay | Seoul | Havana | Marrakesh | Lyon",
    "thing": "place | restaurant | diner | spot | bistro | restaurant | eatery",
    "dish": """soup | pasta | steak | curry | lobster | pad thai | burger | salad | risotto | ramen | salmon | paella
        | brisket | lasagna | cheesecake | tiramisu | chicken | pizza | sushi | omelet""",
    "one": """food | service | menu | {dish} | {dish} | {dish} | waiter | dining room | wine list | bread | dessert
        | kitchen | brunch | lunch special | bartender | patio | seafood platter | hostess""",
    "many": """waiters | portions | appetizers | desserts | dumplings | tacos | noodles | cocktails | side dishes
        | vegetables | french fries | pancakes | oysters | servers | spring rolls | meatballs""",
    "adj+": """delicious | wonderful | tasty | friendly | fantastic | superb | excellent | amazing | outstanding
        | lovely | perfect | terrific | fabulous | flavorful | delightful | impressive | memorable | divine | great
        | attentive | charming | generous | heavenly | splendid | incredible | spotless | phenomenal | inviting
        | scrumptious | first-rate | satisfying | fresh""",
    "adj-": """awful | terrible | bland | horrible | disgusting | mediocre | rude | greasy | overpriced | cold | stale
        | disappointing | inedible | dreadful | tasteless | soggy | unpleasant | filthy | lousy | appalling | burnt
        | undercooked | slow | forgettable | rubbery | lukewarm | atrocious | careless | nasty | dismal | poor | sour""",
    "noun+": """gem | treasure | delight | treat | favorite | winner | pleasure | find | paradise | keeper
        | welcome change""",
    "noun-": """disaster | nightmare | rip-off | letdown | disappointment | tourist trap | embarrassment | joke | dump
        | waste of money | mistake""",
    "did+": """exceeded our expectations | made my day | melted in my mouth | was worth the wait | made us feel at home
        | left us smiling | hit the spot | stole the show | blew us away | made our evening | won us over
        | tasted like home""",
    "did-": """made me sick | ruined our evening | left us hungry | took forever | was a waste of money | let us down
        | tasted like cardboard | got our order wrong | spoiled the night | turned my stomach | arrived cold
        | sent us home angry""",
    "special": """we ordered the {dish} and the {dish} and both were {adj} | our {server} was {adj}
        | they serve a {adj} {dish} | {the_title} is a {adj} {thing} | the {dish} at {the_title} {did}
        | {the_title} serves {adj} {dish} | the {thing} {did} | it is a {adj} {thing} with {adj} {many}""",
    "special_turned": """our {server} was {neg} {adj!} | they have not served a {adj!} {dish} yet | there is not a {adj!} dish on the menu
        | I have never had a {adj!} {dish} at this {thing}""",
    "server": "waitress | waiter | server",
    "party": "my {kin} | two friends | a colleague | a party of six | our neighbors | my in-laws",
    "aside": """I came here {when} with {party} | we sat at a table near the kitchen | the {thing} is next to the train station
        | we had a reservation {when} | I ordered the {dish} and {party} had the {dish} | they seated us after ten minutes
        | the {thing} opened {when} under the same owner | we stopped for lunch {when} | {party} picked the {thing} {when}
        | the bill came to forty dollars for two""",
    "verdict+": """we will be back to this place | I recommend this restaurant to everyone | bring your friends to this place
        | I cannot wait to eat here again | five stars for this restaurant | best meal we have had in years
        | I would eat here every week | our new regular restaurant""",
    "verdict-": """we will never eat here again | avoid this restaurant | one star for this restaurant
        | I want my money back for this meal | do not waste a meal here | stay home and cook dinner
        | worst meal we have had in years | go to any other restaurant""",
    "said": "{statement}. {aside}. | {the_title} is {adj}, and {clause}. | {aside}, and {clause}. | {clause}; {clause}.",
    "gold": "{long} | {long} | {aside}. {conceded}. {verdict}. | {statement}. {statement}. {aside}. | {statement}. {clause}. | {said}",
    "synthetic": "{short} | {short} | {said} | {long} | {conceded}.",
}

GRAMMAR = Grammar(RULES)
READER = Reader(
    GRAMMAR,
    [
        *GRAMMAR.words("one", "many", "dish", "thing", "server"),
        *"eat meal meals menu waiters waitress dinner dish dishes kitchen lunch brunch food served".split(),
    ],
)
SIGNS = ("-", "+")


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """(restaurant name, review) of class ``label``, 0 negative or 1 positive."""
    title = GRAMMAR.text("title", rng, source)
    return title, GRAMMAR.text(source, rng, source, SIGNS[label], {"the_title": title})


def judge(context: str, text: str) -> int:
    """1 positive, 0 negative, -1 off-topic or undecided; ``context`` (the name) does not matter."""
    return READER.polarity(text)
