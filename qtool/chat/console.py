"""The loop of a conversation: what the user types is a turn, a command, or the end."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from qtool.chat.attachment import Attachment, read_attachment, with_attachments
from qtool.chat.commands import Command, describe_commands, parse_command, parse_count
from qtool.chat.conversation import Conversation
from qtool.chat.engine import Engine
from qtool.chat.history import check_writable, load_history, save_history
from qtool.chat.interrupts import stoppable, unheard
from qtool.chat.messages import EXIT_WORDS, Message, Role, with_system
from qtool.chat.remarks import describe_state
from qtool.chat.request import Think
from qtool.chat.screen import Screen
from qtool.chat.sessions import Earlier, describe_earlier, list_earlier
from qtool.chat.tuning import change_sampling, describe_sampling, describe_value
from qtool.chat.turn import describe_speed
from qtool.chat.typed_path import typed_path
from qtool.chat.width import shorten
from qtool.errors import NotFoundError, QtoolError, Terminated, UsageError
from qtool.language.message import say, together

PlanEngine = Callable[[str], tuple[str, Engine, str | None]]
"""From a model's name to its title, the engine for it, and what opens it again, if anything."""


class Console:
    """Reads from the screen and lets the conversation take turns, or changes it."""

    def __init__(
        self,
        conversation: Conversation,
        screen: Screen,
        *,
        journals: Path,
        plan_engine: PlanEngine | None = None,
    ) -> None:
        self._conversation = conversation
        self._session = conversation.session
        self._screen = screen
        self._journals = journals
        self._plan_engine = plan_engine
        self._attachments: list[Attachment] = []
        self._listed: list[Earlier] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "help": lambda name: screen.tell(describe_commands(screen.columns, name, screen.words)),
            "clear": self._clear,
            "undo": self._undo,
            "retry": self._retry,
            "edit": self._edit,
            "continue": lambda _: conversation.resume(),
            "system": self._system,
            "set": self._set,
            "stats": self._stats,
            "think": self._think,
            "file": self._file,
            "copy": self._copy,
            "save": self._save_as,
            "load": self._load,
            "sessions": self._list_sessions,
            "template": self._template,
            "model": self._model,
            "info": self._info,
        }

    def run(self) -> None:
        """Take turns until an exit word or the end of input, then write the history file.

        Raises:
            KeyboardInterrupt: interrupted where nobody can be asked; nothing is written then
                but the journal.
            QtoolError: a turn failed where nobody can be asked, or the history file cannot be
                written.
        """
        with unheard() if self._screen.keeps_going else contextlib.nullcontext():
            while (text := self._screen.read()) is not None and not self._is_over(text):
                pass
            self._save()

    def _is_over(self, text: str) -> bool:
        """Do what ``text`` asks; tell whether it ends the conversation."""
        if text.strip().lower() in EXIT_WORDS:
            return True
        command = self._read_command(text) if self._screen.takes_commands else None
        if command is not None and command.name == "exit":
            return True
        if command is not None:
            self.obey(command)
        elif text.strip():
            self._say(text)
        return False

    def run_once(self, text: str) -> None:
        """Take one turn, whatever its words, and write the history file. Raises as ``run``."""
        self._conversation.take_turn(text)
        self._save()

    def obey(self, command: Command) -> None:
        """Do what ``command`` says; what goes wrong is told and changes nothing."""
        if not command.name:
            return
        try:
            with stoppable():
                self._commands[command.name](command.argument)
        except Terminated:
            raise
        except KeyboardInterrupt:
            self._screen.note(say("stopped"))
        except QtoolError as exc:
            self._screen.fail(exc)
        except OSError as exc:  # a name that is too long, a folder that may not be searched
            self._screen.fail(UsageError(f"/{command.name}: {exc.strerror or exc}"))

    def _read_command(self, text: str) -> Command | None:
        """Return the command in ``text``; one without a name where there is none like it."""
        try:
            return parse_command(text)
        except UsageError as exc:
            self._screen.fail(exc)
            return Command("")

    def _say(self, text: str) -> None:
        attachments, self._attachments = self._attachments, []
        self._conversation.take_turn(with_attachments(text, attachments))

    def _save(self) -> None:
        if path := self._session.save():
            if path != self._session.output:
                kept = self._session.output
                self._screen.note(say("{path} was changed by somebody else meanwhile", path=kept))
            self._screen.note(say("saved to {path}", path=path))

    def _clear(self, _: str) -> None:
        system = self._session.system
        self._conversation.begin_anew([Message(Role.SYSTEM, system)] if system else [])
        self._attachments = []
        self._screen.note(say("a new conversation; /sessions has the one before"))

    def _undo(self, argument: str) -> None:
        count = self._conversation.undo(parse_count(argument))
        if not count:
            raise UsageError(say("there is no turn to undo"))
        said = self._conversation.last_said
        done = say("{n} turns withdrawn", n=count) if count > 1 else say("1 turn withdrawn")
        where = say("nothing is left")
        if said:
            where = say("the last message is now: {text}", text=shorten(said, 60))
        self._screen.note(together((done, where), "; "))

    def _retry(self, _: str) -> None:
        if self._conversation.sampling.temperature == 0 and self._conversation.would_repeat():
            told = say("temperature is 0: the reply will be the same; /set temperature 0.8")
            self._screen.note(told)
        self._conversation.retry()

    def _edit(self, argument: str) -> None:
        said = self._conversation.last_said
        if said is None:
            raise UsageError(say("there is no message to edit yet"))
        text = argument or self._screen.read(said)
        if text is None or not text.strip():
            self._screen.note(say("the message was not changed"))
        else:
            self._conversation.edit(text)

    def _system(self, argument: str) -> None:
        if not argument:
            self._screen.tell(self._session.system or say("(no system prompt)"))
            return
        is_gone = argument == "-"
        self._session.set_system(None if is_gone else argument)
        done = say("the system prompt is gone") if is_gone else say("the system prompt is set")
        self._screen.note(done)

    def _set(self, argument: str) -> None:
        now = self._conversation
        if not argument:
            self._screen.tell(describe_sampling(now.sampling, now.default_sampling()))
            return
        now.sampling, name = change_sampling(now.sampling, argument)
        self._screen.note(describe_value(now.sampling, name, now.default_sampling()))

    def _stats(self, argument: str) -> None:
        if argument in ("on", "off"):
            self._screen.is_verbose = argument == "on"
            self._screen.note(say("figures after each reply: {switch}", switch=argument))
        elif argument:
            raise UsageError(say("/stats takes on or off, not {argument!r}", argument=argument))
        elif not self._conversation.turns:
            raise UsageError(say("there are no figures yet"))
        else:
            self._screen.note(describe_speed(self._conversation.turns[-1]))

    def _think(self, argument: str) -> None:
        if not argument:
            last = self._session.messages[-1:]
            thought = last[0].reasoning if last else ""
            self._screen.tell(thought.strip() or say("(the last reply has no reasoning)"))
        elif argument not in tuple(Think):
            known = ", ".join(Think)
            told = say("/think takes {known}, not {argument!r}", known=known, argument=argument)
            raise UsageError(told)
        else:
            self._screen.think = Think(argument)
            self._screen.note(say("reasoning: {how}", how=argument))

    def _file(self, argument: str) -> None:
        attachment = read_attachment(argument)
        self._attachments.append(attachment)
        n_lines = len(attachment.text.splitlines())
        size = say("{n} lines", n=n_lines) if n_lines != 1 else say("1 line")
        size += self._conversation.count_tokens(attachment.text)
        told = say("{name} ({size}) goes with the next message", name=attachment.name, size=size)
        self._screen.note(told)

    def _copy(self, _: str) -> None:
        last = self._session.messages[-1:]
        if not last or last[0].role is not Role.ASSISTANT:
            raise UsageError(say("there is no reply to copy yet"))
        self._screen.copy(last[0].content)

    def _save_as(self, argument: str) -> None:
        if not argument and self._session.output is not None:
            self._save()
            return
        path = typed_path(argument, example="/save talk.json")
        check_writable(path)
        if path.exists() and path != self._session.output:
            told = say("{path} is there already", path=path)
            raise UsageError(told, hint="/save ANOTHER-FILE")
        save_history(path, self._session.messages)
        self._screen.note(say("saved to {path}", path=path))

    def _load(self, argument: str) -> None:
        self._conversation.begin_anew(self._messages_of(argument))
        self._screen.note(say("going on after {n} messages", n=len(self._session.messages)))

    def _messages_of(self, argument: str) -> list[Message]:
        path = typed_path(argument, example=say("/load talk.json, or /sessions and /load 1"))
        if not argument.isdecimal() or path.exists():
            return with_system(_load(path), None, fallback=self._session.system)
        listed = self._listed or list_earlier(self._journals)
        if not 0 < int(argument[:9]) <= len(listed):
            raise UsageError(
                say(
                    "there is no number {number}: the list ends with {n}",
                    number=argument,
                    n=len(listed),
                )
            )
        return list(listed[int(argument) - 1].messages)

    def _list_sessions(self, argument: str) -> None:
        self._listed = list_earlier(self._journals, argument)
        if not self._listed:
            if argument:
                raise UsageError(say("there is no earlier conversation like that"))
            raise UsageError(say("there is no earlier conversation"))
        screen = self._screen
        screen.tell(describe_earlier(self._listed, screen.columns, screen.words))
        screen.note(say("/load N goes on with one"))

    def _template(self, _: str) -> None:
        self._screen.tell(self._conversation.render_prompt())

    def _model(self, argument: str) -> None:
        if not argument:
            self._screen.tell(self._conversation.await_engine().model)
        elif self._plan_engine is None:
            raise UsageError(say("the model cannot be changed here"))
        else:
            title, engine, source = self._plan_engine(argument)
            self._conversation.switch_engine(title, engine, source)
            self._screen.note(say("going on with {title}", title=title))

    def _info(self, _: str) -> None:
        now = self._conversation
        self._screen.tell(together(describe_state(now.engine, now.session, now.fill), "\n"))


def _load(path: Path) -> list[Message]:
    """Read a history file. Raises as ``load_history``, with a hint for the prompt."""
    try:
        return load_history(path)
    except NotFoundError as exc:
        raise NotFoundError(exc.message, hint=say("/sessions lists what is here")) from exc
