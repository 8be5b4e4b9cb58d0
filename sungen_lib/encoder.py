"""DistilBERT or any other Hugging Face encoder as a TAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sungen_lib.encode import Batch
from sungen_lib.texts.plms import loading, pretrained, refuse_random

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Encoder(nn.Module):
    """A Hugging Face sequence classifier that takes our batches."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: PreTrainedModel = model

    def forward(self, batch: Batch) -> Tensor:
        """(B, K) logits."""
        logits: Tensor = self.model(**inputs(batch)).logits
        return logits

    @contextmanager
    def plain_attention(self) -> Iterator[None]:
        """Turn off fused attention, which has no forward-mode or second derivative; training uses it again after."""
        chosen = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.model.set_attn_implementation(chosen)

    def difference(self, direction: dict[str, Tensor], step: Tensor) -> Callable[[Batch], tuple[Tensor, Tensor]]:
        """A batch's logits and their derivative along ``direction``, (B, K) each; to be called without gradients.

        Central difference through the body, of length ``step`` times the direction each way, and exact through the
        head: the head may have a kink (DistilBERT's ReLU), and a step across it can cost a few per cent.
        """
        body, prefix = self.model.base_model, f"model.{self.model.base_model_prefix}."
        start = {name: self.get_parameter(name).detach() for name in direction}
        inside = {name: name.removeprefix(prefix) for name in start if name.startswith(prefix)}
        ahead, behind = ({short: start[n] + way * direction[n] for n, short in inside.items()} for way in (step, -step))
        head = {name: start[name] for name in start if name not in inside}
        head_direction = {name: direction[name] for name in head}

        def of_batch(batch: Batch) -> tuple[Tensor, Tensor]:
            first, second = (torch.func.functional_call(body, moved, (), inputs(batch)) for moved in (ahead, behind))
            middle = {key: (first[key] + second[key]) / 2 for key in first}
            tangents = {key: (first[key] - second[key]) / (2 * step) for key in first}

            def logits(parameters: dict[str, Tensor], outputs: dict[str, Tensor]) -> Tensor:
                body.forward = lambda *_, **__: type(first)(**outputs)  # the head's input, with its derivative
                try:
                    after: Tensor = torch.func.functional_call(self, parameters, (batch,))
                finally:
                    del body.forward  # the class's method is used again
                return after

            value, derivative = torch.func.jvp(logits, (head, middle), (head_direction, tangents))  # type: ignore[misc]
            return value, derivative

        return of_batch


def inputs(batch: Batch) -> dict[str, Tensor]:
    """A batch as keyword arguments of a transformers model."""
    columns = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    given = {"input_ids": batch.tokens, "attention_mask": (columns < batch.lengths[:, None]).long()}
    if batch.segments is not None:
        given["token_type_ids"] = batch.segments
    return given


def pretrained_encoder(path: str, classes: int, *, fresh_head: bool = True) -> PreTrainedModel:
    """The encoder that ``path`` names, with a head for ``classes``, a fresh one where it has none or one for another
    number, unless ``fresh_head`` is off. ``ValueError`` if it cannot be loaded."""
    from transformers import AutoModelForSequenceClassification

    name, revision = pretrained(path)
    with loading("encoder", path, ValueError):
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            name,
            revision=revision,
            num_labels=classes,
            ignore_mismatched_sizes=True,  # replace a head for other classes by a fresh one
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        body = f"{model.base_model_prefix}."
        refuse_random(loaded, spared=lambda key: fresh_head and (not key.startswith(body) or "pooler" in key))
    classifier: PreTrainedModel = model
    return classifier
