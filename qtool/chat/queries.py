"""Questions to an engine besides completions: what it has loaded, what a prompt looks like.

``/apply-template``, ``/tokenize`` and ``/props`` are llama.cpp's (its tools/server/README.md);
``/v1/models`` is everybody's, with ``meta.n_ctx`` (llama.cpp, ours) or ``max_model_len`` (vLLM).
"""

import contextlib
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtool.chat.client import (
    FOREIGN,
    TemplateEndlessError,
    another_template,
    connect,
    error_message,
    request_json,
    server_failure,
)
from qtool.chat.deadline import cut_off_after
from qtool.chat.messages import Message
from qtool.engines.base import Endpoint, EngineKind
from qtool.errors import AuthError, NetworkError, QtoolError, UsageError
from qtool.language.message import say

TIMEOUT_S = 10
"""All that is asked here costs milliseconds; a server that is busy may be asked again."""

DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")
"""Sampling values that llama.cpp tells under the names that a request has for them."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is none: its status, and what it says."""

    status: int
    message: str


def render_prompt(endpoint: Endpoint, messages: Sequence[Message]) -> str:
    """Return the text that the model's template makes of ``messages``.

    Raises:
        UsageError: the engine does not tell.
        TemplateEndlessError: it does not come to an end in llama.cpp, where it goes on after that.
        NetworkError: it cannot be reached.
    """
    body = {"messages": [message.to_api() for message in messages]}
    try:
        answer = _ask(endpoint, "POST", "/apply-template", body)
    except NetworkError as exc:
        is_rendering = endpoint.engine == EngineKind.LLAMA_CPP  # others may be busy with a reply
        if is_rendering and isinstance(exc.__cause__, TimeoutError):
            raise TemplateEndlessError(
                say("the model's chat template was stopped after {n} s", n=TIMEOUT_S),
                hint=another_template(),
            ) from exc
        raise
    if not isinstance(answer, dict) or not isinstance(answer.get("prompt"), str):
        told = say("the {engine} engine does not show its prompts", engine=endpoint.engine)
        raise UsageError(told)
    return str(answer["prompt"])


def count_tokens(endpoint: Endpoint, text: str) -> int | None:
    """Return how many tokens ``text`` has; ``None`` where the engine does not tell."""
    answer = _ask(endpoint, "POST", "/tokenize", {"content": text})
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    return len(tokens) if isinstance(tokens, list) else None


def find_defaults(endpoint: Endpoint) -> dict[str, float | None]:
    """Return the sampling values that llama.cpp draws by where a request names none."""
    if endpoint.engine != EngineKind.LLAMA_CPP:
        return {}
    answer = _ask(endpoint, "GET", "/props", None)
    settings = answer.get("default_generation_settings") if isinstance(answer, dict) else None
    values = settings.get("params") if isinstance(settings, dict) else None
    if not isinstance(values, dict):
        return {}
    known = {name: values.get(name) for name in DEFAULTS}
    return {name: value for name, value in known.items() if isinstance(value, int | float)}


def list_models(endpoint: Endpoint) -> dict[str, int | None]:
    """Return the names of the models served, each with its context length in tokens if known.

    Raises:
        AuthError: the key is refused.
        NetworkError: the server cannot be reached, or answers something else.
    """
    answer = _ask(endpoint, "GET", "/v1/models", None)
    if isinstance(answer, Refused):
        told = say("{url}/v1/models answers {status}", url=endpoint.url, status=answer.status)
        raise NetworkError(told + f": {answer.message}" if answer.message else told)
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise NetworkError(say("{url}/v1/models answers no list of models", url=endpoint.url))
    models = [item for item in items if isinstance(item, dict)]
    return {str(item["id"]): _context(item) for item in models if item.get("id")}


def find_context_length(endpoint: Endpoint) -> int | None:
    """Return the context length in tokens that the engine serves, if it tells."""
    try:
        return list_models(endpoint).get(endpoint.model)
    except QtoolError:
        return None  # the request for a reply says what is wrong


def _context(item: Mapping[str, Any]) -> int | None:
    meta = item.get("meta")
    candidates = (meta.get("n_ctx") if isinstance(meta, dict) else None, item.get("max_model_len"))
    return next((n for n in candidates if isinstance(n, int) and n > 0), None)


def _ask(endpoint: Endpoint, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
    """Return the JSON answer, or why there is none."""
    try:
        connection = connect(endpoint, TIMEOUT_S)
        with contextlib.closing(connection):
            connection.connect()
            with cut_off_after(connection.sock, TIMEOUT_S):
                response = request_json(connection, endpoint, method, path, body)
                data, status = response.read(MAX_ANSWER_BYTES), response.status
    except (OSError, ValueError, http.client.HTTPException) as exc:  # ValueError: a bad chunk size
        if endpoint.engine == FOREIGN:
            raise server_failure(endpoint, exc) from exc
        reason = str(exc) or type(exc).__name__
        raise NetworkError(say("cannot reach {url}: {why}", url=endpoint.url, why=reason)) from exc
    if status in (401, 403):
        raise AuthError(say("{url} refuses the key", url=endpoint.url))
    if status != http.client.OK:
        return Refused(status, error_message(data))
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return Refused(status, f"no JSON: {data[:80]!r}")
