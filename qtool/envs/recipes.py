"""Recipes: which packages go together, where, and how to tell that they work. Read from data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from qtool.envs.machine import Capability, Machine
from qtool.errors import EnvironmentFault, NotFoundError
from qtool.language.message import Message, say, together


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of packages and the machines that it is for; see ``recipes.toml`` for the fields."""

    name: str
    systems: tuple[str, ...]
    archs: tuple[str, ...]
    python: str
    requirements: tuple[str, ...]
    probe: str
    disk_bytes: int
    gpu: str | None = None
    lowest: Capability = (0, 0)
    highest: Capability = (99, 0)
    cuda: int | None = None
    prefer: tuple[str, ...] = ()
    torch: str | None = None
    bare: tuple[str, ...] = ()
    index: str | None = None
    compiles: bool = False
    probe_arguments: tuple[str, ...] = ()
    tested: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A purpose and its variants, the best first.

    ``engine`` names what runs models in it, ``serves`` the formats of models, ``instead`` the
    recipe to offer where no variant is for this machine.
    """

    name: str
    summary: str
    engine: str
    serves: tuple[str, ...]
    variants: tuple[Variant, ...]
    instead: str | None = None


@cache
def load_recipes() -> Mapping[str, Recipe]:
    """Return every recipe by its name, in the order of the file."""
    import tomllib

    text = files("qtool.envs").joinpath("recipes.toml").read_text(encoding="utf-8")
    return parse_recipes(tomllib.loads(text))


def parse_recipes(tables: Mapping[str, Any]) -> Mapping[str, Recipe]:
    """Return the recipes of a file's tables.

    Raises:
        TypeError, KeyError: a field is missing or unknown; the file is part of the program.
    """
    return {
        name: Recipe(
            name=name,
            summary=table["summary"],
            engine=table["engine"],
            serves=tuple(table["serves"]),
            variants=tuple(_parse_variant(one) for one in table["variants"]),
            instead=table.get("instead"),
        )
        for name, table in tables.items()
        if isinstance(table, dict)
    }


def _parse_variant(table: Mapping[str, Any]) -> Variant:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    for bound in ("lowest", "highest"):
        if bound in fields:
            major, _, minor = fields[bound].partition(".")
            fields[bound] = (int(major), int(minor))
    return Variant(**fields)


def find_recipe(name: str) -> Recipe:
    """Return the recipe ``name``.

    Raises:
        NotFoundError: there is none of that name.
    """
    from difflib import get_close_matches

    recipes = load_recipes()
    if name in recipes:
        return recipes[name]
    close = get_close_matches(name, recipes, n=1)
    raise NotFoundError(
        say("there is no recipe {name}; there are {all}", name=repr(name), all=", ".join(recipes)),
        hint=f"qtool env create {close[0] if close else next(iter(recipes))}",
    )


def choose_variant(recipe: Recipe, machine: Machine) -> Variant:
    """Return the first variant that is for ``machine``.

    Raises:
        EnvironmentFault: there is none; says why for each, and which recipe to take instead.
    """
    reasons = {variant.name: tuple(refusals(variant, machine)) for variant in recipe.variants}
    for variant in recipe.variants:
        if not reasons[variant.name]:
            return variant
    why = together(
        (together((name, say(": "), together(said, say(", ")))) for name, said in reasons.items()),
        say("; "),
    )
    raise EnvironmentFault(
        say("the recipe {recipe} is not for this machine ({why})", recipe=recipe.name, why=why),
        hint=f"qtool env create {recipe.instead}" if recipe.instead else "qtool env list",
    )


def refusals(variant: Variant, machine: Machine) -> Iterator[Message]:
    """Yield why ``variant`` is not for ``machine``; nothing where it is."""
    if machine.system not in variant.systems:
        systems = together(variant.systems, say(" and "))
        yield say("made for {what}, this is {this}", what=systems, this=machine.system)
    if machine.arch not in variant.archs:
        archs = together(variant.archs, say(" and "))
        yield say("made for {what}, this is {this}", what=archs, this=machine.arch)
    if variant.gpu is None:
        return
    if not machine.has_gpu:
        yield say("needs an NVIDIA GPU")
    if machine.is_jetson:
        yield say("its packages have no code for a Jetson")
    for one in machine.capabilities:
        if not variant.lowest <= one <= variant.highest:
            yield say(
                "needs compute capability {lowest} to {highest}, a GPU here has {this}",
                lowest=_words(variant.lowest), highest=_words(variant.highest), this=_words(one),
            )  # fmt: skip
            break
    has = machine.highest_cuda_major
    if variant.cuda is not None and has is not None and has < variant.cuda:
        yield say("needs a driver for CUDA {cuda}, this one runs CUDA {has}",
                  cuda=variant.cuda, has=has)  # fmt: skip


def _words(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"
