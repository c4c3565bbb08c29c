"""An HTTP proxy on 127.0.0.1 for tests."""

import select
import socket
import socketserver
import threading
from types import TracebackType

from qtool.hub.origin import Origin


class HttpProxy(socketserver.ThreadingTCPServer):
    """A proxy that forwards plain requests and CONNECT tunnels, and notes the heads it was sent.

    It serves between ``with`` and its end; ``url`` holds user name and password.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heads: list[str] = []
        self.url = f"http://ada:p%40ss@127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "HttpProxy":
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


class _Handler(socketserver.StreamRequestHandler):
    server: HttpProxy

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        self.server.heads.append(head.decode())
        method, target, _ = head.decode().split("\r\n")[0].split(" ")
        if method == "CONNECT":
            host, port = target.split(":")
            upstream = socket.create_connection((host, int(port)))
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            origin = Origin.of(target)
            upstream = socket.create_connection((origin.host, origin.port))
            path = "/" + target.split("/", 3)[3]
            # One request a connection: the next one would come with a whole URL again.
            lines = head.replace(target.encode(), path.encode(), 1).split(b"\r\n")
            kept = [line for line in lines if not line.lower().startswith(b"connection:")]
            upstream.sendall(b"\r\n".join([*kept[:1], b"Connection: close", *kept[1:]]))
        with upstream:
            self._pump(upstream)

    def _pump(self, upstream: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([self.connection, upstream], [], [], 10)
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (upstream if source is self.connection else self.connection).sendall(data)
