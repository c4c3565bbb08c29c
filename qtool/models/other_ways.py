"""What to run in place of a checkpoint that nothing here runs: the same model as GGUF."""

import shlex
from pathlib import Path

from qtool.models.gguf_model import find_variants
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.origin import find_origin, is_telling
from qtool.models.quants import GgufRole


def other_way(info: ModelInfo) -> str | None:
    """Return a sentence with the command: of a GGUF in the same folder, else of finding one.

    ``None`` for a quantized model: other ways of running it are the engine's business; and for
    one whose name no hub could know.
    """
    folder = info.path if info.path.is_dir() else info.path.parent
    beside = [
        one for one in find_variants(folder) if one.role is GgufRole.MODEL and not one.missing
    ]
    if beside:
        return f"qtool chat {_shown(folder / beside[0].files[0])} runs the GGUF beside it"
    if info.format is not ModelFormat.PLAIN:
        return None
    name = find_origin(folder) or folder.absolute().name
    if "/" not in name and not is_telling(name):
        return None
    return f"qtool find {shlex.quote(name)} --format gguf lists variants that run without torch"


def _shown(path: Path) -> str:
    """Quote a path so that nobody takes it for a repository's name."""
    text = shlex.quote(str(path))
    return text if path.is_absolute() or text.startswith((".", "'")) else f"./{text}"
