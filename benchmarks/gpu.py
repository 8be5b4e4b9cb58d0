"""Everything that only a GPU can tell, in one command of less than nine minutes on an H100.

``python -m benchmarks.gpu [--json FILE] [--small]``

In this order: are gradients and weights those of the CPU; does a repeat give the same bits; seconds of an outer
iteration at 10,000, 100,000 and 1,000,000 rows, five of each but the last; an encoder of DistilBERT's size; generation
with GPT2-XL's. Needs no network and no files: rows are drawn, models have random weights. The JSON file is written
after each part, so that a run that is cut off keeps what it has; a part that fails is recorded with its error and the
others go on. ``--small`` is the same in miniature, on the CPU, to test this program.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn

from benchmarks.accuracy import bilstm, errors
from benchmarks.data import TrainingSet, training_set
from benchmarks.generate import compare
from benchmarks.measure import clock, machine, measured
from benchmarks.reweight import bench_scaling
from sungen_lib import derivative, reweight
from sungen_lib.encode import Encoded
from sungen_lib.encoder import Encoder
from sungen_lib.losses import reverse_cross_entropy
from sungen_lib.train import Trainer

SECONDS = 510  # no part begins after this
Part = Callable[[], dict[str, Any] | list[dict[str, Any]]]


def encoder(vocabulary: int, *, small: bool) -> Encoder:
    """A DistilBERT with random weights and dropout off, so that two devices can agree."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    sizes: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64} if small else {}
    no_dropout: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    config = DistilBertConfig(vocab_size=vocabulary, **no_dropout, **sizes)
    torch.manual_seed(0)
    return Encoder(DistilBertForSequenceClassification(config))


def agreement(training: TrainingSet, model: nn.Module, device: str, *, iterations: int) -> dict[str, Any]:
    """Meta-gradients at the same trained parameters, and weights after some iterations: the device against the CPU."""
    here, there = (training.encoded, on(training.encoded, device))
    trained = copy.deepcopy(model)
    Trainer(trained, here).epoch(0)
    found: dict[str, Any] = {}
    exact = _along(copy.deepcopy(trained), here, "dual")
    for method in ("difference", "dual"):
        other = _along(copy.deepcopy(trained).to(device), there, method).cpu()
        summary = errors(other, exact)
        found[method] = {"relative": summary.relative, "signs": summary.signs}
    ours, theirs = (_weights(copy.deepcopy(model), data, iterations) for data in (here, there))
    found["weights"] = {
        "iterations": iterations,
        "largest_difference": float((ours - theirs).abs().max()),
        "rank_correlation": float(spearmanr(ours, theirs).statistic),
    }
    return found


def repeat(training: TrainingSet, model: nn.Module, device: str, *, iterations: int) -> dict[str, Any]:
    """The same run twice: are the weights equal to the bit?"""
    data = on(training.encoded, device)
    first, second = (_weights(copy.deepcopy(model), data, iterations) for _ in range(2))
    return {"equal": torch.equal(first, second), "largest_difference": float((first - second).abs().max())}


def encoder_seconds(training: TrainingSet, model: nn.Module, device: str) -> dict[str, Any]:
    """Seconds of an inner epoch, the outer gradient and the meta-gradient; the second of two of each."""
    data = on(training.encoded, device)
    found: dict[str, Any] = {"rows": len(data)}
    for precision in ("float32", "bf16"):
        trainer = Trainer(copy.deepcopy(model), data, lr=2e-5, precision=precision)
        trainer.epoch(0)
        _, found[f"epoch_{precision}_s"], found[f"epoch_{precision}_mb"] = measured(
            lambda: trainer.epoch(1),  # noqa: B023
            data.device,
        )
        trainer.graphs = None
    model = copy.deepcopy(model).to(device)
    direction, _ = derivative.outer_gradient(model, data, reverse_cross_entropy)
    _, found["outer_s"], found["outer_mb"] = measured(
        lambda: derivative.outer_gradient(model, data, reverse_cross_entropy), data.device
    )
    for method in ("difference", "dual"):
        derivative.directional(model, data, direction, method=method)
        _, found[f"{method}_s"], found[f"{method}_mb"] = measured(
            lambda: derivative.directional(model, data, direction, method=method),  # noqa: B023
            data.device,
        )
    return found


def on(data: Encoded, device: str) -> Encoded:
    """``data`` on ``device``."""
    tensors = {name: getattr(data, name).to(device) for name in ("flat", "starts", "lengths", "labels")}
    return Encoded(segments=None, sizes=data.sizes, classes=data.classes, pad=data.pad, **tensors)


def _along(model: nn.Module, data: Encoded, method: str) -> torch.Tensor:
    direction, _ = derivative.outer_gradient(model, data, reverse_cross_entropy)
    return derivative.directional(model, data, direction, method=method)


def _weights(model: nn.Module, data: Encoded, iterations: int) -> torch.Tensor:
    settings = reweight.Bilevel(iterations=iterations, outer_size=max(1, len(data) // 2))
    *_, state = reweight.iterations(data, [model], settings, seed=0)
    return state.weights.cpu()


def parts(device: str, *, small: bool) -> dict[str, Part]:
    """Every part by its name, in the order in which they run."""
    training = training_set(None, 64 if small else 2_000)
    lstm = bilstm(training, 0)
    pretrained = encoder(training.vocabulary, small=small)
    some = TrainingSet(training.encoded.select(range(min(500, len(training.encoded)))), training.vocabulary, "")  # type: ignore[arg-type]
    sizes = {100: 1} if small else {10_000: 5, 100_000: 5, 1_000_000: 1}

    def scaling(rows: int, iterations: int) -> Part:
        return lambda: bench_scaling([training_set(None, rows, device=device)], iterations=iterations, seed=0)

    return {
        "agreement_lstm": lambda: agreement(training, lstm, device, iterations=2 if small else 3),
        "agreement_encoder": lambda: agreement(some, pretrained, device, iterations=1),
        "repeat_lstm": lambda: repeat(training, lstm, device, iterations=2 if small else 3),
        "repeat_encoder": lambda: repeat(some, pretrained, device, iterations=1),
        **{f"iteration_{rows}": scaling(rows, count) for rows, count in sizes.items()},
        "encoder": lambda: encoder_seconds(training, pretrained, device),
        "generation": lambda: compare("small" if small else "gpt2-xl", device, 4 if small else 1024, 1),
    }


def run(device: str, file: Path, *, small: bool) -> dict[str, Any]:
    """All parts; the file is written after each."""
    start = time.perf_counter()
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    report: dict[str, Any] = {"machine": machine(torch.device(device)), "versions": versions, "small": small}
    for name, part in parts(device, small=small).items():
        began = clock(torch.device(device))
        if began - start > SECONDS:
            report[name] = {"not_run": "no time left"}
        else:
            try:
                report[name] = part()
            except Exception as error:  # whatever a GPU does, the other parts are still wanted
                traceback.print_exc()
                report[name] = {"error": f"{type(error).__name__}: {error}"}
        report["seconds"] = time.perf_counter() - start
        print(f"{report['seconds']:6.1f} s  {name}: {json.dumps(report[name])}", flush=True)
        file.write_text(json.dumps(report, indent=1) + "\n")
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE")
    parser.add_argument("--small", action="store_true", help="a test of this program, on the CPU")
    options = parser.parse_args(arguments)
    if not options.small and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; --small runs on the CPU")
    if options.small:
        torch.set_num_threads(1)  # more would only wait for one another
    report = run("cpu" if options.small else "cuda", options.json, small=options.small)
    failed = [name for name, found in report.items() if isinstance(found, dict) and "error" in found]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
