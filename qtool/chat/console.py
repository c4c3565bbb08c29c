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
from qtool.chat.tuning import change_sampling, describe_sampling
from qtool.chat.turn import describe_speed
from qtool.chat.typed_path import typed_path
from qtool.chat.width import shorten
from qtool.errors import NotFoundError, QtoolError, Terminated, UsageError

PlanEngine = Callable[[str], tuple[str, Engine]]
"""From a model's name to its title and the engine for it, not started yet."""


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
            "help": lambda name: screen.tell(describe_commands(screen.columns, name)),
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
            self._screen.note("stopped")
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
                self._screen.note(f"{self._session.output} was changed by somebody else meanwhile")
            self._screen.note(f"saved to {path}")

    def _clear(self, _: str) -> None:
        system = self._session.system
        self._conversation.begin_anew([Message(Role.SYSTEM, system)] if system else [])
        self._attachments = []
        self._screen.note("a new conversation; /sessions has the one before")

    def _undo(self, argument: str) -> None:
        count = self._conversation.undo(parse_count(argument))
        if not count:
            raise UsageError("there is no turn to undo")
        said = self._conversation.last_said
        where = f"the last message is now: {shorten(said, 60)}" if said else "nothing is left"
        self._screen.note(f"{count} turn{'s' * (count > 1)} withdrawn; {where}")

    def _retry(self, _: str) -> None:
        if self._conversation.sampling.temperature == 0 and self._conversation.would_repeat():
            self._screen.note("temperature is 0: the reply will be the same; /set temperature 0.8")
        self._conversation.retry()

    def _edit(self, argument: str) -> None:
        said = self._conversation.last_said
        if said is None:
            raise UsageError("there is no message to edit yet")
        text = argument or self._screen.read(said)
        if text is None or not text.strip():
            self._screen.note("nothing was changed")
        else:
            self._conversation.edit(text)

    def _system(self, argument: str) -> None:
        if not argument:
            self._screen.tell(self._session.system or "(no system prompt)")
            return
        self._session.set_system(None if argument == "-" else argument)
        self._screen.note(f"the system prompt is {'gone' if argument == '-' else 'set'}")

    def _set(self, argument: str) -> None:
        if argument:
            changed = change_sampling(self._conversation.sampling, argument)
            self._conversation.sampling = changed
        self._screen.tell(describe_sampling(self._conversation.sampling))

    def _stats(self, argument: str) -> None:
        if argument in ("on", "off"):
            self._screen.is_verbose = argument == "on"
            self._screen.note(f"figures after each reply: {argument}")
        elif argument:
            raise UsageError(f"/stats takes on or off, not {argument!r}")
        elif not self._conversation.turns:
            raise UsageError("there are no figures yet")
        else:
            self._screen.tell(describe_speed(self._conversation.turns[-1]))

    def _think(self, argument: str) -> None:
        if not argument:
            last = self._session.messages[-1:]
            thought = last[0].reasoning if last else ""
            self._screen.tell(thought.strip() or "(the last reply has no reasoning)")
        elif argument not in tuple(Think):
            raise UsageError(f"/think takes {', '.join(Think)}, not {argument!r}")
        else:
            self._screen.think = Think(argument)
            self._screen.note(f"reasoning: {argument}")

    def _file(self, argument: str) -> None:
        attachment = read_attachment(argument)
        self._attachments.append(attachment)
        n_lines = len(attachment.text.splitlines())
        size = f"{n_lines} line{'s' * (n_lines != 1)}"
        n_tokens = self._conversation.count_tokens(attachment.text)
        self._screen.note(f"{attachment.name} ({size}{n_tokens}) goes with the next message")

    def _copy(self, _: str) -> None:
        last = self._session.messages[-1:]
        if not last or last[0].role is not Role.ASSISTANT:
            raise UsageError("there is no reply to copy yet")
        self._screen.copy(last[0].content)

    def _save_as(self, argument: str) -> None:
        if not argument and self._session.output is not None:
            self._save()
            return
        path = typed_path(argument, example="/save talk.json")
        check_writable(path)
        if path.exists() and path != self._session.output:
            raise UsageError(f"{path} is there already", hint="/save ANOTHER-FILE")
        save_history(path, self._session.messages)
        self._screen.note(f"saved to {path}")

    def _load(self, argument: str) -> None:
        self._conversation.begin_anew(self._messages_of(argument))
        self._screen.note(f"going on after {len(self._session.messages)} messages")

    def _messages_of(self, argument: str) -> list[Message]:
        path = typed_path(argument, example="/load talk.json, or /sessions and /load 1")
        if not argument.isdecimal() or path.exists():
            return with_system(_load(path), None, fallback=self._session.system)
        listed = self._listed or list_earlier(self._journals)
        if not 0 < int(argument[:9]) <= len(listed):
            raise UsageError(f"there is no number {argument} among {len(listed)} conversations")
        return list(listed[int(argument) - 1].messages)

    def _list_sessions(self, argument: str) -> None:
        self._listed = list_earlier(self._journals, argument)
        if not self._listed:
            raise UsageError("there is no earlier conversation" + " like that" * bool(argument))
        self._screen.tell(describe_earlier(self._listed, self._screen.columns))
        self._screen.note("/load N goes on with one")

    def _template(self, _: str) -> None:
        self._screen.tell(self._conversation.render_prompt())

    def _model(self, argument: str) -> None:
        if not argument:
            self._screen.tell(self._conversation.await_engine().model)
        elif self._plan_engine is None:
            raise UsageError("the model cannot be changed here")
        else:
            title, engine = self._plan_engine(argument)
            self._conversation.switch_engine(title, engine)
            self._screen.note(f"going on with {title}")

    def _info(self, _: str) -> None:
        now = self._conversation
        self._screen.tell("\n".join(describe_state(now.engine, now.session, now.fill)))


def _load(path: Path) -> list[Message]:
    """Read a history file. Raises as ``load_history``, with a hint for the prompt."""
    try:
        return load_history(path)
    except NotFoundError as exc:
        raise NotFoundError(exc.message, hint="/sessions lists what is here") from exc
