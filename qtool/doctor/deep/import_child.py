"""Import one module and write down how that went; runs in the examined interpreter.

``import_child.py MODULE[:ATTRIBUTE] yes|no REPORT``: after torch, whose libraries a compiled module
links against, or not. Needs Python 3.7 and nothing else, and neither prints nor leaves files.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
sys.path[:] = [path for path in sys.path if path != HERE]  # not the examined environment's
MAX_TEXT = 600


def main(target: str, is_after_torch: bool, report: str) -> None:
    """Import the module; the report says ``imported`` or what was raised."""
    limit_damage()
    if is_after_torch:
        attempt("torch", report, needed_by=target)
    module, seconds = attempt(target, report)
    write(report, {"imported": True, "seconds": seconds})
    if target == "torch":
        facts = describe_torch(module)
        write(report, {"imported": True, "seconds": seconds, "torch": facts})
    os._exit(0)  # what a module does at exit is not asked


def attempt(target: str, report: str, needed_by: str = "") -> tuple[Any, float]:
    """Return the imported module and how long that took; report what was raised, and end."""
    name, _, attribute = target.partition(":")
    instead_of = needed_by and name
    write(report, {"instead_of": instead_of})
    began = time.time()
    try:
        module = importlib.import_module(name)
        if attribute:
            getattr(module, attribute)
    except BaseException as exc:  # noqa: BLE001 - SystemExit too: a module may raise anything
        write(report, {"imported": False, **describe(exc), "instead_of": instead_of})
        os._exit(0)
    return module, round(time.time() - began, 3)


def describe(exc: BaseException) -> dict[str, Any]:
    """Return an exception's type, the last line of its text, and the package's line that raised."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    frames = traceback.extract_tb(exc.__traceback__)
    places = [frame[0].replace("\\", "/").partition("-packages/")[2] for frame in frames]
    where = [f"{place}:{frame[1]}" for place, frame in zip(places, frames) if place]
    return {
        "type": type(exc).__name__,
        "text": (lines or [""])[-1][-MAX_TEXT:],
        "where": (where or [""])[-1],
    }


def describe_torch(torch: Any) -> dict[str, Any]:
    """Return what torch says of itself; what it does not answer is left out."""
    questions: dict[str, Any] = {
        "cuda_available": lambda: bool(torch.cuda.is_available()),
        "arch_list": lambda: list(torch.cuda.get_arch_list()),
        "cxx11_abi": lambda: bool(torch._C._GLIBCXX_USE_CXX11_ABI),
        "mps_available": lambda: bool(torch.backends.mps.is_available()),
    }
    answers: dict[str, Any] = {}
    for name, question in questions.items():
        try:
            answers[name] = question()
        except Exception:  # noqa: BLE001, S112, PERF203 - whatever a broken torch raises
            continue
    return answers


def limit_damage() -> None:
    """Leave no core file behind; on Linux end with the process that asked, and go first."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform.startswith("linux"):
            with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
                file.write("1000")  # where memory runs out, this goes first
            import ctypes

            ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: see prctl(2)
    except (ImportError, OSError, ValueError, AttributeError):
        pass


def write(path: str, report: dict[str, Any]) -> None:
    """Replace the report whole: a reader never sees half of one."""
    with open(path + ".new", "w") as file:  # noqa: PTH123
        json.dump(report, file)
    os.replace(path + ".new", path)  # noqa: PTH105


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "yes", sys.argv[3])
