"""Generation: sampling against a plain implementation, what is kept of what the PLM writes, shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel, PreTrainedTokenizerFast, TopPLogitsWarper

from sungen_lib.texts import generation, tasks
from sungen_lib.texts import writer as writing
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.generation import contexts, generate
from sungen_lib.texts.writer import INSTRUCTION, Sampling, Writer, _kept, _nucleus

Make = Callable[..., Examples]
SHORT = Sampling(min_tokens=3, max_tokens=14, batch_size=32)
PROMPTS = [
    'The movie review in positive sentiment is: "',
    'Movie: "',
    'The movie review in negative sentiment for movie "awful word1 word2" is: "',
    "review",
    'The movie review in negative sentiment is: "superb word3 word4 word5 word6',
]


@pytest.fixture(scope="module")
def writer(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Writer:
    """A writer with the tiny PLM."""
    return Writer(tiny_plm, tiny_tokenizer)


def random(seed: int = 0) -> torch.Generator:
    """A seeded source."""
    return torch.Generator().manual_seed(seed)


# --- the nucleus ------------------------------------------------------------------------------------------------------


def plain_nucleus(logits: Tensor, top_p: float) -> np.ndarray:
    """Probabilities after nucleus sampling (Holtzman et al. 2020), by hand: the smallest set that reaches top_p."""
    values = np.exp(logits.double().numpy())
    values /= values.sum()
    kept, mass = np.zeros_like(values), 0.0
    for token in np.argsort(-values, kind="stable"):
        if mass >= top_p:
            break
        kept[token] = values[token]
        mass += values[token]
    return np.asarray(kept / kept.sum())


@pytest.mark.parametrize(("vocabulary", "spread"), [(12, 1.5), (1000, 2.5), (1000, 0.1)])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_nucleus_sampling(vocabulary: int, spread: float, top_p: float) -> None:
    # With 1,000 flat tokens the nucleus does not fit the shortlist; with 12 there is no shortlist.
    logits = spread * torch.randn(vocabulary, generator=random(1))
    expected = plain_nucleus(logits, top_p)
    draws = 20_000 if vocabulary < 100 else 6_000
    counts = np.bincount(_nucleus(logits.expand(draws, -1), top_p, random()).numpy(), minlength=vocabulary)
    assert not counts[expected == 0].any()
    # Pearson's statistic over k frequent enough tokens: mean k, standard deviation sqrt(2 k).
    frequent = draws * expected >= 5
    statistic = float(((counts - draws * expected)[frequent] ** 2 / (draws * expected[frequent])).sum())
    assert statistic < frequent.sum() + 5 * np.sqrt(2 * frequent.sum())
    assert counts[~frequent].sum() == pytest.approx(draws * expected[~frequent].sum(), abs=5 * np.sqrt(draws))


def test_rows_have_their_own_nucleus() -> None:
    logits = torch.full((2, 400), -20.0)
    logits[0, 7], logits[1, :300] = 5.0, 0.0  # one sure token; 300 equal ones, more than the shortlist
    chosen = torch.stack([_nucleus(logits, 0.9, random(seed)) for seed in range(400)])
    assert (chosen[:, 0] == 7).all()
    assert chosen[:, 1].max() < 300 and 200 < len(chosen[:, 1].unique()) <= 271


@pytest.mark.parametrize("spread", [6.0, 1.5, 0.5])  # within 256 tokens, within 4,096, beyond
def test_the_nucleus_is_that_of_transformers(spread: float) -> None:
    logits = spread * torch.randn(3, 20_000, generator=random(2))
    logits[:, :9_000:7] = logits[:, 1:9_001:7]  # equal probabilities, too
    values, tokens = _kept(logits.softmax(-1), 0.9)
    found = torch.zeros_like(logits).scatter_add_(1, tokens, values)
    expected = TopPLogitsWarper(0.9)(torch.empty(3, 0), logits).softmax(-1)
    assert (values.shape[1] == 256) == (spread == 6.0)
    assert int(((found > 0) != (expected > 0)).sum()) <= 6  # of equal ones at the edge either may be in
    assert (found.sum(-1) > 0.9 - 1e-5).all()


def test_a_shortlist_draws_what_the_sorted_vocabulary_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(8, 20_000, generator=random(2)).round(decimals=2)  # many equal ones
    drawn = [_nucleus(logits, 0.5, random(seed)) for seed in range(20)]
    monkeypatch.setattr(writing, "NUCLEUS_CANDIDATES", (256, 20_000))
    assert all(torch.equal(tokens, _nucleus(logits, 0.5, random(seed))) for seed, tokens in enumerate(drawn))


# --- writing ----------------------------------------------------------------------------------------------------------


def by_hand(model: GPT2LMHeadModel, writer: Writer, prompt: str, sampling: Sampling) -> tuple[list[int], list[Tensor]]:
    """The likeliest continuation, one full forward pass a token, and the logits it was chosen by."""
    ids = writer.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    written: list[int] = []
    seen: list[Tensor] = []
    for length in range(sampling.max_tokens + 1):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids + written])).logits[0, -1] / sampling.temperature
        if length < sampling.min_tokens:
            logits[writer.stops] = -torch.inf
        seen.append(logits)
        written.append(int(logits.argmax()))
        if writer.stops[written[-1]]:
            break
    return written, seen


def test_a_prompt_is_continued_as_if_alone(
    writer: Writer, tiny_plm: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(min_tokens=2, max_tokens=10, temperature=0.7)
    steps: list[Tensor] = []

    def likeliest(logits: Tensor, top_p: float, source: torch.Generator) -> Tensor:
        steps.append(logits.clone())
        return logits.argmax(-1)

    monkeypatch.setattr(writing, "_nucleus", likeliest)
    # A random GPT-2 seldom closes a quotation: let half of its words do, so that rows leave the batch one by one.
    monkeypatch.setattr(writer, "stops", torch.arange(len(writer.stops)) % 2 == 0)
    together = writer._sampled(PROMPTS, sampling, 0)
    assert len({len(tokens) for tokens in together}) > 1
    alone = [by_hand(tiny_plm, writer, prompt, sampling) for prompt in PROMPTS]
    assert together == [tokens for tokens, _ in alone]
    for step, logits in enumerate(steps):
        expected = torch.stack([seen[step] for tokens, seen in alone if len(tokens) > step])
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch_size", "refill"), [(3, 0), (3, 2), (3, 3), (7, 6), (1, 1)])
def test_texts_that_join_are_continued_as_if_alone(
    batch_size: int, refill: int, writer: Writer, tiny_plm: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(min_tokens=2, max_tokens=10, batch_size=batch_size, refill=refill)
    sizes: list[int] = []

    def likeliest(logits: Tensor, top_p: float, source: torch.Generator) -> Tensor:
        sizes.append(len(logits))
        return logits.argmax(-1)

    monkeypatch.setattr(writing, "_nucleus", likeliest)
    monkeypatch.setattr(writer, "stops", torch.arange(len(writer.stops)) % 2 == 0)
    prompts = [prompt + " word7" * (i % 3) for i, prompt in enumerate(PROMPTS * 4)]
    assert writer._sampled(prompts, sampling, 0) == [by_hand(tiny_plm, writer, p, sampling)[0] for p in prompts]
    assert max(sizes) <= batch_size


def test_equal_prompts_are_read_once(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def logits(tokens: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        read.append(len(tokens))
        return Writer._logits(writer, tokens, mask, cache)

    monkeypatch.setattr(writer, "_logits", logits)
    sampling = Sampling(min_tokens=3, max_tokens=3, batch_size=16, decay_constant=200)
    writer.write(PROMPTS[:2] * 4, sampling, seed=0, against=[[PROMPTS[1]], [PROMPTS[0]]] * 4)
    assert read[:2] == [2, 16]  # two prompts; then eight texts, each under both


def test_self_debiasing_by_hand(writer: Writer, tiny_plm: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schick et al. 2021: p(w) times exp(decay * gap) where another prompt makes w likelier, at least 0.01."""
    seen: list[Tensor] = []

    def likeliest(logits: Tensor, top_p: float, source: torch.Generator) -> Tensor:
        seen.append(logits.softmax(-1))
        return logits.argmax(-1)

    monkeypatch.setattr(writing, "_nucleus", likeliest)
    sampling = Sampling(min_tokens=1, max_tokens=6, decay_constant=20, batch_size=6, refill=6)  # two texts
    sets = [PROMPTS[:3], PROMPTS[2:5], PROMPTS[1:4]]
    written = writer._sampled([own for own, *_ in sets], sampling, 0, [others for _, *others in sets])

    def probabilities(prompt: str, tokens: list[int]) -> np.ndarray:
        ids = writer.tokenizer(prompt, add_special_tokens=False)["input_ids"] + tokens
        with torch.no_grad():
            return np.asarray(tiny_plm(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1))

    first = []
    for (own, *others), tokens in zip(sets, written, strict=True):
        for length, token in enumerate(tokens):
            p, *rest = (probabilities(prompt, tokens[:length]) for prompt in (own, *others))
            gap = p - np.max(rest, axis=0)
            debiased = p * np.where(gap < 0, np.maximum(np.exp(20 * gap), 0.01), 1.0)
            if length < sampling.min_tokens:
                debiased[writer.stops] = 0
                first.append(debiased / debiased.sum())
            assert token == debiased.argmax()
    np.testing.assert_allclose(seen[0].numpy(), first[:2], atol=1e-5)
    assert any(
        tokens != by_hand(tiny_plm, writer, own, sampling)[0] for (own, *_), tokens in zip(sets, written, strict=True)
    )


def script(writer: Writer, monkeypatch: pytest.MonkeyPatch, rows: list[list[str]]) -> None:
    """Make the PLM write these tokens, row by row, whatever it would have said."""
    index = writer.tokenizer.get_vocab()
    tokens = [iter([index[token] for token in row]) for row in rows]
    going: list[Iterator[int]] = []

    def next_tokens(logits: Tensor, top_p: float, source: torch.Generator) -> Tensor:
        nonlocal going
        going = going or list(tokens)
        chosen = torch.tensor([next(row) for row in going])
        going = [row for row, token in zip(going, chosen, strict=True) if not writer.stops[token]]
        return chosen

    monkeypatch.setattr(writing, "_nucleus", next_tokens)


def test_where_a_text_ends(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ["word1", "word2", '"'],
        ["word1", '."'],  # a piece with the mark inside
        ["word1", "<end>"],  # the document ends before the quotation does
        ["word1"] * 4 + ['"'],  # closed just in time
        ["word1"] * 5 + ['"'],
    ]
    script(writer, monkeypatch, rows)
    texts = writer.write(["review"] * 5, Sampling(min_tokens=1, max_tokens=4), seed=0)
    assert [text and text.split() for text in texts] == [
        ["word1", "word2"],
        ["word1", "."],
        None,
        ["word1"] * 4,
        None,
    ]


def test_lengths_are_respected(writer: Writer) -> None:
    written = writer._sampled(PROMPTS * 40, SHORT, 0)
    lengths = [len(tokens) for tokens in written]
    assert min(lengths) == SHORT.min_tokens + 1 and max(lengths) == SHORT.max_tokens + 1
    for tokens in written:
        assert not writer.stops[tokens[:-1]].any()
        assert len(tokens) == SHORT.max_tokens + 1 or writer.stops[tokens[-1]]


def test_writing_is_seeded_and_leaves_the_global_state(writer: Writer) -> None:
    before = torch.random.get_rng_state()
    first = writer.write(PROMPTS * 10, SHORT, seed=1)
    assert first == writer.write(PROMPTS * 10, SHORT, seed=1)
    assert first != writer.write(PROMPTS * 10, SHORT, seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert any(text is None for text in first) and any(text is not None for text in first)


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"temperature": 0.0},
        {"batch_size": 0},
        {"min_tokens": 0},
        {"min_tokens": 9, "max_tokens": 8},
        {"batch_size": 8, "refill": 9},
        {"refill": -1},
        {"decay_constant": -1.0},
    ],
    ids=str,
)
def test_impossible_sampling_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must lie in|need 0 < min_tokens"):
        Sampling(**wrong)  # type: ignore[arg-type]


# --- a task's set -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Make:
    """``generate`` with the tiny PLM and short texts."""

    def call(task: str = "imdb", rows: int = 60, *, seed: int = 0, **options: object) -> Examples:
        defaults: dict[str, object] = {"sampling": SHORT, "shard_size": 48}
        return generate(
            tasks.get(task),
            model=tiny_plm,
            tokenizer=tiny_tokenizer,
            rows=rows,
            seed=seed,
            **(defaults | options),  # type: ignore[arg-type]
        )

    return call


@pytest.mark.parametrize(("task", "rows"), [("imdb", 61), ("dbpedia", 31), ("amazon", 20), ("ag_news", 3), ("subj", 8)])
def test_a_synthetic_set(make: Make, task: str, rows: int) -> None:
    got = make(task, rows)
    assert len(got) == rows and got.pairs is None
    assert got.label_names == tasks.get(task).labels
    for prefix in range(1, rows + 1):
        counts = np.bincount(got.labels[:prefix], minlength=tasks.get(task).classes)
        assert counts.max() - counts.min() <= 1
    assert len(set(got.texts)) == rows
    for text in got.texts:
        assert '"' not in text and "<C>" not in text
        assert text == " ".join(text.split()) != ""
    assert got.idx.tolist() == list(range(rows))


def test_the_plm_does_write_slots_and_repeat_itself(writer: Writer) -> None:
    # So that the test above could fail.
    texts = [text for text in writer.write(PROMPTS * 80, SHORT, seed=0) if text is not None]
    assert any("<C>" in text for text in texts)


def test_labels_are_those_of_the_prompts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PLM that repeats what it was asked."""

    def echo(
        self: Writer, prompts: list[str], sampling: Sampling, *, seed: int, against: object = None
    ) -> list[str | None]:
        return [f"{prompt.replace(chr(34), '')} {seed} {i}" for i, prompt in enumerate(prompts)]

    monkeypatch.setattr(Writer, "write", echo)
    got = make("yelp", 40)
    for text, label in zip(got.texts, got.labels, strict=True):
        assert f"in {got.label_names[label]} sentiment is:" in text
        assert text.startswith("The Restaurant: ")  # the first stage's name, in its slot
    names = {text.split("restaurant review")[0] for text in got.texts}
    assert len(names) > 10
    subj = make("subj", 10)
    words = {0: "containing factual contents", 1: "expressing opinions"}
    assert all(words[label] in text for text, label in zip(subj.texts, subj.labels.tolist(), strict=True))
    pairs = make("rte", 12)
    assert pairs.pairs is not None
    for first, second, label in zip(pairs.texts, pairs.pairs, pairs.labels, strict=True):
        assert first.startswith("Sentence: ") and first in second
        assert f"definitely {('correct', 'wrong')[label]}: " in second


def test_pairs(make: Make) -> None:
    got = make("rte", 30)
    assert got.pairs is not None
    assert len(set(zip(got.texts, got.pairs, strict=True))) == 30
    assert all('"' not in text and text.strip() for text in (*got.texts, *got.pairs))


def test_generation_is_repeatable(make: Make) -> None:
    assert make("amazon", seed=1).fingerprint() == make("amazon", seed=1, progress="texts").fingerprint()
    assert make("subj", seed=1).fingerprint() != make("subj", seed=2).fingerprint()


def test_more_rows_extend_a_set(make: Make) -> None:
    few, many = make("subj", 20), make("subj", 50)
    assert many.texts[:20] == few.texts


def test_shards_are_taken_up_again(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make("amazon", 80, seed=3).fingerprint()
    shard = generation._shard
    calls: list[int] = []

    def dying(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return shard(*arguments, **options)  # type: ignore[arg-type]

    def counting(*arguments: object, **options: object) -> object:
        calls.append(1)
        return shard(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(generation, "_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        make("amazon", 80, seed=3, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "shard-00000.json",
        "shard-00001.json",
    ]
    monkeypatch.setattr(generation, "_shard", counting)
    assert make("amazon", 80, seed=3, folder=tmp_path).fingerprint() == whole
    made = len(list(tmp_path.iterdir()))
    assert made > 2
    calls.clear()
    assert make("amazon", 80, seed=3, folder=tmp_path).fingerprint() == whole
    assert not calls
    (tmp_path / "shard-00001.json").unlink()
    assert make("amazon", 80, seed=3, folder=tmp_path).fingerprint() == whole
    assert len(calls) == 1


def test_a_plm_that_runs_dry_is_reported(make: Make) -> None:
    with pytest.raises(RuntimeError, match=r"the PLM wrote \d+ different usable texts for subj, not 5000"):
        make("subj", rows=5000, sampling=Sampling(min_tokens=1, max_tokens=1, batch_size=64), shard_size=64)


def test_contexts(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert contexts(writer, tasks.get("subj"), seed=0) == []
    assert contexts(writer, tasks.get("amazon"), seed=0) == list(tasks.get("amazon").contexts)
    names = contexts(writer, tasks.get("imdb"), count=10, seed=0)
    assert len(names) == len(set(names)) == 10
    assert all(name == name.strip() != "" and '"' not in name and "<C>" not in name for name in names)
    assert names == contexts(writer, tasks.get("imdb"), count=10, seed=0)
    answers = [" two\n lines ", "two lines", None, " ", "the <C>", "<x>", "one"]
    monkeypatch.setattr(Writer, "write", lambda self, prompts, sampling, seed: answers)
    assert contexts(writer, tasks.get("imdb"), count=7, seed=0) == ["two lines", "one"]
    monkeypatch.setattr(Writer, "write", lambda self, prompts, sampling, seed: [None] * len(prompts))
    with pytest.raises(RuntimeError, match=r"closed no quotation mark .* no contexts for imdb"):
        contexts(writer, tasks.get("imdb"), seed=0)


def test_the_manifest_says_what_wrote_the_shards(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make("imdb", 30, folder=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["generation_prompt"] == tasks.get("imdb").generation_prompt
    assert manifest["sampling"]["max_tokens"] == SHORT.max_tokens and manifest["seed"] == 0
    assert set(manifest["versions"]) == {"torch", "transformers", "tokenizers"}
    assert len(manifest["contexts"]) == len(set(manifest["contexts"])) > 10
    # The names are not written again.
    monkeypatch.setattr(generation, "contexts", lambda *arguments, **options: pytest.fail("names were written again"))
    assert make("imdb", 30, folder=tmp_path).fingerprint() == first.fingerprint()
    others: dict[str, dict[str, object]] = {
        "seed": {"seed": 1},
        "sampling": {"sampling": Sampling(min_tokens=3, max_tokens=15, batch_size=32)},
        "shard_size": {"shard_size": 40},
        "task, label_words, generation_prompt, context_prompt": {"task": "subj"},
    }
    others["context_count"] = {"rows": 30_000}
    before = sorted(path.name for path in tmp_path.iterdir())
    for differ, options in others.items():
        with pytest.raises(ValueError, match=f"belongs to another job \\({differ}.* differ\\); remove"):
            make(**({"rows": 30, "folder": tmp_path} | options))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"holds shards but no manifest\.json"):
        make(rows=30, folder=tmp_path)


def test_an_instruction_tuned_plm_is_asked_in_a_chat(
    tiny_plm: GPT2LMHeadModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    template = turns + "{% if add_generation_prompt %}[me] {% endif %}"
    monkeypatch.setattr(tiny_tokenizer, "chat_template", template)
    writer = Writer(tiny_plm, tiny_tokenizer)
    tokens, mask = writer._left_padded(['Movie: "'])
    text = f'[user] {INSTRUCTION} [me] Movie: "'
    assert tokens[0].tolist() == tiny_tokenizer(text)["input_ids"] and mask.all()
    assert len(writer.write(['Movie: "'] * 3, SHORT, seed=0)) == 3
