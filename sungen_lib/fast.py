"""What makes training fast without changing its results: exact float32, no denormal numbers, batches in parallel on CPU
threads, row-wise embedding gradients, CUDA graphs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from sungen_lib.encode import Samples, sorted_batches
from sungen_lib.encoder import Encoder
from sungen_lib.models import BiLSTM
from sungen_lib.texts.plms import processor_has_bf16

T = TypeVar("T")

# cuBLAS reads this when it starts; without it cuDNN's LSTMs are not deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ENCODER_TOKENS = 32_768  # of a batch in gradients and differences, padding included: 10 GiB for DistilBERT
WIDTH_STEP = 8  # on CUDA batches are padded to a multiple of this, so that a few captured graphs serve all


@contextmanager
def arithmetic(device: torch.device, precision: str = "float32") -> Iterator[None]:
    """Full float32, whatever TF32, bfloat16 products or autocast the caller has turned on, or bfloat16 autocast.

    cuDNN's LSTMs use TF32 by default, and a central difference in TF32 or bfloat16 is worthless. On a processor without
    bfloat16 oneDNN's LSTM raises an error; torch's own is slower and does not.
    """
    if precision not in ("float32", "bf16"):
        raise ValueError(f"unknown precision {precision!r}; known: float32, bf16")
    onednn: Any = torch.backends.mkldnn
    kernels = [torch.backends.cuda.matmul, torch.backends.cudnn.rnn, onednn.matmul, onednn.rnn]
    before, enabled = [kernel.fp32_precision for kernel in kernels], onednn.enabled
    try:
        for kernel in kernels:
            kernel.fp32_precision = "ieee"
        if precision == "bf16" and device.type == "cpu" and not processor_has_bf16():
            onednn.enabled = False
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        onednn.enabled = enabled
        for kernel, value in zip(kernels, before, strict=True):
            kernel.fp32_precision = value


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Plain kernels, which can be differentiated twice; ``cudnn.flags`` would turn TF32 on as well."""
    cudnn: Any = torch.backends.cudnn
    before, cudnn.enabled = cudnn.enabled, False
    try:
        yield
    finally:
        cudnn.enabled = before


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    """Flush denormal numbers to zero (CPU, this process's threads).

    Adam's average gradient of a word not seen for some 700 steps is a denormal number and never reaches 0, and
    arithmetic on denormals is a hundred times slower. Results do not change.
    """
    before = not bool(torch.tensor(1e-40).mul(1.0))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


class RowwiseGradient:
    """A context in which an embedding's gradient is one tensor, written and cleared row by row.

    At each step autograd would allocate a new gradient as large as the vocabulary, for a batch's few hundred words. The
    sums are identical bit for bit. CPU only: on CUDA clearing is fast, and ``index_add_`` has no fixed order.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        self.embedding = embedding
        self.gradient = torch.zeros_like(embedding.weight)
        self.looked_up: list[tuple[Tensor, Tensor]] = []  # tokens, and their vectors detached from the embedding

    def __enter__(self) -> None:
        self.hook = self.embedding.register_forward_hook(self._cut)

    def _cut(self, _: nn.Module, tokens: tuple[Tensor], vectors: Tensor) -> Tensor:
        self.looked_up.append((tokens[0].flatten(), vectors.detach().requires_grad_()))
        return self.looked_up[-1][1]

    def fill(self) -> None:
        """After the backward pass, fill in the gradient; it is valid until the ``with`` block ends."""
        for tokens, vectors in self.looked_up:
            assert vectors.grad is not None
            self.gradient.index_add_(0, tokens, vectors.grad.flatten(0, -2))
        self.embedding.weight.grad = self.gradient

    def __exit__(self, *_: object) -> None:
        self.hook.remove()
        self.embedding.weight.grad = None
        for tokens, _vectors in self.looked_up:
            self.gradient.index_fill_(0, tokens, 0.0)
        self.looked_up.clear()


class StepGraphs:
    """CUDA graphs of ``step(rows, width)``, one per width; the first steps and odd-sized batches run eagerly.

    ``rows``: the tensor that the graphs read, with the shape of a full batch. Widths are rounded up to ``WIDTH_STEP``,
    but not beyond ``longest``, the longest text: an encoder may have no position for more.
    """

    WARM_UP = 3

    def __init__(self, step: Callable[[Tensor, int], None], rows: Tensor, longest: int) -> None:
        self.step, self.rows, self.longest, self.eager_steps = step, rows, longest, 0
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.pool: Any = None  # the graphs' shared memory
        # One for all eager steps, as each stream keeps memory of its own.
        self.stream = torch.cuda.Stream(rows.device) if rows.device.type == "cuda" else None

    def __call__(self, rows: Tensor, width: int) -> None:
        """Make the step, by a graph or eagerly."""
        width = min(-(-width // WIDTH_STEP) * WIDTH_STEP, self.longest)
        if rows.shape != self.rows.shape or self.eager_steps < self.WARM_UP:
            self.eager_steps += 1
            self._eagerly(rows, width)
            return
        self.rows.copy_(rows)
        if width not in self.graphs:
            self.graphs[width] = self._capture(width)
        self.graphs[width].replay()

    def _eagerly(self, rows: Tensor, width: int) -> None:
        # Before capture, cuDNN, cuBLAS and Adam must have done their lazy set-up, outside the default stream.
        assert self.stream is not None
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step(rows, width)
        torch.cuda.current_stream().wait_stream(self.stream)

    def _capture(self, width: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self.step(self.rows, width)
        self.pool = graph.pool()
        return graph


def evaluation_batch_size(data: Samples, model: nn.Module) -> int:
    """Samples per batch where only outputs or gradients are needed.

    A backward pass through DistilBERT keeps 0.3 MiB a token, so an encoder's batches are limited in tokens, too.
    """
    longest = int(data.sizes.max(initial=1))
    size = 2048 if data.device.type != "cpu" or longest == 1 else 128  # larger ones are slower on CPUs (page faults)
    return min(size, max(1, ENCODER_TOKENS // longest)) if isinstance(model, Encoder) else size


@contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Limit torch, NumPy and scikit-learn to ``number`` threads, because the number can change a result's last bits."""
    before = torch.get_num_threads()
    with threadpool_limits(number):
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """Run torch on one thread (CPU only); yield the previous number of threads.

    The kernels may add in an order that depends on the number of threads, which would change a result's last bits.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def over_batches(work: Callable[[np.ndarray], T], data: Samples, model: nn.Module) -> Iterator[T]:
    """``work(batch)`` for all batches of ``data``, in their order.

    On CPUs the batches of a BiLSTM run in parallel, one per thread, because an LSTM step is too small to split. Results
    do not depend on the number of threads. Each thread has to enter ``no_grad`` itself.
    """
    batches = list(sorted_batches(data.sizes, evaluation_batch_size(data, model)))
    if data.device.type != "cpu" or not isinstance(model, BiLSTM):
        yield from map(work, batches)
        return
    with one_thread(data.device) as threads:
        if min(threads, len(batches)) == 1:
            yield from map(work, batches)
            return
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            running: deque[Future[T]] = deque()
            for rows in batches:
                running.append(pool.submit(work, rows))
                if len(running) >= 2 * threads:  # bounded, because a result may be as large as the model
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
