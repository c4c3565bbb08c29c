"""Which llama.cpp runs: what doctor foretells is what ``qtool chat`` takes."""

import os
from pathlib import Path

import pytest

from qtool.doctor.llama_programs import llama_kind
from qtool.doctor.probes.llama_cpp import find_llama_cpp, find_llama_server
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.verdict import judge
from qtool.engines.interpreters import EnginePython
from qtool.engines.llama_program import LlamaPrograms, choose_program
from qtool.errors import EnvironmentFault
from qtool.models.info import ModelFormat
from qtool.models.llama_choice import LlamaKind
from tests.unit.doctor.machines import RTX_3090, case_of, commands_of, findings_of

PATH = "/usr/bin/llama-server"
CUDA = {"path": PATH, "gpu_libraries": ["libggml-cuda.so"]}
NAMED = {"path": "/env/bin/python", "chosen_because": "--python"}
ACTIVE = {"path": "/env/bin/python", "chosen_because": "the active environment (VIRTUAL_ENV)"}


@pytest.mark.parametrize("wheel", ["xllamacpp", None])
@pytest.mark.parametrize("server", [CUDA, None])
@pytest.mark.parametrize("dists", [{"llama-cpp-python": "0.3.36"}, {}])
@pytest.mark.parametrize("interpreter", [NAMED, ACTIVE])
@pytest.mark.parametrize("gpus", [[RTX_3090], []])
def test_doctor_foretells_what_chat_takes(
    wheel: str | None, server: dict | None, dists: dict, interpreter: dict, gpus: list
) -> None:
    case = case_of(
        "gguf", llama_cpp=wheel or (server and "llama-server"), llama_server=server, dists=dists,
        interpreter=interpreter, gpus=gpus,
    )  # fmt: skip
    programs = LlamaPrograms(
        wheel is not None, server and PATH, EnginePython("/env/bin/python", "a test", dists)
    )
    named = interpreter is NAMED
    try:
        taken = choose_program(
            programs, is_python_named=named, has_gpu=bool(gpus), has_arguments=False
        ).kind
    except EnvironmentFault:
        taken = None

    assert llama_kind(case) == taken
    assert judge(case)["gguf"].runs is (taken is not None)


@pytest.mark.parametrize(
    ("server", "device", "word"),
    [
        (CUDA, "cuda", "built for the GPU"),
        ({"path": PATH}, "cuda", "if it was built for it"),
        ({"path": PATH, "gpu_libraries": []}, "cpu", "the GPU is not used"),
        (None, "cpu", "xllamacpp"),
    ],
)
def test_verdict_beside_a_gpu_is_about_the_server_on_path(
    server: dict | None, device: str, word: str
) -> None:
    verdict = judge(case_of("gguf", llama_cpp="xllamacpp", llama_server=server))["gguf"]

    assert (verdict.runs, verdict.device) == (True, device)
    assert word in verdict.why


def test_llama_cpp_python_for_the_gpu_that_chat_would_pass_by_is_named() -> None:
    case = case_of(
        "gguf", llama_cpp="xllamacpp", llama_server=None, interpreter=ACTIVE,
        dists={"llama-cpp-python": "0.3.36"},
        ext_files={"llama-cpp-python": ["llama_cpp/lib/libggml-cuda.so"]},
    )  # fmt: skip
    verdict = judge(case)["gguf"]

    assert verdict.device == "cpu"
    assert verdict.cures[0].commands == ("qtool chat MODEL --python /env/bin/python",)


def test_gpu_that_llama_cpp_leaves_idle_is_a_warning_with_its_cure() -> None:
    fields = {"llama_cpp": "xllamacpp", "llama_server": None}
    found = findings_of("gguf", **fields)["GGUF-GPU-IDLE"]

    assert found.severity == "warning"
    assert commands_of(found).splitlines() == [
        "qtool env create gguf",
        "qtool chat MODEL --env gguf",
    ]
    assert findings_of(None, **fields)["GGUF-GPU-IDLE"].severity == "info"
    assert "GGUF-GPU-IDLE" not in findings_of("gptq", **fields)
    assert "GGUF-GPU-IDLE" not in findings_of("gguf", gpus=[], **fields)
    assert "GGUF-GPU-IDLE" not in findings_of("gguf", llama_cpp="xllamacpp", llama_server=CUDA)
    assert "GGUF-GPU-IDLE" not in findings_of("gguf")  # nobody looked


def test_gptq_is_repacked_by_our_own_wheel_alone() -> None:
    here = case_of("gptq", gpus=[], llama_cpp="xllamacpp")
    server = case_of("gptq", gpus=[], llama_cpp="llama-server", llama_server=CUDA)

    assert judge(here)[ModelFormat.GPTQ].runs
    assert not judge(server)[ModelFormat.GPTQ].runs


# --- the probe ------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a script that is called llama-server, in a folder of its own."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_no_server_is_known_to_be_absent(tmp_path: Path) -> None:
    assert find_llama_server({"PATH": str(tmp_path)}) is None


def test_a_script_may_start_anything(program: Path) -> None:
    server = find_llama_server({"PATH": str(program.parent)})

    assert server is not None
    assert server.path == str(program)
    assert server.gpu_libraries is UNKNOWN


@pytest.mark.parametrize("place", ["bin", "lib", "lib/x86_64-linux-gnu/ggml/backends0"])
def test_libraries_of_backends_are_found_beside_it_also_through_a_link(
    program: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name in ("libggml-cuda.so", "libggml-cpu-haswell.so", "libggml-base.so"):
        (tmp_path / place / name).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "llama-server").symlink_to(program)

    server = find_llama_server({"PATH": str(elsewhere)})

    assert server is not None
    assert server.gpu_libraries == ("libggml-cuda.so",)


def test_a_program_linked_for_the_processor_alone_is_known_as_that(tmp_path: Path) -> None:
    (tmp_path / "llama-server").symlink_to(os.path.realpath("/bin/sh"))

    server = find_llama_server({"PATH": str(tmp_path)})

    assert server is not None
    assert server.gpu_libraries == ()


def test_our_own_wheel_is_named_before_a_server(program: Path) -> None:
    assert find_llama_cpp({"PATH": str(program.parent)}) == LlamaKind.WHEEL
