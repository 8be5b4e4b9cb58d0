"""Loss surfaces: normalisation row by row, values and slopes by hand, parameters restored to the bit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sungen_lib.encode import Batch, Encoded, Vocabulary, encode
from sungen_lib.lab.landscape import plateau_share, random_direction, ring_slopes, surface
from sungen_lib.losses import LOSSES, reverse_cross_entropy
from sungen_lib.models import BiLSTM, TamConfig
from sungen_lib.texts.examples import Examples


@pytest.fixture
def data() -> Encoded:
    texts = ["good film", "bad film indeed", "a fine plot", "bad", "good good plot", "a dull film"]
    examples_ = Examples.of(texts, [1, 0, 1, 0, 1, 0], ("negative", "positive"))
    return encode(examples_, Vocabulary.build(examples_))


def lstm(data: Encoded) -> BiLSTM:
    torch.manual_seed(3)
    return BiLSTM(int(data.flat.max()) + 1, 2, embedding=5, hidden=4)


class BagOfWords(nn.Module):
    """Logits a mean over word rows plus a bias: small enough to be computed by hand."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Parameter(torch.randn(vocabulary, 2))
        self.bias = nn.Parameter(torch.randn(2))
        self.forwards = 0

    def forward(self, batch: Batch) -> Tensor:
        self.forwards += 1
        inside = (torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]).to(self.words)
        return (self.words[batch.tokens] * inside[..., None]).sum(1) / batch.lengths[:, None] + self.bias


def test_direction_has_the_row_norms_of_the_model(data: Encoded) -> None:
    model = lstm(data)
    with torch.no_grad():
        model.embedding.weight[0] = 0.0  # a row of zeros stays one
    direction = random_direction(model, seed=0)
    assert set(direction) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert not direction[name].any(), name
        else:
            for row, original in zip(direction[name], parameter, strict=True):
                assert row.norm().item() == pytest.approx(original.norm().item(), rel=1e-6), name
    assert not direction["embedding.weight"][0].any()


def test_directions_of_two_seeds_are_nearly_orthogonal_and_of_one_seed_equal() -> None:
    model = BiLSTM(500, 2, embedding=20, hidden=20)
    first, again, second = (random_direction(model, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    one, other = (torch.cat([d.flatten() for d in direction.values()]) for direction in (first, second))
    assert abs(torch.nn.functional.cosine_similarity(one, other, dim=0)) < 0.05


def test_direction_leaves_the_global_random_state_alone(data: Encoded) -> None:
    model = lstm(data)
    before = torch.get_rng_state()
    random_direction(model, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_surface_equals_the_loss_by_hand(data: Encoded) -> None:
    model = BagOfWords(int(data.flat.max()) + 1)
    directions = (random_direction(model, seed=0), random_direction(model, seed=1))
    surfaces = surface(model, data, LOSSES, directions, span=0.5, points=5)
    assert model.forwards == 25  # one forward pass a point, whatever the number of losses
    words, bias = (p.detach().double().numpy() for p in (model.words, model.bias))
    first, second = (d["words"].double().numpy() for d in directions)
    for i, alpha in enumerate([-0.5, -0.25, 0.0, 0.25, 0.5]):
        for j, beta in enumerate([-0.5, -0.25, 0.0, 0.25, 0.5]):
            moved = words + alpha * first + beta * second
            logits = np.stack([moved[data.batch(np.array([n])).tokens[0].numpy()].mean(0) + bias for n in range(6)])
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            p_label = p[np.arange(6), data.labels.numpy()]
            assert surfaces["ce"][i, j] == pytest.approx(-np.log(p_label).mean(), rel=1e-5)
            assert surfaces["rce"][i, j] == pytest.approx(4 * (1 - p_label).mean(), rel=1e-5)
    np.testing.assert_allclose(surfaces["rce"], 2 * surfaces["mae"], rtol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "distilbert"])
def test_parameters_are_restored_to_the_bit(data: Encoded, kind: str) -> None:
    vocabulary = Vocabulary([f"w{i}" for i in range(20)])
    model = TamConfig(kind, embedding=4, hidden=4, max_length=16).build(vocabulary, 2, seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    directions = (random_direction(model, seed=0), random_direction(model, seed=1))
    surfaces = surface(model, data, {"rce": reverse_cross_entropy}, directions, points=3)
    assert np.ptp(surfaces["rce"]) > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        surface(model, data, {"broken": broken}, directions, points=3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("points", [1, 4])
def test_points_must_be_odd(data: Encoded, points: int) -> None:
    model = lstm(data)
    directions = (random_direction(model, seed=0), random_direction(model, seed=1))
    with pytest.raises(ValueError, match=f"odd and at least 3, got {points}"):
        surface(model, data, LOSSES, directions, points=points)


def test_plateau_share_counts_the_points_near_the_top() -> None:
    values = np.array([[2.0, 1.91, 1.9], [1.89, 0.0, 0.5], [2.0, 1.0, 1.95]])
    assert plateau_share(values) == pytest.approx(5 / 9)
    assert plateau_share(values, within=0.5) == pytest.approx(7 / 9)
    assert plateau_share(np.full((3, 3), 0.7)) == 1.0


def test_ring_slopes_of_a_plane_are_its_gradient() -> None:
    alpha, beta = np.meshgrid(*2 * [2.0 * np.linspace(-1, 1, 9)], indexing="ij")
    np.testing.assert_allclose(ring_slopes(3 * alpha - 4 * beta + 7, span=2.0), np.full(4, 5.0), rtol=1e-12)


def test_a_bowl_is_twice_as_steep_at_its_edge_as_half_way() -> None:
    """On the grid of a ring the slope is the distance from the middle; so all rings have the innermost one's shape."""
    alpha, beta = np.meshgrid(*2 * [np.linspace(-1, 1, 13)], indexing="ij")
    slopes = ring_slopes((alpha**2 + beta**2) / 2, span=1.0)
    corner_ring = [np.hypot(1, j / 6) for j in range(-6, 7)]  # one side of the outermost square, corners included
    assert slopes[-1] == pytest.approx((2 * sum(corner_ring) + 2 * sum(corner_ring[1:-1])) / 48)
    assert slopes[-1] / slopes[2] == pytest.approx(2, rel=0.01)  # a ring of fewer points has another share of corners


def test_ring_slopes_go_outwards_and_vanish_on_a_plateau() -> None:
    alpha, beta = np.meshgrid(*2 * [np.linspace(-1, 1, 11)], indexing="ij")
    well = np.minimum(np.maximum(abs(alpha), abs(beta)), 0.6)  # a square funnel of slope 1 with a flat rim
    slopes = ring_slopes(well, span=1.0)
    assert slopes.shape == (5,)
    assert slopes[1] == pytest.approx((12 * 1.0 + 4 * np.sqrt(0.5)) / 16)  # differences halve along a diagonal
    assert slopes[4] == 0.0
