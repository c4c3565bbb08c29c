"""What cannot be repacked, and where it runs instead."""

import shlex
from pathlib import Path

from qtool.errors import EnvironmentFault


class NotRepackable(EnvironmentFault):
    """llama.cpp has no exact form of this model; transformers runs it as it is."""

    code = "not_repackable"

    def __init__(self, reason: str, folder: Path | None = None) -> None:
        where = shlex.quote(str(folder)) if folder is not None else "FOLDER"
        super().__init__(
            f"llama.cpp cannot hold this model without loss: {reason}",
            hint=f"qtool chat {where} --engine transformers",
        )
