"""Loss surfaces around a trained TAM: ``L(theta + alpha d1 + beta d2)`` (Li et al. 2018; Appendix A.1.2, figure 4)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from torch import Tensor, nn

from sungen_lib.encode import Encoded
from sungen_lib.lab import figures
from sungen_lib.losses import Loss
from sungen_lib.train import predict

Direction = dict[str, Tensor]


def random_direction(model: nn.Module, *, seed: int) -> Direction:
    """A Gaussian direction, filter-normalised: each row as long as the same row of the model's parameter.

    A row is a unit's incoming weights in a linear layer, a gate's in an LSTM, a word's vector in an embedding. Biases
    and normalisation layers (one dimension) get zero, as in the authors' figures (``ignore="biasbn"`` in their code).
    Drawn on the CPU: the same seed gives the same direction on any device. The tensors are on the parameters' device.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
        if parameter.ndim < 2:
            direction[name] = torch.zeros_like(drawn)
        else:
            scale = parameter.detach().flatten(1).norm(dim=1) / drawn.flatten(1).norm(dim=1)
            direction[name] = drawn * scale.reshape(-1, *[1] * (parameter.ndim - 1))
    return direction


def surface(
    model: nn.Module,
    data: Encoded,
    losses: Mapping[str, Loss],
    directions: tuple[Direction, Direction],
    *,
    span: float = 1.0,
    points: int = 21,
) -> dict[str, np.ndarray]:
    """Mean of each loss over ``data`` on a grid of ``points`` x ``points``, all losses from one forward pass per point.

    Entry [i, j] belongs to ``theta + a[i] d1 + a[j] d2``, ``a = span * numpy.linspace(-1, 1, points)``; ``points`` is
    odd, so that the middle is the model itself (else ``ValueError``). Dropout is off. The model is left in evaluation
    mode with its parameters unchanged, to the bit.
    """
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points must be odd and at least 3, got {points}")
    first, second = directions
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    steps = (span * np.linspace(-1.0, 1.0, points)).tolist()
    surfaces = {name: np.empty((points, points)) for name in losses}
    try:
        for (i, alpha), (j, beta) in product(enumerate(steps), enumerate(steps)):
            _set(model, {name: value + alpha * first[name] + beta * second[name] for name, value in start.items()})
            logits = predict(model, data).double()
            for name, loss in losses.items():
                surfaces[name][i, j] = float(loss(logits, data.labels).mean())
    finally:
        _set(model, start)
    return surfaces


def plateau_share(values: np.ndarray, *, within: float = 0.05) -> float:
    """Share of the grid, in (0, 1], whose loss is at most a fraction ``within`` below the largest."""
    return float((values >= (1 - within) * values.max()).mean())


def ring_slopes(values: np.ndarray, *, span: float) -> np.ndarray:
    """(points // 2,) mean slope of a surface (loss per unit of alpha or beta) on the squares around its middle.

    Entry k - 1 belongs to the grid points with ``max(|alpha|, |beta|) = span * k / (points // 2)``. The slope is the
    length of the gradient within the plane, by differences of neighbouring points, of second order up to the edge, so
    that a parabola's is exact. On a plateau it vanishes.
    """
    middle = len(values) // 2
    slopes = np.hypot(*np.gradient(values, span / middle, edge_order=2))
    offsets = np.abs(np.arange(-middle, middle + 1))
    rings = np.maximum(offsets[:, None], offsets)
    return np.array([slopes[rings == k].mean() for k in range(1, middle + 1)])


ANGLES = ((30, -60), (30, 30), (8, -60))  # elevation and azimuth, degrees


def lowest(values: np.ndarray, *, span: float) -> tuple[float, float]:
    """(alpha, beta) of the grid point with the least loss."""
    i, j = np.unravel_index(values.argmin(), values.shape)
    axis = span * np.linspace(-1, 1, len(values))
    return float(axis[i]), float(axis[j])


def draw(surfaces: Mapping[float, Mapping[str, np.ndarray]]) -> Figure:
    """For each span and loss a column: the surface from three sides, and its contours from above."""
    columns = [(span, name) for span, of_span in surfaces.items() for name in of_span]
    with plt.style.context(figures.style()):
        figure = plt.figure(figsize=(2.6 * len(columns) + 0.4, 10.5))
        grid = figure.add_gridspec(len(ANGLES) + 1, len(columns), height_ratios=[*[1] * len(ANGLES), 1.35])
        for column, (span, name) in enumerate(columns):
            for line, angle in enumerate(ANGLES):
                panel: Any = figure.add_subplot(grid[line, column], projection="3d")
                _draw_surface(panel, surfaces[span][name], angle, span=span)
                if line == 0:
                    panel.set_title(f"{name.upper()} (nats)\n|α|, |β| ≤ {span:g}")
            panel = figure.add_subplot(grid[len(ANGLES), column])
            filled = _draw_contours(panel, surfaces[span][name], span=span)
            label = f"{name.upper()} (nats)"
            figure.colorbar(filled, ax=panel, location="bottom", label=label, ticks=MaxNLocator(4), format=_short())
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _draw_surface(panel: Any, values: np.ndarray, angle: tuple[int, int], *, span: float) -> None:
    points = len(values)
    alpha, beta = np.meshgrid(*2 * [span * np.linspace(-1, 1, points)], indexing="ij")
    panel.plot_surface(alpha, beta, values, cmap="viridis", rcount=points, ccount=points, linewidth=0, rasterized=True)
    panel.view_init(*angle)
    panel.set_box_aspect((1, 1, 0.8), zoom=1.05)
    panel.set(xlabel="α", ylabel="β", xticks=[-span, 0, span], yticks=[-span, 0, span])
    panel.locator_params(axis="z", nbins=4)
    panel.tick_params(labelsize=9)


def _draw_contours(panel: Any, values: np.ndarray, *, span: float) -> Any:
    axis = span * np.linspace(-1, 1, len(values))
    filled = panel.contourf(axis, axis, values.T, levels=12, cmap="viridis")
    panel.plot(0, 0, "+", color="#56B4E9", markersize=11, markeredgewidth=2, label="θ*")
    panel.plot(*lowest(values, span=span), "o", color="#E69F00", markersize=12, fillstyle="none", label="lowest point")
    panel.set(xlabel="α", ylabel="β", aspect="equal", xticks=[-span, 0, span], yticks=[-span, 0, span])
    panel.grid(False)
    return filled


def _short() -> ScalarFormatter:
    """Tick labels that do not overlap: if the largest is below 0.1 or at least 10,000, they share a power of ten."""
    formatter = ScalarFormatter(useMathText=True)
    formatter.set_powerlimits((-2, 4))
    return formatter


@torch.no_grad()
def _set(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
