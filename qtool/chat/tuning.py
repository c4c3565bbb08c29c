"""``/set``: sampling values by name, while the conversation goes on."""

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from qtool.chat.request import Sampling
from qtool.errors import UsageError
from qtool.language.message import say, together

COUNTS = {"max_new_tokens": (1, 2**31 - 1), "top_k": (0, 2**31 - 1), "seed": (0, 2**32 - 2)}
"""The smallest and the largest whole number of a value."""

SHARES = ("top_p", "min_p")

MAX_TEMPERATURE = 5
"""Above that every token is as good as any other."""


def describe_sampling(sampling: Sampling, defaults: Mapping[str, float | None]) -> str:
    """Return a line for each value; ``defaults`` are the engine's own, as far as it tells them."""
    values = {f.name: getattr(sampling, f.name) for f in fields(sampling)}
    width = max(len(name) for name in values)
    lines = [
        together((f"{name:{width}}  ", _shown(value, defaults.get(name))))
        for name, value in values.items()
    ]
    return together(lines, "\n")


def describe_value(sampling: Sampling, name: str, defaults: Mapping[str, float | None]) -> str:
    """Return the one value ``name``, as it is now."""
    shown = _shown(getattr(sampling, name), defaults.get(name))
    return say("{name} is {value}", name=name, value=shown)


def change_sampling(sampling: Sampling, argument: str) -> tuple[Sampling, str]:
    """Return ``sampling`` with one value changed by ``NAME VALUE``, and that value's name.

    ``-`` leaves the value to the engine.

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
    return replace(sampling, **changed), name


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
    if name == "temperature" and number > MAX_TEMPERATURE:
        raise UsageError(
            say(
                "{name} takes a number from 0 to {high}, not {text}",
                name=name,
                high=MAX_TEMPERATURE,
                text=text,
            ),
            hint="/set temperature 0.8",
        )
    if not number >= 0:
        raise UsageError(say("{name} takes a number from 0, not {text}", name=name, text=text))
    return number


def _shown(value: object, default: float | None = None) -> str:
    if value in (None, ()):
        if default is not None:
            return say("{value:g} (the engine's own)", value=default)
        return say("(left to the engine)")
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
