"""A PLM that continues prompts up to the closing quotation mark: nucleus sampling, self-debiasing, refilled batches."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

H = TypeVar("H", bound=Hashable)
QUOTE = '"'
NUCLEUS_CANDIDATES = 256, 4096  # so many of the likeliest tokens are tried before the vocabulary is sorted


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled: nucleus mass, temperature, length in tokens before the closing quotation mark.

    ``batch_size`` texts are written side by side. New ones join when fewer than ``refill`` are unfinished, so that
    short texts do not wait for the longest; 0: when all are finished. ``decay_constant`` above 0 turns on
    self-debiasing (Schick et al. 2021, Eqn. 3; the authors' commands use 200): a token that is likelier under another
    label's prompt becomes less likely. A text then counts once per label, because the PLM reads it under each label's
    prompt; at least one is written at a time.
    """

    top_p: float = 0.9
    temperature: float = 1.0
    min_tokens: int = 10
    max_tokens: int = 100
    batch_size: int = 128
    refill: int = 0
    decay_constant: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1 or self.temperature <= 0 or self.batch_size < 1:
            raise ValueError(f"top_p must lie in (0, 1], temperature and batch_size be positive: {self}")
        if not 0 < self.min_tokens <= self.max_tokens:
            raise ValueError(f"need 0 < min_tokens <= max_tokens: {self}")
        if not 0 <= self.refill <= self.batch_size or self.decay_constant < 0:
            raise ValueError(f"refill must lie in [0, batch_size], decay_constant not be negative: {self}")


LEAST_SCALE = 0.01  # self-debiasing never scales a token's probability by less than this, before normalising
INSTRUCTION = "Continue the text that your answer begins with. Close the quotation mark and write nothing else."


@dataclass
class _Unfinished:
    """The texts being written: their ``rows``, (B,); ``lengths`` in tokens, (B,); each text's last token, (B,).

    ``mask``, (B * P, T), and ``cache`` cover the tokens that the PLM has seen, padded on the left; a text has P
    prompts, one after the other: first its prompt, then those it is debiased against.
    """

    rows: Tensor
    lengths: Tensor
    last: Tensor
    mask: Tensor
    cache: DynamicCache

    def keep(self, going: Tensor) -> None:
        """Keep only the texts with indices ``going``, (B',)."""
        prompts = len(self.mask) // len(self.rows)
        sequences = (going[:, None] * prompts + torch.arange(prompts, device=going.device)).flatten()
        self.cache.batch_select_indices(sequences)
        self.rows, self.lengths, self.last = self.rows[going], self.lengths[going], self.last[going]
        self.mask = self.mask[sequences]

    def join(self, others: _Unfinished) -> None:
        """Add ``others``, new texts; the narrower ones are padded on the left to the width of the wider ones."""
        unused = int(self.mask.argmax(1).min())  # columns at the left that only finished texts needed
        mine, theirs = self.mask.shape[1] - unused, others.mask.shape[1]
        width = max(mine, theirs)

        def merged(own: Tensor, other: Tensor) -> Tensor:
            own = F.pad(own[..., unused:, :], (0, 0, width - mine, 0))
            return torch.cat([own, F.pad(other, (0, 0, width - theirs, 0))])

        for layer, new in zip(self.cache.layers, others.cache.layers, strict=True):
            for part in ("keys", "values"):
                setattr(layer, part, merged(getattr(layer, part), getattr(new, part)))
        self.mask = merged(self.mask[..., None], others.mask[..., None])[..., 0]
        self.rows = torch.cat([self.rows, others.rows])
        self.lengths, self.last = torch.cat([self.lengths, others.lengths]), torch.cat([self.last, others.last])


class Writer:
    """Writes texts for prompts with one PLM, until the closing quotation mark; ``tokens`` counts what it wrote."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.device = next(model.parameters()).device
        self.tokens = 0
        size = model.config.vocab_size
        pieces = [tokenizer.decode([i]) if i < len(tokenizer) else "" for i in range(size)]
        self.stops = torch.tensor([QUOTE in piece for piece in pieces], device=self.device)
        eos = tokenizer.eos_token_id
        if eos is not None:
            self.stops[eos] = True

    @property
    def about(self) -> dict[str, Any]:
        """What decides its texts besides prompts, sampling and seed."""
        config, template = self.model.config, self.tokenizer.chat_template
        revision = getattr(config, "_commit_hash", None)
        return {"plm": config.name_or_path, "plm_revision": revision, "chat_template": template}

    def write(
        self, prompts: Sequence[str], sampling: Sampling, *, seed: int, against: Sequence[Sequence[str]] | None = None
    ) -> list[str | None]:
        """One text per prompt, without the closing mark; ``None`` where it was not closed within ``max_tokens``.

        ``against``: for each prompt those of other labels, equally many, for self-debiasing.
        """
        return [self._text(tokens) for tokens in self._sampled(prompts, sampling, seed, against)]

    def _text(self, tokens: list[int]) -> str | None:
        text = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
        return text[: text.index(QUOTE)] if QUOTE in text else None

    @torch.inference_mode()
    def _sampled(
        self, prompts: Sequence[str], sampling: Sampling, seed: int, against: Sequence[Sequence[str]] | None = None
    ) -> list[list[int]]:
        """The new tokens of each prompt, the last one included; ``write`` turns them into texts."""
        random = torch.Generator(self.device).manual_seed(seed)
        sets = [[prompt, *(against[i] if against else ())] for i, prompt in enumerate(prompts)]
        written: list[list[int]] = [[] for _ in prompts]
        waiting = range(len(prompts))
        beside = max(1, sampling.batch_size // max(map(len, sets), default=1))  # so many texts, with all their prompts
        refill = math.ceil(sampling.refill * beside / sampling.batch_size)
        batch: _Unfinished | None = None
        while waiting or batch is not None:
            if waiting and (batch is None or len(batch.rows) < refill):
                room = beside - (0 if batch is None else len(batch.rows))
                new, logits = self._begun(waiting[:room], sets)
                waiting = waiting[room:]
                if self._chosen(new, logits, written, sampling, random):
                    if batch is None:
                        batch = new
                    else:
                        batch.join(new)
            else:
                assert batch is not None
                if not self._chosen(batch, self._continued(batch), written, sampling, random):
                    batch = None
        self.tokens += sum(map(len, written))
        return written

    def _begun(self, rows: range, sets: list[list[str]]) -> tuple[_Unfinished, Tensor]:
        """The texts numbered ``rows`` before their first token, and its logits, (B * P, V)."""
        from transformers import DynamicCache

        different, places = distinct([prompt for row in rows for prompt in sets[row]])
        which = torch.tensor(places, device=self.device)
        tokens, mask = self._left_padded(different)  # the PLM reads equal prompts once
        cache = DynamicCache()
        logits = self._logits(tokens, mask, cache)[which]
        cache.batch_select_indices(which)
        numbers = torch.arange(rows.start, rows.stop, device=self.device)
        return _Unfinished(numbers, torch.zeros_like(numbers), torch.zeros_like(numbers), mask[which], cache), logits

    def _continued(self, batch: _Unfinished) -> Tensor:
        """The logits, (B * P, V), after the texts' last tokens."""
        batch.mask = torch.cat([batch.mask, torch.ones_like(batch.mask[:, :1])], dim=1)
        prompts = len(batch.mask) // len(batch.rows)
        return self._logits(batch.last.repeat_interleave(prompts)[:, None], batch.mask, batch.cache)

    def _logits(self, tokens: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()  # type: ignore[no-any-return]

    def _chosen(
        self, batch: _Unfinished, logits: Tensor, written: list[list[int]], sampling: Sampling, random: torch.Generator
    ) -> bool:
        """Add a token to each text of ``batch`` and drop the finished ones; return whether any is left."""
        logits = logits.view(len(batch.rows), -1, logits.shape[-1])
        logits = _debiased(logits, sampling.decay_constant) / sampling.temperature
        too_short = (batch.lengths < sampling.min_tokens)[:, None]
        chosen = _nucleus(logits.masked_fill(too_short & self.stops, -torch.inf), sampling.top_p, random)
        for row, token in zip(batch.rows.tolist(), chosen.tolist(), strict=True):
            written[row].append(token)
        batch.last, batch.lengths = chosen, batch.lengths + 1
        going = (~self.stops[chosen] & (batch.lengths <= sampling.max_tokens)).nonzero().squeeze(1)
        if 0 < len(going) < len(batch.rows):
            batch.keep(going)
        return len(going) > 0

    def _left_padded(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        ids = [prompt_tokens(prompt, self.tokenizer) for prompt in prompts]
        width = max(map(len, ids))
        tokens = torch.tensor([[0] * (width - len(row)) + row for row in ids], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=self.device)
        return tokens, mask


def prompt_tokens(prompt: str, tokenizer: PreTrainedTokenizerBase, *, in_chat: bool = True) -> list[int]:
    """Token indices of a prompt; ``in_chat`` it begins an instruction-tuned PLM's answer to ``INSTRUCTION``."""
    if not (in_chat and tokenizer.chat_template):
        return list(tokenizer(prompt)["input_ids"])
    messages = [{"role": "user", "content": INSTRUCTION}]
    chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(f"{chat}{prompt}", add_special_tokens=False)["input_ids"])  # the template has them


def distinct(items: Sequence[H]) -> tuple[list[H], list[int]]:
    """The different items, in the order in which they first appear, and for each item its place among them."""
    place = {item: i for i, item in enumerate(dict.fromkeys(items))}
    return list(place), [place[item] for item in items]


def _debiased(logits: Tensor, decay_constant: float) -> Tensor:
    """(B, V) logits of the first of each text's P prompts, (B, P, V), debiased against the others."""
    own, others = logits[:, 0], logits[:, 1:]
    if not others.shape[1]:
        return own
    gap = own.softmax(-1) - others.softmax(-1).amax(1)
    return own + (decay_constant * gap.clamp(max=0)).exp().clamp(min=LEAST_SCALE).log()


def _nucleus(logits: Tensor, top_p: float, random: torch.Generator) -> Tensor:
    """One token per row, (B,), from the smallest set of likeliest tokens whose mass reaches ``top_p``."""
    kept, tokens = _kept(logits.softmax(-1), top_p)
    return tokens.gather(1, torch.multinomial(kept, 1, generator=random)).squeeze(1)


def _kept(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The nucleus of each row: probabilities, descending and 0 outside it, and their tokens."""
    values, tokens = probabilities.topk(min(NUCLEUS_CANDIDATES[0], probabilities.shape[-1]))
    if bool((values.sum(-1) < top_p).any()):
        values, tokens = _descending(probabilities, top_p)
    before = values.cumsum(-1) - values
    return torch.where(before < top_p, values, 0.0), tokens


def _descending(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The probabilities in descending order, and their tokens; 0 after the second shortlist if it holds ``top_p``.

    The zeros keep the width, and equal probabilities keep the tokens' order: the same tokens are drawn as from the
    sorted vocabulary.
    """
    rest = probabilities.shape[-1] - NUCLEUS_CANDIDATES[1]
    if rest > 0:
        tokens = probabilities.topk(NUCLEUS_CANDIDATES[1], sorted=False).indices.sort(-1).values
        values, order = probabilities.gather(1, tokens).sort(dim=-1, descending=True, stable=True)
        if bool((values.cumsum(-1)[:, -1] >= top_p).all()):
            return F.pad(values, (0, rest)), F.pad(tokens.gather(1, order), (0, rest))
    values, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    return values, tokens
