"""The admin listener: uvicorn's HTTP/1.1 protocol on the control plane's loop, before it the Gate.

Only the protocol is used, not uvicorn's server, which would install signal handlers and wake the loop ten
times a second. What it leaves open is closed here: whole requests have a deadline, connections are counted,
a client's end of stream does not cut its answer, and what it logs goes to lbd's log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import h11
from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from lbd.admin.api import build_api
from lbd.admin.gate import Gate
from lbd.admin.pages import Pages
from lbd.admin.views import Administered
from lbd.config import schema
from lbd.observe.log import Log, trace_of

REQUEST_SECONDS = 30.0  # from one response to the end of the next: idle time, request and response
MOST_CONNECTIONS = 100
LONGEST_HEAD = 16384
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class AdminServer:
    """The admin listener of one lbd, wherever it is bound."""

    def __init__(self, setting: schema.Admin, worker: Administered) -> None:
        self._gate = Gate(setting, Pages(worker), build_api(worker, worker.log))
        _log_to(worker.log)
        self._settings = UvicornConfig(
            self._gate,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=int(REQUEST_SECONDS),
            h11_max_incomplete_event_size=LONGEST_HEAD,
        )
        self._settings.load()
        self._state = ServerState()
        self.server: asyncio.Server | None = None

    async def serve(self, setting: schema.Admin, listening: socket.socket | None = None) -> None:
        """As this setting says from now on. listening: another socket in place of the present one, which is
        owned from here on. Requests under way are answered."""
        self._gate.configure(setting)
        if listening is None:
            return
        before = self.server
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
        self.server = await create(lambda: AdminConnection(self._settings, self._state), sock=listening)
        if before is not None:
            before.close()

    def close(self) -> None:
        """Stop listening."""
        if self.server is not None:
            self.server.close()
            self.server = None


class AdminConnection(H11Protocol):
    """One client of the admin listener."""

    def __init__(self, settings: UvicornConfig, state: ServerState) -> None:
        super().__init__(settings, state, {})
        self.deadline: asyncio.TimerHandle | None = None
        self.has_ended = False  # the client's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"peer": peer_of(transport)}
        self._set_deadline()
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(TOO_MANY)
            transport.close()

    def _set_deadline(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """True keeps our side open: for the answer to a request that is complete."""
        self.has_ended = True
        return self._is_answering() and not self.cycle.more_body

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_response_complete(self) -> None:
        self._set_deadline()
        super().on_response_complete()  # may begin the next one
        if self.has_ended and not self._is_answering():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """The request broke HTTP's rules. Once an answer is on its way the connection just ends."""
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self.transport.close()


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Who asks, for the audit log: the address, or the user at the other end of a unix socket."""
    made: socket.socket = transport.get_extra_info("socket")
    if made.family == socket.AF_UNIX:
        size = struct.calcsize("3i")
        pid, uid, _ = struct.unpack("3i", made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return f"uid {uid} (pid {pid})"
    name = transport.get_extra_info("peername")
    return str(name[0]) if name else "unknown"


class _ToLog(logging.Handler):
    """uvicorn's records as lines of lbd's log: an exception is a defect, the rest is a client's."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.DEBUG)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if record.levelno < logging.ERROR:
            self.log.debug(f"admin: {text}")
            return
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError):  # what was asked last, when lbd ends
            self.log.debug("admin: lbd ended before an answer was complete")
            return
        where = trace_of(error) if error else text
        self.log.error(f"internal error of the admin listener: {where}")


def _log_to(log: Log) -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.handlers[:] = [_ToLog(log)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
