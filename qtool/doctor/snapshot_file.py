"""Snapshot files: a snapshot, a case that holds one in ``env``, or a list of cases."""

import json
from pathlib import Path
from typing import Any

from qtool.doctor.finding import Goal
from qtool.doctor.snapshot import MIB, Snapshot
from qtool.doctor.snapshot_reader import from_mapping
from qtool.errors import NotFoundError, UsageError
from qtool.language.message import say

MAX_FILE_BYTES = 64 * MIB
MIN_OWN_FIELDS = 3
"""Other files may have a field of the same name as one of a snapshot, a ``torch`` for example."""

SAVE_HINT = "qtool doctor --save snapshot.json"


def load(reference: str) -> tuple[Snapshot, Goal | None]:
    """Read ``FILE`` or ``FILE#ID``: a snapshot, what holds one in ``env`` or ``snapshot``, cases.

    Returns the snapshot and the goal that a case names.

    Raises:
        NotFoundError: no such file, or no case of that id in it.
        UsageError: the file is no JSON object, or several cases and none chosen.
    """
    path, _, case_id = reference.partition("#")
    if case_id and Path(reference).exists():
        path, case_id = reference, ""
    document = _choose_case(_read_json_object(Path(path)), path, case_id)
    goal = next((known for known in Goal if known == document.get("goal")), None)
    env = document.get("env", document.get("snapshot"))  # of a case; of doctor's own --json
    if isinstance(env, dict):
        return from_mapping(env), goal
    if document and not document.keys() & Snapshot.__dataclass_fields__.keys():
        raise UsageError(
            say("{path} is no snapshot: it has no field of one", path=path), hint=SAVE_HINT
        )
    return from_mapping(document), goal


def check_replaceable(path: Path) -> None:
    """Make sure that nothing but a snapshot, or an empty file, would be lost at ``path``.

    Raises:
        UsageError: something else is there.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        document = _read_json_object(path)
        own = document.keys() & Snapshot.__dataclass_fields__.keys()
        is_snapshot = len(own) >= MIN_OWN_FIELDS
    except UsageError:
        is_snapshot = False
    if not is_snapshot:
        raise UsageError(
            say("{path} is there already, and is no snapshot", path=path),
            hint="qtool doctor --save ANOTHER-FILE",
        )


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:  # a pipe and /dev/zero have no size to ask for
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UsageError(
                say("{path} is larger than any snapshot ({n} bytes)", path=path, n=MAX_FILE_BYTES)
            )
        document = json.loads(data.decode("utf-8-sig"))
    except FileNotFoundError as exc:
        raise NotFoundError(say("there is no file {path}", path=path)) from exc
    except OSError as exc:
        raise UsageError(say("{path} cannot be read: {why}", path=path, why=exc.strerror)) from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(
            say("{path} is no snapshot: not JSON ({why})", path=path, why=exc), hint=SAVE_HINT
        ) from exc
    if not isinstance(document, dict):
        raise UsageError(say("{path} is no snapshot: not a JSON object", path=path), hint=SAVE_HINT)
    return document


def _choose_case(document: dict[str, Any], path: str, case_id: str) -> dict[str, Any]:
    cases = document.get("cases")
    if not isinstance(cases, list):
        return document
    by_id = {str(case["id"]): case for case in cases if isinstance(case, dict) and "id" in case}
    if not by_id:
        raise UsageError(say("{path} holds no case with an id", path=path), hint=SAVE_HINT)
    if not case_id:
        first = next(iter(by_id))
        raise UsageError(
            say("{path} holds {n} cases", path=path, n=len(by_id)),
            hint=f"qtool doctor --snapshot {path}#{first}",
        )
    if case_id not in by_id:
        raise NotFoundError(
            say(
                "{path} has no case {name}; it has {names}",
                path=path,
                name=repr(case_id),
                names=", ".join(by_id),
            )
        )
    return by_id[case_id]
