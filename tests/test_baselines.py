"""Each baseline against its definition: values by hand, float64 double backward, a property its paper promises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import KEYWORDS, keyword_examples, keyword_set, keyword_vocabulary
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from sungen_lib import train
from sungen_lib.baselines import cleanlab, confidence, coteaching, meta_weight_net, temporal_ensembling, tfidf_logreg
from sungen_lib.encode import Encoded
from sungen_lib.models import BiLSTM, TamConfig
from sungen_lib.texts import data_folder
from sungen_lib.texts.examples import Examples
from sungen_lib.train import Epoch, fit, predict


def model(seed: int = 0) -> BiLSTM:
    torch.manual_seed(seed)
    return BiLSTM(len(keyword_vocabulary()), 2, embedding=6, hidden=5)


def flipped(labels: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Binary labels with exactly ``share`` of them flipped, and the mask of those."""
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[np.random.default_rng(seed).permutation(len(labels))[: round(share * len(labels))]] = True
    return np.where(wrong, 1 - labels, labels), wrong


def noisy_examples(n: int, share: float) -> tuple[Examples, np.ndarray]:
    clean = keyword_examples(n)
    labels, wrong = flipped(clean.labels, share)
    return clean.with_labels(labels), wrong


def noisy_set(n: int, share: float) -> tuple[Encoded, np.ndarray]:
    clean = keyword_set(n)
    labels, wrong = flipped(clean.labels.numpy(), share)
    return clean.with_labels(labels), wrong


def state(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def gradient(network: torch.nn.Module) -> Tensor:
    """What the last backward pass left."""
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])


# --- confidence -------------------------------------------------------------------------------------------------------


def test_confidence_and_variability_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    train_set = keyword_set(2).with_labels(np.array([0, 1]))
    # The probability of label 0 after each of three epochs: the given label's for the first sample only.
    course: Iterator[list[float]] = iter([[0.9, 0.5], [0.6, 0.5], [0.3, 0.5]])
    monkeypatch.setattr(
        train, "predict", lambda *_: torch.tensor([[math.log(p), math.log(1 - p)] for p in next(course)])
    )
    result = confidence.cartography(model(), train_set, epochs=3)
    np.testing.assert_allclose(result.confidence, [0.6, 0.5], rtol=1e-6)
    np.testing.assert_allclose(result.variability, [math.sqrt(0.06), 0.0], atol=1e-6)


def test_confidence_is_measured_at_the_end_of_each_epoch() -> None:
    train_set, _ = noisy_set(96, 0.2)
    settings = {"lr": 0.02, "batch_size": 16, "seed": 3}
    course = []
    for epochs in (1, 2, 3):
        tam = model()
        fit(tam, train_set, epochs=epochs, **settings)
        softmax = predict(tam, train_set).double().softmax(-1).numpy()
        course.append(softmax[np.arange(96), train_set.labels.numpy()])
    result = confidence.cartography(model(), train_set, epochs=3, lr=0.02, batch_size=16, seed=3)
    assert np.std(course, axis=0).max() > 0.05  # the epochs differ: measuring one thrice would show
    np.testing.assert_allclose(result.confidence, np.mean(course, axis=0), atol=1e-6)
    np.testing.assert_allclose(result.variability, np.std(course, axis=0), atol=1e-6)


def test_confidence_is_low_where_labels_are_wrong() -> None:
    train_set, wrong = noisy_set(300, 0.2)
    result = confidence.cartography(model(), train_set, lr=0.02)
    assert roc_auc_score(~wrong, result.confidence) > 0.9


def test_confidence_needs_an_epoch() -> None:
    with pytest.raises(ValueError, match="epochs must be positive"):
        confidence.cartography(model(), keyword_set(4), epochs=0)


# --- Co-teaching ------------------------------------------------------------------------------------------------------


def test_remember_rate_by_hand() -> None:
    rates = [coteaching.remember_rate(t, forget_rate=0.3, ramp_epochs=3) for t in range(5)]
    assert rates == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.7])


@given(
    losses=st.lists(st.floats(0, 10, width=32), min_size=1, max_size=40),
    tenths=st.integers(0, 9),
)
def test_small_loss_keeps_exactly_its_share(losses: list[float], tenths: int) -> None:
    values = torch.tensor(losses)
    kept = coteaching.small_loss(values, torch.tensor(1 - tenths / 10, dtype=torch.float64))
    assert int(kept.sum()) == -(-(10 - tenths) * len(losses) // 10)  # the ceiling, in integers
    if not kept.all():
        assert values[kept].max() <= values[~kept].min()


def test_each_network_learns_from_what_the_other_keeps() -> None:
    """The gradient of one step against the definition: mean cross-entropy over the other's k smallest losses."""
    train_set, _ = noisy_set(10, 0.3)
    networks, references = (model(1), model(2)), (model(1), model(2))
    trainer = coteaching.CoTrainer(*networks, train_set, lr=0.01, batch_size=10, precision="float32")
    trainer.share.fill_(0.7)
    trainer.step(torch.arange(10), int(train_set.sizes.max()))

    batch = train_set.batch(np.arange(10))
    kept = []
    for network in references:
        losses = [F.cross_entropy(z, y).item() for z, y in zip(network(batch), batch.labels, strict=True)]
        kept.append(sorted(range(10), key=losses.__getitem__)[:7])
    assert set(kept[0]) != set(kept[1])  # else no test could tell whether they were exchanged
    for network, reference, rows in zip(networks, references, kept[::-1], strict=True):
        F.cross_entropy(reference(batch)[rows], batch.labels[rows]).backward()
        torch.testing.assert_close(gradient(network), gradient(reference))


def test_coteaching_that_forgets_nothing_is_two_ordinary_trainings() -> None:
    train_set, _ = noisy_set(64, 0.2)
    networks, references = (model(1), model(2)), (model(1), model(2))
    history = coteaching.train(*networks, train_set, forget_rate=0.0, epochs=2, batch_size=16, seed=5)
    curves = [fit(reference, train_set, epochs=2, batch_size=16, seed=5) for reference in references]
    for network, reference in zip(networks, references, strict=True):
        torch.testing.assert_close(state(network), state(reference), rtol=0, atol=1e-4)
    for epoch, first, second in zip(history, *curves, strict=True):
        assert epoch.loss == pytest.approx((first.loss + second.loss) / 2, abs=1e-4)
        assert epoch.accuracy == pytest.approx((first.accuracy + second.accuracy) / 2, abs=0.02)


def test_coteaching_keeps_everything_in_the_first_epoch_only() -> None:
    train_set, _ = noisy_set(64, 0.2)

    def trained(forget_rate: float, epochs: int) -> Tensor:
        first = model(1)
        coteaching.train(first, model(2), train_set, forget_rate=forget_rate, ramp_epochs=1, epochs=epochs)
        return state(first)

    assert torch.equal(trained(0.5, 1), trained(0.0, 1))
    assert torch.equal(trained(0.5, 2), trained(0.5, 2))
    assert not torch.allclose(trained(0.5, 2), trained(0.0, 2), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_estimated_noise_rate(share: float) -> None:
    noisy, _ = noisy_examples(500, share)
    assert share <= tfidf_logreg.noise_rate(noisy) <= share + 0.05  # never below: it adds the model's mistakes


@pytest.mark.parametrize(("forget_rate", "ramp_epochs"), [(-0.1, 2), (1.0, 2), (0.2, 0)])
def test_coteaching_refuses(forget_rate: float, ramp_epochs: int) -> None:
    with pytest.raises(ValueError, match="forget_rate"):
        coteaching.train(model(1), model(2), keyword_set(4), forget_rate=forget_rate, ramp_epochs=ramp_epochs)


# --- Meta-Weight-Net --------------------------------------------------------------------------------------------------


def weight_net(dtype: torch.dtype = torch.float32) -> meta_weight_net.WeightNet:
    torch.manual_seed(7)
    return meta_weight_net.WeightNet().to(dtype)


def meta_trainer(
    tam: BiLSTM, train_set: Encoded, *, meta_lr: float, lr: float, batch_size: int
) -> meta_weight_net.MetaTrainer:
    return meta_weight_net.MetaTrainer(
        tam,
        train_set,
        keyword_set(64, seed=1),
        meta_lr=meta_lr,
        alpha=0.1,
        method="dual",
        seed=0,
        lr=lr,
        batch_size=batch_size,
        precision="float32",
    )


@pytest.mark.parametrize(("method", "tolerance"), [("dual", 1e-9), ("difference", 1e-4)])
def test_meta_gradient_is_that_of_the_definition(method: str, tolerance: float) -> None:
    """Against double backward in float64, through the looked-ahead parameters of the paper's Eqn. 3."""
    tam, net, alpha = model().double(), weight_net(torch.float64), 0.5
    train_set, meta_set = noisy_set(12, 0.3)[0], keyword_set(9, seed=1)
    before = state(tam)
    ours = meta_weight_net.meta_gradient(net, tam, train_set, meta_set, alpha=alpha, method=method)
    assert torch.equal(state(tam), before)

    batch, meta_batch = train_set.batch(np.arange(12)), meta_set.batch(np.arange(9))
    parameters = dict(tam.named_parameters())
    with torch.backends.mkldnn.flags(enabled=False):  # the fused LSTM cannot be differentiated twice
        losses = F.cross_entropy(tam(batch), batch.labels, reduction="none")
        weighted = (net(losses.detach()) * losses).mean()
        descent = torch.autograd.grad(weighted, list(parameters.values()), create_graph=True)
        ahead = {n: p - alpha * g for (n, p), g in zip(parameters.items(), descent, strict=True)}
        logits = torch.func.functional_call(tam, ahead, (meta_batch,))
        expected = torch.autograd.grad(F.cross_entropy(logits, meta_batch.labels), list(net.parameters()))
    assert max(float(value.abs().max()) for value in expected) > 1e-6
    for value, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=tolerance, atol=tolerance * float(reference.abs().max()))


def test_weight_net_is_the_papers() -> None:
    net = weight_net()
    assert [tuple(p.shape) for p in net.parameters()] == [(100, 1), (100,), (1, 100), (1,)]
    losses = torch.tensor([0.0, 0.7, 5.0])
    first, first_bias, second, second_bias = (p.detach().numpy() for p in net.parameters())
    hidden = np.maximum(losses.numpy()[:, None] @ first.T + first_bias, 0)
    expected = 1 / (1 + np.exp(-(hidden @ second.T + second_bias)))[:, 0]
    np.testing.assert_allclose(net(losses).detach().numpy(), expected, rtol=1e-5)


def test_clean_meta_data_teach_to_distrust_large_losses() -> None:
    """Shu et al.'s Figure 3: with wrong labels about, V falls as the loss rises.

    The model has learned the clean task before, so that the wrong labels are the large losses from the start.
    """
    tam, (train_set, wrong) = model(), noisy_set(320, 0.3)
    fit(tam, keyword_set(320, seed=2), epochs=4, lr=0.02)
    trainer = meta_trainer(tam, train_set, meta_lr=0.01, lr=1e-3, batch_size=32)
    for number in (1, 2):
        trainer.epoch(number)
    small, large = trainer.net(torch.tensor([0.1, 3.0])).tolist()
    assert small > large + 0.1
    assert roc_auc_score(~wrong, trainer.weights.numpy()) > 0.9


def test_the_real_step_uses_the_updated_weights() -> None:
    train_set, _ = noisy_set(8, 0.25)
    tam, reference = model(), model()
    trainer = meta_trainer(tam, train_set, meta_lr=0.5, lr=0.01, batch_size=8)
    initial, gradients = state(trainer.net), []
    trainer.optimizer.register_step_pre_hook(lambda *_: gradients.append(gradient(tam)))
    trainer.step(torch.arange(8), int(train_set.sizes.max()))
    assert not torch.allclose(state(trainer.net), initial)
    batch = train_set.batch(np.arange(8))
    losses = F.cross_entropy(reference(batch), batch.labels, reduction="none")
    weights = trainer.net(losses.detach()).detach()
    torch.testing.assert_close(trainer.weights, weights)
    (weights * losses).mean().backward()
    torch.testing.assert_close(gradients, [gradient(reference)])


def test_meta_weight_net_repeats_itself() -> None:
    train_set, meta_set = noisy_set(48, 0.3)[0], keyword_set(40, seed=1)

    def trained(seed: int) -> Tensor:
        tam = model()
        history, weights = meta_weight_net.train(tam, train_set, meta_set, epochs=2, seed=seed)
        assert weights.shape == (48,) and 0 < weights.min() < weights.max() < 1
        assert [epoch.number for epoch in history] == [1, 2]
        return state(tam)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_the_real_step_keeps_dropout() -> None:
    """The lookahead turns an encoder's dropout off; the step that counts must have it again."""
    train_set = keyword_set(8, start=True)
    tokenizer = keyword_vocabulary(start=True)
    tam = TamConfig(kind="distilbert", hidden=8, layers=1, heads=1).build(tokenizer, 2, seed=0)
    modes = []
    tam.register_forward_hook(lambda module, *_: modes.append(module.training))
    meta_weight_net.train(tam, train_set, train_set, epochs=1, batch_size=4)
    assert len(modes) >= 2 and modes[-1]
    assert modes.count(True) == 2  # one real step a batch, and nothing else with dropout


def test_meta_weight_net_needs_a_meta_set() -> None:
    with pytest.raises(ValueError, match="meta set is empty"):
        meta_weight_net.train(model(), keyword_set(4), keyword_set(4).select(np.arange(0)))


# --- temporal ensembling ----------------------------------------------------------------------------------------------


def test_unsupervised_weight_by_hand() -> None:
    weights = [temporal_ensembling.unsupervised_weight(t, max_weight=30.0, ramp_epochs=2) for t in range(4)]
    assert weights == pytest.approx([0.0, 8.5951, 30.0, 30.0], abs=1e-3)  # 30 exp(-5/4) in the middle


def test_targets_after_two_epochs_by_hand() -> None:
    trainer = temporal_ensembling.EnsemblingTrainer(model(), keyword_set(2), lr=0.01, batch_size=2, precision="float32")
    trainer.outputs.copy_(torch.tensor([[0.8, 0.2], [0.1, 0.9]]))
    trainer.accumulate(0.6, finished=1)
    torch.testing.assert_close(trainer.targets, torch.tensor([[0.8, 0.2], [0.1, 0.9]]))  # 0.4 z / (1 - 0.6)
    trainer.outputs.copy_(torch.tensor([[0.5, 0.5], [0.3, 0.7]]))
    trainer.accumulate(0.6, finished=2)
    torch.testing.assert_close(trainer.ensemble, torch.tensor([[0.392, 0.248], [0.144, 0.496]]))
    torch.testing.assert_close(trainer.targets, torch.tensor([[0.6125, 0.3875], [0.225, 0.775]]))  # over 0.64


def test_ensembling_step_is_that_of_the_definition() -> None:
    train_set = keyword_set(6)
    tam, reference = model(), model()
    trainer = temporal_ensembling.EnsemblingTrainer(tam, train_set, lr=0.01, batch_size=4, precision="float32")
    trainer.weight.fill_(30.0)
    trainer.targets.copy_(torch.rand(6, 2, generator=torch.Generator().manual_seed(0)))
    rows = np.array([5, 0, 3, 2])
    batch = train_set.batch(rows)
    z = reference(batch).softmax(-1)
    supervised = -sum(z[i, y].log() for i, y in enumerate(batch.labels.tolist())) / 4
    unsupervised = sum(((z[i] - trainer.targets[row]) ** 2).sum() for i, row in enumerate(rows)) / (2 * 4)  # C |B|
    (supervised + 30.0 * unsupervised).backward()
    trainer.step(torch.as_tensor(rows), int(train_set.sizes.max()))
    torch.testing.assert_close(gradient(tam), gradient(reference))
    torch.testing.assert_close(trainer.outputs[rows], z.detach())
    assert (trainer.outputs[[1, 4]] == 0).all()


def test_ensembling_without_weight_and_in_its_first_epoch_is_ordinary_training() -> None:
    train_set, _ = noisy_set(64, 0.3)
    for epochs, max_weight in ((3, 0.0), (1, 300.0)):
        tam, plain = model(), model()
        temporal_ensembling.train(tam, train_set, max_weight=max_weight, epochs=epochs, lr=0.02, seed=4)
        fit(plain, train_set, epochs=epochs, lr=0.02, seed=4)
        torch.testing.assert_close(state(tam), state(plain), rtol=0, atol=1e-4)


def test_each_epoch_is_held_to_the_ensemble_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the steps of three epochs saw, against Algorithm 2 computed from the outputs they gave."""
    seen: list[tuple[float, np.ndarray, np.ndarray]] = []

    class Spy(temporal_ensembling.EnsemblingTrainer):
        def epoch(self, seed: int, *, number: int = 1) -> Epoch:
            held_to = self.targets.double().numpy()
            result = super().epoch(seed, number=number)
            seen.append((float(self.weight), held_to, self.outputs.double().numpy()))
            return result

    monkeypatch.setattr(temporal_ensembling, "EnsemblingTrainer", Spy)
    temporal_ensembling.train(model(), noisy_set(64, 0.3)[0], epochs=3, lr=0.02)
    assert [weight for weight, _, _ in seen] == pytest.approx([0.0, 8.5951, 30.0], abs=1e-3)
    first, second = seen[0][2], seen[1][2]
    assert np.abs(second - first).max() > 0.01
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-6)  # probabilities, of every sample
    np.testing.assert_allclose(seen[1][1], first, atol=1e-6)
    np.testing.assert_allclose(seen[2][1], (0.6 * 0.4 * first + 0.4 * second) / (1 - 0.6**2), atol=1e-6)


@pytest.mark.parametrize("wrong", [{"alpha": 1.0}, {"max_weight": -1.0}, {"ramp_epochs": 0}])
def test_ensembling_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need 0 <= alpha"):
        temporal_ensembling.train(model(), keyword_set(4), **wrong)  # type: ignore[arg-type]


# --- TF-IDF and logistic regression -----------------------------------------------------------------------------------


def test_tfidf_by_hand() -> None:
    train = Examples.of(["good good film", "bad film"], [1, 0], KEYWORDS[:2])
    pipeline = tfidf_logreg.fit(train)
    terms, row = pipeline[0].vocabulary_, pipeline[0].transform(["good good film"]).toarray()[0]
    assert set(terms) == {"good", "film", "bad", "good good", "good film", "bad film"}
    rare, common = math.log(3 / 2) + 1, math.log(3 / 3) + 1  # ln((1 + n) / (1 + df)) + 1
    expected = {"good": (1 + math.log(2)) * rare, "film": common, "good good": rare, "good film": rare}
    norm = math.sqrt(sum(value**2 for value in expected.values()))
    assert {term: row[terms[term]] for term in expected} == pytest.approx({k: v / norm for k, v in expected.items()})


def test_linear_model_reads_weights_and_second_texts() -> None:
    contradictory = Examples.of(["same words"] * 4, [0, 0, 0, 1], KEYWORDS[:2])
    assert tfidf_logreg.predict(tfidf_logreg.fit(contradictory), contradictory).tolist() == [0] * 4
    weighted = tfidf_logreg.fit(contradictory, sample_weight=np.array([1.0, 1.0, 1.0, 9.0]))
    assert tfidf_logreg.predict(weighted, contradictory).tolist() == [1] * 4
    pairs = Examples.of(["a text"] * 4, [0, 1, 0, 1], KEYWORDS[:2], ["yes", "no"] * 2)
    assert tfidf_logreg.predict(tfidf_logreg.fit(pairs), pairs).tolist() == [0, 1, 0, 1]


def test_out_of_fold_probabilities_know_nothing_of_their_own_sample() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(100) % 2) * 2  # classes 0 and 2; nobody has label 1
    unique_words = Examples.of([f"only{i} here{i}" for i in range(100)], labels, KEYWORDS[:3])
    assert (tfidf_logreg.predict(tfidf_logreg.fit(unique_words), unique_words) == labels).all()
    probabilities = tfidf_logreg.out_of_fold(unique_words)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities, np.tile([0.5, 0, 0.5], (100, 1)), atol=1e-3)
    with pytest.raises(ValueError, match="the rarest has 50"):
        tfidf_logreg.out_of_fold(unique_words, folds=51)


def test_linear_model_on_real_text(real_data: Path) -> None:
    pool = data_folder.load(real_data, "imdb", "gpt2-xl", "train")
    train = pool.select(np.random.default_rng(0).permutation(len(pool))[:10_000])
    test = data_folder.load(real_data, "sst2", data_folder.GOLD, "test")
    accuracy = (tfidf_logreg.predict(tfidf_logreg.fit(train), test) == test.labels).mean()
    assert accuracy == pytest.approx(0.695, abs=0.01)


# --- cleanlab ---------------------------------------------------------------------------------------------------------


def test_cleanlab_removes_planted_flips() -> None:
    noisy, wrong = noisy_examples(500, 0.2)
    kept = cleanlab.keep(noisy, seed=1)
    assert (np.diff(kept) > 0).all()
    assert wrong[kept].mean() < 0.05  # chance would leave 0.2
    assert len(kept) > 0.7 * len(noisy)  # and not by throwing everything away
    np.testing.assert_array_equal(kept, cleanlab.keep(noisy, seed=1))
