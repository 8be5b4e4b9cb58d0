"""The tiny task models (TAMs): the paper's BiLSTM, and DistilBERT or any other Hugging Face encoder; beyond the paper a
bag of words and word pairs, and a head on a frozen encoder (``frozen``)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from sungen_lib.encode import MAX_LENGTH, PAD, Batch, Samples, Vocabulary, encode
from sungen_lib.encoder import Encoder, pretrained_encoder
from sungen_lib.frozen import Embedder, Head, longest_text
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.plms import identity, load_tokenizer

if TYPE_CHECKING:
    from transformers import DistilBertConfig, PreTrainedTokenizerBase

Tokenizer: TypeAlias = "Vocabulary | PreTrainedTokenizerBase | Embedder"


class BiLSTM(nn.Module):
    """One-layer bidirectional LSTM over learned embeddings; the final states of both directions feed a linear layer.

    Sizes and initialisation are those of the authors' release: embedding 100, hidden 150 per direction, all parameters
    uniform in +-1/sqrt(2 hidden), no dropout. The two directions are two unidirectional LSTMs, the second on reversed
    tokens, both left-aligned with the state read at the last token. This equals a packed bidirectional LSTM and can
    use the fused kernels.
    """

    def __init__(self, vocabulary: int, classes: int, *, embedding: int = 100, hidden: int = 150) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.left = nn.LSTM(embedding, hidden, batch_first=True)
        self.right = nn.LSTM(embedding, hidden, batch_first=True)
        self.linear = nn.Linear(2 * hidden, classes)
        bound = 1 / math.sqrt(2 * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, batch: Batch) -> Tensor:
        """(B, K) logits."""
        last = (batch.lengths - 1)[:, None, None].expand(-1, 1, self.left.hidden_size)
        # One look-up for both directions: its backward pass fills a gradient as large as the vocabulary.
        inputs = self.embedding(torch.stack([batch.tokens, reverse(batch)]))
        ends = [lstm(x)[0].gather(1, last).squeeze(1) for lstm, x in zip((self.left, self.right), inputs, strict=True)]
        logits: Tensor = self.linear(torch.cat(ends, dim=1))
        return logits

    def dual(self, batch: Batch, tangent: dict[str, Tensor], tables: DualTables) -> tuple[Tensor, Tensor]:
        """Logits and their derivative along ``tangent`` (a direction in parameter space), both (B, K).

        Value and tangent go through one recurrence (dual numbers), exact to rounding in any precision. The batch's
        tokens are row numbers of ``tables``.
        """
        ends, end_tangents = [], []
        for name, tokens in (("left", batch.tokens), ("right", reverse(batch))):
            recurrent, d_recurrent = getattr(self, name).weight_hh_l0, tangent[f"{name}.weight_hh_l0"]
            end, d_end = _dual_lstm(tokens, batch.lengths, tables[name], recurrent.T, d_recurrent.T)
            ends.append(end)
            end_tangents.append(d_end)
        state, d_state = torch.cat(ends, dim=1), torch.cat(end_tangents, dim=1)
        weight = self.linear.weight
        d_logits = d_state @ weight.T + state @ tangent["linear.weight"].T + tangent["linear.bias"]
        return self.linear(state), d_logits

    def dual_tables(self, tangent: dict[str, Tensor], words: Tensor) -> DualTables:
        """Input projections of ``words``, (V',) indices, and their tangents, (V', 4 hidden) each, by direction."""
        tables = {}
        vectors, d_vectors = self.embedding.weight[words], tangent["embedding.weight"][words]
        for name in ("left", "right"):
            lstm = getattr(self, name)
            weight, d_weight = lstm.weight_ih_l0, tangent[f"{name}.weight_ih_l0"]
            bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
            d_bias = tangent[f"{name}.bias_ih_l0"] + tangent[f"{name}.bias_hh_l0"]
            tables[name] = (vectors @ weight.T + bias, d_vectors @ weight.T + vectors @ d_weight.T + d_bias)
        return tables


DualTables = dict[str, tuple[Tensor, Tensor]]


def reverse(batch: Batch) -> Tensor:
    """(B, L) tokens with each text reversed in place and its padding left at the end."""
    columns = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    source = batch.lengths[:, None] - 1 - columns
    return torch.where(source >= 0, batch.tokens.gather(1, source.clamp(min=0)), PAD)


def _dual_lstm(
    tokens: Tensor, lengths: Tensor, table: tuple[Tensor, Tensor], recurrent: Tensor, d_recurrent: Tensor
) -> tuple[Tensor, Tensor]:
    """Last hidden state (B, H) of each text and its tangent."""
    inputs, d_inputs = table[0][tokens], table[1][tokens]
    h = inputs.new_zeros(len(tokens), recurrent.shape[0])
    dh, c, dc = torch.zeros_like(h), torch.zeros_like(h), torch.zeros_like(h)
    for step in range(tokens.shape[1]):
        gates = inputs[:, step] + h @ recurrent
        d_gates = d_inputs[:, step] + dh @ recurrent + h @ d_recurrent
        i, f, g, o = gates.chunk(4, dim=1)
        di, df, dg, do = d_gates.chunk(4, dim=1)
        i, f, o, g = i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh()
        di, df, do, dg = di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g)
        running = (step < lengths)[:, None]
        dc = torch.where(running, df * c + f * dc + di * g + i * dg, dc)
        c = torch.where(running, f * c + i * g, c)
        tanh = c.tanh()
        dh = torch.where(running, do * tanh + o * dc * (1 - tanh * tanh), dh)
        h = torch.where(running, o * tanh, h)
    return h, dh


class Bag(nn.Module):
    """Mean of the embeddings of a text's words and word pairs, then a linear layer: fastText (Joulin et al. 2017).

    Word pairs share ``buckets`` embeddings by a hash. Embeddings start near 0, so that words seen once have
    little influence. ``dropout`` drops whole words and word pairs. A pair of texts is one bag.
    """

    def __init__(self, vocabulary: int, classes: int, *, embedding: int = 100, dropout: float = 0.5) -> None:
        super().__init__()
        self.buckets = vocabulary
        self.embedding = nn.Embedding(vocabulary + self.buckets, embedding)
        self.linear = nn.Linear(embedding, classes)
        self.dropout = dropout
        nn.init.uniform_(self.embedding.weight, -1 / embedding, 1 / embedding)

    def forward(self, batch: Batch) -> Tensor:
        """(B, K) logits."""
        tokens, vocabulary = batch.tokens, self.embedding.num_embeddings - self.buckets
        pairs = (tokens[:, :-1] * 1_000_003 + tokens[:, 1:]) % self.buckets + vocabulary
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        inside = columns < batch.lengths[:, None]
        kept = torch.cat([inside, inside[:, 1:]], dim=1).to(self.linear.weight.dtype)
        if self.training:
            kept = kept * (torch.rand_like(kept) >= self.dropout)
        vectors = self.embedding(torch.cat([tokens, pairs], dim=1))
        mean = (vectors * kept[..., None]).sum(1) / kept.sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.linear(mean)
        return logits


@dataclass(frozen=True, eq=False)
class Prepared:
    """A fresh TAM, its encoded training texts, and the tokenizer that test texts must go through."""

    model: nn.Module
    data: Samples
    tokenizer: Tokenizer


KINDS = ("lstm", "distilbert", "bag", "frozen")


@dataclass(frozen=True)
class TamConfig:
    """Everything that decides a TAM before training, and how it is trained by default (Appendix F.2).

    ``kind``: "lstm", or "distilbert" for an encoder; beyond the paper "bag", and "frozen" for a head on an encoder that
    is not trained (``hidden`` tanh units, or 0 for a linear one). ``path`` names a pre-trained encoder, as
    ``pretrained`` reads it; without it a DistilBERT of width ``hidden``, ``layers``, ``heads`` and ``dropout`` starts
    from random weights. ``inner_epochs``: epochs of the inner loop in each outer iteration.
    """

    kind: str = "lstm"
    embedding: int = 100
    hidden: int = 150
    layers: int = 1
    heads: int = 1
    dropout: float = 0.1
    path: str | None = field(default=None, metadata={"identity": identity})
    vocabulary: int = 50_000
    max_length: int = MAX_LENGTH
    lr: float = 1e-3
    epochs: int = 5
    inner_epochs: int = 1
    batch_size: int = 32
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown TAM {self.kind!r}; known: {', '.join(KINDS)}")
        if self.kind == "frozen" and self.path is None:
            raise ValueError("a frozen TAM needs path, the name of its encoder")

    @property
    def training(self) -> dict[str, Any]:
        """Its training settings, as arguments of every ``train`` and ``fit``."""
        return {"epochs": self.epochs, "lr": self.lr, "batch_size": self.batch_size, "precision": self.precision}

    @property
    def inner(self) -> dict[str, Any]:
        """The same for the inner loop, as fields of ``reweight.Bilevel``."""
        settings = {"inner_epochs": self.inner_epochs, "inner_lr": self.lr}
        return settings | {"batch_size": self.batch_size, "precision": self.precision}

    def tokenizer(self, train_set: Examples) -> Tokenizer:
        """What turns texts into the TAM's input: the pre-trained encoder's tokenizer, a frozen encoder as a whole, else
        a vocabulary built from the TAM's training texts."""
        if self.kind == "frozen":
            assert self.path is not None
            return Embedder(self.path, max_length=self.max_length)
        if self.path is None:
            return Vocabulary.build(train_set, max_size=self.vocabulary, start=self.kind == "distilbert")
        return load_tokenizer(self.path)

    def encode(self, texts: Examples, tokenizer: Tokenizer, *, device: str | torch.device = "cpu") -> Samples:
        """``texts`` as tensors, cut to the TAM's ``max_length``, or to what its pretrained encoder takes."""
        if isinstance(tokenizer, Embedder):
            return tokenizer.vectors(texts, device=device)
        limit = self.max_length if self.path is None else min(self.max_length, longest_text(self.path))
        return encode(texts, tokenizer, max_length=limit, device=device)

    def prepare(
        self, texts: Examples, *, seed: int, device: str | torch.device = "cpu", rows: np.ndarray | None = None
    ) -> Prepared:
        """Everything that training on ``texts``, or on some ``rows`` of them, needs: a fresh TAM, the encoded texts,
        the tokenizer. A frozen encoder embeds all texts, whichever rows are asked for, and so only once."""
        if rows is not None and self.kind != "frozen":
            texts, rows = texts.select(rows), None
        tokenizer = self.tokenizer(texts)
        data = self.encode(texts, tokenizer, device=device)
        data = data if rows is None else data.select(rows)
        return Prepared(self.build(tokenizer, data.classes, seed=seed), data, tokenizer)

    def build(self, tokenizer: Tokenizer, classes: int, *, seed: int) -> nn.Module:
        """A freshly initialised TAM on the CPU; the global random state does not change."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if isinstance(tokenizer, Embedder):
                return Head(tokenizer.width, classes, hidden=self.hidden)
            if self.kind == "lstm":
                return BiLSTM(len(tokenizer), classes, embedding=self.embedding, hidden=self.hidden)
            if self.kind == "bag":
                return Bag(len(tokenizer), classes, embedding=self.embedding, dropout=self.dropout)
            if self.path is not None:
                return Encoder(pretrained_encoder(self.path, classes))
            from transformers import DistilBertForSequenceClassification

            return Encoder(DistilBertForSequenceClassification(self._distilbert(len(tokenizer), classes)))

    def _distilbert(self, vocabulary: int, classes: int) -> DistilBertConfig:
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=vocabulary,
            max_position_embeddings=self.max_length,
            dim=self.hidden,
            hidden_dim=4 * self.hidden,
            n_layers=self.layers,
            n_heads=self.heads,
            dropout=self.dropout,
            attention_dropout=self.dropout,
            seq_classif_dropout=self.dropout,
            pad_token_id=PAD,
            num_labels=classes,
        )
