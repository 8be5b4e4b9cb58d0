"""How fast does the writer write, beside ``transformers.pipeline("text-generation")`` and continuous batching?

``python -m benchmarks.generate [--model small|gpt2-xl] [--device cpu|cuda] [--texts N] [--threads T] [--json FILE]``

A GPT-2 with random weights and a vocabulary in which one token in 30 closes the quotation mark, so that texts end after
some 30 to 40 tokens on average, some after 3 and some at the limit of 100, as a PLM's do. All write the same number
of texts for the same prompts with the same nucleus, taking turns in one process; only tokens up to the closing mark
count. The other two stop a sequence there too (those tokens are their ``eos_token_id``). The pipeline waits for the
longest of its batch; transformers' continuous batching puts the next prompt in its place, as ours does. ``gpt2-xl``
has the real model's sizes and bfloat16 weights; ``small`` is for CPUs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline

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


def of_pipeline(pipe: Any, texts: list[str], batch_size: int, settings: dict[str, Any]) -> int:
    """Tokens written up to each text's end."""
    torch.manual_seed(0)
    outputs = pipe(texts, batch_size=batch_size, return_tensors=True, **settings)
    ends, count = set(settings["eos_token_id"]), 0
    for number, [output] in enumerate(outputs):
        batch = texts[number // batch_size * batch_size :][:batch_size]
        new = output["generated_token_ids"][max(len(text.split()) for text in batch) :]  # prompts are padded to that
        count += next((i + 1 for i, token in enumerate(new) if token in ends), len(new))
    return count


def of_continuous_batching(model: Any, prompts: list[list[int]], batch_size: int, settings: dict[str, Any]) -> int:
    """Tokens written."""
    from transformers import ContinuousBatchingConfig

    # A block of the cache has 256 tokens, more than any text needs; by default blocks take most of the memory.
    batching = ContinuousBatchingConfig(max_requests_per_batch=batch_size, num_blocks=batch_size, seed=0)
    config = GenerationConfig(**settings)
    outputs = model.generate_batch(prompts, generation_config=config, continuous_batching_config=batching)
    return sum(len(output.generated_tokens) for output in outputs.values())


def compare(size: str, device: str, texts: int, repeats: int) -> dict[str, Any]:
    """Useful new tokens per second, and per CPU second: medians of each way by batch size; ratios of the best."""
    model, tokenizer = random_plm(size, device)
    tokenizer.padding_side = "left"
    written = prompts(texts, tokenizer)
    ids = [tokenizer(text)["input_ids"] for text in written]
    writer = Writer(model, tokenizer)
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, device=torch.device(device))
    settings: dict[str, Any] = {"max_new_tokens": LIMIT, "do_sample": True, "top_p": 0.9, "top_k": 0, "pad_token_id": 0}
    settings["eos_token_id"] = writer.stops.nonzero().squeeze(1).tolist()
    ways: dict[str, Callable[[int], int]] = {
        "ours": lambda batch: ours(writer, written, batch),
        "pipeline": lambda batch: of_pipeline(pipe, written, batch, settings),
        "continuous": lambda batch: of_continuous_batching(model, ids, batch, settings),
    }
    batches = [batch for batch in BATCHES[device] if batch <= texts] or BATCHES[device][:1]  # no batch holds more texts
    found: dict[str, dict[int, list[tuple[float, float, int]]]] = {who: {} for who in ways}
    for _ in range(repeats):
        for batch in batches:
            for who, way in ways.items():
                before = time.process_time()
                tokens, seconds, _ = measured(lambda: way(batch), torch.device(device))  # noqa: B023
                cpu = time.process_time() - before
                found[who].setdefault(batch, []).append((tokens / seconds, tokens / cpu, tokens))
            latest = ", ".join(f"{who} {by[batch][-1][0]:,.0f}" for who, by in found.items())
            print(f"  batch {batch}: {latest}", file=sys.stderr)

    def medians(column: int) -> dict[str, dict[int, float]]:
        return {
            who: {batch: statistics.median(once[column] for once in rounds) for batch, rounds in by.items()}
            for who, by in found.items()
        }

    best = {who: max(by.values()) for who, by in medians(0).items()}
    return {
        "tokens_per_s": medians(0),
        "tokens_per_cpu_s": medians(1),
        "best": best,
        "ratio": {who: best["ours"] / value for who, value in best.items() if who != "ours"},
        "mean_length": statistics.mean(medians(2)["ours"].values()) / texts,
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
    print("Each cell: per second, and per CPU second.\n\n| batch | ours | pipeline | continuous |\n|--:|--:|--:|--:|")
    for batch in report["tokens_per_s"]["ours"]:
        speeds = ((report[f"tokens_per_{unit}"][who][batch] for unit in ("s", "cpu_s")) for who in report["best"])
        print(f"| {batch} | {' | '.join(', '.join(f'{speed:,.0f}' for speed in cell) for cell in speeds)} |")
    print(f"\nbest against best: {', '.join(f'{ratio:.1f} times the {who}' for who, ratio in report['ratio'].items())}")
    if options.json:
        about = {"machine": machine(torch.device(options.device)), "threads": torch.get_num_threads()}
        options.json.write_text(json.dumps(about | report, indent=1) + "\n")


if __name__ == "__main__":
    main()
