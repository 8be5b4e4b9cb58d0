"""How fast is the reweighter, beside general bilevel libraries and a straightforward implementation?

``python -m benchmarks.reweight [--data FILE] [--rows N] [--device cpu|cuda] [--threads T] [--repeats R] [--json FILE]``

Three measurements on the paper's BiLSTM, its competitors taking turns in one process (the figures are medians over
``--repeats`` rounds):

1. the meta-gradient of all rows at trained parameters, by plain double backward, ``higher``, ``torchopt``,
   ``betty-ml`` (as shipped, and with the step back that it forgets) and ours by central difference and by dual
   numbers. The general ways differentiate the step that the inner loop takes, as their users would: the model of
   ``sungen_lib.plain``, batches of 32. ``double_backward_batched`` is the best we can make of double backward: on our
   BiLSTM, whose unpacked LSTMs gain from larger batches (128 on CPUs). The outer gradient, the same work for all, is
   given and not timed. Every result is compared with double backward in float64 on some rows;
2. a step of the inner loop at batch 32, ours against ``sungen_lib.plain``;
3. a whole outer iteration, ours against ``sungen_lib.plain``.

Double backward, and what is built on it, is timed on ``--slow-rows`` rows, in whole batches of 128 spread evenly over
the lengths (or four of 32 in a row: both sizes get the batches they would get of all rows), and scaled in proportion.

``--scaling`` measures only how our outer iteration grows: 10,000, 30,000, 100,000, ... rows, up to ``--rows``.

A library that is not installed has ``null`` for its results, and ``not_run`` says why. Progress goes to the standard
error, the tables to the standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.accuracy import bilstm, errors, exact_derivative, outer_rows
from benchmarks.data import TrainingSet, stratified_batches, training_set
from benchmarks.measure import clock, machine, measured
from sungen_lib import derivative, plain, reweight
from sungen_lib.encode import Encoded, shuffled_batches, sorted_batches
from sungen_lib.losses import reverse_cross_entropy
from sungen_lib.models import BiLSTM
from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import DataError, DataMissing
from sungen_lib.train import Trainer

LR = 1e-3
# The paper's inner batch. The general methods use batches of this size, because they differentiate the inner loop's
# step. It also suits double backward on a CPU: with the packed model, 10,000 rows on one thread took 71 s, and 108 s in
# batches of 128. Betty's difference, without a second derivative, would gain from larger batches.
BATCH = 32
LARGE_BATCH = 128  # what ours uses on CPUs, and plain PyTorch's outer gradient, which costs the same at 32
PAPER_OUTER_SIZE = 50_000

Section = dict[str, Any]


# --- the meta-gradient ------------------------------------------------------------------------------------------------


GENERAL: dict[str, peers.MetaGradient] = {"double_backward": plain.meta_gradient, **peers.PEERS}
OURS = {"double_backward_batched": "double_backward", "difference": "difference", "dual": "dual"}
METHODS = ("double_backward", "double_backward_batched", *peers.PEERS, "difference", "dual")
SLOW = ("double_backward", "double_backward_batched", "higher", "torchopt")


@dataclass(frozen=True)
class _Problem:
    """A trained model, the direction v, and float64's answer for the rows ``checked``; ``some``: rows for slow ways."""

    model: BiLSTM
    data: Encoded
    direction: dict[str, Tensor]
    some: np.ndarray
    checked: np.ndarray
    exact: Tensor


def bench_meta_gradient(training: TrainingSet, *, slow_rows: int, check_rows: int, repeats: int, seed: int) -> Section:
    """Seconds, error, equal signs and peak memory of each way, at parameters trained for one epoch."""
    problem = _problem(training, slow_rows=slow_rows, check_rows=check_rows, seed=seed)
    missing = {name for name in peers.PEERS if peers.version(name) is None}
    found: dict[str, list[Section]] = defaultdict(list)
    for _ in range(repeats):
        for name in METHODS:
            if name not in missing:
                found[name].append(_once(problem, name))
    section: Section = {"rows_checked": len(problem.checked)}
    for name in METHODS:
        keys = found[name][0] if found[name] else ("s", "cpu_s", "rel_error", "signs_equal", "rows_timed", "peak_mb")
        for key in keys:
            values = [once[key] for once in found[name]]
            section[f"{name}_{key}"] = statistics.median(values) if values else None
    section["ratios"] = {name: _times(section[f"{name}_s"], section["difference_s"]) for name in METHODS}
    section["not_run"] = {name: f"{peers.PACKAGES[name]} is not installed" for name in METHODS if name in missing}
    return section


def _problem(training: TrainingSet, *, slow_rows: int, check_rows: int, seed: int) -> _Problem:
    data = training.encoded
    model = bilstm(training, seed)
    Trainer(model, data, lr=LR, batch_size=BATCH).epoch(seed)
    outer_set = data.select(outer_rows(len(data), size=outer_size(len(data)), seed=seed))
    direction, _ = derivative.outer_gradient(model, outer_set, reverse_cross_entropy)
    some = stratified_batches(data, LARGE_BATCH, slow_rows)
    checked = np.random.default_rng(seed).choice(some, min(check_rows, len(some)), replace=False)
    return _Problem(model, data, direction, some, checked, exact_derivative(model, data.select(checked), outer_set))


def _once(problem: _Problem, name: str) -> Section:
    """One timed meta-gradient, seconds scaled to all rows, and its errors."""
    data, device = problem.data, problem.data.device
    rows = problem.some if name in SLOW else np.arange(len(data))
    subset = data.select(rows) if name in SLOW else data
    weights = torch.full((len(rows),), 0.5, device=device)
    before = time.process_time()
    gradient, elapsed, peak = measured(way(name, problem.model, subset, problem.direction, weights), device)
    cpu = time.process_time() - before
    along = torch.full((len(data),), torch.nan, device=device)
    along[torch.as_tensor(rows, device=device)] = gradient * -(weights.sum() / LR)
    found = errors(along[torch.as_tensor(problem.checked, device=device)], problem.exact)
    _say(f"  {name}: {elapsed:.2f} s for {len(rows):,} rows, relative error {found.relative:.1e}")
    return {
        "s": elapsed * len(data) / len(rows),
        "cpu_s": cpu * len(data) / len(rows),
        "rel_error": found.relative,
        "signs_equal": found.signs,
        "rows_timed": len(rows),
        "peak_mb": peak,
    }


def way(name: str, model: BiLSTM, data: Encoded, direction: dict[str, Tensor], weights: Tensor) -> Callable[[], Tensor]:
    """The meta-gradient of ``data``, (N,), in the way called ``name``, ready to be computed once."""
    if name in OURS:
        return lambda: -(LR / weights.sum()) * derivative.directional(model, data, direction, method=OURS[name])
    copy = plain_copy(model)  # a copy, because betty as shipped changes the parameters
    renamed = {_plain_name(parameter): v for parameter, v in direction.items()}
    outer = [renamed[parameter] for parameter, _ in copy.named_parameters()]
    texts, batches = plain_texts(data), as_tensors(sorted_batches(data.sizes, BATCH))
    return lambda: GENERAL[name](copy, texts, weights, outer, batches, LR)


def _times(theirs: float | None, ours: float) -> float | None:
    return None if theirs is None else theirs / ours


# --- against the straightforward implementation -----------------------------------------------------------------------


def plain_copy(model: BiLSTM) -> plain.PackedBiLSTM:
    """The straightforward model with the same parameters."""
    copy = plain.PackedBiLSTM(
        model.embedding.num_embeddings,
        model.linear.out_features,
        embedding=model.embedding.embedding_dim,
        hidden=model.left.hidden_size,
    ).to(model.linear.weight.device)
    copy.load_state_dict({_plain_name(name): value for name, value in model.state_dict().items()})
    return copy


def parameter_difference(model: BiLSTM, copy: plain.PackedBiLSTM) -> float:
    """The largest difference between two parameters of the same name."""
    theirs = copy.state_dict()
    return max(float((p - theirs[_plain_name(name)]).abs().max()) for name, p in model.state_dict().items())


def _plain_name(name: str) -> str:
    side, _, rest = name.partition(".")
    return {"left": f"lstm.{rest}", "right": f"lstm.{rest}_reverse"}.get(side, name)


def plain_texts(data: Encoded) -> plain.Texts:
    """The same rows, tokenised, as the straightforward implementation keeps them."""
    return plain.Texts(data.flat.long().split(data.sizes.tolist()), data.labels)


def as_tensors(batches: Iterable[np.ndarray]) -> list[Tensor]:
    """Batches of rows as the straightforward implementation takes them."""
    return [torch.as_tensor(rows) for rows in batches]


def bench_inner_step(training: TrainingSet, *, steps: int, repeats: int, seed: int) -> Section:
    """Milliseconds of a step at batch 32: short epochs over the same batches, from the same parameters."""
    rows = np.random.default_rng(seed).choice(len(training.encoded), min(steps * BATCH, len(training.encoded)), False)
    data = training.encoded.select(rows)
    model = bilstm(training, seed).to(data.device)
    copy, texts = plain_copy(model), plain_texts(data)
    trainer = Trainer(model, data, lr=LR, batch_size=BATCH)
    adam = torch.optim.Adam(copy.parameters(), lr=LR)
    ones = torch.ones(len(data), device=data.device)

    def ours(epoch: int) -> None:
        trainer.epoch(derived_seed(seed, epoch))

    def theirs(epoch: int) -> None:
        batches = shuffled_batches(data.sizes, BATCH, np.random.default_rng(derived_seed(seed, epoch)))
        plain.inner_loop(copy, adam, texts, ones, as_tensors(batches))

    milliseconds: dict[str, list[float]] = {"plain_ms": [], "ours_ms": []}
    difference = 0.0
    for epoch in range(repeats + 1):
        for name, work in (("plain_ms", theirs), ("ours_ms", ours)):
            _, elapsed, _ = measured(lambda: work(epoch), data.device)  # noqa: B023
            milliseconds[name].append(1e3 * elapsed / -(-len(data) // BATCH))
        if epoch == 0:  # sets up optimisers, kernels and graphs: compared, not timed
            difference = parameter_difference(model, copy)
            milliseconds = {name: [] for name in milliseconds}
    section: Section = {name: statistics.median(values) for name, values in milliseconds.items()}
    _say(f"  plain: {section['plain_ms']:.1f} ms, ours: {section['ours_ms']:.1f} ms")
    return section | {
        "ratio": section["plain_ms"] / section["ours_ms"],
        "parameter_difference": difference,
        "steps": -(-len(data) // BATCH),
    }


def bench_outer_iteration(training: TrainingSet, *, slow_rows: int, repeats: int, seed: int) -> Section:
    """Seconds of one outer iteration: one epoch, the outer gradient, the meta-gradient, the step on the weights.

    Ours is the second iteration: the first sets up kernels and graphs, and like every tenth runs the guard, so its time
    is reported separately.
    """
    data = training.encoded
    outer = outer_rows(len(data), size=outer_size(len(data)), seed=seed)
    some = stratified_batches(data, LARGE_BATCH, slow_rows)
    theirs = plain_copy(bilstm(training, seed).to(data.device))
    initial = {name: value.clone() for name, value in theirs.state_dict().items()}
    texts, scores = plain_texts(data), torch.zeros(len(data), device=data.device)
    optimizer = plain_optimizer(scores)
    times: dict[str, list[float]] = defaultdict(list)
    for repeat in range(repeats):
        history, _, peak = measured(lambda: _iterations(training, 2, seed), data.device)
        times["ours_first_s"].append(history[0].seconds)
        times["ours_s"].append(history[1].seconds)
        times["ours_peak_mb"].append(peak)
        parts, _, peak = measured(
            lambda: plain_iteration(
                theirs,
                initial,
                texts,
                scores,
                optimizer,
                inner=shuffled_batches(data.sizes, BATCH, np.random.default_rng(derived_seed(seed, 1, repeat))),  # noqa: B023
                outer=[outer[rows] for rows in sorted_batches(data.sizes[outer], LARGE_BATCH)],
                batches=[some[rows] for rows in sorted_batches(data.sizes[some], BATCH)],
            ),
            data.device,
        )
        parts["meta_gradient"] *= len(data) / len(some)
        for name, seconds in parts.items():
            times[f"plain_{name}_s"].append(seconds)
        times["plain_s"].append(sum(parts.values()))
        times["plain_peak_mb"].append(peak)
        _say(f"  plain: {times['plain_s'][-1]:.1f} s, ours: {times['ours_s'][-1]:.1f} s")
    section: Section = {name: statistics.median(values) for name, values in times.items()}
    return section | {
        "ratio": section["plain_s"] / section["ours_s"],
        "outer_rows": len(outer),
        "plain_rows_timed": len(some),
    }


def plain_optimizer(scores: Tensor) -> torch.optim.Optimizer:
    """The outer optimiser of ``plain.learn_weights``."""
    return torch.optim.Adam([scores], lr=0.25, eps=1e-20)


def plain_iteration(
    model: plain.PackedBiLSTM,
    initial: dict[str, Tensor],
    texts: plain.Texts,
    scores: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    inner: Iterable[np.ndarray],
    outer: Iterable[np.ndarray],
    batches: Iterable[np.ndarray],
) -> dict[str, float]:
    """Lines 3 to 5 of ``plain.learn_weights``; the seconds of the three parts.

    Here the meta-gradient has ``batches`` that differ from those of the inner loop and may leave out rows.
    """
    times = [clock(scores.device)]
    model.load_state_dict(initial)
    weights = scores.sigmoid()
    plain.inner_loop(model, torch.optim.Adam(model.parameters(), lr=LR), texts, weights, as_tensors(inner))
    times.append(clock(scores.device))
    v = plain.outer_gradient(model, texts, as_tensors(outer))
    times.append(clock(scores.device))
    gradient = plain.meta_gradient(model, texts, weights, v, as_tensors(batches), LR)
    scores.grad = gradient * weights * (1 - weights)
    optimizer.step()
    times.append(clock(scores.device))
    return dict(zip(("train", "outer_gradient", "meta_gradient"), np.diff(times).tolist(), strict=True))


def _iterations(training: TrainingSet, number: int, seed: int) -> list[reweight.Iteration]:
    """The records of ``number`` outer iterations."""
    settings = reweight.Bilevel(outer_size=outer_size(len(training.encoded)), iterations=number, batch_size=BATCH)
    *_, state = reweight.iterations(training.encoded, [bilstm(training, seed)], settings, seed=seed)
    return state.history


# --- scaling ----------------------------------------------------------------------------------------------------------


def bench_scaling(sets: Iterable[TrainingSet], *, iterations: int, seed: int) -> list[Section]:
    """Seconds of an outer iteration and peak memory, by number of rows; one entry per set.

    ``seconds`` is the median of ``iterations`` after the first, which sets up kernels and graphs. An iterator that
    makes each set when its turn comes keeps the others' memory out of the peak.
    """
    table: list[Section] = []
    for training in sets:
        rows = len(training.encoded)
        history, _, peak = measured(lambda: _iterations(training, 1 + iterations, seed), training.encoded.device)  # noqa: B023
        first, *later = (iteration.seconds for iteration in history)
        seconds = statistics.median(later)
        about = {"rows": rows, "outer_rows": outer_size(rows), "data": training.description}
        cost = {"row_us": 1e6 * seconds / rows, "peak_mb": peak}
        table.append(about | {"first_s": first, "later_s": later, "seconds": seconds} | cost)
        _say(f"  {rows:>9,} rows: {seconds:.2f} s an outer iteration, {peak:,.0f} MiB")
    return table


def scaling_sizes(rows: int) -> list[int]:
    """1,000, 3,000, 10,000, ... from a hundredth of ``rows`` up, and ``rows`` itself."""
    sizes = [step * 10**power for power in range(3, 7) for step in (1, 3)]
    return [size for size in sizes if rows / 100 <= size < rows] + [rows]


def outer_size(rows: int) -> int:
    """The paper's 50,000, or half of a set that is smaller than twice that."""
    return min(PAPER_OUTER_SIZE, max(1, rows // 2))


# --- the command line -------------------------------------------------------------------------------------------------


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _versions() -> dict[str, str | None]:
    found = {package: peers.version(name) for name, package in peers.PACKAGES.items()}
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__} | found


def _command(arguments: Sequence[str]) -> str:
    """The command as given, with files by name only."""
    words = (Path(word).name if "/" in word else word for word in arguments)
    return " ".join(["python -m benchmarks.reweight", *words])


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reweight", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number: dict[str, Any] = {"type": _positive, "metavar": "N"}
    parser.add_argument("--data", help="JSONL file (.xz, .gz) with labels negative and positive; default: drawn rows")
    parser.add_argument("--rows", **number, help="default: all of the file, or 10,000; rows beyond the file are drawn")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", **number, default=cores, help=f"default: the process's cores, here {cores}")
    parser.add_argument("--repeats", **number, default=3, help="rounds, or iterations of --scaling, to take medians of")
    parser.add_argument("--steps", **number, default=50, help="inner steps in a repeat")
    parser.add_argument("--slow-rows", **number, default=2_048, help="rows for double backward, in batches of 128")
    parser.add_argument("--check-rows", **number, default=512, help="rows compared with double backward in float64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scaling", action="store_true", help="only our outer iteration, by number of rows")
    parser.add_argument("--json", type=Path, help="write the results there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")

    def rows_of(number: int | None) -> TrainingSet:
        return training_set(options.data, number, device=options.device, seed=options.seed)

    try:
        training = rows_of(options.rows)
    except (DataError, DataMissing) as error:
        parser.error(str(error))
    report: Section = {
        "command": _command(arguments),
        "machine": machine(training.encoded.device),
        "versions": _versions(),
        "data": training.description,
        "rows": len(training.encoded),
        "threads": options.threads,
        "repeats": options.repeats,
    }
    _say(f"{training.description}; {options.device}, {options.threads} thread(s)")
    if options.scaling:
        sets = (rows_of(rows) for rows in scaling_sizes(len(training.encoded)))
        del training  # keep it out of the measured peaks
        report["scaling"] = bench_scaling(sets, iterations=options.repeats, seed=options.seed)
        print(scaling_table(report["scaling"]))
    else:
        report |= bench(
            training,
            slow_rows=options.slow_rows,
            check_rows=options.check_rows,
            steps=options.steps,
            repeats=options.repeats,
            seed=options.seed,
        )
        print(summary(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def bench(
    training: TrainingSet, *, slow_rows: int, check_rows: int, steps: int, repeats: int, seed: int
) -> dict[str, Section]:
    """The three measurements: ``meta_gradient``, ``inner_step`` and ``outer_iteration``."""
    _say("meta-gradient")
    meta = bench_meta_gradient(training, slow_rows=slow_rows, check_rows=check_rows, repeats=repeats, seed=seed)
    _say(f"inner step, batch {BATCH}")
    inner = bench_inner_step(training, steps=steps, repeats=repeats, seed=seed)
    _say("outer iteration")
    outer = bench_outer_iteration(training, slow_rows=slow_rows, repeats=repeats, seed=seed)
    return {"meta_gradient": meta, "inner_step": inner, "outer_iteration": outer}


def summary(report: Section) -> str:
    """The tables of ``bench``'s report, Markdown."""
    meta, inner, outer = report["meta_gradient"], report["inner_step"], report["outer_iteration"]
    lines = ["| meta-gradient | s | CPU s | times ours | relative error | signs equal | rows timed | peak MiB |"]
    lines.append("|---|" + "--:|" * 7)
    for name in METHODS:
        if name in meta["not_run"]:
            lines.append(f"| {name} | not run: {meta['not_run'][name]} | | | | | | |")
            continue
        cells = (
            f"{meta[f'{name}_s']:.2f}",
            f"{meta[f'{name}_cpu_s']:.2f}",
            f"{meta['ratios'][name]:.1f}",
            f"{meta[f'{name}_rel_error']:.1e}",
            f"{meta[f'{name}_signs_equal']:.1%}",
            f"{meta[f'{name}_rows_timed']:,.0f}",
            f"{meta[f'{name}_peak_mb']:,.0f}",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| | plain | ours | ratio |",
        "|---|--:|--:|--:|",
        f"| inner step, ms | {inner['plain_ms']:.1f} | {inner['ours_ms']:.1f} | {inner['ratio']:.1f} |",
        f"| outer iteration, s | {outer['plain_s']:.2f} | {outer['ours_s']:.2f} | {outer['ratio']:.1f} |",
        f"| its peak memory, MiB | {outer['plain_peak_mb']:,.0f} | {outer['ours_peak_mb']:,.0f} | |",
    ]
    return "\n".join(lines)


def scaling_table(entries: Sequence[Section]) -> str:
    """``bench_scaling``'s result, Markdown."""
    lines = ["| rows | outer set | outer iteration, s | a row, µs | peak MiB |", "|--:|--:|--:|--:|--:|"]
    for entry in entries:
        sizes, memory = f"{entry['rows']:,} | {entry['outer_rows']:,}", f"{entry['peak_mb']:,.0f}"
        lines.append(f"| {sizes} | {entry['seconds']:.2f} | {entry['row_us']:.0f} | {memory} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
