"""The frozen TAM: texts as vectors of a pretrained encoder that is not trained, and a small head on top.

Each text is embedded once (mean of the last layer's states, length 1; Reimers & Gurevych 2019) and the vectors are kept
in the store, so that an epoch of the inner loop takes a fraction of a second. The head has one linear layer, or one
hidden layer of tanh units before it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from sungen_lib.encode import encode, sorted_batches
from sungen_lib.storage import atomic_path, set_aside, store_root
from sungen_lib.texts import plms
from sungen_lib.texts.examples import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # texts embedded at once


@dataclass(frozen=True)
class VectorBatch:
    """``vectors`` (B, D) float32, ``labels`` (B,) int64."""

    vectors: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Vectors:
    """A set of texts as vectors, (N, D) float32, on one device; what ``Encoded`` is for tokens."""

    vectors: Tensor
    labels: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.vectors.device

    @property
    def sizes(self) -> np.ndarray:
        """(N,) 1: every text is one vector."""
        return np.ones(len(self), dtype=np.int64)

    def content(self) -> tuple[Tensor, ...]:
        """The tensors that decide what is learned from the set."""
        return self.vectors, self.labels

    def gather(self, rows: Tensor, width: int) -> VectorBatch:
        """The batch of ``rows``, (B,) int64 on the device; ``width`` is that of texts and does not matter here."""
        return VectorBatch(self.vectors[rows], self.labels[rows])

    def batch(self, rows: np.ndarray) -> VectorBatch:
        """The batch of ``rows``."""
        return self.gather(torch.as_tensor(rows, device=self.device), 1)

    def select(self, rows: np.ndarray) -> Vectors:
        """The given rows as another set."""
        index = torch.as_tensor(np.asarray(rows, dtype=np.int64), device=self.device)
        return replace(self, vectors=self.vectors[index], labels=self.labels[index])

    def with_labels(self, labels: np.ndarray) -> Vectors:
        """The same texts with other labels, (N,) int64."""
        return replace(self, labels=torch.as_tensor(np.asarray(labels, dtype=np.int64), device=self.device))


class Head(nn.Module):
    """A linear classifier of vectors that starts at zero, or one with ``hidden`` tanh units before it."""

    def __init__(self, width: int, classes: int, *, hidden: int = 0) -> None:
        super().__init__()
        self.body = nn.Linear(width, hidden) if hidden else nn.Identity()
        self.linear = nn.Linear(hidden or width, classes)
        if hidden:
            for layer in (self.body, self.linear):
                assert isinstance(layer, nn.Linear)
                nn.init.uniform_(layer.weight, -1 / math.sqrt(layer.in_features), 1 / math.sqrt(layer.in_features))
                nn.init.zeros_(layer.bias)
        else:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, batch: VectorBatch) -> Tensor:
        """(B, K) logits."""
        inner = batch.vectors if isinstance(self.body, nn.Identity) else self.body(batch.vectors).tanh()
        logits: Tensor = self.linear(inner)
        return logits


class Embedder:
    """Texts to ``Vectors`` by one encoder, which is loaded when the first texts are not in the store."""

    def __init__(self, path: str, *, max_length: int) -> None:
        self.path, self.max_length = path, max_length

    @property
    def width(self) -> int:
        """Length of a vector, D."""
        from transformers import AutoConfig

        name, revision = plms.pretrained(self.path)
        return int(AutoConfig.from_pretrained(name, revision=revision).hidden_size)

    def vectors(self, texts: Examples, *, device: str | torch.device = "cpu") -> Vectors:
        """``texts`` as vectors; embedded once for each encoder and text length."""
        place = store_root() / "vectors" / f"{self._name(texts)}.safetensors"
        found = _stored(place)
        if found is None:
            found = self._embed(texts, device)
            with atomic_path(place) as temporary:
                save_file({"vectors": found.cpu()}, temporary)
        labels = torch.as_tensor(texts.labels, device=device)
        return Vectors(found.to(device), labels, len(texts.label_names))

    def _name(self, texts: Examples) -> str:
        """A hash of everything that decides the vectors: labels do not."""
        about = [plms.identity(self.path), self.max_length, texts.texts, texts.pairs]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:20]

    @torch.inference_mode()
    def _embed(self, texts: Examples, device: str | torch.device) -> Tensor:
        model, tokenizer = _encoder(self.path)
        model.to(device).eval()  # type: ignore[arg-type]  # a wrapper hides .to's signature
        limit = min(self.max_length, int(model.config.max_position_embeddings))
        data = encode(texts, tokenizer, max_length=limit, device=device)
        result = torch.empty(len(texts), model.config.hidden_size)
        batches = list(sorted_batches(data.sizes, BATCH))
        for rows in tqdm(batches, desc="embedding", unit="batch", leave=False, disable=len(batches) < 8):
            batch = data.batch(rows)
            mask = (torch.arange(batch.tokens.shape[1], device=data.device) < batch.lengths[:, None]).float()
            inputs: dict[str, Any] = {"input_ids": batch.tokens, "attention_mask": mask.long()}
            if batch.segments is not None:
                inputs["token_type_ids"] = batch.segments
            states = model(**inputs).last_hidden_state
            mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            result[torch.as_tensor(rows)] = nn.functional.normalize(mean, dim=1).float().cpu()
        return result


def _encoder(path: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of reading the weights: a moment
    name, revision = plms.pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    model = AutoModel.from_pretrained(
        name, revision=revision, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return model, tokenizer


def _stored(place: Path) -> Tensor | None:
    if not place.is_file():
        return None
    try:
        return load_file(place)["vectors"]
    except (SafetensorError, KeyError, OSError) as error:
        set_aside(place, str(error))
        return None
