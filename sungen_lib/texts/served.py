"""A PLM behind an OpenAI-compatible address, ``http://host:port/v1#model``: generation by an engine such as vLLM.

For a million texts on CUDA use vLLM, whose continuous batching ``writer`` does not try to match:
``vllm serve openai-community/gpt2-xl``, and here ``plm="http://localhost:8000/v1#openai-community/gpt2-xl"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from sungen_lib.seeds import derived_seed
from sungen_lib.texts.examples import DataMissing
from sungen_lib.texts.writer import QUOTE, Sampling

ADDRESS = re.compile(r"(https?://[^\s#]+?)/?#(\S+)")
SECONDS = 600  # to wait for one text; a busy engine may queue it


def is_address(name: str) -> bool:
    """Whether ``name`` is meant as an address rather than a hub id or a folder."""
    return name.startswith(("http://", "https://"))


class Served:
    """Writes texts as ``writer.Writer`` does, by the completions endpoint of a server; ``tokens`` counts what it wrote.

    Each prompt is one request with its own seed, ``batch_size`` of them at a time: engines that take several prompts in
    a request use one seed for all, and would write the same text for equal prompts. The endpoint knows no least length
    before the closing mark, so a text of fewer than ``min_tokens`` words counts as not closed.

    Raises ``DataMissing``, one sentence, for an address without a model, for self-debiasing, which needs the PLM's
    probabilities, and if the server does not answer, refuses, or answers something else.
    """

    def __init__(self, name: str) -> None:
        parts = ADDRESS.fullmatch(name)
        if parts is None:
            raise DataMissing(f"{name!r} names no model: write the address as http://host:port/v1#model")
        self.address, self.model = parts.groups()
        self.tokens = 0
        self._open = build_opener(ProxyHandler({})).open  # the user's machines are reached directly

    @property
    def about(self) -> dict[str, Any]:
        """What decides its texts: the model, wherever it is served."""
        return {"plm": f"#{self.model}", "plm_revision": None, "chat_template": None}

    def write(
        self, prompts: Sequence[str], sampling: Sampling, *, seed: int, against: Sequence[Sequence[str]] | None = None
    ) -> list[str | None]:
        """One text per prompt, without the closing mark; ``None`` where it was not closed within ``max_tokens``."""
        if against:
            raise DataMissing("self-debiasing needs the PLM's probabilities: name a model instead of an address")
        with ThreadPoolExecutor(sampling.batch_size) as pool:
            asked = [pool.submit(self._written, p, sampling, derived_seed(seed, i)) for i, p in enumerate(prompts)]
            try:
                return [answer.result() for answer in asked]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _written(self, prompt: str, sampling: Sampling, seed: int) -> str | None:
        wanted = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens + 1}
        body = {"model": self.model, "prompt": prompt, "stop": QUOTE, "seed": seed % 2**31, **wanted}
        answer = self._answer(body)
        try:
            choice = answer["choices"][0]
            text, closed = str(choice["text"]), choice["finish_reason"] == "stop"
            self.tokens += int((answer.get("usage") or {}).get("completion_tokens", 0))
        except (KeyError, IndexError, TypeError, AttributeError):
            raise DataMissing(f"{self.address} answered no completion: is it an OpenAI-compatible server?") from None
        # vLLM also says which mark stopped the text; None is the model's end of text.
        closed &= choice.get("stop_reason", QUOTE) == QUOTE
        return text if closed and len(text.split()) >= sampling.min_tokens else None

    def _answer(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.address}/completions", json.dumps(body).encode(), headers)
        try:
            with self._open(request, timeout=SECONDS) as response:
                return json.load(response)
        except HTTPError as error:
            said = " ".join(error.read(300).decode(errors="replace").split())
            raise DataMissing(f"{self.address} refused the model {self.model!r} with {error.code}: {said}") from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            raise DataMissing(f"no PLM answers at {self.address}: {reason}; start the server there") from None
