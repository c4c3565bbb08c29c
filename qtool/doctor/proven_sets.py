"""Environments that qtool makes and proves itself, as cures: those there are, and recipes. Pure."""

import shlex
from typing import TYPE_CHECKING

from qtool.doctor.case import Case
from qtool.doctor.finding import Fix
from qtool.doctor.snapshot import UNKNOWN
from qtool.envs.machine import Machine
from qtool.envs.recipes import Recipe, load_recipes, refusals
from qtool.language.message import say
from qtool.models.info import ModelFormat

if TYPE_CHECKING:
    from qtool.envs.environment import Environment

CUDA_MAJORS = (13, 12, 11)
_NO_RECIPE = (ModelFormat.BITSANDBYTES, ModelFormat.COMPRESSED_TENSORS, ModelFormat.FP8)


def machine_of(case: Case) -> Machine:
    """Return what the conditions of recipes are held against."""
    runs = [major for major in CUDA_MAJORS if case.driver_runs(major)]
    is_known = any(case.driver_runs(major) is not None for major in CUDA_MAJORS)
    return Machine(
        system=str(case.snapshot.os.system or "unknown"),
        arch=str(case.snapshot.os.arch or "unknown"),
        capabilities=case.capabilities,
        has_unknown_gpu=bool(case.gpus) and not case.capabilities,
        highest_cuda_major=max(runs, default=0) if is_known else None,
        is_jetson=case.snapshot.os.is_jetson,
    )


def proven_set(case: Case, form: ModelFormat | None) -> Fix | None:
    """Return how to run ``form`` in an environment of qtool's own; ``None`` where none is for it.

    One that is there already is taken; else the first recipe whose conditions the machine meets.
    """
    if form is None or form in _NO_RECIPE:
        return None
    if (own := environment_for(case, form)) is not None:
        title = say("The environment {name}, which qtool made and proved, runs it", name=own.name)
        return Fix(title, (f"qtool chat {model_word(case)} --env {own.name}",))
    recipe = recipe_for_format(case, form)
    if recipe is None:
        return None
    title = say("A tested set in an environment of its own, made and proven by qtool")
    commands = (
        f"qtool env create {recipe.name}",
        f"qtool chat {model_word(case)} --env {recipe.name}",
    )
    return Fix(title, commands)


def environment_for(case: Case, form: ModelFormat) -> "Environment | None":
    """Return an environment of qtool's that runs ``form`` and is not the examined one."""
    others = (
        one for one in case.environments if form in one.serves and not _is_examined(case, one.path)
    )
    return next((one for one in others if one.is_intact), None)


def recipe_for_format(case: Case, form: ModelFormat) -> Recipe | None:
    """Return the first recipe that serves ``form`` and has a variant for the machine."""
    if UNKNOWN in (case.snapshot.os.system, case.snapshot.os.arch):
        return None
    machine = machine_of(case)
    for recipe in load_recipes().values():
        variants = [one for one in recipe.variants if not any(refusals(one, machine))]
        if form not in recipe.serves or not variants:
            continue
        has_llama_cpp = case.snapshot.llama_cpp is not None
        if form is ModelFormat.GGUF and variants[0].gpu is None and has_llama_cpp:
            continue  # it is qtool's own llama.cpp once more
        return recipe
    return None


def model_word(case: Case) -> str:
    """Return the model as a word of a command."""
    return shlex.quote(str(case.model.path)) if case.model else "MODEL"


def _is_examined(case: Case, folder: object) -> bool:
    interpreter = case.snapshot.interpreter
    return interpreter is not UNKNOWN and interpreter.path.startswith(f"{folder}/")
