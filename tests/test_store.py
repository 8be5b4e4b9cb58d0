"""The store: whatever is damaged, lost or out of date is noticed and made again, only that, and to the same bits."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from sungen_lib import derivative, embedded, learn, storage
from sungen_lib.lab import execution, sources, specs
from sungen_lib.lab.specs import Gold, Run, Spec, Synthetic, Weights
from sungen_lib.lab.store import find, folder, sound
from sungen_lib.models import TamConfig
from sungen_lib.storage import Damaged, read_sealed, write_sealed
from sungen_lib.texts import generation
from sungen_lib.texts.writer import Sampling

TAM = TamConfig(embedding=8, hidden=8, epochs=1)
RATES = (0.25, 0.1)


def chain() -> tuple[Synthetic, Weights, Run]:
    """A spec of each stage, each upstream of the next."""
    sampling = Sampling(min_tokens=5, max_tokens=32, batch_size=64)
    texts = Synthetic("subj", "embedded", "embedded", 96, embedded.fingerprint(), sampling)
    weights = Weights(texts, TAM, 1, "cpu", outer_size=32, outer_lr=RATES, iterations=2)
    test = Gold("subj", "test", "embedded", 50, embedded.fingerprint())
    return texts, weights, Run("sungen", test, "cpu", texts, TAM, weights, selection="bernoulli", budget=40, seed=1)


def compute() -> None:
    """All three, in a session of its own as far as what is remembered goes."""
    sources.load.cache_clear()
    execution.execute([chain()[-1]], jobs=1, progress=None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the three records."""
    place = tmp_path_factory.mktemp("made") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUNGEN_STORE", str(place))
        compute()
    return place


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with its times, in use."""
    place = tmp_path / "store"
    shutil.copytree(made, place)
    monkeypatch.setenv("SUNGEN_STORE", str(place))
    return place


def results(place: Path) -> dict[str, object]:
    """Every file that counts, as far as it has to be the same each time: all but the clock."""
    found: dict[str, object] = {}
    for path in sorted(place.glob("??/*/*")):
        if ".damaged-" in str(path):
            continue
        name = str(path.relative_to(place))
        if path.name == "record.json":
            record = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: timeless(record[key]) for key in ("id", "stage", "spec", "metrics", "diverged")}
            found[name] |= {"files": sorted(record["files"])}  # type: ignore[operator]
        elif path.name == "weights.safetensors":
            found[name] = {key: value.tobytes() for key, value in load_file(path).items()}
        else:
            found[name] = path.read_bytes()
    return found


def timeless(value: object) -> object:
    """Plain JSON less its times."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key != "seconds"}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def times(place: Path) -> dict[str, int]:
    """When each stage's record was written."""
    ids = {specs.identify(spec): type(spec).__name__ for spec in chain()}
    records = {path for path in place.glob("??/*/record.json") if path.parent.name in ids}
    return {ids[path.parent.name]: path.stat().st_mtime_ns for path in records}


def stage_of(path: Path) -> str:
    return next(type(spec).__name__ for spec in chain() if specs.identify(spec) == path.parent.name)


FILES = ["Synthetic/record.json", "Synthetic/synthetic.jsonl", "Weights/record.json", "Weights/weights.safetensors",
         "Weights/outer_lr.json", "Run/record.json", "Run/correct.safetensors"]  # fmt: skip


def file_of(name: str) -> Path:
    stage, _, file = name.partition("/")
    spec = next(spec for spec in chain() if type(spec).__name__ == stage)
    return folder(specs.identify(spec)) / file


def test_the_list_of_files_is_complete(store: Path) -> None:
    assert {str(path) for path in store.glob("??/*/*")} == {str(file_of(name)) for name in FILES}


def without_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_one_bit_changed(content: bytes) -> bytes:
    """In the last digit or letter of the content: text stays text, JSON stays JSON."""
    at = max(i for i in range(len(content) - 40) if chr(content[i]).isalnum())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes] | None] = {
    "deleted": None,
    "empty": lambda content: b"",
    "truncated": without_half,
    "a bit": with_one_bit_changed,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_costs_one_recomputation(
    name: str, damage: str, store: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, before = file_of(name), times(store)
    change = DAMAGE[damage]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    compute()
    after = times(store)
    assert {stage for stage, time in after.items() if time != before[stage]} == {name.partition("/")[0]}
    assert results(store) == results(made)
    said = capsys.readouterr().out
    if name.endswith("record.json") and damage == "deleted":
        assert said == "" and not list(store.glob("??/*.damaged-*"))  # nothing is left that could be damaged
    else:
        assert said.count("set aside") == 1 and path.name in said
        assert len(list(store.glob("??/*.damaged-*"))) == 1


def test_a_record_without_its_seal_is_made_again(store: Path, made: Path) -> None:
    path = file_of("Run/record.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[storage.SEAL]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert find(chain()[-1]) is None
    compute()
    assert results(store) == results(made)


def test_a_record_in_another_ones_place_is_noticed(store: Path, made: Path) -> None:
    shutil.copytree(file_of("Run/record.json").parent, file_of("Weights/record.json").parent, dirs_exist_ok=True)
    assert find(chain()[1]) is None
    compute()
    assert results(store) == results(made)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", FILES)
def test_any_changed_bit_is_noticed_or_changes_nothing(name: str, at: int, bit: int, store: Path) -> None:
    """Nothing may read a changed record as something else: it is what it was, or set aside."""
    spec = next(spec for spec in chain() if type(spec).__name__ == name.partition("/")[0])
    path, before = file_of(name), find(spec)
    content = path.read_bytes()
    at %= len(content)
    path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
    found = find(spec)
    assert found is None or found == before
    if found is None:
        shutil.rmtree(path.parent, ignore_errors=True)
        (aside,) = store.glob("??/*.damaged-*")
        aside.rename(path.parent)
    path.write_bytes(content)


@pytest.mark.parametrize("stage", sorted({"synthetic", "weights", "run"}))
def test_a_raised_revision_is_computed_anew(stage: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything downstream of it, and nothing upstream."""
    before = {path: path.stat().st_mtime_ns for path in store.glob("??/*/record.json")}
    monkeypatch.setitem(specs.REVISIONS, stage, specs.REVISIONS[stage] + 1)
    compute()
    new = {path for path in store.glob("??/*/record.json") if path not in before}
    order = ["synthetic", "weights", "run"]
    assert sorted(stage_of(path).lower() for path in new) == sorted(order[order.index(stage) :])
    assert {path: path.stat().st_mtime_ns for path in before} == before  # the old ones are left alone, and not used


# --- in the middle of a run -------------------------------------------------------------------------------------------


class Cut(Exception):
    """The run ends here."""


@pytest.fixture
def halfway(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """A store in which a stage was cut off: shards, or a checkpoint and a chosen rate, and no record."""
    place = tmp_path / "store"
    monkeypatch.setenv("SUNGEN_STORE", str(place))

    def cut(stage: str) -> Path:
        texts, weights, _ = chain()
        spec: Spec = texts if stage == "synthetic" else weights
        if stage == "weights":
            source = made / specs.identify(texts)[:2] / specs.identify(texts)
            shutil.copytree(source, folder(specs.identify(texts)))
        with monkeypatch.context() as patch:
            patch.setattr("sungen_lib.checkpoint.SECONDS", -1.0)
            patch.setattr(*_dying(derivative if stage == "weights" else generation, stage))
            with pytest.raises(Cut):
                execution.compute(spec)
        return folder(specs.identify(spec))

    yield cut
    sources.load.cache_clear()


def _dying(module: Any, stage: str) -> tuple[Any, str, Callable[..., Any]]:
    """What to patch so that a stage dies after some of its work: in the second shard, or the second iteration."""
    name, last = ("_shard", 1) if stage == "synthetic" else ("outer_gradient", len(RATES) * learn.PILOT + 1)
    whole, calls = getattr(module, name), list[int]()

    def dying(*arguments: Any, **options: Any) -> Any:
        if len(calls) == last:
            raise Cut
        calls.append(1)
        return whole(*arguments, **options)

    return module, name, dying


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("synthetic", "shards/shard-00000.json"),
        ("synthetic", "shards/manifest.json"),
        ("weights", "weights.safetensors"),
        ("weights", "outer_lr.json"),
    ],
)
def test_damage_in_mid_run_costs_what_the_file_held(
    stage: str,
    file: str,
    damage: str,
    halfway: Callable[[str], Path],
    made: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = halfway(stage)
    path, change = place / file, DAMAGE[damage]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    compute()
    said = capsys.readouterr().out
    orphaned = change is None and path.name == "manifest.json"  # nobody can tell what wrote the shards beside it
    assert said.count("set aside") == (change is not None or orphaned)
    assert change is None or str(path) in said
    assert results(place.parents[1]) == results(made)


def test_an_error_of_the_system_sets_no_record_aside(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, say: the record is sound, and the hours that it took are not lost."""

    def busy(*_arguments: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setenv("SUNGEN_STORE", str(made))
    place = folder(specs.identify(chain()[0]))
    before = sorted(place.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("sungen_lib.lab.store._digest", busy)
        with pytest.raises(OSError, match="Too many open files"):
            sound(place)
    assert sound(place) is not None and sorted(place.parent.iterdir()) == before


def test_a_death_just_before_the_record_costs_no_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a PLM has written in hours is kept until the record is there, and not longer."""

    def cut(*_arguments: Any, **_options: Any) -> None:
        raise Cut

    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    texts = chain()[0]
    with monkeypatch.context() as patch:
        patch.setattr(execution, "keep", cut)
        with pytest.raises(Cut):
            execution.compute(texts)
    monkeypatch.setattr(generation, "_shard", cut)  # nothing is written again
    execution.compute(texts)
    assert not (folder(specs.identify(texts)) / "shards").exists()


def test_what_a_kill_left_half_written_is_removed(halfway: Callable[[str], Path]) -> None:
    place = halfway("weights")
    left = place / ".weights.safetensors.abcdefgh.tmp"
    left.write_bytes(b"half")
    compute()
    assert not left.exists()


def test_a_changed_number_in_a_checkpoint_would_change_the_weights(halfway: Callable[[str], Path]) -> None:
    """Which is why a checkpoint carries a checksum: safetensors itself takes it."""
    path = halfway("weights") / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 0x40  # of the last sample's score, or its optimiser's average
    path.write_bytes(bytes(content))
    assert set(load_file(path)) >= {"scores", "first", "second"}
    with pytest.raises(ValueError, match=r"weights\.safetensors is no checkpoint .*does not match its checksum"):
        learn.load_weights(path)


def test_checkpoints_without_a_checksum_are_still_read(store: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = file_of("Weights/weights.safetensors")
    weights = learn.load_weights(path).weights
    with safe_open(path, "numpy") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != storage.SEAL}
    save_file(load_file(path), path, metadata)
    np.testing.assert_array_equal(learn.load_weights(path).weights, weights)


# --- sealed files -----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(st.text(max_size=5).filter(lambda key: key != storage.SEAL), JSON, max_size=4))
@settings(max_examples=50)
def test_what_is_sealed_is_read_back(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    write_sealed(path, content)
    assert read_sealed(path) == content


def test_a_seal_is_the_sha_256_of_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"b": (1, 2), "a": {10: None, 9: "é"}})
    plain = '{"a": {"10": null, "9": "\\u00e9"}, "b": [1, 2]}'
    assert json.loads(path.read_text(encoding="utf-8"))[storage.SEAL] == hashlib.sha256(plain.encode()).hexdigest()


@pytest.mark.parametrize("content", ["", "[1]", "3", "{", '{"a": 1}', '{"a": 1, "sha256": 3}', "[" * 100_000])
def test_what_is_not_sealed_is_damaged(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(Damaged, match=r"a\.json (cannot be read|does not match its checksum)") as error:
        read_sealed(path)
    assert "\n" not in str(error.value)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_a_number_of_threads_gives_the_same_bits_each_time(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = []
    for attempt in ("first", "second"):
        monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / attempt))
        sources.load.cache_clear()
        _, weights, run = chain()
        weights = replace(weights, threads=threads, outer_lr=0.25)
        execution.execute([replace(run, weights=weights, threads=threads)], jobs=1, progress=None)
        both.append(results(tmp_path / attempt))
    assert both[0] == both[1]
