"""Writing a planned GGUF: tensor by tensor, whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from qtool.errors import IntegrityError, ResourceError
from qtool.locks import try_lock
from qtool.units import format_size

if TYPE_CHECKING:
    from qtool.engines.repack.plan import RepackPlan

ALIGNMENT = 32
"""Tensors begin at multiples of this: ``general.alignment`` where a file does not say."""
RESERVE_BYTES = 64 * 2**20
"""What is left free beside the tensors: the vocabulary has a few megabytes."""

OnBytes = Callable[[int], None]


def write_gguf(
    plan: "RepackPlan",
    target: Path,
    *,
    on_bytes: OnBytes | None = None,
    before_rename: Callable[[], None] | None = None,
    elsewhere: str = "-o FILE",
) -> None:
    """Write ``plan`` to ``target``, which appears when it is complete and on the disk.

    Until then the file is called ``<target>.part``; what a killed run left under that name is
    overwritten, and what stands at ``target`` stays as it is. ``on_bytes`` is told how many bytes
    have been added; what ``before_rename`` raises keeps the new file from taking its place.
    ``elsewhere`` is how the user chooses another place.

    Raises:
        ResourceError: there is no room on the disk, or no permission.
        QtoolError: what reading the checkpoint raises; then nothing is left of the new file.
    """
    part = target.with_name(f"{target.name}.part")
    with _disk_errors(target, elsewhere):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open_locked(part, target) as file:
            try:
                file.truncate(0)
                _check_space(target.parent, plan.n_bytes + RESERVE_BYTES, elsewhere)
                _write_head(plan, part)
                _write_tensors(plan, file, on_bytes or (lambda n_bytes: None))
                file.flush()
                os.fsync(file.fileno())
                if before_rename is not None:
                    before_rename()
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise


def _open_locked(part: Path, target: Path) -> BinaryIO:
    """Open ``part`` for this process alone. Raises ResourceError while another has it.

    Between opening and locking, another process may finish and give the file its final name:
    then what is locked is its result, not ``part``.
    """
    while True:
        file = part.open("ab")
        try:
            if not try_lock(file.fileno()):
                raise ResourceError(
                    f"another qtool is writing {target}",
                    hint="wait for it to end, then run the same command again",
                )
            if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _write_head(plan: "RepackPlan", path: Path) -> None:
    """Write everything but the data of the tensors."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(None, plan.architecture)
    _add_keys(writer, plan.metadata)
    for tensor in plan.tensors:
        kind = gguf.GGMLQuantizationType(tensor.type)
        # Not np.uint8, for which the writer takes the shape for one in bytes.
        dtype = np.dtype(np.float32)
        writer.add_tensor_info(tensor.name, tensor.shape, dtype, tensor.n_bytes, kind)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _add_keys(writer: Any, metadata: Mapping[str, object]) -> None:
    for key, value in metadata.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)


def _write_tensors(plan: "RepackPlan", file: Any, on_bytes: OnBytes) -> None:
    file.seek(0, os.SEEK_END)
    for tensor in plan.tensors:
        file.write(bytes(-file.tell() % ALIGNMENT))
        n_written = 0
        for piece in tensor.pieces():
            n_written += file.write(piece.data.cast("B"))
            on_bytes(piece.nbytes)
        if n_written != tensor.n_bytes:
            raise IntegrityError(f"{tensor.name} has {n_written} bytes, not {tensor.n_bytes}")
    file.write(bytes(-file.tell() % ALIGNMENT))


def _check_space(folder: Path, needed_bytes: int, elsewhere: str) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise ResourceError(
            f"{format_size(needed_bytes)} are to be written; {folder} has"
            f" {format_size(free_bytes)} free",
            hint=f"free {format_size(needed_bytes - free_bytes)}, or choose another disk:"
            f" {elsewhere}",
        )


@contextmanager
def _disk_errors(target: Path, elsewhere: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(
                f"the disk ran full while {target} was written", hint="df -h"
            ) from exc
        raise ResourceError(
            f"cannot write {target}: {exc.strerror or exc}",
            hint=f"choose a folder that is yours: {elsewhere}",
        ) from exc
