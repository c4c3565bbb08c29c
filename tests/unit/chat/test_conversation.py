"""Turns against a real socket server that plays the engine, and a screen that takes notes."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qtool.chat import queries
from qtool.chat.console import Console
from qtool.chat.context import Overflow
from qtool.chat.conversation import Conversation
from qtool.chat.history import load_history
from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Message, Role
from qtool.chat.request import Sampling, Think
from qtool.chat.session import Session
from qtool.chat.stream import Delta
from qtool.chat.turn import Turn
from qtool.engines.base import Endpoint
from qtool.errors import NetworkError, QtoolError

DONE = b"data: [DONE]\n\n"


class Engine(http.server.ThreadingHTTPServer):
    """Answers with what ``reply`` yields for the messages asked.

    400 refuses them as too long, a pair of counts with those figures; 500 fails, ``None`` closes
    the connection without a word.
    """

    daemon_threads = False

    def __init__(self, reply: Callable[[list[dict[str, str]]], Iterator[str] | int | None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply = reply
        self.is_ready = True
        self.try_template: Callable[[list[dict[str, str]]], None] = lambda messages: None
        self.n_kills = 0

    def stop(self) -> None:
        pass

    def kill(self) -> None:
        self.n_kills += 1

    def explain_loss(self, loss: QtoolError) -> QtoolError:
        return loss

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that go."""

    def endpoint(self, on_wait: object = None) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.server_port}", "key", "m.gguf", "llama.cpp")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/apply-template":
            self.server.try_template(body["messages"])
            self.send_error(404)
            return
        is_chat = self.path.endswith("/chat/completions")
        asked = body["messages"] if is_chat else body["prompt"]
        reply = self.server.reply(asked)
        if reply is None:
            return
        figures = {}
        if isinstance(reply, tuple):
            figures, reply = dict(zip(("n_prompt_tokens", "n_ctx"), reply, strict=True)), 400
        if isinstance(reply, int):
            kind = "exceed_context_size_error" if reply == 400 else "server_error"
            message = "the model's chat template fails" if reply == 422 else "refused"
            error = {"type": kind, "message": message, **figures}
            self.send_response(reply)
            self.end_headers()
            self.wfile.write(json.dumps({"error": error}).encode())
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionAbortedError):
            self._stream(reply, len(asked), is_chat=is_chat)

    def _stream(self, reply: Iterator[str], n_asked: int, *, is_chat: bool) -> None:
        for text in reply:
            chunk = {"choices": [{"delta": {"content": text}} if is_chat else {"text": text}]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        usage = {"prompt_tokens": n_asked, "completion_tokens": 2}
        end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}
        self.wfile.write(b"data: " + json.dumps(end).encode() + b"\n\n" + DONE)

    def log_message(self, *_: object) -> None:
        pass


class Screen:
    """Says ``lines`` and remembers what it was shown; ``interrupt_at`` plays Ctrl+C."""

    is_verbose = False
    columns = 80
    think = Think.FOLD

    def __init__(
        self,
        *lines: str,
        keeps_going: bool = True,
        takes_commands: bool = True,
        interrupt_at: str = "",
    ) -> None:
        self.lines = iter(lines)
        self.takes_commands = takes_commands
        self.told: list[str] = []
        self.offered: list[str] = []
        self.clipboard = ""
        self.asked: list[str] = []
        self.choice: str | None = None
        self.keeps_going = keeps_going
        self.interrupt_at = interrupt_at
        self.shown: list[str] = []
        self.notes: list[str] = []
        self.turns: list[Turn] = []
        self.failures: list[QtoolError] = []

    def words(self, text: str) -> str:
        return text

    def read(self, text: str = "") -> str | None:
        if text:
            self.offered.append(text)
        return next(self.lines, None)

    def wait_for_engine(self, is_ready: bool, progress: object = None) -> None:
        pass

    def show(self, delta: Delta) -> None:
        self.shown.append(delta.text)
        if delta.text == self.interrupt_at:
            raise KeyboardInterrupt

    def finish(self, turn: Turn) -> None:
        self.turns.append(turn)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def tell(self, text: str) -> None:
        self.told.append(text)

    def choose(self, question: str, choices) -> str | None:
        self.asked.append(question)
        return self.choice

    def copy(self, text: str) -> None:
        self.clipboard = text

    def fail(self, exc: QtoolError) -> None:
        self.failures.append(exc)


@pytest.fixture
def talk(tmp_path: Path):
    """Return a function that runs a conversation to its end and returns its session."""
    servers: list[Engine] = []

    def run(
        reply, screen: Screen, *, messages=(), sampling=Sampling(), output=None, **options
    ) -> Session:
        server = Engine(reply)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        session = Session(tmp_path / "j", model="m", messages=messages, output=output)
        try:
            talk = Conversation(session, server, sampling, screen, clock=time.monotonic, **options)
            Console(talk, screen, journals=tmp_path / "j").run()
        finally:
            session.close()
        return session

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def echo(messages: list[dict[str, str]]) -> Iterator[str]:
    """Reply with everything that was said, in two pieces."""
    yield "heard: "
    yield "|".join(message["content"] for message in messages)


def texts(session: Session) -> list[str]:
    return [message.content for message in session.messages]


def test_second_turn_carries_the_first(talk):
    screen = Screen("a", "b")
    session = talk(echo, screen)
    assert screen.turns[1].reply == "heard: a|heard: a|b"
    assert texts(session) == ["a", "heard: a", "b", "heard: a|heard: a|b"]


@pytest.mark.parametrize("word", ["exit", "quit", "bye", " EXIT "])
def test_exit_word_ends_and_saves(talk, tmp_path: Path, word: str):
    screen = Screen("a", word, "never said")
    talk(echo, screen, output=tmp_path / "h.json")
    assert [message.content for message in load_history(tmp_path / "h.json")] == ["a", "heard: a"]
    assert len(screen.turns) == 1


def test_empty_lines_are_no_turns(talk):
    screen = Screen("", "  ", "a")
    talk(echo, screen)
    assert len(screen.turns) == 1


def test_stopped_reply_keeps_what_was_said_and_goes_on(talk, tmp_path: Path):
    screen = Screen("a", "b", interrupt_at="heard: ")
    session = talk(echo, screen)
    assert session.messages[1] == Message(Role.ASSISTANT, "heard: ", is_partial=True)
    assert screen.notes == ["stopped", "stopped"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_stopped_reply_has_figures(talk):
    screen = Screen("a", "/stats", interrupt_at="heard: ")
    talk(echo, screen)
    assert screen.turns[0].reply == "heard: "
    assert screen.notes[-1].startswith("about 1 tokens in")
    assert screen.notes[-1].endswith("stopped")
    assert screen.failures == []


def test_reply_that_breaks_off_is_kept_with_its_figures(talk):
    def breaks_off(messages):
        yield "half a"
        raise ConnectionAbortedError

    screen = Screen("a", "/stats")
    session = talk(breaks_off, screen)
    assert [exc.code for exc in screen.failures] == ["network"]
    assert session.messages[1] == Message(Role.ASSISTANT, "half a", is_partial=True)
    assert "stopped" in screen.notes[-1]


def test_reply_that_is_whole_already_has_nothing_to_add(talk):
    replies = iter(["all of it", ""])
    screen = Screen("a", "/continue")
    session = talk(lambda messages: iter([next(replies)]), screen)
    assert screen.notes == ["the model has nothing to add"]
    assert session.messages[-1].content == "all of it"


LONG_TALK = [
    message
    for n in range(300)
    for message in (Message(Role.USER, f"question {n:4}"), Message(Role.ASSISTANT, f"reply {n:8}"))
]


@pytest.mark.parametrize(("tells", "most"), [(True, 3), (False, 15)])
def test_history_many_times_too_long_costs_few_requests(talk, tells: bool, most: int):
    asked: list[int] = []

    def refuse(messages):
        asked.append(len(messages))
        if len(messages) > 40:
            return (len(messages) * 10, 400) if tells else 400
        return iter(["heard"])

    session = talk(refuse, Screen("a"), messages=LONG_TALK)
    assert len(asked) <= most, asked
    assert len(session.window) > 8, "no more goes than must, by about half"
    assert len(session.messages) == 602


def test_reply_without_a_word_is_told(talk):
    screen = Screen("a")
    session = talk(lambda messages: iter(()), screen)
    assert screen.notes == ["the model said nothing; /retry asks again"]
    assert session.messages == []


def test_stopped_reply_is_edited_away(talk, tmp_path: Path):
    screen = Screen("a", "/edit b", interrupt_at="heard: ")
    session = talk(echo, screen)
    assert texts(session) == ["b", "heard: "]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_interruption_where_nobody_can_be_asked_ends_without_saving(talk, tmp_path: Path):
    screen = Screen("a", keeps_going=False, interrupt_at="heard: ")
    with pytest.raises(KeyboardInterrupt):
        talk(echo, screen, output=tmp_path / "h.json")
    assert not (tmp_path / "h.json").exists()
    assert [m.content for m in read_journal(last_journal(tmp_path / "j"))] == ["a", "heard: "]


def test_reader_that_goes_away_does_not_cost_what_was_said(talk, tmp_path: Path):
    class Closed(Screen):
        def show(self, delta: Delta) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        talk(echo, Closed("a", keeps_going=False))
    assert [m.content for m in read_journal(last_journal(tmp_path / "j"))] == ["a", "heard: "]


def test_failed_turn_is_withdrawn_and_the_next_one_works(talk):
    calls: list[int] = []

    def fails_once(messages):
        calls.append(1)
        return 500 if len(calls) == 1 else echo(messages)

    screen = Screen("a", "b")
    session = talk(fails_once, screen)
    assert [exc.code for exc in screen.failures] == ["network"]
    assert texts(session) == ["b", "heard: b"]


def test_failure_where_nobody_can_be_asked_is_raised(talk):
    with pytest.raises(NetworkError):
        talk(lambda messages: None, Screen("a", keeps_going=False))


def test_full_context_drops_the_oldest_turns_and_says_so(talk):
    def small(messages):
        return echo(messages) if sum(len(m["content"]) for m in messages) < 20 else 400

    history = [
        Message(Role.SYSTEM, "S"),
        Message(Role.USER, "u" * 20),
        Message(Role.ASSISTANT, "a" * 20),
    ]
    screen = Screen("now")
    session = talk(small, screen, messages=history)
    assert [m.content for m in session.window] == ["S", "now", "heard: S|now"]
    assert session.messages[:3] == history
    assert screen.notes == [
        f"the context is full: the oldest 2 messages were dropped: “{'u' * 20}”"
    ]


def test_what_leaves_a_full_context_stays_in_the_history_file(talk, tmp_path: Path):
    path, asked = tmp_path / "talk.json", []

    def small(messages):
        asked.append([m["content"] for m in messages])
        return iter(["ok"]) if sum(len(m["content"]) for m in messages) < 20 else 400

    history = [{"role": "user", "content": "u" * 20, "name": "Ada"}]
    history.append({"role": "assistant", "content": "a" * 20})
    path.write_text(json.dumps(history))
    lines = ("now", "then", "/undo", "/retry")
    session = talk(small, Screen(*lines), messages=load_history(path), output=path)
    kept = json.loads(path.read_text())
    assert kept[:2] == history
    assert [m["content"] for m in kept[2:]] == ["now", "ok"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages == load_history(path)
    assert asked[1:] == [["now"], ["now", "ok", "then"], ["now"]]


def test_what_left_the_context_is_given_again_once_there_is_nothing_else(talk):
    screen = Screen("now", "/undo", "x")
    session = talk(crowded, screen, messages=LONG, overflow=Overflow.SUMMARISE)
    assert texts(session) == [*(m.content for m in LONG), "x", "ok"]
    assert session.relief.summary == "They greeted."


def test_message_that_does_not_fit_by_itself_is_an_error_and_costs_no_turn(talk):
    history = [Message(Role.USER, "u"), Message(Role.ASSISTANT, "a")]
    screen = Screen("too much")
    session = talk(lambda messages: 400, screen, messages=history)
    assert [exc.code for exc in screen.failures] == ["context_full"]
    assert "this message alone" in screen.failures[0].message
    assert session.messages == history
    assert screen.notes == []


def test_turn_has_its_figures(talk):
    screen = Screen("a")
    talk(echo, screen)
    turn = screen.turns[0]
    assert (turn.engine, turn.model, turn.end.finish_reason) == ("llama.cpp", "m.gguf", "stop")
    assert turn.first_token_s is not None
    assert 0 <= turn.first_token_s <= turn.total_s


def test_undo_withdraws_whole_turns(talk, tmp_path: Path):
    screen = Screen("a", "b", "c", "/undo 2", "/undo 5", "/undo")
    session = talk(echo, screen)
    assert session.messages == read_journal(last_journal(tmp_path / "j")) == []
    assert [note[:7] for note in screen.notes] == ["2 turns", "1 turn "]
    assert [exc.message for exc in screen.failures] == ["there is no turn to undo"]


def test_retry_takes_the_place_of_the_reply_once_it_has_come(talk, tmp_path: Path):
    replies = iter(["one", "two"])
    session = talk(lambda messages: iter([next(replies)]), Screen("a", "/retry"))
    assert texts(session) == ["a", "two"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


@pytest.mark.parametrize(
    ("lines", "is_same"),
    [
        (("a", "/retry"), True),
        (("a", "/system Be brief.", "/retry"), False),
        (("a", "/set seed 7", "/retry"), False),
        (("a", "b", "/undo", "/retry"), False),
        (("a", "/continue", "/retry"), False),
        (("a", "/system Be brief.", "/retry", "/retry"), True),
    ],
)
def test_retry_at_temperature_0_is_announced_as_useless_where_it_is(talk, lines, is_same: bool):
    screen = Screen("/set temperature 0", *lines)
    talk(echo, screen)
    assert any("the reply will be the same" in note for note in screen.notes) is is_same


def test_failed_retry_keeps_the_reply_that_was_there(talk, tmp_path: Path):
    answers = iter([iter(["one"]), 500])
    screen = Screen("a", "/retry")
    session = talk(lambda messages: next(answers), screen)
    assert texts(session) == ["a", "one"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages
    assert len(screen.failures) == 1


def test_retry_asks_again_what_failed(talk):
    answers = iter([500, iter(["yes"])])
    session = talk(lambda messages: next(answers), Screen("a", "/retry"))
    assert texts(session) == ["a", "yes"]


def test_edit_offers_the_last_message_and_answers_the_new_one(talk, tmp_path: Path):
    screen = Screen("a", "b", "/edit", "B", "/edit C")
    session = talk(echo, screen)
    assert screen.offered == ["b"]
    assert texts(session) == ["a", "heard: a", "C", "heard: a|heard: a|C"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_failed_edit_brings_the_old_turn_back(talk, tmp_path: Path):
    answers = iter([iter(["one"]), 500, iter(["two"])])
    session = talk(lambda messages: next(answers), Screen("a", "/edit b"))
    assert texts(session) == ["a", "one"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_edit_that_is_given_up_changes_nothing(talk):
    screen = Screen("a", "/edit", " ")
    assert texts(talk(echo, screen)) == ["a", "heard: a"]
    assert screen.notes == ["the message was not changed"]


def test_stopped_reply_is_continued_in_place(talk, tmp_path: Path):
    screen = Screen("a", "/continue", interrupt_at="once ")
    asked: list[list[dict[str, str]]] = []

    def story(messages):
        asked.append(messages)
        return iter(["upon"] if messages[-1]["role"] == "assistant" else ["once ", "never"])

    session = talk(story, screen)
    assert asked[1][-1] == {"role": "assistant", "content": "once "}
    assert session.messages == [Message(Role.USER, "a"), Message(Role.ASSISTANT, "once upon")]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_clear_begins_anew_and_keeps_the_system_prompt(talk, tmp_path: Path):
    session = talk(echo, Screen("a", "/clear"), messages=[Message(Role.SYSTEM, "S")])
    assert texts(session) == ["S"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_system_prompt_is_shown_set_and_removed(talk):
    screen = Screen("/system", "/system S", "a", "/system", "/system -", "b")
    session = talk(echo, screen)
    assert screen.told == ["(no system prompt)", "S"]
    assert screen.turns[0].reply == "heard: S|a"
    assert screen.turns[1].reply == "heard: a|heard: S|a|b"
    assert session.system is None


def test_sampling_set_by_a_command_reaches_the_next_request(talk):
    screen = Screen("/set temperature 0.25", "/set heat 1", "/set", "a")
    talk(echo, screen)
    assert screen.notes == ["temperature is 0.25"]
    assert "temperature     0.25" in screen.told[0]
    assert [exc.code for exc in screen.failures] == ["usage"]


def test_stats_and_reasoning_are_shown_on_request(talk):
    screen = Screen("/stats", "a", "/stats", "/stats on", "/think hide", "/think", "/think loud")
    talk(echo, screen)
    assert screen.notes[0].startswith("2 tokens in")
    assert screen.is_verbose
    assert screen.think is Think.HIDE
    assert len(screen.failures) == 2


def test_file_goes_with_the_next_message_only(talk, tmp_path: Path):
    (tmp_path / "n.txt").write_text("note\n")
    session = talk(echo, Screen(f"/file {tmp_path / 'n.txt'}", "a", "b"))
    assert session.messages[0].content == "n.txt:\n```\nnote\n```\n\na"
    assert session.messages[2].content == "b"


def test_reply_is_copied(talk):
    screen = Screen("/copy", "a", "/copy")
    talk(echo, screen)
    assert screen.clipboard == "heard: a"
    assert len(screen.failures) == 1


def test_conversation_is_saved_and_loaded(talk, tmp_path: Path):
    path = tmp_path / "talk.json"
    screen = Screen("a", f"/save {path}", f"/save {path}", "/clear", f"/load {path}", "b")
    session = talk(echo, screen)
    assert [message.content for message in load_history(path)] == ["a", "heard: a"]
    assert [exc.code for exc in screen.failures] == ["usage"]
    assert texts(session)[:3] == ["a", "heard: a", "b"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages


def test_paths_may_be_quoted_and_homes_of_nobody_are_no_defect(talk, tmp_path: Path):
    path = tmp_path / "my talk.json"
    screen = Screen("a", f'/save "{path}"', f"/load '{path}'", "/load", "/save")
    screen.lines = iter([*screen.lines, "/save ~nobody-at-all/x", "/load ~nobody-at-all/x"])
    session = talk(echo, screen)
    assert [exc.code for exc in screen.failures] == ["usage"] * 4
    assert texts(session) == ["a", "heard: a"]
    assert [message.content for message in load_history(path)] == ["a", "heard: a"]


def test_earlier_conversation_is_listed_and_loaded_by_number(talk):
    talk(echo, Screen("about cats"))
    screen = Screen("/sessions dogs", "/sessions cats", "/load 2", "/load 1", "more")
    session = talk(echo, screen)
    assert screen.told[0].endswith("1 turn   about cats")
    assert len(screen.failures) == 2
    assert texts(session)[:3] == ["about cats", "heard: about cats", "more"]


def test_unknown_command_is_not_sent(talk):
    screen = Screen("/udno", "/info", "/model", "/help", "/template", "/exit", "never")
    session = talk(echo, screen)
    assert session.messages == []
    assert (screen.failures[0].hint or "").startswith("/undo")
    assert "m" in screen.told[1]
    assert "/undo" in screen.told[2]


@pytest.mark.parametrize("name", ["load", "save", "file"])
@pytest.mark.parametrize("argument", ["x" * 5000, "a/" * 5000, "7" * 5000, "a\0b"])
def test_command_on_a_name_that_no_file_can_have_is_an_error(talk, name: str, argument: str):
    screen = Screen(f"/{name} {argument}", "and now")
    session = talk(echo, screen)
    assert len(screen.failures) == 1
    assert texts(session) == ["and now", "heard: and now"]


def test_slash_is_text_where_there_are_no_commands(talk):
    session = talk(echo, Screen("/undo", takes_commands=False))
    assert texts(session) == ["/undo", "heard: /undo"]


def crowded(messages):
    """Take 60 characters at most; answer a request for a summary with one."""
    said = [m["content"] for m in messages]
    if said[-1].startswith("Summarise"):
        return iter(["They greeted."])
    return 400 if sum(map(len, said)) > 120 else iter(["ok"])


LONG = [Message(Role.SYSTEM, "S"), Message(Role.USER, "u" * 99), Message(Role.ASSISTANT, "a" * 99)]


def test_full_context_is_summed_up_on_request(talk, tmp_path: Path):
    screen = Screen("now")
    session = talk(crowded, screen, messages=LONG, overflow=Overflow.SUMMARISE)
    given = [m.content for m in session.window]
    assert given[0] == "S"
    assert given[1].endswith("They greeted.")
    assert given[3:] == ["now", "ok"]
    assert texts(session) == [*(m.content for m in LONG), "now", "ok"]
    assert read_journal(last_journal(tmp_path / "j")) == session.messages
    assert "summing up the oldest 2 messages" in screen.notes[0]
    assert "were summed up" in screen.notes[1]
    assert screen.asked == []


def test_full_context_stops_on_request(talk):
    screen = Screen("now")
    session = talk(crowded, screen, messages=LONG, overflow=Overflow.STOP)
    assert session.messages == LONG
    assert "the context is full" in screen.failures[0].message


def test_user_is_asked_once_what_goes(talk):
    screen = Screen("now", "x" * 119)
    screen.choice = "drop-oldest"
    session = talk(crowded, screen, messages=LONG)
    assert [m.content for m in session.window] == ["S", "x" * 119, "ok"]
    assert len(screen.asked) == 1


def strict(messages):
    """Refuse as the templates of old Mistral do."""
    roles = [m["role"] for m in messages]
    return echo(messages) if roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] else 422


def test_conversation_that_the_template_refuses_is_mended_and_told_once(talk):
    screen = Screen("a", "b")
    session = talk(strict, screen, messages=[Message(Role.SYSTEM, "S")])
    assert screen.turns[0].reply == "heard: S\n\na"
    assert screen.turns[1].reply == "heard: S\n\na|heard: S\n\na|b"
    assert texts(session)[:2] == ["S", "a"]
    assert len(screen.notes) == 1
    assert "no place for a system prompt" in screen.notes[0]


def test_template_that_refuses_everything_is_an_error(talk):
    screen = Screen("a")
    talk(lambda messages: 422, screen, messages=[Message(Role.SYSTEM, "S")])
    assert [exc.code for exc in screen.failures] == ["template"]


def test_template_that_never_ends_costs_the_turn_and_the_engine(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(queries, "TIMEOUT_S", 0.2)
    is_over = threading.Event()
    engine = Engine(echo)
    engine.try_template = lambda messages: is_over.wait(10) if "boom" in str(messages) else None
    threading.Thread(target=engine.serve_forever, args=(0.01,), daemon=True).start()
    screen = Screen("a", "boom", "/template", "b")
    session = Session(tmp_path, model="m.gguf")
    talk = Conversation(session, engine, Sampling(), screen, clock=time.monotonic)
    try:
        Console(talk, screen, journals=tmp_path).run()
    finally:
        is_over.set()
        engine.shutdown()
        engine.server_close()
        session.close()
    assert [exc.code for exc in screen.failures] == ["template", "usage"]
    assert engine.n_kills == 1
    assert texts(session) == ["a", "heard: a", "b", "heard: a|heard: a|b"]


def test_raw_texts_are_sent_without_a_template(talk):
    screen = Screen("Once ")
    session = talk(lambda prompt: iter(["upon"]), screen, is_raw=True)
    assert texts(session) == ["Once ", "upon"]
