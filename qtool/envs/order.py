"""An order for an environment, and what is chosen for it before anything is changed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qtool.envs.installers import Installer, InstallerKind, choose_installer
from qtool.envs.machine import Machine
from qtool.envs.pythons import Python, find_python
from qtool.envs.recipes import Recipe, Variant, choose_variant
from qtool.errors import EnvironmentFault, ResourceError
from qtool.language.message import say
from qtool.units import format_size


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made. ``None`` leaves the choice to us.

    ``python`` is an interpreter's path or name, ``is_replacing`` makes it anew where it exists.
    """

    recipe: Recipe
    machine: Machine
    name: str
    python: str | None = None
    installer: InstallerKind | None = None
    is_replacing: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """An order with everything chosen; nothing has been changed yet."""

    order: Order
    variant: Variant
    installer: Installer
    python: Python


def plan(order: Order, environ: Mapping[str, str]) -> Plan:
    """Choose the variant, the installer and the Python.

    Raises:
        EnvironmentFault: the recipe is not for this machine, or there is no Python for it.
        NotFoundError: the interpreter asked for is none.
    """
    variant = choose_variant(order.recipe, order.machine)
    _check_compiler(variant, environ)
    installer = choose_installer(environ, order.installer)
    python = find_python(
        variant,
        environ,
        asked_for=order.python,
        needs_venv=installer.kind is InstallerKind.PIP,
        uv=installer.uv,
    )
    return Plan(order, variant, installer, python)


def _check_compiler(variant: Variant, environ: Mapping[str, str]) -> None:
    names = (environ.get("CC", "").partition(" ")[0] or "cc", "gcc", "clang")
    if variant.compiles and not any(shutil.which(n, path=environ.get("PATH")) for n in names):
        raise EnvironmentFault(
            say("there is no C compiler, and a package of the recipe is built from source"),
            hint="sudo apt-get install -y gcc",
        )


def check_space(root: Path, needed_bytes: int) -> None:
    """Raise ResourceError when the disk of ``root`` has less than ``needed_bytes`` free."""
    existing = root.absolute()
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if needed_bytes > free_bytes:
        raise ResourceError(
            say(
                "the environment takes {size}, {folder} has {free} free",
                size=format_size(needed_bytes),
                folder=existing,
                free=format_size(free_bytes),
            ),
            hint=say("QTOOL_DATA=/another/disk qtool env create …, or: qtool env remove NAME"),
        )
