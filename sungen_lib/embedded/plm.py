"""The offline world's PLM: a GPT-2 of about one million parameters, trained on ``corpus``.

    python -m sungen_lib.embedded.plm

trains it anew (some minutes on two CPU threads) and writes ``weights/``. The tokenizer works on whole words and is
exactly reversible on the grammars' text: a piece carries the space before it, and quotation marks stand alone, so that a
prompt that ends in an opened quotation mark ends in a token of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sungen_lib import tasks
from sungen_lib.data import write_text
from sungen_lib.embedded import world

WEIGHTS = Path(__file__).parent / "weights"
UNKNOWN, END, PADDING = "<unk>", "<eos>", "<pad>"
PIECES = r" ?\w+(?:-\w+)*|'\w+|[^\w\s]|\s"

CONTEXT = 128  # positions
SEED = 20230501
ROWS = 400_000  # of the corpus, each read once
HELD_OUT_SEED, HELD_OUT_ROWS = SEED + 1, 2_000
IGNORED = -100  # the label of padding


# --- tokenizer --------------------------------------------------------------------------------------------------------


def _all_text(rows: int) -> Iterator[str]:
    """Corpus lines, gold texts and every lexicon entry within and at the start of a sentence."""
    yield from world.corpus(rows, SEED)
    for name in world.DOMAINS:
        for split in ("train", "test"):
            data = world.gold(name, split, 3_000)
            yield from (*data.texts, *(data.pairs or ()))
        yield from tasks.get(name).label_words
        for words in world.DOMAINS[name].grammar.lexicon.values():
            for word in (word for word in words if word and "{" not in word):
                yield f" {word}"
                yield word[0].upper() + word[1:]


def build_tokenizer(rows: int = 100_000) -> PreTrainedTokenizerFast:
    """The word-level tokenizer: every piece the corpus, the gold sets and the lexicons use."""
    splitter = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    pieces = sorted({piece for text in _all_text(rows) for piece, _ in splitter.pre_tokenize_str(text)} | {"\n"})
    vocabulary = {piece: number for number, piece in enumerate([UNKNOWN, END, PADDING, *pieces])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END,
        pad_token=PADDING,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


# --- data -------------------------------------------------------------------------------------------------------------


def pack(lines: list[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """(sequences, CONTEXT) int64 token ids: whole lines, each ended by END, padded where the next would not fit.

    A line is never cut, so that every sequence begins with a prompt, as generation does.
    """
    ids = tokenizer(lines, add_special_tokens=False)["input_ids"]
    sequences: list[list[int]] = []
    current: list[int] = []
    for line in ids:
        line = [*line, tokenizer.eos_token_id]
        if len(current) + len(line) > CONTEXT:
            sequences.append(current)
            current = []
        current = current + line[:CONTEXT]
    sequences.append(current)
    packed = torch.full((len(sequences), CONTEXT), int(tokenizer.pad_token_id))
    for row, sequence in enumerate(sequences):
        packed[row, : len(sequence)] = torch.tensor(sequence)
    return packed


def _labels(batch: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    return batch.masked_fill(batch == tokenizer.pad_token_id, IGNORED)


@torch.no_grad()
def loss_on(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, lines: list[str], batch_size: int = 64) -> float:
    """Mean loss a token, in nats, over ``lines``."""
    total, tokens = 0.0, 0
    for batch in pack(lines, tokenizer).split(batch_size):
        labels = _labels(batch, tokenizer)
        count = int((labels[:, 1:] != IGNORED).sum())
        total += float(model(batch, labels=labels).loss) * count
        tokens += count
    return total / tokens


# --- model ------------------------------------------------------------------------------------------------------------


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """An untrained model of the shipped shape, its weights decided by SEED."""
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=3,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPT2LMHeadModel(config)


def train(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    rows: int = ROWS,
    batch_size: int = 64,
    lr: float = 3e-3,
    warmup: int = 100,
    weight_decay: float = 0.01,
    log_every: int = 100,
) -> None:
    """One pass over ``rows`` corpus lines: AdamW, linear warm-up, cosine to a hundredth of ``lr``, gradient norm 1."""
    packed = pack(world.corpus(rows, SEED), tokenizer)
    packed = packed[torch.randperm(len(packed), generator=torch.Generator().manual_seed(SEED))]
    batches = packed.split(batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)

    def schedule(step: int) -> float:
        progress = min(1.0, max(0, step - warmup) / max(1, len(batches) - warmup))
        return min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    model.train()
    started = time.monotonic()
    for step, batch in enumerate(batches, start=1):
        loss = model(batch, labels=_labels(batch, tokenizer)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % log_every == 0 or step == len(batches):
            print(f"step {step}/{len(batches)} loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)
    model.eval()


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in float16, the tokenizer, generation defaults, and what world it was trained on."""
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    GenerationConfig(
        do_sample=True,
        top_k=0,
        top_p=0.9,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    model.float()
    record = {
        "fingerprint": world.fingerprint(),
        "held_out_loss": round(loss_on(model, tokenizer, world.corpus(HELD_OUT_ROWS, HELD_OUT_SEED)), 4),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(tokenizer),
        "rows": ROWS,
        "seed": SEED,
    }
    write_text(folder / "grammar.json", json.dumps(record, indent=2) + "\n")
    print(record)


def load(folder: Path = WEIGHTS) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model in ``folder``, float32 in eval mode, and its tokenizer; nothing is fetched."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


@torch.no_grad()
def sample(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, prompt: str, rows: int, *, seed: int = 0, top_p: float = 0.9
) -> list[str]:
    """``rows`` nucleus-sampled continuations of ``prompt``, each up to its closing quotation mark; for checks."""
    generator = torch.Generator().manual_seed(seed)
    quote = tokenizer.convert_tokens_to_ids('"')
    start = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids, done, cache = start.repeat(rows, 1), torch.zeros(rows, dtype=torch.bool), None
    while ids.shape[1] < CONTEXT and not done.all():
        output = model(ids if cache is None else ids[:, -1:], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        ordered, index = output.logits[:, -1].softmax(-1).sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered > top_p] = 0.0
        drawn = index.gather(1, torch.multinomial(ordered, 1, generator=generator))
        done |= (drawn[:, 0] == quote) | (drawn[:, 0] == tokenizer.eos_token_id)
        ids = torch.cat([ids, drawn], dim=1)
    return [tokenizer.decode(row).split('"')[0] for row in ids[:, start.shape[1] :]]


def main() -> None:
    """Train and write the PLM."""
    parser = argparse.ArgumentParser(description="Train the offline world's PLM and write its weights.")
    parser.add_argument("--folder", type=Path, default=WEIGHTS, help="where to write (default: the shipped folder)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    train(model, tokenizer)
    save(model, tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
