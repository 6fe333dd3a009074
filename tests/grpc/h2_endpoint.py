"""An HTTP/2 endpoint by the `h2` package, scripted request by request.

`h2` holds what lbd sends against RFC 9113; what it refuses is kept in .malformed and must stay empty. The
script of an endpoint is a function that is called with each request once its head is there (`at="head"`)
or once it is complete (`at="end"`). It answers by the methods of the request's session."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from harness.client import Fields, text
from harness.origin import Connection, Origin

Codes = h2.settings.SettingCodes
Settings = dict[h2.settings.SettingCodes, int]
OK: Fields = [(":status", "200")]
GRPC_OK: Fields = [(":status", "200"), ("content-type", "application/grpc")]


@dataclass
class Request:
    """A request as the endpoint sees it, on its way or complete."""

    session: Session
    stream: int
    fields: Fields
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    complete: bool = False
    reset: int | None = None  # the code of lbd's RST_STREAM

    def one(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    # answering

    def answer(self, body: bytes = b"ok", *fields: tuple[str, str], status: int = 200,
               trailers: Fields | None = None) -> None:
        self.head([(":status", str(status)), *fields], end=not body and trailers is None)
        if body:
            self.data(body, end=trailers is None)
        if trailers is not None:
            self.head(trailers)

    def head(self, fields: Fields, end: bool | None = None) -> None:
        """A head, or trailers when there was one; `end` is by default that of trailers."""
        self.session.do(lambda http: http.send_headers(
            self.stream, fields, end_stream=not fields[0][0].startswith(":") if end is None else end))

    def data(self, body: bytes, end: bool = False) -> None:
        self.session.queue(self.stream, body, end)

    def cut(self, code: int = h2.errors.ErrorCodes.INTERNAL_ERROR) -> None:
        self.session.do(lambda http: http.reset_stream(self.stream, code))


class Session:
    """One connection: h2's state behind a lock, so that any thread may answer."""

    def __init__(self, endpoint: H2Origin, connection: Connection):
        self.endpoint, self.connection, self.index = endpoint, connection, connection.index
        self.lock = threading.RLock()
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.http = h2.connection.H2Connection(config)
        self.requests: dict[int, Request] = {}
        self.pending: dict[int, tuple[bytearray, bool]] = {}  # bodies that wait for a window
        self.goaway: int | None = None  # the code of lbd's
        self.last = 2**31 - 1  # what goodbye said
        self.pings = 0  # of lbd's
        self.peak = 0  # most streams open at a time
        self.lbd_settings: dict[int, int] = {}

    def do(self, act: Callable[[h2.connection.H2Connection], object]) -> None:
        """Send what `act` makes; a connection or stream that is over already is no news."""
        with self.lock:
            try:
                act(self.http)
            except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError) as error:
                self.endpoint.too_late.append(error)
            self.flush()

    def flush(self) -> None:
        with self.lock:
            if data := self.http.data_to_send():
                self.connection.send(data)

    def queue(self, stream: int, body: bytes, end: bool) -> None:
        with self.lock:
            self.pending.setdefault(stream, (bytearray(), False))[0].extend(body)
            self.pending[stream] = (self.pending[stream][0], end)
            self.drain()

    def drain(self) -> None:
        """Bodies as far as the windows allow."""
        for stream, (body, end) in list(self.pending.items()):
            self.do(lambda http, stream=stream, body=body, end=end: self._drain_one(stream, body, end))

    def _drain_one(self, stream: int, body: bytearray, end: bool) -> None:
        try:
            while True:
                window = self.http.local_flow_control_window(stream)
                size = min(len(body), window, self.http.max_outbound_frame_size)
                if body and size <= 0:
                    return
                self.http.send_data(stream, bytes(body[:size]), end_stream=end and size == len(body))
                del body[:size]
                if not body:
                    break
        except h2.exceptions.ProtocolError as error:
            self.endpoint.too_late.append(error)
        self.pending.pop(stream, None)

    def goodbye(self, last: int | None = None, code: int = 0) -> None:
        """GOAWAY that names `last`, or the last stream so far; those above it are ignored from now on.

        h2 would refuse to go on after its own, so the frame is made by hand."""
        with self.lock:
            self.flush()
            last = self.last = max(self.requests, default=0) if last is None else last
            payload = last.to_bytes(4, "big") + int(code).to_bytes(4, "big")
            self.connection.send(b"\0\0\x08\x07\0\0\0\0\0" + payload)

    # reading

    def run(self) -> None:
        with self.lock:
            self.http.initiate_connection()
            if self.endpoint.settings:  # in force once lbd has acknowledged them, RFC 9113 6.5.3
                self.http.update_settings(self.endpoint.settings)
            self.flush()
        while not self.connection.closed and (data := self.connection.recv()):
            with self.lock:
                try:
                    events = self.http.receive_data(data)
                except h2.exceptions.ProtocolError as error:
                    self.endpoint.malformed.append(f"{type(error).__name__}: {error}")
                    self.flush()
                    return
                for event in events:
                    self.take(event)
                self.flush()
                self.drain()

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.lbd_settings |= {code: change.new_value for code, change in event.changed_settings.items()}
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code or 0)
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.RequestReceived):
            if event.stream_id > self.last:
                return
            request = Request(self, event.stream_id, text(event.headers))
            self.requests[event.stream_id] = request
            self.peak = max(self.peak, self.http.open_inbound_streams)
            self.endpoint.requests.append(request)
            if self.endpoint.at == "head":
                self.endpoint.script(request)
        elif (request := self.requests.get(getattr(event, "stream_id", 0) or 0)) is not None:
            self._take_more(request, event)

    def _take_more(self, request: Request, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            request.body += event.data
            if event.flow_controlled_length and not self.endpoint.miserly:
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            request.trailers = text(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            request.reset = int(event.error_code)
        elif isinstance(event, h2.events.StreamEnded):
            request.complete = True
            if self.endpoint.at == "end":
                self.endpoint.script(request)


Script = Callable[[Request], object]


class H2Origin(Origin):
    """with H2Origin(lambda request: request.answer(b"hello")) as origin: ...

    miserly: never open a window again after what the settings give."""

    def __init__(self, script: Script = lambda request: request.answer(), at: Literal["head", "end"] = "end",
                 settings: Settings | None = None, miserly: bool = False):
        super().__init__([self._serve])
        self.script, self.at, self.settings, self.miserly = script, at, settings or {}, miserly
        self.requests: list[Request] = []
        self.sessions: list[Session] = []
        self.malformed: list[str] = []
        self.too_late: list[Exception] = []  # answers to streams that lbd had ended: normal in tests of cuts

    def _serve(self, connection: Connection) -> None:
        session = Session(self, connection)
        self.sessions.append(session)
        session.run()

    def hang_up(self) -> None:
        """End every connection; their own threads close them, so that no descriptor is reused early."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    @property
    def complete(self) -> list[Request]:
        return [request for request in list(self.requests) if request.complete]

    def bodies(self) -> list[bytes]:
        return [bytes(request.body) for request in self.complete]
