"""A conversation whose notices are Chinese: what is said, in which words, and that it fits."""

import json
import re

import pytest

from qtool.chat.width import width_of
from tests.cli.chat.conftest import Start
from tests.cli.openai_server import OpenAiServer
from tests.conftest import Run

ENGLISH = re.compile(r"\b(the|is|are|of|with|there|goes|ends|stops?|lists?)\b")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTOOL_LANG", "zh")


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("columns", [40, 120])
def test_greeting_help_and_how_to_leave_are_chinese_and_fit(start: Start, columns: int):
    terminal = start(columns=columns)
    assert "/help 列出命令" in terminal.text
    terminal.type("\x03")
    terminal.wait("结束对话]\n>>>")
    terminal.submit("/help")
    assert "撤回最后一轮" in terminal.text
    shown = terminal.text.replace("[WORDS]", "")
    assert not ENGLISH.search(shown), shown
    assert max(width_of(line) for line in terminal.lines) <= columns


@pytest.mark.usefixtures("chinese")
def test_commands_answer_in_chinese(start: Start):
    terminal = start()
    terminal.submit("你好")
    for typed, answer in {
        "/stats": "个 token，用时",
        "/set tempreture 1": "没有名为 'tempreture' 的参数",
        "/set top_k": "（由引擎决定）",
        "/system -": "系统提示词已去掉",
        "/info": "上下文",
        "/undo": "已撤回 1 轮；什么也没剩下",
        "/sessions nothing": "没有这样的以前的对话",
        "/load /none": "没有历史文件 /none",
        "/nosuch": "没有 /nosuch 这个命令",
    }.items():
        terminal.submit(typed)
        assert answer in terminal.text, typed
    assert "错误：" in terminal.text
    assert "提示：" in terminal.text


@pytest.mark.usefixtures("chinese")
def test_stopped_reply_and_full_context_are_told_in_chinese(start: Start, server: OpenAiServer):
    server.pace_s, server.n_ctx_tokens = 0.5, 150
    terminal = start()
    terminal.type("one\r")
    terminal.wait("You said:")
    terminal.type("\x03")
    terminal.wait("[已停止]")
    server.pace_s = 0
    terminal.type("x" * 140 + "\r")
    terminal.wait("上下文已满，怎么办")
    terminal.type("\r")
    terminal.wait("最早的 2 条消息不再发给模型：“one”")


def test_option_goes_before_the_locale_and_json_stays_english(
    run_qtool: Run, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("QTOOL_LANG")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    wrong = ("chat", "--endpoint", server.url, "--model", "tiny", "-p", "Hi", "-c")
    assert "没有可以接着的以前的对话" in run_qtool(*wrong).stderr
    assert "no earlier conversation" in run_qtool(*wrong, "--lang", "en").stderr
    told = json.loads(run_qtool(*wrong, "--json").stdout)["error"]
    assert told["message"] == "there is no earlier conversation to continue"
