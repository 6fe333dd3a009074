"""An endpoint that speaks WebSocket, and its client, both of `websockets`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.lbd import Lbd
from harness.shared_tls import shared
from harness.waiting import TIMEOUT
from tls.speaking import Served, World
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve


class Endpoint:
    """An echo server that keeps what it saw."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.extensions: list[list[str]] = []
        self.closed: list[int | None] = []
        self.server: Server = serve(self.handle, "127.0.0.1", 0, process_request=self.look, max_size=None,
                                    ping_interval=None, close_timeout=TIMEOUT)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __str__(self) -> str:
        return f"127.0.0.1:{self.server.socket.getsockname()[1]}"

    def look(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return connection.respond(403, "not you\n") if request.path == "/no" else None

    def handle(self, connection: ServerConnection) -> None:
        self.extensions.append([extension.name for extension in connection.protocol.extensions])
        try:
            for message in connection:
                if message == "bye":
                    connection.close(4001, "as you wish")
                    break
                connection.send(message)
        except ConnectionClosed:
            pass
        self.closed.append(connection.close_code)

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join(TIMEOUT)


@contextmanager
def websocket(lbd: Lbd | Served, world: World, listener: str = "web", path: str = "/echo",
              **options: object) -> Iterator[ClientConnection]:
    secure = listener == "secure"
    context = shared(world.client_context()) if secure else None
    with socket.create_connection(lbd.address(listener), TIMEOUT) as sock, connect(
        f"{'wss' if secure else 'ws'}://a.test{path}", sock=sock, ssl=context, max_size=None,
        server_hostname="a.test" if secure else None, open_timeout=TIMEOUT, close_timeout=TIMEOUT,
        ping_interval=None, **options,  # type: ignore[arg-type]
    ) as client:
        yield client
