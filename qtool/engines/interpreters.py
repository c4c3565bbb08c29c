"""Which Python runs an engine that lives in an environment, and what that environment has.

Nothing of it is imported: names and versions come from its folders, as for ``qtool doctor``.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnginePython:
    """An interpreter. ``versions`` are those of its distributions, by canonical name.

    ``why`` says how it was found. ``is_isolated`` is False where its packages come from
    ``PYTHONPATH`` or the user's own folder, which ``python -I`` would leave out.
    """

    path: str
    why: str
    versions: Mapping[str, str]
    is_isolated: bool = True


def find_python(python: str | None, environ: Mapping[str, str]) -> EnginePython:
    """Return the interpreter that ``python`` names, else the one that ``qtool doctor`` examines.

    Where that one has no torch, qtool's own interpreter may have it, and is taken then.

    Raises:
        NotFoundError: ``python`` is neither an interpreter nor an environment's folder.
    """
    found = _examine(python, environ)
    if python is None and "torch" not in found.versions:
        own = _examine(sys.executable, environ)
        if "torch" in own.versions:
            return replace(own, why="qtool's own")
    return found


def _examine(python: str | None, environ: Mapping[str, str]) -> EnginePython:
    from qtool.doctor.probes.distributions import list_distributions
    from qtool.doctor.probes.interpreter import TargetProbe

    target = TargetProbe(python, environ).result()
    path, why = target.interpreter.path, target.interpreter.chosen_because
    found = list_distributions(target.paths)
    if not isinstance(found, dict):
        return EnginePython(path, why, {})
    torch = found.get("torch")
    is_isolated = torch is None or not _is_personal(torch.info.parent, environ)
    versions = {name: one.version for name, one in found.items()}
    return EnginePython(path, why, versions, is_isolated)


def _is_personal(folder: Path, environ: Mapping[str, str]) -> bool:
    listed = [p for p in environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    is_user_site = folder.is_relative_to(Path.home() / ".local")
    return folder in {Path(one) for one in listed} or is_user_site
