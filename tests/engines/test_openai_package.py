"""``qtool serve`` as other programs see it: by the ``openai`` package, with either engine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest

pytestmark = pytest.mark.model
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@contextmanager
def served(*arguments: str) -> Iterator[dict[str, str]]:
    """Run ``qtool serve``; yield what it told."""
    with subprocess.Popen(
        [sys.executable, "-m", "qtool", "serve", *arguments, "--json"], stdout=subprocess.PIPE
    ) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@pytest.fixture(
    scope="module",
    params=[
        "llama.cpp",
        pytest.param("transformers", marks=[pytest.mark.network, pytest.mark.slow]),
    ],
)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "QTOOL_STATE", home)
        if request.param == "llama.cpp":
            gguf = request.getfixturevalue("starter_gguf")
            arguments = [str(gguf), "--ctx", "512"]
        else:
            folder = request.getfixturevalue("tiny_models") / "plain"
            python = request.getfixturevalue("engine_python").path
            arguments = [str(folder), "--python", python, "--threads", "1"]
        with served(*arguments) as answer:
            assert answer["engine"] == request.param
            yield answer


@pytest.fixture
def client(told: dict[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=told["url"], api_key=told["api_key"], max_retries=0) as client:
        yield client


def test_models_are_listed(client: openai.OpenAI, told: dict[str, str]):
    assert [model.id for model in client.models.list()] == [told["model"]]


def test_conversation_is_answered_whole_and_streamed_alike(
    client: openai.OpenAI, told: dict[str, str]
):
    asked = {"model": told["model"], "messages": QUESTION, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    assert whole.usage.completion_tokens <= 8
    assert whole.choices[0].finish_reason in ("stop", "length")
    with client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_bare_text_is_completed(client: openai.OpenAI, told: dict[str, str]):
    answer = client.completions.create(model=told["model"], prompt="Once upon", max_tokens=3)
    assert answer.usage.completion_tokens <= 3


def test_wrong_key_is_refused(told: dict[str, str]):
    with (
        openai.OpenAI(base_url=told["url"], api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_request_that_makes_no_sense_is_an_error_of_the_packages_own(
    client: openai.OpenAI, told: dict[str, str]
):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=told["model"], messages="nonsense")
    assert 400 <= caught.value.status_code <= 500


def test_page_from_elsewhere_may_not_read_an_answer(told: dict[str, str]):
    """What a browser asks before it lets a page send a key, and what it looks for in the answer."""
    page = {"Origin": "https://evil.example", "Authorization": f"Bearer {told['api_key']}"}
    wishes = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for method, headers in (("OPTIONS", {**page, **wishes}), ("GET", page)):
        asked = Request(f"{told['url']}/models", headers=headers, method=method)
        try:
            with urlopen(asked) as response:
                allowed = response.headers["Access-Control-Allow-Origin"]
        except HTTPError as refusal:
            with refusal:
                allowed = refusal.headers["Access-Control-Allow-Origin"]
        assert allowed not in ("*", "https://evil.example")
