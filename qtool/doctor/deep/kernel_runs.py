"""``--run``: the real kernels, one after another, each in a contained child."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from qtool.doctor.deep.contained import ContainedChild, Ending, Outcome
from qtool.doctor.deep.kernel_tasks import KernelTask
from qtool.doctor.snapshot import UNKNOWN, KernelEnding, KernelRun, Snapshot
from qtool.doctor.snapshot_reader import read_kernel_run

POLL_S = 0.02
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Nothing has to be fetched for a product of random numbers, and nothing shall be."""
SPIN_COUNT = "1000"
"""How long OpenMP's threads spin while they wait, as in qtool's engines (see
``engines.llama_cpp_server``): beside one busy program the default is 4 to 20 times slower, and a
measurement is of use only if it is of what a conversation gets."""
FOLDER = Path(__file__).parent


def run_kernels(
    snapshot: Snapshot,
    tasks: Sequence[KernelTask],
    environ: Mapping[str, str],
    *,
    timeout_s: float | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> Snapshot:
    """Return the snapshot with what each kernel did. One at a time: each wants all cores.

    Each gets ``timeout_s`` seconds, or what its kind may need.
    """
    if snapshot.interpreter is UNKNOWN or "interpreter" in snapshot.reasons:
        return snapshot
    runs = []
    for task in tasks:
        on_start(task.kind)
        child = ContainedChild(
            arguments_for(task, snapshot.interpreter.path),
            environ={"GOMP_SPINCOUNT": SPIN_COUNT, **environ, **OFFLINE},
            timeout_s=timeout_s or task.timeout_s,
        )
        runs.append(run_of(task, _wait_for(child), snapshot))
    return replace(snapshot, kernel_runs=with_best_bandwidth(runs))


def with_best_bandwidth(runs: Sequence[KernelRun]) -> tuple[KernelRun, ...]:
    """Measure every run by the best copy that its device did among all of them. Pure.

    What other programs take for a moment only lowers a figure.
    """
    best: dict[str, float] = {}
    for run in runs:
        if run.bandwidth_bytes_per_s:
            best[run.device] = max(best.get(run.device, 0.0), run.bandwidth_bytes_per_s)
    return tuple(replace(run, bandwidth_bytes_per_s=best.get(run.device, UNKNOWN)) for run in runs)


def _wait_for(child: ContainedChild) -> Outcome:
    try:
        while (outcome := child.poll()) is None:
            time.sleep(POLL_S)
    except BaseException:
        child.kill()
        raise
    return outcome


def arguments_for(task: KernelTask, python: str) -> list[str]:
    """Return the command line of a task, without the report that is added to it."""
    if task.file is not None:
        return [sys.executable, "-B", str(FOLDER / "llama_child.py"), str(task.file.resolve())]
    settings = json.dumps(asdict(task.settings))
    script = str(FOLDER / "kernel_child.py")
    return [python, "-B", "-X", "faulthandler", script, task.kind, settings]


def run_of(task: KernelTask, outcome: Outcome, snapshot: Snapshot) -> KernelRun:
    """Return what an outcome says about the kernel. Pure."""
    failed = outcome.report.get("failed")
    if isinstance(failed, Mapping):
        text = f"{failed.get('type')}: {failed.get('text') or ''}".rstrip(": ")
        where = f" ({failed['where']})" if failed.get("where") else ""
        return KernelRun(task.kind, KernelEnding.RAISED, detail=text + where)
    if not outcome.report:
        ending = KernelEnding.HUNG if outcome.ending is Ending.HUNG else KernelEnding.CRASHED
        return KernelRun(task.kind, ending, detail=outcome.how)
    measured = {**outcome.report, "kind": task.kind, "ending": KernelEnding.MEASURED}
    if task.file is not None:
        measured["model"] = task.file.name
        measured["bandwidth_bytes_per_s"] = snapshot.memory_bandwidth_bytes_per_s or None
    return read_kernel_run(measured)
