"""PLM to zero-shot predictions (PROMPTING in the paper, Section 2.1).

The whole prompted text is scored once for each label, and the label with the lowest mean LM loss wins. (In Table 10
the label words stand before the text, so their own likelihood would not depend on it.) An instruction-tuned PLM can be
asked in a chat, as it is when it writes: what the chat begins with is not scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sungen_lib.texts.examples import Examples
from sungen_lib.texts.plms import positions
from sungen_lib.texts.tasks import Task, fill
from sungen_lib.texts.writer import distinct, prompt_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 8_192  # their float32 logits over 50,000 tokens take about 1.6 GB


def prompted_tokens(
    task: Task, data: Examples, label: int, tokenizer: PreTrainedTokenizerBase, limit: int, *, in_chat: bool = False
) -> list[list[int]]:
    """Token indices of each prompted text; texts are cut so that prompt and text fit ``limit`` tokens."""
    rows = []
    for i, text in enumerate(data.texts):
        context, body = ("", text) if data.pairs is None else (text, data.pairs[i])
        prompt = fill(task.prompting_prompt, label_words=task.label_words[label], context=context)
        rows.append(prompt_tokens(prompt + body, tokenizer, in_chat=in_chat)[:limit])
    return rows


@torch.inference_mode()
def mean_losses(
    model: PreTrainedModel,
    rows: list[list[int]],
    *,
    given: int = 1,
    shared: Sequence[int] | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Mean negative log-likelihood per token, (N,) float64 in nats, on the CPU.

    ``rows``: token indices, more than ``given`` each; the first ``given`` (1 or more) are not scored.
    ``shared``: how many tokens at the beginning of each row other rows have in common, from ``given`` to its length
    less 1; equal beginnings in a batch are computed once.
    """
    model.eval()
    shared = [given] * len(rows) if shared is None else shared
    cut = [(tuple(row[:n]), row[n:]) for row, n in zip(rows, shared, strict=True)]

    def place(i: int) -> tuple[int, tuple[int, ...], int]:
        return len(rows[i]) // 8, cut[i][0], len(rows[i])  # roughly by length, equal beginnings together

    order = sorted(range(len(rows)), key=place)
    result = torch.empty(len(rows), dtype=torch.float64)
    for chunk in _batches(order, rows, batch_size):
        totals = _total_losses(model, [cut[i][0] for i in chunk], [cut[i][1] for i in chunk], given)
        result[chunk] = totals / torch.tensor([len(rows[i]) - given for i in chunk])
    return result


def _batches(order: Sequence[int], rows: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """``order`` in batches of at most ``batch_size`` rows and, padded, ``BATCH_TOKENS`` tokens, or of one row."""
    batch: list[int] = []
    for i in order:
        longest = max(len(rows[j]) for j in [*batch, i])
        if batch and (len(batch) == batch_size or (len(batch) + 1) * longest > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _total_losses(
    model: PreTrainedModel, beginnings: list[tuple[int, ...]], rests: list[list[int]], given: int
) -> Tensor:
    """Summed negative log-likelihood, (B,) float64, of each beginning after its ``given`` tokens, and of its rest."""
    from transformers import DynamicCache

    device = next(model.parameters()).device
    different, places = distinct(beginnings)
    which = torch.tensor(places, device=device)
    tokens, mask = _right_padded(different, device)
    cache = DynamicCache()
    logits = model(input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True).logits.float()
    lengths = mask.sum(1)
    total = _losses(logits[:, given - 1 : -1], tokens[:, given:], mask[:, given:])[which]
    last = logits.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, logits.shape[-1]))[which]

    cache.batch_select_indices(which)
    tokens, rest_mask = _right_padded(rests, device)
    positions = lengths[which][:, None] + torch.arange(tokens.shape[1], device=device)
    logits = model(
        input_ids=tokens,
        attention_mask=torch.cat([mask[which], rest_mask], dim=1),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).logits.float()
    return (total + _losses(torch.cat([last, logits[:, :-1]], dim=1), tokens, rest_mask)).cpu()


def _right_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    return tokens, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)


def _losses(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """(B,) float64 sums over the positions in ``mask``, (B, L)."""
    return (F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none") * mask).double().sum(1)


def _common(rows: Sequence[list[int]]) -> int:
    """Length of the beginning that all rows share, at least 1, such that each row keeps at least one token."""
    first, last = min(rows), max(rows)  # in lexicographic order, so what these two share, all rows share
    equal = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return max(1, min(equal, *(len(row) - 1 for row in rows)))


def predict(
    task: Task,
    data: Examples,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    in_chat: bool = False,
    batch_size: int = 64,
) -> np.ndarray:
    """(N,) int64 predicted labels; the labels in ``data`` are not read. ``in_chat``: through the chat template."""
    limit = positions(model.config.get_text_config())
    by_label = [prompted_tokens(task, data, k, tokenizer, limit, in_chat=in_chat) for k in range(task.classes)]
    if task.pair:  # the labels of one sample share its first text; all samples of one label share its prompt
        shared = [_common(rows) for rows in zip(*by_label, strict=True)] * task.classes
    else:
        shared = [length for rows in by_label for length in [_common(rows)] * len(rows)]
    rows = [tuple(row) for rows in by_label for row in rows]
    once = dict(zip(rows, shared, strict=True))  # equal rows get one loss, and a tie goes to the first label
    different, lengths = list(map(list, once)), list(once.values())
    given = max(1, len(prompt_tokens("", tokenizer, in_chat=in_chat)))
    losses = mean_losses(model, different, given=given, shared=lengths, batch_size=batch_size)
    number = {row: i for i, row in enumerate(once)}
    return losses[[number[row] for row in rows]].view(task.classes, -1).argmin(0).numpy()
