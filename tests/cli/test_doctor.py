"""``qtool doctor`` as a process: reports, exit codes, JSON, snapshots, and what it imports."""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtool.doctor.finding import Severity
from tests.conftest import ROOT, Run
from tests.stubs.nvml import T4, NvmlEnviron, nvml_environ, nvml_library

__all__ = ["nvml_environ", "nvml_library"]

CASES = ROOT / "tests" / "unit" / "doctor" / "data" / "cases.json"
HEAVY = ("torch", "transformers", "rich", "pydantic", "httpx", "huggingface_hub", "prompt_toolkit",
         "numpy", "pynvml", "llama_cpp", "xllamacpp", "asyncio", "ssl")  # fmt: skip

Environment = Callable[..., Path]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Return a function that makes a virtual environment with the named distributions in it."""

    def make(**dists: str) -> Path:
        venv.create(tmp_path / "env", with_pip=False, symlinks=True)
        (site,) = (tmp_path / "env").glob("lib/python3*/site-packages")
        for name, version in dists.items():
            info = site / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n\nText.\n")
            (info / "RECORD").write_text(f"{name}/__init__.py,,\n")
        return tmp_path / "env"

    return make


def report(run_qtool: Run, *arguments: str, **options: Any) -> dict[str, Any]:
    result = run_qtool("doctor", *arguments, "--json", **options)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_healthy_machine_gets_one_line(run_qtool: Run, environment: Environment) -> None:
    env = environment()
    result = run_qtool("doctor", "--snapshot", str(_saved(run_qtool, env)))

    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 1
    assert "nothing wrong found" in result.stdout


def _saved(run_qtool: Run, env: Path) -> Path:
    path = env / "snapshot.json"
    run_qtool("doctor", "--python", str(env), "--save", str(path))
    return path


def test_it_takes_under_a_second(run_qtool: Run) -> None:
    durations = []
    for _ in range(3):
        began = time.perf_counter()
        run_qtool("doctor")
        durations.append(time.perf_counter() - began)

    assert min(durations) < 1


def test_nothing_heavy_is_imported(starter_like: Path) -> None:
    program = (
        "import sys\nfrom qtool.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program, "doctor", str(starter_like)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stderr.splitlines()[-1] == "[]"


@pytest.fixture
def starter_like(tmp_path: Path) -> Path:
    """Return a small GGUF file with the metadata of a Llama model."""
    import numpy as np
    from gguf import GGUFWriter

    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(str(path), "llama")
    writer.add_block_count(2)
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_tensor("token_embd.weight", np.zeros((32, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_model_gets_a_verdict(
    run_qtool: Run, starter_like: Path, environment: Environment
) -> None:
    document = report(run_qtool, str(starter_like), "--python", str(environment()))

    verdict = document["verdict"]["gguf"]
    assert verdict["runs"] is True
    assert verdict["engine"] == "llama.cpp"
    # 2 layers, 2 heads of 16 for keys and values each, 2 bytes, 2048 tokens.
    assert verdict["memory"]["kv_cache_bytes"] == 2 * 2 * 2 * 16 * 2 * 2048
    assert verdict["memory"]["weights_bytes"] == 32 * 64 * 4
    assert verdict["memory"]["n_ctx_max_tokens"] == 2048
    assert verdict["tokens_per_s_estimate"] > 0


def test_gguf_beside_a_checkpoint_that_cannot_run_is_named(
    run_qtool: Run, starter_like: Path, tmp_path: Path
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    save_file({"a.weight": np.zeros((4, 4), np.float16)}, tmp_path / "model.safetensors")
    empty = tmp_path / "snapshot.json"
    empty.write_text('{"python": "3.11.9", "packages": {}}')
    result = run_qtool("doctor", str(tmp_path), "--snapshot", str(empty))

    assert result.returncode == 1
    assert f"qtool chat {starter_like} runs the GGUF beside it" in result.stderr


def test_the_context_asked_for_is_the_one_that_counts(run_qtool: Run, starter_like: Path) -> None:
    document = report(run_qtool, str(starter_like), "--ctx", "512")

    assert document["verdict"]["gguf"]["memory"]["n_ctx_tokens"] == 512


def test_a_context_the_model_was_not_made_for_is_refused(
    run_qtool: Run, starter_like: Path
) -> None:
    result = run_qtool("doctor", str(starter_like), "--ctx", "2049")

    assert result.returncode == 2
    assert "made for at most 2048 tokens" in result.stderr
    assert f"qtool doctor {starter_like} --ctx 2048" in result.stderr


def test_the_json_has_its_stable_shape(run_qtool: Run) -> None:
    document = report(run_qtool, "--snapshot", f"{CASES}#C01")

    assert set(document) == {"schema_version", "goal", "findings", "verdict", "snapshot"}
    (finding,) = document["findings"]
    assert finding["code"] == "GPTQ-KERNELS-ABI"
    assert finding["severity"] in list(Severity)
    assert {"title", "explanation", "evidence", "fixes"} <= set(finding)
    assert {"title", "commands"} == set(finding["fixes"][0])
    assert {"runs", "engine", "device", "why"} <= set(document["verdict"]["gptq"])


@pytest.mark.parametrize(("case_id", "code"), [("C01", 1), ("C11", 0), ("C32", 0), ("C44", 1)])
def test_the_exit_code_is_1_for_errors_only(run_qtool: Run, case_id: str, code: int) -> None:
    assert run_qtool("doctor", "--snapshot", f"{CASES}#{case_id}").returncode == code


def test_a_goal_on_the_command_line_outweighs_the_cases_own(run_qtool: Run) -> None:
    result = run_qtool("doctor", "--snapshot", f"{CASES}#C01", "--goal", "gguf")

    assert result.returncode == 0


def test_a_saved_snapshot_names_nobody(run_qtool: Run, environment: Environment) -> None:
    env = environment(torch="2.2.2", auto_gptq="0.7.1")
    home = env.parent

    path = env / "snapshot.json"
    run_qtool("doctor", "--python", str(env), "--save", str(path), env=_environ(home))

    text = path.read_text()
    assert str(home) not in text
    assert json.loads(text)["interpreter"]["path"] == "~/env/bin/python"
    assert "s3cret" not in text
    assert "***@<host>:1" in text


def _environ(home: Path) -> dict[str, str]:
    secrets = {"HF_TOKEN": "hf_s3cret", "HTTPS_PROXY": "http://joe:s3cret@proxy.example:1"}
    return {**os.environ, **secrets, "HOME": str(home)}


def test_saving_replaces_a_snapshot_and_nothing_else(
    run_qtool: Run, environment: Environment
) -> None:
    env = environment()
    saved = _saved(run_qtool, env)
    assert run_qtool("doctor", "--python", str(env), "--save", str(saved)).returncode != 2
    for there in ("GGUF", '{"model_type": "llama"}', "[]"):
        saved.write_text(there)
        done = run_qtool("doctor", "--python", str(env), "--save", str(saved))
        assert done.returncode == 2
        assert "is no snapshot" in done.stderr
        assert saved.read_text() == there


def test_a_saved_snapshot_gives_the_same_findings_elsewhere(
    run_qtool: Run, environment: Environment
) -> None:
    env = environment(torch="2.2.2", torchvision="0.19.0")

    here = report(run_qtool, "--python", str(env))
    there = report(run_qtool, "--snapshot", str(_saved(run_qtool, env)))

    assert [f["code"] for f in here["findings"]] == ["TORCHVISION-MISMATCH"]
    assert [f["code"] for f in there["findings"]] == ["TORCHVISION-MISMATCH"]


def test_kernels_missing_from_record_are_found_missing(
    run_qtool: Run, environment: Environment
) -> None:
    env = environment(torch="2.2.2", auto_gptq="0.7.1")

    document = report(run_qtool, "--python", str(env), "--goal", "gptq")

    assert "GPTQ-KERNELS-MISSING" in [finding["code"] for finding in document["findings"]]


def test_a_t4_is_told_its_pin(
    run_qtool: Run, nvml_environ: NvmlEnviron, environment: Environment
) -> None:
    environ = nvml_environ("550.54.15", T4)

    document = report(run_qtool, "--python", str(environment()), "--goal", "awq", env=environ)

    assert document["snapshot"]["gpus"][0]["cc"] == "7.5"
    assert "autoawq==0.2.7.post2" in document["verdict"]["awq"]["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("org/name",), 3),
        (("./none.gguf",), 3),
        (("--python", "/nonexistent/python"), 3),
        (("--snapshot", "/nonexistent.json"), 3),
        (("--snapshot", str(CASES)), 2),
        (("--snapshot", f"{CASES}#C01", "--python", sys.executable), 2),
        (("--goal", "world-peace"), 2),
    ],
)
def test_what_cannot_be_examined_is_said(
    run_qtool: Run, arguments: tuple[str, ...], code: int
) -> None:
    result = run_qtool("doctor", *arguments)

    assert result.returncode == code
    assert result.stderr.startswith("error:")


@pytest.mark.parametrize("goal", ["bnb", "plain", "flash-attn", "build"])
def test_a_goal_that_cannot_be_had_is_answered_first_and_ends_with_1(
    run_qtool: Run, environment: Environment, goal: str
) -> None:
    result = run_qtool("doctor", "--python", str(environment()), "--goal", goal)

    assert result.returncode == 1
    assert result.stdout.splitlines()[0].startswith("✗ ")


def test_a_goal_that_runs_is_answered_first_and_ends_with_0(
    run_qtool: Run, environment: Environment
) -> None:
    arguments = ("--python", str(environment()), "--goal", "gguf")
    result = run_qtool("doctor", *arguments)

    assert result.returncode == 0
    assert result.stdout.splitlines()[0].startswith("✓ GGUF runs here: llama.cpp")
    assert report(run_qtool, *arguments)["goal"]["runs"] is True


def test_without_an_active_environment_it_says_which_python_was_examined(run_qtool: Run) -> None:
    environ = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX")}

    result = run_qtool("doctor", env={**environ, "PATH": "/usr/bin:/bin"})
    asked = run_qtool("doctor", "--python", sys.executable)

    assert "the first python3 on PATH, for no environment is active" in result.stderr
    assert "qtool doctor --python" in result.stderr
    assert asked.stderr == ""


@pytest.mark.network
def test_the_wheel_of_auto_gptq_is_present_and_does_not_load(run_qtool: Run) -> None:
    """The real wheels: torch 2.13 without CUDA, auto-gptq 0.7.1 as PyPI has it."""
    wheels = "--only-binary=:all:"
    env = _real_environment(
        ROOT / ".cache" / "tests" / "auto-gptq",
        ("torch==2.13.0", wheels),
        ("auto-gptq==0.7.1", wheels, "--python-version", "3.11"),
    )

    document = report(run_qtool, "--python", str(env), "--goal", "gptq")

    findings = {finding["code"]: finding for finding in document["findings"]}
    finding = findings["GPTQ-KERNELS-ABI"]
    assert "kernels are present" in finding["explanation"]
    assert "libc10_cuda.so" in " ".join(finding["evidence"])
    assert "undefined symbol" in " ".join(finding["evidence"])
    assert len(document["snapshot"]["ext_files"]["auto-gptq"]) == 5
    assert document["verdict"]["gptq"]["runs"] is False


@pytest.mark.network
def test_autoawq_beside_transformers_5_is_named_with_both_ways_out(run_qtool: Run) -> None:
    """The real distributions: autoawq 0.2.9 as PyPI has it, made for transformers 4.51."""
    env = _real_environment(
        ROOT / ".cache" / "tests" / "autoawq",
        ("transformers>=5,<6", "--only-binary=:all:"),
        ("autoawq==0.2.9",),
    )

    document = report(run_qtool, "--python", str(env), "--goal", "awq")

    findings = {finding["code"]: finding for finding in document["findings"]}
    finding = findings["AWQ-TRANSFORMERS-TOO-NEW"]
    assert "transformers 5" in finding["title"] + finding["explanation"]
    assert document["snapshot"]["dists"]["autoawq"] == "0.2.9"
    assert document["snapshot"]["dists"]["transformers"].startswith("5.")
    assert "gptqmodel" in json.dumps(document["findings"])


def _real_environment(folder: Path, *packages: tuple[str, ...]) -> Path:
    """Make an environment once: packages without their requirements, each with options of pip."""
    done = folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=False, clear=True, symlinks=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        (site,) = folder.glob(f"lib/python{version}/site-packages")
        for package in packages:
            pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade")
            subprocess.run([*pip, "--target", site, *package], check=True)
        done.touch()
    return folder


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (("--lang", "zh"), {}),
        ((), {"QTOOL_LANG": "zh"}),
        ((), {"QTOOL_LANG": "auto", "LC_ALL": "zh_CN.UTF-8"}),
    ],
)
def test_the_report_speaks_chinese(
    run_qtool: Run, arguments: tuple[str, ...], environ: dict[str, str]
) -> None:
    result = run_qtool("doctor", "--snapshot", f"{CASES}#C01", *arguments,
                       env={**os.environ, **environ})  # fmt: skip

    assert result.returncode == 1
    assert "GPTQ-KERNELS-ABI：auto-gptq 的内核是有的" in result.stdout


def test_json_stays_english(run_qtool: Run) -> None:
    english, chinese = (
        run_qtool("doctor", "--snapshot", f"{CASES}#C01", "--json", "--lang", language).stdout
        for language in ("en", "zh")
    )

    assert english == chinese


def test_a_language_that_reports_cannot_be_had_in_is_refused(
    run_qtool: Run, own_settings: Path
) -> None:
    (own_settings / "config.toml").write_text('[ui]\nlang = "fr"\n')
    env = {name: value for name, value in os.environ.items() if name != "QTOOL_LANG"}

    result = run_qtool("doctor", "--snapshot", f"{CASES}#C01", env=env)

    assert (result.returncode, "auto, en, zh" in result.stderr) == (2, True)
