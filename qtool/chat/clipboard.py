"""The clipboard, by way of the terminal: works over SSH, needs no program.

Source: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html (OSC 52); within tmux the sequence
is wrapped, https://github.com/tmux/tmux/wiki/Clipboard.
"""

import base64
from collections.abc import Mapping

from qtool.errors import UsageError
from qtool.language.message import say

MAX_BYTES = 74994
"""What the narrowest terminals take: 100,000 bytes of sequence."""


def copy_sequence(text: str, environ: Mapping[str, str]) -> str:
    """Return what to print so that the terminal takes ``text`` onto the clipboard.

    Raises:
        UsageError: it is more than terminals take.
    """
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        told = say("{n} bytes are too many for a clipboard", n=len(data))
        raise UsageError(told, hint="/save FILE")
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    if environ.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    return sequence
