"""Real imports of modules that crash, hang, shout and breed, each in a contained child."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from qtool.doctor.case import make_case
from qtool.doctor.deep.contained import MARK, ContainedChild, Ending, Outcome
from qtool.doctor.deep.import_report import import_lines
from qtool.doctor.deep.imports import ImportTask, attempt_of, look_deeper, plan_imports
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.snapshot import (
    Cpu,
    ImportAttempt,
    ImportEnding,
    Interpreter,
    Snapshot,
    TorchBuild,
)
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.snapshot_writer import to_mapping
from tests.unit.doctor.machines import findings_of

OURS = {"QTOOL_TEST_DEEP": str(os.getpid())}
SEGFAULT = "import ctypes\nctypes.string_at(0)\n"
HANG = "import time\ntime.sleep(600)\n"
NOISE = "import os\nos.write(1, b'x' * 1_000_000)\nos.write(2, b'y' * 1_000_000)\n"
RAISES = "class KernelError(Exception): pass\nraise KernelError('first line\\n\\nlast line\\n')\n"
EXITS = "import os\nos._exit(0)\n"
STOPS = "raise SystemExit(3)\n"
LIES = "print('{\"imported\": true}')\nraise ImportError('really')\n"
BREEDS = (
    "import subprocess, sys\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " start_new_session=True)\n"
)
FAKES = {
    "torch": SEGFAULT,
    "auto_gptq": NOISE,
    "awq": RAISES,
    "gptqmodel": EXITS,
    "bitsandbytes": STOPS,
    "llama_cpp": LIES,
    "accelerate": BREEDS,
}
DISTS = {
    "torch": "2.2.2",
    "auto-gptq": "0.7.1",
    "autoawq": "0.2.9",
    "gptqmodel": "7.6.0",
    "bitsandbytes": "0.45.0",
    "llama-cpp-python": "0.3.16",
    "accelerate": "1.0.0",
}


def snapshot_of(folder: Path, fakes: Mapping[str, str], dists: Mapping[str, str]) -> Snapshot:
    for name, text in fakes.items():
        (folder / f"{name}.py").write_text(text)
    return Snapshot(
        interpreter=Interpreter(sys.executable, "a test"), dists=dists, cpu=Cpu(n_cores=2)
    )


def look(folder: Path, fakes: Mapping[str, str], dists: Mapping[str, str], **options: float):
    environ = {**os.environ, "PYTHONPATH": str(folder), **OURS}
    return look_deeper(snapshot_of(folder, fakes, dists), environ, **options).imports


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ImportAttempt]:
    """Import every fake without torch in their way."""
    folder = tmp_path_factory.mktemp("site")
    dists = {name: version for name, version in DISTS.items() if name != "torch"}
    fakes = {name: text for name, text in FAKES.items() if name != "torch"}
    return look(folder, fakes, dists)


def test_an_exception_leaves_its_type_and_last_line(imports: Mapping[str, ImportAttempt]) -> None:
    attempt = imports["awq"]

    assert (attempt.ending, attempt.detail) == ("raised", "KernelError: last line")


def test_noise_is_counted_and_not_kept(imports: Mapping[str, ImportAttempt]) -> None:
    attempt = imports["auto_gptq"]

    assert attempt.ending is ImportEnding.IMPORTED
    assert attempt.n_output_bytes == 2_000_000
    assert "xx" not in str(to_mapping(Snapshot(imports=imports)))


def test_what_a_module_prints_is_not_taken_for_a_report(
    imports: Mapping[str, ImportAttempt],
) -> None:
    assert imports["llama_cpp"].detail == "ImportError: really"


@pytest.mark.parametrize(
    ("module", "ending", "words"),
    [("gptqmodel", "exited", "ended with code 0"), ("bitsandbytes", "raised", "SystemExit: 3")],
)
def test_a_module_that_leaves_is_not_taken_for_imported(
    imports: Mapping[str, ImportAttempt], module: str, ending: str, words: str
) -> None:
    assert (imports[module].ending, imports[module].detail) == (ending, words)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at /proc")
def test_nothing_that_an_import_starts_outlives_it(imports: Mapping[str, ImportAttempt]) -> None:
    assert imports["accelerate"].ending is ImportEnding.IMPORTED
    assert list(left_over()) == []


def left_over() -> Iterator[str]:
    """Yield processes that this test run has started and that carry a contained child's mark."""
    wanted = {f"{name}={value}".encode() for name, value in OURS.items()}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            if wanted <= set(variables) and any(one.startswith(MARK.encode()) for one in variables):
                yield entry.name
        except OSError:
            continue


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_has_its_signals_name(tmp_path: Path) -> None:
    attempt = look(tmp_path, {"torch": SEGFAULT}, {"torch": "2.2.2"})["torch"]

    assert attempt.ending is ImportEnding.CRASHED
    assert attempt.detail.startswith("SIGSEGV")


def test_a_child_that_the_system_kills_may_have_had_no_memory(tmp_path: Path) -> None:
    kills = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"

    attempt = look(tmp_path, {"awq": kills}, {"autoawq": "1"})["awq"]

    assert attempt.ending is ImportEnding.CRASHED
    assert attempt.detail == "SIGKILL (killed; if nobody did, memory ran out)"


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="looks at /proc")
def test_where_memory_runs_out_a_child_goes_before_everything_else(tmp_path: Path) -> None:
    text = "raise ValueError(open('/proc/self/oom_score_adj').read().strip())"

    assert look(tmp_path, {"awq": text}, {"autoawq": "1"})["awq"].detail == "ValueError: 1000"


def test_a_module_that_hangs_is_killed_with_its_children_when_time_is_up(tmp_path: Path) -> None:
    fakes = {"awq": BREEDS + HANG, "bitsandbytes": "x = 1"}
    began = time.monotonic()

    attempts = look(tmp_path, fakes, {"autoawq": "1", "bitsandbytes": "1"}, timeout_s=3)

    assert attempts["awq"].ending is ImportEnding.HUNG
    assert attempts["awq"].detail == "no end within 3 s; killed"
    assert attempts["bitsandbytes"].ending is ImportEnding.IMPORTED
    assert time.monotonic() - began < 20
    assert list(left_over()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_crashes_with_torch_says_so(tmp_path: Path) -> None:
    fakes = {"torch": SEGFAULT, "bitsandbytes": "x = 1"}

    attempts = look(tmp_path, fakes, {"torch": "2.2.2", "bitsandbytes": "0.45.0"})

    assert attempts["bitsandbytes"].detail.startswith("import torch: SIGSEGV")


def test_what_fails_with_torch_says_so(tmp_path: Path) -> None:
    fakes = {"torch": "raise OSError('libcudart.so.12')", "bitsandbytes": "x = 1"}

    attempts = look(tmp_path, fakes, {"torch": "2.2.2", "bitsandbytes": "0.45.0"})

    assert attempts["torch"].detail == "OSError: libcudart.so.12"
    assert attempts["bitsandbytes"].detail == "import torch: OSError: libcudart.so.12"


def test_a_child_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "tmp"
    site = tmp_path / "site"
    for folder in (scratch, site):
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)

    look(site, {"awq": "open('left-behind', 'w').close()"}, {"autoawq": "1"})

    assert list(scratch.iterdir()) == []
    assert [path.name for path in site.iterdir()] == ["awq.py"]  # and no bytecode


def test_a_relative_folder_of_modules_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_of(tmp_path, {"awq": "x = 1"}, {"autoawq": "1"})
    monkeypatch.chdir(tmp_path.parent)

    seen = look_deeper(snapshot, {**os.environ, "PYTHONPATH": tmp_path.name, **OURS})

    assert seen.imports and seen.imports["awq"].ending is ImportEnding.IMPORTED


def test_a_python_that_does_not_answer_is_asked_for_no_import(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, {}, {"torch": "2.2.2"})
    silent = Snapshot(**{**_fields(snapshot), "reasons": {"interpreter": "no answer"}})

    assert look_deeper(silent, os.environ) == silent


def test_an_interpreter_that_cannot_be_started_is_no_import() -> None:
    child = ContainedChild(["/nonexistent/python"], environ={}, timeout_s=5)

    outcome = child.poll()

    assert outcome is not None
    assert outcome.ending is Ending.NOT_STARTED
    assert attempt_of(outcome).failed


def test_a_broken_off_iteration_leaves_no_child(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, {"awq": HANG}, {"autoawq": "1"})

    def interrupt(module: str) -> None:
        if module == "bitsandbytes":
            raise KeyboardInterrupt

    two = Snapshot(**{**_fields(snapshot), "dists": {"autoawq": "1", "bitsandbytes": "1"}})
    with pytest.raises(KeyboardInterrupt):
        look_deeper(two, {**os.environ, "PYTHONPATH": str(tmp_path), **OURS}, on_start=interrupt)

    assert list(left_over()) == []


def _fields(snapshot: Snapshot) -> dict[str, object]:
    return {name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__}


# --- what is imported -----------------------------------------------------------------------


def test_every_compiled_module_of_interest_is_imported_after_torch() -> None:
    snapshot = Snapshot(
        dists={"torch": "2.2.2", "auto-gptq": "0.7.1", "llama-cpp-python": "1", "requests": "2"},
        ext_files={
            "auto-gptq": ("exllama_kernels", "autogptq_cuda_64"),
            "llama-cpp-python": ("llama_cpp/lib/libllama.so",),
        },
    )

    tasks = plan_imports(snapshot)

    assert {task.target: task.is_after_torch for task in tasks} == {
        "torch": False,
        "auto_gptq": True,
        "llama_cpp": False,
        "exllama_kernels": True,
        "autogptq_cuda_64": True,
    }


def test_nothing_is_imported_where_nothing_is_known() -> None:
    assert plan_imports(Snapshot()) == ()


def test_an_attribute_is_asked_for_and_the_module_named() -> None:
    assert ImportTask("transformers:AutoModel", True).module == "transformers"


def test_what_torch_says_of_itself_fills_what_its_files_do_not_tell(tmp_path: Path) -> None:
    fake = (
        "class cuda:\n    is_available = lambda: True\n    get_arch_list = lambda: ['sm_80']\n"
        "class _C:\n    _GLIBCXX_USE_CXX11_ABI = True\n"
    )
    snapshot = snapshot_of(tmp_path, {"torch": fake}, {"torch": "2.2.2"})
    (tmp_path / "torch.py").rename(tmp_path / "fake.py")
    (tmp_path / "torch.py").write_text("from fake import *; from fake import _C")
    build = TorchBuild("2.2.2", has_cxx11_abi=False)
    snapshot = Snapshot(**{**_fields(snapshot), "torch": build})

    seen = look_deeper(snapshot, {**os.environ, "PYTHONPATH": str(tmp_path)}).torch

    assert isinstance(seen, TorchBuild)
    assert (seen.is_cuda_available, seen.arch_list) == (True, ("sm_80",))
    assert seen.has_cxx11_abi is False  # the file's own symbols are the better witness
    assert not seen.is_mps_available


@pytest.mark.parametrize(
    ("ending", "expected"), [(Ending.CRASHED, "crashed"), (Ending.HUNG, "hung")]
)
def test_torch_that_fails_when_asked_for_its_devices_has_failed(
    ending: Ending, expected: str
) -> None:
    attempt = attempt_of(Outcome(ending, "SIGSEGV", 1.0, {"imported": True}))

    assert attempt.ending == expected
    assert attempt.detail == "asked for its devices: SIGSEGV"


def test_imports_survive_a_round_trip_and_wrong_ones_are_left_out() -> None:
    good = {"ending": "raised", "detail": "ImportError: x", "where": "a.py:1"}
    snapshot = from_mapping({"imports": {"awq": good, "b": {"ending": "?"}, "c": 7}})

    assert set(snapshot.imports or ()) == {"awq"}
    assert from_mapping(to_mapping(snapshot)) == snapshot


# --- findings -------------------------------------------------------------------------------


def deep(goal: str | None = None, imports: dict | None = None, **dists: str) -> dict[str, Finding]:
    failed = {n: i["detail"] for n, i in (imports or {}).items() if i["ending"] != "imported"}
    names = {name.replace("_", "-"): version for name, version in dists.items()}
    return findings_of(goal, imports=imports, import_results=failed, dists=names, torch=None)


CRASH = {"ending": "crashed", "detail": "SIGSEGV (segmentation fault)"}
GOOD = {"ending": "imported"}


def test_a_crash_of_what_the_goal_needs_is_an_error_with_a_cure() -> None:
    finding = deep("gptq", {"gptqmodel": CRASH}, gptqmodel="7.6.0")["IMPORT-CRASHES"]

    assert finding.severity is Severity.ERROR
    assert "SIGSEGV" in finding.title
    assert any("gptqmodel==7.6.0" in command for fix in finding.fixes for command in fix.commands)


def test_what_the_goal_does_not_need_is_information() -> None:
    found = deep("bnb", {"awq": CRASH, "bitsandbytes": GOOD}, autoawq="0.2.9", bitsandbytes="0.45")

    assert found["IMPORT-CRASHES"].severity is Severity.INFO


def test_on_a_cpu_with_torch_and_transformers_no_other_engine_is_needed() -> None:
    dists = {"torch": "2.13.0", "transformers": "5.23.0", "gptqmodel": "7.6.0"}
    cpu = {"version": "2.13.0+cpu", "cuda": None}
    found = findings_of("gptq", imports={"gptqmodel": CRASH}, dists=dists, torch=cpu, gpus=[])

    assert found["IMPORT-CRASHES"].severity is Severity.INFO


def test_one_engine_of_two_that_imports_is_enough() -> None:
    found = deep(
        "gptq", {"auto_gptq": CRASH, "gptqmodel": GOOD}, auto_gptq="0.7.1", gptqmodel="7.6.0"
    )

    assert found["IMPORT-CRASHES"].severity is Severity.INFO


@pytest.mark.parametrize(
    ("module", "dist", "severity"),
    [("torch", "torch", "error"), ("xformers.ops", "xformers", "warning")],
)
def test_without_a_goal_only_what_all_rests_on_is_an_error(
    module: str, dist: str, severity: str
) -> None:
    found = deep(None, {module: {"ending": "hung", "detail": "no end"}}, **{dist: "1.0"})

    assert found["IMPORT-HANGS"].severity == severity


def test_of_what_fails_with_torch_only_torch_is_reported() -> None:
    with_torch = {"ending": "raised", "detail": "import torch: OSError: x"}
    found = deep("gptq", {"torch": CRASH, "gptqmodel": with_torch}, torch="2.9.0", gptqmodel="7.6")

    assert "IMPORT-FAILS" not in found
    assert found["IMPORT-CRASHES"].title.startswith("torch")


def test_a_missing_module_is_brought_by_its_holder() -> None:
    missing = {"ending": "raised", "detail": "ModuleNotFoundError: No module named 'einops'"}
    finding = deep("bnb", {"bitsandbytes": missing}, bitsandbytes="0.45.0")["IMPORT-FAILS"]

    assert finding.fixes[0].commands == ("python -m pip install bitsandbytes",)


def test_healthy_imports_say_nothing() -> None:
    assert not [code for code in deep("gptq", {"gptqmodel": GOOD}) if code.startswith("IMPORT")]


def test_every_import_has_its_line() -> None:
    imports = {
        "torch": ImportAttempt(ImportEnding.IMPORTED, seconds=1.26),
        "awq": ImportAttempt(ImportEnding.CRASHED, "SIGSEGV", seconds=0.5),
        "xllamacpp": ImportAttempt(ImportEnding.IMPORTED, seconds=0.04),
    }
    dists = {"torch": "2.8.0", "autoawq": "0.2.9", "xllamacpp": "0.3.0"}
    case = make_case(Snapshot(dists=dists, imports=imports))

    lines = [line.text for line in import_lines(case)]

    assert lines[2:] == [
        "  ✓ torch      2.8.0  1.3 s",
        "  ✗ awq        0.2.9  0.5 s  crashed: SIGSEGV",
        "  ✓ xllamacpp  0.3.0  0.0 s",
    ]


def test_where_nothing_was_imported_there_are_no_lines() -> None:
    assert list(import_lines(make_case(Snapshot()))) == []
    assert "none of the modules" in "".join(
        line.text for line in import_lines(make_case(Snapshot(imports={})))
    )


def test_a_failed_import_makes_its_explanation_certain_and_is_said_once() -> None:
    failed = {"ending": "raised", "detail": "ImportError: cannot import name 'PytorchGELUTanh'"}
    dists = {"autoawq": "0.2.9", "transformers": "4.57.6", "torch": "2.6.0"}
    found = findings_of("awq", imports={"awq": failed}, dists=dists)

    finding = found["AWQ-TRANSFORMERS-TOO-NEW"]
    assert finding.confidence == "certain"
    assert any("import awq: ImportError" in one for one in finding.evidence)
    assert "IMPORT-FAILS" not in found
