"""Conversations on a terminal, with a loopback server that plays the engine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qtool.chat.journal import last_journal, read_journal
from tests.cli.openai_server import OpenAiServer
from tests.cli.terminal import Terminal

Start = Callable[..., Terminal]


def echo(messages: list[dict[str, str]]) -> Iterator[str]:
    yield "You said: "
    yield messages[-1]["content"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    with OpenAiServer(echo) as server:
        monkeypatch.setenv("QTOOL_API_KEY", server.key)
        yield server


@pytest.fixture
def start(server: OpenAiServer) -> Iterator[Start]:
    """Return a function that starts a conversation and waits for its first prompt."""
    terminals: list[Terminal] = []

    def run(*arguments: str, **options) -> Terminal:
        terminal = Terminal("chat", "--endpoint", server.url, *arguments, **options)
        terminals.append(terminal)
        terminal.wait_for_prompt()
        return terminal

    yield run
    for terminal in terminals:
        terminal.__exit__()


def said(own_settings: Path) -> list[str]:
    """Return what the last journal holds."""
    journal = last_journal(own_settings / "state" / "conversations")
    return [message.content for message in read_journal(journal)]
