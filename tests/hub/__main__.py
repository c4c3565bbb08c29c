"""``python -m tests.hub``: the loopback hub in the foreground.

    python -m tests.hub --root DIR --repo org/name --rate 4M --fault drop:model.gguf:0.5:1

prints the hub's URL on the first line and ends on SIGTERM, Ctrl+C, or, with --stdin-lifetime, when
its standard input closes.
"""

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.hub.content import Generated
from tests.hub.faults import Fault, FaultKind, Role
from tests.hub.hub import LoopbackHub
from tests.hub.process import serve_control
from tests.hub.repository import Repo, folder_files
from tests.hub.site import HubStyle
from tests.hub.tls import Authority

UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text: str) -> int:
    """Read ``4M``, ``1.5G``, ``20k`` (powers of 1024) or plain bytes."""
    unit = UNITS.get(text[-1:].lower())
    return int(float(text[:-1]) * unit) if unit else int(text)


def parse_position(text: str) -> int | float | None:
    """Read a fraction (``0.5``), an offset (``1048576``), or nothing (``-`` or empty)."""
    if text in ("", "-"):
        return None
    return float(text) if "." in text else int(text)


def parse_fault(text: str) -> Fault:
    """Read ``KIND[:PATH[:AT[:TIMES[:ROLE]]]]``; empty fields keep their defaults."""
    kind, path, at, times, role, *_ = [*text.split(":"), "", "", "", ""]
    roles: dict[str, Role | None] = {"": None, "hub": "hub", "cdn": "cdn"}
    return Fault(
        FaultKind(kind),
        path=path or None,
        at=parse_position(at),
        times=None if times == "always" else int(times or 1),
        role=roles[role],
    )


def parse_generated(text: str) -> tuple[str, Generated]:
    """Read ``PATH:SIZE[:SEED]``."""
    path, size, seed, *_ = [*text.split(":"), "0"]
    return path, Generated(parse_size(size), int(seed))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--root", type=Path, help="folder to serve as the repository")
    parser.add_argument("--repo", default="org/name", help="its name")
    parser.add_argument("--generate", type=parse_generated, action="append", default=[],
                        metavar="PATH:SIZE[:SEED]", help="add generated content")  # fmt: skip
    parser.add_argument("--dataset", action="store_true", help="it is a dataset")
    parser.add_argument("--gated", action="store_true", help="it needs a token")
    parser.add_argument("--token", default="hf_test", help="the one token that is accepted")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cdn-port", type=int, default=0)
    parser.add_argument("--tls", type=Path, metavar="DIR",
                        help="serve HTTPS; writes ca.pem and server.pem into DIR")  # fmt: skip
    parser.add_argument("--rate", type=parse_size, help="bytes per second per connection")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds per request")
    parser.add_argument("--max-connections", type=int)
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--style", type=HubStyle, choices=list(HubStyle), default="huggingface")
    parser.add_argument("--xet", action="store_true", help="announce an unreachable xet store")
    parser.add_argument("--fault", type=parse_fault, action="append", default=[],
                        metavar="KIND:PATH:AT:TIMES:ROLE")  # fmt: skip
    parser.add_argument("--stdin-lifetime", action="store_true")
    parser.add_argument("--control-fd", type=int, help=argparse.SUPPRESS)
    return parser


def build_repo(args: argparse.Namespace) -> Repo:
    files = folder_files(args.root) if args.root is not None else {}
    return Repo(
        args.repo,
        files | dict(args.generate),
        repo_type="dataset" if args.dataset else "model",
        gated="manual" if args.gated else False,
        readers=["tester"],
    )


def build_hub(args: argparse.Namespace) -> LoopbackHub:
    if args.tls is not None:
        args.tls.mkdir(parents=True, exist_ok=True)
    return LoopbackHub(
        [build_repo(args)],
        tls=Authority.create(args.tls) if args.tls is not None else False,
        tokens={args.token: "tester"},
        style=args.style,
        rate_bytes_per_s=args.rate,
        latency_s=args.latency / 1000,
        max_connections=args.max_connections,
        page_size=args.page_size,
        has_xet=args.xet,
        port=args.port,
        cdn_port=args.cdn_port,
    )


def catch_end_signals() -> int:
    """Turn SIGTERM and SIGINT into a byte to be read from the descriptor returned."""
    wake, waker = os.pipe()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        os.write(waker, b"x")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return wake


def wait_for_end(wake: int, *, with_stdin: bool) -> None:
    """Wait for a byte from ``wake`` or, if wanted, the end of standard input."""
    watched = [wake, sys.stdin.fileno()] if with_stdin else [wake]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if wake in ready or not os.read(sys.stdin.fileno(), 4096):
            return


def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    if args.control_fd is not None:
        serve_control(args.control_fd)
        return
    wake = catch_end_signals()
    with build_hub(args) as hub:
        for fault in args.fault:
            hub.add_fault(fault)
        print(hub.url, flush=True)
        wait_for_end(wake, with_stdin=args.stdin_lifetime)


if __name__ == "__main__":
    main()
