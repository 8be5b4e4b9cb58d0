"""The frozen TAM: texts as vectors of a pretrained encoder that is not trained, and a small head on top.

Each text is embedded once (mean of the last layer's states, scaled to length 1; Reimers & Gurevych 2019) and the
vectors are kept in the store, so that an epoch of the inner loop takes a fraction of a second. The head has one linear
layer, or one hidden layer of tanh units before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from sungen_lib.encode import Batch, encode, sorted_batches
from sungen_lib.encoder import inputs
from sungen_lib.storage import SEAL, Damaged, atomic_path, locked, store_root, unless_damaged
from sungen_lib.texts import plms, wheels
from sungen_lib.texts.examples import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # texts embedded at once
SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class VectorBatch:
    """``vectors`` (B, D) float32, ``labels`` (B,) int64."""

    vectors: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Vectors:
    """A set of texts as vectors, (N, D) float32, on one device; the counterpart of ``Encoded`` for tokens."""

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
        """The batch of ``rows``, (B,) int64 on the device; ``width``, a number of tokens, is ignored here."""
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
    """A linear classifier of vectors that starts at zero, or one after a layer of ``hidden`` tanh units."""

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
    """Turns texts into ``Vectors`` by one encoder, which is loaded only if their vectors are not in the store."""

    def __init__(self, path: str, *, max_length: int) -> None:
        self.path, self.max_length = path, max_length

    @property
    def width(self) -> int:
        """Length of a vector, D."""
        return int(self._config().hidden_size)

    def vectors(self, texts: Examples, *, device: str | torch.device = "cpu") -> Vectors:
        """``texts`` as vectors; embedded once for each encoder and text length.

        Raises ``ValueError``, one sentence, for an encoder that cannot be loaded, and ``DataMissing`` for a wheel that
        is not available.
        """
        place = store_root() / "vectors" / f"{self._name(texts)}.safetensors"
        try:
            found = _stored(place)  # stored vectors need no lock: the store may be read-only
        except Damaged:
            found = None
        if found is None:
            with locked(store_root() / "locks" / f"vectors-{place.stem}"):
                found = unless_damaged(_stored, place)  # another process may have embedded the texts meanwhile
                if found is None:
                    found = self._embed(texts, device, place)
                    _save(found, place)
                    for begun in place.parent.glob(f"{place.stem}*.begun"):
                        begun.unlink()
        labels = torch.as_tensor(texts.labels, device=device)
        return Vectors(found.to(device), labels, len(texts.label_names))

    def _name(self, texts: Examples) -> str:
        """A hash of everything that decides the vectors; labels do not."""
        about = [self._identity(), self.max_length, texts.texts, texts.pairs]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:20]

    def _identity(self) -> str:
        """What decides the encoder: for a folder its files' content, for a hub id also the commit."""
        if wheels.is_wheel(self.path):
            return plms.identity(self.path)
        name, _ = plms.pretrained(self.path)
        if Path(name).is_dir():
            return f"@{plms.content_hash(name)}"
        return f"{self.path} {self._config()._commit_hash}"

    def _config(self) -> PreTrainedConfig:
        return plms.load_config(self.path, "encoder")

    @torch.inference_mode()
    def _embed(self, texts: Examples, device: str | torch.device, place: Path) -> Tensor:
        """(N, D) on the CPU: for each text the mean of the last layer's states, scaled to length 1.

        A file beside ``place`` keeps the vectors of the first batches; after a kill the same call goes on from there.
        """
        model, tokenizer = _encoder(self.path)
        model.to(device).eval()
        limit = min(self.max_length, tokenizer.model_max_length, _positions(model))
        data = encode(texts, tokenizer, max_length=limit, device=device)
        order = np.concatenate(list(sorted_batches(data.sizes, BATCH)))
        begun = place.with_suffix(f".{hashlib.sha256(order.tobytes()).hexdigest()[:8]}.begun")
        kept = unless_damaged(_stored, begun)
        result = torch.empty(len(order), model.config.hidden_size, device=device)  # in that order
        done = 0 if kept is None else len(kept)
        if kept is not None:
            result[:done] = kept.to(device)
        hidden = len(order) < 8 * BATCH or bool(os.environ.get("TQDM_DISABLE"))
        bar = tqdm(total=len(order), initial=done, desc="embedding", unit="text", leave=False, disable=hidden)
        due = time.monotonic() + SAVE_SECONDS
        with bar:
            for start in range(done, len(order), BATCH):
                vectors = _means(model, data.batch(order[start : start + BATCH])).float()
                result[start : start + len(vectors)] = vectors
                bar.update(len(vectors))
                if time.monotonic() > due:
                    due = _saved(result[: start + len(vectors)].cpu(), begun)
        if not bool(torch.isfinite(result).all()):
            begun.unlink(missing_ok=True)
            raise ValueError(f"the encoder {self.path!r} makes vectors that are not finite; its weights are bad")
        return result[torch.as_tensor(np.argsort(order), device=device)].cpu()


def _means(model: PreTrainedModel, batch: Batch) -> Tensor:
    """(B, D) means scaled to length 1; padding is ignored."""
    given = inputs(batch)
    mask, states = given["attention_mask"].float(), model(**given).last_hidden_state
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return nn.functional.normalize(mean, dim=1)


def _positions(model: PreTrainedModel) -> int:
    """The longest text the model takes; RoBERTa models number positions after that of the padding."""
    number = plms.positions(model.config)
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    paddings = [table.padding_idx for table in tables if isinstance(table, nn.Embedding)]
    return number - max((padding + 1 for padding in paddings if padding is not None), default=0)


@lru_cache(maxsize=16)
def longest_text(path: str) -> int:
    """The longest text, in tokens, that a pretrained encoder takes; its tokenizer may know of no limit."""
    from transformers import AutoModel

    config = plms.load_config(path, "encoder")
    with plms.loading("encoder", path, ValueError), torch.device("meta"):  # the model's shape, without its weights
        return _positions(AutoModel.from_config(config, trust_remote_code=False))


def _encoder(path: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The encoder and its tokenizer; ``ValueError``, one sentence, where there is none."""
    from transformers import AutoModel

    name, revision = plms.pretrained(path)
    tokenizer = plms.load_tokenizer(path, "encoder")
    with plms.loading("encoder", path, ValueError):
        model, loaded = AutoModel.from_pretrained(
            name,
            revision=revision,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        plms.refuse_random(loaded)
    return model, tokenizer


def _seal(vectors: Tensor) -> str:
    """SHA-256: safetensors would not notice a changed number."""
    return hashlib.sha256(vectors.contiguous().numpy().tobytes()).hexdigest()


def _save(vectors: Tensor, place: Path) -> None:
    with atomic_path(place) as temporary:
        save_file({"vectors": vectors}, temporary, {SEAL: _seal(vectors)})


def _saved(vectors: Tensor, place: Path) -> float:
    """``_save``; when to do it again, so that saving takes little of the time even where vectors fill gigabytes."""
    began = time.monotonic()
    _save(vectors, place)
    return time.monotonic() + max(SAVE_SECONDS, 30 * (time.monotonic() - began))


def _stored(place: Path) -> Tensor | None:
    """The vectors that were saved there, if any; raises ``Damaged``."""
    if not place.is_file():
        return None
    try:
        with safe_open(place, "pt") as file:
            vectors: Tensor = file.get_tensor("vectors")
            seal = (file.metadata() or {}).get(SEAL)
    except SafetensorError as error:  # an OSError says nothing about the content
        raise Damaged(str(error)) from None
    if seal != _seal(vectors):
        raise Damaged("its content does not match its checksum")
    return vectors
