"""The exception tree and the exit codes of the program.

    QtoolError                70  internal: a defect of qtool itself
    ├── UsageError             2  the request makes no sense as given
    ├── NotFoundError          3  a repository, revision, file or model that does not exist
    ├── AuthError              4  the hub wants a token, or terms to be accepted
    ├── NetworkError           5  no endpoint answered, or too often with an error
    ├── IntegrityError         6  bytes that are not what they should be
    ├── EnvironmentFault       7  a Python environment or engine that cannot do the job
    └── ResourceError          8  not enough disk, RAM or VRAM

Doctor findings and partly failed downloads end with 1, an interruption with 130; neither is an
exception of this tree.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command. They are a stable interface."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_AUTHORISED = 4
    NETWORK = 5
    INTEGRITY = 6
    ENVIRONMENT = 7
    RESOURCES = 8
    INTERNAL = 70
    INTERRUPTED = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: end now, in order. Unlike Ctrl+C it never means just the reply."""


class QtoolError(Exception):
    """A failure with a message for the user and, where possible, a command that helps.

    ``message`` says what failed, with the value; ``hint`` is something to paste or to do.
    """

    exit_code: ExitCode = ExitCode.INTERNAL
    code: str = "internal"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(QtoolError):
    """The request makes no sense as given."""

    exit_code = ExitCode.USAGE
    code = "usage"


class NotFoundError(QtoolError):
    """A repository, revision, file or model does not exist."""

    exit_code = ExitCode.NOT_FOUND
    code = "not_found"


class AuthError(QtoolError):
    """The hub refuses without a token, with this token, or until its terms are accepted."""

    exit_code = ExitCode.NOT_AUTHORISED
    code = "not_authorised"


class NetworkError(QtoolError):
    """No endpoint answered, or one answered with an error too often."""

    exit_code = ExitCode.NETWORK
    code = "network"


class IntegrityError(QtoolError):
    """Bytes are not what they should be: a wrong digest, a damaged header."""

    exit_code = ExitCode.INTEGRITY
    code = "integrity"


class EnvironmentFault(QtoolError):
    """A Python environment or an engine cannot do the job."""

    exit_code = ExitCode.ENVIRONMENT
    code = "environment"


class ResourceError(QtoolError):
    """Not enough disk, RAM or VRAM."""

    exit_code = ExitCode.RESOURCES
    code = "resources"
