"""``/set``: sampling values by name, while the conversation goes on."""

from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from qtool.chat.request import Sampling
from qtool.errors import UsageError

COUNTS = {"max_new_tokens": (1, 2**31 - 1), "top_k": (0, 2**31 - 1), "seed": (0, 2**32 - 2)}
"""The smallest and the largest whole number of a value."""

SHARES = ("top_p", "min_p")


def describe_sampling(sampling: Sampling) -> str:
    """Return a line for each value."""
    values = {f.name: getattr(sampling, f.name) for f in fields(sampling)}
    width = max(len(name) for name in values)
    return "\n".join(f"{name:{width}}  {_shown(value)}" for name, value in values.items())


def change_sampling(sampling: Sampling, argument: str) -> Sampling:
    """Return ``sampling`` with one value changed by ``NAME VALUE``; ``-`` leaves it to the engine.

    Raises:
        UsageError: there is no such value, or it cannot be what is asked.
    """
    name, _, text = argument.replace("=", " ", 1).partition(" ")
    name, text = name.strip().lstrip("-").replace("-", "_").lower(), text.strip()
    names = [f.name for f in fields(Sampling)]
    if name not in names:
        close = get_close_matches(name, names, n=1)
        raise UsageError(
            f"there is no value {name!r} to set",
            hint=f"/set {close[0]} {text}".rstrip() if close else "/set lists them",
        )
    if not text:
        raise UsageError(f"{name} is {_shown(getattr(sampling, name))}", hint=f"/set {name} VALUE")
    default: Any = next(f.default for f in fields(Sampling) if f.name == name)
    value = default if text in ("-", "default") else _parse(name, text)
    changed: dict[str, Any] = {name: value}
    return replace(sampling, **changed)


def _parse(name: str, text: str) -> Any:
    if name == "stop":
        return (text.replace("\\n", "\n"),)
    try:
        if name in COUNTS:
            low, high = COUNTS[name]
            count = int(text)
            if low <= count <= high:
                return count
            raise UsageError(f"{name} takes a whole number from {low} to {high}, not {text}")
        number = float(text)
    except ValueError:
        raise UsageError(f"{name} takes a number, not {text!r}") from None
    if not 0 <= number <= (1 if name in SHARES else float("inf")):
        raise UsageError(f"{name} takes a number from 0{' to 1' * (name in SHARES)}, not {text}")
    return number


def _shown(value: object) -> str:
    return "(left to the engine)" if value in (None, ()) else str(value)
