"""From a model's name to an engine that is starting, for the commands that run one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qtool.config import Config
from qtool.engines.base import EngineKind, EngineOptions
from qtool.language.message import say

if TYPE_CHECKING:
    from pathlib import Path

    from qtool.engines.keeper import EngineKeeper
    from qtool.models.local import LocalModel
    from qtool.models.starters import Starter
    from qtool.output import Output


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What the command line asks of the engine; ``extra`` are settings of its program.

    ``env`` is the name of the environment that ``python`` is of, where it was named so.

    ``is_kept`` lets one be used that an earlier conversation left; ``keep_alive_s`` is how long it
    stays for a later one, ``None`` leaves that as it was.
    """

    model: str | None
    engine: EngineKind
    python: str | None
    options: EngineOptions
    env: str | None = None
    template: str | None = None
    is_raw: bool = False
    is_agreed: bool = False
    is_verbose: bool = False
    keep_alive_s: float | None = None
    is_kept: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def start_engine(
    model: "LocalModel", request: EngineRequest, output: "Output", config: Config
) -> "EngineKeeper":
    """Start the engine for ``model``; return without waiting for it."""
    from qtool.chat.plan import EngineWish, plan_engine
    from qtool.cli.repack_unasked import repack_unasked
    from qtool.engines.kept.keep import EngineStore
    from qtool.models.local import title_of

    store = None
    if request.is_kept:
        store = EngineStore(engines_dir(config), request.keep_alive_s, output.warn)
    wish = EngineWish(
        kind=request.engine,
        options=request.options,
        python=request.python,
        env=request.env,
        template=request.template,
        is_raw=request.is_raw,
        repacker=lambda info: repack_unasked(info, output, config),
        store=store,
        extra=request.extra,
    )
    planned = plan_engine(model, wish)
    if planned.note is not None:
        output.note(planned.note)
    for warning in planned.warnings:
        output.warn(warning)
    if request.is_verbose:
        told = say(
            "{model} runs on {engine}: {why}",
            model=title_of(model.path),
            engine=planned.choice.kind,
            why=planned.choice.why,
        )
        output.note(told)
    planned.keeper.start()
    return planned.keeper


def engines_dir(config: Config) -> "Path":
    """Return the folder where engines that stay are written down."""
    return config.state_dir() / "engines"


def obtain_model(
    request: EngineRequest, output: "Output", config: Config
) -> tuple["LocalModel", "Starter | None"]:
    """Return where the model lies.

    A repository that is not here is fetched; where none is named a starter model is offered.
    """
    from qtool.cli.hub_model import obtain_from_hub
    from qtool.models.local import LocalModel
    from qtool.models.starters import DEFAULT_NAME, find_starter

    name = request.model or DEFAULT_NAME
    starter = find_starter(name)
    if starter is None:
        return obtain_from_hub(name, output, config, is_agreed=request.is_agreed), None
    from qtool.cli.starter import obtain_starter

    is_agreed = request.is_agreed or request.model is not None
    path = obtain_starter(starter, output, config, is_agreed=is_agreed)
    return LocalModel(path), starter
