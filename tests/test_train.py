"""Training: weighted, unweighted and by hand; restarts; evaluation against scikit-learn."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import keyword_set, keyword_vocabulary
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sungen_lib import fast, losses
from sungen_lib.baselines.coteaching import CoTrainer
from sungen_lib.baselines.temporal_ensembling import EnsemblingTrainer
from sungen_lib.encode import Encoded, shuffled_batches
from sungen_lib.fast import WIDTH_STEP, StepGraphs, arithmetic, evaluation_batch_size, limited_threads
from sungen_lib.models import BiLSTM, TamConfig
from sungen_lib.seeds import derived_seed
from sungen_lib.train import Diverged, Trainer, epochs, evaluate, fit, predict, predict_in_bf16

CONFIGS = {"lstm": TamConfig(embedding=8, hidden=6), "distilbert": TamConfig(kind="distilbert", hidden=8, heads=2)}


def tam(kind: str = "lstm", seed: int = 0) -> nn.Module:
    """A small TAM for ``keyword_set``."""
    return CONFIGS[kind].build(keyword_vocabulary(start=kind == "distilbert"), 2, seed=seed)


def training_set(kind: str = "lstm", n: int = 100) -> Encoded:
    """A set whose token indices fit ``tam``."""
    return keyword_set(n, start=kind == "distilbert")


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    """Equal to the bit."""
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_outputs_that_are_not_finite_are_no_predictions() -> None:
    model = tam()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="outputs are not finite"):
        evaluate(model, training_set())


@pytest.mark.parametrize("kind", CONFIGS)
def test_unit_weights_train_exactly_like_no_weights(kind: str) -> None:
    data, plain, ones, halves, scaled = training_set(kind), *(tam(kind) for _ in range(4))
    history = fit(plain, data, epochs=2, seed=3)
    again = fit(ones, data, epochs=2, seed=3, weights=torch.ones(100))
    fit(halves, data, epochs=2, seed=3, weights=torch.full((100,), 0.5))
    assert same(plain, ones) and same(plain, halves)
    assert [(e.loss, e.accuracy) for e in history] == [(e.loss, e.accuracy) for e in again]
    fit(scaled, data, epochs=2, seed=3, weights=torch.linspace(0.1, 1, 100))
    assert not same(plain, scaled)


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_a_plain_training_loop(weighted: bool) -> None:
    data, model = training_set(), tam()
    reference = copy.deepcopy(model)
    weights = torch.linspace(0.0, 1.0, 100) if weighted else None
    history = fit(model, data, weights=weights, epochs=2, lr=2e-3, batch_size=16, seed=7)

    optimizer = torch.optim.Adam(reference.parameters(), lr=2e-3)
    for epoch in (1, 2):
        seed = derived_seed(7, epoch)
        seen, hits = [], []
        for rows in shuffled_batches(data.sizes, 16, np.random.default_rng(seed)):
            batch = data.batch(rows)
            logits = reference(batch)
            sample = F.cross_entropy(logits, batch.labels, reduction="none")
            loss = sample.mean()
            if weights is not None:
                loss = (weights[rows] * sample).sum() / weights.mean() / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += sample.tolist()
            hits += (logits.argmax(-1) == batch.labels).tolist()
        assert history[epoch - 1].number == epoch
        assert history[epoch - 1].loss == pytest.approx(np.mean(seen), rel=1e-5)
        assert history[epoch - 1].accuracy == pytest.approx(np.mean(hits))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)


def test_samples_of_weight_zero_have_no_influence() -> None:
    data = training_set()
    weights = torch.ones(100)
    weights[::3] = 0
    flipped = data.labels.clone()
    flipped[::3] = 1 - flipped[::3]
    one, other, all_count = tam(), tam(), tam()
    fit(one, data, epochs=2, seed=1, weights=weights)
    fit(other, data.with_labels(flipped.numpy()), epochs=2, seed=1, weights=weights)
    fit(all_count, data.with_labels(flipped.numpy()), epochs=2, seed=1)
    assert same(one, other)
    assert not same(one, all_count)


@given(power=st.integers(-12, 12))
def test_the_scale_of_the_weights_does_not_matter(power: int) -> None:
    data, weights = training_set(n=40), torch.rand(40, generator=torch.Generator().manual_seed(0))
    one, other = tam(), tam()
    fit(one, data, epochs=1, weights=weights)
    fit(other, data, epochs=1, weights=weights * 2.0**power)
    assert same(one, other)


def test_any_scale_up_to_rounding() -> None:
    data, weights = training_set(n=40), torch.rand(40, generator=torch.Generator().manual_seed(0))
    one, other = tam(), tam()
    fit(one, data, epochs=1, weights=weights)
    fit(other, data, epochs=1, weights=weights * 0.3)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", CONFIGS)
def test_restart_gives_the_same_epoch_again(kind: str) -> None:
    data, model = training_set(kind), tam(kind)
    start = state(model)
    trainer = Trainer(model, data)
    first = trainer.epoch(5)
    trained = state(model)
    trainer.epoch(6)
    trainer.restart()
    assert all(torch.equal(value, start[name]) for name, value in model.state_dict().items())
    again = trainer.epoch(5)
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert (first.loss, first.accuracy) == (again.loss, again.accuracy)
    assert not all(torch.equal(value, start[name]) for name, value in trained.items())


class PlayedBack(StepGraphs):
    """What CUDA would do, as far as a CPU can: a graph repeats its step on whatever ``rows`` holds then."""

    WARM_UP = 1

    def _eagerly(self, rows: Tensor, width: int) -> None:
        self.eager = [*getattr(self, "eager", []), (len(rows), width)]
        self.step(rows, width)

    def _capture(self, width: int) -> torch.cuda.CUDAGraph:
        graph = SimpleNamespace(replay=lambda: self.step(self.rows, width))
        return graph  # type: ignore[return-value]


def test_graphs_of_a_few_widths_make_an_epoch_s_steps() -> None:
    data, model, eager = training_set(n=100), tam(), tam()
    trainer = Trainer(model, data, batch_size=16)
    trainer.graphs = graphs = PlayedBack(trainer.step, torch.zeros(16, dtype=torch.int64), 512)
    epoch = trainer.epoch(seed=4)
    reference = Trainer(eager, data, batch_size=16).epoch(seed=4)
    assert epoch.loss == pytest.approx(reference.loss, abs=1e-6) and epoch.accuracy == reference.accuracy
    for name, value in eager.state_dict().items():  # wider padding: other sums, the same step
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    widths = [int(data.sizes[b].max()) for b in shuffled_batches(data.sizes, 16, np.random.default_rng(4))]
    assert set(graphs.graphs) <= {-(-width // WIDTH_STEP) * WIDTH_STEP for width in widths}
    assert graphs.graphs and all(width % WIDTH_STEP == 0 for _, width in graphs.eager)
    assert sorted(size for size, _ in graphs.eager) == [4, 16]  # the first step, and the batch that is not whole


def test_a_graph_is_never_wider_than_the_longest_text() -> None:
    """An encoder whose positions are no multiple of 8."""
    data = training_set("distilbert", n=40)
    longest = int(data.sizes.max())
    assert longest % WIDTH_STEP
    config = TamConfig(kind="distilbert", hidden=8, heads=2, max_length=longest)
    trainer = Trainer(config.build(keyword_vocabulary(start=True), data.classes, seed=0), data, batch_size=8)
    trainer.graphs = graphs = PlayedBack(trainer.step, torch.zeros(8, dtype=torch.int64), longest)
    trainer.epoch(seed=4)
    assert max([*graphs.graphs, *(width for _, width in graphs.eager)]) == longest


class HostSyncs(TorchDispatchMode):
    """Counts the operations at which the host would wait for a GPU."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in func.name() for word in self.WAITS):
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_host_never_waits_within_a_step(kind: str) -> None:
    trainer = Trainer(tam(kind), training_set(kind, n=64), batch_size=8)
    trainer.model.train()
    with HostSyncs() as syncs:
        trainer.take_step(torch.arange(8), 8)
    # transformers looks whether a mask has padding, except while a CUDA graph is captured.
    assert kind == "distilbert" or not syncs.found
    assert set(syncs.found) <= {"aten::is_nonzero", "aten::_local_scalar_dense"}
    with HostSyncs() as syncs:
        float(trainer.totals[0])
    assert syncs.found  # it does notice


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_step_depends_on_no_value_from_the_device(kind: str) -> None:
    """With fake tensors any ``.item()``, boolean mask or ``unique`` in the step raises, as it would under capture."""
    trainer = Trainer(tam(kind), training_set(kind, n=16), batch_size=8)
    trainer.step(torch.arange(8), 8)  # Adam's state
    trainer._embedding = None  # it belongs to CPUs
    rows = torch.arange(8)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.optimizer, "step", lambda: None)  # fused Adam has no fake kernel for real parameters
        with torch.enable_grad():
            trainer.step(rows, 8)


@pytest.mark.parametrize(
    ("turn_on", "reduced"),
    [
        (lambda: setattr(torch.backends, "fp32_precision", "tf32"), "tf32"),
        (lambda: torch.set_float32_matmul_precision("high"), "tf32"),
        (lambda: torch.set_float32_matmul_precision("medium"), "bf16"),
    ],
)
def test_reduced_precision_is_off_inside_and_as_before_outside(turn_on: Callable[[], None], reduced: str) -> None:
    backends: Any = torch.backends
    kernels = backends.cuda.matmul, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.rnn

    def precisions() -> list[str]:
        return [kernel.fp32_precision for kernel in kernels]

    everywhere, before = backends.fp32_precision, precisions()
    try:
        turn_on()
        outside = precisions()
        assert reduced in outside
        with arithmetic(torch.device("cpu")):
            assert precisions() == ["ieee"] * 4
        assert precisions() == outside
    finally:
        torch.set_float32_matmul_precision("highest")
        backends.fp32_precision = everywhere
        for kernel, value in zip(kernels, before, strict=True):
            kernel.fp32_precision = value


@pytest.mark.parametrize("method", ["plain", "co-teaching", "temporal ensembling"])
def test_tf32_is_off_in_the_backward_pass_too(method: str) -> None:
    backends: Any = torch.backends
    model, data = tam(), training_set(n=8)
    found: set[str] = set()
    list(model.parameters())[-1].register_hook(lambda _: found.add(backends.cudnn.rnn.fp32_precision))
    settings: dict[str, Any] = {"lr": 1e-3, "batch_size": 8, "precision": "float32"}
    trainers: dict[str, Callable[[], Trainer]] = {
        "plain": lambda: Trainer(model, data, **settings),
        "co-teaching": lambda: CoTrainer(model, tam(), data, **settings),
        "temporal ensembling": lambda: EnsemblingTrainer(model, data, **settings),
    }
    before = backends.cudnn.rnn.fp32_precision
    backends.cudnn.rnn.fp32_precision = "tf32"
    try:
        trainers[method]().step(torch.arange(8), 8)
    finally:
        backends.cudnn.rnn.fp32_precision = before
    assert found == {"ieee"}


def test_limited_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with limited_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_encoder_s_batches_are_limited_in_tokens() -> None:
    sizes = np.full(4000, 500)
    data: Any = SimpleNamespace(sizes=sizes, device=torch.device("cuda"))
    assert evaluation_batch_size(data, tam("lstm")) == 2048
    assert evaluation_batch_size(data, tam("distilbert")) * 500 <= 32_768
    data.sizes = np.full(4000, 100_000)
    assert evaluation_batch_size(data, tam("distilbert")) == 1


def test_an_epoch_s_seed_also_seeds_dropout() -> None:
    data, one, other = training_set("distilbert"), tam("distilbert"), tam("distilbert")
    assert any(isinstance(m, nn.Dropout) and m.p > 0 for m in one.modules())
    torch.manual_seed(1)
    Trainer(one, data).epoch(5)
    torch.manual_seed(2)
    Trainer(other, data).epoch(5)
    assert same(one, other)


def test_seeds_decide_the_order() -> None:
    data, one, other = training_set(), tam(), tam()
    fit(one, data, epochs=1, seed=0)
    fit(other, data, epochs=1, seed=1)
    assert not same(one, other)


def test_derived_seeds_differ() -> None:
    parts = [part for length in (1, 2, 3) for part in itertools.product(range(6), repeat=length)]
    assert len({derived_seed(*part) for part in parts}) == len(parts) == 6 + 36 + 216
    assert derived_seed(3, 4) == derived_seed(3, 4)


def test_training_learns_the_keywords() -> None:
    model, data = tam(), training_set(n=400)
    history = fit(model, data, epochs=4, lr=1e-2)
    assert history[-1].loss < 0.2 < history[0].loss
    assert evaluate(model, keyword_set(100, seed=9)).accuracy > 0.95


def test_the_model_can_be_measured_between_epochs() -> None:
    model, interrupted, data = tam(), tam(), training_set()
    fit(model, data, epochs=3)
    curve = [evaluate(interrupted, data).accuracy for _ in epochs(interrupted, data, epochs=3)]
    assert len(curve) == 3 and same(model, interrupted)


def test_other_losses() -> None:
    data, model = training_set(), tam()
    history = fit(model, data, loss=losses.reverse_cross_entropy, epochs=1)
    reference, batch_losses = tam(), []
    trainer = Trainer(reference, data, loss=losses.reverse_cross_entropy)
    batch_losses.append(trainer.epoch(derived_seed(0, 1)).loss)
    assert history[0].loss == batch_losses[0] and 1.5 < history[0].loss < 2.5  # 4 (1 - p), p near 1/2
    assert same(model, reference)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_divergence_is_an_outcome() -> None:
    with pytest.raises(Diverged, match="training loss is nan in epoch 1"):
        fit(tam(), training_set(), loss=lambda logits, labels: losses.cross_entropy(logits, labels) * float("nan"))

    def later(logits: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return losses.cross_entropy(logits, labels) / (1 if len(calls) <= 4 else 0)

    calls: list[int] = []
    with pytest.raises(Diverged, match=r"training loss is (nan|inf) in epoch 2"):
        fit(tam(), training_set(), loss=later)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_impossible_weights(value: float) -> None:
    with pytest.raises(Diverged, match="sample weights must be finite with a positive mean"):
        fit(tam(), training_set(), weights=torch.full((100,), value))


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must not be negative, got -0\.25"):
        Trainer(tam(), training_set(n=4)).set_weights(torch.tensor([1.0, 1.0, -0.25, 1.0]))


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="the training set is empty"):
        Trainer(tam(), training_set().select(np.array([], dtype=np.int64)))


def test_precision_is_checked() -> None:
    with (
        pytest.raises(ValueError, match="unknown precision 'fp16'; known: float32, bf16"),
        arithmetic(torch.device("cpu"), "fp16"),
    ):
        pass


@pytest.mark.parametrize("onednn", [True, False])
def test_an_lstm_learns_in_bf16_on_any_processor(onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bool] = []
    if not onednn:  # as on a processor without AVX-512
        monkeypatch.setattr(fast, "processor_has_bf16", lambda: False)
    model, data = tam(), training_set()
    model.register_forward_hook(lambda *_: used.append(bool(torch.backends.mkldnn.enabled)))
    fit(model, data, epochs=1, precision="bf16")
    assert not same(model, tam()) and all(p.dtype == torch.float32 for p in model.parameters())
    assert set(used) == {onednn and fast.processor_has_bf16()} and torch.backends.mkldnn.enabled


# --- measuring --------------------------------------------------------------------------------------------------------


def test_evaluate_agrees_with_scikit_learn() -> None:
    model, data = tam(), training_set(n=150)
    fit(model, data, epochs=2, lr=0.01)
    got = evaluate(model, data, batch_size=32)
    logits = predict(model, data)
    probabilities = logits.double().softmax(-1).numpy()
    truth = data.labels.numpy()
    assert 0.5 < got.accuracy < 1.0
    assert got.accuracy == accuracy_score(truth, probabilities.argmax(-1))
    assert got.loss == pytest.approx(log_loss(truth, probabilities), rel=1e-6)
    np.testing.assert_array_equal(got.correct, probabilities.argmax(-1) == truth)
    assert got.correct.dtype == bool


@pytest.mark.parametrize("kind", CONFIGS)
def test_predictions_are_in_the_order_of_the_set(kind: str) -> None:
    data, model = training_set(kind, n=50), tam(kind)
    fit(model, data, epochs=1)
    alone = torch.cat([predict(model, data.select(np.array([i]))) for i in range(50)])
    torch.testing.assert_close(predict(model, data, batch_size=7), alone, rtol=1e-4, atol=1e-6)
    assert not model.training  # dropout is off, and stays so until the next epoch
    torch.testing.assert_close(predict(model, data), predict(model, data), rtol=0, atol=0)


def test_prediction_needs_no_gradient() -> None:
    model = BiLSTM(len(keyword_vocabulary()), 2, embedding=4, hidden=3)
    assert not predict(model, training_set(n=5)).requires_grad


def test_a_frozen_embedding_stays() -> None:
    model = CONFIGS["lstm"].build(keyword_vocabulary(), 2, seed=0)
    assert isinstance(model, BiLSTM)
    model.embedding.weight.requires_grad_(False)
    before = state(model)
    fit(model, training_set(), epochs=1)
    assert torch.equal(model.embedding.weight, before["embedding.weight"])
    assert not torch.equal(model.linear.weight, before["linear.weight"])


def test_averages_do_not_decay_into_denormals() -> None:
    """A word that is never seen again: its average gradient ends at 0, not at numbers that slow the CPU down."""
    data, model = training_set(), tam()
    assert isinstance(model, BiLSTM)
    trainer = Trainer(model, data, batch_size=100)
    trainer.epoch(1)
    state = trainer.optimizer.state[model.embedding.weight]
    state["exp_avg"].fill_(3e-38)  # what is left of a gradient after some 600 steps; the smallest normal is 1.2e-38
    before = model.embedding.weight.detach().clone()
    absent = torch.ones(len(before), dtype=torch.bool)
    absent[data.flat.unique().long()] = False
    for seed in range(12):
        trainer.epoch(seed)
    assert absent.any() and not state["exp_avg"][absent].any()
    assert torch.equal(model.embedding.weight[absent], before[absent])
    assert bool(torch.tensor(1e-40).mul(1.0)), "the caller's arithmetic is as it was"


def test_no_decision_moves_in_bf16() -> None:
    """bfloat16 alone decides some samples otherwise."""
    model, data = tam("distilbert"), training_set("distilbert", n=2_000)
    fit(model, data, epochs=1)
    with torch.no_grad():  # the middle between the two labels runs through the samples
        margin = predict(model, data).diff(dim=-1).median()
        model.model.classifier.bias += torch.stack([margin / 2, -margin / 2])  # type: ignore[operator, union-attr]
    exact = predict(model, data)
    moved = predict(model, data, precision="bf16").argmax(-1) != exact.argmax(-1)
    assert int(moved.sum())
    got = evaluate(model, data, precision="bf16")
    assert got.correct.tolist() == evaluate(model, data).correct.tolist()
    again = (predict_in_bf16(model, data) == exact).all(-1).float().mean()
    assert 0.01 < float(again) < 0.5  # some samples are predicted twice, most are not


@pytest.mark.parametrize(("hidden", "expected"), [(6, 1), (150, 2)])
def test_small_models_train_on_one_thread(hidden: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine two threads took fifteen times as long for a head on frozen vectors."""
    seen: set[int] = set()
    model = TamConfig(embedding=100, hidden=hidden).build(keyword_vocabulary(), 2, seed=0)
    monkeypatch.setattr(Trainer, "take_step", lambda *_: seen.add(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(model, training_set(), epochs=1)
        assert seen == {expected} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
