"""What transformers would stumble over in a model's small files, told by file and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DamagedFile(ValueError):
    """A file of the model holds what cannot be; the message names file and field."""


def check_generation_config(config: Mapping[str, Any]) -> None:
    """Make sure that the ends of a reply are token ids.

    Raises:
        DamagedFile: they are not.
    """
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        value = config.get(name)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if any(not isinstance(one, int) or isinstance(one, bool) for one in ids):
            raise DamagedFile(f"generation_config.json: {name} is {value!r:.60}, no token id")


def check_templates(config: Mapping[str, Any]) -> None:
    """Make sure that where there are several chat templates, each has its name and text.

    Raises:
        DamagedFile: one has not.
    """
    templates = config.get("chat_template")
    for number, one in enumerate(templates if isinstance(templates, list) else ()):
        for name in ("name", "template"):
            if not isinstance(one, dict) or not isinstance(one.get(name), str):
                raise DamagedFile(
                    f"tokenizer_config.json: chat_template[{number}] has no {name} that is a text"
                )
