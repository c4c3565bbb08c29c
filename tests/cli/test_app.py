"""The frame of the command line: exit codes, errors, completion."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import qtool
from qtool.cli import COMMANDS, app
from qtool.cli.examples import EXAMPLES
from qtool.cli.option_groups import OPTION_GROUPS
from tests.conftest import Run


def test_version(run_qtool: Run):
    assert run_qtool("--version").stdout == f"qtool {qtool.__version__}\n"


def test_no_arguments_shows_help_as_a_usage_error(run_qtool: Run):
    done = run_qtool()
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: qtool")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["downlod"], "qtool download --help"),
        (["chat", "--temperature", "warm"], "warm"),
        (["chat", "--no-such-option"], "--no-such-option"),
        (["chat", "--temperatur", "1"], "no option --temperatur; did you mean --temperature"),
        (["download"], "qtool download needs REPO[:QUANT][@REV]\n\nhint: qtool download org/"),
        (["find", "--limit", "3"], "qtool find needs MODEL\n\nhint: qtool find org/name"),
        (["download", "a/b", "-x", "99"], "-x/--connections: 99 is not in the range 1<=x<=64"),
        (["models", "nonsense"], "there is no command 'nonsense'\n\nhint: qtool models --help"),
        (["models", "rm", "x"], "hint: qtool models remove NAME"),
        (["models", "remvoe", "x"], "hint: qtool models remove --help"),
        (["models", "remove"], "qtool models remove needs NAME…"),
        (["config", "shw"], "shw"),
        (["chat", "starter", "-p", ""], "the prompt is empty"),
        (["chat", "--temperature", "nan"], "takes a number"),
        (["chat", "--top-p", "nan"], "no number to draw by"),
        (["chat", "--repeat-penalty", "0"], "--repeat-penalty 1"),
        (["chat", "--stop", ""], "--stop"),
        (["chat", "--gpu-layers", "99999999999999"], "2147483647"),
        (["chat", "a/b/c/d", "-p", "hi"], "a/b/c/d"),
        (["chat", "x.gguf", "-i", "a", "-io", "b"], "-io FILE stands for"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_says_why(run_qtool: Run, arguments: list[str], words: str):
    done = run_qtool(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_parse(run_qtool: Run, command: str):
    said = run_qtool(command, "--help").stdout
    assert "<str>" not in said and "{" not in said and "--install-completion" not in said
    assert said.count(f"  qtool {command}") == len(EXAMPLES[command])
    for line, _ in EXAMPLES[command]:
        group: Any = typer.main.get_command(app)
        words = shlex.split(line)
        while words and hasattr(group, "commands"):
            group = group.get_command(None, words.pop(0))
        assert group is not None, line
        group.make_context(command, words)


@pytest.mark.parametrize("command", OPTION_GROUPS)
def test_help_lists_every_option_once_under_its_heading(run_qtool: Run, command: str):
    params = typer.main.get_command(app).get_command(None, command).params  # type: ignore[attr-defined]
    options = {option for one in params for option in one.opts}
    grouped = [option for group in OPTION_GROUPS[command].values() for option in group]
    assert set(grouped) <= options and len(set(grouped)) == len(grouped)
    said = run_qtool(command, "--help").stdout
    assert all(f"\n{heading}:\n" in said for heading in OPTION_GROUPS[command])
    assert all(re.search(rf"^  (-\w+, )?{option}\b", said, re.M) for option in grouped)


def test_usage_error_with_json_is_an_object_on_stdout(run_qtool: Run):
    done = run_qtool("chat", "--no-such-option", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_missing_model_ends_with_3_and_names_the_command_that_fetches_it(
    run_qtool: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # else a hub is asked, if there is one
    done = run_qtool("chat", "org/name:Q4_K_M", "-p", "hi")
    assert done.returncode == 3
    assert "hint: qtool download org/name:Q4_K_M" in done.stderr


def test_no_model_and_nobody_to_ask_ends_with_2(run_qtool: Run):
    done = run_qtool("chat", "-p", "hi")
    assert done.returncode == 2
    assert "hint: qtool chat -y" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [("config", "show"), ("--version",), ("models", "--json")])
def test_full_disk_behind_stdout_is_no_defect(
    run_qtool: Run, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with open("/dev/full", "w") as full:
        done = run_qtool(*command, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 8
    # As JSON the error itself belongs on the full disk; the exit code tells.
    assert "--json" in command or "no space is left" in done.stderr
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr


def test_password_in_an_address_is_not_shown(run_qtool: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@hub.example/x,https://other.example")
    for options in ((), ("--json",)):
        done = run_qtool("config", "show", *options)
        assert "secret" not in done.stdout
        assert "https://***@hub.example/x" in done.stdout and "other.example" in done.stdout


@pytest.mark.parametrize("number", [0, 1, 2])
def test_closed_stream_is_no_defect(number: int):
    script = f"{sys.executable} -m qtool config show {number}<&-"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_closed_pipe_is_no_error(run_qtool: Run):
    script = f"{sys.executable} -m qtool config show | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_config_show_names_the_origin_of_each_value(
    run_qtool: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.com")
    done = run_qtool("config", "show", "--json")
    settings = {s["name"]: s for s in json.loads(done.stdout)["settings"]}
    assert settings["download.endpoint"]["value"] == ["https://hf-mirror.com"]
    assert settings["download.endpoint"]["origin"] == "$HF_ENDPOINT"
    assert settings["download.connections"]["origin"] == "default"


def test_config_set_keeps_the_rest_and_says_what_outdoes_it(
    run_qtool: Run, own_settings: Path, monkeypatch: pytest.MonkeyPatch
):
    place = Path(run_qtool("config", "path").stdout.rstrip("\n"))
    place.write_text("# mine\n")
    monkeypatch.setenv("HF_ENDPOINT", "https://a")
    done = run_qtool("config", "set", "download.endpoint", "https://b")
    assert (done.returncode, "$HF_ENDPOINT is set, and outdoes it" in done.stderr) == (0, True)
    assert place.read_text() == '# mine\n\n[download]\nendpoint = ["https://b"]\n'
    monkeypatch.delenv("HF_ENDPOINT")
    assert f"https://b                    {place}" in run_qtool("config").stdout


@pytest.mark.parametrize(
    "text",
    [
        "[chat]\ntemperature = 1" + "0" * 400,
        "[chat]\ntemperature = nan",
        "[paths]\ncache = '~nobody-of-this-name/x'",
        "x = " + "[" * 5000,
        "x = " + "9" * 5000,
    ],
    ids=["huge", "nan", "nobody's home", "nested", "long"],
)
def test_odd_config_file_ends_with_2(run_qtool: Run, own_settings: Path, text: str):
    (own_settings / "config.toml").write_text(text)
    done = run_qtool("config", "show", env={**os.environ, "QTOOL_CACHE": ""})
    assert done.returncode == 2, done.stderr
    assert "config.toml" in done.stderr


def test_cache_that_cannot_be_made_ends_with_8(run_qtool: Run, own_settings: Path):
    (own_settings / "file").write_text("")
    environ = {**os.environ, "QTOOL_CACHE": str(own_settings / "file"), "PIP_NO_INDEX": "1"}
    done = run_qtool("download", "starter", env=environ)
    assert done.returncode == 8, done.stderr


def test_damaged_config_file_ends_with_2(run_qtool: Run, own_settings: Path):
    (own_settings / "config.toml").write_text("[download\n")
    done = run_qtool("config", "show")
    assert done.returncode == 2
    assert "config.toml is not valid TOML" in done.stderr


def test_completion_lists_commands(run_qtool: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("_QTOOL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "qtool d")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert set(run_qtool().stdout.split()) == {"download", "doctor"}
