"""Algorithm 1: the meta-gradient against its definition in float64, what the weights do, checkpoints, the guard.

The definition is written out here from Section 3 alone: a TAM in plain operations, one gradient step on the weighted
loss with S held constant, and autograd through that step. It uses nothing of ``derivative.py`` or ``reweight.py``.
"""

from __future__ import annotations

import copy
import errno
import json
import re
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import keyword_examples, keyword_set, keyword_vocabulary
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from sungen_lib import derivative, learn, losses, reweight
from sungen_lib.checkpoint import identity_of
from sungen_lib.derivative import directional, meta_gradient, outer_gradient
from sungen_lib.encode import Encoded, Samples, Vocabulary, encode
from sungen_lib.learn import LearnedWeights, choose_outer_lr, learn_weights, load_weights
from sungen_lib.models import BiLSTM, Encoder, TamConfig
from sungen_lib.reweight import Bilevel, Iteration, State, iterations
from sungen_lib.seeds import derived_seed
from sungen_lib.storage import unless_damaged
from sungen_lib.texts.examples import Examples
from sungen_lib.train import Diverged, Trainer, fit

KINDS = ("lstm", "encoder")
N, LR = 60, 1e-3
Forward = Callable[[dict[str, Tensor], Encoded], Tensor]


def trained(kind: str) -> tuple[nn.Module, Encoded, Encoded, Tensor]:
    """A TAM after some training, its noisy training set, an outer set, weights."""
    start = kind == "encoder"
    train_set, outer_set = keyword_set(N, classes=3, start=start), keyword_set(40, classes=3, seed=1, start=start)
    noisy = train_set.labels.clone()
    noisy[::5] = (noisy[::5] + 1) % 3
    train_set = train_set.with_labels(noisy.numpy())
    torch.manual_seed(0)
    config = TamConfig(kind="distilbert", hidden=8, heads=2, layers=2)
    vocabulary = keyword_vocabulary(start=start)
    model = config.build(vocabulary, 3, seed=0) if start else BiLSTM(len(vocabulary), 3, embedding=8, hidden=6)
    fit(model, train_set, epochs=12, lr=0.01)
    weights = torch.rand(N, generator=torch.Generator().manual_seed(3)) * 0.9 + 0.05
    return model, train_set, outer_set, weights


def plain_lstm(parameters: dict[str, Tensor], data: Encoded) -> Tensor:
    """The BiLSTM, one text and one step at a time."""
    states = []
    for i in range(len(data)):
        row = data.flat[int(data.starts[i]) : int(data.starts[i]) + int(data.lengths[i])].long()
        ends = []
        for side, tokens in (("left", row), ("right", row.flip(0))):
            weight = {k: parameters[f"{side}.{k}_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            h = c = torch.zeros(weight["weight_hh"].shape[1], dtype=torch.float64)
            for token in tokens:
                x = parameters["embedding.weight"][token]
                gates = weight["weight_ih"] @ x + weight["bias_ih"] + weight["weight_hh"] @ h + weight["bias_hh"]
                i_gate, forget, cell, output = gates.chunk(4)
                c = forget.sigmoid() * c + i_gate.sigmoid() * cell.tanh()
                h = output.sigmoid() * c.tanh()
            ends.append(h)
        states.append(torch.cat(ends))
    return torch.stack(states) @ parameters["linear.weight"].T + parameters["linear.bias"]


def forward_of(model: nn.Module) -> Forward:
    """A forward pass that can be differentiated twice."""
    if isinstance(model, BiLSTM):
        return plain_lstm
    plain = copy.deepcopy(model).double().eval()
    assert isinstance(plain, Encoder)
    plain.model.set_attn_implementation("eager")
    return lambda parameters, data: torch.func.functional_call(plain, parameters, (data.batch(np.arange(len(data))),))


def definition(
    model: nn.Module, train_set: Encoded, outer_set: Encoded, weights: Tensor, *, lr: float, a: float = -4.0
) -> Tensor:
    """d/dw L_robust(theta - lr grad_theta sum_j w_j l_j(theta) / S), S constant, in float64."""
    forward = forward_of(model)
    theta = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    w = weights.double().requires_grad_()
    loss = F.cross_entropy(forward(theta, train_set), train_set.labels, reduction="none")
    inner = (w * loss).sum() / w.sum().detach()
    gradients = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
    moved = {name: p - lr * g for (name, p), g in zip(theta.items(), gradients, strict=True)}
    p_label = forward(moved, outer_set).softmax(-1)[torch.arange(len(outer_set)), outer_set.labels]
    robust = (-a * (1 - p_label)).mean()
    return torch.autograd.grad(robust, w)[0]


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Encoded, Encoded, Tensor, Tensor]:
    """Model, training set, outer set, weights, and the definition's meta-gradient.

    The library takes the outer gradient at theta itself; the definition's tends to it as the step gets short. Both
    are linear in the step there, so the definition is worked out for a tiny one and scaled.
    """
    model, train_set, outer_set, weights = trained(request.param)
    tiny = 1e-9
    return model, train_set, outer_set, weights, definition(model, train_set, outer_set, weights, lr=tiny) * (LR / tiny)


def error(got: Tensor, expected: Tensor) -> float:
    """Relative error over all samples."""
    return float((got.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("method", "limit"), [(None, 1e-3), ("difference", 1e-3), ("dual", 1e-5), ("double_backward", 1e-5)]
)
def test_meta_gradient_is_its_definition(
    case: tuple[nn.Module, Encoded, Encoded, Tensor, Tensor], method: str | None, limit: float
) -> None:
    model, train_set, outer_set, weights, expected = case
    found = meta_gradient(model, train_set, outer_set, weights=weights, lr=LR, method=method)
    got, value, guard = found.values, found.outer_loss, found.guard
    assert guard is None  # without a seed for its rows
    assert got.shape == (N,) and got.dtype == torch.float32
    assert error(got, expected) < limit
    sure = expected.abs() > 1e-3 * expected.abs().max()
    assert int(sure.sum()) > 0.8 * N
    assert torch.equal(got[sure].sign(), expected[sure].sign().float())
    assert (got > 0).any() and (got < 0).any()
    logits = forward_of(model)({n: p.detach().double() for n, p in model.named_parameters()}, outer_set)
    assert value == pytest.approx(float(losses.reverse_cross_entropy(logits, outer_set.labels).mean()), rel=1e-5)


@pytest.mark.parametrize("method", ["dual", "double_backward"])
def test_exact_methods_are_exact_in_float64(
    case: tuple[nn.Module, Encoded, Encoded, Tensor, Tensor], method: str
) -> None:
    model, train_set, outer_set, weights, expected = case
    double = copy.deepcopy(model).double()
    got = meta_gradient(double, train_set, outer_set, weights=weights.double(), lr=LR, method=method).values
    assert got.dtype == torch.float64
    assert error(got, expected) < 1e-7  # what the definition's own step of 1e-9 leaves


def test_the_paper_s_step_stays_close(case: tuple[nn.Module, Encoded, Encoded, Tensor, Tensor]) -> None:
    # With the step the paper takes, the outer gradient at the moved parameters differs a little from that at theta.
    model, train_set, outer_set, weights, expected = case
    literal = definition(model, train_set, outer_set, weights, lr=LR)
    assert error(literal, expected) < 0.05


def test_other_losses_and_scales(case: tuple[nn.Module, Encoded, Encoded, Tensor, Tensor]) -> None:
    model, train_set, outer_set, weights, expected = case
    got = meta_gradient(
        model, train_set, outer_set, weights=weights, lr=3 * LR, outer_loss=losses.mean_absolute_error, method="dual"
    ).values
    torch.testing.assert_close(got, (3 * expected / 2).float(), rtol=1e-3, atol=1e-9)  # RCE = 2 MAE at A = -4
    halved = meta_gradient(model, train_set, outer_set, weights=weights / 2, lr=LR, method="dual").values
    torch.testing.assert_close(halved, (2 * expected).float(), rtol=1e-3, atol=1e-9)
    direction, _ = outer_gradient(model, outer_set, losses.reverse_cross_entropy)
    along = directional(model, train_set, direction, method="dual", loss=losses.reverse_cross_entropy)
    inner = -(LR / weights.sum()) * along
    logits = forward_of(model)({n: p.detach().double() for n, p in model.named_parameters()}, train_set)
    p_label = logits.softmax(-1)[torch.arange(N), train_set.labels]
    # d RCE = -A p dCE
    torch.testing.assert_close(inner, (4 * p_label * expected).float(), rtol=1e-2, atol=1e-9)


@pytest.mark.parametrize("method", derivative.METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_left_as_found(kind: str, method: str) -> None:
    model, train_set, outer_set, weights = trained(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    first = meta_gradient(model, train_set, outer_set, weights=weights, method=method).values
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is not None and bool((p.grad == 3).all()) for p in model.parameters())
    if isinstance(model, Encoder):
        assert model.model.config._attn_implementation == "sdpa"
    again = meta_gradient(model, train_set, outer_set, weights=weights, method=method).values
    assert torch.equal(first, again)


def test_parameters_are_restored_when_interrupted() -> None:
    model, train_set, outer_set, _ = trained("lstm")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    direction, _ = outer_gradient(model, outer_set, losses.reverse_cross_entropy)

    def stop(logits: Tensor, labels: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        directional(model, train_set, direction, loss=stop)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("rows", [100, 700])  # one batch, six batches
def test_the_meta_gradient_does_not_depend_on_the_number_of_threads(rows: int) -> None:
    data, model = keyword_set(rows, classes=3), trained("lstm")[0]
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            direction, value = outer_gradient(model, data, losses.cross_entropy)
            ways = [directional(model, data, direction, method=method) for method in ("difference", "dual")]
            found.append(torch.cat([torch.tensor([value]), *(d.flatten() for d in direction.values()), *ways]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    assert error(*ways) < 1e-3  # each at its own place


def test_the_difference_is_the_default_where_it_is_accurate() -> None:
    assert derivative.default_method(trained("lstm")[0]) == "difference"
    encoder = trained("encoder")[0]
    assert derivative.default_method(encoder) == "difference"
    assert derivative.default_method(encoder.bfloat16()) == "dual"
    assert derivative.default_method(nn.Linear(2, 2)) == "dual"


def encoder_of(kind: str, vocabulary: int) -> Encoder:
    """A small encoder with random weights: a tanh pooler, a tanh head, a head with a kink."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "DistilBert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=vocabulary, num_labels=3, pad_token_id=0, max_position_embeddings=64, **sizes
    )
    torch.manual_seed(0)
    return Encoder(getattr(transformers, f"{kind}ForSequenceClassification")(config))


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert"])
def test_an_encoder_s_difference_against_float64(kind: str) -> None:
    train_set, outer_set = keyword_set(N, classes=3, start=True), keyword_set(40, classes=3, seed=1, start=True)
    model = encoder_of(kind, len(keyword_vocabulary(start=True)))
    fit(model, train_set, epochs=4, lr=0.01)
    direction, _ = outer_gradient(model, outer_set, losses.reverse_cross_entropy)
    double = {name: v.double() for name, v in direction.items()}
    expected = directional(copy.deepcopy(model).double(), train_set, double, method="double_backward")
    with torch.autocast("cpu", dtype=torch.bfloat16):  # a caller's autocast must not reach the difference
        got = directional(model, train_set, direction, method="difference")
    assert error(got, expected) < 3e-4
    assert got.dtype == torch.float32


def test_outer_gradient_is_autograd_s(case: tuple[nn.Module, Encoded, Encoded, Tensor, Tensor]) -> None:
    model, _, outer_set, _, _ = case
    gradient, value = outer_gradient(model, outer_set, losses.cross_entropy)
    theta = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    loss = F.cross_entropy(forward_of(model)(theta, outer_set), outer_set.labels)
    expected = torch.autograd.grad(loss, list(theta.values()))
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    for (name, got), reference in zip(gradient.items(), expected, strict=True):
        torch.testing.assert_close(got.double(), reference, rtol=1e-4, atol=1e-6, msg=name)


def test_a_zero_direction_moves_nothing() -> None:
    model, train_set, outer_set, weights = trained("lstm")
    found = meta_gradient(model, train_set, outer_set, weights=weights, outer_loss=lambda z, y: 0 * z.sum(-1))
    assert found.outer_loss == 0.0 and not found.values.any()


def test_an_unknown_method_is_refused() -> None:
    model, train_set, outer_set, weights = trained("lstm")
    with pytest.raises(ValueError, match="unknown method 'exact'; known: difference, dual, double_backward"):
        meta_gradient(model, train_set, outer_set, weights=weights, method="exact")
    with pytest.raises(ValueError, match="unknown method 'exact'"):
        learn_weights(keyword_examples(N, classes=3), tam=SMALL["lstm"], method="exact")


@pytest.mark.parametrize("method", ["difference", "dual"])
def test_the_order_of_samples_does_not_matter(method: str) -> None:
    model, train_set, outer_set, weights = trained("lstm")
    order = np.random.default_rng(0).permutation(N)
    first = meta_gradient(model, train_set, outer_set, weights=weights, method=method).values
    permuted = weights[torch.as_tensor(order)]
    second = meta_gradient(model, train_set.select(order), outer_set, weights=permuted, method=method).values
    torch.testing.assert_close(second, first[torch.as_tensor(order)], rtol=2e-3, atol=float(1e-3 * first.abs().mean()))
    assert not torch.allclose(second, first, rtol=0.1)


# --- learning ---------------------------------------------------------------------------------------------------------

QUICK: dict[str, Any] = {"iterations": 6, "inner_epochs": 3, "inner_lr": 0.01, "batch_size": 16}
SMALL = {"lstm": TamConfig(embedding=8, hidden=8), "encoder": TamConfig(kind="distilbert", hidden=16, heads=2)}


def noisy_examples(n: int = 240, rate: float = 0.25, *, seed: int = 0) -> tuple[Examples, np.ndarray]:
    """``keyword_examples`` with a share of wrong labels, and which ones they are."""
    texts = keyword_examples(n, seed=seed)
    wrong = np.random.default_rng(seed + 100).random(n) < rate
    return texts.with_labels(np.where(wrong, 1 - texts.labels, texts.labels)), wrong


def noisy_set(n: int) -> Encoded:
    """The same, encoded."""
    return encode(noisy_examples(n)[0], keyword_vocabulary())


def small_tam(*, seed: int = 0) -> nn.Module:
    """A BiLSTM for ``noisy_set``, before training."""
    return SMALL["lstm"].build(keyword_vocabulary(), 2, seed=seed)


def quick_weights(texts: Examples, *, kind: str = "lstm", **options: Any) -> LearnedWeights:
    """``learn_weights`` with small settings."""
    return learn_weights(texts, tam=SMALL[kind], **(QUICK | options))


def last_state(train_set: Samples, *tams: nn.Module, outer_set: Samples | None = None, **settings: Any) -> State:
    """Where ``iterations`` end; ``settings`` are ``Bilevel``'s and the seed."""
    seed = settings.pop("seed", 0)
    *_, state = iterations(train_set, tams, Bilevel(**settings), outer_set=outer_set, seed=seed)
    return state


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def has(model: nn.Module, parameters: dict[str, Tensor]) -> bool:
    """Whether the model's parameters are these, to the bit."""
    return all(torch.equal(value, parameters[name]) for name, value in model.state_dict().items())


def without_seconds(history: list[Iteration]) -> list[Iteration]:
    """The history, but for the clock."""
    return [replace(entry, seconds=0.0) for entry in history]


@pytest.mark.parametrize("kind", KINDS)
def test_planted_wrong_labels_lose_weight(kind: str) -> None:
    texts, wrong = noisy_examples()
    learned = quick_weights(texts, kind=kind)
    assert roc_auc_score(~wrong, learned.weights) > 0.9
    assert learned.weights[wrong].mean() < 0.5 < learned.weights[~wrong].mean()
    assert learned.weights.dtype == np.float32
    assert learned.weights.min() >= 0 and learned.weights.max() <= 1


def test_one_wrong_label_loses_and_a_right_one_gains() -> None:
    clean = keyword_examples(200)
    labels = clean.labels.copy()
    labels[50] = 1 - labels[50]
    assert quick_weights(clean.with_labels(labels)).weights[50] < 0.3
    # The same text with its right label instead.
    assert quick_weights(clean).weights[50] > 0.5


def test_weights_belong_to_their_samples() -> None:
    texts, wrong = noisy_examples()
    order = np.random.default_rng(6).permutation(len(texts))
    learned = quick_weights(texts.select(order))
    assert roc_auc_score(~wrong[order], learned.weights) > 0.9
    # Permuted to the bit where nothing depends on the order: the texts in another order, one iteration, the whole set
    # as one batch.
    options: dict[str, Any] = {"iterations": 1, "batch_size": 240, "method": "dual", "inner_epochs": 3}
    first, second = quick_weights(texts, **options), quick_weights(texts.select(order), **options)
    np.testing.assert_allclose(second.weights, first.weights[order], atol=2e-3)


@pytest.mark.parametrize("initialisations", [1, 2])
def test_learn_weights_is_the_iterations_from_prepared_texts(initialisations: int) -> None:
    """To the bit. Texts are cut to the TAM's length, and both sets have the vocabulary of the training texts."""
    texts, others = noisy_examples(80)[0], keyword_examples(30, seed=1)
    settings: dict[str, Any] = {"inner_epochs": 2, "batch_size": 16}
    tam = replace(SMALL["lstm"], lr=0.01, max_length=6, vocabulary=15, **settings)
    learned = learn_weights(texts, tam=tam, outer_set=others, initialisations=initialisations, seed=3, iterations=4)
    prepared = tam.prepare(texts, seed=3)
    first, train_set, tokenizer = prepared.model, prepared.data, prepared.tokenizer
    tams = [first, tam.build(tokenizer, 2, seed=derived_seed(3, 3, 1))][:initialisations]
    outer_set = tam.encode(others, tokenizer)
    state = last_state(train_set, *tams, outer_set=outer_set, iterations=4, inner_lr=0.01, seed=3, **settings)
    assert isinstance(tokenizer, Vocabulary) and len(tokenizer) == 4 + 15
    assert train_set.sizes.max() == outer_set.sizes.max() == 6
    np.testing.assert_array_equal(learned.weights, state.weights.numpy())
    assert without_seconds(learned.history) == without_seconds(state.history)


def test_settings_override_those_of_the_tam() -> None:
    texts, _ = noisy_examples(80)
    settings = QUICK | {"iterations": 2, "precision": "bf16"}
    tam = replace(SMALL["lstm"], inner_epochs=3, lr=0.01, batch_size=16, precision="bf16")
    expected = learn_weights(texts, tam=tam, iterations=2).weights
    np.testing.assert_array_equal(learn_weights(texts, tam=SMALL["lstm"], **settings).weights, expected)
    other = replace(SMALL["lstm"], inner_epochs=1, lr=1.0, batch_size=80)
    np.testing.assert_array_equal(learn_weights(texts, tam=other, **settings).weights, expected)
    for name in ("inner_epochs", "inner_lr", "batch_size", "precision"):  # each of them matters
        changed = learn_weights(texts, tam=SMALL["lstm"], **{key: settings[key] for key in settings if key != name})
        assert not np.array_equal(changed.weights, expected), name


def test_a_misspelt_option_is_refused(tmp_path: Path) -> None:
    texts, path = keyword_examples(20), tmp_path / "weights.safetensors"
    with pytest.raises(TypeError, match="has no setting 'outer_rate'; known: iterations, outer_lr"):
        learn_weights(texts, tam=SMALL["lstm"], checkpoint=path, outer_rate=0.1)
    with pytest.raises(TypeError, match="has no setting 'inner_epoch'"):
        choose_outer_lr(texts, (0.1,), tam=SMALL["lstm"], inner_epoch=2)
    assert not path.exists()


def test_scores_follow_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's Adam on the scores, given the same meta-gradients; its eps relative to the first of them."""
    seen: list[Tensor] = []
    step = State.step

    def spy(state: State, gradient: Tensor, lr: float) -> None:
        seen.append(gradient.clone())
        step(state, gradient, lr)

    monkeypatch.setattr(State, "step", spy)
    learned = quick_weights(noisy_examples(60)[0], iterations=4)
    assert len(seen) == 4
    scores = torch.zeros(60, dtype=torch.float64, requires_grad=True)
    eps = 1e-8 * float((seen[0].double() / 4).square().mean().sqrt())
    optimizer = torch.optim.Adam([scores], lr=0.25, eps=eps)
    for gradient in seen:
        optimizer.zero_grad()
        scores.sigmoid().backward(gradient.double())
        optimizer.step()
    np.testing.assert_allclose(learned.weights, scores.sigmoid().detach().numpy(), atol=1e-5)
    assert float(seen[0].abs().max()) < 1e-3  # so an absolute eps would have been felt


def test_the_outer_loss_may_have_any_scale() -> None:
    texts, _ = noisy_examples(100)
    plain = quick_weights(texts).weights
    power = quick_weights(texts, outer_loss=lambda z, y: losses.reverse_cross_entropy(z, y) * 2.0**-10).weights
    thousandth = quick_weights(texts, outer_loss=lambda z, y: losses.reverse_cross_entropy(z, y) * 1e-3).weights
    np.testing.assert_array_equal(plain, power)
    np.testing.assert_allclose(plain, thousandth, atol=1e-3)


def test_outer_set_is_drawn_once_from_the_training_set_without_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = Examples.of([f"unique{i}" for i in range(80)], np.arange(80) % 2, ("a", "b"))
    tam = TamConfig(embedding=4, hidden=3)
    data = tam.prepare(texts, seed=0).data
    assert isinstance(data, Encoded)
    tokens = data.flat.tolist()
    assert len(set(tokens)) == len(tokens) == 80  # so that a token tells the sample
    drawn: list[list[int]] = []
    gradient = derivative.outer_gradient

    def spy(model: nn.Module, outer_set: Encoded, loss: losses.Loss) -> object:
        drawn.append(outer_set.flat.tolist())
        return gradient(model, outer_set, loss)

    monkeypatch.setattr(derivative, "outer_gradient", spy)
    learn_weights(texts, tam=tam, outer_size=30, iterations=3)
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn[0])) == len(drawn[0]) == 30 and set(drawn[0]) <= set(tokens)
    learn_weights(texts, tam=tam, outer_size=30, iterations=1, seed=1)
    assert set(drawn[3]) != set(drawn[0])
    learn_weights(texts, tam=tam, iterations=1)  # fewer samples than asked for: all of them
    assert sorted(drawn[4]) == sorted(tokens)
    learn_weights(texts, tam=tam, iterations=1, outer_set=texts.select(np.arange(5)))
    assert drawn[5] == tokens[:5]


def test_every_iteration_starts_from_the_given_parameters() -> None:
    tam = small_tam()
    start = parameters_of(tam)
    # Weights that hardly move: every iteration is the same but for the order of its batches.
    state = last_state(noisy_set(80), tam, iterations=3, outer_lr=1e-4, batch_size=80)
    assert has(tam, start)
    spread = np.ptp([entry.outer_loss for entry in state.history])
    assert spread < 1e-4 * state.history[0].outer_loss
    np.testing.assert_allclose(state.weights, 0.5, atol=1e-3)


def test_seeds() -> None:
    texts, _ = noisy_examples(80)
    first, again, other = (quick_weights(texts, iterations=2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)
    # From one TAM and with all texts as the outer set, the seed still decides the order of batches.
    one, same, another = (last_state(noisy_set(80), small_tam(), **QUICK, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.weights, same.weights) and not torch.equal(one.weights, another.weights)
    assert one.history[0].outer_loss != pytest.approx(another.history[0].outer_loss, rel=1e-3)


def test_history_and_snapshots() -> None:
    texts, _ = noisy_examples(80)
    learned = quick_weights(texts, iterations=5, snapshots=(0, 2, 5, 9))
    assert sorted(learned.snapshots) == [0, 2, 5]
    assert (learned.snapshots[0] == 0.5).all()
    np.testing.assert_array_equal(learned.snapshots[5], learned.weights)
    np.testing.assert_array_equal(learned.snapshots[2], quick_weights(texts, iterations=2).weights)
    assert [entry.number for entry in learned.history] == [1, 2, 3, 4, 5]
    assert learned.history[-1].mean_weight == pytest.approx(float(learned.weights.mean()))
    assert all(entry.seconds > 0 and 0 <= entry.train_accuracy <= 1 for entry in learned.history)
    # RCE = 4 (1 - p): an untrained TAM starts near 2; it falls as the weights are learned.
    assert 0 < learned.history[-1].outer_loss < learned.history[0].outer_loss < 2.2
    assert "80 samples, 5 iterations" in repr(learned)


def test_divergence_and_impossible_arguments() -> None:
    texts, _ = noisy_examples(40)
    with pytest.raises(Diverged, match="meta-gradient is not finite in iteration 1"):
        quick_weights(texts, outer_loss=lambda z, y: losses.reverse_cross_entropy(z, y) * float("nan"))
    for name in ("iterations", "outer_size", "inner_epochs", "batch_size", "guard_every"):
        options: dict[str, Any] = {name: 0}
        with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
            quick_weights(texts, **options)


# --- the guard --------------------------------------------------------------------------------------------------------


def test_the_guard_is_recorded() -> None:
    texts, _ = noisy_examples(80)
    learned = quick_weights(texts, iterations=5, guard_every=2)
    guards = [entry.guard for entry in learned.history]
    assert [guard is not None for guard in guards] == [True, False, True, False, True]
    assert all(0 < guard < 1e-3 for guard in guards if guard is not None)
    assert all(entry.guard is None for entry in quick_weights(texts, iterations=2, method="dual").history)


def test_the_guard_is_the_error_on_a_sample_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model, train_set, outer_set, weights = trained("lstm")
    direction, _ = outer_gradient(model, outer_set, losses.reverse_cross_entropy)
    exact, off = (directional(model, train_set, direction, method=method) for method in ("dual", "difference"))
    found = meta_gradient(model, train_set, outer_set, weights=weights, guard_seed=0)
    assert found.guard == pytest.approx(error(off, exact.double()), rel=1e-3)  # 60 rows are fewer than its 1,024
    assert not found.inexact
    assert torch.equal(found.values, meta_gradient(model, train_set, outer_set, weights=weights).values)
    monkeypatch.setattr(derivative, "GUARD_ROWS", 10)
    guards = {meta_gradient(model, train_set, outer_set, weights=weights, guard_seed=seed).guard for seed in (0, 0, 1)}
    assert len(guards) == 2


def test_samples_far_from_linear_get_dual_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample with an enormous gradient: the plain difference misses it, ``directional`` does not."""
    model, train_set, outer_set, _ = trained("lstm")
    direction, _ = outer_gradient(model, outer_set, losses.reverse_cross_entropy)
    exact = directional(model, train_set, direction, method="dual")
    moved = exact.abs() * 2 * derivative.RADIUS / derivative._norm(direction)
    plain = derivative._difference(model, train_set, direction, losses.cross_entropy)
    assert torch.equal(directional(model, train_set, direction), plain)  # no sample's loss moves far here
    limit = float(moved.quantile(0.9))
    monkeypatch.setattr(derivative, "FAR", limit)
    mended = directional(model, train_set, direction)
    sure = (moved / limit - 1).abs() > 0.01
    torch.testing.assert_close(mended[(moved > limit) & sure], exact[(moved > limit) & sure], rtol=1e-6, atol=0)
    assert not torch.equal(mended[(moved < limit) & sure], exact[(moved < limit) & sure])


def test_the_guard_is_not_blinded_by_one_large_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """All samples but one are 10 % off, and that one has all of the norm."""
    model, train_set, outer_set, weights = trained("lstm")
    exact = torch.ones(N)
    exact[7] = 1e6
    monkeypatch.setattr(derivative, "directional", lambda *_, **__: exact)
    off = torch.where(exact == 1, 1.1, exact)
    monkeypatch.setattr(derivative, "_difference", lambda *_, **__: off)
    found = meta_gradient(model, train_set, outer_set, weights=weights, method="difference", guard_seed=0)
    assert float((off - exact).norm() / exact.norm()) < 1e-6
    assert found.inexact and found.guard == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("radius", [10.0, 1e60])
def test_an_inexact_difference_gives_way_to_the_dual(monkeypatch: pytest.MonkeyPatch, radius: float) -> None:
    texts, _ = noisy_examples(80)
    exact = quick_weights(texts, method="dual", guard_every=1)
    monkeypatch.setattr(derivative, "RADIUS", radius)
    guarded = quick_weights(texts, guard_every=1)
    guard = guarded.history[0].guard
    assert guard is not None and not guard < 1e-3  # too large, or no number at all
    assert all(entry.guard is None for entry in guarded.history[1:])  # no difference is taken any more
    np.testing.assert_array_equal(guarded.weights, exact.weights)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def interrupted_after(k: int, path: Path, texts: Examples, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with a checkpoint an iteration, and die in iteration k + 1."""
    calls = []
    gradient = derivative.outer_gradient

    def dying(*arguments: object) -> object:
        calls.append(1)
        if len(calls) > k:
            raise KeyboardInterrupt
        return gradient(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(derivative, "outer_gradient", dying)
        patch.setattr("sungen_lib.checkpoint.SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            quick_weights(texts, kind=kind, checkpoint=path, method="difference", guard_every=4, snapshots=(0, 2, 6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, 1, 3])
def test_resuming_gives_the_identical_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, k: int
) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    options: dict[str, Any] = {"method": "difference", "guard_every": 4, "snapshots": (0, 2, 6)}
    whole = quick_weights(texts, kind=kind, **options)
    interrupted_after(k, path, texts, kind, monkeypatch)
    assert path.exists() == (k > 0)
    resumed = quick_weights(texts, kind=kind, checkpoint=path, **options)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    assert resumed.snapshots.keys() == whole.snapshots.keys() == {0, 2, 6}


def test_resuming_keeps_the_snapshots_that_are_asked_for(tmp_path: Path) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    half = quick_weights(texts, checkpoint=path, iterations=3, snapshots=(0, 1))
    resumed = quick_weights(texts, checkpoint=path, iterations=4, snapshots=(0, 3, 4))
    assert resumed.snapshots.keys() == {0, 3, 4} and load_weights(path).snapshots.keys() == {0, 1, 3, 4}
    np.testing.assert_array_equal(resumed.snapshots[3], half.weights)
    with pytest.raises(
        ValueError, match=r"weights\.safetensors has no snapshot of iteration 2; ask for others, or name"
    ):
        quick_weights(texts, checkpoint=path, iterations=4, snapshots=(2, 4))


def test_numpy_s_numbers_can_be_saved(tmp_path: Path) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    settings: dict[str, Any] = {"seed": np.int64(3), "inner_epochs": np.int64(1), "outer_lr": np.float32(0.25)}
    first = quick_weights(texts, checkpoint=path, iterations=2, **settings)
    again = quick_weights(texts, checkpoint=path, iterations=2, seed=3, inner_epochs=1, outer_lr=0.25)
    np.testing.assert_array_equal(again.weights, first.weights)


def test_a_place_that_takes_no_checkpoint_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, _ = noisy_examples(80)
    monkeypatch.setattr(Trainer, "epoch", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/weights\.safetensors cannot be written; name another place"):
        quick_weights(texts, checkpoint=tmp_path / "file" / "weights.safetensors")


def test_a_finished_checkpoint_can_be_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    made = quick_weights(texts, checkpoint=path, iterations=2)
    monkeypatch.setattr("sungen_lib.checkpoint.writable", lambda folder: False)
    np.testing.assert_array_equal(quick_weights(texts, checkpoint=path, iterations=2).weights, made.weights)
    with pytest.raises(OSError, match="cannot be written"):
        quick_weights(texts, checkpoint=path, iterations=3)


def test_an_error_of_the_system_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    quick_weights(texts, checkpoint=path, iterations=1)

    def busy(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("sungen_lib.checkpoint.safe_open", busy)
        with pytest.raises(OSError, match="Too many open files"):
            unless_damaged(load_weights, path)
    assert load_weights(path).weights.shape == (80,) and list(tmp_path.iterdir()) == [path]


def test_the_dual_numbers_stay_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    monkeypatch.setattr(derivative, "RADIUS", 10.0)
    quick_weights(texts, checkpoint=path, iterations=1)
    resumed = quick_weights(texts, checkpoint=path)
    np.testing.assert_array_equal(resumed.weights, quick_weights(texts, method="dual").weights)


def test_snapshots_survive_and_a_finished_run_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    whole = quick_weights(texts, checkpoint=path, snapshots=(0, 2, 6))
    monkeypatch.setattr(Trainer, "epoch", None)  # nothing is computed again
    again = quick_weights(texts, checkpoint=path, snapshots=(0, 2, 6))
    loaded = load_weights(path)
    for other in (again, loaded):
        np.testing.assert_array_equal(other.weights, whole.weights)
        assert other.history == whole.history
        assert sorted(other.snapshots) == [0, 2, 6]
        for number, weights in whole.snapshots.items():
            np.testing.assert_array_equal(other.snapshots[number], weights)


def test_more_iterations_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    texts, _ = noisy_examples(80)
    path = tmp_path / "weights.safetensors"
    quick_weights(texts, checkpoint=path, iterations=3)
    np.testing.assert_array_equal(quick_weights(texts, checkpoint=path).weights, quick_weights(texts).weights)
    with pytest.raises(ValueError, match="holds 6 iterations"):
        quick_weights(texts, checkpoint=path, iterations=3)


def test_an_older_checkpoint_goes_on(tmp_path: Path) -> None:
    """Its header, as ever since the first release: an option beyond the paper is named only where it is used."""
    texts, _ = noisy_examples(40)
    path = tmp_path / "weights.safetensors"
    quick_weights(texts, checkpoint=path, iterations=2)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    assert about["identity"] == {
        "seed": 0,
        "outer_lr": 0.25,
        "inner_epochs": 3,
        "inner_lr": 0.01,
        "batch_size": 16,
        "precision": "float32",
        "method": "difference",
        "guard_every": 10,
        "outer_loss": 1.075766,
        "digest": "365db6b82908d06c",
    }
    assert sorted(about) == ["eps", "history", "identity", "inexact"]
    assert sorted(tensors) == ["first", "scores", "second", "snapshot.0"]
    save_file(tensors, path, {"about": json.dumps(about)})  # the first checkpoints had no checksum
    np.testing.assert_array_equal(quick_weights(texts, checkpoint=path).weights, quick_weights(texts).weights)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"outer_lr": 0.1},
        {"inner_lr": 0.02},
        {"inner_epochs": 1},
        {"batch_size": 8},
        {"method": "dual"},
        {"outer_size": 20},
        {"outer_loss": losses.mean_absolute_error},
        {"precision": "bf16"},
        {"guard_every": 3},
        {"initialisations": 2},
        {"balanced": True},
    ],
    ids=lambda other: next(iter(other)),  # a function's repr differs between xdist's workers
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    texts, _ = noisy_examples(40)
    path = tmp_path / "weights.safetensors"
    quick_weights(texts, checkpoint=path, iterations=1)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="belongs to another run"):
        quick_weights(texts, checkpoint=path, **other)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("tam", "other"),
    [(TamConfig("bag", embedding=8, dropout=0.5), {"dropout": 0.0}), (SMALL["encoder"], {"heads": 4})],
)
def test_so_is_that_of_a_tam_whose_parameters_are_the_same(
    tam: TamConfig, other: dict[str, Any], tmp_path: Path
) -> None:
    texts, path = noisy_examples(40)[0], tmp_path / "weights.safetensors"
    learn_weights(texts, tam=tam, checkpoint=path, **(QUICK | {"iterations": 1}))
    with pytest.raises(ValueError, match="belongs to another run"):
        learn_weights(texts, tam=replace(tam, **other), checkpoint=path, **QUICK)


def test_an_outer_loss_is_known_by_its_values_for_every_label(tmp_path: Path) -> None:
    """Also one with a weight for each of three classes, which two logits would not fit."""
    texts, path = keyword_examples(45, classes=3), tmp_path / "weights.safetensors"

    def weighted(last: float) -> losses.Loss:
        return partial(F.cross_entropy, weight=torch.tensor([1.0, 1.0, last]), reduction="none")

    whole = quick_weights(texts, outer_loss=weighted(2.0)).weights
    quick_weights(texts, outer_loss=weighted(2.0), checkpoint=path, iterations=2)
    np.testing.assert_array_equal(quick_weights(texts, outer_loss=weighted(2.0), checkpoint=path).weights, whole)
    with pytest.raises(ValueError, match="belongs to another run"):
        quick_weights(texts, outer_loss=weighted(3.0), checkpoint=path)


def test_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be a whole number from 0 on, got -1"):
        quick_weights(keyword_examples(20), seed=-1)


def test_a_loss_that_is_not_finite_says_in_which_iteration_and_inner_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, take_step, steps = noisy_examples(48)[0], Trainer.take_step, []

    def failing(trainer: Trainer, rows: Tensor, width: int) -> None:
        take_step(trainer, rows, width)
        steps.append(width)
        if len(steps) == 15:  # three steps an epoch, three epochs an iteration
            trainer.totals += float("nan")

    monkeypatch.setattr(Trainer, "take_step", failing)
    with pytest.raises(Diverged, match=r"the training loss is nan in epoch 2 of the inner loop, iteration 2$"):
        quick_weights(texts)


@pytest.mark.parametrize(
    ("on", "remedies"),
    [
        ({}, "raise inner_epochs, or set balanced=True or centred=True (--centred)"),
        ({"balanced": True}, "raise inner_epochs, or set centred=True (--centred)"),
        ({"balanced": True, "centred": True}, "raise inner_epochs"),
    ],
)
def test_a_setting_that_is_on_is_no_remedy(on: dict[str, Any], remedies: str) -> None:
    data = keyword_set(4).with_labels(np.array([0, 0, 1, 1]))
    with pytest.raises(Diverged, match=f"{re.escape(remedies)}$"):
        reweight._refuse_collapse(torch.tensor([0.9, 0.9, 0.01, 0.01]), data, 7, Bilevel(**on))


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    texts, _ = noisy_examples(40)
    path = tmp_path / "weights.safetensors"
    quick_weights(texts, checkpoint=path, iterations=1)
    for changed in (noisy_examples(44)[0], noisy_examples(40, seed=1)[0], texts.with_labels(1 - texts.labels)):
        with pytest.raises(ValueError, match="belongs to another run"):
            quick_weights(changed, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run"):
        quick_weights(texts, checkpoint=path, outer_set=texts.select(np.arange(20)))
    with pytest.raises(ValueError, match="belongs to another run"):
        learn_weights(texts, tam=replace(SMALL["lstm"], hidden=9), checkpoint=path, **QUICK)


def test_labels_of_an_outer_set_are_followed_by_name() -> None:
    texts, _ = noisy_examples(40)
    reversed_names = replace(texts, labels=1 - texts.labels, label_names=texts.label_names[::-1])
    first, second = (quick_weights(texts, outer_set=outer).weights for outer in (texts, reversed_names))
    np.testing.assert_array_equal(first, second)
    for outer, why in (
        (replace(texts, label_names=(*texts.label_names, "third")), "outer_set: label 'third' is none of the training"),
        (replace(texts, pairs=texts.texts), "outer_set: pairs go with pairs only"),
    ):
        with pytest.raises(ValueError, match=why):
            quick_weights(texts, outer_set=outer)


def test_a_tam_of_other_initial_parameters_is_another_run() -> None:
    train_set, settings = noisy_set(40), Bilevel(**QUICK)
    first, again, other = (
        identity_of(TamConfig(), settings, train_set, None, [small_tam(seed=seed)], seed=0) for seed in (0, 0, 1)
    )
    assert first == again and first["digest"] != other["digest"]


def test_the_outer_rate_is_chosen_by_the_outer_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates whose outer losses are known: the lowest end wins, wherever it began."""
    losses_of = {0.25: [1.0, 0.5, 3.0, 3.0, 3.0], 0.1: [4.0, 3.0, 1.0, 1.1, 0.9], 0.01: [1.0, 1.0, 1.0, 1.2, 1.2]}

    def known(texts: Examples, *, outer_lr: float, iterations: int, **settings: object) -> LearnedWeights:
        assert iterations == 5 and settings == {"snapshots": (), "seed": 3}
        history = [Iteration(i, value, 0.5, 0.5, 0.0) for i, value in enumerate(losses_of[outer_lr], start=1)]
        return LearnedWeights(np.ones(1), {}, history)

    monkeypatch.setattr(learn, "learn_weights", known)
    assert choose_outer_lr(keyword_examples(4), tuple(losses_of), pilot=5, seed=3) == 0.1


def test_choosing_the_outer_rate_changes_nothing_that_follows() -> None:
    texts = keyword_examples(64)
    options: dict[str, Any] = {"tam": TamConfig(embedding=8, hidden=6), "outer_size": 32}
    before = learn_weights(texts, iterations=2, outer_lr=0.01, **options).weights
    rate = choose_outer_lr(texts, (0.25, 0.01), pilot=2, **options)
    assert rate in (0.25, 0.01) and rate == choose_outer_lr(texts, (0.25, 0.01), pilot=2, **options)
    np.testing.assert_array_equal(learn_weights(texts, iterations=2, outer_lr=0.01, **options).weights, before)


@pytest.mark.parametrize(
    ("labels", "values", "reason"),
    [
        ([0, 0, 1, 1], [0.009, 0.001, 0.01, 0.01], "all weights are close to 0"),
        ([0, 0, 1, 1], [0.9, 0.9, 0.08, 0.09], "only one class has weights left"),
        ([2, 0, 1, 1], [0.9, 0.0, 0.0, 0.0], "only one class has weights left"),
    ],
)
def test_collapse_is_an_outcome(labels: list[int], values: list[float], reason: str) -> None:
    data = replace(keyword_set(4).with_labels(np.array(labels)), classes=3)
    with pytest.raises(Diverged, match=f"{reason} after iteration 7"):
        reweight._refuse_collapse(torch.tensor(values), data, 7, Bilevel())
    far_from_even = torch.tensor([0.5, 0.08, 0.08, 0.08])
    reweight._refuse_collapse(far_from_even, data, 7, Bilevel())  # and yet no collapse


def test_equal_weights_are_a_collapse_but_not_after_the_first_step() -> None:
    data = keyword_set(4)
    for value in (0.3, 0.999999):
        reweight._refuse_collapse(torch.full((4,), value), data, 1, Bilevel())
        with pytest.raises(Diverged, match="all weights are equal after iteration 2"):
            reweight._refuse_collapse(torch.full((4,), value), data, 2, Bilevel())
    reweight._refuse_collapse(torch.tensor([0.5, 0.5, 0.5, 0.50001]), data, 2, Bilevel())
    with pytest.raises(Diverged, match="all weights are equal after iteration 2"):
        learn_weights(noisy_examples(40)[0], tam=SMALL["lstm"], iterations=3, outer_lr=0.0)


def test_a_rare_class_is_no_collapse() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    labels[:2] = 1
    reweight._refuse_collapse(torch.full((1000,), 0.5), keyword_set(1000).with_labels(labels), 1, Bilevel())


def test_weights_that_nothing_moves_are_an_outcome() -> None:
    texts, _ = noisy_examples(40)
    with pytest.raises(Diverged, match="the meta-gradient is 0 for every sample in iteration 1"):
        learn_weights(texts, tam=SMALL["lstm"], iterations=2, outer_loss=lambda logits, labels: 0 * logits.sum(-1))


@pytest.mark.parametrize("content", [b"", b"junk", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", None])
def test_a_checkpoint_that_is_none_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if content is None:
        save_file({"scores": torch.zeros(4)}, path)  # somebody else's file
    else:
        path.write_bytes(content)
    for use in (lambda: load_weights(path), lambda: quick_weights(keyword_examples(8), checkpoint=path)):
        with pytest.raises(ValueError, match=r"weights.safetensors is no checkpoint .*; name another"):
            use()


def test_a_rate_that_diverges_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(texts: Examples, *, outer_lr: float, **settings: object) -> LearnedWeights:
        if outer_lr > 0.05:
            raise Diverged("all weights are close to 0 after iteration 3")
        return LearnedWeights(np.ones(1), {}, [Iteration(1, 2.0, 0.5, 0.5, 0.0)])

    monkeypatch.setattr(learn, "learn_weights", known)
    assert choose_outer_lr(keyword_examples(4), (0.25, 0.1, 0.01)) == 0.01
    with pytest.raises(Diverged, match=r"every outer rate of 0\.25, 0\.1 diverges: all weights are close to 0"):
        choose_outer_lr(keyword_examples(4), (0.25, 0.1))


def test_a_model_is_put_back_also_where_weights_diverge() -> None:
    model = small_tam()
    before = parameters_of(model)
    with pytest.raises(Diverged):
        last_state(keyword_set(40), model, iterations=3, outer_loss=lambda logits, labels: 0 * logits.sum(-1))
    assert has(model, before)


def test_a_model_is_put_back_also_where_the_iterations_are_left() -> None:
    models = [small_tam(seed=seed) for seed in (0, 1)]
    before = [parameters_of(model) for model in models]
    run = iterations(noisy_set(40), models, Bilevel(**QUICK))
    assert next(run).done == 1 and not has(models[0], before[0])  # as the inner loop has trained it
    assert next(run).done == 2 and not has(models[1], before[1])
    assert isinstance(run, Generator)
    run.close()
    assert has(models[0], before[0]) and has(models[1], before[1])
