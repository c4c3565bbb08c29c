"""The question which quantization to fetch: a numbered list with what fits this machine."""

import re
from dataclasses import replace

from qtool.cli.machine_memory import MachineMemory
from qtool.download.quant_choice import (
    QuantOption,
    QuantQuestion,
    default_option,
    folder_question,
)
from qtool.language.message import say
from qtool.models.local import LocalModel
from qtool.models.quants import normalize_quant
from qtool.output import Output
from qtool.units import format_size

_FITS = {True: "fits", False: "does not fit", None: ""}


def ask_quant(question: QuantQuestion, output: Output) -> str:
    """Ask until the answer names one option, by number, label or Enter; return its name.

    Raises KeyboardInterrupt for Ctrl+C and Ctrl+D.
    """
    memory = MachineMemory.read()
    default = default_option(question, memory.fits)
    if question.wanted is not None:
        output.note(
            say(
                "{repo} has no single quantization {quant!r}; it has:",
                repo=question.repo_id,
                quant=question.wanted,
            )
        )
    else:
        output.note(say("{repo} holds several quantizations:", repo=question.repo_id))
    for number, option in enumerate(question.options, start=1):
        output.note(_row(number, option, memory))
    n = len(question.options)
    while True:
        answer = output.ask_text(say("Which one? [{name}]", name=default.name)).strip()
        if not answer:
            return default.name
        if (meant := _meant(answer, question)) is not None:
            return meant.name
        if "\x1b" in answer:
            wrong = say("arrow keys are not for this: a number from 1 to {n}, or a name", n=n)
        else:
            wrong = say("there is no {answer!r}: a number from 1 to {n}, or a name",
                        answer=answer, n=n)  # fmt: skip
        output.note(wrong)


def settle_variant(model: LocalModel, output: Output) -> LocalModel:
    """Return ``model``; ask which is meant where it is a folder of several, and a user is there."""
    if not output.is_interactive or model.quant is not None or not model.path.is_dir():
        return model
    question = folder_question(model.path)
    if question is None:
        return model
    return replace(model, quant=ask_quant(question, output))


def _row(number: int, option: QuantOption, memory: MachineMemory) -> str:
    fits = _FITS[memory.fits(option.size_bytes)]
    return f"  {number:>2}  {option.name:<12} {format_size(option.size_bytes):>8}  {fits}".rstrip()


def _meant(answer: str, question: QuantQuestion) -> QuantOption | None:
    if answer.isdecimal():
        index = int(answer) - 1
        return question.options[index] if 0 <= index < len(question.options) else None
    by_name = {_squeezed(option.name): option for option in question.options}
    return by_name.get(_squeezed(answer))


def _squeezed(name: str) -> str:
    """Return the letters and digits of a name: ``q4km`` is what some type for ``Q4_K_M``."""
    return re.sub(r"[\W_]", "", normalize_quant(name))
