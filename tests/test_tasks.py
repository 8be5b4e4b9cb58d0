"""Table 10's prompts, typed again from the paper, and what else is fixed about the eleven tasks."""

from __future__ import annotations

import pytest

from sungen_lib.texts import tasks
from sungen_lib.texts.tasks import fill

REVIEW = 'The movie review in <y> sentiment is: "<x>'
FOR_MOVIE = 'The movie review in <y> sentiment for movie "<c>" is: "<x>'
POLAR = ("negative", "positive")

# task: prompt for prompting, prompt for generation, label words in index order (Table 10; label names from the hub)
TABLE_10 = {
    "imdb": (REVIEW, FOR_MOVIE, POLAR),
    "sst2": (REVIEW, FOR_MOVIE, POLAR),
    "rotten_tomatoes": (REVIEW, FOR_MOVIE, POLAR),
    "amazon": (
        'The electronics product review in <y> sentiment is: "<x>',
        'The "<c>" product review in <y> sentiment is: "<x>',
        POLAR,
    ),
    "yelp": (
        'The restaurant review in <y> sentiment is: "<x>',
        'The "<c>" restaurant review in <y> sentiment is: "<x>',
        POLAR,
    ),
    "subj": (
        'The movie review <y> is: "<x>',
        'The movie review <y> is: "<x>',
        ("containing factual contents", "expressing opinions"),
    ),
    "ag_news": (
        'The news article is in the category of <y>: "<x>',
        'The news article is in the category of <y>: "<x>',
        ("World", "Sports", "Business", "Technology"),
    ),
    "dbpedia": (
        'The article classified to the category of <y>: "<x>',
        'The article classified to the category of <y>: "<x>',
        (
            "Company", "School", "Artist", "Athlete", "Politician", "Transportation", "Building",
            "Nature", "Village", "Animal", "Plant", "Album", "Film", "Book",
        ),
    ),
}  # fmt: skip

# task: gold training rows, gold test rows, classes. Table 1 prints 25k, 6.9k, 8.3k, 25k, 560k, 8k, 120k, 560k; the
# rest are the data sets' own sizes (Rotten Tomatoes on the hub has 8,530 training rows).
SIZES = {
    "imdb": (25_000, 25_000, 2),
    "sst2": (6_920, 1_821, 2),
    "rotten_tomatoes": (8_530, 1_066, 2),
    "amazon": (25_000, 25_000, 2),
    "yelp": (560_000, 38_000, 2),
    "subj": (8_000, 2_000, 2),
    "ag_news": (120_000, 7_600, 4),
    "dbpedia": (560_000, 5_000, 14),
    "rte": (2_490, 277, 2),
    "qnli": (104_743, 5_463, 2),
    "mrpc": (3_668, 408, 2),
}


def test_the_eleven_tasks_in_the_paper_s_order() -> None:
    assert list(tasks.TASKS) == list(SIZES)
    assert tuple(TABLE_10) == tasks.CLASSIFICATION
    assert tasks.PAIRS == ("rte", "qnli", "mrpc")
    assert [tasks.get(name).title for name in tasks.CLASSIFICATION] == [
        "IMDb", "SST-2", "Rotten", "Amazon", "Yelp", "Subj", "AGNews", "DBpedia",
    ]  # fmt: skip


@pytest.mark.parametrize("name", TABLE_10)
def test_prompts_of_table_10(name: str) -> None:
    task = tasks.get(name)
    assert (task.prompting_prompt, task.generation_prompt, task.label_words) == TABLE_10[name]


def test_prompts_of_the_pair_tasks() -> None:
    rte = '"<c>"\nBased on the above description, the following sentence is definitely <y>: "<x>'
    qnli = 'Information: "<c>"\nQuestion (answer <y> above information): "<x>'
    assert tasks.get("rte").prompting_prompt == tasks.get("rte").generation_prompt == rte
    assert tasks.get("qnli").prompting_prompt == tasks.get("qnli").generation_prompt == qnli
    assert tasks.get("rte").label_words == ("correct", "wrong")
    assert tasks.get("qnli").label_words == ("in", "not in")
    assert tasks.get("rte").labels == tasks.get("qnli").labels == ("entailment", "not_entailment")
    assert tasks.get("mrpc").labels == ("not_equivalent", "equivalent")


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    task = tasks.get(name)
    assert (task.gold_train, task.gold_test, task.classes) == SIZES[name]
    assert len(task.label_words) == task.classes == len(set(task.labels)) == len(set(task.label_words))


def test_synthetic_sets_and_first_stages() -> None:
    shared = {name: task.synthetic_from for name, task in tasks.TASKS.items() if task.synthetic_from != name}
    assert shared == {"sst2": "imdb", "rotten_tomatoes": "imdb"}
    stages = {name: task.context_prompt for name, task in tasks.TASKS.items() if task.context_prompt}
    assert stages["imdb"] == 'Movie: "' and stages["yelp"] == 'Restaurant: "'
    assert set(stages) == {"imdb", "sst2", "rotten_tomatoes", "yelp", "rte", "qnli", "mrpc"}
    assert len(set(tasks.get("amazon").contexts)) == 41


@pytest.mark.parametrize("name", SIZES)
def test_every_slot_is_served(name: str) -> None:
    task = tasks.get(name)
    has_context = task.context_prompt is not None or bool(task.contexts)
    assert ("<c>" in task.generation_prompt) == has_context
    assert ("<c>" in task.prompting_prompt) == task.pair
    for prompt in (task.prompting_prompt, task.generation_prompt):
        assert prompt.count("<y>") == 1 and prompt.endswith('"<x>')


def test_label_names_carry_the_hub_s_order() -> None:
    homes = {name: task.hub for name, task in tasks.TASKS.items() if task.hub is not None}
    hubs = {name: (hub.path, hub.labels) for name, hub in homes.items()}
    assert hubs["imdb"] == ("stanfordnlp/imdb", ("neg", "pos"))
    assert hubs["yelp"] == ("fancyzhx/yelp_polarity", ("1", "2"))  # 1 = negative
    assert hubs["subj"] == ("SetFit/subj", ("objective", "subjective"))
    assert homes["rte"].test == homes["qnli"].test == homes["mrpc"].test == "validation"
    for name, task in tasks.TASKS.items():
        assert len(homes[name].labels) == task.classes
        assert len(homes[name].text) == (2 if task.pair or task.name in ("amazon", "dbpedia") else 1)


def test_fill() -> None:
    assert (
        fill(FOR_MOVIE, label_words="positive", context="Alien")
        == 'The movie review in positive sentiment for movie "Alien" is: "'
    )
    assert fill(REVIEW, label_words="negative") == 'The movie review in negative sentiment is: "'
    # A name the PLM left as a slot stays a name; it is not filled a second time.
    assert fill(FOR_MOVIE, label_words="positive", context="<y>").count("<y>") == 1


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'imbd'; known: imdb, sst2"):
        tasks.get("imbd")
