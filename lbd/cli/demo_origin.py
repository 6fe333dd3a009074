"""The servers of `lbd demo`: HTTP/1.1 over asyncio and h11, in a thread with a loop of its own.

Each answers with its name, the path and the forwarding fields that it saw. /slow waits, /stream answers
in chunks, /echo returns the request body (up to MAX_ECHO). The thread is stopped, and its connections
closed, when the `with` block ends; it never outlives the demo.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import h11

SLOW = 2.0  # seconds
CHUNKS = 5
CHUNK_PAUSE = 0.2  # seconds
MAX_ECHO = 2**20  # bytes
SHOWN_FIELDS = (b"host", b"forwarded", b"via", b"x-request-id")


class DemoOrigin(asyncio.Protocol):
    """One connection to one origin; h11 keeps the rules, `on_head` to `finish` the answer."""

    def __init__(self, name: str, connections: set[DemoOrigin]) -> None:
        self.name = name
        self.connections = connections
        self.h11 = h11.Connection(h11.SERVER)
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.request: h11.Request | None = None
        self.body = bytearray()
        self.too_large = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.h11.receive_data(data)
        self.read_events()

    def eof_received(self) -> bool:
        return False

    def read_events(self) -> None:
        try:
            while True:
                event = self.h11.next_event()
                if isinstance(event, h11.Request):
                    self.on_head(event)
                elif isinstance(event, h11.Data):
                    self.on_body(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self.respond()
                else:  # more bytes are needed, or the answer has to be finished first, or the client is gone
                    return
        except h11.RemoteProtocolError:
            self.close()

    def on_head(self, request: h11.Request) -> None:
        self.request = request
        self.body.clear()
        self.too_large = False
        if self.h11.they_are_waiting_for_100_continue:
            self.send(h11.InformationalResponse(status_code=100, headers=[]))

    def on_body(self, data: bytes) -> None:
        if len(self.body) + len(data) > MAX_ECHO:
            self.too_large = True
        else:
            self.body += data

    def respond(self) -> None:
        assert self.request is not None
        path = self.request.target.partition(b"?")[0]
        if path == b"/slow":
            self.later(SLOW, lambda: self.answer(200, self.description()))
        elif path == b"/stream":
            self.send_head(200, [("transfer-encoding", "chunked")])
            self.stream(1)
        elif path == b"/echo" and self.too_large:
            self.answer(413, b"more than 1 MiB\n")
        elif path == b"/echo":
            self.answer(200, bytes(self.body))
        else:
            self.answer(200, self.description())

    def description(self) -> bytes:
        assert self.request is not None
        lines = [
            f"I am {self.name}.",
            f"{self.request.method.decode()} {self.request.target.decode('latin-1')}",
        ]
        for field, value in self.request.headers:
            if field in SHOWN_FIELDS or field.startswith(b"x-forwarded-"):
                lines.append(f"{field.decode()}: {value.decode('latin-1')}")
        return "\n".join([*lines, ""]).encode()

    def stream(self, number: int) -> None:
        if number > CHUNKS:
            self.finish()
            return
        self.send(h11.Data(data=f"chunk {number} of {CHUNKS} from {self.name}\n".encode()))
        self.later(CHUNK_PAUSE, lambda: self.stream(number + 1))

    def answer(self, status: int, body: bytes) -> None:
        self.send_head(status, [("content-length", str(len(body)))])
        self.send(h11.Data(data=body))
        self.finish()

    def send_head(self, status: int, framing: list[tuple[str, str]]) -> None:
        fields = [("content-type", "text/plain; charset=utf-8"), ("x-origin", self.name), *framing]
        self.send(h11.Response(status_code=status, headers=fields))

    def finish(self) -> None:
        self.send(h11.EndOfMessage())
        if self.h11.our_state is h11.MUST_CLOSE:
            self.close()
        elif self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
            # a pipelined request may be waiting; not from here, or a long pipeline would recurse
            asyncio.get_running_loop().call_soon(self.read_events)

    def later(self, delay: float, action: Callable[[], None]) -> None:
        self.timer = asyncio.get_running_loop().call_later(delay, action)

    def send(self, event: h11.Event) -> None:
        data = self.h11.send(event)
        if data and self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class DemoOrigins:
    """Some origins on ports that the kernel chooses, alive within a `with` block."""

    def __init__(self, names: Sequence[str]) -> None:
        self.addresses: dict[str, str] = dict.fromkeys(names, "")
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lbd-demo-origins", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[DemoOrigin] = set()
        servers = []
        for name in self.addresses:
            server = await self._loop.create_server(partial(DemoOrigin, name, connections), "127.0.0.1", 0)
            self.addresses[name] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            servers.append(server)
        self._ready.set()
        await self._stop.wait()
        # asyncio leaks the socket of a connection that is being accepted while its server is closed
        while being_accepted := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(being_accepted)
        for server in servers:
            server.close()
        for connection in [*connections]:
            if connection.transport is not None:
                connection.transport.abort()
        while connections:  # until each has been told that it is lost, which is when its socket is closed
            await asyncio.sleep(0)
