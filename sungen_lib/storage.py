"""Files that are never half written: atomic writes, seals that reveal damage, locks between processes; and the store's
location."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from safetensors import SafetensorError

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[1]


class Damaged(ValueError):
    """A file written by this package has changed or is incomplete; the message names it."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name if the block succeeds; readers see the whole file or none.

    Raises ``OSError`` naming ``path`` if it cannot be written, for instance on a full disk.
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


def read_sealed(path: str | Path) -> dict[str, Any]:
    """What ``write_sealed`` wrote. Raises ``Damaged`` for anything else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    seal = content.pop(SEAL, None) if isinstance(content, dict) else ""
    if seal != _seal(content):
        raise Damaged(f"{path} does not match its checksum")
    return dict(content)


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder that this package made, and say so; it is made again, and the old one is kept."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    print(f"set aside {aside}: {why}; it will be made again")


def unless_damaged(read: Callable[[Path], T], path: Path) -> T | None:
    """``read(path)``; ``None`` if that raises ``Damaged``, and then ``path`` is set aside.

    Where several processes may find the damage, call it with the lock that they take.
    """
    try:
        return read(path)
    except Damaged as error:
        set_aside(path, str(error))
        return None


POINTER = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(path: str | Path) -> bool:
    """Whether the file is a Git LFS pointer to a file that has not been fetched."""
    with Path(path).open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def content_hash(path: str | Path) -> str:
    """A hash of a file's content, or of the names and contents of a folder's files, except hidden ones."""
    path, digest = Path(path), hashlib.sha256()
    if path.is_file():
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()[:12]
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = file.relative_to(path)
        if not any(part.startswith(".") for part in name.parts):
            digest.update(os.fsencode(name.as_posix()) + b"\0" + content_hash(file).encode())
    return digest.hexdigest()[:12]


def same_place(path: str | Path, other: str | Path) -> bool:
    """Whether two paths are one place, however they are spelled: links, ``..``, other case where that is the same."""
    path, other = Path(path), Path(other)
    if path.exists() and other.exists():
        return os.path.samefile(path, other)
    return path.resolve() == other.resolve()


def inside(path: str | Path, folder: str | Path) -> bool:
    """Whether ``path`` is ``folder`` or in it, however either is spelled."""
    place = Path(path).resolve()
    return any(same_place(parent, folder) for parent in (place, *place.parents))


def create(path: Path, text: str) -> bool:
    """Write a new file, UTF-8; ``False`` if there is one already. Raises ``OSError`` naming ``path``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from None
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let only one process at a time run a block with this lock file; others wait. A lock ends with its process.

    All users of a shared store can take the lock. Raises ``OSError`` naming ``path`` if locking is impossible.
    """
    lock = FileLock(path, mode=0o666)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _try_lock(path)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise OSError(f"{path} cannot be locked ({error}); name another store (SUNGEN_STORE)") from None
    try:
        yield
    finally:
        lock.release()


def _try_lock(path: Path) -> None:
    """Raise ``OSError`` on a file system without locks, which older ``filelock`` versions mistake for a held lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    handle = os.open(path, os.O_RDWR | (0 if path.exists() else os.O_CREAT), 0o666)
    with os.fdopen(handle, "rb") as file:
        with suppress(PermissionError):  # the file of another user who shares the store
            os.fchmod(handle, 0o666)
        with suppress(BlockingIOError, PermissionError):  # held by another process
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def store_root() -> Path:
    """The store's folder: ``SUNGEN_STORE``, else ``runs/`` in a checkout, else a folder with the user's data."""
    if os.environ.get("SUNGEN_STORE"):
        return Path(os.environ["SUNGEN_STORE"]).absolute()
    if (REPOSITORY / "pyproject.toml").is_file():
        return REPOSITORY / "runs"
    from platformdirs import user_data_path

    return user_data_path("sungen") / "runs"


def writable(folder: str | Path) -> bool:
    """Whether files can be written to ``folder``, or it can be made; judged by permissions, without writing."""
    place = Path(folder).absolute()
    existing = next(path for path in (place, *place.parents) if os.path.exists(path))
    return os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)
