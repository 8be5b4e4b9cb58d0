"""Where a result comes from: device, versions, commit; for a table or figure also profile, parameters and records."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sungen_lib.lab.store import Record

LIBRARIES = ("torch", "transformers", "numpy")


def provenance(records: Sequence[Record], *, profile: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Profile, parameters, devices, versions, commit, seconds in total, seeds, record ids."""
    return {
        "profile": profile,
        "parameters": dict(parameters),
        "device": ", ".join(sorted({record.device for record in records})) or "none",
        "versions": versions(*LIBRARIES, "sungen_lib"),
        "commit": commit(),
        "seconds": round(sum(record.seconds for record in records), 3),
        "seeds": sorted({record.seed for record in records if record.seed is not None}),
        "records": [record.id for record in records],
    }


@cache
def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and ``packages``; "unknown" for one that is not installed."""
    return {"python": platform.python_version()} | {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """The checkout's commit; "unknown" for an installed package, even one inside some other repository."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer[1] if Path(answer[0]).resolve() == root else "unknown"


def device_name(device: str) -> str:
    """The GPU's or the processor's name."""
    return torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
