"""Requests of the OpenAI API, checked: what is wrong is refused before it costs anything.

Sources: https://platform.openai.com/docs/api-reference/chat/create and completions/create;
``top_k``, ``min_p``, ``repeat_penalty``, ``cache_prompt`` as in llama.cpp's tools/server/README.md,
``repetition_penalty``, ``chat_template_kwargs`` and ``continue_final_message`` as in vLLM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .refusal import bad_request

MAX_STOPS = 32
MAX_LOGIT_BIAS = 100.0


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. A temperature of 0 takes the likeliest one.

    ``repetition_penalty`` divides the scores of all tokens so far, the prompt's too, as
    transformers does; the presence and frequency penalties are OpenAI's, over the reply alone.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What to write. Either ``messages`` or ``prompt`` (text or token ids) is there.

    ``only_renders``: the prompt itself is wanted, and no reply to it.
    """

    sampling: Sampling
    messages: tuple[dict[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    is_streaming: bool = False
    has_usage: bool = False
    ignores_end: bool = False
    uses_cache: bool = True
    tells_reasoning: bool = True
    continues_final_message: bool = False
    has_generation_prompt: bool = True
    tools: tuple[Any, ...] | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    only_renders: bool = False

    @property
    def is_chat(self) -> bool:
        """Tell whether it is a conversation, not a bare text to go on with."""
        return self.messages is not None


def parse_request(body: Mapping[str, Any], defaults: Sampling, *, is_chat: bool) -> Request:
    """Check ``body``; what it does not say is as in ``defaults``.

    Raises:
        Refusal: a field has a wrong type or value, or asks for what this server does not do.
    """
    fields = _Fields(body)
    if fields.integer("n", 1) != 1 or fields.integer("best_of", 1) != 1:
        raise bad_request("this server writes one reply a request", "n")
    options = fields.object("stream_options")
    messages = _messages(body.get("messages")) if is_chat else None
    is_continued = fields.boolean("continue_final_message", False)
    if is_continued and messages and messages[-1]["role"] != "assistant":
        raise bad_request("the last message is not the assistant's", "continue_final_message")
    tools = body.get("tools") or None
    if tools is not None and not isinstance(tools, list):
        raise bad_request("tools must be a list", "tools")
    return Request(
        sampling=_sampling(fields, defaults),
        messages=messages,
        prompt=None if is_chat else _prompt(body.get("prompt")),
        max_tokens=_max_tokens(fields),
        stops=_stops(body.get("stop")),
        is_streaming=fields.boolean("stream", False),
        has_usage=bool(options.get("include_usage")),
        ignores_end=fields.boolean("ignore_eos", False),
        uses_cache=fields.boolean("cache_prompt", True),
        tells_reasoning=is_chat and body.get("reasoning_format") != "none",
        continues_final_message=is_continued,
        has_generation_prompt=fields.boolean("add_generation_prompt", True),
        tools=None if tools is None else tuple(tools),
        template_arguments=fields.object("chat_template_kwargs"),
    )


class _Fields:
    """Typed access to a JSON object; ``null`` is the same as nothing.

    ``where`` goes before the names of its members in what is said of them.
    """

    def __init__(self, body: Mapping[str, Any], where: str = "") -> None:
        self._body = body
        self._where = where

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self._body.get(name)
        if value is None:
            return default
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            full = self._where + name
            raise bad_request(f"{full} must be a number from {low:g} to {high:g}", full)
        return float(value)

    def integer(self, name: str, default: Any, low: int = 0, high: int = 2**63 - 1) -> Any:
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise bad_request(f"{name} must be a whole number from {low} to {high}", name)
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self._body.get(name)
        if value is not None and not isinstance(value, bool):
            raise bad_request(f"{name} must be true or false", name)
        return default if value is None else value

    def object(self, name: str) -> dict[str, Any]:
        value = self._body.get(name)
        if value is not None and not isinstance(value, dict):
            raise bad_request(f"{name} must be an object", name)
        return value or {}


def _sampling(fields: _Fields, defaults: Sampling) -> Sampling:
    penalty = fields.number("repeat_penalty", defaults.repetition_penalty, 0.01, 100)
    return Sampling(
        temperature=fields.number("temperature", defaults.temperature, 0, 100),
        top_p=fields.number("top_p", defaults.top_p, 0, 1),
        top_k=max(0, fields.integer("top_k", defaults.top_k, low=-1)),
        min_p=fields.number("min_p", defaults.min_p, 0, 1),
        repetition_penalty=fields.number("repetition_penalty", penalty, 0.01, 100),
        presence_penalty=fields.number("presence_penalty", 0, -2, 2),
        frequency_penalty=fields.number("frequency_penalty", 0, -2, 2),
        seed=_seed(fields),
        logit_bias=_logit_bias(fields.object("logit_bias")),
    )


def _seed(fields: _Fields) -> int | None:
    """Any whole number; below zero it is a random one, as llama.cpp's -1 is."""
    seed = fields.integer("seed", None, low=-(2**63))
    return None if seed is None or seed < 0 else int(seed)


def _logit_bias(given: Mapping[str, Any]) -> dict[int, float]:
    biases = _Fields(given, "logit_bias.")
    try:
        names = {name: int(name) for name in given}
    except ValueError:
        raise bad_request("logit_bias is keyed by token ids", "logit_bias") from None
    limit = MAX_LOGIT_BIAS
    return {token: biases.number(name, 0, -limit, limit) for name, token in names.items()}


def _max_tokens(fields: _Fields) -> int | None:
    """OpenAI's newer name first; -1 is no bound, as in llama.cpp."""
    newer = fields.integer("max_completion_tokens", None, low=-1)
    limit = newer if newer is not None else fields.integer("max_tokens", None, low=-1)
    return None if limit in (None, -1) else int(limit)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise bad_request("stop must be a string or a list of strings, none of them empty", "stop")
    if len(stops) > MAX_STOPS:
        raise bad_request(f"at most {MAX_STOPS} stop strings", "stop")
    return tuple(stops)


def _prompt(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    is_list = isinstance(value, list) and value
    if is_list and all(isinstance(one, int) and not isinstance(one, bool) for one in value):
        return tuple(value)
    raise bad_request("prompt must be a string or a list of token ids", "prompt")


def _messages(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list) or not value:
        raise bad_request("messages must be a list with at least one message", "messages")
    return tuple(_message(message, f"messages[{i}]") for i, message in enumerate(value))


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise bad_request(f"{where} must be an object with a role", "messages")
    return {**message, "content": _content(message.get("content"), where)}


def _content(content: Any, where: str) -> str:
    """A message's text; parts of text are joined, and there is nothing here that sees images."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = [part.get("text") if isinstance(part, dict) else None for part in _list(content, where)]
    if not all(isinstance(text, str) for text in texts):
        raise bad_request(f"{where}: this server takes text alone", "messages")
    return "".join(str(text) for text in texts)


def _list(content: Any, where: str) -> list[Any]:
    if not isinstance(content, list):
        raise bad_request(f"{where}.content must be a string or a list of parts", "messages")
    return content
