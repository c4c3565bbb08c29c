"""Writing a reply: the prompt is read as far as it is new, then one token follows the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .jobs import Job
from .kv_slots import KvSlots, Slot
from .memory import explain_out_of_memory, is_out_of_memory, release_memory
from .network import Network
from .prompt import Prompt, PromptMaker
from .refusal import SERVER_ERROR, Refusal, context_full, unknown_token
from .reply import Outcome
from .request import Request
from .sampler import Sampler
from .text_out import TextOut

STOP = "stop"
LENGTH = "length"


MODEL_FAILURES = (
    *(RuntimeError, MemoryError, ValueError, TypeError, AttributeError),
    *(LookupError, ArithmeticError, AssertionError, NotImplementedError),
)
"""What a model's code may raise. Such a reply is lost, the server is not."""


class Cancelled(Exception):
    """Nobody waits for the reply any more."""


@dataclass(frozen=True)
class Speech:
    """What makes text of tokens: the tokenizer's decoder, and the tokens that end a reply."""

    decode: Callable[[list[int]], str]
    end_ids: Collection[int]


class Generator:
    """Answers jobs, one at a time, with one model."""

    def __init__(
        self,
        network: Network,
        prompts: PromptMaker,
        speech: Speech,
        slots: KvSlots,
        n_ctx_tokens: int,
    ) -> None:
        self._network = network
        self._prompts = prompts
        self._speech = speech
        self._slots = slots
        self._n_ctx_tokens = n_ctx_tokens

    def answer(self, job: Job) -> None:
        """Put the pieces of the reply into ``job``, then its outcome or a refusal."""
        try:
            if job.request.only_renders:
                job.put(self._prompts.show(job.request))
                return
            prompt = self._prompts.make(job.request)
            if len(prompt.ids) >= self._n_ctx_tokens:
                raise context_full(len(prompt.ids), self._n_ctx_tokens)
            if (last := max(prompt.ids, default=0)) >= self._network.n_vocab:
                raise unknown_token(last, self._network.n_vocab)
            job.put(self._write(job, prompt))
        except Refusal as refusal:
            job.put(refusal)
        except Cancelled:
            pass
        except MODEL_FAILURES as exc:
            job.put(self._failure(exc))

    def _failure(self, exc: BaseException) -> Refusal:
        """Drop every cache, for one may be half written, and say what happened."""
        kept_bytes = self._slots.total_bytes()
        self._slots.clear()
        release_memory()
        if is_out_of_memory(exc):
            return explain_out_of_memory(exc, self._network.device, kept_bytes)
        return Refusal(500, SERVER_ERROR, f"{type(exc).__name__}: {exc}")

    def _write(self, job: Job, prompt: Prompt) -> Outcome:
        started_at = time.perf_counter()
        network, request = self._network, job.request
        sampler = Sampler(request.sampling, prompt.ids, network.n_vocab, network.device)
        slot = self._slots.take(prompt.ids, reuses=request.uses_cache)
        n_cached = len(slot.ids)
        scores = self._read(slot, prompt.ids[n_cached:], job)
        text = TextOut(self._speech.decode, request, prompt, job.put)
        ends = () if request.ignores_end else self._speech.end_ids
        limit = self._limit(request, len(prompt.ids))
        n_tokens, finish_reason, first_at = 0, LENGTH, time.perf_counter()
        for token in self._tokens(slot, scores, sampler, job) if limit else ():
            n_tokens += 1
            first_at = first_at if n_tokens > 1 else time.perf_counter()
            if token in ends or text.push(token):
                finish_reason = STOP
                break
            if n_tokens >= limit:
                break
        text.flush()
        return Outcome(
            finish_reason,
            len(prompt.ids),
            n_cached,
            n_tokens,
            prompt_s=first_at - started_at,
            decode_s=time.perf_counter() - first_at,
        )

    def _tokens(self, slot: Slot, scores: Any, sampler: Sampler, job: Job) -> Iterator[int]:
        """Yield one token after the other; each is read only when the next one is wanted."""
        while True:
            token = sampler.draw(scores)
            yield token
            scores = self._read(slot, [token], job)

    def _limit(self, request: Request, n_prompt: int) -> int:
        room = self._n_ctx_tokens - n_prompt
        return room if request.max_tokens is None else min(room, request.max_tokens)

    def _read(self, slot: Slot, ids: Sequence[int], job: Job) -> Any:
        """Read ``ids`` into the slot, chunk by chunk; return the scores of the next token.

        Raises:
            Cancelled: between two chunks; the slot is in order then.
        """
        step = self._network.chunk_tokens or len(ids)
        logits = None
        for start in range(0, len(ids), step):
            if job.is_cancelled:
                raise Cancelled
            chunk = ids[start : start + step]
            logits, slot.cache = self._network.extend(slot.cache, chunk, len(slot.ids))
            slot.ids.extend(chunk)
        return logits
