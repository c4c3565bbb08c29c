"""The result of a download or a check as the documented JSON object."""

from typing import Any

from qtool.download import DownloadResult, FileResult
from qtool.download.damage import Damage


def to_json(result: DownloadResult) -> dict[str, Any]:
    """Return the result as the documented object."""
    data: dict[str, Any] = {
        "repo": result.repo_id,
        "revision": result.revision,
        "commit": result.commit,
        "path": str(result.path),
        "files": [_file_to_json(file) for file in result.files],
        "left_out": list(result.left_out),
        "extra_files": list(result.extra),
        "notes": list(result.notes),
        "bytes_transferred": result.bytes_transferred,
        "seconds": round(result.seconds, 3),
        "endpoints": result.endpoints,
        "dropped_endpoints": result.dropped,
    }
    if result.failures and (error := result.failures[0].error) is not None:
        data["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    return data


def _file_to_json(file: FileResult) -> dict[str, Any]:
    data: dict[str, Any] = {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "status": file.status.value,
        "verified": file.is_verified,
    }
    if file.damage is not None:
        data |= _damage_to_json(file.damage)
    if file.error is not None:
        data["error"] = {"code": file.error.code, "message": file.error.message}
    return data


def _damage_to_json(damage: Damage) -> dict[str, Any]:
    """Return what was wrong; ranges are half-open, null where they are not known."""
    ranges = None if damage.bad_ranges is None else [list(one) for one in damage.bad_ranges]
    return {
        "damage": damage.kind.value,
        "size_found_bytes": damage.size_found_bytes,
        "bad_ranges": ranges,
    }
