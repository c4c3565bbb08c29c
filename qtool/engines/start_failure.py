"""Why an engine did not start: what it said, what memory or the doctor have to say of it."""

import os
import re
import sys

from qtool.engines.context import MEMORY_SHARE, MINIMUM_CONTEXT_TOKENS
from qtool.errors import EnvironmentFault, QtoolError, ResourceError
from qtool.language.message import Message, say
from qtool.models.info import ModelInfo
from qtool.models.memory import DEFAULT_CONTEXT_TOKENS, estimate_memory, largest_context
from qtool.ram import read_ram
from qtool.units import format_size

KILLED = "killed by signal 9"

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|bad_alloc|MemoryError|(cannot|can't|failed to|unable to) allocate"
    r"|killed by signal 9",
    re.IGNORECASE,
)
"""How engines say that memory ran out. The kernel says it with signal 9."""


def explain_failure(
    fault: EnvironmentFault, info: ModelInfo, n_ctx_tokens: int | None, python: str | None
) -> QtoolError:
    """Return ``fault`` with its cause and a cure where they can be found.

    ``n_ctx_tokens`` is the context that was to be served; ``python`` the interpreter that ran the
    engine, where that is one of the user's.
    """
    if _OUT_OF_MEMORY.search(fault.message):
        n_ctx_tokens = n_ctx_tokens or DEFAULT_CONTEXT_TOKENS
        return explain_memory(fault, info, n_ctx_tokens, _free_bytes())
    return fault if python is None else _ask_doctor(fault, info, python)


def explain_memory(
    fault: EnvironmentFault, info: ModelInfo, n_ctx_tokens: int, free_bytes: int | None
) -> ResourceError:
    """Say what was needed, what is free, and what would fit."""
    need = estimate_memory(info, n_ctx_tokens=n_ctx_tokens)
    free = ""
    if free_bytes is not None:
        free = say("; {size} can be had now", size=format_size(free_bytes))
    ended, details = _split_details(fault.message)
    told = say("{ended}: memory ran out", ended=ended)
    if KILLED in ended:
        told = say("{ended}, as when memory runs out", ended=ended)
    message = say(
        "{told}\n  weights {weights}, {total} in all with a context of {n} tokens{free}{details}",
        told=told,
        weights=format_size(need.weights_bytes),
        total=format_size(need.total_bytes),
        n=n_ctx_tokens,
        free=free,
        details=details,
    )
    fitting = 0 if free_bytes is None else largest_context(info, int(free_bytes * MEMORY_SHARE))
    if MINIMUM_CONTEXT_TOKENS <= (fitting or 0) < n_ctx_tokens:
        return ResourceError(message, hint=say("--ctx {n} would fit", n=fitting))
    if free_bytes is not None and not fitting:
        hint = say("{command} says which variants would fit", command=fault.hint)
        return ResourceError(message, hint=hint)
    return ResourceError(message, hint=fault.hint)  # it should fit: others took the memory


def _split_details(message: str) -> tuple[str, str]:
    """Return what ``message`` says, and the lines of an engine's log that follow it."""
    told, line_end, log = message.partition("\n")
    if not isinstance(message, Message):
        return told, line_end + log
    return Message(told, message.template, {**message.values, "details": ""}), line_end + log


def _free_bytes() -> int | None:
    """Return what a new process can have: what is free, or its bound (``ulimit -v``) if lower."""
    free_bytes = read_ram().available_bytes
    if sys.platform == "win32":
        return free_bytes
    import resource

    bound_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    if bound_bytes == resource.RLIM_INFINITY:
        return free_bytes
    return bound_bytes if free_bytes is None else min(bound_bytes, free_bytes)


def _ask_doctor(fault: EnvironmentFault, info: ModelInfo, python: str) -> EnvironmentFault:
    """Add what the doctor finds wrong with the environment, and its cure, in its own words."""
    from qtool.doctor.case import make_case
    from qtool.doctor.diagnosis import diagnose
    from qtool.doctor.finding import Severity
    from qtool.doctor.probes.take import take_snapshot

    case = make_case(take_snapshot(os.environ, python=python), None, info, None)
    errors = [one for one in diagnose(case) if one.severity is Severity.ERROR]
    if not errors:
        return fault
    worst = errors[0]
    message = say(
        "{fault}\n  doctor: {title}. {explanation}",
        fault=fault.message,
        title=worst.title,
        explanation=worst.explanation,
    )
    cure = " && ".join(worst.fixes[0].commands) if worst.fixes else fault.hint
    return EnvironmentFault(message, hint=cure)
