"""Replies as the OpenAI API writes them, with llama.cpp's ``timings``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .reasoning import Piece


@dataclass(frozen=True)
class Outcome:
    """How a reply ended. ``n_cached_tokens`` of the prompt did not have to be computed."""

    finish_reason: str
    n_prompt_tokens: int
    n_cached_tokens: int
    n_tokens: int
    prompt_s: float
    decode_s: float

    def usage(self) -> dict[str, Any]:
        """Return the counts in tokens."""
        return {
            "prompt_tokens": self.n_prompt_tokens,
            "completion_tokens": self.n_tokens,
            "total_tokens": self.n_prompt_tokens + self.n_tokens,
            "prompt_tokens_details": {"cached_tokens": self.n_cached_tokens},
        }

    def timings(self) -> dict[str, Any]:
        """Return llama.cpp's figures: times in milliseconds, rates in tokens a second.

        The first token belongs to the prompt's time, so decoding is that of the others.
        """
        n_read, n_decoded = self.n_prompt_tokens - self.n_cached_tokens, max(0, self.n_tokens - 1)
        return {
            "cache_n": self.n_cached_tokens,
            "prompt_n": n_read,
            "prompt_ms": self.prompt_s * 1e3,
            "prompt_per_token_ms": self.prompt_s * 1e3 / max(1, n_read),
            "prompt_per_second": n_read / max(self.prompt_s, 1e-9),
            "predicted_n": self.n_tokens,
            "predicted_ms": self.decode_s * 1e3,
            "predicted_per_token_ms": self.decode_s * 1e3 / max(1, n_decoded),
            "predicted_per_second": n_decoded / max(self.decode_s, 1e-9),
        }


@dataclass(frozen=True)
class Rendered:
    """The prompt of a request that wants no reply; ``text`` is none where token ids were given."""

    text: str
    ids: Sequence[int]


class ReplyWriter:
    """Makes the objects of one reply, whole or in chunks."""

    def __init__(self, model: str, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        kind = "chat.completion" if is_chat else "text_completion"
        self._object = kind
        self._head = {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def opening(self) -> dict[str, Any] | None:
        """Return the chunk that begins a message; a bare text has none."""
        return self._chunk({"role": "assistant", "content": ""}) if self._is_chat else None

    def chunk(self, piece: Piece) -> dict[str, Any]:
        """Return the chunk that carries ``piece``."""
        name = "reasoning_content" if piece.is_reasoning else "content"
        return self._chunk({name: piece.text})

    def closing(self, outcome: Outcome) -> dict[str, Any]:
        """Return the chunk that says why the reply ended."""
        return {**self._chunk({}, outcome.finish_reason), "timings": outcome.timings()}

    def usage(self, outcome: Outcome) -> dict[str, Any]:
        """Return the chunk without a choice that counts the tokens."""
        figures = {"usage": outcome.usage(), "timings": outcome.timings()}
        return {**self._chunk({}), "choices": [], **figures}

    def whole(self, pieces: Sequence[Piece], outcome: Outcome) -> dict[str, Any]:
        """Return a reply that is not streamed."""
        text = "".join(piece.text for piece in pieces if not piece.is_reasoning)
        reasoning = "".join(piece.text for piece in pieces if piece.is_reasoning)
        choice: dict[str, Any] = {"index": 0, "finish_reason": outcome.finish_reason}
        if self._is_chat:
            thought = {"reasoning_content": reasoning} if reasoning else {}
            choice["message"] = {"role": "assistant", "content": text, **thought}
        else:
            choice["text"] = text
        figures = {"usage": outcome.usage(), "timings": outcome.timings()}
        return {"object": self._object, **self._head, "choices": [choice], **figures}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
        if self._is_chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
        kind = f"{self._object}.chunk" if self._is_chat else self._object
        return {"object": kind, **self._head, "choices": [choice]}
