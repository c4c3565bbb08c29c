"""The options that every command takes, and the voice made from them."""

import os
from dataclasses import dataclass
from typing import Annotated

import typer

from qtool.output import Mode, Output

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log details; show tracebacks.")]


@dataclass(frozen=True, slots=True)
class VoiceFlags:
    """How the command speaks."""

    is_json: Json = False
    is_quiet: Quiet = False
    is_debug: Debug = False

    def make_output(self) -> Output:
        """Return the voice. Side effects as of the function of that name."""
        return make_output(self.is_json, self.is_quiet, self.is_debug)


def make_output(is_json: bool, is_quiet: bool, is_debug: bool) -> Output:
    """Return the voice for these flags and start the debug log on stderr where asked."""
    is_debug = is_debug or os.environ.get("QTOOL_DEBUG") == "1"
    if is_debug:
        import logging

        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)
        logging.getLogger("qtool").setLevel(logging.DEBUG)
    mode = Mode.JSON if is_json else Mode.QUIET if is_quiet else Mode.TEXT
    return Output(mode, is_debug=is_debug)
