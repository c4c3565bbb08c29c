"""The client of an engine: one streamed chat completion over HTTP.

Source: https://platform.openai.com/docs/api-reference/chat/create, and llama.cpp's
tools/server/README.md for ``cache_prompt`` and the errors.
"""

import http.client
import json
import re
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from qtool.chat.deadline import AnswerTooSlow, PromptHead, cut_off_after
from qtool.chat.hints import OWN_COMMAND
from qtool.chat.messages import Message, Role
from qtool.chat.reasoning import Piece, split_reasoning
from qtool.chat.request import Sampling
from qtool.chat.stream import MAX_LINE_BYTES, count_of, read_events, read_reply
from qtool.engines.base import Endpoint
from qtool.errors import (
    AuthError,
    EnvironmentFault,
    IntegrityError,
    NetworkError,
    QtoolError,
    ResourceError,
    UsageError,
)
from qtool.language.message import say

CONNECT_TIMEOUT_S = 10
ERROR_TIMEOUT_S = 10
MAX_ERROR_BYTES = 64 * 1024


_TEMPLATE = re.compile(r"chat.template|for this template|jinja|roles must alternate", re.IGNORECASE)
"""How engines say that rendering the messages failed."""

_TOO_LONG = re.compile(r"maximum context length|context_length_exceeded", re.IGNORECASE)
"""How servers without a type or code of their own say that the conversation is too long."""

_BOUNDED = re.compile(r"template was stopped|template wants more|bad_alloc")
"""A template that ran into a bound; other messages would not mend that, but take as long."""

CONTINUING = {"continue_final_message": True, "add_generation_prompt": False}
"""Let the reply go on from the last message: vLLM's names, which our own server takes as well;
llama.cpp's does so unasked."""


FOREIGN = "endpoint"
"""The engine's name where the server is not ours; some refuse fields that they do not know."""


class ContextFullError(ResourceError):
    """The conversation is longer than the engine's context; the figures are there if it told."""

    code = "context_full"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        n_prompt_tokens: int | None = None,
        n_ctx_tokens: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx_tokens = n_ctx_tokens


class TemplateRefusedError(UsageError):
    """The model's chat template does not take the messages as they are."""

    code = "template"


class TemplateEndlessError(EnvironmentFault):
    """The model's chat template does not come to an end."""

    code = "template"


def stream_chat(
    endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, *, is_raw: bool = False
) -> Generator[Piece]:
    """Yield the reply to ``messages`` piece by piece, then one ``ReplyEnd``.

    ``is_raw`` lets the model go on from their bare texts, without a template.
    Closing the generator closes the connection, which stops the engine.

    Raises:
        ContextFullError: ``messages`` do not fit into the context.
        TemplateRefusedError: the template takes them not at all, or not in this order.
        AuthError: the key is wrong.
        NetworkError: the engine cannot be reached, refuses, or goes away in mid-reply.
    """
    body = {
        "model": endpoint.model,
        **_content(messages, is_raw=is_raw),
        "stream": True,
        "stream_options": {"include_usage": True},
        **({} if endpoint.engine == FOREIGN else {"cache_prompt": True}),
        **sampling.to_api(),
    }
    connection = connect(endpoint)
    try:
        connection.connect()
        sock = connection.sock
        with _post(connection, endpoint, body, is_raw=is_raw) as response:
            if response.status != 200:
                with cut_off_after(sock, ERROR_TIMEOUT_S):
                    told = response.read(MAX_ERROR_BYTES)
                raise _refusal(response.status, told, endpoint)
            yield from split_reasoning(read_reply(read_events(_lines(response))))
    except (OSError, ValueError, http.client.HTTPException) as exc:  # ValueError: a bad chunk size
        raise _lost(endpoint, exc) from exc
    finally:
        connection.close()


def connect(endpoint: Endpoint, timeout_s: float = CONNECT_TIMEOUT_S) -> http.client.HTTPConnection:
    """Return a connection to ``endpoint``, not opened yet."""
    url = urlsplit(endpoint.url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout_s)
    connection.response_class = PromptHead
    return connection


def request_json(
    connection: http.client.HTTPConnection,
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    accept: str = "application/json",
) -> http.client.HTTPResponse:
    """Send a request with the endpoint's key; ``body`` goes as JSON."""
    headers = {"Accept": accept}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    base = urlsplit(endpoint.url).path.rstrip("/")
    connection.request(method, base + path, data, headers)
    return connection.getresponse()


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield lines as they come; a longer one than any should be comes in pieces."""
    return iter(lambda: response.readline(MAX_LINE_BYTES), b"")


def _content(messages: Sequence[Message], *, is_raw: bool) -> dict[str, Any]:
    """Return the fields of a request that carry what was said."""
    if is_raw:
        return {"prompt": "".join(message.content for message in messages)}
    is_continued = bool(messages) and messages[-1].role is Role.ASSISTANT
    said = [message.to_api() for message in messages]
    return {"messages": said, **(CONTINUING if is_continued else {})}


def _post(
    connection: http.client.HTTPConnection,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    *,
    is_raw: bool,
) -> http.client.HTTPResponse:
    connection.sock.settimeout(None)  # a long prompt may take minutes before the first token
    path = "/v1/completions" if is_raw else "/v1/chat/completions"
    return request_json(connection, endpoint, "POST", path, body, "text/event-stream")


def _refusal(status: int, body: bytes, endpoint: Endpoint) -> QtoolError:
    message = error_message(body)
    if _is_context_full(status, _error(body), message):
        return ContextFullError(
            message,
            hint=say("start with a larger --ctx"),
            n_prompt_tokens=count_of(_error(body).get("n_prompt_tokens")),
            n_ctx_tokens=count_of(_error(body).get("n_ctx")),
        )
    if _error(body).get("type") == "model_error":  # ours; no request would be answered better
        hint = say("download the model anew: qtool download REPO --force")
        return IntegrityError(message, hint=hint)
    if status in (401, 403):
        return AuthError(say("{url} refuses the key: {why}", url=endpoint.url, why=message))
    if _TEMPLATE.search(message):
        failure = UsageError if _BOUNDED.search(message) else TemplateRefusedError
        told = say("the chat template fails: {why}", why=message[-300:])
        return failure(told, hint=another_template())
    return NetworkError(say("the engine answers {status}: {why}", status=status, why=message))


def another_template() -> str:
    """Return the hint for a chat template that is of no use."""
    return say("{chat} --template FILE gives another one, --raw does without", chat=OWN_COMMAND)


def error_message(body: bytes) -> str:
    """Return what the body of a refusal says, in the API's form or any other."""
    message = _error(body).get("message")
    return message if isinstance(message, str) else body[:200].decode("utf-8", "replace")


def _error(body: bytes) -> dict[str, Any]:
    """Return the error object in ``body``, empty where there is none."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _is_context_full(status: int, error: Mapping[str, Any], message: str) -> bool:
    """Tell a conversation that is too long: llama.cpp and ours name the type, OpenAI and vLLM the
    code, others say it."""
    if error.get("type") == "exceed_context_size_error":
        return True
    is_told = error.get("code") == "context_length_exceeded" or _TOO_LONG.search(message)
    return status == http.client.BAD_REQUEST and bool(is_told)


def _lost(endpoint: Endpoint, exc: Exception) -> NetworkError:
    if endpoint.engine == FOREIGN:
        return server_failure(endpoint, exc)
    reason = str(exc) or type(exc).__name__
    told = say(
        "lost the {engine} engine at {url}: {why}",
        engine=endpoint.engine,
        url=endpoint.url,
        why=reason,
    )
    return NetworkError(told)


def server_failure(endpoint: Endpoint, exc: Exception) -> NetworkError:
    """Return the failure of a server that is not ours: there is none, or it went away."""
    reason: str = exc.args[0] if isinstance(exc, AnswerTooSlow) else str(exc) or type(exc).__name__
    if isinstance(exc, ConnectionRefusedError):
        reason = say("connection refused")
    elif isinstance(exc, AnswerTooSlow) or not isinstance(exc, socket.gaierror | TimeoutError):
        told = say("lost the server at {url}: {why}", url=endpoint.url, why=reason)
        return NetworkError(told)
    return NetworkError(
        say("no server answers at {url} ({why})", url=endpoint.url, why=reason),
        hint=say(
            "curl {url}/v1/models shows whether one runs there; qtool serve MODEL starts one",
            url=endpoint.url,
        ),
    )
