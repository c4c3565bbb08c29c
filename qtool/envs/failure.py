"""What to tell the user when an installer or a probe fails: its own last words, and where from."""

import re
from pathlib import Path

from qtool.errors import EnvironmentFault, NetworkError, QtoolError, ResourceError
from qtool.language.message import say, together

N_SHOWN = 6
_NETWORK = re.compile(
    r"Failed to establish a new connection|NameResolutionError|name resolution|ConnectTimeout|"
    r"Connection (refused|reset)|ReadTimeout|error sending request|dns error|tunnel|ProxyError|"
    r"SSLError|certificate verify failed|Network is unreachable",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded")
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


def without_credentials(text: str) -> str:
    """Return ``text`` with names and passwords taken out of its addresses."""
    return _CREDENTIALS.sub("//***@", text)


def of_step(title: str, code: int, lines: list[str], log: Path, name: str) -> QtoolError:
    """Return the failure of a step that ended with ``code``, its kind told by what was said."""
    said = without_credentials("".join(f"\n  {line}" for line in lines[-N_SHOWN:]))
    how = say("“{title}” ended with code {code}", title=title, code=code)
    if code > 128:
        how = say("“{title}” was killed by signal {number}", title=title, number=code - 128)
    head = together((say("environment {name}: ", name=name), how, said, "\n  "))
    message = head + say("all of it: {log}", log=log)
    whole = "\n".join(lines)
    if "No module named pip" in whole:
        return EnvironmentFault(message, hint=_with_pip(lines))
    if _NO_ROOM.search(whole):
        return ResourceError(
            message, hint=say("df -h; QTOOL_DATA=/another/disk takes it elsewhere")
        )
    if _NETWORK.search(whole):
        return NetworkError(message, hint="pip config list; pip config set global.index-url URL")
    return EnvironmentFault(message, hint=f"less {log}")


def _with_pip(lines: list[str]) -> str:
    """Return the command that brings pip to the interpreter that says it has none."""
    python = next(line for line in lines if "No module named pip" in line).partition(": No")[0]
    return say("{python} -m ensurepip    (or put uv on PATH)", python=python)
