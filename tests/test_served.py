"""A PLM behind an OpenAI-compatible address, by a small server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sungen_lib.texts import plms, tasks
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.generation import generate
from sungen_lib.texts.served import Served
from sungen_lib.texts.writer import Sampling

SAMPLING = Sampling(min_tokens=2, max_tokens=20, batch_size=8)


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next of ``server.answers``, or with a text that names its seed."""

    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        text = f" a film number {body['seed']} for you"
        choice = {"text": text, "finish_reason": "stop"} | self.server.choice
        status, answer = self.server.status, {"choices": [choice], "usage": {"completion_tokens": 7}}
        content = self.server.content or json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def server() -> Iterator[Any]:
    """A server that can be told what to answer."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.choice, server.status, server.content = [], {}, 200, None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.name = f"http://127.0.0.1:{server.server_port}/v1#some/model"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_each_prompt_gets_a_text_of_its_seed(server: Any) -> None:
    writer = Served(server.name)
    texts = writer.write(['The "', 'The "', 'A "'], SAMPLING, seed=3)
    assert len(set(texts)) == 3 and writer.tokens == 21
    assert texts == Served(server.name).write(['The "', 'The "', 'A "'], SAMPLING, seed=3)
    assert texts != writer.write(['The "', 'The "', 'A "'], SAMPLING, seed=4)
    path, body = server.asked[0]
    assert path == "/v1/completions"
    assert {key: body[key] for key in ("model", "stop", "top_p", "max_tokens")} == {
        "model": "some/model",
        "stop": '"',
        "top_p": 0.9,
        "max_tokens": 21,
    }


@pytest.mark.parametrize(
    "choice", [{"finish_reason": "length"}, {"stop_reason": None}, {"text": "short"}], ids=lambda c: next(iter(c))
)
def test_a_text_that_was_not_closed_is_none(server: Any, choice: dict[str, Any]) -> None:
    server.choice = choice
    assert Served(server.name).write(['The "'], SAMPLING, seed=0) == [None]
    server.choice = {"stop_reason": '"'}
    assert Served(server.name).write(['The "'], SAMPLING, seed=0) != [None]


def test_it_writes_a_data_set(server: Any, tmp_path: Any) -> None:
    task = tasks.get("sst2")
    task = replace(task, contexts=("Some Film",)) if task.context_prompt else task
    settings: dict[str, Any] = {"rows": 20, "seed": 0, "sampling": SAMPLING, "shard_size": 16, "folder": tmp_path}
    texts = generate(task, model=Served(server.name), **settings)
    assert len(set(texts.texts)) == 20 and sorted(texts.labels.tolist()) == [0] * 10 + [1] * 10
    asked = len(server.asked)
    elsewhere = Served("http://127.0.0.1:9/v1#some/model")  # the shards are finished: the same model, served or not
    assert generate(task, model=elsewhere, **settings).texts == texts.texts and len(server.asked) == asked
    with pytest.raises(ValueError, match="belongs to another job"):
        generate(task, model=Served(server.name.replace("some/", "other/")), **settings)


def test_what_goes_wrong_is_one_sentence(server: Any) -> None:
    def write(name: str = server.name, **options: Any) -> None:
        Served(name).write(['The "'], SAMPLING, seed=0, **options)

    with pytest.raises(DataMissing, match="names no model: write the address as"):
        write("http://127.0.0.1:8000/v1")
    with pytest.raises(DataMissing, match=r"no PLM answers at http://127.0.0.1:9/v1: .*refused.*start the server"):
        write("http://127.0.0.1:9/v1#m")
    with pytest.raises(DataMissing, match="self-debiasing needs the PLM's probabilities"):
        write(against=[['A "']])
    server.status, server.content = 404, b'{"error": "The model does not exist"}'
    with pytest.raises(DataMissing, match=r"refused the model 'some/model' with 404: .*does not exist"):
        write()
    server.status = 200
    for content in (b"{}", b"[]", b'{"choices": []}', b'{"choices": [{"text": null}]}'):
        server.content = content
        with pytest.raises(DataMissing, match="answered no completion"):
            write()
    server.content = b"<html>"
    with pytest.raises(DataMissing, match="no PLM answers at"):
        write()


def test_a_served_model_is_named_by_itself_and_only_writes() -> None:
    assert plms.identity("http://one:8000/v1#gpt2-xl") == plms.identity("http://two:9/v1#gpt2-xl") == "#gpt2-xl"
    with pytest.raises(DataMissing, match="can only write texts"):
        plms.load_plm("http://one:8000/v1#gpt2-xl")
