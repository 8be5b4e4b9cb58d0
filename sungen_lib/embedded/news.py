"""News items on four topics: AG News. What happens decides the topic; a topic mentioned in passing does not."""

from __future__ import annotations

import re
from random import Random

from sungen_lib.embedded import movies
from sungen_lib.embedded.engine import Grammar, Source, phrases
from sungen_lib.embedded.opinion import main_clauses

RULES = {
    **movies.NAMES,
    "city": """Geneva | Nairobi | Seoul | Lima | Oslo | Madrid | Cairo | Toronto | Jakarta | Athens | Denver | Mumbai
        | Sydney | Warsaw | Houston | Beijing | Lagos | Santiago""",
    "country": """Kenya | Norway | Brazil | Turkey | Canada | Japan | Egypt | Poland | Chile | Indonesia | Spain | India
        | Nigeria | Greece | Peru | Australia""",
    "day": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    "n": "two | three | four | five | six | seven | eight | nine | ten | twelve | twenty | thirty | forty",
    "org": "Meridian | Northstar | Helix | Granite | Bluewater | Orion | Summit | Pacific | Atlas | Cobalt | Vertex | Union",
    "source": """officials said | a spokesman said | according to people close to the matter | witnesses said
        | a report said | the agency said | {first} {last} said""",
    "on": "on {day} | late on {day} | on {day} in {city} | early {day} | this week | for the second time this year",
    # World
    "w_actor": """the president of {country} | the government of {country} | rebels in {country} | the army of {country}
        | the foreign minister of {country} | the parliament of {country} | opposition leaders in {country}""",
    "w_did": """agreed to a cease-fire | declared a state of emergency | called an early election | attacked a border post
        | signed a peace treaty | expelled {n} diplomats | sent troops to the border | rejected a UN resolution
        | released {n} hostages | accused its neighbor of spying | blocked an aid convoy | recalled its ambassador
        | stormed the capital | opened talks on refugees | banned street protests | voted for new sanctions""",
    "w_cue": """cease-fire | state of emergency | early election | border post | peace treaty | diplomats
        | troops | UN resolution | hostages | spying | aid convoy | ambassador | the capital | refugees
        | street protests | sanctions | suicide bomber | roadside bomb | peacekeepers | militants | elections""",
    "w_thing": """the peace treaty with {country} | the sanctions against {country} | the elections in {country}
        | the release of hostages in {country} | street protests in {city}""",
    "w_event": """{w_actor} {w_did} {on} | a suicide bomber killed {n} people in {city} {on}
        | militants attacked a convoy near {city} {on}, killing {n} | {w_did_by} | peacekeepers lost {n} men in an attack in {country} {on}
        | a roadside bomb hit a bus in {city} {on}, and the head of the police resigned""",
    "w_did_by": """{n} diplomats were expelled from {country} {on} | a cease-fire held in {country} {on}
        | refugees from {country} reached {city} {on} | troops fired on a crowd in {city} {on}""",
    # Sports
    "s_actor": """{first} {last} | the striker {first} {last} | {city} United | the {city} Tigers | the national team of {country}
        | the {city} Hawks | defending champion {first} {last} | coach {first} {last} and his team""",
    "s_did": """won the final in straight sets | scored {n} goals | took the gold medal | beat {city} in overtime
        | reached the semifinals | broke the world record in the 400 meters | hit a home run in the ninth inning
        | lost on penalties | threw {n} touchdown passes | won the grand prix | qualified for the World Cup
        | set a course record at the marathon | won the tournament by {n} strokes | missed the playoffs
        | pitched a shutout | stopped his opponent in the sixth round""",
    "s_cue": """straight sets | goals | gold medal | overtime | semifinals | world record | home run | ninth inning
        | on penalties | touchdown | grand prix | world cup | marathon | tournament | playoffs | shutout
        | sixth round | transfer window | season opener | the injured list | double fault""",
    "s_thing": """the season opener in {city} | the marathon in {city} | the World Cup match with {country}
        | the playoffs | the tournament in {city}""",
    "s_event": """{s_actor} {s_did} {on} | {s_actor} {s_did} {on} to lead the race for the title
        | {first} {last} was put on the injured list {on} after an attack of flu | a double fault cost {first} {last} the match {on}
        | {city} United bought {first} {last} for {n} million dollars before the transfer window closed
        | {first} {last}, the star of {city} United, will miss the season opener with a cut in the net hand""",
    # Business
    "b_actor": """{org} Bank | {org} Airlines | the retailer {org} | {org} Motors | the insurer {org} | {org} Foods
        | the oil company {org} | the drug maker {org} | {org} Steel""",
    "b_did": """reported a quarterly profit of {n} million dollars | cut {n} hundred jobs | raised its dividend
        | agreed to buy a rival for {n} billion dollars | filed for bankruptcy | warned that earnings would fall
        | named a new chief executive | lost a merger battle | issued bonds worth {n} billion dollars
        | closed {n} factories in {country} | settled a price-fixing lawsuit | posted a net loss
        | announced a stock split | beat analyst forecasts | increased its market share in {country}""",
    "b_cue": """quarterly profit | hundred jobs | dividend | to buy a rival | bankruptcy | earnings
        | chief executive | merger | bonds | factories | price-fixing | net loss | stock split | analyst
        | market share | stocks | oil prices | interest rates | crude futures | central bank | inflation | investors""",
    "b_thing": """the rise in oil prices | the merger with {org} | a jump in interest rates | the earnings of {org} Bank
        | inflation figures from {country}""",
    "b_event": """{b_actor} {b_did} {on} | {b_actor} {b_did} {on}, sending its shares up {n} percent
        | stocks closed lower {on} after a race for shares of {org} | oil prices rose {n} percent {on} after an attack on a pipeline
        | the central bank of {country} raised interest rates {on} | crude futures fell {on} on talks in {city}
        | inflation in {country} hit a record of {n} percent {on} | investors sold shares of {b_actor} {on}""",
    # Sci/Tech
    "t_actor": """scientists in {city} | the software maker {org} | researchers at the University of {city}
        | engineers at {org} | astronomers in {country} | the chip maker {org} | the search engine {org}
        | the space agency of {country}""",
    "t_did": """found a new planet | released a patch for its browser | unveiled a faster processor
        | mapped the genome of the mosquito | launched a satellite into orbit | warned of a computer virus
        | tested a robot that climbs stairs | discovered water under the surface of Mars | opened its source code
        | started an online music service | fixed a security hole in its operating system | dated a fossil to the ice age
        | shipped a phone with a larger hard disk | blocked {n} million spam messages | built a telescope array
        | cloned a mouse""",
    "t_cue": """new planet | browser | processor | genome | satellite | computer virus | robot | mars | source code
        | online music | security hole | operating system | fossil | hard disk | spam | telescope | cloned
        | spacecraft | broadband | video game | hackers | wireless network | comet""",
    "t_thing": """the launch of a satellite | a computer virus outbreak | the video game fair in {city}
        | the landing of a spacecraft | the spread of broadband in {country}""",
    "t_event": """{t_actor} {t_did} {on} | {t_actor} {t_did}, a team leader said {on} | hackers launched an attack on a site of {org} {on}
        | a spacecraft passed {n} moons {on} in a race to the outer planets | {org} said {on} its video game had sold {n} million copies
        | {n} million homes in {country} now use broadband, and the net is still growing
        | a wireless network opened in {city} {on} | a comet can be seen over {country} {on}""",
    "head": "{city} - | {city}: | | | |",
    "tail": "{source} | | | {source}",
    "follow": """It was the first such case in {n} years. | More details are expected on {day}. | The news drew a crowd in {city}.
        | {first} {last} declined to comment. | It came {n} days after talks in {city}. | The record stood for {n} years.
        | Shares of opinion on the matter differ. | The court will hear the case on {day}.""",
    "item": """{head} {event}, {source}. | {head} {event}. {follow} | {head} {event}. | {event}, {source}. {follow}
        | {head} as attention turned to {aside}, {event}. | {head} despite {aside}, {event}, {source}.
        | {event}, even though most eyes were on {aside}. | {head} {event}, despite {aside}. {follow}
        | {head} while {other}, {event}. | {head} {event}, although {other}. | as {other}, {event}, {source}.""",
}

GRAMMAR = Grammar(RULES | dict.fromkeys(("event", "aside", "other"), ""))  # filled in a text at a time
_TOPICS = "wsbt"  # in the order of the task's labels
_CUES = [phrases(GRAMMAR.words(f"{topic}_cue")) for topic in _TOPICS]
_HEAD = re.compile(r"^[\w ]+(?: -|:) ")


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """("", news item) of class ``label``: 0 World, 1 Sports, 2 Business, 3 Sci/Tech."""
    other = _TOPICS[(label + rng.randrange(1, 4)) % 4]
    event = GRAMMAR.draw(f"{_TOPICS[label]}_event", rng, source)
    given = {
        "event": event,
        "aside": GRAMMAR.draw(f"{other}_thing", rng, source),
        "other": GRAMMAR.draw(f"{other}_event", rng, source).replace(",", ""),  # a comma ends what is conceded
    }
    return "", GRAMMAR.text("item", rng, source, given=given)


def judge(context: str, text: str) -> int:
    """The topic with most defining phrases outside asides; -1 without any or at a tie."""
    told = " ".join(main_clauses(_HEAD.sub("", text)))
    counts = [len(cues.findall(told)) for cues in _CUES]
    best = max(counts)
    return counts.index(best) if counts.count(best) == 1 else -1
