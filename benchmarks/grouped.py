"""Is it faster to train several replicas of the BiLSTM as one, with grouped matrix products?

``python -m benchmarks.grouped [--replicas R] [--device cpu|cuda] [--threads T] [--steps N]``

A step at batch 32 leaves a GPU mostly idle; three seeds, tasks or outer losses could share it. ``separate`` makes a
step of each replica as the reweighter does (fused LSTM kernels; on CUDA captured graphs). ``grouped`` stacks their
parameters and makes all steps at once: batched matrix products, a recurrence in plain PyTorch (no fused kernel takes
stacked weights), one Adam; on CUDA in one captured graph. Both make the same steps on the same batches: the largest
difference between two parameters afterwards is printed with the milliseconds, which are for all replicas together.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.accuracy import bilstm
from benchmarks.data import training_set
from benchmarks.measure import measured
from sungen_lib.encode import Batch, Encoded
from sungen_lib.fast import StepGraphs
from sungen_lib.models import BiLSTM, reverse
from sungen_lib.train import Trainer

BATCH, ROWS, LR = 32, 2_000, 1e-3


class GroupedBiLSTM(nn.Module):
    """R BiLSTMs of the same shape; stacked parameters, (R, ...) or for both directions (2 R, ...)."""

    def __init__(self, models: Sequence[BiLSTM]) -> None:
        super().__init__()
        sides = [model.left for model in models] + [model.right for model in models]
        self.embedding = _stacked([model.embedding for model in models], "weight")
        self.inputs = _stacked(sides, "weight_ih_l0", matrix=True)
        self.recurrent = _stacked(sides, "weight_hh_l0", matrix=True)
        self.input_bias = _stacked(sides, "bias_ih_l0")
        self.recurrent_bias = _stacked(sides, "bias_hh_l0")
        self.weight = _stacked([model.linear for model in models], "weight", matrix=True)
        self.bias = _stacked([model.linear for model in models], "bias")

    def forward(self, batches: Sequence[Batch]) -> Tensor:
        """(R, B, K) logits of one batch for each replica, all of one width."""
        tokens = torch.stack([b.tokens for b in batches] + [reverse(b) for b in batches])
        lengths = torch.stack([b.lengths for b in batches]).repeat(2, 1)[..., None]
        replicas, vocabulary, size = self.embedding.shape
        offsets = vocabulary * torch.arange(replicas, device=tokens.device).repeat(2)
        vectors = F.embedding(tokens + offsets[:, None, None], self.embedding.view(-1, size))
        groups, rows, width = tokens.shape
        projected = torch.baddbmm(self.input_bias + self.recurrent_bias, vectors.view(groups, -1, size), self.inputs)
        h = c = end = vectors.new_zeros(groups, rows, self.recurrent.shape[1])
        for step, gates in enumerate(projected.view(groups, rows, width, -1).unbind(2)):
            i, f, g, o = torch.baddbmm(gates, h, self.recurrent).chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            end = torch.where(lengths == step + 1, h, end)
        return torch.baddbmm(self.bias, torch.cat([end[:replicas], end[replicas:]], dim=-1), self.weight)

    def difference(self, models: Sequence[BiLSTM]) -> float:
        """The largest difference to a parameter of ``models``."""
        theirs = GroupedBiLSTM(models).state_dict()
        return max(float((value - theirs[name]).abs().max()) for name, value in self.state_dict().items())


def _stacked(layers: Sequence[nn.Module], name: str, *, matrix: bool = False) -> nn.Parameter:
    """Biases (R, 1, out); matrices, if to be multiplied from the right, (R, in, out)."""
    values = torch.stack([layer.get_parameter(name).detach() for layer in layers])
    return nn.Parameter(values.transpose(1, 2) if matrix else values[:, None] if values.ndim == 2 else values)


def grouped_step(model: GroupedBiLSTM, data: Encoded) -> Callable[[Tensor, int], None]:
    """A function that makes all replicas' steps on samples, (R, B) int64, of a width; on CUDA as a captured graph."""
    cuda = data.device.type == "cuda"
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True, capturable=cuda)
    replicas = len(model.embedding)

    def step(rows: Tensor, width: int) -> None:
        batches = [data.gather(own, width) for own in rows]
        labels = torch.stack([batch.labels for batch in batches])
        # Sum the replicas' mean losses: they share no parameters.
        loss = replicas * F.cross_entropy(model(batches).flatten(0, 1), labels.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    rows = torch.zeros(replicas, BATCH, dtype=torch.int64, device=data.device)
    return StepGraphs(step, rows, int(data.sizes.max())) if cuda else step


def compare(*, replicas: int, device: str, steps: int, repeats: int) -> dict[str, float]:
    """``separate_ms``, ``grouped_ms`` (medians, all replicas together) and ``difference`` after the first round."""
    training = training_set(None, ROWS, device=device)
    data = training.encoded
    models = [bilstm(training, seed).to(data.device) for seed in range(replicas)]
    grouped = GroupedBiLSTM(models)
    width = int(data.sizes.max())
    trainers = [Trainer(model, data, lr=LR, batch_size=BATCH) for model in models]
    together = grouped_step(grouped, data)
    generator = torch.Generator().manual_seed(0)
    batches = torch.randint(ROWS, (steps, replicas, BATCH), generator=generator).to(data.device)

    def separate() -> None:
        for rows in batches:
            for trainer, own in zip(trainers, rows, strict=True):
                trainer.take_step(own, width)

    def all_together() -> None:
        for rows in batches:
            together(rows, width)

    times: dict[str, list[float]] = {"separate_ms": [], "grouped_ms": []}
    difference = 0.0
    for repeat in range(repeats + 1):  # the first sets up kernels and graphs: compared, not timed
        for name, work in (("separate_ms", separate), ("grouped_ms", all_together)):
            times[name].append(1e3 * measured(work, data.device)[1] / steps)
        if repeat == 0:
            difference = grouped.difference(models)
            times = {name: [] for name in times}
    return {name: statistics.median(values) for name, values in times.items()} | {"difference": difference}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grouped", description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = compare(replicas=options.replicas, device=options.device, steps=options.steps, repeats=options.repeats)
    print(f"{options.replicas} replicas, a step of each: separate {found['separate_ms']:.1f} ms, ", end="")
    print(f"grouped {found['grouped_ms']:.1f} ms ({found['grouped_ms'] / found['separate_ms']:.2f} times), ", end="")
    print(f"largest parameter difference {found['difference']:.1e}")


if __name__ == "__main__":
    main()
