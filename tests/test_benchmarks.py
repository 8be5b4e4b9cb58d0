"""The benchmarks: tiny runs, and the yardsticks compute what ours computes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import keyword_examples, keyword_set

from benchmarks import accuracy, epochs, generate, gpu, grouped, guard, peers, pools, reweight, settings
from benchmarks.data import LABEL_NAMES, WORDS, TrainingSet, stratified_batches, training_set
from benchmarks.measure import measured
from sungen_lib import derivative, embedded, plain
from sungen_lib import reweight as algorithm
from sungen_lib.encode import Encoded, shuffled_batches, sorted_batches
from sungen_lib.lab import execution, profiles, sources
from sungen_lib.lab.methods import Methods
from sungen_lib.lab.specs import Synthetic, weights_of
from sungen_lib.lab.task_data import TaskData
from sungen_lib.losses import reverse_cross_entropy
from sungen_lib.models import BiLSTM
from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.jsonl import write_jsonl
from sungen_lib.texts.noise import uniform_noise, with_noise
from sungen_lib.train import Trainer


@pytest.fixture
def small() -> tuple[TrainingSet, BiLSTM]:
    """192 keyword rows and a BiLSTM narrow enough for double backward."""
    data = keyword_set(192)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return TrainingSet(data, 30, "keywords"), BiLSTM(30, 2, embedding=8, hidden=6)


# --- the straightforward implementation -------------------------------------------------------------------------------


def test_plain_takes_the_same_inner_steps(small: tuple[TrainingSet, BiLSTM]) -> None:
    training, model = small
    data = training.encoded
    copy, texts = reweight.plain_copy(model), reweight.plain_texts(data)
    weights = torch.linspace(0.1, 0.9, len(data))
    trainer = Trainer(model, data, lr=1e-3, batch_size=32)
    trainer.set_weights(weights)
    before = {name: value.clone() for name, value in copy.state_dict().items()}
    trainer.epoch(5)
    adam = torch.optim.Adam(copy.parameters(), lr=1e-3)
    batches = shuffled_batches(data.sizes, 32, np.random.default_rng(5))
    plain.inner_loop(copy, adam, texts, weights, reweight.as_tensors(batches))
    assert reweight.parameter_difference(model, copy) < 1e-5
    assert max(float((copy.state_dict()[name] - value).abs().max()) for name, value in before.items()) > 1e-3


def inner_batches(data: Encoded, number: int, *, seed: int) -> list[np.ndarray]:
    """The batches of the library's inner loop in an outer iteration."""
    return shuffled_batches(data.sizes, 32, np.random.default_rng(derived_seed(seed, number, 0)))


def outer_batches(data: Encoded, *, size: int, seed: int) -> list[np.ndarray]:
    """The library's outer set, in batches of another size than the library's."""
    outer = accuracy.outer_rows(len(data), size=size, seed=seed)
    return [outer[rows] for rows in sorted_batches(data.sizes[outer], 40)]


@pytest.mark.parametrize(("method", "limit"), [("dual", 1e-5), (None, 1e-4)])
def test_plain_learns_the_same_weights(method: str | None, limit: float, small: tuple[TrainingSet, BiLSTM]) -> None:
    """From the same parameters and the same batches, after each of five outer iterations."""
    training, model = small
    wrong = np.random.default_rng(0).random(192) < 0.2
    data = training.encoded.with_labels(training.encoded.labels.numpy() ^ wrong)
    copy, texts = reweight.plain_copy(model), reweight.plain_texts(data)
    settings = algorithm.Bilevel(outer_size=96, iterations=5, method=method)
    weights = [state.weights for state in algorithm.iterations(data, [model], settings, seed=1)]
    epochs = [reweight.as_tensors(inner_batches(data, number, seed=1)) for number in range(1, 6)]
    outer = reweight.as_tensors(outer_batches(data, size=96, seed=1))
    initial = {name: value.clone() for name, value in copy.state_dict().items()}
    for number, expected in enumerate(weights, start=1):
        copy.load_state_dict(initial)
        found = plain.learn_weights(copy, texts, epochs[:number], outer)
        torch.testing.assert_close(found, expected, atol=limit, rtol=0)
    assert weights[-1].std() > 0.1 and not torch.allclose(weights[-1], weights[-2], atol=0.01)


def test_the_timed_iteration_is_plain_s(small: tuple[TrainingSet, BiLSTM]) -> None:
    training, model = small
    data = training.encoded
    copy, texts = reweight.plain_copy(model), reweight.plain_texts(data)
    initial = {name: value.clone() for name, value in copy.state_dict().items()}
    outer = outer_batches(data, size=96, seed=1)
    scores = torch.zeros(len(data))
    optimizer = reweight.plain_optimizer(scores)
    for number in (1, 2, 3):
        inner = inner_batches(data, number, seed=1)
        seconds = reweight.plain_iteration(
            copy, initial, texts, scores, optimizer, inner=inner, outer=outer, batches=inner
        )
        assert min(seconds.values()) > 0
    copy.load_state_dict(initial)
    epochs = [reweight.as_tensors(inner_batches(data, number, seed=1)) for number in (1, 2, 3)]
    assert torch.equal(plain.learn_weights(copy, texts, epochs, reweight.as_tensors(outer)), scores.sigmoid())


def test_plain_is_one_page_that_stands_alone() -> None:
    source = Path(plain.__file__).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 140
    assert re.findall(r"# line (\d):", source) == ["1", "2", "3", "4", "5", "6"]
    imported = {name.split(".")[0] for name in re.findall(r"^(?:from|import) ([\w.]+)", source, re.M)}
    assert imported <= {*sys.stdlib_module_names, "torch"}


# --- the peers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in reweight.METHODS if name != "betty"])
def test_each_way_computes_the_pinned_gradient(name: str, small: tuple[TrainingSet, BiLSTM]) -> None:
    if name in peers.PEERS and peers.version(name) is None:
        pytest.skip(f"{peers.PACKAGES[name]} is not installed")
    training, model = small
    data = training.encoded
    weights = torch.linspace(0.1, 0.9, len(data))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    exact = -(1e-3 / float(weights.sum())) * accuracy.exact_derivative(model, data, data)
    direction, _ = derivative.outer_gradient(model, data, reverse_cross_entropy)
    gradient = reweight.way(name, model, data, direction, weights)()
    found = accuracy.errors(gradient, exact)
    assert found.relative < 1e-3 and found.signs == 1.0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", reweight.METHODS)
def test_general_ways_run_on_the_plain_model_in_inner_batches(
    name: str, small: tuple[TrainingSet, BiLSTM], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in peers.PEERS and peers.version(name) is None:
        pytest.skip(f"{peers.PACKAGES[name]} is not installed")
    training, model = small
    seen: dict[type, set[int]] = defaultdict(set)

    def spy(kind: type[torch.nn.Module]) -> None:
        forward = kind.forward

        def spied(self: torch.nn.Module, *inputs: Any) -> torch.Tensor:
            logits: torch.Tensor = forward(self, *inputs)
            seen[kind].add(len(logits))
            return logits

        monkeypatch.setattr(kind, "forward", spied)

    spy(plain.PackedBiLSTM)
    spy(BiLSTM)
    direction = {key: torch.randn_like(value) for key, value in model.named_parameters()}
    reweight.way(name, model, training.encoded, direction, torch.ones(192))()
    if name == "dual":  # has a forward pass of its own
        assert not seen
    else:
        assert seen == ({BiLSTM: {128, 64}} if name in reweight.OURS else {plain.PackedBiLSTM: {32}})


def test_betty_as_shipped_does_not_come_back(small: tuple[TrainingSet, BiLSTM]) -> None:
    """If this fails, betty-ml has been repaired: drop ``betty_restored``."""
    if peers.version("betty") is None:
        pytest.skip("betty-ml is not installed")
    training, model = small
    data = training.encoded
    copy = reweight.plain_copy(model)
    before = {key: value.clone() for key, value in copy.state_dict().items()}
    outer = [torch.randn_like(p) for p in copy.parameters()]
    batches = reweight.as_tensors(sorted_batches(data.sizes, 96))
    peers.betty_gradient(copy, reweight.plain_texts(data), torch.ones(len(data)), outer, batches, 1e-3)
    moved = sum(float((value - before[key]).square().sum()) for key, value in copy.state_dict().items()) ** 0.5
    assert moved == pytest.approx(2 * 0.01, rel=1e-2)  # two batches, a step of darts_alpha left behind by each


# --- data -------------------------------------------------------------------------------------------------------------


def test_drawn_rows_have_the_stated_distribution() -> None:
    drawn = training_set(None, 4_000, seed=1)
    data = drawn.encoded
    assert drawn.vocabulary == WORDS and len(data) == 4_000 and drawn.description.startswith("4,000 drawn rows")
    assert 27 < data.sizes.mean() < 29 and data.sizes.min() >= 10 and data.sizes.max() <= 91
    counts = np.bincount(data.flat.numpy(), minlength=WORDS)
    assert counts[:4].sum() == 0 and 1.6 < counts[4] / counts[5] < 2.4 and 7 < counts[4] / counts[13] < 13
    even = np.repeat(data.labels.numpy(), data.sizes)[data.flat.numpy() % 2 == 0]
    assert even.mean() < 0.45  # even words lean to label 0
    again = training_set(None, 4_000, seed=1).encoded
    assert torch.equal(again.flat, data.flat) and not torch.equal(
        training_set(None, 10, seed=2).encoded.flat, data.flat
    )


def test_rows_beyond_the_file_resemble_it(tmp_path: Path) -> None:
    texts = Examples.of(["one two three", "four five"] * 5, [0, 1] * 5, LABEL_NAMES)
    write_jsonl(tmp_path / "texts.jsonl", texts)
    longer = training_set(tmp_path / "texts.jsonl", 40, seed=0).encoded
    assert len(longer) == 40 and set(longer.sizes) == {2, 3} and longer.labels.bincount().tolist() == [20, 20]
    for row in range(40):
        words = set(longer.batch(np.array([row])).tokens.flatten().tolist())
        assert words <= {4, 5, 6, 7, 8}, "words of the file only"
    first = set(longer.select(np.flatnonzero(longer.labels.numpy() == 0)).flat.tolist())
    second = set(longer.select(np.flatnonzero(longer.labels.numpy() == 1)).flat.tolist())
    assert not first & second, "each label keeps its own words"
    assert len(training_set(tmp_path / "texts.jsonl", 4).encoded) == 4
    assert len(training_set(tmp_path / "texts.jsonl", None).encoded) == 10


def test_stratified_batches_represent_the_whole_set() -> None:
    data = training_set(None, 3_000).encoded
    rows = stratified_batches(data, 100, 1_000)
    assert len(rows) == len(set(rows.tolist())) == 1_000
    assert data.sizes[rows].mean() == pytest.approx(data.sizes.mean(), rel=0.03)
    assert len(stratified_batches(data, 100, 10**6)) == 3_000


# --- the programs -----------------------------------------------------------------------------------------------------


def test_errors_are_relative_and_ignore_negligible_signs() -> None:
    exact = torch.tensor([3.0, -4.0, 1e-9, 0.0, 0.5])
    found = accuracy.errors(torch.tensor([3.0, 4.0, -1e-9, 1.0, 0.5]), exact)
    assert found.relative == pytest.approx((64 + 1) ** 0.5 / 25.25**0.5)
    assert found.signs == pytest.approx(2 / 3)


def test_reweight_benchmark_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    write_jsonl(tmp_path / "texts.jsonl", keyword_examples(256))
    source = tmp_path / "named.jsonl"
    lines = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    source.write_text("".join(json.dumps({**line, "label": LABEL_NAMES[line["label"]]}) + "\n" for line in lines))
    sizes = ["--rows", "256", "--slow-rows", "128", "--check-rows", "64", "--steps", "3", "--repeats", "1"]
    reweight.main(["--data", str(source), *sizes, "--threads", "1", "--json", str(file)])
    report = json.loads(file.read_text())
    assert {"command", "machine", "versions", "rows", "threads"} <= set(report)
    assert report["rows"] == 256 and report["threads"] == 1 and str(tmp_path) not in report["command"]
    meta = report["meta_gradient"]
    for name in reweight.METHODS:
        if name in peers.PEERS and peers.version(name) is None:
            assert meta[f"{name}_s"] is None and meta[f"{name}_rel_error"] is None
        else:
            assert meta[f"{name}_s"] > 0 and meta[f"{name}_peak_mb"] > 0
            assert meta[f"{name}_rows_timed"] == (128 if name in reweight.SLOW else 256)
    assert meta["difference_rel_error"] < 1e-3 and meta["difference_signs_equal"] == 1.0
    assert all(meta[f"{name}_rel_error"] < 1e-5 for name in ("dual", "double_backward", "double_backward_batched"))
    assert meta["ratios"]["dual"] == pytest.approx(meta["dual_s"] / meta["difference_s"])
    inner, outer = report["inner_step"], report["outer_iteration"]
    assert inner["plain_ms"] > 0 and inner["ours_ms"] > 0 and inner["parameter_difference"] < 1e-5
    assert outer["plain_s"] > 0 and outer["ours_s"] > 0 and outer["plain_rows_timed"] == 128
    assert inner["steps"] == 3 and inner["ratio"] == pytest.approx(inner["plain_ms"] / inner["ours_ms"])
    assert outer["ratio"] == pytest.approx(outer["plain_s"] / outer["ours_s"])
    assert "| outer iteration, s |" in capsys.readouterr().out


def test_a_missing_peer_is_never_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "version", lambda name: None)
    training = TrainingSet(keyword_set(64), 30, "keywords")
    meta = reweight.bench_meta_gradient(training, slow_rows=64, check_rows=32, repeats=1, seed=0)
    for name in peers.PEERS:
        assert meta[f"{name}_s"] is None and meta[f"{name}_rel_error"] is None and meta["ratios"][name] is None
    assert meta["not_run"]["betty"] == "betty-ml is not installed" and len(meta["not_run"]) == 4
    other: dict[str, reweight.Section] = {name: defaultdict(lambda: 1.0) for name in ("inner_step", "outer_iteration")}
    assert "| higher | not run: higher is not installed |" in reweight.summary({"meta_gradient": meta, **other})


def test_figures_are_medians_of_interleaved_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, order = iter([9.0, 1.0, 2.0, 4.0, 3.0, 8.0]), []

    def once(problem: object, name: str) -> dict[str, float]:
        order.append(name)
        return {"s": next(seconds)}

    monkeypatch.setattr(reweight, "_once", once)
    monkeypatch.setattr(reweight, "METHODS", ("dual", "difference"))
    monkeypatch.setattr(peers, "PEERS", {})
    training = TrainingSet(keyword_set(64), 30, "keywords")
    meta = reweight.bench_meta_gradient(training, slow_rows=64, check_rows=32, repeats=3, seed=0)
    assert order == ["dual", "difference"] * 3
    assert (meta["dual_s"], meta["difference_s"], meta["ratios"]["dual"]) == (3.0, 4.0, 0.75)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget a peak")
def test_peak_memory_is_that_of_the_work_alone() -> None:
    cpu = torch.device("cpu")
    _, _, before = measured(lambda: None, cpu)
    _, _, peak = measured(lambda: np.ones(2**23).sum(), cpu)  # 64 MiB, gone again when it returns
    _, seconds, after = measured(lambda: None, cpu)
    assert 60 < peak - before < 80 and abs(after - before) < 10 and seconds >= 0


def test_scaling_covers_the_decades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reweight.scaling_sizes(1_000_000) == [10_000, 30_000, 100_000, 300_000, 1_000_000]
    assert reweight.scaling_sizes(10_000) == [1_000, 3_000, 10_000]
    assert reweight.scaling_sizes(200) == [200]
    assert [reweight.outer_size(rows) for rows in (1_000_000, 10_000, 1)] == [50_000, 5_000, 1]
    file = tmp_path / "scaling.json"
    reweight.main(["--rows", "96", "--scaling", "--repeats", "2", "--threads", "1", "--json", str(file)])
    (entry,) = json.loads(file.read_text())["scaling"]
    assert entry["rows"] == 96 and entry["outer_rows"] == 48 and entry["seconds"] > 0 and entry["peak_mb"] > 0
    assert entry["row_us"] == pytest.approx(1e6 * entry["seconds"] / 96)
    assert "| 96 | 48 |" in capsys.readouterr().out


@pytest.mark.parametrize("program", [accuracy, reweight])
def test_a_benchmark_uses_the_cores_it_may_use(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Used(Exception):
        pass

    def use(threads: int) -> None:
        raise Used(threads)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 2, 5})
    monkeypatch.setattr(torch, "set_num_threads", use)
    with pytest.raises(Used, match="3"):
        program.main([])


@pytest.mark.parametrize("wrong", [["--rows", "0"], ["--repeats", "-1"], ["--data", "nothing-here.jsonl"]])
def test_a_wrong_option_is_one_sentence(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        reweight.main(["--threads", "1", *wrong])
    assert stop.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_accuracy_along_a_run(tmp_path: Path) -> None:
    file = tmp_path / "accuracy.json"
    sizes = ["--rows", "96", "--check-rows", "32", "--iterations", "1", "2", "--threads", "1", "--json", str(file)]
    accuracy.main(sizes)
    results = json.loads(file.read_text())["results"]
    assert [entry["iteration"] for entry in results] == [1] * 6 + [2] * 6
    assert {entry["radius"] for entry in results} == {*accuracy.RADII, None}
    assert [entry["relative"] for entry in results[:6]] != [entry["relative"] for entry in results[6:]]
    assert all(entry["relative"] < 1e-2 and entry["signs"] > 0.9 for entry in results)
    assert all(entry["relative"] < 1e-4 for entry in results if entry["method"] == "dual")


def test_methods_agree_on_the_learned_weights(capsys: pytest.CaptureFixture[str]) -> None:
    training = TrainingSet(keyword_set(64), 30, "keywords")
    table = accuracy.compare_weights(training, outer_size=32, iterations=3, seed=0)
    assert len(table) == 3 and all(entry["rank_correlation"] > 0.99 for entry in table)  # type: ignore[operator]


def test_grouped_replicas_make_the_same_steps() -> None:
    found = grouped.compare(replicas=2, device="cpu", steps=2, repeats=1)
    assert found["difference"] < 1e-4 and min(found["separate_ms"], found["grouped_ms"]) > 0


# --- the GPU ----------------------------------------------------------------------------------------------------------


def test_the_gpu_benchmark_in_miniature(tmp_path: Path) -> None:
    """Every part runs, on the CPU agrees with the CPU, and is in the file."""
    file = tmp_path / "gpu.json"
    gpu.main(["--small", "--json", str(file)])
    report = json.loads(file.read_text())
    assert all(part in report for part in gpu.parts("cpu", small=True))
    for name in ("agreement_lstm", "agreement_encoder"):
        assert report[name]["dual"]["relative"] == 0 and report[name]["weights"]["largest_difference"] == 0
        assert report[name]["difference"]["relative"] < 1e-3
    assert report["repeat_lstm"]["equal"] and report["repeat_encoder"]["equal"]
    assert len(report["iteration_100"][0]["later_s"]) == 1


def test_a_part_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("out of memory")

    def late() -> dict[str, Any]:
        monkeypatch.setattr(gpu, "SECONDS", -1)
        return {"s": 1}

    monkeypatch.setattr(gpu, "parts", lambda *_, **__: {"a": fails, "b": late, "c": fails})
    with pytest.raises(SystemExit, match="failed: a"):
        gpu.main(["--small", "--json", str(tmp_path / "gpu.json")])
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["a"] == {"error": "RuntimeError: out of memory"} and report["b"] == {"s": 1}
    assert report["c"] == {"not_run": "no time left"}


def test_generation_is_told_for_the_batches_that_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    generate.main(["--texts", "4", "--repeats", "1"])
    rows = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 1 and rows[0].startswith("| 32 |")  # four texts fill no larger batch


def test_the_guard_s_summary() -> None:
    training = TrainingSet(keyword_set(40), 30, "keywords")
    table = guard.after_each_epoch(training, epochs=1, seed=0)
    assert [entry["way"] for entry in table] == ["0.002", "0.001", "0.0001", "mended"]
    assert all(entry["relative"] < 1e-2 and entry["signs"] > 0.9 for entry in table)
    assert "| mended | 0 of 1 |" in guard.summary(table)


def test_settings_are_judged_by_gold_training_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PLM of the offline world has no chat template, so four settings are left."""
    monkeypatch.setattr(settings, "load_plm", lambda name: embedded.load_plm())
    (tmp_path / "imdb" / "std").mkdir(parents=True)
    (tmp_path / "imdb" / "labels.json").write_text('["negative", "positive"]')
    write_jsonl(tmp_path / "imdb" / "std" / "train.jsonl", embedded.gold("imdb", "train", 400))
    settings.main([str(tmp_path), "--tasks", "imdb", "--texts", "40", "--csv", str(tmp_path / "s.csv")])
    table = pd.read_csv(tmp_path / "s.csv")
    assert len(table) == 4 and not table.chat.any() and set(table.temperature) == {0.7, 1.0}
    plain, debiased = (table[table.debiased == which].agreement for which in (False, True))
    assert table.agreement.between(0, 1).all() and debiased.mean() > max(0.6, plain.mean())


# --- pools of other texts ---------------------------------------------------------------------------------------------


def test_the_spread_over_pools_by_hand() -> None:
    found = pools.spread(np.array([[1.0, 3.0], [5.0, 7.0], [3.0, 5.0]]))
    assert found == pytest.approx({"mean gain": 4.0, "sd over pools": 2.0, "sd by seeds alone": 1.0})


@pytest.fixture
def film_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data folder with 400 synthetic reviews, for ``pools`` with a bag of words in the encoder's place."""
    for place, seed in (("gpt2-xl/train", 0), ("std/train", 1), ("std/test", 2)):
        texts = replace(keyword_examples(400, seed=seed, filler=3), label_names=LABEL_NAMES)
        if place == "gpt2-xl/train":
            texts = with_noise(texts, uniform_noise(0.3, 2), seed=1)
        write_jsonl(tmp_path / "imdb" / f"{place}.jsonl", texts)
    (tmp_path / "imdb" / "labels.json").write_text(json.dumps(LABEL_NAMES))
    small = replace(profiles.get("small"), pool=400, bag=profiles.DEMO_BAG, iterations=3)
    monkeypatch.setattr(profiles, "get", lambda name: small)
    monkeypatch.setattr(pools, "TAM", "bag")
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("sungen_lib.lab.execution._cores", lambda: 1)  # another process would not know of the profile
    return str(tmp_path)


def test_pools_compares_on_each_pool(film_texts: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Path(film_texts) / "pools.csv"
    sizes = ["--tasks", "imdb", "--pools", "2", "--rows", "200", "--seeds", "1", "2"]
    pools.main([film_texts, *sizes, "--csv", str(table)])
    assert "sd over pools" in capsys.readouterr().out
    lines = pd.read_csv(table)
    assert lines["pool"].tolist() == [1, 2] and np.allclose(
        lines["gain"], lines["SunGen"] - lines["ZeroGen"], atol=1e-3
    )
    assert (lines["low"] <= lines["gain"]).all() and (lines["gain"] <= lines["high"]).all()
    assert lines["seeds"].str.len().tolist() == [3, 3]


def test_epochs_compares_after_each_number(
    film_texts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(epochs, "TAM", "bag")
    epochs.main(
        [film_texts, "--profile", "small", "--tasks", "imdb", "--epochs", "1", "--seeds", "1", "2", "--rows", "200"]
    )
    shown = capsys.readouterr().out
    assert "gain at 5" in shown
    profile = replace(profiles.get("small"), pool=200)
    methods = Methods(profile, TaskData(profile, film_texts), "cpu")
    both = {n: [epochs.runs(methods, "imdb", n, seed) for seed in (1, 2)] for n in (1, 5)}
    cells = {n: pools.measured("imdb", of_seeds, Path(film_texts)) for n, of_seeds in both.items()}
    for n, (sungen, zerogen) in cells.items():
        run = epochs.after(n, methods.zerogen("imdb", "bag", 1))
        assert run.tam is not None and run.tam.epochs == n
        assert zerogen.values[0] == execution.execute([run], data_dir=film_texts, progress=None)[run].accuracy
        assert str(round(zerogen.mean, 2)) in shown and str(round(sungen.mean, 2)) in shown
    assert cells[1][1].values != cells[5][1].values


def test_pools_are_disjoint_and_their_runs_differ_in_the_weights_alone(film_texts: str) -> None:
    methods = pools.at_size(200, "gpt2-xl", film_texts)
    frozen, usual = methods.profile.frozen, profiles.get("small").frozen
    assert (methods.profile.pool, methods.profile.outer_size) == (200, 40)
    assert (frozen.epochs, frozen.inner_epochs) == (2 * usual.epochs, 2 * usual.inner_epochs)  # 200 of 400
    rows: list[int] = []
    for start in (0, 200):
        of_pool = pools.runs(methods, "imdb", start, 1)
        (weights,) = weights_of(of_pool["SunGen"])
        assert isinstance(weights.train, Synthetic) and weights.train == of_pool["ZeroGen"].train
        rows.extend(sources.load(weights.train, film_texts).idx)
        plain_run = replace(of_pool["SunGen"], method="zerogen", weights=None, selection="first")
        assert plain_run == of_pool["ZeroGen"]
    assert len(set(rows)) == 400
