"""``/set``: sampling values by name, while the conversation goes on."""

from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from qtool.chat.request import Sampling
from qtool.errors import UsageError
from qtool.language.message import say, together

COUNTS = {"max_new_tokens": (1, 2**31 - 1), "top_k": (0, 2**31 - 1), "seed": (0, 2**32 - 2)}
"""The smallest and the largest whole number of a value."""

SHARES = ("top_p", "min_p")


def describe_sampling(sampling: Sampling) -> str:
    """Return a line for each value."""
    values = {f.name: getattr(sampling, f.name) for f in fields(sampling)}
    width = max(len(name) for name in values)
    lines = [together((f"{name:{width}}  ", _shown(value))) for name, value in values.items()]
    return together(lines, "\n")


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
            say("there is no value {name!r} to set", name=name),
            hint=f"/set {close[0]} {text}".rstrip() if close else say("/set lists them"),
        )
    if not text:
        value = _shown(getattr(sampling, name))
        raise UsageError(
            say("{name} is {value}", name=name, value=value), hint=f"/set {name} VALUE"
        )
    default: Any = next(f.default for f in fields(Sampling) if f.name == name)
    changed: dict[str, Any] = {name: default if text in ("-", "default") else _parse(name, text)}
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
            raise UsageError(
                say(
                    "{name} takes a whole number from {low} to {high}, not {text}",
                    name=name,
                    low=low,
                    high=high,
                    text=text,
                )
            )
        number = float(text)
    except ValueError:
        raise UsageError(say("{name} takes a number, not {text!r}", name=name, text=text)) from None
    if name in SHARES and not 0 <= number <= 1:
        raise UsageError(say("{name} takes a number from 0 to 1, not {text}", name=name, text=text))
    if not number >= 0:
        raise UsageError(say("{name} takes a number from 0, not {text}", name=name, text=text))
    return number


def _shown(value: object) -> str:
    if value in (None, ()):
        return say("(left to the engine)")
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
