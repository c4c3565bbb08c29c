"""The turns of a conversation: what is asked, streamed, kept, and mended when things break."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from qtool.chat.asking import Asker
from qtool.chat.client import TemplateEndlessError
from qtool.chat.context import WARNING_SHARE, Fill, Overflow, Relief, describe_relief
from qtool.chat.engine import Engine
from qtool.chat.interrupts import stoppable
from qtool.chat.loops import LoopWatch
from qtool.chat.messages import Message, Role, split_last_turn
from qtool.chat.queries import count_tokens, find_context_length, find_defaults, render_prompt
from qtool.chat.reasoning import AllWasReasoning, Piece
from qtool.chat.remarks import may_be_answered, remark_on_end
from qtool.chat.request import Sampling
from qtool.chat.screen import Screen
from qtool.chat.session import Session
from qtool.chat.stream import Delta, ReplyEnd
from qtool.chat.turn import IN_CIRCLES, STOPPED, Draft, Question, Turn
from qtool.engines.base import Endpoint
from qtool.errors import NetworkError, QtoolError, Terminated, UsageError
from qtool.language.message import say

NOT_BEGUN = say("stopped before the reply began; /retry asks again")
NOT_ANSWERED = say("nothing was answered; /retry asks again")


class Conversation:
    """Takes turns between a user on a screen and an engine, and keeps them in a session."""

    def __init__(
        self,
        session: Session,
        engine: Engine,
        sampling: Sampling,
        screen: Screen,
        *,
        clock: Callable[[], float],
        overflow: Overflow | None = None,
        is_raw: bool = False,
    ) -> None:
        self.session = session
        self.engine = engine
        self.sampling = sampling
        self.turns: list[Turn] = []
        self.fill = Fill()
        self._asker = Asker(screen, overflow=overflow, is_raw=is_raw)
        self._measured: Endpoint | None = None
        self._has_warned = False
        self._unanswered: str | None = None
        self._answered: tuple[tuple[Message, ...], Sampling, Engine] | None = None
        self._screen = screen
        self._clock = clock

    def take_turn(self, text: str) -> None:
        """Say ``text``, show the reply and keep both.

        A reply that is interrupted keeps what was said; a turn that fails without a word is
        withdrawn, so that the next one finds a conversation in order.

        Raises:
            KeyboardInterrupt: interrupted where nobody can be asked.
            QtoolError: the turn failed where nobody can be asked.
        """
        with self._reporting():
            self._say(text)

    def retry(self) -> None:
        """Ask for another reply to what the user said last, which takes the place of the old one.

        Raises:
            UsageError: the user has said nothing yet.
        """
        messages = self.session.messages
        before, last = split_last_turn(messages)
        if self._unanswered is not None:
            self.take_turn(self._unanswered)
        elif not last:
            raise UsageError(say("there is nothing to answer yet"))
        else:
            asked = (*before, last[0])
            with self._reporting():
                self._answer(Question(asked, n_replaced=len(last) - 1))

    def would_repeat(self) -> bool:
        """Tell whether a retry asks the same of the same engine as the reply that is there did."""
        before, last = split_last_turn(self.session.messages)
        return bool(last) and self._answered == ((*before, last[0]), self.sampling, self.engine)

    def edit(self, text: str) -> None:
        """Let the user have said ``text`` instead of what was said last, and answer that."""
        _, last = split_last_turn(self.session.messages)
        with self._reporting():
            self._say(text, replaced=() if self._unanswered is not None else last)

    def resume(self) -> None:
        """Let the last reply go on from where it ended.

        Raises:
            UsageError: the last message is no reply.
        """
        messages = self.session.messages
        if not messages or messages[-1].role is not Role.ASSISTANT:
            told = say("there is no reply to continue")
            raise UsageError(told, hint=say("/retry asks for one"))
        with self._reporting():
            self._answer(Question(tuple(messages), n_replaced=1, prefix=messages[-1]))

    def undo(self, n_turns: int = 1) -> int:
        """Withdraw the last ``n_turns``, or as many as there are; return how many."""
        messages, count = self.session.messages, 0
        while count < n_turns and (last := split_last_turn(messages))[1]:
            messages, count = last[0], count + 1
        if count:
            self.session.take_back(len(self.session.messages) - len(messages))
        self._unanswered = None
        return count

    def begin_anew(self, messages: Sequence[Message]) -> None:
        """Go on with ``messages``; the conversation so far stays in its journal."""
        self.session.begin_anew(messages)
        self._unanswered = None

    def switch_engine(self, model: str, engine: Engine, source: str | None = None) -> None:
        """Go on with another model; its engine takes the place of the one so far."""
        self.engine.stop()
        self.engine = engine
        self.session.set_model(model, source)

    @property
    def last_said(self) -> str | None:
        """What the user said last, answered or not."""
        if self._unanswered is not None:
            return self._unanswered
        _, last = split_last_turn(self.session.messages)
        return last[0].content if last else None

    def await_engine(self) -> Endpoint:
        """Wait for the engine and say on the screen that the model is loading."""
        self._screen.wait_for_engine(self.engine.is_ready)
        endpoint = self.engine.endpoint(lambda now: self._screen.wait_for_engine(False, now))
        self._screen.wait_for_engine(True)
        if self._measured != endpoint:
            self._measured = endpoint
            self._asker.meet_engine()
            self.fill = Fill(find_context_length(endpoint))
        return endpoint

    def render_prompt(self) -> str:
        """Return the conversation as the model's template renders it, or a greeting.

        Raises:
            QtoolError: the engine does not tell, or cannot.
        """
        try:
            return render_prompt(
                self.await_engine(), self.session.window or [Message(Role.USER, "Hello!")]
            )
        except TemplateEndlessError:
            self.engine.kill()
            raise

    def count_tokens(self, text: str) -> str:
        """Return ``, 42 tokens`` for ``text``, nothing where the engine does not tell yet."""
        count = None
        if self.engine.is_ready:
            with contextlib.suppress(QtoolError):
                count = count_tokens(self.engine.endpoint(), text)
        return "" if count is None else say(", {count} tokens", count=count)

    def default_sampling(self) -> Mapping[str, float | None]:
        """Return the values that the engine draws by where none are asked, as far as it tells."""
        if self.engine.is_ready:
            with contextlib.suppress(QtoolError):
                return find_defaults(self.engine.endpoint())
        return {}

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Show the turn's end, and tell why it came early, where there is a user to be told."""
        if not self._screen.keeps_going:
            n_turns = len(self.turns)
            yield
            self._finish(n_turns)
            return
        with stoppable():
            n_turns, failure, is_stopped = len(self.turns), None, False
            try:
                yield
            except Terminated:
                raise
            except KeyboardInterrupt:
                is_stopped = True
            except QtoolError as exc:
                failure = exc
            self._finish(n_turns, failure, is_stopped=is_stopped)

    def _finish(
        self, n_turns: int, failure: QtoolError | None = None, *, is_stopped: bool = False
    ) -> None:
        """Show the end of the turn that has begun since there were ``n_turns``, if one has."""
        turn = self.turns[-1] if len(self.turns) > n_turns else None
        if turn is not None:
            self._screen.finish(turn)
        if is_stopped:
            has_reply = turn is not None and turn.reply
            self._screen.note(say("stopped") if has_reply else NOT_BEGUN)
        if failure is not None:
            self._screen.fail(failure)
            if turn is None and may_be_answered(failure):
                self._screen.note(NOT_ANSWERED)
        if turn is not None:
            self._warn_if_full()
            limit, takes_commands = self.sampling.max_new_tokens, self._screen.takes_commands
            if remark := remark_on_end(turn, limit, takes_commands=takes_commands):
                self._screen.note(remark)

    def _say(self, text: str, replaced: Sequence[Message] = ()) -> None:
        try:
            self.session.add(Message(Role.USER, text), n_replaced=len(replaced))
        except QtoolError:
            if not replaced:
                self._unanswered = text
            raise
        asked = tuple(self.session.messages)
        self._answer(Question(asked, n_withdrawn=1, fallback=tuple(replaced)))

    def _answer(self, question: Question) -> None:
        """Stream the reply to ``question``; whatever happens, what was said is kept."""
        draft, started_at = Draft(question.prefix), self._clock()
        endpoint: Endpoint | None = None
        try:
            endpoint = self.await_engine()
            self._receive(endpoint, question, draft)
        except NetworkError as exc:
            raise self.engine.explain_loss(exc) from exc
        finally:
            self._note_asked(question, draft)
            if endpoint is not None and draft.is_begun:
                self.turns.append(self._turn(endpoint, draft, started_at))
            self._keep(question, draft)
        self._measure(draft.end)

    def _receive(self, endpoint: Endpoint, question: Question, draft: Draft) -> None:
        """Stream the reply into ``draft``; leave out what must, once the engine takes the rest."""
        window = self.session.relief.apply(question.messages)
        try:
            answer = self._asker.ask(endpoint, window, self.sampling, self.fill)
        except TemplateEndlessError:
            self.engine.kill()  # it renders on for ever; the next turn starts another one
            raise
        with contextlib.closing(answer.pieces):
            self._drop(answer.relief)
            self._collect(itertools.chain([answer.first], answer.pieces), draft)

    def _collect(self, pieces: Iterator[Piece], draft: Draft) -> None:
        """Show the pieces and put them into ``draft``, to the end or until they go in circles."""
        watch = LoopWatch()
        for piece in pieces:
            draft.take(piece)
            if isinstance(piece, AllWasReasoning):
                self._screen.note(say("what is above was the model's reasoning"))
            elif isinstance(piece, Delta):
                if draft.first_token_at is None:
                    draft.first_token_at = self._clock()
                self._screen.show(piece)
                if watch.is_loop(piece.text):
                    draft.end = ReplyEnd(IN_CIRCLES)
                    return

    def _drop(self, relief: Relief) -> None:
        if relief.count:
            gone = relief.gone(self.session.window)
            self.session.relieve(relief)
            self._screen.note(describe_relief(relief, gone))

    def _keep(self, question: Question, draft: Draft) -> None:
        """Put the reply into the session, or take the question back where there is none."""
        if draft.reply:
            self._unanswered = None
            self.session.settle(draft.to_message(), n_replaced=question.n_replaced)
        elif question.n_withdrawn:
            self._unanswered = self.session.messages[-question.n_withdrawn].content
            self.session.give_up(question.n_withdrawn)
            for message in question.fallback:
                self.session.settle(message)

    def _note_asked(self, question: Question, draft: Draft) -> None:
        """Remember what the reply answers; of one that was stopped or continued, nothing."""
        is_whole = question.prefix is None and draft.end.finish_reason != STOPPED
        asked = (question.messages, self.sampling, self.engine)
        self._answered = asked if is_whole else None

    def _turn(self, endpoint: Endpoint, draft: Draft, started_at: float) -> Turn:
        first = draft.first_token_at
        return Turn(
            reply=draft.text,
            reasoning=draft.thoughts,
            engine=endpoint.engine,
            model=endpoint.model,
            end=draft.end,
            first_token_s=None if first is None else first - started_at,
            total_s=self._clock() - started_at,
            n_pieces=draft.n_pieces,
            is_continued=draft.prefix is not None,
        )

    def _measure(self, end: ReplyEnd) -> None:
        """Take up what the engine counted."""
        if end.prompt_tokens is not None and end.completion_tokens is not None:
            n_tokens = end.prompt_tokens + end.completion_tokens
            self.fill = self.fill.measure(self.session.window, n_tokens)

    def _warn_if_full(self) -> None:
        is_full = (self.fill.share(self.session.window) or 0) >= WARNING_SHARE
        if is_full and not self._has_warned:
            filled = self.fill.describe(self.session.window)
            self._screen.note(say("the context is {filled}", filled=filled))
        self._has_warned = is_full
