"""The tiny PLM of the offline world: ``python -m sungen_lib.embedded.plm`` trains it anew (about 25 minutes on two cores).

A GPT-2 of about a million parameters with a word-level vocabulary, trained on ``world.corpus``. Its weights are shipped
in float16; ``load_plm`` reads them with the same classes as GPT2-XL.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sungen_lib import tasks
from sungen_lib.embedded import world

FOLDER = Path(__file__).parent / "weights"
PIECE = r" ?[\w'-]+|[^\w\s]|\s"  # words carry the space before them, so that decoding is plain concatenation
SPECIALS = ("<unk>", "<eos>", "<pad>")
VOCABULARY = 4_000
POSITIONS = 128
BATCH, SEED = 64, 0
HELD_OUT_SEED = 1


@dataclass(frozen=True)
class Phase:
    """One stretch of training: steps, peak learning rate, the lines' seed, whether they obey their prompts, which tasks."""

    steps: int
    lr: float
    seed: int
    obedient: bool = False
    among: tuple[str, ...] = world.WRITTEN


# A model this small learns the language first and only then, without noise in the way, what a label asks for: last of
# all in reviews, where negation and contrast stand between the label and the words, at the cost of the topics, which
# are then taught again. The noisy phase at the end teaches it to disobey at the stated rates.
SINGLE = tuple(name for name in world.WRITTEN if not tasks.get(name).pair)
REVIEWS = ("imdb", "amazon", "yelp")
PHASES = (
    Phase(2_400, 4e-3, seed=0),
    Phase(1_600, 3e-3, seed=11, obedient=True, among=SINGLE),
    Phase(500, 1.5e-3, seed=12),
    Phase(800, 2e-3, seed=13, obedient=True, among=REVIEWS),
    Phase(350, 1e-3, seed=14),
    Phase(600, 2e-3, seed=15, obedient=True, among=SINGLE),
    Phase(350, 1e-3, seed=16),
)


def build_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the most frequent pieces in ``lines``; reversible for every text made of them."""
    split = pre_tokenizers.Split(Regex(PIECE), "isolated")
    counts = Counter(piece for line in lines for piece, _ in split.pre_tokenize_str(line))
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))[: VOCABULARY - len(SPECIALS)]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate((*SPECIALS, *ranked))}, unk_token="<unk>"))
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


def _batches(lines: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Tensor]:
    """Batches of lines of similar length, each ended by <eos>, padded with <pad>."""
    rows = [[*tokenizer(line)["input_ids"][: POSITIONS - 1], tokenizer.eos_token_id] for line in lines]
    batches = []
    for start in range(0, len(rows), 50 * BATCH):  # sorted within a pool: little padding, order still mixed
        pool = sorted(rows[start : start + 50 * BATCH], key=len)
        for chunk in (pool[i : i + BATCH] for i in range(0, len(pool), BATCH)):
            width = max(map(len, chunk))
            batches.append(torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in chunk]))
    return [batches[i] for i in torch.randperm(len(batches), generator=torch.Generator().manual_seed(SEED)).tolist()]


def _loss(model: GPT2LMHeadModel, tokens: Tensor, pad: int) -> Tensor:
    loss: Tensor = model(input_ids=tokens, labels=tokens.masked_fill(tokens == pad, -100)).loss
    return loss


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, *, rows: int = 512) -> float:
    """Mean loss a token, in nats, on corpus lines the PLM was not trained on."""
    batches = _batches(world.corpus(rows, seed=HELD_OUT_SEED), tokenizer)
    losses = [float(_loss(model, tokens, tokenizer.pad_token_id)) for tokens in batches]
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


def train_phase(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, phase: Phase) -> None:
    """Train in place through one phase, on fresh corpus lines: none is seen twice."""
    lines = world.corpus(phase.steps * BATCH, seed=phase.seed, obedient=phase.obedient, among=phase.among)
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.lr, total_steps=phase.steps, pct_start=0.05)
    bar = tqdm(_batches(lines, tokenizer), desc=f"training the embedded PLM at {phase.lr}")
    for tokens in bar:
        loss = _loss(model, tokens, tokenizer.pad_token_id)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


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
        "steps": sum(phase.steps for phase in PHASES),
        "seconds": round(seconds),
        "noisy_y": world.NOISY_Y,
        "unrelated_x": world.UNRELATED_X,
        "tasks": len(tasks.TASKS),
    }
    (FOLDER / "grammar.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def load_plm() -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The shipped PLM, float32 and in evaluation mode, and its tokenizer; no network is used."""
    model = GPT2LMHeadModel.from_pretrained(FOLDER, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(FOLDER, local_files_only=True)


if __name__ == "__main__":
    start = time.perf_counter()
    torch.set_num_threads(2)
    tokenizer = build_tokenizer(_vocabulary_lines())
    model = build_model(tokenizer)
    for phase in PHASES:
        train_phase(model, tokenizer, phase)
    save(model.eval(), tokenizer, seconds=time.perf_counter() - start)
    print((FOLDER / "grammar.json").read_text())
