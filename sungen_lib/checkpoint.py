"""The file in which ``learn_weights`` saves its progress, and resumes from: what decides a run, its state, a seal."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sungen_lib.derivative import default_method
from sungen_lib.encode import Samples
from sungen_lib.models import TamConfig
from sungen_lib.reweight import Bilevel, Iteration, OuterSets, State
from sungen_lib.storage import SEAL, Damaged, atomic_path, writable

SECONDS = 20.0  # between two saves


class Saved:
    """A run's state and snapshots, and the checkpoint file, if any, in which both are saved."""

    def __init__(self, path: str | Path | None, state: State, snapshots: Sequence[int]) -> None:
        self.path, self.state, self.wanted = None if path is None else Path(path), state, set(snapshots)
        self.saved: dict[int, np.ndarray] = {}  # snapshots: iteration -> (N,)
        self._keep()
        self.identity: dict[str, object] = {}
        self.time = time.perf_counter()

    def resume(self, identity: dict[str, object], iterations: int) -> None:
        """Resume from the checkpoint if there is one; raise ``ValueError`` if it belongs to another run or lacks a
        snapshot, ``OSError`` if nothing can be saved there."""
        assert self.path is not None
        self.identity = identity = json.loads(json.dumps(identity, default=lambda scalar: scalar.item()))  # NumPy's
        if not self.path.exists():
            self._refuse_unwritable(self.path)
            return
        about, tensors = read_checkpoint(self.path)
        if about["identity"] != identity:
            other = about["identity"]
            raise ValueError(f"{self.path} belongs to another run: {other}, not {identity}; remove it or name another")
        if len(about["history"]) > iterations:
            raise ValueError(f"{self.path} holds {len(about['history'])} iterations, {iterations} were asked for")
        if len(about["history"]) < iterations:
            self._refuse_unwritable(self.path)
        for name in ("scores", "first", "second"):
            getattr(self.state, name).copy_(tensors[name])
        self.state.eps, self.state.inexact = about["eps"], about["inexact"]
        self.state.history = [Iteration(**entry) for entry in about["history"]]
        self.saved |= snapshots_in(tensors)
        self._keep()
        if lost := [n for n in sorted(self.wanted - self.saved.keys()) if n < self.state.done]:
            raise ValueError(
                f"{self.path} has no snapshot of iteration {lost[0]}; ask for others, or name another file"
            )

    @staticmethod
    def _refuse_unwritable(path: Path) -> None:
        """Before any training, since the first save comes much later."""
        if not writable(path.parent):
            raise OSError(f"{path} cannot be written; name another place")

    @property
    def snapshots(self) -> dict[int, np.ndarray]:
        """Those that are wanted; the file may have more."""
        return {n: weights for n, weights in self.saved.items() if n in self.wanted}

    def _keep(self) -> None:
        if self.state.done in self.wanted:
            self.saved[self.state.done] = self.state.weights.cpu().numpy()

    def after_iteration(self, *, last: bool) -> None:
        """Keep the weights if a snapshot is wanted; save from time to time and at the end."""
        self._keep()
        if self.path is not None and (last or time.perf_counter() - self.time > SECONDS):
            self._save(self.path)
            self.time = time.perf_counter()

    def _save(self, path: Path) -> None:
        state = self.state
        tensors = {"scores": state.scores, "first": state.first, "second": state.second}
        tensors |= {f"snapshot.{n}": torch.as_tensor(w) for n, w in self.saved.items()}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        history = [asdict(iteration) for iteration in state.history]
        about = {"identity": self.identity, "eps": state.eps, "inexact": state.inexact, "history": history}
        metadata = {"about": json.dumps(about)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata | {SEAL: _seal(metadata["about"], tensors)})


def identity_of(
    tam: TamConfig,
    bilevel: Bilevel,
    train_set: Samples,
    outer_set: Samples | None,
    tams: Sequence[nn.Module],
    seed: int,
) -> dict[str, object]:
    """Everything that decides a run, except its number of iterations."""
    plain = ("outer_lr", "inner_epochs", "inner_lr", "batch_size", "precision", "guard_every")
    identity: dict[str, object] = {"seed": seed, **{name: getattr(bilevel, name) for name in plain}}
    identity["method"] = bilevel.method or default_method(tams[0])
    # Options beyond the paper are named only if used, so that older checkpoints can still be resumed. The two fields of
    # a TAM that its parameters, which are in the digest, do not show came later: without them a checkpoint is refused.
    hidden = {name: getattr(tam, name) for name in ("dropout", "heads")}
    identity |= {name: value for name, value in hidden.items() if value != getattr(TamConfig, name)}
    if bilevel.outer_draw != "once":
        identity |= {"outer_draw": bilevel.outer_draw, "outer_size": bilevel.outer_size}
    for option in ("centred", "balanced"):
        if getattr(bilevel, option):
            identity[option] = True
    # A function's name is not reliable, but its values identify it, one for each label.
    logits = torch.eye(train_set.classes, device=train_set.device)
    values = [round(value, 6) for value in bilevel.outer_loss(logits, logits.argmax(-1)).tolist()]
    identity["outer_loss"] = values[0] if len(set(values)) == 1 else values
    identity["digest"] = _digest(train_set, OuterSets(train_set, outer_set, bilevel, seed).of(1)[0], tams)
    return identity


def _digest(train_set: Samples, outer_set: Samples, tams: Sequence[nn.Module]) -> str:
    """SHA-256 over the texts, the labels and the TAMs' initial parameters."""
    digest = hashlib.sha256()
    texts = (tensor for samples in (train_set, outer_set) for tensor in samples.content())
    for tensor in (*texts, *(parameter for tam in tams for parameter in tam.parameters())):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What was saved, and the tensors. Raises ``Damaged`` if the file is no checkpoint or a damaged one."""
    try:
        if Path(path).is_dir():
            raise ValueError("a folder")
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            about = json.loads(metadata["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        seal = metadata.get(SEAL)
        if seal is not None and seal != _seal(metadata["about"], tensors):  # the first checkpoints had none
            raise ValueError("its content does not match its checksum")
    except (SafetensorError, TypeError, KeyError, ValueError) as error:  # an OSError says nothing about the content
        raise Damaged(f"{path} is no checkpoint of learn_weights, or a damaged one ({error}); name another") from None
    return about, tensors


def _seal(about: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of everything in a checkpoint: safetensors would not notice a changed number."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def snapshots_in(tensors: dict[str, Tensor]) -> dict[int, np.ndarray]:
    """The snapshots among a checkpoint's tensors: iteration -> (N,)."""
    return {int(key.removeprefix("snapshot.")): value.numpy() for key, value in tensors.items() if "." in key}
