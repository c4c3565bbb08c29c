"""What a folder says about its tokenizer: its class, and whether it has a chat template."""

import os
from pathlib import Path

from qtool.models.fields import Fields
from qtool.models.json_file import MAX_CONFIG_BYTES, read_json_fields
from qtool.models.weight_file import is_file, open_weights

_CONFIG = "tokenizer_config.json"


def tokenizer_class(folder: Path) -> str | None:
    """The class that transformers would load; None if there is no tokenizer_config.json."""
    fields = _read(folder / _CONFIG)
    return fields.text("tokenizer_class") if fields else None


def has_chat_template(folder: Path) -> bool:
    """Whether transformers would find a chat template in the folder.

    In its order: ``chat_template.jinja``, ``chat_template.json``, ``tokenizer_config.json``.
    """
    jinja = folder / "chat_template.jinja"
    if is_file(jinja):
        with open_weights(jinja) as file:
            return bool(file.read(MAX_CONFIG_BYTES).strip())
    return any(_is_in(_read(folder / name)) for name in ("chat_template.json", _CONFIG))


def _is_in(fields: Fields | None) -> bool:
    """``chat_template`` is a template, or a list of them with names."""
    template = fields.data.get("chat_template") if fields else None
    if fields and template is not None and not isinstance(template, str | list):
        fields.reject("chat_template", "a string or a list")
    return bool(template)


def _read(path: Path) -> Fields | None:
    return read_json_fields(path) if os.path.lexists(path) else None
