"""Engines as processes, with small programs in their place."""

import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.engines.base import EngineKind, Launch, Progress
from qtool.engines.keeper import EngineKeeper
from qtool.engines.process import EngineProcess
from qtool.errors import EnvironmentFault, NetworkError

READS_SETTINGS = "import json, sys, time; s = json.loads(sys.stdin.readline()); "
HOLD = "time.sleep(30)"
LISTENS = READS_SETTINGS + "print(json.dumps({'url': 'http://' + s['where']}), flush=True); "


def launch(program: str, **settings: object) -> Launch:
    base = {"model": "/models/m.gguf", "alias": "m.gguf", "api_key": "secret", "where": "there"}
    argv = (sys.executable, "-c", program)
    return Launch(EngineKind.LLAMA_CPP, argv, {**base, **settings})


def test_variables_reach_a_program_whose_path_is_odd(tmp_path: Path):
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    told = launch(LISTENS.replace("s['where']", "__import__('os').environ['TOLD']") + HOLD)
    argv = (str(folder / "python"), *told.argv[1:])
    process = EngineProcess(replace(told, argv=argv, variables={"TOLD": "there"}))
    try:
        endpoint = process.wait_until_ready()
        assert endpoint is not None
        assert endpoint.url == "http://there"
    finally:
        process.stop()


def test_endpoint_is_known_when_the_program_reports():
    process = EngineProcess(launch(LISTENS + "time.sleep(30)"))
    try:
        endpoint = process.wait_until_ready()
        assert endpoint is not None
        assert (endpoint.url, endpoint.api_key, endpoint.model) == (
            "http://there",
            "secret",
            "m.gguf",
        )
    finally:
        process.stop()
    assert not process.is_alive


def test_constructor_does_not_wait_for_the_model():
    started_at = time.monotonic()
    process = EngineProcess(launch("import time; time.sleep(30)"))
    try:
        assert time.monotonic() - started_at < 1
        assert process.wait_until_ready(0.05) is None
    finally:
        process.stop()


def test_key_is_neither_in_the_arguments_nor_in_the_representation():
    plan = launch(LISTENS + "time.sleep(30)")
    process = EngineProcess(plan)
    try:
        process.wait_until_ready()
        with open(f"/proc/{process.pid}/cmdline", "rb") as cmdline:
            assert b"secret" not in cmdline.read()
        with open(f"/proc/{process.pid}/environ", "rb") as environ:
            assert b"secret" not in environ.read()
        assert "secret" not in repr(plan) + repr(process.wait_until_ready())
    finally:
        process.stop()


def test_program_that_fails_is_reported_with_its_log():
    process = EngineProcess(launch("import sys; sys.exit('no such tensor')"))
    with pytest.raises(EnvironmentFault, match="no such tensor") as caught:
        process.wait_until_ready()
    assert "code 1" in caught.value.message
    assert caught.value.hint == "qtool doctor /models/m.gguf"
    process.stop()


def test_reason_that_the_program_reports_is_passed_on():
    report = {"error": {"type": "OSError", "message": "no file named model.safetensors"}}
    process = EngineProcess(
        launch(f"import json; print(json.dumps({report})); raise SystemExit(1)")
    )
    with pytest.raises(EnvironmentFault, match=r"cannot load the model: no file named model\."):
        process.wait_until_ready()
    process.stop()


def test_progress_is_known_while_the_model_loads():
    report = {"progress": {"stage": "weights", "fraction": 0.5}}
    says = f"print(json.dumps({report}), flush=True); time.sleep(0.2); "
    with EngineKeeper(launch(LISTENS.replace("print", says + "print") + HOLD)) as keeper:
        keeper.endpoint()
        assert keeper.progress == Progress("weights", 0.5)


def test_who_waits_is_told_how_far_the_engine_is():
    report = {"progress": {"stage": "weights", "fraction": 0.5}}
    says = f"print(json.dumps({report}), flush=True); time.sleep(0.5); "
    told: list[Progress | None] = []
    with EngineKeeper(launch(LISTENS.replace("print", says + "print") + HOLD)) as keeper:
        keeper.endpoint(told.append)
    assert Progress("weights", 0.5) in told


def test_progress_of_a_silent_engine_is_what_it_holds_in_memory():
    plan = replace(launch(READS_SETTINGS + HOLD), weights_bytes=10**15)
    process = EngineProcess(plan)
    try:
        assert process.wait_until_ready(0.05) is None
        assert process.progress is not None
        assert 0 < process.progress.fraction < 0.01
    finally:
        process.stop()


def test_program_that_is_killed_is_reported():
    process = EngineProcess(launch("import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(EnvironmentFault, match="signal 9"):
        process.wait_until_ready()
    process.stop()


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by signal 9 in mid-reply"),
        ("sys.exit(137)", "was killed by signal 9 in mid-reply"),
        ("sys.exit('GGML_ASSERT(no such op)')", "code 1 in mid-reply\n  GGML_ASSERT(no such op)"),
    ],
)
def test_end_in_mid_reply_is_told_and_explained(ending: str, said: str):
    program = LISTENS + f"import os; time.sleep(0.2); {ending}"
    with EngineKeeper(launch(program), explain=lambda fault: fault) as keeper:
        keeper.endpoint()
        told = keeper.explain_loss(NetworkError("connection reset"))
        assert said in told.message
        assert told.hint == "qtool doctor /models/m.gguf"


def test_engine_that_lives_explains_no_loss():
    with EngineKeeper(launch(LISTENS + HOLD)) as keeper:
        keeper.endpoint()
        loss = NetworkError("connection reset")
        assert keeper.explain_loss(loss) is loss


def test_program_that_does_not_exist_is_an_environment_fault():
    with pytest.raises(EnvironmentFault, match="/nowhere/python"):
        EngineProcess(Launch(EngineKind.LLAMA_CPP, ("/nowhere/python",), {}))


def test_keeper_starts_a_new_engine_after_a_crash():
    with EngineKeeper(launch(LISTENS + "time.sleep(30)")) as keeper:
        keeper.endpoint()
        first = keeper.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until = time.monotonic() + 5
        while keeper.is_ready and time.monotonic() < until:
            time.sleep(0.01)
        assert keeper.endpoint().url == "http://there"
        assert keeper.pid != first


def test_keeper_tells_a_failed_start_once_and_then_tries_again():
    with EngineKeeper(launch("import sys; sys.exit('broken')")) as keeper:
        with pytest.raises(EnvironmentFault):
            keeper.endpoint()
        first = keeper.pid
        with pytest.raises(EnvironmentFault):
            keeper.endpoint()
        assert keeper.pid != first


def test_engine_that_is_killed_while_it_loads_is_started_again():
    with EngineKeeper(launch(LISTENS.replace("print", "time.sleep(0.3); print") + HOLD)) as keeper:
        keeper.start()
        os.kill(keeper.pid, signal.SIGKILL)
        with pytest.raises(EnvironmentFault, match="signal 9"):
            keeper.endpoint()
        assert keeper.endpoint().url == "http://there"


def test_chatter_on_stdout_before_and_after_the_report_is_ignored():
    chatter = READS_SETTINGS + "print('loading', flush=True); print('[1]', flush=True); "
    report = "print(json.dumps({'url': 'http://' + s['where']}), flush=True); "
    after = "print('x' * 300_000, flush=True); open(s['mark'], 'w').close(); "
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "mark"
        with EngineKeeper(launch(chatter + report + after + HOLD, mark=str(mark))) as keeper:
            assert keeper.endpoint().url == "http://there"
            end = time.monotonic() + 5
            while not mark.exists() and time.monotonic() < end:
                time.sleep(0.01)
            assert mark.exists(), "the engine blocks on a full pipe"


def test_nothing_is_left_after_stop():
    before = threading.active_count()
    keeper = EngineKeeper(launch(LISTENS + "time.sleep(30)"))
    with keeper:
        keeper.endpoint()
        pid = keeper.pid
    assert keeper.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert threading.active_count() == before


def test_engine_that_never_gets_ready_is_given_up():
    keeper = EngineKeeper(launch("import time; time.sleep(60)"), limit_s=0.3)
    with keeper, pytest.raises(EnvironmentFault, match="not ready after 0 s"):
        keeper.endpoint()
