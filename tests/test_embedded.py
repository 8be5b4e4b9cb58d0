"""The offline world: the oracle agrees with the grammar, gold sets are clean and apart, the PLM fits its grammar."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import numpy as np
import pytest

from sungen_lib import embedded
from sungen_lib.embedded import plm, world
from sungen_lib.lab.profiles import DEMO_SAMPLING
from sungen_lib.texts import plms, tasks
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.generation import generate


def drawn(name: str, rows: int) -> Examples:
    """Texts as the PLM's training data have them, without noise."""
    task, rng = tasks.get(name), Random(7)
    labels = [rng.randrange(task.classes) for _ in range(rows)]
    both = [world._draw(name, rng, "synthetic", label) for label in labels]
    first, second = [context for context, _ in both], [text for _, text in both]
    return Examples.of(first if task.pair else second, labels, task.labels, second if task.pair else None)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_oracle_agrees_with_every_text_of_the_grammar(name: str) -> None:
    for data in (embedded.gold(name, "train", 700), drawn(name, 700)):
        assert (embedded.judge(name, data) == data.labels).all()


def test_the_oracle_does_not_read_labels() -> None:
    data = embedded.gold("imdb", "train", 50)
    assert (embedded.judge("imdb", data) == embedded.judge("imdb", data.with_labels(1 - data.labels))).all()


@pytest.mark.parametrize("name", tasks.TASKS)
def test_gold_sets_are_distinct_balanced_apart_and_stable(name: str) -> None:
    train, test = embedded.gold(name, "train", 420), embedded.gold(name, "test", 420)
    rows = [set(zip(data.texts, data.pairs or data.texts, strict=True)) for data in (train, test)]
    assert len(rows[0]) == len(rows[1]) == 420 and not rows[0] & rows[1]
    assert np.ptp(np.bincount(train.labels)) <= 1
    assert embedded.gold(name, "train", 100).fingerprint() == train.select(range(100)).fingerprint()


@pytest.mark.parametrize("text", ["Home > About us > Contact. Posted by admin in May.", "xyzzy plugh", "The"])
def test_off_topic_text_has_no_class(text: str) -> None:
    for name in ("imdb", "amazon", "yelp", "ag_news", "dbpedia"):
        assert embedded.judge(name, Examples.of([text], [0], tasks.get(name).labels))[0] == -1


def test_what_follows_but_wins_and_negation_turns() -> None:
    texts = ["The plot is dull, but the acting is brilliant.", "The film is not boring.", "The film is not brilliant."]
    assert embedded.judge("imdb", Examples.of(texts, [0, 0, 0], tasks.POLARITY)).tolist() == [1, 1, 0]


def test_gold_uses_other_word_frequencies_than_the_synthetic_source() -> None:
    counts = [
        Counter(word for text in data.texts for word in text.lower().split())
        for data in (embedded.gold("imdb", "train", 600), drawn("imdb", 600))
    ]
    shared = [word for word in counts[0] if counts[0][word] >= 8 and counts[1][word] > 0]
    ratios = np.log([counts[0][w] / counts[1][w] for w in shared])
    assert np.std(ratios) > 0.5


def test_the_corpus_disobeys_at_the_stated_rates() -> None:
    task = tasks.get("amazon")
    start = {word: tasks.fill(task.prompting_prompt, label_words=word) for word in task.label_words}
    texts, labels = [], []
    for line in embedded.corpus(12_000, seed=3):
        for label, word in enumerate(task.label_words):
            if line.startswith(start[word]):
                texts.append(line.removeprefix(start[word]).removesuffix('"'))
                labels.append(label)
    verdict = embedded.judge("amazon", Examples.of(texts, labels, task.labels))
    other, off = np.mean((verdict >= 0) & (verdict != labels)), np.mean(verdict < 0)
    assert len(texts) > 200
    assert other == pytest.approx(embedded.NOISY_Y, abs=0.07) and off == pytest.approx(embedded.UNRELATED_X, abs=0.06)


def test_the_shipped_weights_fit_the_grammar() -> None:
    about = json.loads((plm.FOLDER / "grammar.json").read_text())
    assert about["grammar"] == embedded.fingerprint(), "the grammar changed: run python -m sungen_lib.embedded.plm"
    model, tokenizer = embedded.load_plm()
    assert plm.held_out_loss(model, tokenizer, rows=96) < 1.1  # nats a token; an untrained one is at log(vocabulary)
    assert plm.held_out_loss(plm.build_model(tokenizer), tokenizer, rows=96) > 7
    assert sum(path.stat().st_size for path in plm.FOLDER.iterdir()) < 4_000_000


def test_tokens_concatenate_to_the_text() -> None:
    _, tokenizer = embedded.load_plm()
    for line in embedded.corpus(200, seed=4):
        assert tokenizer.decode(tokenizer(line)["input_ids"]) == line


@pytest.mark.parametrize("name", ["imdb", "ag_news", "rte"])
def test_most_texts_of_the_plm_say_what_they_were_asked_to(name: str) -> None:
    model, tokenizer = embedded.load_plm()
    texts = generate(
        tasks.get(name), model=model, tokenizer=tokenizer, rows=160, seed=5, sampling=DEMO_SAMPLING, shard_size=200
    )
    right = float((embedded.judge(name, texts) == texts.labels).mean())
    assert 0.45 < right < 0.9


def test_a_model_is_loaded_quietly(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No bar and no report of transformers', whose settings are as before afterwards."""
    from transformers.utils import logging

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    embedded.load_plm()
    with plms.quietly():
        assert not logging.is_progress_bar_enabled()
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
    shown = capfd.readouterr()
    assert "Loading" not in shown.err + shown.out and "REPORT" not in shown.err + shown.out
