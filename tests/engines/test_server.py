"""The server with a tiny model: sampling, stops, templates, errors, and its life and death."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qtool.engines.interpreters import EnginePython
from qtool.engines.transformers import PROGRAM
from qtool.errors import EnvironmentFault
from tests.engines.conftest import GREEDY, HERE, Serve, Server, run_script, start_engine

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

N_SPECIAL = 2
LETTERS = {"a": 97, "b": 98}


def only(*letters: str) -> dict[str, int]:
    """Return a bias after which the model writes nothing but these letters."""
    alphabet = sorted(_byte_alphabet())
    return {str(N_SPECIAL + alphabet.index(letter)): 100 for letter in letters}


def _byte_alphabet() -> list[str]:
    """The characters that stand for bytes in a byte-level vocabulary (GPT-2's encoder.py)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, shown), *(chr(256 + i) for i in range(256 - len(shown)))]


def text(answer: dict) -> str:
    return answer["choices"][0]["text"]


@pytest.fixture(scope="module")
def server(serve: Serve, tiny_models: Path) -> Server:
    return serve(tiny_models / "plain")


def test_seed_makes_a_reply_repeatable(server: Server):
    replies = [
        text(server.complete("x", temperature=1.5, seed=seed, max_tokens=30)) for seed in (1, 1, 2)
    ]
    assert replies[0] == replies[1] != replies[2]


def test_temperature_of_almost_nothing_or_a_single_candidate_is_greedy(server: Server):
    greedy = text(server.complete("x"))
    for narrow in ({"temperature": 1e-4}, {"top_k": 1}, {"top_p": 0}, {"min_p": 1}):
        fields = {"temperature": 1.0, **narrow}
        assert text(server.complete("x", **fields)) == greedy


def test_bias_decides_what_is_written(server: Server):
    assert text(server.complete("x", logit_bias=only("a"), max_tokens=5)) == "aaaaa"
    assert set(text(server.complete("x", logit_bias=only("a", "b"), temperature=9))) <= {"a", "b"}
    status, answer = server.ask("/v1/completions", {"prompt": "x", "logit_bias": {"9999": 1}})
    assert (status, answer["error"]["param"]) == (400, "logit_bias")


def test_repetition_is_penalised_over_prompt_and_reply(server: Server):
    biased = {"logit_bias": only("a"), "max_tokens": 8}
    assert text(server.complete("x", **biased, frequency_penalty=2)) == "a" * 8
    free = text(server.complete("x" * 20, max_tokens=30, temperature=0))
    held = text(server.complete("x" * 20, max_tokens=30, repetition_penalty=100))
    assert len(set(held)) > len(set(free)) or held != free


@pytest.mark.parametrize("is_streaming", [False, True])
def test_reply_ends_before_the_stop_string(server: Server, is_streaming: bool):
    fields = {"logit_bias": only("a"), "stop": ["aaaa", "zz"], "max_tokens": 20}
    if is_streaming:
        chunks = list(server.stream("x", **fields))
        assert "".join(map(text, chunks)) == ""
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        answer = server.complete("x", **fields)
        assert text(answer) == ""
        reason = answer["choices"][0]["finish_reason"]
        assert answer["usage"]["completion_tokens"] == 4
    assert reason == "stop"


def test_stream_and_whole_reply_are_the_same_in_whole_characters(server: Server):
    for seed in range(12):
        fields = {"seed": seed, "temperature": 1.0, "max_tokens": 40}
        streamed = [text(chunk) for chunk in server.stream("é", **fields)]
        assert "".join(streamed) == text(server.complete("é", **fields))


def test_usage_is_streamed_when_asked_for(server: Server):
    *_, last = server.stream("xyz", max_tokens=3, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 3
    assert last["usage"]["completion_tokens"] <= 3
    assert {"cache_n", "prompt_n", "prompt_ms", "predicted_per_second"} <= set(last["timings"])


def test_prompt_may_be_token_ids(server: Server):
    ids = [N_SPECIAL + sorted(_byte_alphabet()).index("x")]
    assert text(server.complete(ids)) == text(server.complete("x"))
    status, _ = server.ask("/v1/completions", {"prompt": [10**6]})
    assert status == 400


def test_context_that_is_full_is_told_with_figures(serve: Serve, tiny_models: Path):
    server = serve(tiny_models / "plain", n_ctx_tokens=64)
    status, answer = server.ask("/v1/completions", {"prompt": "x" * 64})
    assert (status, answer["error"]["type"]) == (400, "exceed_context_size_error")
    assert (answer["error"]["n_prompt_tokens"], answer["error"]["n_ctx"]) == (64, 64)
    answer = server.complete("x" * 60, logit_bias=only("a"), max_tokens=-1)
    assert (text(answer), answer["choices"][0]["finish_reason"]) == ("aaaa", "length")


def test_template_arguments_reach_the_template_and_reasoning_is_told_apart(server: Server):
    fields = {"logit_bias": only("a"), "max_tokens": 3}
    talk = [("user", "x")]
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    answer = server.chat(talk, **fields, **thinking)
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("", "aaa")
    answer = server.chat(talk, **fields, **thinking, reasoning_format="none")
    assert answer["choices"][0]["message"]["content"] == "aaa"


def test_prompt_and_tokens_are_shown(server: Server):
    messages = [{"role": "user", "content": "x"}]
    status, shown = server.ask("/apply-template", {"messages": messages})
    assert (status, shown["prompt"]) == (
        200, "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n",
    )  # fmt: skip
    _, tokens = server.ask("/tokenize", {"content": shown["prompt"]})
    usage = server.chat([("user", "x")], max_tokens=1)["usage"]
    assert len(tokens["tokens"]) == usage["prompt_tokens"]
    assert server.ask("/tokenize", {"content": ""})[1] == {"tokens": []}


def test_final_message_is_continued_where_it_ends(server: Server):
    talk = [("user", "x"), ("assistant", "begun ")]
    whole = "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\nbegun "
    answer = server.chat(talk, continue_final_message=True)
    assert answer["choices"][0]["message"]["content"] == text(server.complete(whole))
    assert server.complete(whole)["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system here') }}", "chat_template_refused"),
        ("{{ messages.x.y.z }}", "chat_template_refused"),
        ("{{ 1 // 0 }}", "chat_template_failed"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
         "chat_template_failed"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "chat_template_refused"),
    ],
)  # fmt: skip
def test_template_that_fails_is_a_refusal_and_the_server_lives(
    serve: Serve, tiny_models: Path, template: str, reason: str
):
    server = serve(tiny_models / "plain", chat_template=template)
    messages = [{"role": "user", "content": "x"}]
    status, answer = server.ask("/v1/chat/completions", {"messages": messages})
    assert (status, answer["error"]["reason"]) == (400, reason)
    assert text(server.complete("x"))


def test_hostile_templates_get_neither_time_nor_memory_nor_out(engine_python: EnginePython):
    done = json.loads(run_script(engine_python, str(HERE / "check_template_limits.py")))
    assert done == dict.fromkeys(done, True)
    assert len(done) > 10


def test_model_without_a_template_says_so(serve: Serve, tiny_models: Path, tmp_path: Path):
    folder = copy_without(tiny_models / "plain", tmp_path / "m", "chat_template.jinja")
    server = serve(folder)
    messages = [{"role": "user", "content": "x"}]
    status, answer = server.ask("/v1/chat/completions", {"messages": messages})
    assert (status, answer["error"]["reason"]) == (400, "chat_template_missing")
    assert text(server.complete("x"))


def copy_without(source: Path, target: Path, *names: str) -> Path:
    """Return a copy of a model folder without some files, its weights linked."""
    target.mkdir()
    for file in source.iterdir():
        if file.name not in names:
            (target / file.name).symlink_to(file)
    return target


def test_client_that_goes_anywhere_in_the_stream_leaves_the_server_in_order(server: Server):
    expected = text(server.complete("once", cache_prompt=False))
    for n_bytes in (1, 40, 200, 300, 700, 1500):
        body = {"prompt": "once", "stream": True, "max_tokens": 400, "ignore_eos": True}
        connection = server.open("/v1/completions", body)
        connection.getresponse().read(n_bytes)
        connection.close()
        assert text(server.complete("once")) == expected


def test_generation_ends_when_the_client_goes(server: Server):
    """400 tokens take half a second; those that nobody waits for are not written."""
    body = {"prompt": "once", "max_tokens": 900, "ignore_eos": True, "temperature": 0}
    started_at = time.monotonic()
    assert server.ask("/v1/completions", body)[0] == 200
    whole_s = time.monotonic() - started_at
    connections = [server.open("/v1/completions", body) for _ in range(5)]
    for connection in connections:
        connection.close()
    started_at = time.monotonic()
    server.complete("once", max_tokens=1)
    assert time.monotonic() - started_at < whole_s


def test_model_that_cannot_be_loaded_is_told_in_the_librarys_words(
    engine_python: EnginePython, tiny_models: Path, tmp_path: Path
):
    folder = copy_without(tiny_models / "plain", tmp_path / "m", "tokenizer.json")
    process = start_engine(engine_python, folder)
    with pytest.raises(EnvironmentFault, match="cannot load the model") as caught:
        process.wait_until_ready(60)
    assert "Traceback" not in caught.value.message
    assert str(folder) in (caught.value.hint or "")
    process.stop()


def test_state_is_answered_while_the_model_loads(engine_python: EnginePython, tiny_models: Path):
    process = start_engine(engine_python, tiny_models / "plain")
    try:
        stages = set()
        while process.wait_until_ready(0.02) is None:
            if process.progress:
                stages.add(process.progress.stage)
        assert len(stages) >= 2
    finally:
        process.stop()


PARENT = """
import json, subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         start_new_session=True)
child.stdin.write(sys.argv[1].encode() + b"\\n")
child.stdin.flush()
print(child.pid, flush=True)
for line in child.stdout:
    if b'"url"' in line:
        print("ready", flush=True)
child.wait()
"""


@pytest.mark.parametrize("is_loaded", [False, True], ids=["while loading", "when ready"])
def test_no_process_is_left_when_the_parent_is_killed(
    engine_python: EnginePython, tiny_models: Path, is_loaded: bool
):
    settings = f'{{"model": "{tiny_models / "plain"}", "api_key": "k"}}'
    command = [engine_python.path, "-I", str(PROGRAM)]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, settings, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if is_loaded:
            assert parent.stdout.readline() == b"ready\n"
        else:
            time.sleep(1)
        os.kill(parent.pid, signal.SIGKILL)
    end = time.monotonic() + 3
    while (left := living(child)) and time.monotonic() < end:
        time.sleep(0.02)
    assert left == []


def living(session: int) -> list[str]:
    """Return the processes of a session that are no zombies."""
    listed = subprocess.run(
        ["ps", "-o", "stat=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def test_program_runs_from_another_folder_with_hostile_modules_around(
    engine_python: EnginePython, tiny_models: Path, tmp_path: Path
):
    """Neither the current folder nor ``engines`` may hide a package of the environment."""
    for name in ("transformers", "torch", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hidden')")
    settings = f'{{"model": "{tiny_models / "plain"}", "api_key": "k"}}\n'.encode()
    with subprocess.Popen(
        [engine_python.path, "-I", str(PROGRAM)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings)
        process.stdin.flush()
        limit = threading.Timer(60, process.kill)
        limit.start()
        assert any(b'"url"' in line for line in process.stdout)
        limit.cancel()
        process.kill()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of other processes: Linux")
def test_memory_that_runs_out_costs_one_reply_and_is_told_with_figures(
    serve: Serve, tiny_models: Path
):
    server = serve(tiny_models / "plain", n_ctx_tokens=100_000)
    expected = text(server.complete("x"))
    status_file = Path(f"/proc/{server.process.pid}/status").read_text()
    used_bytes = int(re.findall(r"VmSize:\s+(\d+) kB", status_file)[0]) * 1024
    before = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (used_bytes + 8_000_000, before[1]))
    status, answer = server.ask("/v1/completions", {"prompt": "x" * 60_000, **GREEDY})
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, before)
    assert (status, answer["error"]["type"]) == (503, "out_of_memory_error")
    assert re.search(r"\d+ bytes more were asked for.*MiB are free", answer["error"]["message"])
    assert text(server.complete("x")) == expected
