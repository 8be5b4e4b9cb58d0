"""PLM to zero-shot predictions (PROMPTING in the paper, Section 2.1).

The whole prompted text is scored once for each label, and the label with the lowest mean LM loss wins. (In Table 10
the label words stand before the text, so their own likelihood would not depend on it.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from sungen_lib.data import Examples
from sungen_lib.tasks import Task, fill

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def prompted_tokens(
    task: Task, data: Examples, label: int, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[list[int]]:
    """Token indices of each prompted text; texts are cut so that prompt and text fit ``limit`` tokens."""
    rows = []
    for i, text in enumerate(data.texts):
        context, body = ("", text) if data.pairs is None else (text, data.pairs[i])
        prompt = fill(task.prompting_prompt, label_words=task.label_words[label], context=context)
        rows.append(tokenizer(prompt + body, add_special_tokens=False)["input_ids"][:limit])
    return rows


@torch.inference_mode()
def mean_losses(
    model: PreTrainedModel, rows: list[list[int]], *, batch_size: int = 64, progress: str | None = None
) -> Tensor:
    """Mean negative log-likelihood a token (the first is given), (N,) float64 in nats, on the CPU."""
    device = next(model.parameters()).device
    model.eval()
    result = torch.empty(len(rows), dtype=torch.float64)
    order = np.argsort([len(row) for row in rows], kind="stable")
    batches = np.split(order, range(batch_size, len(order), batch_size))
    for chunk in tqdm(batches, desc=progress, disable=progress is None):
        width = max(len(rows[i]) for i in chunk)
        tokens = torch.tensor([rows[i] + [0] * (width - len(rows[i])) for i in chunk], device=device)
        lengths = torch.tensor([len(rows[i]) for i in chunk], device=device)
        inside = torch.arange(width, device=device) < lengths[:, None]
        logits = model(input_ids=tokens, attention_mask=inside.long()).logits[:, :-1].float()
        losses = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        means = (losses * inside[:, 1:]).sum(1).double() / (lengths - 1).clamp(min=1)
        result[torch.as_tensor(chunk)] = means.cpu()
    return result


def predict(
    task: Task,
    data: Examples,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int = 64,
    progress: str | None = None,
) -> np.ndarray:
    """(N,) int64 predicted labels; the data's own labels are not looked at."""
    limit = int(model.config.max_position_embeddings)
    rows = (prompted_tokens(task, data, label, tokenizer, limit) for label in range(task.classes))
    losses = [mean_losses(model, tokens, batch_size=batch_size, progress=progress) for tokens in rows]
    return torch.stack(losses).argmin(0).numpy()
