"""The tiny PLM of the offline world: ``python -m sungen_lib.embedded.plm`` trains it again (half an hour on two cores).

A GPT-2 of about a million parameters with a word-level vocabulary, trained on ``world.corpus``. Its weights are shipped
in float16; ``load_plm`` reads them with the same classes as GPT2-XL.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sungen_lib.embedded import world
from sungen_lib.texts import plms, tasks

FOLDER = Path(__file__).parent / "weights"
PIECE = r" ?[\w'-]+|[^\w\s]|\s"  # words carry the space before them, so that decoding is plain concatenation
SPECIALS = ("<unk>", "<eos>", "<pad>")
VOCABULARY = 4_000
POSITIONS = 128
BATCH, SEED = 64, 0
HELD_OUT_SEED = 1
IGNORED = -100  # the label that transformers' losses leave out
Batch = tuple[Tensor, Tensor]  # tokens and labels, both (B, L) int64


@dataclass(frozen=True)
class Phase:
    """One stretch of training: steps, peak learning rate, the lines' seed, whether they obey their prompts, which tasks."""

    steps: int
    lr: float
    seed: int
    obedient: bool = False
    among: tuple[str, ...] = world.WRITTEN


# A model this small learns in stages. First it learns the language. Then it learns to copy, because a pair's second text
# repeats parts of its first: from random words said twice, since attention heads that look back at what followed a word
# hardly form from sentences alone. Then it learns, without noise, what a label asks for: in pairs; in everything; and
# once more in reviews, where negation and contrast stand between the label and the words. Last, it learns to disobey at
# the stated rates.
PAIRS = tuple(name for name in world.WRITTEN if tasks.get(name).pair)
REVIEWS = ("imdb", "amazon", "yelp")
LANGUAGE = (Phase(2_400, 4e-3, seed=0),)
COPY_STEPS, COPY_LR, COPY_WORDS = 800, 3e-3, 400
LABELS = (
    Phase(800, 2e-3, seed=11, obedient=True, among=PAIRS),
    Phase(2_400, 3e-3, seed=12, obedient=True),
    Phase(600, 2e-3, seed=13, obedient=True, among=REVIEWS),
    Phase(700, 2e-3, seed=14, obedient=True),
    Phase(500, 1e-3, seed=15),
)


def build_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the most frequent pieces in ``lines``; reversible for every text made of them."""
    split = pre_tokenizers.Split(Regex(PIECE), "isolated")
    counts = Counter(piece for line in lines for piece, _ in split.pre_tokenize_str(line))
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))[: VOCABULARY - len(SPECIALS)]
    tokenizer = Tokenizer(
        models.WordLevel({piece: i for i, piece in enumerate((*SPECIALS, *ranked))}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )


def _vocabulary_lines() -> list[str]:
    gold = [world.gold(name, split, 2_000) for name in world.DOMAINS for split in ("train", "test")]
    return world.corpus(60_000, seed=2) + [t for data in gold for t in (*data.texts, *(data.pairs or ()))]


def _batches(lines: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Batch]:
    """Batches of lines of similar length, each ended by <eos>, padded with <pad>; all but the padding is learned."""
    rows = [[*tokenizer(line)["input_ids"][: POSITIONS - 1], tokenizer.eos_token_id] for line in lines]
    batches = []
    for start in range(0, len(rows), 50 * BATCH):  # sorted within a pool: little padding, order still mixed
        pool = sorted(rows[start : start + 50 * BATCH], key=len)
        for chunk in (pool[i : i + BATCH] for i in range(0, len(pool), BATCH)):
            width = max(map(len, chunk))
            tokens = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in chunk])
            batches.append((tokens, tokens.masked_fill(tokens == tokenizer.pad_token_id, IGNORED)))
    return [batches[i] for i in torch.randperm(len(batches), generator=torch.Generator().manual_seed(SEED)).tolist()]


def _copies(tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Batches of 8 to 31 random words, up to 7 others, and the first ones again; only the repetition is learned."""
    lines = world.corpus(4_000, seed=SEED, among=PAIRS)
    counts = Counter(token for line in lines for token in tokenizer(line)["input_ids"])
    words = torch.tensor([token for token, _ in counts.most_common(COPY_WORDS)])
    rng = torch.Generator().manual_seed(SEED)
    for _ in range(COPY_STEPS):
        said, between = (int(torch.randint(low, high, (), generator=rng)) for low, high in ((8, 32), (0, 8)))
        drawn = words[torch.randint(0, len(words), (BATCH, said + between), generator=rng)]
        tokens = torch.cat([drawn, drawn[:, :said]], dim=1)
        columns = torch.arange(tokens.shape[1])
        yield tokens, tokens.masked_fill(columns <= said + between, IGNORED)  # its first word could be any


def _loss(model: GPT2LMHeadModel, batch: Batch) -> Tensor:
    loss: Tensor = model(input_ids=batch[0], labels=batch[1]).loss
    return loss


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, *, rows: int = 512) -> float:
    """Mean loss per token, in nats, on corpus lines the PLM was not trained on."""
    batches = _batches(world.corpus(rows, seed=HELD_OUT_SEED), tokenizer)
    losses = [float(_loss(model, batch)) for batch in batches]
    return sum(losses) / len(losses)


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """The untrained PLM."""
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=128,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPT2LMHeadModel(config)


def _corpus(phase: Phase, tokenizer: PreTrainedTokenizerFast) -> list[Batch]:
    """Fresh corpus lines for one phase: none is seen twice."""
    lines = world.corpus(phase.steps * BATCH, seed=phase.seed, obedient=phase.obedient, among=phase.among)
    return _batches(lines, tokenizer)


def train_on(model: GPT2LMHeadModel, batches: Iterable[Batch], *, steps: int, lr: float) -> None:
    """Train in place, the learning rate rising to ``lr`` and falling to 0 over ``steps`` batches."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.05)
    bar = tqdm(batches, total=steps, desc=f"training the embedded PLM at {lr}")
    for batch in bar:
        loss = _loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


def train() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The PLM, trained from scratch on ``LANGUAGE``, ``_copies`` and ``LABELS``."""
    tokenizer = build_tokenizer(_vocabulary_lines())
    model = build_model(tokenizer)
    for phase in LANGUAGE:
        train_on(model, _corpus(phase, tokenizer), steps=phase.steps, lr=phase.lr)
    train_on(model, _copies(tokenizer), steps=COPY_STEPS, lr=COPY_LR)
    for phase in LABELS:
        train_on(model, _corpus(phase, tokenizer), steps=phase.steps, lr=phase.lr)
    return model.eval(), tokenizer


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, *, seconds: float) -> None:
    """Write the PLM to the package: float16 weights, configuration, tokenizer, and what it was trained on."""
    FOLDER.mkdir(exist_ok=True)
    tied = {name: value.half().contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tied, FOLDER / "model.safetensors", {"format": "pt"})
    model.config.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)
    about = {
        "grammar": world.fingerprint(),
        "held_out_loss": round(held_out_loss(model, tokenizer), 4),
        "parameters": model.num_parameters(),
        "steps": COPY_STEPS + sum(phase.steps for phase in (*LANGUAGE, *LABELS)),
        "seconds": round(seconds),
        "noisy_y": world.NOISY_Y,
        "unrelated_x": world.UNRELATED_X,
        "tasks": len(tasks.TASKS),
    }
    (FOLDER / "grammar.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def load_plm() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The shipped PLM, float32 and in evaluation mode, and its tokenizer; no network is used."""
    with plms.quietly():
        model = GPT2LMHeadModel.from_pretrained(
            FOLDER, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        return model.eval(), PreTrainedTokenizerFast.from_pretrained(FOLDER, local_files_only=True)


if __name__ == "__main__":
    start = time.perf_counter()
    torch.set_num_threads(2)
    model, tokenizer = train()
    save(model, tokenizer, seconds=time.perf_counter() - start)
    print((FOLDER / "grammar.json").read_text())
