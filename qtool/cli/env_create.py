"""Making an environment, shown while it lasts: for ``qtool env create`` and ``doctor --fix``."""

import os
from typing import TYPE_CHECKING

from qtool.config import Config
from qtool.envs.installers import InstallerKind
from qtool.output import Output

if TYPE_CHECKING:
    from qtool.envs.environment import Environment


def create_environment(
    output: Output,
    recipe: str,
    *,
    name: str | None = None,
    python: str | None = None,
    installer: InstallerKind | None = None,
    is_replacing: bool = False,
) -> "tuple[Environment, bool]":
    """Make the environment of ``recipe``; return it, and whether it was not there before.

    Raises:
        NotFoundError: there is no such recipe or interpreter.
        EnvironmentFault: the recipe is not for this machine, or its probe did not pass.
    """
    from qtool.cli.env_view import Progress, plan_lines
    from qtool.doctor.environments import indexes_for, look_around, machine_of
    from qtool.envs.create import create
    from qtool.envs.order import Order, plan
    from qtool.envs.recipes import find_recipe
    from qtool.envs.store import Store

    wanted, store = find_recipe(recipe), Store()
    store.folder(name or recipe)
    case = look_around(os.environ)
    order = Order(wanted, machine_of(case), name or recipe, python, installer, is_replacing)
    chosen = plan(order, os.environ)
    for line in plan_lines(chosen):
        output.note(line)
    with Progress(output) as progress:
        return create(
            chosen,
            store,
            environ=os.environ,
            logs=Config().state_dir() / "logs",
            indexes=indexes_for(case, is_for_gpu=chosen.variant.gpu is not None),
            on_event=progress.on_event,
        )
