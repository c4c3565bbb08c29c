"""Chat templates in llama.cpp's own server: given, strict, standing in, broken, never ending."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.chat import queries
from qtool.chat.client import TemplateEndlessError, stream_chat
from qtool.chat.messages import Message, Role
from qtool.chat.plan import EngineWish, plan_engine
from qtool.chat.queries import render_prompt
from qtool.chat.request import Sampling
from qtool.chat.templates import CHATML, GEMMA, MISTRAL, PHI, PLAIN, FallbackTemplate
from qtool.engines.base import Endpoint, EngineOptions
from qtool.engines.keeper import EngineKeeper
from qtool.errors import EnvironmentFault, QtoolError, UsageError
from qtool.models.local import LocalModel
from tests.conftest import Run

pytestmark = pytest.mark.model

SAID = [Message(Role.USER, "u"), Message(Role.ASSISTANT, "a"), Message(Role.USER, "v")]
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
)
ENDLESS = "{% for i in range(2000000000) %}{% for j in range(2000000000) %}{% endfor %}{% endfor %}"


@contextmanager
def serving(gguf: Path, template: str) -> Iterator[Endpoint]:
    options = EngineOptions(n_ctx_tokens=512)
    wish = EngineWish(options=options, template=template)
    with plan_engine(LocalModel(gguf), wish).keeper as keeper:
        yield keeper.endpoint()


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (
            CHATML,
            "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
            "<|im_start|>user\nv<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            GEMMA,
            "<start_of_turn>user\nu<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n"
            "<start_of_turn>user\nv<end_of_turn>\n<start_of_turn>model\n",
        ),
        (PHI, "<|user|>\nu<|end|>\n<|assistant|>\na<|end|>\n<|user|>\nv<|end|>\n<|assistant|>\n"),
        (MISTRAL, "[INST] u [/INST] a<|im_end|>[INST] v [/INST]"),
        (PLAIN, "User: u\nAssistant: a\nUser: v\nAssistant:"),
    ],
    ids=lambda value: value.name if isinstance(value, FallbackTemplate) else "",
)
def test_template_that_stands_in_renders_and_goes_on(
    starter_gguf: Path, template: FallbackTemplate, prompt: str
):
    with serving(starter_gguf, template.text) as endpoint:
        rendered = render_prompt(endpoint, SAID)
        assert rendered.removeprefix("<|im_start|>").endswith(prompt.removeprefix("<|im_start|>"))
        assert render_prompt(endpoint, SAID[:2]).rstrip().endswith("a")


def test_two_messages_in_a_row_are_mended_for_a_strict_template(
    run_qtool: Run, starter_gguf: Path, tmp_path: Path
):
    template, history = tmp_path / "strict.jinja", tmp_path / "h.json"
    template.write_text(STRICT)
    history.write_text('[{"role": "user", "content": "a"}]')
    options = ("--template", str(template), "-m", "4", "-i", str(history))
    done = run_qtool("chat", str(starter_gguf), *options, "-p", "b")
    assert done.returncode == 0, done.stderr
    assert "messages of the same speaker in a row are sent as one" in done.stderr


def test_raw_text_goes_on(run_qtool: Run, starter_gguf: Path):
    options = ("--raw", "-m", "3", "--temperature", "0")
    done = run_qtool("chat", str(starter_gguf), *options, "-p", "one, two, three, four,")
    assert done.stdout.strip().startswith("five"), done.stdout + done.stderr


def test_broken_template_ends_with_7(run_qtool: Run, starter_gguf: Path, tmp_path: Path):
    template = tmp_path / "broken.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] ")
    done = run_qtool("chat", str(starter_gguf), "--template", str(template), "-p", "a")
    assert done.returncode == 7
    assert "Traceback" not in done.stderr


BOOM = "{% if messages[-1].content == 'boom' %}BODY{% endif %}{{ messages[-1].content }}"


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in range(30000) %}{% for j in range(30000) %}{% endfor %}{% endfor %}",
        "{{ (3000000000 * 'a')|length }}{{ range(1000000000)|list|length }}",
    ],
    ids=["time", "memory"],
)
def test_template_that_takes_for_ever_on_a_message_is_stopped(
    starter_gguf: Path, monkeypatch: pytest.MonkeyPatch, body: str
):
    monkeypatch.setattr(queries, "TIMEOUT_S", 1.5)
    with serving(starter_gguf, BOOM.replace("BODY", body)) as endpoint:
        assert render_prompt(endpoint, [Message(Role.USER, "fine")]).endswith("fine")
        with pytest.raises(TemplateEndlessError, match="was stopped after"):
            render_prompt(endpoint, [Message(Role.USER, "boom")])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no mapped memory")
def test_template_that_wants_all_memory_is_refused_it(starter_gguf: Path):
    import resource

    options = EngineOptions(n_ctx_tokens=512)
    template = BOOM.replace("BODY", "{{ ('a' * 3000000000)|length }}")
    wish = EngineWish(options=options, template=template)
    with plan_engine(LocalModel(starter_gguf), wish).keeper as keeper:
        endpoint = keeper.endpoint()
        bound, hard = resource.prlimit(keeper.pid, resource.RLIMIT_DATA)
        assert bound < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 2
        resource.prlimit(keeper.pid, resource.RLIMIT_DATA, (10**9, hard))
        with pytest.raises(UsageError, match="chat template fails"):
            list(stream_chat(endpoint, [Message(Role.USER, "boom")], Sampling()))
        fine = stream_chat(endpoint, [Message(Role.USER, "fine")], Sampling(max_new_tokens=1))
        assert len(list(fine)) >= 1


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.getcwd() }}",
    ],
)
def test_template_that_reaches_outside_gets_nothing(starter_gguf: Path, escape: str):
    template = f"{{% if messages[-1].content == 'boom' %}}{escape}{{% endif %}}"
    try:
        with serving(starter_gguf, template) as endpoint:
            shown = render_prompt(endpoint, [Message(Role.USER, "boom")])
    except QtoolError:
        return
    assert not any(secret in shown for secret in ("uid=", "root:", "class", "/"))


def test_template_that_never_ends_is_given_up_once_all_else_is_loaded(
    starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("qtool.engines.keeper.TEMPLATE_S", 1)
    wish = EngineWish(options=EngineOptions(n_ctx_tokens=512), template=ENDLESS)
    with plan_engine(LocalModel(starter_gguf), wish).keeper as keeper:
        keeper.start()
        with pytest.raises(EnvironmentFault, match="template never ends: given up after 1 s"):
            keeper.endpoint()


def test_template_that_never_ends_is_given_up(starter_gguf: Path):
    options = EngineOptions(n_ctx_tokens=512)
    planned = plan_engine(LocalModel(starter_gguf), EngineWish(options=options)).keeper
    settings = {**planned.launch.settings, "chat_template": ENDLESS}
    keeper = EngineKeeper(replace(planned.launch, settings=settings), limit_s=4)
    with keeper, pytest.raises(EnvironmentFault, match="never ends") as caught:
        keeper.endpoint()
    assert "--template" in (caught.value.hint or "")
