"""What a chat template may cost: it is a program that comes with the model.

transformers' jinja sandbox keeps it from the machine, but not from its time and memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

MAX_BITS = 4096
"""Longer whole numbers than this no template needs; their products can take hours."""

MAX_ITEMS = 10_000_000
"""How long a text or list may become by ``'a' * n``."""

MAX_BYTES = 1 << 30
"""What a template may allocate."""


class TooLong(BaseException):
    """Passes through a template's code, which could catch nothing anyhow."""


@contextmanager
def limits(limit_s: float) -> Iterator[None]:
    """Bound the time of Python code in this thread, and the memory that it may take meanwhile.

    Raises:
        TooLong: the time is over; seen at every line that runs, not within one operation.
        MemoryError: it wanted more than ``MAX_BYTES`` (on Linux).
    """
    _bound_products()
    with _bounded_memory(MAX_BYTES), _bounded_time(limit_s):
        yield


@contextmanager
def _bounded_time(limit_s: float) -> Iterator[None]:
    end = time.monotonic() + limit_s

    def look(frame: FrameType, event: str, arg: object) -> Any:
        if time.monotonic() > end:
            raise TooLong
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _bounded_memory(n_bytes: int) -> Iterator[None]:
    taken_bytes = _data_bytes()
    if taken_bytes is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = taken_bytes + n_bytes
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int | None:
    """Return what counts for the bound; None where the system is not Linux."""
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as file:
            sizes = [line.split()[1] for line in file if line.startswith("VmData:")]
    except OSError:
        return None
    return int(sizes[0]) * 1024 if sizes else None


def _bound_products() -> None:
    """Let jinja's sandbox ask before it multiplies: one operation is not seen by the clock."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    ImmutableSandboxedEnvironment.intercepted_binops = frozenset(("*", "**"))
    ImmutableSandboxedEnvironment.call_binop = _multiply


def _multiply(environment: Any, context: Any, operator: str, left: Any, right: Any) -> Any:
    if _is_too_much(operator, left, right):
        from jinja2.exceptions import SecurityError

        raise SecurityError("a product that no template needs")
    return left**right if operator == "**" else left * right


def _is_too_much(operator: str, left: Any, right: Any) -> bool:
    """Tell whether a product of these would be absurdly long."""
    if not isinstance(left, int):
        left, right = right, left
        if operator == "**":
            return False  # of floats and the like
    if not isinstance(left, int):
        return False
    if isinstance(right, int):
        times = abs(right) if operator == "**" else 1
        return left.bit_length() * times + right.bit_length() > MAX_BITS
    return hasattr(right, "__len__") and len(right) * left > MAX_ITEMS
