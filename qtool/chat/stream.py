"""The stream of a reply: Server-Sent Events that carry chunks of a chat completion.

Sources: https://html.spec.whatwg.org/multipage/server-sent-events.html for the stream,
https://platform.openai.com/docs/api-reference/chat/streaming for the chunks, llama.cpp's
tools/server/README.md for ``timings`` and ``reasoning_content``. What other servers leave out or
write differently is unknown, never a failure.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qtool.errors import NetworkError
from qtool.language.message import say


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a reply, or of the reasoning before it."""

    text: str
    is_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The end of a reply. Counts are in tokens; ``decode_tokens_per_s`` is the engine's own."""

    finish_reason: str | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    decode_tokens_per_s: float | None = None


DONE = "[DONE]"

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Far more than any token; without an end, a line would fill the memory."""

_MAX_MIB = MAX_LINE_BYTES >> 20

MAX_COUNT = 2**53


def read_events(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each Server-Sent Event in ``lines``; one that is cut off is none.

    Raises:
        NetworkError: a line or an event has no end.
    """
    data: list[str] = []
    size_bytes = 0
    for line in lines:
        if len(line) >= MAX_LINE_BYTES:
            raise NetworkError(say("the engine sent a line of more than {n} MiB", n=_MAX_MIB))
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            if data:
                yield "\n".join(data)
            data, size_bytes = [], 0
        elif text.startswith("data:"):
            size_bytes += len(line)
            if size_bytes >= MAX_LINE_BYTES:
                raise NetworkError(say("the engine sent an event of more than {n} MiB", n=_MAX_MIB))
            data.append(text[5:].removeprefix(" "))
    if data == [DONE]:  # nothing can be missing
        yield DONE


def read_reply(events: Iterable[str]) -> Iterator[Delta | ReplyEnd]:
    """Turn the chunks of a chat completion into deltas and the end.

    Raises:
        NetworkError: the stream stops before its end, carries an error, or is no JSON.
    """
    finish_reason: str | None = None
    last: Mapping[str, Any] = {}
    for event in events:
        if event == DONE:
            yield _end(finish_reason, last)
            return
        chunk = _parse_chunk(event)
        if "usage" in chunk or "timings" in chunk:
            last = {**last, **{k: v for k, v in chunk.items() if v is not None}}
        for choice in _objects(chunk.get("choices")):
            reason = choice.get("finish_reason")
            finish_reason = reason if isinstance(reason, str) else finish_reason
            text = choice.get("text")  # of a completion without a template
            yield from _deltas(_object(choice.get("delta", {"content": text})))
    if finish_reason is None:
        raise NetworkError(say("the engine stopped in mid-reply"))
    yield _end(finish_reason, last)  # some servers leave [DONE] out


def _parse_chunk(event: str) -> dict[str, Any]:
    try:
        chunk = json.loads(event)
    except (ValueError, RecursionError) as exc:
        told = say("the engine sent something that is no JSON: {event!r}", event=event[:80])
        raise NetworkError(told) from exc
    if not isinstance(chunk, dict):
        told = say("the engine sent something that is no chunk: {event!r}", event=event[:80])
        raise NetworkError(told)
    if error := chunk.get("error"):
        message = error.get("message") if isinstance(error, dict) else error
        raise NetworkError(say("the engine failed in mid-reply: {why}", why=message))
    return chunk


def _deltas(delta: Mapping[str, Any]) -> Iterator[Delta]:
    thought = delta.get("reasoning_content") or delta.get("reasoning")  # vLLM, Ollama: the latter
    for text, is_reasoning in ((thought, True), (delta.get("content"), False)):
        if isinstance(text, str) and text:
            yield Delta(text, is_reasoning)


def _end(finish_reason: str | None, last: Mapping[str, Any]) -> ReplyEnd:
    usage, timings = _object(last.get("usage")), _object(last.get("timings"))
    details = _object(usage.get("prompt_tokens_details"))
    return ReplyEnd(
        finish_reason,
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        completion_tokens=count_of(usage.get("completion_tokens")),
        cached_tokens=count_of(details.get("cached_tokens", timings.get("cache_n"))),
        decode_tokens_per_s=_rate(timings.get("predicted_per_second")),
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    return (_object(item) for item in (value if isinstance(value, list) else ()))


def count_of(value: object) -> int | None:
    """Return ``value`` where a server sent a count; ``None`` where it is anything else."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT
    return value if is_count else None  # type: ignore[return-value]


def _rate(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_rate = is_number and 0 <= value < MAX_COUNT  # type: ignore[operator]
    return float(value) if is_rate else None  # type: ignore[arg-type]
