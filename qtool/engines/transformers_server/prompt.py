"""From a request to the token ids of its prompt, by the model's own chat template."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from .reasoning import CLOSING, OPENING
from .refusal import bad_request
from .reply import Rendered
from .request import Request
from .template_limits import MAX_BYTES, TooLong, limits

RENDER_TIMEOUT_S = 5.0
"""A template takes milliseconds, unless it is made to loop."""

N_CONTEXT_TOKENS = 6
"""How many tokens before a reply decide how its first one is written."""


@dataclass(frozen=True)
class Prompt:
    """``context`` are the last ids where the reply continues a text, else none.

    ``opens_reasoning`` says that the prompt ends within the model's reasoning; ``has_reasoning``
    that its template knows of reasoning at all.
    """

    ids: list[int]
    context: list[int]
    opens_reasoning: bool = False
    has_reasoning: bool = False


class PromptMaker:
    """Renders requests with one tokenizer. Templates run in transformers' jinja sandbox."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @property
    def has_template(self) -> bool:
        """Tell whether conversations can be rendered."""
        return bool(getattr(self._tokenizer, "chat_template", None))

    def make(self, request: Request) -> Prompt:
        """Return the prompt of a request.

        Raises:
            Refusal: the model has no template, or its template refuses the messages.
        """
        if not request.is_chat:
            ids = self._text_ids(request.prompt)
            return Prompt(ids, ids[-N_CONTEXT_TOKENS:])
        text = self._render(request)
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise bad_request("the prompt is empty", "messages")
        open_at, closed_at = text.rfind(OPENING), text.rfind(CLOSING)
        return Prompt(
            ids,
            ids[-N_CONTEXT_TOKENS:] if request.continues_final_message else [],
            opens_reasoning=open_at > closed_at and not text[open_at + len(OPENING) :].strip(),
            has_reasoning=CLOSING in str(self._tokenizer.chat_template),
        )

    def show(self, request: Request) -> Rendered:
        """Return the prompt of a request, for those who want to see it.

        Raises:
            Refusal: as for ``make``; a bare text may be empty here.
        """
        if not request.is_chat:
            text = str(request.prompt)
            return Rendered(text, self._tokenizer(text, add_special_tokens=False)["input_ids"])
        text = self._render(request)
        return Rendered(text, self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text_ids(self, prompt: Any) -> list[int]:
        ids = self._tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else list(prompt)
        n_vocab = len(self._tokenizer)
        if any(not 0 <= token < n_vocab for token in ids):
            raise bad_request(f"token ids are 0 to {n_vocab - 1}", "prompt")
        if not ids:
            raise bad_request("the prompt is empty", "prompt")
        return list(ids)

    def _render(self, request: Request) -> str:
        if not self.has_template:
            raise bad_request(
                "the model has no chat template; give one, or ask /v1/completions",
                "messages",
                reason="chat_template_missing",
            )
        messages = [dict(message) for message in request.messages or ()]
        mark = uuid.uuid4().hex
        if request.continues_final_message:
            messages[-1]["content"] += mark
        text = self._apply(messages, request)
        if not request.continues_final_message:
            return text
        if mark not in text:
            raise bad_request(
                "the chat template leaves the final message out", "continue_final_message"
            )
        return text[: text.rindex(mark)]

    def _apply(self, messages: list[dict[str, Any]], request: Request) -> str:
        from jinja2 import TemplateError

        adds_prompt = request.has_generation_prompt and not request.continues_final_message
        tools = {"tools": list(request.tools)} if request.tools else {}
        own = {"tokenize": False, "add_generation_prompt": adds_prompt}
        try:
            with limits(RENDER_TIMEOUT_S):
                text = self._tokenizer.apply_chat_template(
                    messages, **{**request.template_arguments, **tools, **own}
                )
        except TemplateError as exc:
            raise bad_request(
                f"the model's chat template refuses these messages: {exc}",
                "messages",
                reason="chat_template_refused",
            ) from exc
        except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as exc:
            raise bad_request(
                f"the model's chat template fails: {type(exc).__name__}: {exc}",
                "messages",
                reason="chat_template_failed",
            ) from exc
        except MemoryError:
            raise bad_request(
                f"the model's chat template wants more than {MAX_BYTES >> 30} GiB of memory",
                "messages",
                reason="chat_template_failed",
            ) from None
        except TooLong:
            raise bad_request(
                f"the model's chat template was stopped after {RENDER_TIMEOUT_S:g} s",
                "messages",
                reason="chat_template_failed",
            ) from None
        return str(text)
