"""One listening port with a thread for each connection."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.hub.access import Refusal
from tests.hub.alter import alter_response
from tests.hub.delivery import Delivery
from tests.hub.faults import FaultKind, FaultTable, Role, Subject
from tests.hub.log import OpenEntry, RequestLog
from tests.hub.responses import Response, error_response
from tests.hub.wire import Connection, Disconnect, Pacer, Request

BACKLOG = 512
SEND_BUFFER_BYTES = 1 << 18
"""Small, so that what a client never read is not counted as sent; larger is no faster."""
JOIN_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """What the way to a port is like. The rate holds for each connection, the latency for each
    request; ``max_connections`` is a cap beyond which requests get ``over_limit_status``."""

    rate_bytes_per_s: float | None = None
    latency_s: float = 0.0
    max_connections: int | None = None
    over_limit_status: int = 503


class Server:
    """Accepts connections at one port of 127.0.0.1 and answers with ``respond``."""

    def __init__(
        self,
        role: Role,
        respond: Callable[[Request], Response],
        log: RequestLog,
        faults: FaultTable,
        *,
        line: Line,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.role: Role = role
        self.line = line
        self._respond = respond
        self._log = log
        self._faults = faults
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._stopping = threading.Event()
        self._listening = threading.Event()
        self._listener = bind_listener(port)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(
            target=self._accept_all, name=f"hub-{role}-accept", daemon=True
        )

    def start(self) -> None:
        self.revive()
        self._acceptor.start()

    def refuse(self) -> None:
        """Be dead: end all connections, and let the system refuse new ones; the port is kept."""
        if self._listening.is_set():
            self._listening.clear()
            # Once only: connections to a socket that was shut while closed are born shut.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
        self._end_connections()

    def revive(self) -> None:
        """Accept connections (again)."""
        if not self._listening.is_set():
            self._listener.listen(BACKLOG)
            self._listening.set()

    def close(self) -> None:
        """End everything and wait for the threads."""
        self._stopping.set()
        self.refuse()
        self._listening.set()
        self._acceptor.join(JOIN_TIMEOUT_S)
        self._end_connections()
        with self._lock:
            threads = list(self._connections.values())
        for thread in threads:
            thread.join(JOIN_TIMEOUT_S)
        self._listener.close()

    def _end_connections(self) -> None:
        with self._lock:
            for sock in self._connections:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which would take the TLS object away from the thread
                    # that is using it.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _accept_all(self) -> None:
        while not self._stopping.is_set():
            self._listening.wait()
            try:
                sock, peer = self._listener.accept()
            except OSError:  # refuse() has shut the listener
                continue
            if self._stopping.is_set() or self._faults.claim_dead(self.role):
                abort(sock)
                continue
            self._start_connection(sock, peer[1])

    def _start_connection(self, sock: socket.socket, peer_port: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        open_now = self._log.connection_opened(self.role)
        cap = self.line.max_connections
        thread = threading.Thread(
            target=self._run_connection,
            args=(sock, peer_port, cap is not None and open_now > cap),
            name=f"hub-{self.role}-{peer_port}",
            daemon=True,
        )
        with self._lock:
            self._connections[sock] = thread
        thread.start()

    def _run_connection(self, sock: socket.socket, peer_port: int, is_over_cap: bool) -> None:
        wrapped = sock
        try:
            if self._tls is not None:
                wrapped = self._tls.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                )
                with self._lock:
                    self._connections[wrapped] = self._connections.pop(sock)
                if self._stopping.is_set():
                    return
                wrapped.do_handshake()
            self._serve(wrapped, peer_port, is_over_cap)
        except (Disconnect, OSError):  # OSError: a handshake that failed
            pass
        finally:
            self._log.connection_closed(self.role)
            with self._lock:
                self._connections.pop(sock, None)
                self._connections.pop(wrapped, None)
            wrapped.close()
            sock.close()

    def _serve(self, sock: socket.socket, peer_port: int, is_over_cap: bool) -> None:
        connection = Connection(sock, Pacer(self.line.rate_bytes_per_s, self._stopping))
        while not self._stopping.is_set():
            request = connection.read_request()
            if request is None:
                return
            entry = self._log.begin(
                self.role, request.method, request.target, request.headers, peer_port
            )
            with entry.timed():
                connection.pacer.wait(self.line.latency_s)
                if is_over_cap:
                    refusal = error_response(self.line.over_limit_status, "Too many connections")
                    refusal.headers += [("Connection", "close"), ("Retry-After", "1")]
                    Delivery(connection, refusal, entry, self._faults).send(request, [], None)
                self._exchange(connection, request, entry)

    def _exchange(self, connection: Connection, request: Request, entry: OpenEntry) -> None:
        try:
            response = self._respond(request)
        except Refusal as refusal:
            response = refusal.response
        subject = self._subject(request, response)
        entry.path, entry.repo_id = subject.path, subject.repo_id
        claimed = self._faults.claim_head(subject)
        entry.faults += [fault.kind for fault in claimed]
        for fault in claimed:
            if fault.kind is FaultKind.NO_REPLY:
                raise Disconnect
            if fault.kind is FaultKind.DELAY:
                connection.pacer.wait(fault.delay_s)
        slow_head = next((f for f in claimed if f.kind is FaultKind.SLOW_HEAD), None)
        response = alter_response(response, request, claimed)
        strikes = self._faults.body_strikes(subject)
        Delivery(connection, response, entry, self._faults).send(request, strikes, slow_head)
        if any(fault.kind is FaultKind.CLOSE_AFTER for fault in claimed):
            raise Disconnect

    def _subject(self, request: Request, response: Response) -> Subject:
        part = response.part
        if part is None:
            return Subject(self.role, request.method, request.path, response.status)
        return Subject(
            self.role,
            request.method,
            request.path,
            response.status,
            part.repo_id,
            part.path,
            part.size_bytes,
            part.start,
            part.stop,
        )


def bind_listener(port: int) -> socket.socket:
    """Bind a port of 127.0.0.1 without listening yet.

    A free port is looked up first and then bound by number: only a port that was asked for by
    number is kept by the system while ``refuse`` has the listener shut.
    """
    if port == 0:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def abort(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
