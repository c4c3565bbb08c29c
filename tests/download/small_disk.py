"""A real file system of a few MiB, in a mount namespace of its own: nothing of it outlives it."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class MountRefused(Exception):
    """This machine lets us mount nothing."""


class SmallDisk:
    """A tmpfs between ``with`` and its end; ``path`` leads there from outside the namespace.

    A shell inside the namespace holds it and does the mounting. Raises MountRefused.
    """

    def __init__(self, mount_point: Path, size_bytes: int) -> None:
        self._mount_point = mount_point
        self._size_bytes = size_bytes

    def __enter__(self) -> "SmallDisk":
        as_root = [] if os.getuid() == 0 else ["--map-root-user"]
        try:
            self._shell = subprocess.Popen(
                ["unshare", "--mount", *as_root, "sh"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                bufsize=1,
            )
        except FileNotFoundError as exc:
            raise MountRefused("there is no unshare") from exc
        try:
            self._run(f"mount -t tmpfs -o size={self._size_bytes} tmpfs '{self._mount_point}'")
        except BaseException:
            self._end()
            raise
        self.path = Path(f"/proc/{self._shell.pid}/root{self._mount_point}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def remount(self, options: str) -> None:
        """Change the file system: ``ro``, ``rw`` or ``size=BYTES``."""
        self._run(f"mount -o remount,{options} '{self._mount_point}'")

    def fill(self) -> Path:
        """Take all the space that is left; return the file that takes it."""
        ballast = self.path / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        return ballast

    def _run(self, command: str) -> None:
        assert self._shell.stdin is not None and self._shell.stdout is not None
        said = []
        with suppress(BrokenPipeError):
            self._shell.stdin.write(f"{command}; echo; echo ended $?\n")
        for line in self._shell.stdout:
            if line.startswith("ended "):
                if line.strip() == "ended 0":
                    return
                break
            said.append(line.strip())
        raise MountRefused(" ".join(filter(None, said)) or "no answer")

    def _end(self) -> None:
        with suppress(BrokenPipeError):
            self._shell.communicate()
