"""PLM to synthetic ``Examples``: ZeroGen's generation (Section 2.2), sharded and resumable.

A prompt states the label and opens a quotation mark; what the PLM writes up to the closing mark is the text. Tasks
with a context (a movie, restaurant or product name, the first text of a pair) take it from a list or have the PLM
write it first (Table 10, Appendix F.3). Kept are texts that were closed in time, hold no slot marker such as ``<C>``
and were not written before; classes are balanced by count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sungen_lib.data import Examples, examples, write_text
from sungen_lib.tasks import Task, fill
from sungen_lib.train import derived_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

QUOTE = '"'
SLOT = re.compile(r"<[A-Za-z]>")
NUCLEUS_CANDIDATES = 256  # the nucleus is looked for among the likeliest tokens before sorting the vocabulary


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled: nucleus mass, temperature, length in tokens before the closing quotation mark."""

    top_p: float = 0.9
    temperature: float = 1.0
    min_tokens: int = 10
    max_tokens: int = 100
    batch_size: int = 128

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1 or self.temperature <= 0 or self.batch_size < 1:
            raise ValueError(f"top_p must lie in (0, 1], temperature and batch_size be positive: {self}")
        if not 0 < self.min_tokens <= self.max_tokens:
            raise ValueError(f"need 0 < min_tokens <= max_tokens: {self}")


NAMES = Sampling(min_tokens=1, max_tokens=20)
CONTEXTS = 200  # names written in the first stage, as far as the PLM finds that many different ones


class Writer:
    """Writes texts for prompts with one PLM, until the closing quotation mark."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.device = next(model.parameters()).device
        size = model.config.vocab_size
        pieces = [tokenizer.decode([i]) if i < len(tokenizer) else "" for i in range(size)]
        ends = [QUOTE in piece for piece in pieces]
        self.ends = torch.tensor(ends, device=self.device)
        eos = tokenizer.eos_token_id
        self.stops = self.ends.clone()
        if eos is not None:
            self.stops[eos] = True

    @torch.inference_mode()
    def write(self, prompts: Sequence[str], sampling: Sampling, *, seed: int) -> list[str | None]:
        """One text a prompt, without the closing mark; ``None`` where it was not closed within ``max_tokens``."""
        random = torch.Generator(self.device).manual_seed(seed)
        texts: list[str | None] = [None] * len(prompts)
        for start in range(0, len(prompts), sampling.batch_size):
            rows = range(start, min(start + sampling.batch_size, len(prompts)))
            for row, tokens in zip(rows, self._batch([prompts[i] for i in rows], sampling, random), strict=True):
                texts[row] = self._text(tokens)
        return texts

    def _text(self, tokens: list[int]) -> str | None:
        text = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
        return text[: text.index(QUOTE)] if QUOTE in text else None

    def _batch(self, prompts: list[str], sampling: Sampling, random: torch.Generator) -> list[list[int]]:
        """Samples all prompts side by side; finished ones leave the batch."""
        tokens, mask = self._left_padded(prompts)
        written: list[list[int]] = [[] for _ in prompts]
        active = torch.arange(len(prompts), device=self.device)
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        for length in range(sampling.max_tokens + 1):
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            output = self.model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            logits = output.logits[:, -1].float() / sampling.temperature
            if length < sampling.min_tokens:
                logits = logits.masked_fill(self.stops, -torch.inf)
            chosen = _nucleus(logits, sampling.top_p, random)
            for row, token in zip(active.tolist(), chosen.tolist(), strict=True):
                written[row].append(token)
            going = (~self.stops[chosen]).nonzero().squeeze(1)
            if not len(going):
                break
            if len(going) < len(active):
                cache.batch_select_indices(going)
                active, mask, chosen = active[going], mask[going], chosen[going]
            tokens, mask = chosen[:, None], torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return written

    def _left_padded(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        ids = [self.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        width = max(map(len, ids))
        tokens = torch.tensor([[0] * (width - len(row)) + row for row in ids], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=self.device)
        return tokens, mask


def _nucleus(logits: Tensor, top_p: float, random: torch.Generator) -> Tensor:
    """One token a row, (B,), from the smallest set of likeliest tokens whose mass reaches ``top_p``."""
    probabilities = logits.softmax(-1)
    count = min(NUCLEUS_CANDIDATES, logits.shape[-1])
    values, tokens = probabilities.topk(count)
    if bool((values.sum(-1) < top_p).any()):
        values, tokens = probabilities.sort(descending=True)
    before = values.cumsum(-1) - values
    kept = torch.where(before < top_p, values, 0.0)
    return tokens.gather(1, torch.multinomial(kept, 1, generator=random)).squeeze(1)


# --- a task's synthetic set -------------------------------------------------------------------------------------------


def contexts(writer: Writer, task: Task, *, count: int = CONTEXTS, seed: int, sampling: Sampling = NAMES) -> list[str]:
    """The task's contexts: its list, or distinct names written by the PLM; empty for a task without."""
    if task.contexts:
        return list(task.contexts)
    if task.context_prompt is None:
        return []
    found: dict[str, None] = {}
    for attempt in range(8):
        texts = writer.write([task.context_prompt] * count, sampling, seed=derived_seed(seed, attempt))
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


def _shard(
    writer: Writer, task: Task, names: list[str], sampling: Sampling, *, size: int, seed: int
) -> list[_Row]:
    """``size`` prompts, labels in turn, contexts drawn at random; the closed texts among the answers."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % task.classes
    chosen = [names[i] for i in rng.integers(len(names), size=size)] if names else [""] * size
    prompts = [
        fill(task.generation_prompt, label_words=task.label_words[label], context=context)
        for label, context in zip(labels, chosen, strict=True)
    ]
    texts = writer.write(prompts, sampling, seed=derived_seed(seed, 1))
    return [
        _Row(" ".join(text.split()), int(label), context)
        for text, label, context in zip(texts, labels, chosen, strict=True)
        if text is not None and text.strip() and not SLOT.search(text)
    ]


def _shards(make: Callable[[int], list[_Row]], folder: Path | None) -> Iterator[list[_Row]]:
    """Shard 0, 1, ...: read from ``folder`` where complete, else made and stored there."""
    number = 0
    while True:
        path = None if folder is None else folder / f"shard-{number:05d}.jsonl"
        if path is not None and path.exists():
            yield [_Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            rows = make(number)
            if path is not None:
                write_text(path, "".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows))
            yield rows
        number += 1


def generate(
    task: Task,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: int,
    seed: int,
    sampling: Sampling = Sampling(),
    shard_size: int = 1024,
    folder: str | Path | None = None,
    progress: str | None = None,
) -> Examples:
    """``rows`` synthetic examples of ``task``, classes balanced to within one, no text twice.

    With ``folder`` each finished shard is stored there, and a later call with the same arguments goes on after the
    last one. Raises ``RuntimeError`` where the PLM does not get there: ten shards in a row without a new text.
    """
    writer = Writer(model, tokenizer)
    names = contexts(writer, task, seed=derived_seed(seed, 0))
    wanted = [rows // task.classes + (label < rows % task.classes) for label in range(task.classes)]
    found: list[list[_Row]] = [[] for _ in wanted]
    seen: set[tuple[str, str]] = set()
    barren = 0

    def make(number: int) -> list[_Row]:
        return _shard(writer, task, names, sampling, size=shard_size, seed=derived_seed(seed, 1, number))

    with tqdm(total=rows, desc=progress, unit=" texts", disable=progress is None, leave=False) as bar:
        for shard in _shards(make, None if folder is None else Path(folder)):
            before = len(seen)
            for row in shard:
                key = (row.context if task.pair else "", row.text)
                if key not in seen and len(found[row.label]) < wanted[row.label]:
                    seen.add(key)
                    found[row.label].append(row)
            bar.update(len(seen) - before)
            if len(seen) == rows:
                return _interleaved(found, task)
            barren = 0 if len(seen) > before else barren + 1
            if barren == 10:
                raise RuntimeError(f"the PLM wrote {len(seen)} different usable texts for {task.name}, not {rows}")
    raise AssertionError("shards never end")


def _interleaved(found: list[list[_Row]], task: Task) -> Examples:
    """Classes in turn, so that every prefix of the set is balanced too."""
    longest = max(map(len, found))
    rows = [column[i] for i in range(longest) for column in found if i < len(column)]
    texts = [row.context if task.pair else row.text for row in rows]
    pairs = [row.text for row in rows] if task.pair else None
    return examples(texts, [row.label for row in rows], task.labels, pairs)
