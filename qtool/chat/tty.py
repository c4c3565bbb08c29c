"""The terminal while nobody reads from it: what is typed then belongs to the next prompt."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def keep_typed_ahead(descriptor: int) -> Iterator[None]:
    """Neither echo nor cut into lines what is typed until the line editor takes it.

    Otherwise it would be written into the middle of a reply, and Enter would reach the editor as
    Ctrl+J. Ctrl+C and Ctrl+Z work as ever. Without a terminal nothing changes.
    """
    if sys.platform == "win32" or descriptor < 0 or not os.isatty(descriptor):
        yield
        return
    import signal
    import termios

    before = termios.tcgetattr(descriptor)
    iflag, oflag, cflag, lflag, *rest = before
    quiet = [iflag & ~termios.ICRNL, oflag, cflag, lflag & ~(termios.ECHO | termios.ICANON), *rest]

    def be_quiet(*_: object) -> None:
        with contextlib.suppress(termios.error, OSError):  # the terminal is gone
            if os.tcgetpgrp(descriptor) == os.getpgrp():  # in the background it would stop us
                termios.tcsetattr(descriptor, termios.TCSANOW, quiet)

    be_quiet()
    on_return = signal.signal(signal.SIGCONT, be_quiet)  # the shell has set it back meanwhile
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, on_return)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
