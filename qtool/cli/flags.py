"""Options as the fields of dataclasses: commands that have some in common share one."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def takes_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let Typer see the fields of the dataclasses that ``command`` takes as its options.

    Every parameter of ``command`` is a dataclass whose fields are annotated as Typer wants them;
    their order is the order of the parameters in the help.
    """
    groups: dict[str, Any] = {
        name: kind for name, kind in get_type_hints(command).items() if is_dataclass(kind)
    }

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        filled = {
            name: kind(**{field.name: values[field.name] for field in fields(kind)})
            for name, kind in groups.items()
        }
        return command(**filled)

    parameters = [each for kind in groups.values() for each in _parameters(kind)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _parameters(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]
