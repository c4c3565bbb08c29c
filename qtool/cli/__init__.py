"""The command line: one Typer file a command, loaded when that command is asked for.

A command is a module of this package with an ``app: typer.Typer``; its name and short help stand
in ``COMMANDS``, so that ``qtool --help`` imports none of them. A command function returns its exit
code (``None`` is 0), raises ``QtoolError``, and does nothing but parse, call and render.
"""

import contextlib
import errno
import gc
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, TextIO

import typer
import typer.core
from typer._click.exceptions import NoArgsIsHelpError

from qtool import __version__
from qtool.cli.help import dress
from qtool.errors import (
    EnvironmentFault,
    ExitCode,
    QtoolError,
    ResourceError,
    Terminated,
    UsageError,
)
from qtool.language.message import Message
from qtool.output import Mode, Output

# Modules and their functions are not garbage: looking through them while a command is imported, and
# thrice at the end of the program, took 24 ms of the 140 of a download that has nothing to do.
_GC_THRESHOLDS = (20_000, 20, 20)

COMMANDS: dict[str, str] = {
    "download": "Fetch a repository from a hub or mirror, verified to the last byte.",
    "doctor": "Say whether this machine runs the model, why not, and what cures it.",
    "find": "List quantized variants of a model, with what fits this machine.",
    "models": "List the models that are here, and remove them.",
    "chat": "Talk to a model on this machine.",
    "repack": "Turn a GPTQ or AWQ model into a GGUF for llama.cpp, without loss.",
    "serve": "Run a model for other programs, as a server that speaks the OpenAI API.",
    "env": "Make, show and remove environments with tested sets of packages.",
    "config": "Show settings and where each comes from; set them.",
}

OTHER_WORDS = {
    "list": "models",
    "ls": "models",
    "rm": "models remove NAME",
    "remove": "models remove NAME",
    "pull": "download REPO",
    "get": "download REPO",
    "run": "chat MODEL",
    "search": "find MODEL",
}
"""What other programs call it, and what it is called here."""


class LazyGroup(typer.core.TyperGroup):
    """Load a command's module only when that command runs or is asked for help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command ``cmd_name``; ``None`` when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"qtool.cli.{cmd_name}").app)
        command.name = cmd_name
        return dress(command, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or say which one was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"there is no command {args[0]!r}", hint=_nearest_command(args[0]))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        Output().say(f"qtool {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", "-V", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """From a repository name to a conversation with a quantized LLM on your own machine."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code: the one place where failures are reported."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    gc.set_threshold(*_GC_THRESHOLDS)
    _open_closed_streams()
    _tolerate_narrow_encodings()
    _end_in_order_on_signals()
    stdout = sys.stdout
    try:
        code = _run(arguments)
        if code != ExitCode.OK:
            _drop_what_is_unwritten(stdout)
    except BrokenPipeError:
        code = _silence(stdout)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except SystemExit:
        if sys.stdout is stdout:
            raise
        code = _silence(stdout)  # Typer wraps stdout and exits with 1 when its reader is gone
    gc.freeze()
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    output = output_for(arguments)
    try:
        code = app(args=list(arguments), prog_name="qtool", standalone_mode=False)
        sys.stdout.flush()  # here, for a full disk to be told as any other failure
        return code or ExitCode.OK
    except QtoolError as exc:
        failure = exc
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except NoArgsIsHelpError as exc:
        output.note(exc.format_message())
        return ExitCode.USAGE
    except Exception as exc:  # noqa: BLE001 - the boundary: usage errors of Typer, defects of ours
        failure = _translate(exc)
    with contextlib.suppress(OSError):  # nobody listens, or the disk behind the stream is full
        if output.is_debug:
            import traceback

            traceback.print_exception(failure.__cause__ or failure, file=sys.stderr)
        if isinstance(failure.message, Message):
            from qtool.cli.language import language_for

            output.language = language_for(arguments)
        output.error(failure)
    return failure.exit_code


def _translate(exc: Exception) -> QtoolError:
    """Turn what is not ours into a failure of our own tree, its cause kept."""
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        failure: QtoolError = ResourceError(
            f"no space is left for {exc.filename or 'the output'}", hint="df -h"
        )
    elif isinstance(exc, OSError):
        what = f"{exc.filename}: " if exc.filename else ""
        failure = EnvironmentFault(f"{what}{exc.strerror or exc}", hint="qtool config show")
    elif hasattr(exc, "format_message") and hasattr(exc, "exit_code"):  # Typer's usage errors
        from qtool.cli.usage import usage_error

        failure = usage_error(exc)
    else:
        failure = QtoolError(
            f"{type(exc).__name__}: {exc}",
            hint="this is a defect of qtool; run again with --debug and report what it prints",
        )
    failure.__cause__ = exc
    return failure


def _nearest_command(name: str) -> str:
    from difflib import get_close_matches

    if name in OTHER_WORDS:
        return f"qtool {OTHER_WORDS[name]}"
    close = get_close_matches(name, COMMANDS, n=1)
    return f"qtool {close[0]} --help" if close else "qtool --help"


def output_for(arguments: Sequence[str]) -> Output:
    """Make the voice that reports failures, from the arguments before they are parsed."""
    import os

    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    mode = Mode.JSON if "--json" in own else Mode.QUIET if "--quiet" in own else Mode.TEXT
    return Output(mode, is_debug="--debug" in own or os.environ.get("QTOOL_DEBUG") == "1")


def _open_closed_streams() -> None:
    """Put the null device where stdin, stdout or stderr was closed by the caller.

    Otherwise the next file opened would take the stream's number, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            import os

            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _end_in_order_on_signals() -> None:
    """Let SIGTERM and SIGHUP clean up like Ctrl+C, unless somebody (nohup) has them ignored."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def _tolerate_narrow_encodings() -> None:
    """Take ``?`` instead of failing where the terminal cannot show a character, or types none."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _drop_what_is_unwritten(stdout: TextIO) -> None:
    """Keep the end of the program from failing once more at a disk that is full."""
    try:
        stdout.flush()
    except OSError:
        _silence(stdout)


def _silence(stdout: TextIO) -> int:
    """Answer a closed pipe (``qtool … | head``) as the shell expects it: quietly."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return ExitCode.OK
