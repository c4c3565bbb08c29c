"""Repacking that nobody asked for by name: ``qtool chat`` on a GPTQ or AWQ folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtool.language.message import say

if TYPE_CHECKING:
    from qtool.config import Config
    from qtool.models.info import ModelInfo
    from qtool.output import Output


def repack_unasked(info: "ModelInfo", output: "Output", config: "Config") -> Path:
    """Return the GGUF of ``info`` from the cache; made now, and said so, if it is not there.

    Raises:
        NotRepackable: llama.cpp has no exact form of the model.
        QtoolError: see ``repack``.
    """
    from qtool.engines.repack.run import find_repacked, repack
    from qtool.engines.repack.store import RepackStore
    from qtool.models.local import title_of
    from qtool.units import format_duration

    store = RepackStore(config.cache_dir())
    if known := find_repacked(info, store):
        return known
    is_said, name = False, title_of(info.path)

    def show(done: float) -> None:
        nonlocal is_said
        if not is_said:
            output.note(
                say(
                    "repacking {name} for llama.cpp, which is several times faster on a CPU;"
                    " nothing is lost, and it is done once",
                    name=name,
                )
            )
            is_said = True
        output.status(say("repacking {name}: {done:.0%}", name=name, done=done))

    result = repack(info, store, on_progress=show)
    output.status()
    if result.is_new:
        duration = format_duration(result.duration_s)
        output.note(say("done in {duration}: {path}", duration=duration, path=result.path))
    return result.path
