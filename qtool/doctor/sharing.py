"""What may leave this machine: the same, without the names of people and machines."""

from pathlib import Path
from typing import Any

from qtool.doctor.redact import redact


def for_sharing(value: Any) -> Any:
    """Return JSON values without this machine's home folder, host and user name."""
    import getpass
    import platform

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user id, or Windows without the variable
        user = ""
    return redact(value, home=str(Path.home()), host=platform.node(), user=user)
