"""PLM to synthetic ``Examples``: ZeroGen's generation (Section 2.2), sharded and resumable.

A prompt states the label and opens a quotation mark; what the PLM writes up to the closing mark is the text. Tasks
with a context (a movie, restaurant or product name, the first text of a pair) take it from a list or have the PLM
write it first (Table 10, Appendix F.3). A text is kept if it was closed in time, holds no slot marker such as ``<C>``
and was not written before; classes are balanced by count. The paper does not mention lengths, rejection or balance.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tqdm.auto import tqdm

from sungen_lib.seeds import derived_seed
from sungen_lib.storage import Damaged, read_sealed, set_aside, unless_damaged, write_sealed
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.served import Served
from sungen_lib.texts.tasks import Task, fill
from sungen_lib.texts.writer import Sampling, Writer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

AnyWriter: TypeAlias = Writer | Served

SLOT = re.compile(r"<[A-Za-z]>")
NAMES = Sampling(min_tokens=1, max_tokens=20)
PLAIN = Sampling()
BARREN = 10  # generation fails after this many shards without a new text
CONTEXTS = 200  # least number of names from the first stage, if the PLM finds that many different ones


def contexts(writer: AnyWriter, task: Task, *, count: int = CONTEXTS, seed: int) -> list[str]:
    """The task's contexts: its list, or distinct names written by the PLM; empty for a task that has none."""
    if task.contexts:
        return list(task.contexts)
    if task.context_prompt is None:
        return []
    found: dict[str, None] = {}
    for attempt in range(8):
        texts = writer.write([task.context_prompt] * count, NAMES, seed=derived_seed(seed, attempt))
        usable = (text for text in texts if text and text.strip() and not SLOT.search(text))
        found |= dict.fromkeys(" ".join(text.split()) for text in usable)
        if len(found) >= count:
            break
    if not found:
        prompt = task.context_prompt
        raise RuntimeError(f"the PLM closed no quotation mark after {prompt!r}: no contexts for {task.name}")
    return list(found)[:count]


@dataclass(frozen=True)
class _Row:
    text: str
    label: int
    context: str


def _shard(writer: AnyWriter, task: Task, names: list[str], sampling: Sampling, *, size: int, seed: int) -> list[_Row]:
    """Write for ``size`` prompts, labels in turn, contexts drawn at random; return the closed texts."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % task.classes
    chosen = [names[i] for i in rng.integers(len(names), size=size)] if names else [""] * size
    prompts = [
        fill(task.generation_prompt, label_words=task.label_words[label], context=context)
        for label, context in zip(labels, chosen, strict=True)
    ]
    against = None
    if sampling.decay_constant:
        words = [[word for other, word in enumerate(task.label_words) if other != label] for label in labels]
        against = [
            [fill(task.generation_prompt, label_words=word, context=context) for word in others]
            for others, context in zip(words, chosen, strict=True)
        ]
    texts = writer.write(prompts, sampling, seed=derived_seed(seed, 1), against=against)
    return [
        _Row(" ".join(text.split()), int(label), context)
        for text, label, context in zip(texts, labels, chosen, strict=True)
        if text is not None and text.strip() and not SLOT.search(text)
    ]


def _shards(make: Callable[[int], list[_Row]], folder: Path | None) -> Iterator[list[_Row]]:
    """Shard 0, 1, ...: read from ``folder`` if complete, else made and stored there."""
    number = 0
    while True:
        path = None if folder is None else folder / f"shard-{number:05d}.json"
        rows = None if path is None else unless_damaged(_stored_shard, path)
        if rows is None:
            rows = make(number)
            if path is not None:
                write_sealed(path, {"rows": [vars(row) for row in rows]})
        yield rows
        number += 1


def _stored_shard(path: Path) -> list[_Row] | None:
    """``None`` if there is none; raises ``Damaged``."""
    return [_Row(**row) for row in read_sealed(path)["rows"]] if path.exists() else None


def _manifest(
    writer: AnyWriter, task: Task, sampling: Sampling, *, count: int, seed: int, shard_size: int
) -> dict[str, Any]:
    """What decides the shards, and the versions they were written with."""
    return {
        **writer.about,
        "task": task.name,
        "label_words": list(task.label_words),
        "generation_prompt": task.generation_prompt,
        "context_prompt": task.context_prompt,
        "given_contexts": list(task.contexts),
        "context_count": count,
        "pair": task.pair,
        "sampling": asdict(sampling),
        "seed": seed,
        "shard_size": shard_size,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


def _stored_contexts(folder: Path | None, manifest: dict[str, Any], write: Callable[[], list[str]]) -> list[str]:
    """The contexts, written once; ``ValueError`` if ``folder`` holds the shards of another job."""
    if folder is None:
        return write()
    path = folder / "manifest.json"
    if path.exists():
        try:
            stored = read_sealed(path)
        except Damaged as error:
            set_aside(folder, str(error))  # with the shards, because it is unknown what wrote them
            return _stored_contexts(folder, manifest, write)
        other = [key for key, value in manifest.items() if key != "versions" and stored.get(key) != value]
        if other:
            raise ValueError(
                f"{path} belongs to another job ({', '.join(other)} differ); remove {folder} or name another"
            )
        return list(stored["contexts"])
    if any(folder.glob("shard-*.json")):
        raise ValueError(f"{folder} holds shards but no manifest.json of what wrote them; remove it or name another")
    names = write()
    write_sealed(path, {**manifest, "contexts": names})
    return names


def generate(
    task: Task,
    *,
    model: PreTrainedModel | Served,
    tokenizer: PreTrainedTokenizerBase | None = None,
    rows: int,
    seed: int,
    sampling: Sampling = PLAIN,
    shard_size: int = 1024,
    folder: str | Path | None = None,
    progress: str | None = None,
) -> Examples:
    """``rows`` synthetic examples of ``task``, classes balanced to within one, no text twice.

    ``model``: a PLM with its ``tokenizer``, or one that is ``Served``. With ``folder`` each finished shard is stored
    there, with a manifest of what wrote it. A later call with the same arguments continues after the last shard and
    returns the same set; with others it raises ``ValueError``. A damaged shard is set aside and made again. Raises
    ``RuntimeError`` if the PLM writes no new text in ten shards in a row.
    """
    writer = model if isinstance(model, Served) else Writer(model, tokenizer)
    place = None if folder is None else Path(folder)
    count = max(CONTEXTS, rows // 100)
    names = _stored_contexts(
        place,
        _manifest(writer, task, sampling, count=count, seed=seed, shard_size=shard_size),
        lambda: contexts(writer, task, count=count, seed=derived_seed(seed, 0)),
    )

    def make(number: int) -> list[_Row]:
        return _shard(writer, task, names, sampling, size=shard_size, seed=derived_seed(seed, 1, number))

    start = time.perf_counter()
    with tqdm(total=rows, desc=progress, unit=" texts", disable=progress is None, leave=False) as bar:

        def report(new: int) -> None:
            bar.set_postfix_str(f"{writer.tokens / (time.perf_counter() - start):,.0f} tokens/s", refresh=False)
            bar.update(new)

        return _interleaved(_collected(_shards(make, place), task, rows, report), task)


def _collected(shards: Iterator[list[_Row]], task: Task, rows: int, report: Callable[[int], None]) -> list[list[_Row]]:
    """Rows by label, ``rows`` in all, no text twice; calls ``report`` after each shard with the number of new rows."""
    wanted = [rows // task.classes + (label < rows % task.classes) for label in range(task.classes)]
    found: list[list[_Row]] = [[] for _ in wanted]
    seen: set[tuple[str, str]] = set()
    barren = 0  # shards in a row without a new text
    while len(seen) < rows:
        before = len(seen)
        for row in next(shards):
            key = (row.context if task.pair else "", row.text)
            if key not in seen and len(found[row.label]) < wanted[row.label]:
                seen.add(key)
                found[row.label].append(row)
        report(len(seen) - before)
        barren = 0 if len(seen) > before else barren + 1
        if barren == BARREN:
            raise RuntimeError(f"the PLM wrote {len(seen)} different usable texts for {task.name}, not {rows}")
    return found


def _interleaved(found: list[list[_Row]], task: Task) -> Examples:
    """Classes in turn, so that every prefix of the set is balanced too."""
    longest = max(map(len, found))
    rows = [column[i] for i in range(longest) for column in found if i < len(column)]
    texts = [row.context if task.pair else row.text for row in rows]
    pairs = [row.text for row in rows] if task.pair else None
    return Examples.of(texts, [row.label for row in rows], task.labels, pairs)
