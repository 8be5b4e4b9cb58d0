"""Encyclopaedia lines in fourteen classes: DBpedia. What the subject "is a" decides; the rest of the line may mention
any other class."""

from __future__ import annotations

import re
from random import Random

from sungen_lib.embedded import movies
from sungen_lib.embedded.engine import Grammar, Source, finish, phrases

# What a subject of each class is, in the order of the task's labels.
HEADS = {
    "company": """company | manufacturer of farm machinery | retail chain | software firm | airline | brewery | insurer
        | chain of bakeries | shipping line | record label | maker of kitchen appliances""",
    "school": """university | college | high school | primary school | boarding school | research institute
        | music academy | medical school | grammar school | technical institute""",
    "artist": """singer | painter | sculptor | songwriter | guitarist | rapper | jazz pianist | illustrator | photographer
        | drummer | actress | cellist""",
    "athlete": """footballer | cyclist | sprinter | swimmer | tennis player | rower | goalkeeper | boxer | speed skater
        | pole vaulter | ice hockey defenseman | rugby player""",
    "politician": """politician | senator | mayor | governor | diplomat | member of parliament | cabinet minister
        | city councillor | chief justice | attorney general""",
    "transport": """locomotive | frigate | car ferry | light aircraft | steamship | motorcycle | sedan | destroyer
        | biplane | cargo ship | submarine | sports car""",
    "building": """manor house | church | stone tower | hotel building | courthouse | castle | railway station | lighthouse
        | mosque | skyscraper | theater building | farmhouse""",
    "nature": """river | lake | mountain | glacier | bay | peak | crater | valley | waterfall | creek | mountain range
        | lagoon""",
    "village": """village | village | hamlet | village and municipality | farming village | settlement | mountain village
        | rural commune""",
    "animal": """species of moth | genus of beetles | species of frog | songbird | species of snail | fruit bat
        | species of lizard | freshwater fish | species of spider | sea slug | butterfly | species of shrew""",
    "plant": """species of orchid | shrub | flowering plant | species of fern | evergreen tree | perennial herb
        | genus of grasses | species of cactus | climbing vine | species of moss | wildflower""",
    "album": """studio album | live album | compilation album | debut album | EP | double album | soundtrack album
        | Christmas album | remix album""",
    "film": """drama film | silent film | comedy film | horror film | documentary film | short film | western film
        | adventure film | crime film | animated film""",
    "book": """novel | short story | poetry collection | daily newspaper | academic journal | memoir | comic book
        | detective novel | weekly magazine | essay collection""",
}

RULES = {
    **movies.NAMES,
    **{f"{name}_head": heads for name, heads in HEADS.items()},
    "place_a": """Kel | Nor | Ash | Wester | Har | Mill | Ost | Bran | Thorn | Lun | Stan | Eller | Fal | Grim | Hol | Vin""",
    "place_b": "brook | wick | ford | mere | dale | stad | burg | field | haven | ville",
    "town": "{place_a}{place_b}",
    "land": """Norway | Austria | Canada | Brazil | Kenya | Poland | New Zealand | Estonia | Chile | Scotland | Japan
        | Turkey | Ohio | Vermont | Queensland | Slovenia""",
    "origin": "Norwegian | Austrian | Canadian | Brazilian | Kenyan | Polish | Estonian | Chilean | Scottish | Japanese | Turkish | Dutch",
    "year": """1871 | 1884 | 1896 | 1903 | 1911 | 1922 | 1934 | 1947 | 1952 | 1961 | 1968 | 1974 | 1979 | 1983 | 1988
        | 1992 | 1997 | 2001 | 2004""",
    "n": "two | three | four | five | six | seven | eight | nine | twelve | twenty | forty",
    "noun": """Harbor | Garden | Letter | Mirror | Orchard | Winter | River | Lantern | Stranger | Bridge | Shadow
        | Carnival | Voyage | Promise | Witness | Tide""",
    "mood": "Silent | Crimson | Broken | Hidden | Golden | Distant | Burning | Frozen | Midnight | Secret | Scarlet | Northern",
    "work": "The {mood} {noun} | {noun} of {noun}s | The {noun} | {mood} {noun}s | A {noun} in {land} | {noun} and {noun}",
    "latin": """Acroma | Belonia | Calidra | Drusella | Elaphra | Galathea | Idmon | Leptura | Melanis | Ornata | Pterula
        | Rubrica | Sylvana | Telema | Vireola""",
    "epithet": "alba | robusta | minor | vulgaris | montana | elegans | nigra | gracilis | pallida | borealis | maxima | saxatilis",
    "person": "{first} {last}",
    "company_name": "{last} and {last} | {mood} {noun} Group | {last} Brothers | {town} Industries | {last} Holdings",
    "school_name": "{town} {school_kind} | {last} {school_kind} | {school_kind} of {town} | St. {first}'s {school_kind}",
    "school_kind": "University | College | Academy | High School | Institute",
    "artist_name": "{person}",
    "athlete_name": "{person}",
    "politician_name": "{person}",
    "transport_name": "The {last} {model} | {ship} {noun} | The {town} class | {ship} {last} | The {noun} {model}",
    "model": "Mark II | 200 | Type 4 | Six | B12 | Special | 750",
    "ship": "HMS | SS | MV | USS",
    "building_name": "{last} Hall | {town} {building_kind} | {last} House | St. {first}'s {building_kind} | The {last} Building",
    "building_kind": "Church | Tower | Castle | Hotel | Station | Lighthouse",
    "nature_name": "{nature_kind} {last} | {town} {nature_kind} | The {mood} {nature_kind} | {last} {nature_kind}",
    "nature_kind": "River | Lake | Peak | Bay | Valley | Creek | Falls",
    "village_name": "{town} | Upper {town} | {town} on the Hill | Old {town}",
    "animal_name": "{latin} {epithet} | The {origin} {latin} | {latin}",
    "plant_name": "{latin} {epithet} | The {origin} {latin} | {latin}",
    "album_name": "{work}",
    "film_name": "{work}",
    "book_name": "{work} | The {town} Times | The {town} Review",
    "company_line": """{head} based in {town}, {land}, founded by {person} in {year} | {head} that once owned a hotel in {town}
        | {head} named after the river at {town} | {head} in {land} that sponsors a football club and a music academy
        | {head} with {n} factories in {land}, sold in {year} | {head} that published books by {person} until {year}""",
    "school_line": """{head} in the village of {town}, {land}, founded in {year} | {head} that teaches business and music in {town}
        | {head} whose main building was once the castle of {town} | {head} in {land} with a team of rowers and a student newspaper
        | {head} on the shore of the lake at {town} | {head} named after the politician {person}""",
    "artist_line": """{head} from {town}, {land}, best known for the album {work} | {head} who made the posters for the film {work}
        | {head} born in {year} who studied at the University of {town} | {head} who plays with a company in {town}
        | {head} who wrote a novel about growing up in a village | {head} who married the mayor of {town} in {year}""",
    "athlete_line": """{head} who competed at the {year} Games in {town} | {head} from the village of {town}, {land}
        | {head} who plays for the college team of {town} | {head} and later the owner of a company in {land}
        | {head} who won {n} medals and wrote a book about it | {head} who appeared in the film {work} in {year}""",
    "politician_line": """{head} who served from {year} to {year} in {land} | {head} who taught at a school in {town}
        | {head} born in the village of {town} in {year} | {head} who wrote the novel {work} before taking office
        | {head} who led the shipping company of {town} | {head} known for saving the lake at {town} from a mining firm""",
    "transport_line": """{head} built in {year} by a company in {town} | {head} that sailed between {town} and {land}
        | {head} named after the singer {person} | {head} used for the film {work} in {year} | {head} lost near the bay of {town} in {year}
        | {head} designed by {person} of {town} College""",
    "building_line": """{head} in {town}, {land}, built in {year} | {head} designed by {person} for a bank in {town}
        | {head} beside the river in the village of {town} | {head} that houses a school of music | {head} seen in the film {work}
        | {head} named after the governor {person}, completed in {year}""",
    "nature_line": """{head} in {land}, {n} miles north of the village of {town} | {head} named after the painter {person}
        | {head} with an old hotel on its northern side | {head} that appears in the novel {work}
        | {head} known for its frogs and orchids in {land} | {head} that gave the town of {town} its name""",
    "village_line": """{head} in {land} with a church built in {year} | {head} on the river {last} in {land}, home to {n} hundred people
        | {head} near {town}, {land}, where the film {work} was shot | {head} in {land} known for a school and a castle
        | {head} and the birthplace of the painter {person} | {head} in the valley below the mountain {town}, {land}""",
    "animal_line": """{head} found in {land} near rivers and lakes | {head} that feeds on orchids and ferns in {land}
        | {head} described by {person} of the University of {town} in {year} | {head} named after the singer {person}
        | {head} seen on the coins of {land} since {year} | {head} that nests in the towers of old churches in {land}""",
    "plant_line": """{head} native to {land}, described in {year} | {head} that feeds moths and butterflies in {land}
        | {head} grown in the garden of a college in {town} | {head} found on lakes and in valleys of {land}
        | {head} named after the politician {person} | {head} sold by a company in {town} since {year}""",
    "album_line": """{head} by {origin} singer {person}, released in {year} | {head} recorded in a church in {town}, {land}
        | {head} inspired by the novel {work} | {head} by {person}, issued by a small company in {year}
        | {head} with {n} songs about a village in {land} | {head} whose cover shows the lighthouse at {town}""",
    "film_line": """{head} directed by {person} in {year} | {head} based on the novel {work} | {head} about a politician in {land}
        | {head} set in a village in {land}, released in {year} | {head} about a footballer who leaves {town}, with songs by {person}
        | {head} shot at a college in {town} in {year}""",
    "book_line": """{head} by {origin} author {person}, first published in {year} | {head} set in a village in {land}
        | {head} about a senator and a river in {land} | {head} on which the film {work} was based | {head} founded in {town} in {year}
        | {head} about a singer and her company in {town}""",
    "near": """Located near {town} | Known since {year} | Named after {person} | First mentioned in {year}
        | Today almost forgotten | Well known in {land}""",
    "more": """It was mentioned in the film {work}. | The village of {town} is {n} miles away. | The name comes from a river in {land}.
        | A song on the album {work} is about it. | The novel {work} is set there. | A company in {town} sells postcards of it.
        | It has the same name as a school in {land}. | The mayor of {town} gave it an award in {year}.""",
    "more_person": """A street in the village of {town} has the same name. | The film {work} tells the story.
        | The family owned a company in {land}. | The song {work} is about this career. | A school in {town} was named in {year}.
        | The house near the lake in {town} is a museum now. | A biography with the title {work} came out in {year}.""",
    "entry": """{name} {verb} a {adj} {line}. | {name} {verb} a {adj} {line}. {more} | {near}, {name} {verb} a {adj} {line}.
        | {name} {verb} a {adj} {line}. {more} | {name} {verb} a {adj} {line}. {namesake} | {like}, {name} {verb} a {adj} {line}.
        | {name} {verb} a {adj} {line}. {more}""",
    "namesake": """It shares its name with a {other}. | It should not be confused with a {other}. | The name was first used for a {other}.
        | Some sources confuse it with a {other}.""",
    "like": "Named after a {other} | Not to be confused with a {other} | Sharing its name with a {other}",
    "adj_thing": "small | | | well-known | | rare | | little-known | popular | remote | | old",
    "adj_person": "former | | | {origin} | {origin} | retired | | well-known | {origin} | prominent | popular | {origin}",
    "adj_made": "{origin} | | | {origin} | | popular | {origin} | little-known | | | well-known | large",
}

GRAMMAR = Grammar(
    RULES | dict.fromkeys(("head", "line", "name", "verb", "adj", "other"), "")  # filled in a text at a time
)
_KEYS = tuple(HEADS)
_PEOPLE = ("artist", "athlete", "politician")
_MADE = ("company", "transport", "album", "film", "book")
_PAST = ("politician", "transport", "company", "athlete")
_SINGULAR = [word.lower() for key in _KEYS for word in GRAMMAR.words(f"{key}_head")]
_CLASS = {word.lower(): label for label, key in enumerate(_KEYS) for word in GRAMMAR.words(f"{key}_head")}
_HEAD = phrases(_SINGULAR)
_IS_A = re.compile(r"\b(?:is|was) an? ")


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """("", encyclopaedia line) of class ``label``, 0..13 in the task's order."""
    key = _KEYS[label]
    person = key in _PEOPLE
    given = {
        "name": GRAMMAR.draw(f"{key}_name", rng, source),
        "head": GRAMMAR.draw(f"{key}_head", rng, source),
        "verb": "was" if key in _PAST and rng.random() < 0.4 else "is",
        "adj": GRAMMAR.draw("adj_person" if person else "adj_made" if key in _MADE else "adj_thing", rng, source),
    }
    other = rng.choice([name for name in _KEYS if name != key])
    its = {"head": GRAMMAR.draw(f"{other}_head", rng, source)}
    given["other"] = GRAMMAR.draw(f"{other}_line", rng, source, given=its)
    given["line"] = GRAMMAR.draw(f"{key}_line", rng, source, given=given)
    given["more"] = GRAMMAR.draw("more_person" if person else "more", rng, source)
    return "", finish(GRAMMAR.draw("entry", rng, source, given=given))


def judge(context: str, text: str) -> int:
    """The class of the first thing the text says its subject is, 0..13; -1 if it says none."""
    lowered = text.lower()
    copula = _IS_A.search(lowered)
    head = _HEAD.search(lowered, copula.end()) if copula else None
    return _CLASS[head[0]] if head else -1
