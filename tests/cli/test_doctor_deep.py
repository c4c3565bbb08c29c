"""``qtool doctor --deep`` and ``--run`` as a process, on environments of fake packages."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool.cli.doctor_deep import gguf_to_decode
from qtool.config import Config
from qtool.doctor.case import make_case
from qtool.doctor.deep.kernel_runs import run_kernels
from qtool.doctor.deep.kernel_tasks import KernelSettings, KernelTask
from qtool.doctor.snapshot import Interpreter, Snapshot
from qtool.doctor.snapshot_reader import from_mapping
from qtool.engines.interpreters import EnginePython
from qtool.engines.repack.fingerprint import files_of, stamp
from qtool.engines.repack.store import RepackStore
from qtool.envs.probes import tiny_gguf
from qtool.models.info import ModelFormat
from tests.cli.test_doctor import Environment, environment, report, starter_like
from tests.conftest import TEST_CACHE, Run
from tests.engines.conftest import engine_python
from tests.unit.doctor.machines import machine
from tests.unit.doctor.test_deep import BREEDS, HANG, NOISE, OURS, SEGFAULT, left_over
from tests.unit.doctor.test_verdict import llama
from tests.unit.engines.repack.checkpoints import Model

__all__ = ["engine_python", "environment", "starter_like"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def with_modules(env: Path, **modules: str) -> Path:
    (site,) = env.glob("lib/python3*/site-packages")
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)
    return env


@pytest.fixture
def hostile(environment: Environment) -> Path:
    """Return an environment where one module crashes, one hangs and breeds, one shouts."""
    env = environment(gptqmodel="7.6.0", autoawq="0.2.9", bitsandbytes="0.45.0", optimum="2.3.0")
    return with_modules(
        env,
        gptqmodel=SEGFAULT,
        awq=BREEDS + HANG,
        bitsandbytes=NOISE,
        optimum="import nothing_of_that_name",
    )


def test_whatever_modules_do_is_contained_and_said(run_qtool: Run, hostile: Path) -> None:
    began = time.monotonic()

    arguments = ("--python", str(hostile), "--goal", "gptq", "--deep", "--timeout", "4")
    result = run_qtool("doctor", *arguments, "--json")

    document = json.loads(result.stdout)
    imports = document["snapshot"]["imports"]
    assert {name: one["ending"] for name, one in imports.items()} == {
        "optimum.gptq": "raised",
        "gptqmodel": "crashed",
        "awq": "hung",
        "bitsandbytes": "imported",
    }
    assert imports["bitsandbytes"]["n_output_bytes"] == 2_000_000
    assert imports["gptqmodel"]["where"] == "gptqmodel.py:2"
    assert len(result.stdout) < 50_000
    assert result.returncode == 1
    found = {(finding["code"], finding["severity"]) for finding in document["findings"]}
    assert {
        ("IMPORT-CRASHES", "error"),
        ("IMPORT-HANGS", "info"),
        ("IMPORT-FAILS", "error"),
    } <= found
    assert time.monotonic() - began < 30


def test_a_report_names_the_signal_and_shows_no_noise(
    run_qtool: Run, environment: Environment
) -> None:
    env = environment(gptqmodel="7.6.0", bitsandbytes="0.45.0", optimum="2.3.0")
    modules = {"gptqmodel": NOISE + SEGFAULT, "optimum": "import nothing_of_that_name"}
    with_modules(env, bitsandbytes=NOISE, **modules)

    result = run_qtool("doctor", "--python", str(env), "--goal", "gptq", "--deep")

    assert "SIGSEGV" in result.stdout
    assert "No module named 'nothing_of_that_name'" in result.stdout
    assert "xxxx" not in result.stdout + result.stderr


def test_ctrl_c_ends_it_with_everything_that_it_has_started(hostile: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with_modules(hostile, awq=f"open({str(begun)!r}, 'w').close()\n{BREEDS}{HANG}")
    arguments = ("doctor", "--python", str(hostile), "--deep")
    environ = {**os.environ, **OURS}
    process = subprocess.Popen(
        [sys.executable, "-m", "qtool", *arguments], env=environ, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < until:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 130
    assert list(left_over()) == []


def test_without_deep_nothing_is_imported(run_qtool: Run, hostile: Path) -> None:
    document: dict[str, Any] = report(run_qtool, "--python", str(hostile))

    assert "imports" not in document["snapshot"]
    assert "import_results" not in document["snapshot"]


def test_without_deep_no_module_of_the_environment_runs(
    run_qtool: Run, environment: Environment, tmp_path: Path
) -> None:
    mark = tmp_path / "imported"
    leave_mark = f"open({str(mark)!r}, 'w').close()\n"
    dists = {"torch": "2.2.2", "transformers": "4.49.0", "numpy": "1.26.4", "gptqmodel": "7.6.0"}
    env = with_modules(environment(**dists), **dict.fromkeys(dists, leave_mark))

    run_qtool("doctor", "--python", str(env), "--goal", "gptq")
    is_imported_by_default = mark.exists()
    run_qtool("doctor", "--python", str(env), "--goal", "gptq", "--deep")

    assert not is_imported_by_default
    assert mark.exists()


def test_three_hundred_distributions_take_under_a_second(
    run_qtool: Run, environment: Environment
) -> None:
    env = environment(torch="2.9.1", transformers="5.23.0", gptqmodel="7.6.0", optimum="2.3.0")
    (site,) = env.glob("lib/python3*/site-packages")
    record = "".join(f"package/module_{i}.py,sha256=x,1\n" for i in range(300))
    for number in range(300):
        info = site / f"package_{number}-1.{number}.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: package-{number}\n\n" + "text\n" * 1000)
        (info / "RECORD").write_text(record)
    before = os.times()

    document = report(run_qtool, "--python", str(env))

    after = os.times()  # of the processor: how busy the machine is besides does not count
    worked_s = sum(after[2:4]) - sum(before[2:4])
    assert len(document["snapshot"]["dists"]) == 304
    assert 0 < worked_s < 1


@pytest.mark.parametrize("user", ["zoë.o'brien", "DOMAIN+zoe", "zoe smith"])
def test_a_saved_deep_snapshot_names_nobody(
    run_qtool: Run, environment: Environment, tmp_path: Path, user: str
) -> None:
    home = tmp_path / "people" / user
    home.mkdir(parents=True)
    env = environment(bitsandbytes="0.45.0", numpy="2.2.6")
    raises = f"raise OSError({str(home)!r} + '/lib/libx.so: not found, says ' + {user!r})"
    env = with_modules(env.rename(home / "env"), bitsandbytes=raises)
    saved = tmp_path / "saved.json"
    environ = {**os.environ, "HOME": str(home), "LOGNAME": user, "CUDA_HOME": f"{home}/cuda"}

    arguments = ("--python", str(env), "--deep", "--save", str(saved))
    run_qtool("doctor", *arguments, env=environ)

    text = json.dumps(json.loads(saved.read_text()), ensure_ascii=False)
    document = json.loads(text)
    assert user.lower() not in text.lower()
    assert str(home) not in text
    assert document["interpreter"]["path"] == "~/env/bin/python"
    assert document["import_results"]["bitsandbytes"] == (
        "OSError: ~/lib/libx.so: not found, says <user>"
    )
    assert document["env_vars"]["CUDA_HOME"] == "~/cuda"


def test_another_machines_modules_cannot_be_imported(run_qtool: Run, tmp_path: Path) -> None:
    saved = tmp_path / "s.json"
    saved.write_text('{"python": "3.11.1"}')

    result = run_qtool("doctor", "--snapshot", str(saved), "--deep")

    assert result.returncode == 2
    assert "another machine" in result.stderr


def test_kernels_of_an_environment_that_has_none_to_run(
    run_qtool: Run, environment: Environment
) -> None:
    result = run_qtool("doctor", "--python", str(environment()), "--run")

    assert result.returncode == 0
    assert "no kernel to run" in result.stderr


def test_a_torch_that_cannot_compute_is_an_error(run_qtool: Run, environment: Environment) -> None:
    env = environment(torch="2.13.0", transformers="5.23.0")
    (site,) = env.glob("lib/python3*/site-packages")
    (site / "torch").mkdir()
    (site / "torch/version.py").write_text("__version__ = '2.13.0'\ncuda = None\n")
    (site / "torch/__init__.py").write_text("raise OSError('libiomp5.so: not found')")

    document: dict[str, Any] = report(run_qtool, "--python", str(env), "--run", "--goal", "plain")

    (half, int4pack) = document["snapshot"]["kernel_runs"]
    assert (half["kind"], half["ending"]) == ("half", "raised")
    assert "libiomp5.so: not found" in half["detail"]
    assert int4pack["ending"] == "raised"
    codes = [finding["code"] for finding in document["findings"] if finding["severity"] == "error"]
    assert "KERNEL-FAILS" in codes


def test_llama_cpp_decodes_a_gguf_in_a_measured_time(
    run_qtool: Run, environment: Environment, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.gguf"
    tiny_gguf.write(str(model))

    arguments = (str(model), "--python", str(environment()), "--run")
    document: dict[str, Any] = report(run_qtool, *arguments)
    text = run_qtool("doctor", *arguments, "--markdown").stdout

    (run,) = document["snapshot"]["kernel_runs"]
    assert (run["kind"], run["ending"], run["engine"]) == ("gguf", "measured", "llama.cpp")
    assert run["bytes_per_call"] == model.stat().st_size
    assert 0 < run["seconds_per_call"] < 10
    assert run["bandwidth_bytes_per_s"] > 0
    assert "llama.cpp decodes" in text.partition("```text")[2]


def test_a_quantised_folder_is_decoded_as_what_it_was_repacked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "llama-GPTQ"
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    info = replace(llama(ModelFormat.GPTQ), path=folder, files=(weights,))
    case = make_case(from_mapping(machine(gpus=[], llama_cpp="xllamacpp")), None, info)
    before = gguf_to_decode(case)
    store = RepackStore(Config().cache_dir())
    made = store.path_for("0" * 64, "llama-GPTQ")
    made.parent.mkdir(parents=True)
    made.write_bytes(b"GGUF")
    store.note_source(made, folder, stamp(files_of(folder, info.files)))

    assert (before, gguf_to_decode(case)) == (None, made)


def test_what_was_not_run_is_said_below_the_report(
    run_qtool: Run, environment: Environment, tmp_path: Path
) -> None:
    folder = Model().write(tmp_path / "tiny-gptq")

    result = run_qtool("doctor", str(folder), "--python", str(environment()), "--run")

    assert result.stderr.splitlines()[-1].startswith("not run: ")
    assert result.stderr.rstrip().endswith(f"qtool repack {folder}")


def test_a_goal_that_the_model_is_not_is_left_aside(
    run_qtool: Run, environment: Environment, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.gguf"
    tiny_gguf.write(str(model))

    result = run_qtool("doctor", str(model), "--python", str(environment()), "--goal", "awq")

    assert "--goal awq is left aside: tiny.gguf is in the format GGUF" in result.stderr
    assert "AWQ" not in result.stdout
    assert result.stdout.startswith("✓ runs: tiny.gguf")


def test_a_gguf_that_llama_cpp_cannot_load_does_not_run(
    run_qtool: Run, environment: Environment, starter_like: Path
) -> None:
    arguments = (str(starter_like), "--python", str(environment()), "--run", "--goal", "gguf")
    document: dict[str, Any] = report(run_qtool, *arguments)

    (run,) = document["snapshot"]["kernel_runs"]
    assert run["ending"] in ("raised", "crashed")
    assert document["verdict"]["gguf"]["runs"] is False
    assert "its kernel was run here and failed" in document["verdict"]["gguf"]["why"]


def test_a_module_that_crashes_is_in_the_plan_of_cures(
    run_qtool: Run, environment: Environment
) -> None:
    env = with_modules(environment(bitsandbytes="0.45.0"), bitsandbytes=SEGFAULT)

    arguments = ("--python", str(env), "--goal", "bnb", "--deep", "--fix", "--dry-run", "--json")
    plan = json.loads(run_qtool("doctor", *arguments).stdout)

    assert "IMPORT-CRASHES" in json.dumps(plan)


@pytest.mark.network
@pytest.mark.environments
@pytest.mark.timeout(1800)
def test_real_kernels_agree_with_fp32(run_qtool: Run, engine_python: EnginePython) -> None:
    arguments = ("--python", engine_python.path, "--run", "--timeout", "300")
    runs = report(run_qtool, *arguments, timeout=1200)["snapshot"]["kernel_runs"]

    measured = {run["kind"]: run for run in runs if run["kind"] != "gguf"}
    assert set(measured) == {"half", "int4pack", "gptq", "awq"}
    for run in measured.values():
        assert run["ending"] == "measured"
        assert 0 < run["relative_error"] < 0.01
        assert run["device"] == "cpu"
        assert (
            0 < run["bytes_per_call"] / run["seconds_per_call"] < 5 * run["bandwidth_bytes_per_s"]
        )
    assert measured["gptq"]["kernel"] == "TorchAtenLinear"
    assert measured["awq"]["engine"] == "gptqmodel"


@pytest.mark.network
@pytest.mark.environments
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("bits", "group", "act_order"), [(4, 32, True), (8, 128, False), (2, 64, False)]
)
def test_real_kernels_agree_with_fp32_for_other_quantizations(
    engine_python: EnginePython, bits: int, group: int, act_order: bool
) -> None:
    settings = KernelSettings(
        hidden=1024, intermediate=2048, bits=bits, group=group, act_order=act_order,
        budget_bytes=2**24, measure_s=0.2,
    )  # fmt: skip
    snapshot = Snapshot(interpreter=Interpreter(engine_python.path, "a test"))

    seen = run_kernels(snapshot, [KernelTask("gptq", settings)], os.environ)

    (run,) = seen.kernel_runs or ()
    assert run.detail == ""
    assert run.relative_error and run.relative_error < 0.01


@pytest.mark.network
@pytest.mark.environments
@pytest.mark.timeout(1800)
def test_auto_gptq_is_right_on_a_cpu(run_qtool: Run) -> None:
    """Made by tests/engines/test_legacy.py; without that there is nothing to run."""
    env = TEST_CACHE / "auto-gptq-cpu"
    if not (env / "complete").exists():
        pytest.skip("tests/engines/test_legacy.py has not made its environment yet")

    document = report(run_qtool, "--python", str(env), "--goal", "gptq", "--run", timeout=1200)

    runs = {run["kind"]: run for run in document["snapshot"]["kernel_runs"]}
    assert runs["gptq"]["engine"] == "auto_gptq"
    assert 0 < runs["gptq"]["relative_error"] < 0.01


@pytest.mark.network
@pytest.mark.environments
@pytest.mark.timeout(1800)
def test_every_module_of_a_real_environment_imports(
    run_qtool: Run, engine_python: EnginePython
) -> None:
    arguments = ("--python", engine_python.path, "--deep", "--timeout", "300")
    document = report(run_qtool, *arguments, timeout=1200)

    imports = document["snapshot"]["imports"]
    assert {"torch", "transformers", "gptqmodel", "optimum.gptq"} <= set(imports)
    assert {one["ending"] for one in imports.values()} == {"imported"}
    assert document["snapshot"]["torch"]["cuda_available"] is False
