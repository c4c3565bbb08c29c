"""Reading JSON that nobody vouches for: bounded in size, and no exception but ours."""

import json
from pathlib import Path
from typing import Any, NoReturn

from qtool.errors import IntegrityError
from qtool.models.fields import Fields
from qtool.models.weight_file import open_weights

# The largest configuration file known (a tokenizer_config.json with its added tokens) has 9 MB.
MAX_CONFIG_BYTES = 16 * 2**20


def read_json_fields(path: Path, *, limit_bytes: int = MAX_CONFIG_BYTES) -> Fields:
    """Read a JSON file whose top level is an object.

    Duplicate keys: the last one counts, and NaN and Infinity are accepted where nobody looks at
    them, as in transformers (Mamba's ``"time_step_limit": [0.0, Infinity]`` is a real case).

    Raises:
        IntegrityError: larger than ``limit_bytes``, or not such a file.
    """
    with open_weights(path) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise IntegrityError(f"{path} is larger than {limit_bytes} bytes: no configuration is")
    return Fields(parse_json_object(data, source=str(path)), str(path))


def parse_json_object(data: bytes, *, source: str, is_strict: bool = False) -> dict[str, Any]:
    """Parse UTF-8 JSON with an object at the top.

    ``is_strict`` also refuses duplicate keys, NaN and Infinity, as formats do that are more than
    a configuration.

    Raises:
        IntegrityError: not UTF-8, not JSON, nested too deeply, not an object, text that cannot be
            encoded again (half of a surrogate pair).
    """
    strict: dict[str, Any] = {}
    if is_strict:
        strict = {"object_pairs_hook": _without_duplicates, "parse_constant": _no_constant}
    try:
        value = json.loads(data.decode("utf-8"), **strict)
        if b"\\ud" in data or b"\\uD" in data:  # escaped surrogates: in pairs, or loose?
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as exc:
        raise IntegrityError(f"{source}: nested too deeply") from exc
    except ValueError as exc:  # JSONDecodeError and UnicodeError among them
        raise IntegrityError(f"{source} is not valid JSON: {str(exc)[:200]}") from exc
    if not isinstance(value, dict):
        raise IntegrityError(f"{source}: an object was expected, not {type(value).__name__}")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"duplicate key {key[:80]!r}")
        found[key] = value
    return found


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
