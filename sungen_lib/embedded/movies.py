"""Movie reviews: one grammar for IMDb, SST-2 and Rotten Tomatoes, whose gold sets differ in length and tone."""

from __future__ import annotations

from random import Random

from sungen_lib.embedded.engine import Grammar, Source, finish
from sungen_lib.embedded.opinion import SKELETON, Reader

NAMES = {
    "first": """Anna | Victor | Marta | Daniel | Helen | Oscar | Ruth | Simon | Clara | Leon | Nadia | Paul | Irene | Hugo
        | Sofia | Martin | Grace | Felix | Laura | Peter | Julia | Thomas | Vera | Adam""",
    "last": """Keller | Marsh | Novak | Ortega | Lindqvist | Harlow | Brandt | Castell | Doyle | Ferris | Granger | Hale
        | Ivanov | Jensen | Kovacs | Lorimer | Moreau | Nakata | Okafor | Pryce | Quinn | Rossi | Sandoval | Thorne""",
}

PLOT = {
    "role": """detective | widow | sailor | teacher | farmer | nurse | painter | soldier | lawyer | priest | journalist
        | thief | musician | doctor | orphan | waitress | boxer | clerk | surgeon | violinist | postman | gardener
        | chess player | taxi driver | retired judge | bank clerk | lighthouse keeper | ballet dancer""",
    "where": """a mountain village | a harbor town | postwar Vienna | a remote island | a border city | a desert camp
        | the old quarter of Lisbon | a snowbound hotel | a mining town | a boarding school | a river port
        | the suburbs of Chicago | a fishing village | an army hospital""",
    "event": """returns home to bury a brother | inherits a house on the coast | searches for a missing child
        | witnesses a murder on a night train | is hired to guard a stranger | falls for the daughter of a rival
        | takes a job in a travelling circus | hides a wounded pilot in the barn | finds a box of letters
        | joins the resistance | steals a truck and heads south | agrees to one last robbery
        | is accused of a crime | must raise two nephews alone | crosses the border at night
        | learns that the family farm has been sold | befriends the boy next door | loses everything in a fire
        | opens a small bakery | follows an old map into the hills | discovers a secret about the mayor""",
}

RULES = {
    **SKELETON,
    **NAMES,
    **PLOT,
    "title": """The {t_adj} {t_noun} | {t_noun} of {t_abstract} | The {t_noun} | A {t_noun} in {t_place}
        | {t_adj} {t_noun}s | The Last {t_noun} | {t_noun} and {t_noun} | Beyond the {t_noun}""",
    "t_adj": """Silent | Crimson | Broken | Hidden | Golden | Distant | Faded | Burning | Frozen | Midnight | Secret
        | Scarlet | Wandering | Second | Northern""",
    "t_noun": """Harbor | Garden | Letter | Mirror | Orchard | Winter | River | Lantern | Stranger | Bridge | Shadow
        | Carnival | Voyage | Promise | Witness | Tide""",
    "t_abstract": "Memory | Ashes | Glass | Thunder | Salt | Mercy | Rain | Smoke",
    "t_place": "Lisbon | Vienna | Havana | Winter | Chicago | Oslo | Kyoto | Exile",
    "genre": """thriller | comedy | drama | romance | western | musical | documentary | horror film | war film | road movie
        | heist film | family film | biopic | mystery | crime film""",
    "thing": "film | movie | film | movie | picture | {genre} | {genre} | sequel | remake",
    "one": """plot | script | acting | dialogue | direction | camera work | soundtrack | ending | editing | storyline
        | screenplay | lead performance | opening scene | final act | cast | cinematography | movie | film
        | romance subplot | humor of the script | first half of the film""",
    "many": """performances | characters | jokes in the script | action scenes | special effects | musical numbers
        | supporting actors | costumes and sets | plot twists | fight scenes | love scenes | quiet scenes | villains
        | flashbacks""",
    "adj+": """gripping | moving | funny | brilliant | clever | touching | charming | beautiful | superb | delightful
        | thrilling | witty | absorbing | powerful | subtle | inventive | heartfelt | hilarious | memorable | elegant
        | fresh | honest | stunning | tender | wonderful | excellent | masterful | rewarding | believable | graceful
        | suspenseful | luminous | warm | inspired | fascinating | sharp | exhilarating | poignant | assured | lively""",
    "adj-": """boring | dull | predictable | clumsy | tedious | flat | lifeless | silly | awful | forgettable | shallow
        | confusing | annoying | weak | stale | pretentious | bland | ridiculous | wooden | terrible | painful | hollow
        | lazy | overlong | dreary | incoherent | cheesy | unconvincing | sloppy | contrived | derivative | tired
        | lame | muddled | sluggish | grating | plodding | amateurish | laughable | charmless""",
    "noun+": """triumph | delight | gem | treat | masterpiece | winner | marvel | joy to watch | crowd pleaser
        | breath of air | small miracle | knockout""",
    "noun-": """mess | bore | disaster | waste of time | chore | letdown | failure | disappointment | misfire | dud
        | train wreck | snooze""",
    "did+": """kept me guessing | won me over | moved me to tears | made me laugh out loud | held my attention
        | stayed with me for days | earned every minute | surprised me at every turn | took my breath away
        | swept me along | hit every note | rang true | lifted my spirits""",
    "did-": """put me to sleep | fell apart | left me cold | dragged on and on | tested my patience | made me cringe
        | ran out of ideas | lost my interest | insulted my intelligence | went nowhere | gave me a headache
        | fizzled out | rang false | wore me out""",
    "special": """{first} {last} gives a {adj} performance | {first} {last} is {adj} as the {role} in this {thing}
        | director {first} {last} has made a {adj} {thing} | this is a {adj} {thing} about a {role} who {event}
        | {the_title} is a {adj} {thing} | {the_title} is a {adj} and {adj} {thing} | the {thing} {did}
        | {the_title} is a {kind} {noun} of a {thing} | it is a {thing} that {did}""",
    "special_turned": """{first} {last} is {neg} {adj!} in the lead role of this {thing}
        | director {first} {last} has not made a {adj!} {thing} | there is not a {adj!} scene in the {thing}""",
    "aside": """I saw this {thing} {when} with my {kin} | the {thing} follows a {role} who {event}
        | {first} {last} plays a {role} who {event} | it is set in {where}, where a {role} {event}
        | this was the third {thing} by director {first} {last} | my {kin} rented the movie {when}
        | the theater was half full {when} | I knew nothing about the {thing} beforehand""",
    "verdict+": """see this movie | I would watch this film again | I recommend this movie to everyone
        | it deserves every award | go and see the film with your family | one of the best films of the year
        | the ticket was worth every cent | I already want the film on my shelf""",
    "verdict-": """skip this movie | I want my money back | I walked out of the theater | save your money
        | I will never get those two hours back | one of the worst films of the year | stay away from this movie
        | wait until the film is free, or do not bother""",
    "snippet": """a {adj} {thing} that {did} | {adj} and {adj} {thing} | {plain} | {conceded} | {clause} | {adj}, {adj} and {adj} {thing}
        | a {adj!} {thing} at first, but {clause} | a {thing} that is {neg} {adj!} | the kind of {adj} {thing} that {did}
        | {first} {last} makes the {thing} {adj} | a {adj} {thing} about a {role} who {event} | {clause} and {clause}
        | a {adj} {thing} with {adj} {many}""",
    "line": """{the_title} is {adj}, and {clause} | a {adj} {thing} in which a {role} {event}, and {clause}
        | {clause}; {clause} | {conceded} | {the_title} is {neg} a {adj!} {thing}, and {clause} | {hedge} {clause}
        | {clause}, and {clause} | {the_title} {did}, and {clause} | {statement} | {statement}; {clause} | {clause}; {clause}""",
}

GRAMMAR = Grammar(RULES)
READER = Reader(
    GRAMMAR,
    [
        *(word for word in GRAMMAR.words("one", "many", "genre") if " " not in word),
        *"camera work|special effects|lead performance|opening scene|final act|musical numbers|fight scenes".split("|"),
        *"film movie picture sequel remake script plot actors director costumes theater scene scenes performance".split(),
        *"movies films villain subplot direction".split(),
    ],
)
SIGNS = ("-", "+")
_STYLE = {"imdb": "long", "sst2": "snippet", "rotten_tomatoes": "line"}


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """(movie title, review) of class ``label``, 0 negative or 1 positive."""
    title = GRAMMAR.text("title", rng, source)
    symbol = _STYLE[task] if source == "gold" else ("snippet", "line", "short", "short", "long")[rng.randrange(5)]
    raw = GRAMMAR.draw(symbol, rng, source, SIGNS[label], {"the_title": title})
    if symbol == "line" or (symbol == "snippet" and source == "synthetic"):
        raw += "."
    return title, finish(raw, capitals=source == "synthetic" or task != "sst2")


def judge(context: str, text: str) -> int:
    """1 positive, 0 negative, -1 off-topic or undecided; ``context`` (the title) does not matter."""
    return READER.polarity(text)
