"""``qtool doctor --fix``, ``--diff`` and ``--markdown`` on real environments with tiny wheels."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qtool.cli.doctor_fix import Terminal
from qtool.doctor.backup import Backup
from qtool.doctor.cures import Cure, CurePlan
from qtool.doctor.finding import Fix
from qtool.doctor.steps import Step
from qtool.envs.environment import Environment, write_record
from qtool.envs.store import RECORD, Store
from qtool.output import Output
from tests.cli.test_doctor import environment
from tests.conftest import ROOT, Run
from tests.envs.wheels import make_wheel, only_from
from tests.unit.doctor.machines import case_of

__all__ = ["environment"]

CURE = ("--goal", "plain", "--fix", "-y")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only source of packages: a torch, and the torchvision of another one."""
    folder = tmp_path / "wheels"
    torch = {"__init__.py": "", "version.py": "__version__ = '2.3.1'\ncuda = None\n"}
    make_wheel(folder, "torch", "2.3.1", package=torch)
    make_wheel(folder, "transformers", "4.45.0")
    make_wheel(folder, "torchvision", "0.19.0", "wrong = True")
    for name, value in only_from(folder).items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def broken(tmp_path: Path, wheels: Path) -> Path:
    """Return an environment whose torchvision belongs to another torch."""
    folder = tmp_path / "broken"
    uv = [str(Path(sys.executable).parent / "uv"), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(folder)], check=True)
    subprocess.run(
        [*uv, "pip", "install", "--python", str(folder),
         "torch", "transformers", "torchvision"],
        check=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def fix(run_qtool: Run, broken: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function that runs the doctor on the broken environment, uv on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        env = {**os.environ, "PATH": path}
        return run_qtool("doctor", "--python", str(broken), *arguments, env=env)

    return run


def frozen(folder: Path) -> list[str]:
    """Return what is installed, and every file with its content."""
    site = next(folder.glob("lib/python3*/site-packages"))
    return sorted(
        f"{path.relative_to(site)} {path.read_bytes()!r}"
        for path in site.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def test_it_cures(fix, broken: Path, wheels: Path) -> None:
    make_wheel(wheels, "torchvision", "0.18.1")
    before = json.loads(fix("--goal", "plain", "--json").stdout)
    assert "TORCHVISION-MISMATCH" in [one["code"] for one in before["findings"]]

    cured = fix(*CURE)

    assert cured.returncode == 0, cured.stderr
    assert "✓ gone: TORCHVISION-MISMATCH" in cured.stdout
    assert "torchvision: 0.19.0 → 0.18.1" in cured.stdout
    assert fix("--goal", "plain").returncode == 0
    assert not (broken / ".qtool-fix").exists()
    again = fix(*CURE)
    assert (again.returncode, "nothing to cure" in again.stdout) == (0, True)


def test_a_dry_run_shows_and_changes_nothing(fix, broken: Path) -> None:
    before = frozen(broken)

    shown = fix("--goal", "plain", "--fix", "--dry-run")

    assert shown.returncode == 1
    assert "1. TORCHVISION-MISMATCH" in shown.stdout
    assert "torchvision==0.18.1" in shown.stdout
    assert frozen(broken) == before


def test_where_nobody_can_be_asked_nothing_is_done(fix, broken: Path) -> None:
    before = frozen(broken)

    refused = fix("--goal", "plain", "--fix")

    assert refused.returncode == 2
    assert "--fix -y" in refused.stderr
    assert frozen(broken) == before


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_it_asks(broken: Path, wheels: Path, answer: str, code: int) -> None:
    import pexpect

    make_wheel(wheels, "torchvision", "0.18.1")
    before = frozen(broken)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = ["-m", "qtool", "doctor", "--python", str(broken), "--goal", "plain", "--fix"]
    terminal = pexpect.spawn(
        sys.executable, arguments, encoding="utf-8", timeout=30, env={**os.environ, "PATH": path}
    )
    terminal.expect_exact("apply this? [Y/n] ")
    terminal.sendline(answer)
    terminal.expect_exact("gone: TORCHVISION-MISMATCH" if answer == "y" else "nothing was changed")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == code
    assert (frozen(broken) == before) is (answer == "n")


def test_plan_question_progress_and_result_are_chinese(broken: Path, wheels: Path) -> None:
    import pexpect

    make_wheel(wheels, "torchvision", "0.18.1")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    arguments = ["-m", "qtool", "doctor", "--python", str(broken), "--goal", "plain", "--fix"]
    terminal = pexpect.spawn(
        sys.executable, [*arguments, "--lang", "zh"], encoding="utf-8", env=env, timeout=60
    )
    terminal.expect_exact("1. TORCHVISION-MISMATCH：")
    terminal.expect_exact("torchvision==0.18.1")
    terminal.expect_exact("执行吗？ [Y/n] ")
    terminal.sendline("是")
    terminal.expect_exact("[1/1] 预演：")
    terminal.expect_exact("✓ 已消失：TORCHVISION-MISMATCH")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_refusal_is_chinese_and_its_json_is_not(fix) -> None:
    refused = fix("--goal", "plain", "--fix", "--lang", "zh")
    document = json.loads(fix("--goal", "plain", "--fix", "--lang", "zh", "--json").stdout)

    assert "错误：--fix 改动之前会先询问" in refused.stderr
    assert "提示：qtool doctor --python" in refused.stderr
    assert document["error"]["message"].startswith("--fix asks before it changes anything")


def test_without_pip_and_uv_it_says_how_to_get_one(
    run_qtool: Run, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    failed = run_qtool("doctor", "--python", str(broken), *CURE)

    assert failed.returncode == 7
    assert "-m ensurepip" in failed.stderr


def test_a_cure_that_cannot_be_had_gives_way_to_the_next(fix, broken: Path) -> None:
    cured = fix(*CURE, "--json")

    document = json.loads(cured.stdout)
    assert cured.returncode == 0
    assert len(document["plans"]) == 2
    assert "pip uninstall" in document["plans"][1]["commands"][0]
    assert [one["code"] for one in document["diff"]["went"]] == ["TORCHVISION-MISMATCH"]
    assert document["findings"] == []


def test_where_no_cure_helps_it_is_as_before(fix, broken: Path, wheels: Path) -> None:
    """The metadata of both wheels is in order, so rehearsing goes well; installing does not."""
    make_wheel(wheels, "torchvision", "0.18.1")
    _spoil(wheels / "torchvision-0.18.1-py3-none-any.whl")
    site = next(broken.glob("lib/python3*/site-packages"))
    record = site / "torchvision-0.19.0.dist-info" / "RECORD"
    record.unlink()  # nobody can uninstall it now
    before = frozen(broken)

    failed = fix(*CURE)

    assert failed.returncode == 7
    assert "is as it was before" in failed.stderr
    assert frozen(broken) == before
    assert Backup(broken).unfinished() is None


def _spoil(wheel: Path) -> None:
    """Change a byte of the wheel's module, so that its checksum is wrong."""
    import zipfile

    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr("torchvision/data.bin", b"payload-payload-payload")
    data = bytearray(wheel.read_bytes())
    at = data.index(b"payload-payload")
    data[at] ^= 1
    wheel.write_bytes(bytes(data))


OPERATION = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from qtool.doctor.apply import Surgeon, lock_of
from qtool.doctor.cures import Cure, CurePlan
from qtool.doctor.finding import Fix
from qtool.doctor.snapshot import Snapshot
from qtool.doctor.steps import Step
prefix, state = Path(sys.argv[1]), Path(sys.argv[2])
spoil = '''
import pathlib, sys, time
site = next(pathlib.Path(sys.argv[1]).glob("lib/python3*/site-packages"))
(site / "torch" / "version.py").unlink()
(site / "half").write_text("half")
time.sleep(60)
'''
step = Step("spoil it", (sys.executable, "-c", spoil, str(prefix)), {{}}, "install", {{"x": ""}})
plan = CurePlan((Cure("X", Fix("", ("spoil it",)), (step,)),))
dists = dict(torch="2.3.1", transformers="4.45.0", torchvision="0.19.0")
with lock_of(prefix, state) as lock, open(state / "log", "wb") as log:
    Surgeon(prefix, lock, log, print).operate(plan, Snapshot(dists=dists), (), lambda: None)
"""


def half_done(broken: Path, state: Path) -> "subprocess.Popen[bytes]":
    """Start a change in a process of its own and wait until it is in the middle."""
    state.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", OPERATION, str(broken), str(state)])
    deadline = time.monotonic() + 20
    while not list(broken.glob("lib/python3*/site-packages/half")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_ctrl_c_in_the_middle_puts_everything_back(broken: Path, own_settings: Path) -> None:
    before = frozen(broken)
    process = half_done(broken, own_settings / "state")
    process.send_signal(signal.SIGINT)
    process.wait(20)

    assert frozen(broken) == before
    assert not (broken / ".qtool-fix").exists()


def test_killed_in_the_middle_the_next_run_puts_it_back(
    fix, broken: Path, wheels: Path, own_settings: Path
) -> None:
    make_wheel(wheels, "torchvision", "0.18.1")
    before = frozen(broken)
    process = half_done(broken, own_settings / "state")
    process.kill()
    process.wait()
    assert frozen(broken) != before

    plain = fix("--goal", "plain")
    assert "was killed half-way (spoil it)" in plain.stderr
    dry = fix("--goal", "plain", "--fix", "--dry-run")
    assert "was killed half-way" in dry.stderr
    unasked = fix("--goal", "plain", "--fix")
    assert unasked.returncode == 2
    assert frozen(broken) != before
    cured = fix(*CURE)
    assert "is as it was before" in cured.stderr
    assert cured.returncode == 0, cured.stderr
    assert not list(broken.glob("lib/python3*/site-packages/half"))
    assert list(broken.glob("lib/python3*/site-packages/torch/version.py"))


def test_two_at_once_are_told(fix, broken: Path, own_settings: Path) -> None:
    process = half_done(broken, own_settings / "state")
    try:
        refused = fix(*CURE)
    finally:
        process.kill()
        process.wait()

    assert refused.returncode == 8
    assert f"process {process.pid}" in refused.stderr


SYSTEM_PYTHON = str(Path(sys.executable).resolve())


def test_a_systems_python_is_not_touched(run_qtool: Run, wheels: Path) -> None:
    make_wheel(wheels, "torchvision", "0.18.1")

    refused = run_qtool("doctor", "--goal", "bnb", "--python", SYSTEM_PYTHON, "--fix", "-y")

    assert refused.returncode == 7
    assert "is no virtual environment" in refused.stderr
    assert "hint: qtool env create" in refused.stderr


def test_where_a_python_may_not_be_changed_an_environment_is_the_cure(run_qtool: Run) -> None:
    arguments = ("doctor", "--goal", "plain", "--python", SYSTEM_PYTHON, "--fix")

    planned, unasked = run_qtool(*arguments, "--dry-run"), run_qtool(*arguments)

    assert planned.returncode == 1
    assert "1. TORCH-MISSING" in planned.stdout
    assert "qtool env create transformers" in planned.stdout
    assert "qtool chat MODEL --env transformers" in planned.stdout
    assert (unasked.returncode, "--fix -y" in unasked.stderr) == (2, True)


AS_IF_ITS_OWN = "import sys; sys.prefix = sys.argv.pop(1); from qtool.__main__ import main; main()"


@pytest.fixture
def as_own(broken: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the beginning of a command line: a qtool that runs in the broken environment."""
    monkeypatch.setenv("VIRTUAL_ENV", str(broken))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return [sys.executable, "-c", AS_IF_ITS_OWN, str(broken), "doctor", "--goal", "plain"]


def test_yes_alone_does_not_change_the_environment_of_qtool_itself(as_own, broken: Path) -> None:
    before = frozen(broken)

    refused = subprocess.run([*as_own, "--fix", "-y"], capture_output=True, text=True, check=False)

    assert refused.returncode == 2
    assert "a cure may break qtool" in refused.stderr
    assert f"hint: qtool doctor --python {broken} --goal plain --fix -y" in refused.stderr
    assert frozen(broken) == before


def test_yes_changes_the_environment_of_qtool_itself_by_name(
    as_own, broken: Path, wheels: Path
) -> None:
    make_wheel(wheels, "torchvision", "0.18.1")

    cured = subprocess.run(
        [*as_own, "--fix", "-y", "--python", str(broken)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert cured.returncode == 0, cured.stderr
    assert "✓ gone: TORCHVISION-MISMATCH" in cured.stdout


def test_an_environment_is_the_cure_where_qtool_itself_would_be_changed(
    as_own, broken: Path, wheels: Path
) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "-q", "pip", "uninstall", "--python", str(broken), "torch", "torchvision"],
                   check=True)  # fmt: skip

    shown = subprocess.run(
        [*as_own, "--fix", "--dry-run"], capture_output=True, text=True, check=False
    )

    assert "which stays as it is" in shown.stderr
    assert "qtool env create transformers" in shown.stdout
    assert "pip install" not in shown.stdout


def test_for_the_environment_of_qtool_itself_return_means_no(as_own, broken: Path) -> None:
    import pexpect

    before = frozen(broken)
    terminal = pexpect.spawn(
        as_own[0], [*as_own[1:], "--fix"], encoding="utf-8", timeout=30, env=os.environ.copy()
    )
    terminal.expect_exact("apply this? [y/N] ")
    terminal.sendline("")
    terminal.expect_exact("nothing was changed")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert frozen(broken) == before


def test_a_systems_python_with_nothing_to_cure_is_no_fault(run_qtool: Run) -> None:
    """llama.cpp runs GPTQ repacked, so what could run it as it is need not be installed."""
    fine = run_qtool("doctor", "--goal", "gptq", "--python", SYSTEM_PYTHON, "--fix", "-y")

    assert (fine.returncode, "nothing to cure" in fine.stdout) == (0, True), fine.stderr


class Asked(Output):
    """Remembers what Return would have answered."""

    defaults: list[bool]
    is_interactive = True

    def ask(self, question: str, *, default: bool = True) -> bool:
        self.defaults = [*getattr(self, "defaults", []), default]
        return False


@pytest.mark.parametrize(
    ("gpus", "index_url", "default"),
    [
        ([], None, False),
        ([], "https://download.pytorch.org/whl/cpu", True),
        ([{"name": "Tesla T4", "cc": "7.5"}], None, True),
    ],
)
def test_return_is_no_to_gigabytes_of_cuda_without_a_gpu(
    tmp_path: Path, gpus: list, index_url: str | None, default: bool
) -> None:
    step = Step("pip install torch", (), {}, "install", {"torch": ""}, index_url)
    plan = CurePlan((Cure("TORCH-MISSING", Fix("torch", ("pip install torch",)), (step,)),))
    output = Asked()
    terminal = Terminal(output, tmp_path, case_of("plain", gpus=gpus), is_agreed=False)

    terminal.show(plan)
    terminal.agrees("apply this?")

    assert output.defaults == [default]


@pytest.fixture
def own_environment() -> str:
    """Return the name of an environment of qtool's that runs what the examined one does not."""
    folder = Store().root / "proven"
    python = folder / "made" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    record = Environment(
        name="proven", recipe="transformers", variant="cpu", path=folder / "made", python=python,
        python_version="3.11.7", engine="transformers", serves=("gptq", "awq", "plain"),
        versions={"torch": "2.13.0+cpu", "transformers": "5.23.0"}, proof=(), created_at="",
        size_bytes=0,
    )  # fmt: skip
    (folder / RECORD).write_text(write_record(record))
    return record.name


def test_what_an_own_environment_runs_needs_no_cure(
    run_qtool: Run, environment, own_environment: str
) -> None:
    arguments = ("doctor", "--goal", "plain", "--python", str(environment()))

    report, cured = run_qtool(*arguments), run_qtool(*arguments, "--fix", "--dry-run")

    assert report.returncode == 0, report.stdout
    assert report.stdout.startswith("✓ an unquantized model runs here: with --env proven")
    assert (cured.returncode, cured.stderr) == (0, "")
    assert cured.stdout.startswith("not needed: the environment proven runs it (--env proven); ")


def test_nobody_is_warned_of_a_cure_that_is_not_made(
    as_own, broken: Path, wheels: Path, own_environment: str
) -> None:
    make_wheel(wheels, "torchvision", "0.18.1")
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "-q", "pip", "uninstall", "--python", str(broken), "torch", "torchvision"],
                   check=True)  # fmt: skip

    shown = subprocess.run([*as_own, "--fix"], capture_output=True, text=True, check=False)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "not needed: the environment proven runs it" in shown.stdout


@pytest.mark.environments
@pytest.mark.timeout(1800)
def test_the_environment_that_is_the_cure_is_made_and_found_again(run_qtool: Run) -> None:
    arguments = ("doctor", "--goal", "plain", "--python", SYSTEM_PYTHON)

    made = run_qtool(*arguments, "--fix", "-y", timeout=1700)
    again = run_qtool(*arguments, "--json")

    assert made.returncode == 0, made.stderr
    assert "now: qtool chat MODEL --env transformers" in made.stdout
    (finding,) = (f for f in json.loads(again.stdout)["findings"] if f["code"] == "TORCH-MISSING")
    assert finding["severity"] == "info"
    assert ["qtool chat MODEL --env transformers"] in [fix["commands"] for fix in finding["fixes"]]


@pytest.mark.skipif(sys.platform != "linux", reason="the recipe is for Linux")
def test_an_environment_that_cannot_be_made_leaves_nothing(
    run_qtool: Run, wheels: Path, own_settings: Path
) -> None:
    """The recipe's packages cannot be had here."""
    failed = run_qtool("doctor", "--goal", "plain", "--python", SYSTEM_PYTHON, "--fix", "-y")

    assert failed.returncode != 0
    assert "transformers (cpu)" in failed.stderr
    assert not list((own_settings / "data").glob("**/environment.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry-run",),
        ("-y",),
        ("--fix", "--snapshot", "x.json"),
        ("--fix", "--markdown"),
        ("--fix", "--diff", "x.json"),
    ],
)
def test_options_that_make_no_sense_are_refused(run_qtool: Run, arguments: tuple[str, ...]) -> None:
    assert run_qtool("doctor", *arguments).returncode == 2


def test_a_difference_to_a_saved_snapshot(fix, wheels: Path, tmp_path: Path) -> None:
    make_wheel(wheels, "torchvision", "0.18.1")
    saved = str(tmp_path / "before.json")
    fix("--goal", "plain", "--save", saved)

    same = fix("--goal", "plain", "--diff", saved)
    assert (same.stdout.strip(), same.returncode) == ("no difference", 1)
    fix(*CURE)
    changed = fix("--goal", "plain", "--diff", saved)

    assert changed.returncode == 0
    assert changed.stdout.splitlines()[0].startswith("✓ gone: TORCHVISION-MISMATCH")
    assert "  torchvision: 0.19.0 → 0.18.1" in changed.stdout.splitlines()


def test_markdown_names_nobody(
    run_qtool: Run, environment: Callable[..., Path], own_settings: Path
) -> None:
    folder = environment(torch="2.3.1", torchvision="0.19.0")
    home = own_settings / "env"
    folder.rename(home)

    text = run_qtool("doctor", "--python", str(home), "--goal", "plain", "--markdown").stdout

    assert text.startswith("### qtool doctor\n")
    assert "`TORCHVISION-MISMATCH`" in text
    assert "~/env/bin/python" in text
    assert str(own_settings) not in text


def pip(folder: Path, *arguments: str) -> str:
    argv = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.mark.network
@pytest.mark.environments
@pytest.mark.timeout(900)
def test_auto_gptq_on_a_new_torch_is_cured_for_real(run_qtool: Run, tmp_path: Path) -> None:
    """First made to fail in the middle, with pip, then cured."""
    folder = tmp_path / "legacy"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip(folder, "install", "-q", "torch>=2.8,<2.14")
    pip(folder, "install", "-q", "--no-deps", "auto-gptq==0.7.1")
    site = next(folder.glob("lib/python3*/site-packages"))
    in_the_way = site / "transformers" / "__init__.py" / "folder"
    in_the_way.mkdir(parents=True)
    cure = ("doctor", "--python", str(folder), "--goal", "gptq", "--fix", "-y", "--json")
    before = pip(folder, "freeze")

    failed = run_qtool(*cure, timeout=400)

    assert failed.returncode == 7, failed.stdout + failed.stderr
    message = json.loads(failed.stdout)["error"]["message"]
    assert "pip install --upgrade" in message
    assert "is as it was before" in message
    assert pip(folder, "freeze") == before
    assert in_the_way.is_dir()

    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    in_the_way.parent.parent.rmdir()
    cured = run_qtool(*cure, timeout=400)
    document = json.loads(cured.stdout)
    assert cured.returncode == 0, cured.stdout + cured.stderr
    assert "GPTQ-KERNELS-ABI" in [one["code"] for one in document["diff"]["went"]]
    after = pip(folder, "freeze").lower()
    assert "auto-gptq" not in after.replace("_", "-")
    assert "gptqmodel==7" in after
