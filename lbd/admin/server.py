"""The admin listener: /metrics, /live, /ready, over h11 on the control plane's loop.

Read-only so far, GET and HEAD only. Requests must name an address or `localhost` as Host, so that a web
page cannot reach it by rebinding a DNS name (hazard 36).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import cast

import h11

from lbd.config import schema
from lbd.config.units import split_address
from lbd.observe.metrics import Exposition, Observed

IDLE_SECONDS = 30.0
Answer = tuple[int, str, bytes]


async def start_admin(config: schema.Config, worker: Observed, listening: socket.socket) -> asyncio.Server:
    """Serve on a listening socket, which is owned from here on."""
    pages = Pages(config, worker)
    return await asyncio.get_running_loop().create_server(lambda: AdminConnection(pages), sock=listening)


class Pages:
    """Path -> answer."""

    def __init__(self, config: schema.Config, worker: Observed) -> None:
        self.worker = worker
        self.exposition = Exposition(config, worker)

    def answer(self, path: str) -> Answer:
        if path == "/metrics":
            return 200, Exposition.content_type, self.exposition.text()
        if path == "/live":
            return 200, "text/plain; charset=utf-8", b"live\n"
        if path == "/ready":
            if self.worker.draining:
                return 503, "text/plain; charset=utf-8", b"draining\n"
            return 200, "text/plain; charset=utf-8", b"ready\n"
        return 404, "text/plain; charset=utf-8", b"not found; try /metrics, /live or /ready\n"


class AdminConnection(asyncio.Protocol):
    """One client of the admin listener."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16384)
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        self.transport = transport
        self._watch()

    def _watch(self) -> None:
        """Close after a while without a request."""
        assert self.transport is not None
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        try:
            self.connection.receive_data(data)
            while not self.transport.is_closing():
                event = self.connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.Request):
                    self._respond(event)
                elif isinstance(event, h11.EndOfMessage):
                    self._next()
                elif isinstance(event, h11.ConnectionClosed):
                    self.transport.close()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _respond(self, request: h11.Request) -> None:
        status, kind, body = self._answer(request)
        self._send(status, kind, body, request.method == b"HEAD")

    def _answer(self, request: h11.Request) -> Answer:
        hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
        if not hosts or not is_address(hosts[0]):
            return (
                403,
                "text/plain; charset=utf-8",
                b"the Host of an admin request must be an IP address or localhost\n",
            )
        if request.method not in (b"GET", b"HEAD"):
            return 405, "text/plain; charset=utf-8", b"only GET and HEAD\n"
        return self.pages.answer(request.target.decode("latin-1").partition("?")[0])

    def _send(self, status: int, kind: str, body: bytes, is_head: bool) -> None:
        assert self.transport is not None
        fields = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        if status == 405:
            fields.append(("Allow", "GET, HEAD"))
        out = self.connection.send(h11.Response(status_code=status, headers=fields)) or b""
        if not is_head:
            out += self.connection.send(h11.Data(data=body)) or b""
        out += self.connection.send(h11.EndOfMessage()) or b""
        self.transport.write(out)

    def _next(self) -> None:
        assert self.transport is not None
        if self.connection.our_state is h11.MUST_CLOSE:
            self.transport.close()
        elif self.connection.our_state is h11.DONE:
            self.connection.start_next_cycle()
            self._watch()

    def _refuse(self, status: int) -> None:
        assert self.transport is not None
        if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(status, "text/plain; charset=utf-8", b"bad request\n", False)
        self.transport.close()


def is_address(host: str) -> bool:
    """Is a Host value an IP literal or localhost, with or without a port?"""
    name = host if host.endswith("]") or ":" not in host else split_or_none(host)
    if name is None:
        return False
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name.lower() == "localhost"
    return True


def split_or_none(host: str) -> str | None:
    """The name of host:port, or None when that is malformed."""
    try:
        return split_address(host)[0]
    except ValueError:
        return None
