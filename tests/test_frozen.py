"""The frozen TAM: pooling against a plain loop, the cache, the head, its meta-gradient in closed form, what it finds.

The encoder is a tiny random BERT in a folder, as transformers saves it; ``placed`` puts made-up vectors in its place.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import FILLER, KEYWORDS, keyword_examples
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from sungen_lib import derivative, frozen, losses, reweight
from sungen_lib.derivative import meta_gradient
from sungen_lib.frozen import Embedder, Head, VectorBatch, Vectors
from sungen_lib.learn import LearnedWeights, learn_weights
from sungen_lib.models import TamConfig
from sungen_lib.reweight import Bilevel, iterations
from sungen_lib.storage import SEAL
from sungen_lib.texts.examples import Examples
from sungen_lib.texts.noise import class_noise, uniform_noise, with_noise
from sungen_lib.train import Diverged, Trainer, evaluate, fit

WIDTH, POSITIONS = 16, 24


def word_tokenizer() -> PreTrainedTokenizerFast:
    """The words of ``keyword_examples``, [CLS] and [SEP] around them; padding is not 0, where a mistake would hide."""
    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", *KEYWORDS, *FILLER]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def random_bert(*, seed: int = 0) -> BertModel:
    config = BertConfig(
        vocab_size=len(word_tokenizer()),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        pad_token_id=1,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertModel(config)


def save_encoder(folder: Path, *, seed: int = 0) -> Path:
    """A tiny random BERT and its tokenizer, as transformers saves them."""
    random_bert(seed=seed).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def encoder(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the encoder, to be spoiled at will, and an empty store."""
    monkeypatch.setenv("SUNGEN_STORE", str(tmp_path / "store"))
    return Path(shutil.copytree(saved, tmp_path / "bert"))


def vectors_of(folder: Path, texts: Examples, *, max_length: int = 64) -> Tensor:
    return Embedder(str(folder), max_length=max_length).vectors(texts).vectors


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store" / "vectors").glob("*.safetensors"))


# --- texts to vectors -------------------------------------------------------------------------------------------------


def plain_vectors(folder: Path, texts: Examples, *, limit: int = POSITIONS) -> Tensor:
    """One text at a time, without padding, in float64."""
    tokenizer, model = word_tokenizer(), AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    rows = []
    for text, pair in zip(texts.texts, texts.pairs or [None] * len(texts), strict=True):
        inputs = tokenizer(text, pair, truncation=True, max_length=limit, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        total = sum(states[position] for position in range(len(states)))
        assert isinstance(total, Tensor)
        mean = total / len(states)
        rows.append(mean / mean.square().sum().sqrt())
    return torch.stack(rows)


@pytest.mark.parametrize("pairs", [False, True])
def test_vectors_are_means_of_states_of_length_1(encoder: Path, pairs: bool) -> None:
    texts = keyword_examples(150, pairs=pairs)  # three batches of several lengths
    found = vectors_of(encoder, texts)
    assert found.shape == (150, WIDTH) and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), plain_vectors(encoder, texts), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(150))


def test_the_second_text_counts(encoder: Path) -> None:
    pairs = Examples.of(["superb word1"] * 2, [0, 1], ["a", "b"], ["awful", "word3 word4"])
    found = vectors_of(encoder, pairs)
    assert not torch.allclose(found[0], found[1], atol=1e-2)
    joined = Examples.of(["superb word1 [SEP] awful"], [0], ["a", "b"])  # the same tokens, other segments
    assert not torch.allclose(vectors_of(encoder, joined)[0], found[0], atol=1e-3)


def test_neither_order_nor_company_matters(encoder: Path) -> None:
    texts, order = keyword_examples(100), np.random.default_rng(0).permutation(100)
    found = vectors_of(encoder, texts)
    torch.testing.assert_close(vectors_of(encoder, texts.select(order)), found[torch.as_tensor(order)])
    alone = torch.cat([vectors_of(encoder, texts.select([i])) for i in range(5)])
    torch.testing.assert_close(alone, found[:5])


def test_the_model_s_limits_hold(encoder: Path) -> None:
    texts = keyword_examples(8, filler=60)
    assert max(len(text.split()) for text in texts.texts) > POSITIONS
    whole = vectors_of(encoder, texts, max_length=512)
    torch.testing.assert_close(whole.double(), plain_vectors(encoder, texts), rtol=0, atol=1e-5)
    short = vectors_of(encoder, texts, max_length=8)
    torch.testing.assert_close(short.double(), plain_vectors(encoder, texts, limit=8), rtol=0, atol=1e-5)
    about = json.loads((encoder / "tokenizer_config.json").read_text())
    (encoder / "tokenizer_config.json").write_text(json.dumps(about | {"model_max_length": 8}))
    torch.testing.assert_close(vectors_of(encoder, texts, max_length=512), short)


def test_positions_behind_the_padding_s(encoder: Path) -> None:
    config = BertConfig.from_pretrained(encoder).to_dict() | {"model_type": "roberta", "type_vocab_size": 2}
    model = RobertaModel(RobertaConfig(**{k: v for k, v in config.items() if k != "architectures"}))
    model.save_pretrained(encoder)
    assert frozen._positions(model) == POSITIONS - 2  # padding is token 1: position 2 is the first
    assert frozen._positions(random_bert()) == POSITIONS
    texts = keyword_examples(8, filler=60)
    plain = plain_vectors(encoder, texts, limit=POSITIONS - 2)
    torch.testing.assert_close(vectors_of(encoder, texts).double(), plain, rtol=0, atol=1e-5)


def test_a_model_without_a_limit() -> None:
    model = T5EncoderModel(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    assert frozen._positions(model) == sys.maxsize


def test_embedding_leaves_the_random_state(encoder: Path) -> None:
    state = torch.get_rng_state()
    vectors_of(encoder, keyword_examples(10))
    assert torch.equal(torch.get_rng_state(), state)


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were embedded, a number each time."""
    calls: list[int] = []
    real = Embedder._embed

    def counted(self: Embedder, texts: Examples, *arguments: Any) -> Tensor:
        calls.append(len(texts))
        return real(self, texts, *arguments)

    monkeypatch.setattr(Embedder, "_embed", counted)
    return calls


def test_texts_are_embedded_once_whatever_their_labels(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = keyword_examples(40)
    first = Embedder(str(encoder), max_length=64).vectors(texts)

    def forbidden(*_: Any) -> Tensor:
        raise AssertionError("embedded again")

    monkeypatch.setattr(Embedder, "_embed", forbidden)
    flipped = Embedder(str(encoder), max_length=64).vectors(texts.with_labels(1 - texts.labels))
    assert torch.equal(flipped.vectors, first.vectors)
    assert torch.equal(flipped.labels, 1 - first.labels)
    renamed = replace(texts, label_names=("x", "y", "z"), idx=texts.idx + 7)
    assert Embedder(str(encoder), max_length=64).vectors(renamed).classes == 3
    elsewhere = shutil.copytree(encoder, tmp_path / "copy")
    assert torch.equal(vectors_of(elsewhere, texts), first.vectors)  # the same encoder in another place
    assert len(cached(tmp_path)) == 1


def test_what_decides_the_vectors_embeds_again(encoder: Path, tmp_path: Path, embedded: list[int]) -> None:
    texts = keyword_examples(30)
    first = vectors_of(encoder, texts)
    vectors_of(encoder, texts, max_length=8)
    vectors_of(encoder, texts.select(range(29)))
    vectors_of(encoder, texts.select(range(29, -1, -1)))
    vectors_of(encoder, replace(texts, pairs=texts.texts))
    assert embedded == [30, 30, 29, 30, 30]
    save_encoder(encoder, seed=1)  # other weights under the same name
    assert not torch.allclose(vectors_of(encoder, texts), first, atol=1e-2)
    tokenizer = json.loads((encoder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (encoder / "tokenizer.json").write_text(json.dumps(tokenizer))
    vectors_of(encoder, texts)
    assert embedded[5:] == [30, 30] and len(cached(tmp_path)) == 7


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _without_seal(path: Path) -> None:
    save_file(load_file(path), path)


def _other_tensor(path: Path) -> None:
    save_file({"something": torch.ones(3)}, path, {SEAL: "0" * 64})


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "one bit": _flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(b"\xff" * 500),
    "no seal": _without_seal,
    "another tensor": _other_tensor,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_vectors_are_set_aside(
    damage: str, encoder: Path, tmp_path: Path, embedded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    texts = keyword_examples(20)
    first = vectors_of(encoder, texts)
    (place,) = cached(tmp_path)
    DAMAGES[damage](place)
    assert torch.equal(vectors_of(encoder, texts), first) and embedded == [20, 20]
    assert "set aside" in capsys.readouterr().out
    assert len(list(place.parent.glob("*.damaged-*"))) == 1
    vectors_of(encoder, texts)
    assert embedded == [20, 20]


def test_two_processes_may_find_the_same_damage(
    encoder: Path, tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one mends it while this one waits for the lock: the good file stays."""
    texts, locked = keyword_examples(20), frozen.locked
    first = vectors_of(encoder, texts)
    (place,) = cached(tmp_path)
    good = place.read_bytes()
    _flip(place)

    @contextmanager
    def mended_meanwhile(path: Path) -> Iterator[None]:
        with locked(path):
            place.write_bytes(good)
            yield

    monkeypatch.setattr(frozen, "locked", mended_meanwhile)
    assert torch.equal(vectors_of(encoder, texts), first) and embedded == [20]
    assert place.read_bytes() == good and not list(place.parent.glob("*.damaged-*"))


def test_an_interrupted_embedding_leaves_nothing(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(frozen, "_means", interrupted)
        vectors_of(encoder, keyword_examples(20))
    assert cached(tmp_path) == []


def test_embedding_goes_on_after_a_kill(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, means, sizes = keyword_examples(30), frozen._means, list[int]()
    monkeypatch.setattr(frozen, "BATCH", 8)
    expected = vectors_of(encoder, texts)
    (place,) = cached(tmp_path)
    place.unlink()

    def killed_in_the_second(model: Any, batch: Any) -> Tensor:
        sizes.append(len(batch.labels))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return means(model, batch)

    monkeypatch.setattr(frozen, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(frozen, "_means", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        vectors_of(encoder, texts)
    assert torch.equal(vectors_of(encoder, texts), expected)
    assert sizes == [8, 8, 8, 8, 6]  # the second batch twice
    assert [path.name for path in place.parent.iterdir()] == [place.name]


# --- encoders that will not do ----------------------------------------------------------------------------------------


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")


def _pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    maps = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "unheard-of", "auto_map": maps}))
    (folder / "code.py").write_text("raise SystemExit('run')\n")


def _without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _half_the_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1" not in k}, folder / "model.safetensors", {"format": "pt"})


def _not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an LFS pointer": (_pointer, "model.safetensors is a Git LFS pointer, not the file itself; fetch it"),
    "a pickle": (_pickle, "model.safetensors"),
    "code of its own": (_remote_code, "contains custom code"),
    "no tokenizer": (_without_tokenizer, "tokenizer"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "half the weights": (_half_the_weights, "its weights lack encoder.layer.1."),
    "not finite": (_not_finite, "makes vectors that are not finite"),
    "cut short": (_cut, "no encoder could be loaded"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "no encoder could be loaded"),
    "nothing": (shutil.rmtree, "no encoder could be loaded"),
}


class NoStdin:
    """Notes whether anything was asked: a prompt would hang a script."""

    def __init__(self) -> None:
        self.asked = False

    def __getattr__(self, name: str) -> Any:
        self.asked = True
        raise EOFError


@pytest.mark.parametrize("case", REFUSED)
def test_an_encoder_that_will_not_do_is_refused_in_one_sentence(
    case: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, words = REFUSED[case]
    spoil(encoder)
    stdin = NoStdin()
    monkeypatch.setattr(sys, "stdin", stdin)
    tam = TamConfig("frozen", path=str(encoder), hidden=0)
    with pytest.raises(ValueError) as caught:
        learn_weights(keyword_examples(20), tam=tam, iterations=1)
    assert words in str(caught.value) and repr(str(encoder)) in str(caught.value) and "\n" not in str(caught.value)
    assert cached(tmp_path) == [] and not stdin.asked


# --- vectors and the head ---------------------------------------------------------------------------------------------


def some_vectors(n: int = 60, *, classes: int = 3, width: int = 5, seed: int = 0) -> Vectors:
    """Overlapping clusters, float64."""
    rng = np.random.default_rng(seed)
    centres, labels = np.random.default_rng(9).normal(size=(classes, width)), np.arange(n) % classes
    values = centres[labels] + rng.normal(size=(n, width))
    return Vectors(torch.as_tensor(values), torch.as_tensor(labels), classes)


def test_vectors_are_samples() -> None:
    data = some_vectors(10)
    assert len(data) == 10 and data.sizes.tolist() == [1] * 10 and data.device == torch.device("cpu")
    rows = np.array([7, 2, 2])
    picked = data.select(rows)
    for batch in (data.batch(rows), data.gather(torch.as_tensor(rows), 99), picked.batch(np.arange(3))):
        assert torch.equal(batch.vectors, data.vectors[[7, 2, 2]]) and batch.labels.tolist() == [1, 2, 2]
    assert picked.classes == 3 and len(picked) == 3
    other = data.with_labels(np.zeros(10))
    assert other.labels.dtype == torch.int64 and not other.labels.any() and other.vectors is data.vectors
    assert not all(torch.equal(a, b) for a, b in zip(data.content(), other.content(), strict=True))


def test_a_linear_head_starts_at_zero(encoder: Path) -> None:
    tam = TamConfig("frozen", path=str(encoder), hidden=0)
    for seed in (0, 1):
        model = tam.build(tam.tokenizer(keyword_examples(4)), 4, seed=seed)
        assert [tuple(p.shape) for p in model.parameters()] == [(4, WIDTH), (4,)]
        assert not any(bool(p.any()) for p in model.parameters())


def test_a_hidden_layer_starts_from_the_seed(encoder: Path) -> None:
    tam = TamConfig("frozen", path=str(encoder), hidden=7)
    tokenizer, state = tam.tokenizer(keyword_examples(4)), torch.get_rng_state()
    one, same, other = (tam.build(tokenizer, 3, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: tuple(value.shape) for name, value in one.items()} == {
        "body.weight": (7, WIDTH),
        "body.bias": (7,),
        "linear.weight": (3, 7),
        "linear.bias": (3,),
    }
    assert all(torch.equal(one[name], same[name]) for name in one)
    for name, width in (("body.weight", WIDTH), ("linear.weight", 7)):
        assert not torch.equal(one[name], other[name])
        assert 0.5 * width**-0.5 < float(one[name].abs().max()) <= width**-0.5
    assert not one["body.bias"].any() and not one["linear.bias"].any()


def test_the_head_is_its_formula() -> None:
    data = some_vectors(6)
    batch = VectorBatch(data.vectors, data.labels)
    for hidden in (0, 4):
        torch.manual_seed(0)
        head = Head(5, 3, hidden=hidden).double()
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter)
        p = {name: value.detach().numpy() for name, value in head.named_parameters()}
        inner = np.tanh(data.vectors.numpy() @ p["body.weight"].T + p["body.bias"]) if hidden else data.vectors.numpy()
        np.testing.assert_allclose(head(batch).detach().numpy(), inner @ p["linear.weight"].T + p["linear.bias"])


def test_a_frozen_tam_needs_an_encoder() -> None:
    with pytest.raises(ValueError, match="a frozen TAM needs path"):
        TamConfig("frozen")


def test_a_head_is_trained_and_measured() -> None:
    data, held_out = some_vectors(300), some_vectors(300, seed=1)
    single = replace(data, vectors=data.vectors.float())
    for hidden in (0, 8):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            head = Head(5, 3, hidden=hidden)
        history = fit(head, single, epochs=20, lr=0.05, batch_size=32)
        assert history[-1].loss < history[0].loss
        found = evaluate(head, replace(held_out, vectors=held_out.vectors.float()))
        assert found.accuracy > 0.7 and found.accuracy == found.correct.mean()
        logits = head(held_out.batch(np.arange(300)).__class__(held_out.vectors.float(), held_out.labels))
        assert found.correct.tolist() == (logits.argmax(1) == held_out.labels).tolist()


# --- the meta-gradient ------------------------------------------------------------------------------------------------


def trained_head(hidden: int, data: Vectors) -> Head:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = Head(data.vectors.shape[1], data.classes, hidden=hidden).double()
    fit(head, data, epochs=3, lr=0.05, batch_size=16)
    return head


def some_weights(n: int) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 0.9 + 0.05


def probabilities(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    logits = x @ weight.T + bias
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def closed_form(
    head: Head, data: Vectors, outer: Vectors, weights: Tensor, lr: float, factors: np.ndarray | None = None
) -> np.ndarray:
    """-(lr / S) sum_k (p_ik - y_ik) (V x_i + u)_k, (V, u) the gradient of the mean of 4 c_y (1 - p_y)."""
    weight, bias = (p.detach().double().numpy() for p in (head.linear.weight, head.linear.bias))
    x, z = data.vectors.double().numpy(), outer.vectors.double().numpy()
    y, t = (np.eye(data.classes)[samples.labels.numpy()] for samples in (data, outer))
    c = np.ones(data.classes) if factors is None else factors
    p, q = probabilities(x, weight, bias), probabilities(z, weight, bias)
    q_label = (q * t).sum(1, keepdims=True)
    by_logits = 4 * c[outer.labels.numpy()][:, None] * q_label * (q - t) / len(outer)
    along = x @ (by_logits.T @ z).T + by_logits.sum(0)
    return np.asarray(-(lr / float(weights.detach().sum())) * ((p - y) * along).sum(1))


def definition(head: Head, data: Vectors, outer: Vectors, weights: Tensor, lr: float) -> Tensor:
    """d/dw L_robust(theta - lr grad sum_j w_j l_j / S), S constant, by autograd in float64 for a tiny step, scaled."""
    tiny = 1e-9
    theta = {name: p.detach().double().requires_grad_() for name, p in head.named_parameters()}
    w = weights.double().requires_grad_()

    def logits(parameters: dict[str, Tensor], samples: Vectors) -> Tensor:
        inner = samples.vectors.double()
        if "body.weight" in parameters:
            inner = (inner @ parameters["body.weight"].T + parameters["body.bias"]).tanh()
        return inner @ parameters["linear.weight"].T + parameters["linear.bias"]

    loss = F.cross_entropy(logits(theta, data), data.labels, reduction="none")
    gradients = torch.autograd.grad((w * loss).sum() / w.sum().detach(), list(theta.values()), create_graph=True)
    moved = {name: p - tiny * g for (name, p), g in zip(theta.items(), gradients, strict=True)}
    p_label = logits(moved, outer).softmax(-1)[torch.arange(len(outer)), outer.labels]
    return torch.autograd.grad((4 * (1 - p_label)).mean(), w)[0] * (lr / tiny)


@pytest.mark.parametrize("method", derivative.METHODS)
@pytest.mark.parametrize("hidden", [0, 6])
def test_the_meta_gradient_is_its_definition(hidden: int, method: str) -> None:
    data, outer, weights = some_vectors(), some_vectors(40, seed=1), some_weights(60)
    head, lr = trained_head(hidden, data), 1e-2
    before = copy.deepcopy(head.state_dict())
    found = meta_gradient(head, data, outer, weights=weights, lr=lr, method=method).values
    limit = 1e-4 if method == "difference" else 1e-7
    expected = definition(head, data, outer, weights, lr)
    assert float((found - expected).norm() / expected.norm()) < limit
    if not hidden:
        exact = closed_form(head, data, outer, weights, lr)
        assert np.linalg.norm(found.numpy() - exact) / np.linalg.norm(exact) < (limit if limit > 1e-5 else 1e-12)
    assert (found > 0).any() and (found < 0).any()
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_a_head_takes_the_exact_way() -> None:
    assert derivative.default_method(Head(4, 2)) == "dual"


class Seen:
    """What ``iterations`` asked for and got in each iteration, with a copy of the trained head."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, Any]] = []
        self.steps: list[Tensor] = []  # what the scores moved against
        self.inner: list[Tensor] = []  # what the samples weighed in the inner loop
        real, real_step, real_set = reweight.meta_gradient, reweight.State.step, Trainer.set_weights

        def watched(model: Head, data: Vectors, outer: Vectors, **options: Any) -> Any:
            found = real(model, data, outer, **options)
            call = {"head": copy.deepcopy(model), "data": data, "outer": outer, "values": found.values.clone()}
            self.calls.append(call | options | {"weights": options["weights"].clone()})
            return found

        def step(state: reweight.State, gradient: Tensor, lr: float) -> None:
            self.steps.append(gradient.clone())
            real_step(state, gradient, lr)

        def set_weights(trainer: Trainer, weights: Tensor) -> None:
            self.inner.append(weights.clone())
            real_set(trainer, weights)

        monkeypatch.setattr(Trainer, "set_weights", set_weights)
        monkeypatch.setattr(reweight, "meta_gradient", watched)
        monkeypatch.setattr(reweight.State, "step", step)


@pytest.mark.filterwarnings("ignore:the weights say little")  # after three iterations
@pytest.mark.parametrize("hidden", [0, 6])
def test_learn_weights_takes_the_meta_gradient_of_the_frozen_tam(
    hidden: int, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    tam = TamConfig("frozen", path=str(encoder), hidden=hidden, lr=0.02, inner_epochs=12)
    texts = with_noise(keyword_examples(90, classes=3, filler=1), uniform_noise(0.2, 3), seed=0)
    learned = learn_weights(texts, tam=tam, iterations=3)
    assert len(seen.calls) == 3 and len(learned.weights) == 90
    for call in seen.calls:
        arguments = (call["head"], call["data"], call["outer"], call["weights"], call["lr"])
        assert call["lr"] == 0.02 and bool(call["head"].linear.weight.any())
        expected = definition(*arguments)
        assert float((call["values"].double() - expected).norm() / expected.norm()) < 1e-4
        if not hidden:
            exact = closed_form(*arguments)
            assert np.linalg.norm(call["values"].numpy() - exact) / np.linalg.norm(exact) < 1e-4


# --- balanced ---------------------------------------------------------------------------------------------------------


def last_weights(data: Vectors, **settings: Any) -> np.ndarray:
    head = Head(data.vectors.shape[1], data.classes).to(data.vectors.dtype)
    bilevel = Bilevel(**{"iterations": 4, "inner_epochs": 3, "inner_lr": 0.05, "batch_size": 16} | settings)
    *_, state = iterations(data, [head], bilevel, seed=0)
    return state.weights.numpy()


def unequal(dtype: torch.dtype = torch.float64) -> Vectors:
    """60 samples with labels 0 (41), 1 (15) and 2 (4)."""
    data = some_vectors().with_labels(np.repeat([0, 1, 2], [41, 15, 4]))
    return replace(data, vectors=data.vectors.to(dtype))


def test_class_factors_are_n_by_k_n_k(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data = Seen(monkeypatch), unequal(torch.float32)
    last_weights(data, balanced=True)
    c = np.array([60 / (3 * 41), 60 / (3 * 15), 60 / (3 * 4)])
    assert (41 * c[0] + 15 * c[1] + 4 * c[2]) / 60 == pytest.approx(1)  # the loss keeps its scale
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 0])
    plain = losses.reverse_cross_entropy(logits, labels).numpy()
    for call, inner in zip(seen.calls, seen.inner, strict=True):
        np.testing.assert_allclose(call["outer_loss"](logits, labels).numpy(), c[labels.numpy()] * plain, rtol=1e-6)
        expected = call["weights"].numpy() * c[data.labels.numpy()] ** 0.75
        np.testing.assert_allclose(inner.numpy(), expected, rtol=1e-6)


def test_without_balanced_there_are_no_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, data = Seen(monkeypatch), unequal(torch.float32)
    last_weights(data, outer_loss=losses.cross_entropy)
    for call, inner, step in zip(seen.calls, seen.inner, seen.steps, strict=True):
        assert call["outer_loss"] is losses.cross_entropy
        assert torch.equal(inner, call["weights"]) and torch.equal(step, call["values"])


def test_balanced_classes_are_balanced_already() -> None:
    data = replace(some_vectors(), vectors=some_vectors().vectors.float())
    assert torch.bincount(data.labels).tolist() == [20, 20, 20]
    np.testing.assert_allclose(last_weights(data, balanced=True), last_weights(data, balanced=False), atol=1e-6)
    unbalanced = unequal(torch.float32)
    assert np.abs(last_weights(unbalanced, balanced=True) - last_weights(unbalanced)).max() > 0.1


def test_the_balanced_meta_gradient_is_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    # The derivative by w_i of the outer loss with factors c after a step on sum_j w_j c_j^(3/4) l_j / S.
    seen = Seen(monkeypatch)
    data = unequal(torch.float32)
    last_weights(data, balanced=True)
    c = 60 / (3 * np.array([41, 15, 4]))
    assert len(seen.steps) == 4
    for call, step in zip(seen.calls, seen.steps, strict=True):
        arguments = (call["head"], call["data"], call["outer"], call["weights"], call["lr"])
        exact = c[data.labels.numpy()] ** 0.75 * closed_form(*arguments, factors=c)
        assert np.linalg.norm(step.numpy() - exact) / np.linalg.norm(exact) < 1e-4


def test_a_label_without_samples_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    data = replace(unequal(torch.float32), classes=5)
    seen = Seen(monkeypatch)
    weights = last_weights(data, balanced=True)
    assert np.isfinite(weights).all() and weights.std() > 0.1
    loss = seen.calls[0]["outer_loss"](torch.zeros(5, 5), torch.arange(5)).numpy()
    counts = np.array([41, 15, 4, 1, 1])  # a label that only another outer set has counts as if it were there once
    np.testing.assert_allclose(loss, 4 * 0.8 * 60 / (5 * counts), rtol=1e-6)


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.fixture
def placed(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Examples]:
    """Texts whose vectors are separable clusters, whatever the encoder makes of them."""
    table: dict[str, np.ndarray] = {}

    def make(n: int, *, classes: int, seed: int = 0, spread: float = 0.12) -> Examples:
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % classes
        values = np.eye(WIDTH)[labels] + spread * rng.normal(size=(n, WIDTH))
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        names = [f"{classes} classes, {seed}: {i}" for i in range(n)]
        table.update(zip(names, values, strict=True))
        return Examples.of(names, labels, [f"class{k}" for k in range(classes)])

    def embed(self: Embedder, texts: Examples, *_: Any) -> Tensor:
        return torch.as_tensor(np.array([table[text] for text in texts.texts]), dtype=torch.float32)

    monkeypatch.setattr(Embedder, "_embed", embed)
    return make


FITTING: dict[str, Any] = {"hidden": 0, "lr": 4e-2, "batch_size": 128, "inner_epochs": 6}


def frozen_weights(encoder: Path, texts: Examples, **settings: Any) -> LearnedWeights:
    tam = TamConfig("frozen", path=str(encoder), **FITTING)
    return learn_weights(texts, tam=tam, **{"iterations": 20, "balanced": True} | settings)


NOISES: dict[str, Callable[[int], np.ndarray]] = {
    "uniform 20 %": lambda classes: uniform_noise(0.2, classes),
    "uniform 40 %": lambda classes: uniform_noise(0.4, classes),
    "class-dependent 30 %": lambda classes: class_noise(0.3, classes),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("classes", [2, 4])
def test_planted_flips_lose_weight(classes: int, noise: str, encoder: Path, placed: Callable[..., Examples]) -> None:
    clean = placed(600, classes=classes)
    noisy = with_noise(clean, NOISES[noise](classes), seed=0)
    right = noisy.labels == clean.labels
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # good weights go without a warning
        weights = frozen_weights(encoder, noisy).weights
    assert 0.15 < 1 - right.mean() < 0.45
    assert roc_auc_score(right, weights) > 0.95
    for label in range(classes):  # also within each label, where no class mean helps
        rows = noisy.labels == label
        assert roc_auc_score(right[rows], weights[rows]) > 0.95


def test_class_dependent_flips_without_balanced_are_no_silent_harm(
    encoder: Path, placed: Callable[..., Examples]
) -> None:
    # Why ``balanced`` is the default: one class takes all weights, or the weights say which label a text has.
    for classes in (2, 4):
        clean = placed(600, classes=classes)
        noisy = with_noise(clean, class_noise(0.3, classes), seed=0)
        if classes == 2:
            with pytest.raises(Diverged, match="only one class has weights left"):
                frozen_weights(encoder, noisy, balanced=False)
        else:
            with pytest.warns(UserWarning, match=r"the weights say little .* balanced=True"):
                weights = frozen_weights(encoder, noisy, balanced=False).weights
            assert roc_auc_score(noisy.labels == clean.labels, weights) < 0.8


def test_the_same_bits_again_and_after_a_checkpoint(
    encoder: Path, tmp_path: Path, placed: Callable[..., Examples]
) -> None:
    noisy = with_noise(placed(200, classes=3), uniform_noise(0.3, 3), seed=0)
    for hidden in (0, 5):
        tam = TamConfig("frozen", path=str(encoder), **FITTING | {"hidden": hidden})
        settings: dict[str, Any] = {"tam": tam, "balanced": True, "seed": 4}
        whole = learn_weights(noisy, iterations=6, **settings).weights
        assert np.array_equal(learn_weights(noisy, iterations=6, **settings).weights, whole)
        place = tmp_path / f"{hidden}.safetensors"
        learn_weights(noisy, iterations=2, checkpoint=place, **settings)
        resumed = learn_weights(noisy, iterations=6, checkpoint=place, **settings)
        assert np.array_equal(resumed.weights, whole) and len(resumed.history) == 6
        other = noisy.with_labels((noisy.labels + 1) % 3)
        with pytest.raises(ValueError, match="belongs to another run"):
            learn_weights(other, iterations=6, checkpoint=place, **settings)


def test_resuming_against_other_vectors_is_refused(encoder: Path, tmp_path: Path) -> None:
    tam, place = TamConfig("frozen", path=str(encoder), **FITTING), tmp_path / "weights.safetensors"
    learn_weights(keyword_examples(40), tam=tam, iterations=2, checkpoint=place)
    save_encoder(encoder, seed=1)
    with pytest.raises(ValueError, match="belongs to another run"):
        learn_weights(keyword_examples(40), tam=tam, iterations=4, checkpoint=place)


def test_texts_through_the_whole_path(encoder: Path) -> None:
    # The mean state of a random BERT keeps the words of a short text: planted flips can be found.
    clean = keyword_examples(400, filler=1)
    noisy = with_noise(clean, uniform_noise(0.2, 2), seed=1)
    tam = TamConfig("frozen", path=str(encoder), **FITTING | {"inner_epochs": 15})
    weights = learn_weights(noisy, tam=tam, iterations=12, balanced=True).weights
    assert roc_auc_score(noisy.labels == clean.labels, weights) > 0.9


def test_subsets_of_a_pool_are_embedded_once(encoder: Path, embedded: list[int]) -> None:
    pool = keyword_examples(30)
    tam = TamConfig("frozen", path=str(encoder), **FITTING)
    whole = tam.prepare(pool, seed=0).data
    for rows in (np.array([3, 5, 8]), np.arange(0, 30, 2)):
        part = tam.prepare(pool, seed=0, rows=rows).data
        assert torch.equal(part.content()[0], whole.content()[0][rows]) and torch.equal(part.labels, whole.labels[rows])
    assert embedded == [30]


def test_a_vocabulary_is_that_of_the_rows_that_are_trained_on() -> None:
    pool, rows = keyword_examples(30), np.array([3, 5, 8])
    tam = TamConfig(embedding=4, hidden=4)
    some, same = tam.prepare(pool, seed=0, rows=rows), tam.prepare(pool.select(rows), seed=0)
    assert all(map(torch.equal, some.data.content(), same.data.content()))
    assert len(some.tokenizer) == len(same.tokenizer) < len(tam.prepare(pool, seed=0).tokenizer)  # type: ignore[arg-type]
