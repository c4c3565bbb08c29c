"""Where ``qtool serve`` listens: loopback, unless another address is named."""

import errno
import ipaddress
import socket
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from qtool.engines.base import Endpoint
from qtool.errors import UsageError
from qtool.language.message import say

EVERYWHERE = "0.0.0.0"  # noqa: S104 - only where the user names it

HINT = say("--host 127.0.0.1: this machine alone; --host 0.0.0.0: whoever reaches it")

ELSEWHERE = ("192.0.2.1", 9)
"""No machine has this address (RFC 5737); nothing is sent to it."""


@dataclass(frozen=True, slots=True)
class Place:
    """An IPv4 address of this machine and a port of it; port 0 is any that is free."""

    host: str
    port: int

    @property
    def is_exposed(self) -> bool:
        """Tell whether other machines may reach it."""
        return not ipaddress.ip_address(self.host).is_loopback

    def seen_from_outside(self, endpoint: Endpoint) -> Endpoint:
        """Return ``endpoint``, which listens here, by an address that others can use."""
        host = _own_address() if self.host == EVERYWHERE else self.host
        return replace(endpoint, url=f"http://{host}:{urlsplit(endpoint.url).port}")


def find_place(host: str, port: int) -> Place:
    """Return where to listen for ``host``, a name or an address, if nobody listens there.

    Raises:
        UsageError: somebody does, it may not be taken, or it is no IPv4 address of this machine.
    """
    try:
        address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    except (OSError, UnicodeError) as exc:
        raise UsageError(
            say("cannot listen on {host}: it is no IPv4 address", host=host), hint=HINT
        ) from exc
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:
                told = say("cannot listen on {host}: it is no address of this machine", host=host)
                raise UsageError(told, hint=HINT) from exc
            raise UsageError(
                say(
                    "cannot listen on port {port} of {host}: {why}",
                    port=port,
                    host=host,
                    why=exc.strerror,
                ),
                hint=say("--port 0 takes a free one"),
            ) from exc
    return Place(str(address[0]), port)


def _own_address() -> str:
    """Return the address of this machine that others see, loopback where there is no network."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
