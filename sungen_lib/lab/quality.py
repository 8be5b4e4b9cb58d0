"""What a set of texts holds; how diverse it is (Self-BLEU-4), how often its labels are right (Tables 5 and 6)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sungen_lib.encoder import Encoder, pretrained_encoder
from sungen_lib.models import TamConfig
from sungen_lib.texts import plms
from sungen_lib.texts.examples import Examples
from sungen_lib.train import predict

# The slots of the paper's prompts, in either case, which a failed prompt leaves in a text.
_SLOT = re.compile(r"<[cxy]>", re.IGNORECASE)


def summary(data: Examples) -> dict[str, int | str]:
    """Facts about ``data`` by name: rows, rows of each class, words per text, and rows worth checking.

    Texts count as equal if only case and white space differ.
    """
    texts = data.texts if data.pairs is None else [f"{a} {b}" for a, b in zip(data.texts, data.pairs, strict=True)]
    words = [text.casefold().split() for text in texts]
    labels_of: dict[tuple[str, ...], set[int]] = {}
    for text, label in zip(map(tuple, words), data.labels.tolist(), strict=True):
        labels_of.setdefault(text, set()).add(label)
    low, median, high = np.quantile([len(text) for text in words], (0.05, 0.5, 0.95))
    return {
        "rows": len(data),
        **{f"rows labelled {name}": int((data.labels == k).sum()) for k, name in enumerate(data.label_names)},
        "words a text (median)": round(median),
        "words a text (5 % to 95 %)": f"{low:.0f} to {high:.0f}",
        "rows that repeat an earlier text": len(data) - len(labels_of),
        "rows whose text also has another label": sum(len(labels_of[tuple(text)]) > 1 for text in words),
        "rows with a prompt's slot (<C>, <X>, <Y>)": sum(bool(_SLOT.search(text)) for text in texts),
    }


# ZeroGen tokenises with spaCy. This pattern follows its English rules where they matter (words, n't, 's, single
# punctuation marks, runs of dots or dashes) and needs no model. On 1,000 texts of each of five real sets Self-BLEU-4 is
# within 0.005 of what spaCy 3.8's tokens give; splitting at white space loses up to 0.11.
_TOKEN = re.compile(r"\w+(?=n['’]t\b)|n['’]t\b|['’](?:s|m|d|re|ve|ll)\b|\w+|\.{2,}|-{2,}|[^\w\s]", re.IGNORECASE)
_EPSILON = 0.1  # nltk's SmoothingFunction().method1: what stands for a count of zero


def tokenize(text: str) -> list[str]:
    """Words, contracted endings and punctuation marks of ``text``, case kept."""
    return _TOKEN.findall(text)


def self_bleu(texts: Sequence[str], *, sample: int = 1000, seed: int = 0, n: int = 4) -> float:
    """Mean BLEU-``n`` of each sampled text against all others of the sample; in [0, 1], lower is more diverse.

    ZeroGen's protocol (Ye et al. 2022a, ``scripts/self_bleu.py``): ``sample`` texts drawn without replacement (all, if
    there are no more), nltk's ``sentence_bleu`` with equal weights on 1- to ``n``-grams and smoothing method 1. It
    grows with the size of the sample: compare equal sizes only. The tokenizer is ours (``tokenize``). Raises
    ``ValueError`` for fewer than two texts.
    """
    if len(texts) < 2 or sample < 2:
        raise ValueError(f"Self-BLEU compares texts with one another: needs two or more, got {min(len(texts), sample)}")
    rows = np.random.default_rng(seed).permutation(len(texts))[:sample]
    sentences = [tokenize(texts[i]) for i in rows]
    matched, total = (np.array(v) for v in zip(*(_matches(sentences, order) for order in range(1, n + 1)), strict=True))
    precisions = np.where(matched > 0, matched, _EPSILON) / np.maximum(1, total)
    scores = _brevity_penalties([len(sentence) for sentence in sentences]) * np.exp(np.log(precisions).mean(axis=0))
    return float(np.where(matched[0] > 0, scores, 0.0).mean())  # nltk: no word in common, no smoothing


def _matches(sentences: Sequence[Sequence[str]], order: int) -> tuple[list[int], list[int]]:
    """For each sentence, how many of its n-grams the others match, and how many it has.

    An n-gram counts at most as often as it occurs in the reference that has it most often. min(count here, largest
    count elsewhere) equals min(count here, second largest count of all), so one pass serves all sentences.
    """
    counts = [Counter(zip(*(sentence[i:] for i in range(order)), strict=False)) for sentence in sentences]
    largest: dict[tuple[str, ...], int] = {}
    second: dict[tuple[str, ...], int] = {}
    for counter in counts:
        for gram, count in counter.items():
            top = largest.get(gram, 0)
            largest[gram] = max(top, count)
            second[gram] = max(second.get(gram, 0), min(top, count))
    matched = [sum(min(count, second[gram]) for gram, count in counter.items()) for counter in counts]
    return matched, [counter.total() for counter in counts]


def _brevity_penalties(lengths: Sequence[int]) -> np.ndarray:
    """exp(1 - r / c) where a sentence (length c) is shorter than the others' closest length r, the shorter of two."""
    number = Counter(lengths)
    closest = {}
    for length, occurrences in number.items():
        others = number if occurrences > 1 else number.keys() - {length}
        closest[length] = min(others, key=lambda other, own=length: (abs(other - own), other))
    return np.array([math.exp(min(0.0, 1 - closest[length] / length)) if length else 0.0 for length in lengths])


TOP_SHARE = 0.01  # share of the pool in Table 5's "top" and in its "bottom": 10k of 1,000k
TOP_LEAST = 50  # rows; fewer would be too few for a result


def group_size(pool: int, share: float | None = None) -> int:
    """Rows among ``pool`` that count as top, or as bottom: ``share`` of them, by default 1 % but at least 50."""
    size = max(TOP_LEAST, round(TOP_SHARE * pool)) if share is None else round(share * pool)
    return min(max(1, size), pool)


def oracle_correctness(predicted: np.ndarray, labels: np.ndarray, selections: Sequence[np.ndarray]) -> np.ndarray:
    """(S, k) bool: whether an oracle confirms the labels of each selection's rows, laid out by ``align`` (Table 5).

    ``predicted``: (N,) the oracle's labels; ``labels``: (N,) those the texts were generated for. The mean of a row is
    the selection's correctness. Raises ``ValueError`` if a selection is empty.
    """
    confirmed: np.ndarray = (np.asarray(predicted) == np.asarray(labels))[align(selections)]
    return confirmed


def align(selections: Sequence[np.ndarray], *, seed: int = 0) -> np.ndarray:
    """(S, k) row numbers: S selections of distinct rows, cut at random to the smallest one's size k.

    A row that several of them share stands in the same column of each (except in rare conflicts), so that a bootstrap
    over columns draws texts, not occurrences of texts. Raises ``ValueError`` if a selection is empty.
    """
    size = min(len(rows) for rows in selections)
    if size == 0:
        raise ValueError("oracle correctness of no rows")
    rng = np.random.default_rng(seed)
    table = np.full((len(selections), size), -1)
    column: dict[int, int] = {}
    for line, rows in zip(table, selections, strict=True):
        unplaced = []
        for row in rng.permutation(rows)[:size].tolist():
            place = column.get(row)
            if place is not None and line[place] == -1:
                line[place] = row
            else:
                unplaced.append(row)
        free = np.flatnonzero(line == -1)
        line[free] = unplaced
        column |= dict(zip(unplaced, free.tolist(), strict=True))
    return table


def classifier_labels(path: str, data: Examples, *, device: str = "cpu") -> np.ndarray:
    """(N,) int64: what a fine-tuned sequence classifier (a local folder or a hub id) predicts for each text.

    The paper's oracle is RoBERTa-large, fine-tuned on gold data. The classifier's label names must be those of
    ``data``, in any order and case, since orders differ between sources. Raises ``ValueError`` if they are not or if
    nothing can be loaded.
    """
    names = _label_names(path)
    expected = [name.lower() for name in data.label_names]
    if sorted(names) != sorted(expected):
        raise ValueError(
            f"{path!r} predicts {', '.join(names)} and not {', '.join(expected)}: name its labels so in its config.json"
        )
    oracle = TamConfig("distilbert", path=path)
    encoded = oracle.encode(data, oracle.tokenizer(data), device=device)
    model = Encoder(pretrained_encoder(path, len(names), fresh_head=False)).to(device)
    predicted = predict(model, encoded).argmax(-1).cpu().numpy()
    return np.take(np.array([expected.index(name) for name in names]), predicted)


def _label_names(path: str) -> list[str]:
    """A classifier's label names in the order of its outputs, in lower case."""
    names = plms.load_config(path, "classifier").id2label
    return [names[i].lower() for i in sorted(names)]


CORRECT, NOISY_Y, UNRELATED_X, UNDECIDED = "correct", "Noisy Y", "Unrelated X", "undecided"
CONFIDENT = 0.8  # how sure a model must be to confirm or to contradict a label


def judged_types(judged: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) noise types by an exact judge; ``judged``: (N,) each text's class, -1 if it is off topic."""
    return np.select([judged == labels, judged == -1], [CORRECT, UNRELATED_X], NOISY_Y)


def predicted_types(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) noise types by a model's (N, K) probabilities of the label and of the likeliest other class.

    ``CORRECT`` or ``NOISY_Y`` where one of them exceeds ``CONFIDENT``, else ``UNDECIDED``. A model that knows
    only the K classes cannot detect ``UNRELATED_X``.
    """
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = 0.0
    own = probabilities[np.arange(len(labels)), labels]
    return np.select([own > CONFIDENT, others.max(axis=1) > CONFIDENT], [CORRECT, NOISY_Y], UNDECIDED)
