"""A server that is stopped and started at the same address, and clients that keep it busy meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from harness.waiting import TIMEOUT


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = self.server.said  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: stderr belongs to pytest."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, said: bytes) -> None:
        self.said = said
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut in the middle shows at its client."""


class Restarting:
    """An origin with generations: each answers with its own text."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self.server = _Server(0, self.said)
        self.port: int = self.server.server_port

    @property
    def said(self) -> bytes:
        return f"{self.name}{self.generation}".encode()

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _serve(self) -> None:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def _stop(self) -> None:
        """As kill -9 does: nothing that is open is finished."""
        self.server.shutdown()
        self.thread.join(TIMEOUT)
        self.server.server_close()
        for sock in list(self.server.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def restart(self) -> None:
        self._stop()
        self.generation += 1
        self.server = _Server(self.port, self.said)
        self._serve()


class Load:
    """Clients that send POST requests, which nobody may repeat, one by one until they are stopped."""

    def __init__(self, address: tuple[str, int], clients: int) -> None:
        self.address = address
        self.stopping = threading.Event()
        self.answers: Counter[bytes] = Counter()
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(4 * TIMEOUT)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=4 * TIMEOUT)
        try:
            while not self.stopping.is_set():
                connection.request("POST", "/", b"x" * 100)
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    self.answers[body] += 1
                else:
                    self.failures.append(f"{response.status} {body!r}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
        finally:
            connection.close()
