"""Room in a full context: what goes, chosen by the user's policy, and summed up where asked."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qtool.chat.client import ContextFullError, stream_chat
from qtool.chat.context import SUMMARY_REQUEST, SUMMARY_TOKENS, Fill, Overflow, Relief
from qtool.chat.hints import OWN_COMMAND
from qtool.chat.messages import Message, Role, count_oldest_turn, count_system
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
                return self._summarise(messages, count)
            case Overflow.DROP_OLDEST:
                return Relief(count)

    def relieve(self, messages: Sequence[Message], relief: Relief, exc: ContextFullError) -> Relief:
        """Return what must go beyond ``relief``, which was not enough.

        Raises:
            ContextFullError: only the last message is left, or nothing may go.
        """
        count = count_oldest_turn(Relief(relief.count).apply(messages))
        if not count:
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
        if policy is Overflow.SUMMARISE and relief.summary is None:
            return self._summarise(messages, relief.count + count)
        return Relief(relief.count + count, relief.summary)

    def _summarise(self, messages: Sequence[Message], n_at_least: int) -> Relief:
        """Let the model sum up the older half of the conversation, or more where that must go."""
        sampling = replace(self.sampling, max_new_tokens=SUMMARY_TOKENS, stop=())
        half = self.fill.plan_relief(messages, SUMMARY_TOKENS, share=0.5)
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
