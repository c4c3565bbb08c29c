"""What cannot be repacked, and where it runs instead."""

import shlex
from pathlib import Path

from qtool.errors import EnvironmentFault
from qtool.language.message import say
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.local import title_of


class NotRepackable(EnvironmentFault):
    """llama.cpp has no exact form of this model; transformers runs it as it is."""

    code = "not_repackable"

    def __init__(
        self,
        reason: str,
        folder: Path | None = None,
        *,
        message: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Say that llama.cpp cannot hold the model, for ``reason``; or ``message``."""
        where = shlex.quote(str(folder)) if folder is not None else "FOLDER"
        super().__init__(
            message
            or say("llama.cpp cannot hold this model without loss: {reason}", reason=reason),
            hint=hint or f"qtool chat {where} --engine transformers",
        )

    def of(self, info: ModelInfo) -> "NotRepackable":
        """Return the refusal with the model's own path in its hint."""
        if self.hint is not None:
            self.hint = self.hint.replace(" FOLDER ", f" {shlex.quote(str(info.path))} ")
        return self


def refuse_format(info: ModelInfo) -> None:
    """Refuse a model whose format has no codes to move.

    Raises:
        NotRepackable: it is a GGUF already, or neither GPTQ nor AWQ.
    """
    if info.format in (ModelFormat.GPTQ, ModelFormat.AWQ):
        return
    name, word = title_of(info.path), shlex.quote(str(info.path))
    if info.format is ModelFormat.GGUF:
        message = say("{model} is a GGUF already: there is nothing to repack", model=name)
        raise NotRepackable("", message=message, hint=f"qtool chat {word}")
    if info.format is ModelFormat.PLAIN:
        message = say("{model} is not quantized; qtool repacks GPTQ and AWQ", model=name)
    else:
        message = say("{model} is in the format {format}; qtool repacks GPTQ and AWQ",
                      model=name, format=info.format.upper())  # fmt: skip
    raise NotRepackable("", info.path, message=message)
