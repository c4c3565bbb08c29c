"""Kept engines with real processes: a small server stands for the engine."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.keeper import EngineKeeper
from qtool.engines.kept.keep import EngineStore, HeldEngine, KeptEngine
from qtool.engines.kept.record import Record, RecordFolder
from qtool.engines.process import EngineProcess

ENGINE = """
import http.server, json, sys, threading
settings = json.loads(sys.stdin.readline())
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_known = self.headers["Authorization"] == "Bearer " + settings["api_key"]
        body = json.dumps({"data": [{"id": settings["alias"]}]}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"url": "http://127.0.0.1:%d" % server.server_port}), flush=True)
sys.stdin.read()  # the end of it is the end of the parent
"""
OPTIONS = EngineOptions()
DEADLINE_S = 15


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "m.gguf").write_bytes(b"weights")
    return tmp_path / "m.gguf"


def plan(model: Path, **settings: object) -> Launch:
    base = {"model": str(model), "alias": model.name, "api_key": os.urandom(8).hex()}
    return Launch(EngineKind.LLAMA_CPP, (sys.executable, "-c", ENGINE), {**base, **settings})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EngineStore]:
    store = EngineStore(tmp_path / "engines", 60)
    yield store
    for record, _ in store.all():
        store.stop(record)


def keep(store: EngineStore, model: Path, **settings: object) -> Record:
    """Hold a conversation with an engine that stays; return what is known of it then."""
    engine = store.start(plan(model, **settings), OPTIONS, [model])
    assert engine.wait_until_ready(DEADLINE_S) is not None
    engine.stop()
    [(record, is_used)] = store.all()
    assert not is_used
    return record


def wait_for(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def is_gone(pid: int) -> bool:
    """Tell whether there is no such process, not even a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_next_conversation_finds_the_engine_and_its_key(store: EngineStore, model: Path):
    record = keep(store, model)
    engine = store.start(plan(model), OPTIONS, [model])
    assert isinstance(engine, KeptEngine)
    endpoint = engine.wait_until_ready()
    assert (endpoint.url, endpoint.api_key) == (record.url, record.api_key)
    assert engine.is_ready
    assert store.all()[0][1], "it is in use now"
    engine.stop()
    assert not store.all()[0][1]


def test_engine_that_is_kept_gets_its_variables(store: EngineStore, model: Path):
    told = ENGINE.replace('settings["alias"]', '__import__("os").environ["TOLD"]')
    launch = plan(model)
    launch = replace(launch, argv=(*launch.argv[:2], told), variables={"TOLD": "there"})
    engine = store.start(launch, OPTIONS, [model])
    endpoint = engine.wait_until_ready(DEADLINE_S)
    assert endpoint is not None
    request = urllib.request.Request(
        f"{endpoint.url}/v1/models", headers={"Authorization": f"Bearer {endpoint.api_key}"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
        assert json.load(response)["data"] == [{"id": "there"}]
    engine.stop()


def test_record_is_for_its_owner_alone(store: EngineStore, model: Path, tmp_path: Path):
    record = keep(store, model)
    files = list((tmp_path / "engines").iterdir())
    assert stat.S_IMODE((tmp_path / "engines").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert record.api_key not in repr(record)
    [file] = (tmp_path / "engines").glob("*.json")
    file.chmod(0o644)
    assert store.all() == [], "what others may read is not believed"
    file.chmod(0o600)
    assert store.all()


@pytest.mark.parametrize("change", ["file", "settings", "options", "program"])
def test_engine_that_is_another_one_now_is_replaced(store: EngineStore, model: Path, change: str):
    record = keep(store, model)
    launch, options = plan(model), OPTIONS
    match change:
        case "file":
            model.write_bytes(b"other weights")
        case "settings":
            launch = plan(model, chat_template="{{ messages }}")
        case "options":
            options = EngineOptions(n_ctx_tokens=512)
        case "program":
            launch = replace(launch, argv=(*launch.argv, "--other"))
    engine = store.start(launch, options, [model])
    assert isinstance(engine, HeldEngine)
    assert not record.is_alive
    assert wait_for(lambda: is_gone(record.engine_pid))
    engine.stop()


def test_second_conversation_at_the_same_time_has_an_engine_of_its_own(
    store: EngineStore, model: Path
):
    keep(store, model)
    first = store.start(plan(model), OPTIONS, [model])
    second = store.start(plan(model), OPTIONS, [model])
    assert isinstance(first, KeptEngine)
    assert type(second) is EngineProcess
    second.stop()
    first.stop()


def test_without_a_wish_nothing_is_kept_but_what_is_there_is_used(model: Path, tmp_path: Path):
    plain = EngineStore(tmp_path / "engines", None)
    engine = plain.start(plan(model), OPTIONS, [model])
    assert type(engine) is EngineProcess
    engine.stop()
    record = keep(EngineStore(tmp_path / "engines", 50), model)
    found = plain.start(plan(model), OPTIONS, [model])
    assert isinstance(found, KeptEngine)
    found.stop()
    assert plain.all()[0][0].keep_alive_s == 50
    plain.stop(record)


def test_engine_ends_when_nobody_used_it_for_long_enough(model: Path, tmp_path: Path):
    store = EngineStore(tmp_path / "engines", 0.3)
    engine = store.start(plan(model), OPTIONS, [model])
    assert engine.wait_until_ready(DEADLINE_S) is not None
    [(record, _)] = store.all()
    time.sleep(1)
    assert record.is_alive, "it is in use"
    engine.stop()
    assert wait_for(lambda: is_gone(record.pid) and is_gone(record.engine_pid))
    assert not list((tmp_path / "engines").glob("*.json"))


def test_zero_ends_an_engine_that_stayed(store: EngineStore, model: Path, tmp_path: Path):
    record = keep(store, model)
    engine = EngineStore(tmp_path / "engines", 0).start(plan(model), OPTIONS, [model])
    assert isinstance(engine, KeptEngine)
    engine.stop()
    assert wait_for(lambda: is_gone(record.pid) and is_gone(record.engine_pid))


def test_engine_that_was_killed_is_not_believed_and_started_anew(store: EngineStore, model: Path):
    record = keep(store, model)
    os.kill(record.engine_pid, signal.SIGKILL)
    assert wait_for(lambda: not record.is_alive)
    with EngineKeeper(plan(model), lambda one: store.start(one, OPTIONS, [model])) as keeper:
        assert keeper.endpoint().url != record.url


def test_engine_dies_with_its_holder(store: EngineStore, model: Path):
    record = keep(store, model)
    os.kill(record.pid, signal.SIGKILL)
    assert wait_for(lambda: is_gone(record.engine_pid))
    assert store.all() == []


def test_other_process_with_the_same_id_is_not_taken_for_the_engine(
    store: EngineStore, model: Path, tmp_path: Path
):
    record = keep(store, model)
    [file] = (tmp_path / "engines").glob("*.json")
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "pid": os.getpid()}))
    assert store.all() == []
    os.kill(record.pid, signal.SIGTERM)
    assert wait_for(lambda: is_gone(record.engine_pid))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', "\xff"])
def test_damaged_records_are_no_records(tmp_path: Path, model: Path, text: str):
    store = EngineStore(tmp_path / "engines", None)
    (tmp_path / "engines").mkdir(mode=0o700)
    file = tmp_path / "engines" / "x.json"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o600)
    assert store.all() == []


def test_server_that_does_not_take_the_key_is_replaced(
    store: EngineStore, model: Path, tmp_path: Path
):
    record = keep(store, model)
    [file] = (tmp_path / "engines").glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "api_key": "other"}))
    with EngineKeeper(plan(model), lambda one: store.start(one, OPTIONS, [model])) as keeper:
        assert keeper.endpoint().url != record.url
        assert wait_for(lambda: is_gone(record.engine_pid))


def test_keeper_goes_on_with_a_new_engine_when_the_kept_one_dies(store: EngineStore, model: Path):
    record = keep(store, model)
    with EngineKeeper(plan(model), lambda one: store.start(one, OPTIONS, [model])) as keeper:
        assert keeper.endpoint().url == record.url
        os.kill(record.engine_pid, signal.SIGKILL)
        assert wait_for(lambda: not keeper.is_ready)
        assert keeper.endpoint().url != record.url


@pytest.mark.parametrize("is_kept_already", [False, True])
def test_engine_that_is_of_no_use_any_more_does_not_stay(
    store: EngineStore, model: Path, is_kept_already: bool
):
    if is_kept_already:
        keep(store, model)
    with EngineKeeper(plan(model), lambda one: store.start(one, OPTIONS, [model])) as keeper:
        first = keeper.endpoint()
        [(record, _)] = store.all()
        keeper.kill()
        assert wait_for(lambda: is_gone(record.engine_pid))
        assert keeper.endpoint().url != first.url


USER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.engines.test_kept import EngineStore, OPTIONS, plan
model = Path(sys.argv[3])
engine = EngineStore(Path(sys.argv[2]), 60).start(plan(model), OPTIONS, [model])
assert engine.wait_until_ready(15)
print("ready", flush=True)
time.sleep(60)
"""


def test_conversation_that_is_killed_leaves_the_engine_as_asked(
    store: EngineStore, model: Path, tmp_path: Path
):
    root = str(Path(__file__).parents[2])
    user = subprocess.Popen(
        [sys.executable, "-c", USER, root, str(tmp_path / "engines"), str(model)],
        stdout=subprocess.PIPE,
    )
    with user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        assert store.all()[0][1]
        user.kill()
    [(record, is_used)] = store.all()
    assert not is_used, "the system gave its lease back"
    engine = store.start(plan(model), OPTIONS, [model])
    assert isinstance(engine, KeptEngine)
    assert engine.wait_until_ready().url == record.url
    engine.stop()


def test_engine_that_is_not_ready_is_not_left_behind(store: EngineStore, model: Path):
    slow = replace(plan(model), argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    engine = store.start(slow, OPTIONS, [model])
    time.sleep(0.3)
    engine.stop()
    assert wait_for(lambda: is_gone(engine.pid))


SLOW = "import sys, time; sys.stdin.readline(); time.sleep(60)"
SLOW_USER = """
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.engines.test_kept import EngineStore, OPTIONS, SLOW, plan
model = Path(sys.argv[3])
launch = replace(plan(model), argv=(sys.executable, "-c", SLOW))
engine = EngineStore(Path(sys.argv[2]), 60).start(launch, OPTIONS, [model])
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_conversation_that_is_killed_while_the_model_loads_leaves_nothing(
    store: EngineStore, model: Path, tmp_path: Path
):
    root = str(Path(__file__).parents[2])
    user = subprocess.Popen(
        [sys.executable, "-c", SLOW_USER, root, str(tmp_path / "engines"), str(model)],
        stdout=subprocess.PIPE,
    )
    with user:
        assert user.stdout is not None
        holder = int(user.stdout.readline())
        time.sleep(0.5)
        assert not is_gone(holder)
        user.kill()
    engine = store.start(plan(model), OPTIONS, [model])
    assert isinstance(engine, HeldEngine)
    assert engine.wait_until_ready(DEADLINE_S) is not None
    assert wait_for(lambda: is_gone(holder)), "the second conversation has the lease"
    engine.stop()


def test_engine_that_cannot_be_written_down_serves_and_does_not_stay(model: Path, tmp_path: Path):
    folder, warned = tmp_path / "engines", []
    store = EngineStore(folder, 60, warned.append)
    blocked = RecordFolder(folder).file_of(str(model))
    blocked.mkdir(parents=True)
    (blocked / "in the way").touch()
    engine = store.start(plan(model), OPTIONS, [model])
    assert engine.wait_until_ready(DEADLINE_S) is not None
    assert warned == []
    engine.stop()
    assert len(warned) == 1
    assert "does not stay" in warned[0]
    assert wait_for(lambda: is_gone(engine.pid))
    assert not list(folder.glob("*.part"))


def test_state_that_cannot_be_written_costs_the_keeping_alone(model: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    warned: list[str] = []
    store = EngineStore(tmp_path / "file" / "engines", 60, warned.append)
    engine = store.start(plan(model), OPTIONS, [model])
    assert type(engine) is EngineProcess
    assert len(warned) == 1
    engine.stop()
