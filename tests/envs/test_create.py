"""Environments are made for real; what fails or is killed leaves nothing that is ever used."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qtool.envs.create import create
from qtool.envs.environment import Environment
from qtool.envs.events import Event, StepStarted
from qtool.envs.installers import InstallerKind
from qtool.envs.machine import Machine
from qtool.envs.order import Order, plan
from qtool.envs.recipes import Recipe, Variant
from qtool.envs.store import RECORD, Store, find_environment
from qtool.errors import EnvironmentFault, NotFoundError, ResourceError
from tests.conftest import ROOT
from tests.envs.wheels import make_wheel, only_from

LINUX = Machine("Linux", "x86_64")
SLOW = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"


def recipe(
    *requirements: str, bare: tuple[str, ...] = (), modules: tuple[str, ...] = ("good",)
) -> Recipe:
    variant = Variant(
        name="cpu",
        systems=("Linux",),
        archs=("x86_64",),
        python=">=3.11",
        requirements=requirements,
        bare=bare,
        probe="modules",
        probe_arguments=modules,
        disk_bytes=1_000_000,
    )
    return Recipe("mine", "a test", "none", ("plain",), (variant,))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of wheels that is the only source of packages."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "good", "1.0")
    make_wheel(folder, "good", "2.0", requires=("part",))
    make_wheel(folder, "part", "0.1")
    make_wheel(folder, "bad", "1.0", "raise ImportError('the kernel does not load')")
    make_wheel(folder, "slow", "1.0", SLOW)
    make_wheel(folder, "lonely", "1.0", requires=("nowhere",))
    for name, value in only_from(folder).items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "environments")


def make(
    store: Store,
    wanted: Recipe,
    *,
    is_replacing: bool = False,
    installer: InstallerKind = InstallerKind.UV,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[Environment, bool]:
    order = Order(wanted, LINUX, "mine", sys.executable, installer, is_replacing)
    logs = store.root.parent / "logs"
    return create(plan(order, os.environ), store, environ=os.environ, logs=logs, on_event=on_event)


def builds(store: Store) -> list[str]:
    folder = store.root / "mine"
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []


@pytest.mark.parametrize("installer", list(InstallerKind))
def test_it_is_made_and_found_and_works(
    store: Store, wheels: Path, installer: InstallerKind
) -> None:
    made, is_new = make(store, recipe("good"), installer=installer)

    found = find_environment("mine", store.root)
    assert is_new
    assert found == made
    assert (found.versions["good"], found.versions["part"]) == ("2.0", "0.1")
    assert found.proof == ("imports good",)
    done = subprocess.run(
        [found.python, "-c", "import good, sys; print(sys.prefix)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(found.path)
    assert not list((store.root.parent / "logs").iterdir())


def test_an_existing_one_is_left_as_it_is(store: Store, wheels: Path) -> None:
    first, _ = make(store, recipe("good==1.0"))
    second, is_new = make(store, recipe("good"))

    assert not is_new
    assert second == first


def test_a_replacement_takes_over_when_it_works(store: Store, wheels: Path) -> None:
    first, _ = make(store, recipe("good==1.0"))
    second, is_new = make(store, recipe("good"), is_replacing=True)

    assert is_new
    assert second.versions["good"] == "2.0"
    assert builds(store) == [second.path.name]
    assert not first.path.exists()


def test_a_replacement_that_fails_leaves_the_old_one(store: Store, wheels: Path) -> None:
    first, _ = make(store, recipe("good==1.0"))

    with pytest.raises(EnvironmentFault):
        make(store, recipe("bad", modules=("bad",)), is_replacing=True)

    assert store.find("mine") == first
    assert builds(store) == [first.path.name]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (recipe("bad", modules=("bad",)), "the kernel does not load"),
        (recipe("missing"), "missing"),
        (recipe("lonely"), "nowhere"),
    ],
)
@pytest.mark.parametrize("installer", list(InstallerKind))
def test_what_fails_is_explained_and_leaves_nothing(
    store: Store, wheels: Path, wanted: Recipe, said: str, installer: InstallerKind
) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        make(store, wanted, installer=installer)

    (log,) = (store.root.parent / "logs").iterdir()
    assert said in caught.value.message
    assert str(log) in caught.value.message
    assert said in log.read_text()
    assert not (store.root / "mine").exists()
    with pytest.raises(NotFoundError):
        store.find("mine")


def test_requirements_can_be_left_out(store: Store, wheels: Path) -> None:
    made, _ = make(store, recipe("good", bare=("lonely",), modules=("lonely",)))

    assert made.versions["lonely"] == "1.0"


def test_torch_is_held_where_it_was_put(store: Store, wheels: Path) -> None:
    make_wheel(wheels, "torch", "2.0.1")
    make_wheel(wheels, "torch", "3.0")
    make_wheel(wheels, "kernel", "1.0")
    make_wheel(wheels, "kernel", "2.0", requires=("torch>=3",))
    base = recipe("kernel", modules=("kernel",))
    (variant,) = base.variants
    changed = Variant(**{**_fields(variant), "torch": ">=2,<3"})
    made, _ = make(store, Recipe("mine", "", "none", (), (changed,)))

    assert (made.versions["torch"], made.versions["kernel"]) == ("2.0.1", "1.0")


def _fields(variant: Variant) -> dict[str, object]:
    return {name: getattr(variant, name) for name in Variant.__dataclass_fields__}


def test_an_interruption_leaves_nothing(store: Store, wheels: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepStarted) and event.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(store, recipe("good"), on_event=interrupt)

    assert not (store.root / "mine").exists()


def test_an_interruption_once_it_is_registered_leaves_it(
    store: Store, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register_and_interrupt(environment: Environment) -> None:
        Store.register(store, environment)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "register", register_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(store, recipe("good"))

    assert store.find("mine").is_intact


def test_no_room_is_said_before_anything_is_made(store: Store, wheels: Path) -> None:
    (variant,) = recipe("good").variants
    vast = Variant(**{**_fields(variant), "disk_bytes": 10**18})

    with pytest.raises(ResourceError, match="takes 1e\\+06 TB"):
        make(store, Recipe("mine", "", "none", (), (vast,)))

    assert not (store.root / "mine").exists()


CREATION = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.envs.test_create import make, recipe, Store, Path
make(Store(Path(sys.argv[1])), recipe("slow", modules=("slow",)))
"""


def start_slow_creation(store: Store) -> "subprocess.Popen[bytes]":
    """Start a creation in a process of its own and wait until it hangs in its probe."""
    process = subprocess.Popen([sys.executable, "-c", CREATION, str(store.root)])
    logs = store.root.parent / "logs"
    deadline = time.monotonic() + 30
    while not any("importing" in path.read_text() for path in logs.glob("*.log")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def processes_in(folder: Path) -> list[int]:
    """Return the ids of processes whose command line names something in ``folder``."""
    found = []
    for path in (Path(entry, "cmdline") for entry in Path("/proc").glob("[0-9]*")):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_killed_half_way_nothing_is_used_and_the_next_one_sweeps(
    store: Store, wheels: Path
) -> None:
    process = start_slow_creation(store)
    (half,) = builds(store)
    process.send_signal(signal.SIGKILL)
    process.wait()

    with pytest.raises(NotFoundError):
        store.find("mine")
    assert list(store.all()) == []
    made, is_new = make(store, recipe("good"))
    assert is_new
    assert builds(store) == [made.path.name]
    assert half != made.path.name
    assert processes_in(store.root / "mine" / half) == []


def test_ctrl_c_ends_the_children_and_cleans_up(store: Store, wheels: Path) -> None:
    process = start_slow_creation(store)
    process.send_signal(signal.SIGINT)
    process.wait(10)

    assert not (store.root / "mine").exists()
    assert processes_in(store.root / "mine") == []


def test_two_at_once_are_told(store: Store, wheels: Path) -> None:
    process = start_slow_creation(store)
    try:
        with pytest.raises(ResourceError, match=f"process {process.pid}"):
            store.remove("mine")
        with pytest.raises(ResourceError, match=f"process {process.pid}"):
            make(store, recipe("good"))
    finally:
        process.kill()
        process.wait()


def test_the_second_of_two_waits_for_a_dying_one(store: Store, wheels: Path) -> None:
    process = start_slow_creation(store)
    threading.Timer(0.5, process.kill).start()

    made, is_new = make(store, recipe("good"))

    process.wait()
    assert is_new
    assert builds(store) == [made.path.name]


def test_a_removed_one_is_gone(store: Store, wheels: Path) -> None:
    make(store, recipe("good"))
    store.remove("mine")

    assert not (store.root / "mine").exists()
    with pytest.raises(NotFoundError):
        store.remove("mine")


def test_one_that_lost_its_python_is_not_given_out(store: Store, wheels: Path) -> None:
    made, _ = make(store, recipe("good"))
    made.python.unlink()

    with pytest.raises(EnvironmentFault, match="lost its Python"):
        store.find("mine")
    assert [one.is_intact for one in store.all()] == [False]
    remade, is_new = make(store, recipe("good"), is_replacing=True)
    assert is_new
    assert store.find("mine") == remade


def test_a_record_that_makes_no_sense_is_said(store: Store) -> None:
    (store.root / "mine").mkdir(parents=True)
    (store.root / "mine" / RECORD).write_text('{"schema_version": 99}')

    with pytest.raises(EnvironmentFault, match="another version"):
        store.find("mine")
    assert list(store.all()) == []
    store.remove("mine")
    assert not (store.root / "mine").exists()
