"""Room in a full context: what goes, chosen by the user's policy, and summed up where asked."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qtool.chat.client import ContextFullError, stream_chat
from qtool.chat.context import SUMMARY_REQUEST, SUMMARY_TOKENS, Fill, Overflow, Relief
from qtool.chat.hints import OWN_COMMAND
from qtool.chat.messages import Message, Role, count_system, find_turns
from qtool.chat.request import Sampling
from qtool.chat.screen import Screen
from qtool.chat.turn import Draft
from qtool.engines.base import Endpoint
from qtool.language.message import say


@dataclass(frozen=True, slots=True)
class RoomMaker:
    """Decides for one question; ``choose`` is asked for the policy only when something must go."""

    endpoint: Endpoint
    fill: Fill
    sampling: Sampling
    screen: Screen
    choose: Callable[[], Overflow]

    def plan(self, messages: Sequence[Message]) -> Relief:
        """Find out beforehand what must go so that the reply is not cut off at once."""
        count = self.fill.plan_relief(messages, self.sampling.max_new_tokens)
        if not count:
            return Relief()
        match self.choose():
            case Overflow.STOP:
                return Relief()  # the engine says when it is really full
            case Overflow.SUMMARISE:
                return self._summarise(messages, count, self.fill)
            case Overflow.DROP_OLDEST:
                return Relief(count)

    def relieve(self, messages: Sequence[Message], relief: Relief, exc: ContextFullError) -> Relief:
        """Return what must go beyond ``relief``, which was not enough.

        Raises:
            ContextFullError: only the last message is left, or nothing may go.
        """
        turns = [at for at in find_turns(messages) if at > relief.count]
        if not turns:
            raise ContextFullError(
                say("this message alone is too long: {why}", why=exc.message),
                hint=say("say it in shorter pieces, or: {chat} --ctx N", chat=OWN_COMMAND),
            ) from exc
        policy = self.choose()
        if policy is Overflow.STOP:
            raise ContextFullError(
                say("the context is full: {why}", why=exc.message),
                hint=say("/undo, /clear, or start with a larger --ctx or --overflow drop-oldest"),
            ) from exc
        fill = self._measure(relief.apply(messages), exc)
        wanted = fill.plan_relief(messages, self.sampling.max_new_tokens)
        if exc.n_prompt_tokens is None:  # more each time, or each turn would cost a request
            wanted = relief.count + min(relief.count, (len(messages) - relief.count) // 2)
        count = next((at for at in turns if at >= wanted), turns[-1])
        if policy is Overflow.SUMMARISE and relief.summary is None:
            return self._summarise(messages, count, fill)
        return Relief(count, relief.summary)

    def _measure(self, sent: Sequence[Message], exc: ContextFullError) -> Fill:
        """Return what the engine's refusal of ``sent`` tells of the context."""
        if exc.n_prompt_tokens is None:
            return self.fill
        return Fill(exc.n_ctx_tokens or self.fill.n_ctx_tokens).measure(sent, exc.n_prompt_tokens)

    def _summarise(self, messages: Sequence[Message], n_at_least: int, fill: Fill) -> Relief:
        """Let the model sum up the older half of the conversation, or more where that must go."""
        sampling = replace(self.sampling, max_new_tokens=SUMMARY_TOKENS, stop=())
        half = fill.plan_relief(messages, SUMMARY_TOKENS, share=0.5)
        relief = Relief(max(n_at_least, half))
        head = messages[: count_system(messages)]
        asked = [*head, *relief.gone(messages), Message(Role.USER, SUMMARY_REQUEST)]
        told = say("the context is full: summing up the oldest {n} messages …", n=relief.count)
        self.screen.note(told)
        draft = Draft()
        try:
            with contextlib.closing(stream_chat(self.endpoint, asked, sampling)) as pieces:
                for piece in pieces:
                    draft.take(piece)
        except ContextFullError:
            return relief
        return Relief(relief.count, draft.text.strip() or None)
