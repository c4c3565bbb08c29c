"""What may leave this machine: the same, without the names of people and machines."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qtool.doctor.redact import Identity, without_names

FIRST_PERSON, NOBODY = 1000, 65534
"""User ids of people lie between these on Linux; ids below are the system's."""
MAX_ACCOUNTS = 2000


def for_sharing(value: Any) -> Any:
    """Return JSON values without this machine's home folder, host and user name."""
    return without_names(value, who_and_where())


def who_and_where() -> Identity:
    """Return the user, the machine and the home folder under every name that they go by."""
    import platform

    homes = {home for known in _homes() for home in (known, os.path.realpath(known))}
    host = platform.node()
    owners = (Path(home) for home in homes)
    users = {*_users(), *(one.name for one in owners if one.parent.name in ("home", "Users"))}
    return Identity(
        homes=tuple(sorted(home for home in homes if len(home) > 1)),
        hosts=tuple(sorted({host, host.partition(".")[0]} - {""})),
        users=tuple(sorted(users - {""})),
        neighbours=tuple(_neighbours()),
    )


def _homes() -> Iterator[str]:
    """Yield the home folder as the environment and as the system's list of users has it."""
    with contextlib.suppress(RuntimeError):  # no variable and no such user id
        yield str(Path.home())
    with contextlib.suppress(ImportError, KeyError):  # Windows; a container's nameless user
        import pwd

        yield pwd.getpwuid(os.getuid()).pw_dir


def _users() -> Iterator[str]:
    import getpass

    with contextlib.suppress(OSError, KeyError, ImportError):  # no such user id, no variable
        yield getpass.getuser()
    yield os.environ.get("SUDO_USER", "")
    yield os.environ.get("USERNAME", "")


def _neighbours() -> Iterator[str]:
    """Yield the people with an account here, as the system lists them; it may know of more."""
    with contextlib.suppress(ImportError):  # Windows
        import pwd

        for account in pwd.getpwall()[:MAX_ACCOUNTS]:
            if FIRST_PERSON <= account.pw_uid < NOBODY:
                yield account.pw_name
