"""Seconds, peak memory and the machine they were measured on."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


def clock(device: torch.device) -> float:
    """``time.perf_counter()`` once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measured(work: Callable[[], T], device: torch.device) -> tuple[T, float, float]:
    """Result, seconds and peak memory in MiB of ``work()``: memory allocated on CUDA, else the whole process's."""
    _forget_peak(device)
    start = clock(device)
    result = work()
    return result, clock(device) - start, _peak(device)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError, AttributeError):  # freed memory that glibc keeps must not count next time
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # only Linux can reset the peak; elsewhere it is that of everything so far
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):  # preferred: getrusage never reports less than the parent process's peak
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def machine(device: torch.device) -> dict[str, object]:
    """Processor, cores, load (what else was running), and the GPU if it is used."""
    about: dict[str, object] = {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    if device.type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(device)
    return about


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
