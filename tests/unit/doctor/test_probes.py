"""The probes of interpreter, distributions, torch and machine, on folders made for them."""

import os
import shutil
import sys
import time
import venv
from pathlib import Path

import pytest

from qtool.doctor.probes.bandwidth import measure_bandwidth
from qtool.doctor.probes.child import Child
from qtool.doctor.probes.distributions import (
    Distribution,
    compiled_modules,
    list_distributions,
    requirements,
)
from qtool.doctor.probes.interpreter import TargetProbe, choose, others
from qtool.doctor.probes.machine import read_env_vars
from qtool.doctor.probes.symbols import check_modules
from qtool.doctor.probes.torch import find_torch, read_torch
from qtool.doctor.secrets import blot_secrets
from qtool.doctor.snapshot import UNKNOWN, TorchBuild
from qtool.errors import NotFoundError


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "lib/python3.10/site-packages"
    folder.mkdir(parents=True)
    return folder


def install(
    site: Path, name: str, version: str, record: str | None = "", metadata: str = ""
) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\n{metadata}\n\nRequires-Dist: not-this\n")
    if record is not None:
        (info / "RECORD").write_text(record)


def distribution(site: Path, name: str) -> Distribution:
    found = list_distributions([site])
    assert found is not UNKNOWN
    return found[name]


# --- distributions --------------------------------------------------------------------------


def test_names_are_canonical_and_leftovers_ignored(site: Path) -> None:
    install(site, "Auto_GPTQ", "0.7.1")
    install(site, "~orch", "2.2.2")
    (site / "old.pkg-1.0-py3.10.egg-info").mkdir()
    (site / "notes.txt").touch()

    found = list_distributions([site])

    assert found is not UNKNOWN
    assert {name: one.version for name, one in found.items()} == {
        "auto-gptq": "0.7.1",
        "old-pkg": "1.0",
    }


def test_the_first_folder_that_has_a_distribution_wins(site: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    install(site, "numpy", "1.26.4")
    install(later, "numpy", "2.2.6")

    found = list_distributions([site, later])

    assert found is not UNKNOWN
    assert found["numpy"].version == "1.26.4"


def test_folders_that_cannot_be_read_are_unknown_not_empty(tmp_path: Path) -> None:
    assert list_distributions([tmp_path / "none"]) is UNKNOWN


def test_compiled_modules_come_from_record(site: Path) -> None:
    record = (
        "exllama_kernels.cpython-310-x86_64-linux-gnu.so,sha256=x,1\n"
        "llama_cpp/lib/libllama.so,sha256=x,1\n"
        "auto_gptq.libs/libcudart-1234.so,sha256=x,1\n"
        "auto_gptq/__init__.py,sha256=x,1\n"
        "../../../etc/evil.so,,\n"
    )
    install(site, "auto_gptq", "0.7.1", record)

    modules = compiled_modules(distribution(site, "auto-gptq"), ())

    assert modules is not None
    assert set(modules) == {"exllama_kernels", "llama_cpp/lib/libllama.so"}


def test_an_empty_record_means_no_modules(site: Path) -> None:
    install(site, "auto_gptq", "0.7.1", "auto_gptq/__init__.py,,\n")

    assert compiled_modules(distribution(site, "auto-gptq"), ["exllama_kernels"]) == {}


def test_without_record_the_modules_are_looked_for(site: Path) -> None:
    install(site, "auto_gptq", "0.7.1", record=None)
    one = distribution(site, "auto-gptq")

    assert compiled_modules(one, ["exllama_kernels"]) is None
    (site / "exllama_kernels.cpython-310-x86_64-linux-gnu.so").touch()
    (site / "another.so").touch()
    assert set(compiled_modules(one, ["exllama_kernels"]) or ()) == {"exllama_kernels"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes in the file system")
@pytest.mark.timeout(10)
def test_pipes_in_the_place_of_files_are_not_waited_for(site: Path) -> None:
    install(site, "auto_gptq", "0.7.1", record=None)
    install(site, "optimum", "1.0")
    (site / "optimum-1.0.dist-info/METADATA").unlink()
    (site / "torch/lib").mkdir(parents=True)
    (site / "torch/version.py").write_text("__version__ = '2.2.2'\ncuda = '12.1'\n")
    for name in (
        "auto_gptq-0.7.1.dist-info/RECORD",
        "optimum-1.0.dist-info/METADATA",
        "exllama_kernels.so",
        "torch/lib/libc10.so",
        "torch/lib/libtorch_python.so",
    ):
        os.mkfifo(site / name)

    modules = compiled_modules(distribution(site, "auto-gptq"), ["exllama_kernels"])
    torch = read_torch(find_torch([site]))

    assert modules == {"exllama_kernels": site / "exllama_kernels.so"}
    assert check_modules(modules, site / "torch", [site], {}).missing_symbols == {}
    assert requirements(distribution(site, "optimum")) == ()
    assert isinstance(torch, TorchBuild)
    assert torch.arch_list is UNKNOWN


def test_requirements_end_with_the_header(site: Path) -> None:
    install(site, "optimum", "1.0", metadata="Requires-Dist: torch>=1.11\nRequires-Dist: a; b=='c'")

    assert requirements(distribution(site, "optimum")) == ("torch>=1.11", "a; b=='c'")


# --- interpreter ----------------------------------------------------------------------------


def test_what_is_asked_for_is_examined(tmp_path: Path) -> None:
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    assert choose(str(tmp_path / "env"), {}) == (str(python), "--python")
    assert choose(str(python), {}) == (str(python), "--python")
    with pytest.raises(NotFoundError, match="nowhere"):
        choose("nowhere/python", {})


def test_the_hint_for_a_wrong_interpreter_is_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError) as without:
        choose("nowhere/python", {})
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").touch()
    with pytest.raises(NotFoundError) as beside:
        choose("nowhere/python", {})

    assert Path(str(without.value.hint).rpartition(" ")[2]).is_file()
    assert beside.value.hint == "qtool doctor --python venv"


def managed_python(folder: Path) -> Path:
    """Make an interpreter whose standard library is marked, as Debian's is (PEP 668)."""
    stdlib = Path(os.__file__).parent
    copy = folder / "lib" / stdlib.name
    copy.mkdir(parents=True)
    for entry in stdlib.iterdir():
        if entry.name not in ("site-packages", "ensurepip"):
            (copy / entry.name).symlink_to(entry)
    for library in stdlib.parent.glob("libpython*"):
        (folder / "lib" / library.name).symlink_to(library)
    (copy / "EXTERNALLY-MANAGED").touch()
    (copy / "site-packages").mkdir()
    python = folder / "bin" / "python3"
    python.parent.mkdir()
    shutil.copy(os.path.realpath(sys.executable), python)
    return python


@pytest.mark.skipif(sys.platform != "linux", reason="the layout of Linux")
def test_a_python_that_its_distribution_manages_is_seen(tmp_path: Path) -> None:
    python = managed_python(tmp_path / "usr")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)

    managed = TargetProbe(str(python), {}).result()
    free = TargetProbe(str(tmp_path / "env/bin/python"), {}).result()

    assert managed.failure is None
    assert managed.interpreter.is_externally_managed
    assert not managed.interpreter.has_venv  # no ensurepip: Debian's python3-venv is missing
    assert not free.interpreter.is_externally_managed


def test_the_active_environment_comes_before_path(tmp_path: Path) -> None:
    for name in ("env/bin/python", "path/python3"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    environ = {"VIRTUAL_ENV": str(tmp_path / "env"), "PATH": str(tmp_path / "path")}

    assert choose(None, environ)[0] == str(tmp_path / "env/bin/python")
    assert choose(None, environ | {"VIRTUAL_ENV": "/gone"})[0] == str(tmp_path / "path/python3")
    assert choose(None, {"PATH": "/nonexistent"})[0] == sys.executable


def test_an_interpreter_tells_its_version_and_paths() -> None:
    link = Path(sys.executable)  # not qtool's own by name, so it is asked
    target = TargetProbe(str(link.with_name("python3")), {}).result()

    assert target.version == ".".join(map(str, sys.version_info[:3]))
    assert any(path.name == "site-packages" for path in target.paths)
    assert target.failure is None


@pytest.mark.parametrize("answer", ["", "{}", "'text'", "{'version': 1}", "[" * 1000])
def test_a_broken_interpreter_is_examined_by_its_folder(
    tmp_path: Path, site: Path, answer: str
) -> None:
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\ncat <<"END"\n{answer}\nEND\n')
    python.chmod(0o755)

    target = TargetProbe(str(python), {}).result()

    assert target.version is UNKNOWN
    assert target.paths == (site,)
    assert target.failure


def test_other_interpreters_are_those_with_other_packages(tmp_path: Path, site: Path) -> None:
    python = tmp_path / "bin/python3"
    python.parent.mkdir()
    python.touch()
    environ = {"PATH": str(python.parent)}
    target = TargetProbe(sys.executable, {}).result()

    assert (str(python), (site,)) in list(others(target, environ))


# --- children -------------------------------------------------------------------------------


def test_a_child_that_hangs_is_killed_with_its_children() -> None:
    child = Child(["sh", "-c", "sleep 60 & sleep 60"])
    began = time.monotonic()

    result = child.result(0.2)

    assert result.failure == "no answer within 0.2 s"
    assert time.monotonic() - began < 5


def test_a_child_that_never_stops_talking_is_cut_off() -> None:
    began = time.monotonic()

    result = Child(["yes"]).result(20)

    assert result.failure == "it says too much"
    assert result.output == ""
    assert time.monotonic() - began < 5


def test_a_child_that_closes_its_output_and_stays_is_killed() -> None:
    result = Child(["sh", "-c", "echo hi; exec >&-; sleep 30"]).result(0.5)

    assert result.failure == "no answer within 0.5 s"


def test_what_is_no_interpreter_is_said_not_examined(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho hi\n")
    script.chmod(0o755)

    with pytest.raises(NotFoundError, match="is no Python interpreter: it answered nothing"):
        TargetProbe(str(script), {}).result()


def test_a_child_that_cannot_start_or_fails_is_a_failure() -> None:
    assert Child(["/nonexistent"]).result(1).failure
    assert Child(["sh", "-c", "echo said; exit 3"]).result(5).failure == "ended with code 3"


# --- torch ----------------------------------------------------------------------------------


def make_torch(site: Path, text: str, library: bytes = b"") -> Path:
    (site / "torch/lib").mkdir(parents=True)
    (site / "torch/version.py").write_text(text)
    (site / "torch/lib/libtorch_python.so").write_bytes(library)
    return site / "torch"


def test_torch_is_read_from_its_text(site: Path) -> None:
    folder = make_torch(
        site,
        "from typing import Optional\n__version__ = '2.5.1+cu124'\ncuda: Optional[str] = '12.4'\n"
        "hip: Optional[str] = None\n",
        b"junk sm_80 is fine\0sm_50 sm_80 sm_90 compute_90\0more",
    )

    assert find_torch([site]) == folder
    assert read_torch(folder) == TorchBuild(
        "2.5.1+cu124", "12.4", ("sm_50", "sm_80", "sm_90", "compute_90"), hip=None
    )


def test_a_single_architecture_is_found(site: Path) -> None:
    folder = make_torch(site, "__version__ = '2.5.0'\ncuda = '12.6'\n", b"x\0sm_87\0y")

    build = read_torch(folder)

    assert isinstance(build, TorchBuild)
    assert build.arch_list == ("sm_87",)


@pytest.mark.parametrize("text", ["", "__version__ = 2\ncuda = get()\n", "\0\0"])
def test_a_torch_that_says_nothing_is_unknown(site: Path, text: str) -> None:
    assert read_torch(make_torch(site, text)) == TorchBuild()
    assert read_torch(None) is None


# --- machine --------------------------------------------------------------------------------


def test_secrets_do_not_enter_a_snapshot() -> None:
    environ = {
        "HF_TOKEN": "hf_secret",
        "https_proxy": "http://joe:secret@proxy:3128",
        "PIP_INDEX_URL": "https://u:secret@index/simple?token=secret&x=1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "CUDA_HOME": "/usr/local/cuda",
    }

    found = read_env_vars(environ)

    assert "secret" not in str(found)
    assert found["HF_TOKEN"] == "<set>"
    assert found["https_proxy"] == "http://***@proxy:3128"
    assert "AWS_SECRET_ACCESS_KEY" not in found


def test_a_variable_that_hides_all_gpus_by_being_empty_is_kept() -> None:
    assert read_env_vars({"CUDA_VISIBLE_DEVICES": "", "CUDA_HOME": ""}) == {
        "CUDA_VISIBLE_DEVICES": ""
    }


def test_every_variable_of_the_hubs_library_is_kept_but_no_secret() -> None:
    environ = {
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
        "HF_ENDPOINT": "https://joe:secret@hub.example",
        "HF_TOKEN_PATH": "/x/secret",
        "HUGGING_FACE_HUB_TOKEN": "secret",
        "QTOOL_API_KEY": "secret",
        "QTOOL_CACHE": "/cache",
        "HF_HOME": "",
        "HUSH": "secret",
    }

    assert read_env_vars(environ) == {
        "HF_ENDPOINT": "https://***@hub.example",
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
        "HF_TOKEN_PATH": "<set>",
        "HUGGING_FACE_HUB_TOKEN": "<set>",
        "QTOOL_API_KEY": "<set>",
        "QTOOL_CACHE": "/cache",
    }


@pytest.mark.parametrize(
    "text",
    [
        "socks5://a:se@cret@h:1",  # "@" and "/" that nobody escaped
        "http://joe:se/cret@proxy:1",
        "joe:cret@proxy:3128",  # a proxy may lack its scheme
        "https://cret@index/simple",
        "https://h/c.txt?sig=cret&x=1",
    ],
)
def test_secrets_of_any_spelling_are_blotted_out(text: str) -> None:
    assert "cret" not in blot_secrets(text)


@pytest.mark.parametrize(
    "text",
    ["https://hf-mirror.com/a@main", "http://127.0.0.1:8080/a@main", "/usr/lib:/opt/a@b", "0,1"],
)
def test_addresses_without_secrets_stay_as_they_are(text: str) -> None:
    assert blot_secrets(text) == text


def test_bandwidth_is_of_a_plausible_size() -> None:
    assert 0.2e9 < (measure_bandwidth(1) or 0) < 1e12
