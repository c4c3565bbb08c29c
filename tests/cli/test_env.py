"""``qtool env`` as a process, with wheels that the test makes; and for real, from the index."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.envs.wheels import FAKE_XLLAMACPP, make_wheel, only_from

GGUF = ("env", "create", "gguf", "--python", sys.executable)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a wheel that answers as llama.cpp would; nothing else is reachable."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "xllamacpp", "2026.9", FAKE_XLLAMACPP)
    for name, value in only_from(folder).items():
        monkeypatch.setenv(name, value)
    return folder


def test_it_goes_all_the_way(run_qtool: Run, wheels: Path) -> None:
    made = run_qtool(*GGUF)
    assert made.returncode == 0, made.stderr
    assert "gguf made: " in made.stdout
    assert "llama.cpp's server answers with 8 tokens" in made.stdout
    assert "[2/3] install xllamacpp" in made.stderr

    again = json.loads(run_qtool(*GGUF, "--json").stdout)
    assert again["created"] is False
    listed = json.loads(run_qtool("env", "list", "--json").stdout)
    assert [one["name"] for one in listed["environments"]] == ["gguf"]
    assert "vllm" in [one["name"] for one in listed["recipes"]]
    shown = run_qtool("env", "show", "gguf")
    assert "xllamacpp==2026.9" in shown.stdout

    assert run_qtool("env", "remove", "gguf").returncode == 0
    gone = run_qtool("env", "show", "gguf")
    assert gone.returncode == 3
    assert "hint: qtool env create gguf" in gone.stderr


def test_it_speaks_chinese(run_qtool: Run, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTOOL_LANG", "zh")

    listed, made = run_qtool("env", "list"), run_qtool(*GGUF)
    missing = run_qtool("env", "remove", "nothing")

    assert "还没有任何环境" in listed.stdout
    assert "用 llama.cpp 运行 GGUF 模型" in listed.stdout
    assert "gguf 已创建：" in made.stdout
    assert "[3/3] 检验它能用" in made.stderr
    assert "错误：没有名为 nothing 的环境" in missing.stderr


def test_a_failure_names_log_and_cause_in_json_too(
    run_qtool: Run, wheels: Path, own_settings: Path
) -> None:
    make_wheel(wheels, "xllamacpp", "2026.9", "raise ImportError('no AVX2 here')")

    failed = run_qtool(*GGUF, "--json", "--name", "mine")

    assert failed.returncode == 7
    error = json.loads(failed.stdout)["error"]
    (log,) = (own_settings / "state" / "logs").iterdir()
    assert "no AVX2 here" in error["message"]
    assert str(log) in error["message"]
    assert run_qtool("env", "show", "mine").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(
    wheels: Path, own_settings: Path, number: signal.Signals
) -> None:
    make_wheel(wheels, "xllamacpp", "2026.9", "import time; time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "qtool", *GGUF], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "prove that" in line:
            break
    process.send_signal(number)

    assert process.wait(20) == 130
    process.stderr.close()
    assert not (own_settings / "data" / "environments" / "gguf").exists()


def test_a_terminal_shows_steps_and_ends_clean(wheels: Path) -> None:
    import pexpect

    terminal = pexpect.spawn(
        sys.executable, ["-m", "qtool", *GGUF], encoding="utf-8", dimensions=(24, 90), timeout=60
    )
    terminal.expect_exact("[3/3] prove that it works")
    terminal.expect_exact("gguf made: ")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("create", "ggufs"), 3, "qtool env create gguf"),
        (("create", "gguf", "--name", "../x"), 2, "qtool env list"),
        (("create", "gguf", "--python", "/nowhere"), 3, "qtool env list"),
        (("remove", "nothing"), 3, "qtool env list"),
        (("show", "transformers"), 3, "qtool env create transformers"),
    ],
)
def test_mistakes_are_answered(
    run_qtool: Run, arguments: tuple[str, ...], code: int, hint: str
) -> None:
    done = run_qtool("env", *arguments)

    assert done.returncode == code
    assert f"hint: {hint}" in done.stderr


@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "recipe", ["gguf", pytest.param("transformers", marks=pytest.mark.environments)]
)
def test_real_ones_are_made_and_used(
    run_qtool: Run, recipe: str, tmp_path: Path, starter_gguf: Path
) -> None:
    made = run_qtool("env", "create", recipe, "--json", timeout=900)
    assert made.returncode == 0, made.stdout + made.stderr
    environment = json.loads(made.stdout)["environment"]

    assert environment["proof"]
    module = {"gguf": "xllamacpp", "transformers": "gptqmodel, transformers"}[recipe]
    done = subprocess.run([environment["python"], "-c", f"import {module}"], check=False)
    assert done.returncode == 0
    healthy = run_qtool("doctor", "--python", environment["python"])
    assert healthy.returncode == 0, healthy.stdout
    model = starter_gguf
    if recipe == "transformers":
        script = ROOT / "tests" / "engines" / "make_models.py"
        subprocess.run([environment["python"], str(script), str(tmp_path)], check=True)
        model = tmp_path / "gptq-sym-64"
    spoken = run_qtool("chat", str(model), "--env", recipe, "-p", "hello", "-m", "4", "--json")
    assert spoken.returncode == 0, spoken.stderr
    assert json.loads(spoken.stdout)["usage"]["completion_tokens"] == 4


def test_chat_wants_an_environment_that_exists(run_qtool: Run) -> None:
    nothing = run_qtool("chat", "x", "--env", "transformers")
    both = run_qtool("chat", "x", "--env", "transformers", "--python", "python3")

    assert (nothing.returncode, both.returncode) == (3, 2)
    assert "hint: qtool env create transformers" in nothing.stderr


@pytest.mark.network
@pytest.mark.environments
@pytest.mark.timeout(900)
def test_a_real_one_killed_half_way_leaves_nothing_that_is_used(
    run_qtool: Run, own_settings: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "qtool", "env", "create", "transformers"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "[3/4]" in line:
            break
    time.sleep(1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    (half,) = (own_settings / "data" / "environments" / "transformers").iterdir()

    assert run_qtool("env", "show", "transformers").returncode == 3
    assert run_qtool("env", "create", "gguf", "--name", "transformers").returncode == 0
    assert not half.exists()
