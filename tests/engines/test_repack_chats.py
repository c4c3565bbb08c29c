"""Conversations: llama.cpp makes the same tokens of them as the model's own template and tokenizer.

llama.cpp's server renders and tokenises on repacked vocabularies, transformers on the checkpoints.
llama.cpp does not compose characters (NFC), which Qwen 2 asks for: what is said is composed here.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qtool.chat.templates import CHATML, GEMMA
from qtool.engines.base import EngineOptions
from qtool.engines.interpreters import EnginePython
from qtool.engines.llama_cpp import plan_launch
from qtool.engines.process import EngineProcess
from qtool.models.formats import inspect_model
from tests.engines.conftest import Server, run_beside
from tests.engines.test_repack_models import tokenizers, vocabulary_gguf
from tests.engines.test_repack_real import packed

__all__ = ["packed", "tokenizers"]  # fixtures
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "[INST] {{ m['content'] }} [/INST]{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
CHATML_AFTER_BOS = "{{ bos_token }}" + CHATML.text
STARTER = "starter model"
SPACED = {"bos_token": "<s>", "eos_token": "</s>"}
STATED = {
    "smollm": {"chat_template": CHATML.text, "eos_token": "<|im_end|>"},
    "qwen2": {"chat_template": CHATML.text, "eos_token": "<|im_end|>"},
    "llama3": {
        **{"chat_template": CHATML_AFTER_BOS, "bos_token": "<|a|>", "eos_token": "<|im_end|>"},
        "add_bos_token": True,
    },
    "llama2": {**SPACED, "chat_template": MISTRAL, "add_bos_token": True},
    "mistral3": {**SPACED, "chat_template": MISTRAL, "add_bos_token": True},
    "gemma": {**SPACED, "chat_template": GEMMA.text, "add_bos_token": True},
}
SAID = (
    "Hello!",
    "  two spaces before, and after  ",
    "你好，世界！这是一个测试。",
    "def f(x):\n\treturn {'a': x ** 2}  # ok\r\n\n\n",
    "👩‍👩‍👧‍👦 🇨🇳 ❤️ é \u200b\ufeff",
    "\x01\x1b[31m\x7f\u0085 control",
    "I'll say <|im_end|> and </s> and [INST] myself <|im_start|>system",
    "12345 3.14 1,000,000 O'Brien's WE'LL",
)


def chats() -> list[list[dict[str, str]]]:
    """Return a conversation of one turn for each of SAID, and one of all together."""
    single = [[{"role": "user", "content": text}] for text in SAID]
    roles = ["user", "assistant"] * len(SAID)
    whole = [{"role": role, "content": text} for role, text in zip(roles, SAID, strict=False)]
    return [*single, whole[:-1], whole[:3]]


@pytest.fixture(scope="module")
def folders(
    engine_python: EnginePython,
    tokenizers: Path,
    packed: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Return by kind a folder with a tokenizer, its template, and the ids of all ``chats``."""
    base = tmp_path_factory.mktemp("chats")
    found = {kind: base / kind for kind in (*STATED, STARTER)}
    for kind, stated in STATED.items():
        found[kind].mkdir()
        shutil.copy(tokenizers / kind / "tokenizer.json", found[kind])
        (found[kind] / "tokenizer_config.json").write_text(json.dumps(stated))
    shutil.copytree(
        packed / "gptq-32", found[STARTER], ignore=lambda _, names: [*filter(is_weights, names)]
    )
    (base / "chats.json").write_text(json.dumps(chats()))
    rendered = map(str, found.values())
    run_beside(engine_python, "render_chats.py", str(base / "chats.json"), *rendered)
    return found


def is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


@pytest.fixture(params=[*STATED, STARTER])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(folders: dict[str, Path], kind: str, tmp_path: Path) -> Iterator[Server]:
    """Return llama.cpp's server with the tokenizer of ``kind``."""
    gguf = vocabulary_gguf(folders[kind], tmp_path / f"{kind}.gguf")
    process = EngineProcess(plan_launch(inspect_model(gguf), EngineOptions(n_threads=1)))
    endpoint = process.wait_until_ready(60)
    assert endpoint is not None
    yield Server(process, endpoint.url, endpoint.api_key)
    process.stop()


def ids_of(server: Server, chat: list[dict[str, str]]) -> list[int]:
    """Return the tokens that llama.cpp makes of a conversation.

    It takes the BOS off what a template writes where the vocabulary adds one, as its own chat
    endpoint does when it tokenises.
    """
    status, shown = server.ask("/apply-template", {"messages": chat})
    assert status == 200, shown
    asked = {"content": shown["prompt"], "add_special": True, "parse_special": True}
    ids = server.ask("/tokenize", asked)[1]["tokens"]
    assert isinstance(ids, list)
    return ids


def test_conversations_become_the_same_tokens(
    server: Server, folders: dict[str, Path], kind: str
) -> None:
    expected = json.loads((folders[kind] / "ids.json").read_text())
    found = [ids_of(server, chat) for chat in chats()]
    assert [n for n, ids in enumerate(found) if ids != expected[n]] == []
    messages = [(message["role"], message["content"]) for message in chats()[0]]
    counted = server.chat(messages, max_tokens=1)["usage"]["prompt_tokens"]
    assert counted == len(expected[0]), "the chat endpoint has other tokens than /tokenize"
