"""What changed between two snapshots, and which findings came or went; pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtool.doctor.finding import Finding
from qtool.doctor.snapshot import Snapshot
from qtool.doctor.snapshot_writer import to_mapping

VOLATILE = {
    *("ram_available_bytes", "disk_free_bytes", "memory_bandwidth_bytes_per_s"),
    *("other_interpreters", "requires", "model", "unknown", "imports", "kernel_runs"),
}
"""What differs from one minute to the next, or says nothing beside the findings."""
_OFTEN_LEFT_OUT = {"import_results", "accelerators", "cuda_toolkits"}
"""Fields that earlier versions, or a look without --deep, do not have: empty is then no news."""
_VOLATILE_OF_GPUS = {"vram_free_mib"}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs; ``None`` is absent or unknown.

    ``field`` is a snapshot's field, with the key after a dot where that holds several things.
    """

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """Changes of the machine, and of what is wrong with it."""

    changes: tuple[Change, ...]
    came: tuple[Finding, ...]
    went: tuple[Finding, ...]

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return bool(self.changes or self.came or self.went)

    def to_json(self) -> dict[str, Any]:
        """Return the difference as plain JSON values."""
        return {
            "changes": [
                {"field": one.field, "before": one.before, "after": one.after}
                for one in self.changes
            ],
            "came": [finding.to_json() for finding in self.came],
            "went": [finding.to_json() for finding in self.went],
        }


def compare(
    before: Snapshot,
    after: Snapshot,
    findings_before: Sequence[Finding],
    findings_after: Sequence[Finding],
    mask: Callable[[Any], Any] = lambda value: value,
) -> SnapshotDiff:
    """Return what differs. A finding counts as the same if code and severity are.

    ``mask`` is laid over both snapshots' JSON values: names that one of them lacks (see ``redact``)
    are no difference.
    """
    return SnapshotDiff(
        tuple(compare_mappings(mask(to_mapping(before)), mask(to_mapping(after)))),
        tuple(_without(findings_after, findings_before)),
        tuple(_without(findings_before, findings_after)),
    )


def compare_mappings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the changes from one snapshot as JSON values to another, in the order of fields."""
    for field in dict.fromkeys((*before, *after)):
        is_news = field not in _OFTEN_LEFT_OUT or before.get(field) or after.get(field)
        if field not in VOLATILE and is_news:
            yield from _changes(field, _stable(before.get(field)), _stable(after.get(field)))


def _changes(field: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield Change(field, before, after)
        return
    for key in sorted({*before, *after}, key=str):
        if before.get(key) != after.get(key):
            yield Change(f"{field}.{key}", before.get(key), after.get(key))


def _stable(value: Any) -> Any:
    """Return a value without what changes by itself, sequences as lists."""
    if isinstance(value, Mapping):
        return {k: _stable(one) for k, one in value.items() if k not in _VOLATILE_OF_GPUS}
    return [_stable(one) for one in value] if isinstance(value, list | tuple) else value


def _without(these: Sequence[Finding], those: Sequence[Finding]) -> Iterator[Finding]:
    known = {(one.code, one.severity) for one in those}
    return (one for one in these if (one.code, one.severity) not in known)
