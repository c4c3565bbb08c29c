"""Errors as the OpenAI API writes them."""

from __future__ import annotations

from typing import Any

BAD_REQUEST = "invalid_request_error"
MODEL_BROKEN = "model_error"
CONTEXT_FULL = "exceed_context_size_error"  # llama.cpp's name, which qtool's client knows
OUT_OF_MEMORY = "out_of_memory_error"
UNAVAILABLE = "unavailable_error"
SERVER_ERROR = "server_error"


class Refusal(Exception):
    """A request that is not answered: ``status`` is HTTP's, ``kind`` the error's type.

    ``details`` become further members of the error object.
    """

    def __init__(self, status: int, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.details = details

    def to_object(self) -> dict[str, Any]:
        """Return the body of the answer."""
        own = {"message": self.message, "type": self.kind, "param": None, "code": self.status}
        return {"error": {**own, **self.details}}


def bad_request(message: str, param: str | None = None, **details: Any) -> Refusal:
    """Return the refusal of a request that is wrong in itself; ``param`` is the wrong field."""
    return Refusal(400, BAD_REQUEST, message, param=param, **details)


def unknown_token(token: int, n_vocab: int) -> Refusal:
    """Return the refusal of a prompt with a token that the model has no place for."""
    return Refusal(
        500,
        MODEL_BROKEN,
        f"tokenizer and model do not fit: the tokenizer says {token},"
        f" the model's vocabulary ends at {n_vocab - 1}",
    )


def context_full(n_prompt_tokens: int, n_ctx_tokens: int) -> Refusal:
    """Return the refusal of a prompt that leaves no room for a reply."""
    return Refusal(
        400,
        CONTEXT_FULL,
        f"the request has {n_prompt_tokens} tokens; the context has {n_ctx_tokens}",
        n_prompt_tokens=n_prompt_tokens,
        n_ctx=n_ctx_tokens,
    )
