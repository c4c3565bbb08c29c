"""A SOCKS5 proxy on 127.0.0.1 (RFC 1928 CONNECT, RFC 1929 passwords) for tests."""

import contextlib
import select
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType

NO_PASSWORD, PASSWORD, NO_METHOD = 0, 2, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4


@dataclass
class Behaviour:
    """What the proxy asks for and answers. ``names`` are those it resolves, others go unchanged."""

    credentials: tuple[str, str] | None = None
    names: dict[str, str] = field(default_factory=dict)
    reply: int = 0
    is_silent: bool = False


class SocksProxy(socketserver.ThreadingTCPServer):
    """Serves between ``with`` and its end; ``asked`` holds (kind of address, host, port)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour or Behaviour()
        self.asked: list[tuple[int, str, int]] = []
        self.bytes_passed = 0
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "SocksProxy":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(socketserver.BaseRequestHandler):
    server: SocksProxy

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, EOFError):
            self._serve()

    def _serve(self) -> None:
        behaviour = self.server.behaviour
        if behaviour.is_silent:
            while self.request.recv(4096):
                pass
            return
        if not self._authenticate(behaviour):
            return
        host, port = self._read_target()
        if behaviour.reply:
            self._answer(behaviour.reply)
            return
        with socket.create_connection((behaviour.names.get(host, host), port)) as upstream:
            self._answer(0)
            self._pump(upstream)

    def _authenticate(self, behaviour: Behaviour) -> bool:
        _, n_methods = self._read(2)
        methods = self._read(n_methods)
        method = NO_PASSWORD if behaviour.credentials is None else PASSWORD
        if method not in methods:
            self.request.sendall(bytes([5, NO_METHOD]))
            return False
        self.request.sendall(bytes([5, method]))
        if behaviour.credentials is None:
            return True
        _, length = self._read(2)
        username = self._read(length).decode()
        password = self._read(self._read(1)[0]).decode()
        is_right = (username, password) == behaviour.credentials
        self.request.sendall(bytes([1, 0 if is_right else 1]))
        return is_right

    def _read_target(self) -> tuple[str, int]:
        kind = self._read(4)[3]
        if kind == NAME:
            host = self._read(self._read(1)[0]).decode()
        elif kind == IPV4:
            host = socket.inet_ntop(socket.AF_INET, self._read(4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, self._read(16))
        (port,) = struct.unpack("!H", self._read(2))
        self.server.asked.append((kind, host, port))
        return host, port

    def _answer(self, code: int) -> None:
        self.request.sendall(bytes([5, code, 0, IPV4, 0, 0, 0, 0, 0, 0]))

    def _pump(self, upstream: socket.socket) -> None:
        other = {self.request: upstream, upstream: self.request}
        while True:
            ready, _, _ = select.select(list(other), [], [], 10)
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                other[source].sendall(data)
                self.server.bytes_passed += len(data)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.request.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data
