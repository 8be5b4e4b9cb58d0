"""How fast does the writer write, beside ``transformers.pipeline("text-generation")`` at its best batch size?

``python -m benchmarks.generate [--model small|gpt2-xl] [--device cpu|cuda] [--texts N] [--threads T] [--json FILE]``

A GPT-2 with random weights and a vocabulary in which one token in 30 closes the quotation mark, so that texts end after
some 30 to 40 tokens on average, some after 3 and some at the limit of 100, as a PLM's do. Both write the same number
of texts for the same prompts with the same nucleus, taking turns in one process; only tokens up to the closing mark
count. The pipeline stops a sequence there too (those tokens are its ``eos_token_id``), but waits for the longest of its
batch. ``gpt2-xl`` has the real model's sizes and bfloat16 weights; ``small`` is for CPUs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline

from benchmarks.measure import machine, measured
from sungen_lib.texts.writer import QUOTE, Sampling, Writer

SIZES: dict[str, dict[str, Any]] = {
    "small": {"vocab_size": 8_000, "n_embd": 256, "n_layer": 4, "n_head": 4},
    "gpt2-xl": {"vocab_size": 50_257, "n_embd": 1_600, "n_layer": 48, "n_head": 25},
}
STOP_EVERY = 30
LIMIT = 100
BATCHES = {"cpu": (32, 128, 512), "cuda": (128, 512, 1024, 2048)}
PROMPT_WORDS = (8, 20)  # shortest and longest prompt


def random_plm(size: str, device: str) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model and its tokenizer: words ``w0 w1 ...``, every 30th with a quotation mark."""
    words = [f"w{i}{QUOTE if i % STOP_EVERY == STOP_EVERY - 1 else ''}" for i in range(SIZES[size]["vocab_size"])]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    # Larger weights in the head give peaked distributions, whose nucleus holds tens of tokens, as in a trained model.
    config = GPT2Config(**SIZES[size], n_positions=256, initializer_range=0.2, bos_token_id=0, eos_token_id=None)
    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(config).eval()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=words[0], pad_token=words[0])
    return model.to(device, torch.bfloat16 if device == "cuda" else torch.float32), fast


def prompts(texts: int, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """``texts`` prompts of different lengths."""
    random = torch.Generator().manual_seed(1)
    lengths = torch.randint(PROMPT_WORDS[0], PROMPT_WORDS[1] + 1, (texts,), generator=random).tolist()
    return [
        " ".join(tokenizer.convert_ids_to_tokens(torch.randint(29, (length,), generator=random).tolist()))
        for length in lengths
    ]


def ours(writer: Writer, texts: list[str], batch_size: int) -> int:
    """Tokens written."""
    before = writer.tokens
    sampling = Sampling(min_tokens=1, max_tokens=LIMIT - 1, batch_size=batch_size, refill=max(1, batch_size * 3 // 4))
    writer.write(texts, sampling, seed=0)
    return writer.tokens - before


def theirs(pipe: Any, texts: list[str], batch_size: int, stops: list[int]) -> int:
    """Tokens written up to each text's end."""
    torch.manual_seed(0)
    settings = {"max_new_tokens": LIMIT, "do_sample": True, "top_p": 0.9, "top_k": 0, "eos_token_id": stops}
    outputs = pipe(texts, batch_size=batch_size, return_tensors=True, pad_token_id=0, **settings)
    ends, count = set(stops), 0
    for number, [output] in enumerate(outputs):
        batch = texts[number // batch_size * batch_size :][:batch_size]
        new = output["generated_token_ids"][max(len(text.split()) for text in batch) :]  # prompts are padded to that
        count += next((i + 1 for i, token in enumerate(new) if token in ends), len(new))
    return count


def compare(size: str, device: str, texts: int, repeats: int) -> dict[str, Any]:
    """Useful new tokens per second (medians): ours and the pipeline's by batch size, and the ratio of the best."""
    model, tokenizer = random_plm(size, device)
    tokenizer.padding_side = "left"
    written = prompts(texts, tokenizer)
    writer = Writer(model, tokenizer)
    stops = writer.stops.nonzero().squeeze(1).tolist()
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, device=torch.device(device))
    speeds: dict[str, dict[int, list[float]]] = {"ours": {}, "pipeline": {}}
    lengths = []
    for _ in range(repeats):
        for batch in BATCHES[device]:
            tokens, seconds, _ = measured(lambda: ours(writer, written, batch), torch.device(device))  # noqa: B023
            speeds["ours"].setdefault(batch, []).append(tokens / seconds)
            lengths.append(tokens / texts)
            tokens, seconds, _ = measured(lambda: theirs(pipe, written, batch, stops), torch.device(device))  # noqa: B023
            speeds["pipeline"].setdefault(batch, []).append(tokens / seconds)
            latest = ", ".join(f"{who} {by[batch][-1]:,.0f}" for who, by in speeds.items())
            print(f"  batch {batch}: {latest}", file=sys.stderr)
    medians = {who: {batch: statistics.median(values) for batch, values in by.items()} for who, by in speeds.items()}
    best = {who: max(by.values()) for who, by in medians.items()}
    return {
        "tokens_per_s": medians,
        "best": best,
        "ratio": best["ours"] / best["pipeline"],
        "mean_length": statistics.mean(lengths),
        "texts": texts,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--device", choices=BATCHES, default="cpu")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    report = compare(options.model, options.device, options.texts, options.repeats)
    print(f"{report['texts']:,} texts of {report['mean_length']:.0f} tokens on average, tokens/s:\n")
    print("| batch | ours | pipeline |\n|--:|--:|--:|")
    for batch in BATCHES[options.device]:
        cells = (f"{report['tokens_per_s'][who][batch]:,.0f}" for who in ("ours", "pipeline"))
        print(f"| {batch} | {' | '.join(cells)} |")
    print(f"\nbest against best: {report['ratio']:.1f} times")
    if options.json:
        about = {"machine": machine(torch.device(options.device)), "threads": torch.get_num_threads()}
        options.json.write_text(json.dumps(about | report, indent=1) + "\n")


if __name__ == "__main__":
    main()
