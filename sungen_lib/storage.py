"""Files that are never half written: atomic writes, seals that reveal damage, locks between processes; and the store's
place."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError

REPOSITORY = Path(__file__).resolve().parents[1]


class Damaged(ValueError):
    """A file written by this package has changed or is incomplete; the message names it."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name if the block succeeds: a reader sees all of it or none.

    Raises ``OSError`` naming ``path`` if it cannot be written: a full disk, a folder that takes no files.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(path, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: Exception) -> OSError:
    return OSError(f"{path} cannot be written ({error}); make room, or name another place")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


SEAL = "sha256"


def _seal(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # as it will be read: with strings for keys, lists for tuples
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with the SHA-256 of the rest as its last field, ``SEAL``."""
    write_text(path, json.dumps({**content, SEAL: _seal(content)}, indent=1, ensure_ascii=False) + "\n")


def read_sealed(path: str | Path, *, required: bool = True) -> dict[str, Any]:
    """What ``write_sealed`` wrote. Raises ``Damaged`` for anything else; without ``required`` the seal may be absent,
    but not wrong."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    seal = content.pop(SEAL, None) if isinstance(content, dict) else ""
    if seal is None and not required:
        return dict(content)
    if seal != _seal(content):
        raise Damaged(f"{path} does not match its checksum")
    return dict(content)


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder of our own, and say so: it is made again, and can still be looked at."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    print(f"set aside {aside}: {why}; it will be made again")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is in a block with this lock file; others wait. A lock ends with its process.

    Users who share a store may all take it. Raises ``OSError`` naming ``path`` where there can be no lock.
    """
    lock = FileLock(path, mode=0o666)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise OSError(f"{path} cannot be locked ({error}); name another store (SUNGEN_STORE)") from None
    try:
        yield
    finally:
        lock.release()


def store_root() -> Path:
    """The store's folder: ``SUNGEN_STORE``, else ``runs/`` in a checkout, else a data folder of the user's."""
    if os.environ.get("SUNGEN_STORE"):
        return Path(os.environ["SUNGEN_STORE"]).absolute()
    if (REPOSITORY / "pyproject.toml").is_file():
        return REPOSITORY / "runs"
    from platformdirs import user_data_path

    return user_data_path("sungen") / "runs"


def writable(folder: str | Path) -> bool:
    """Whether files can be written to ``folder``, or it can be made; by its permissions, nothing is tried."""
    place = Path(folder).absolute()
    existing = next(path for path in (place, *place.parents) if os.path.exists(path))
    return os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)
