"""Reviews of electronics: Amazon. The context is one of the task's product categories."""

from __future__ import annotations

from random import Random

from sungen_lib.embedded.engine import Grammar, Source
from sungen_lib.embedded.opinion import SKELETON, Reader
from sungen_lib.texts import tasks

RULES = {
    **SKELETON,
    "brand": "Voltara | Kestrel | Omnia | Nordtek | Pixelon | Sonara | Lumex | Bravix | Zentra | Axiom | Quanto | Heliox",
    "model": "X2 | Pro | Mini | Max | 300 | Plus | S4 | Classic | Air | 500",
    "thing": "{the_product} | {the_product} | device | unit | product | gadget | {brand} {model}",
    "one": """battery | power cord | display | casing | manual | setup | volume knob | touch screen | USB port | firmware
        | customer support | packaging | on-off switch | sound quality | build quality | user interface | signal
        | {the_product} | {the_product} | charging cable | warranty | mounting bracket | fan""",
    "many": """buttons | cables | speakers | menus on the screen | connectors | batteries | instructions | settings
        | controls | rubber feet | status lights | replacement parts | LEDs | hinges | stickers on the keys""",
    "adj+": """reliable | sturdy | fast | excellent | durable | great | superb | solid | impressive | responsive | handy
        | intuitive | flawless | accurate | sleek | crisp | dependable | powerful | comfortable | fantastic | perfect
        | well-made | convenient | outstanding | efficient | brilliant | painless | terrific | precise | useful""",
    "adj-": """unreliable | flimsy | useless | defective | slow | terrible | noisy | cheaply made | confusing | awful
        | faulty | frustrating | broken | clumsy | overpriced | fragile | horrible | worthless | unresponsive | poor
        | misleading | uncomfortable | inaccurate | blurry | pathetic | laggy | bulky | shoddy | outdated | wobbly""",
    "noun+": """bargain | winner | lifesaver | joy to use | dream | keeper | great buy | upgrade | pleasure | workhorse
        | steal | smart purchase""",
    "noun-": """disappointment | waste of money | lemon | headache | piece of junk | paperweight | mistake | scam
        | nightmare | pain to use | letdown | step backwards""",
    "did+": """worked right out of the box | exceeded my expectations | solved my problem | survived a fall
        | lasted all week | beat my old one | saved me hours | held up well | made my life easier
        | outperformed the expensive brands | earned its price | ran without a hitch""",
    "did-": """died after a week | stopped working | broke on the first day | failed to turn on | overheated
        | went straight back to the store | let me down | kept freezing | fell to pieces | gave up after an hour
        | arrived with a crack | drove me crazy""",
    "special": """this {the_product} is {degree} {adj} | this {brand} {the_product} is {adj} and {adj}
        | it is a {adj} {the_product} with {adj} {many} | the {brand} {the_product} {did} | this {the_product} {did}
        | the {brand} {model} makes a {adj} {the_product}""",
    "special_turned": """my {brand} {model} is {neg} {adj!} and the {one} {did} | I have not owned a {adj!} {the_product} since
        | the {one} on this {the_product} is {neg} {adj!} | I never found the {the_product} {adj!}
        | there is nothing {adj!} about this {the_product}""",
    "aside": """I bought this {the_product} {when} for my {kin} | the {brand} {the_product} was delivered {when}
        | I use the {the_product} every day at the office | my {kin} gave me this {the_product} as a present
        | it replaced my old {brand} {the_product} | I ordered the {model} model {when}
        | the box holds a {the_product}, two cables and a manual | I have owned three {brand} devices before this one
        | I paid ninety dollars for the {the_product} {when}""",
    "verdict+": """I would buy this product again | highly recommended device | buy this unit with confidence
        | I ordered a second unit | five stars for this product | you will not regret buying this device
        | best device I own | everyone at home wants the same device""",
    "verdict-": """save your money and skip this product | I sent the unit back | do not buy this product
        | I asked for a refund on this device | one star for this product | buy a device from another brand
        | worst device I own | this unit went into the trash""",
    "said": "{statement}. {aside}. | {aside}, and {clause}. | {clause}; {clause}. | {hedge} {clause}, and the {thing} {did}.",
    "gold": "{long} | {aside}. {conceded}. {verdict}. | {verdict}. {conceded}. | {rebuttal}. {verdict}. | {said}",
    "synthetic": "{short} | {short} | {said} | {long} | {conceded}.",
}

GRAMMAR = Grammar(RULES | {"the_product": " | ".join(tasks.PRODUCTS)})
READER = Reader(
    GRAMMAR,
    [
        *tasks.PRODUCTS,
        *GRAMMAR.words("one", "many", "brand"),
        *"device devices unit product products gadget screen battery cable refund".split(),
    ],
)
SIGNS = ("-", "+")


def draw(task: str, rng: Random, source: Source, label: int) -> tuple[str, str]:
    """(product category, review) of class ``label``, 0 negative or 1 positive."""
    product = GRAMMAR.draw("the_product", rng, source)
    return product, GRAMMAR.text(source, rng, source, SIGNS[label], {"the_product": product})


def judge(context: str, text: str) -> int:
    """1 positive, 0 negative, -1 off-topic or undecided; ``context`` (the category) does not matter."""
    return READER.polarity(text)
