"""A WebSocket on an HTTP/2 stream (RFC 8441): `h2` carries it, the frames are those of `websockets`."""

from __future__ import annotations

import socket
import ssl
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.settings
from harness.client import Client
from harness.waiting import TIMEOUT
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import OPEN, Protocol, Side


class Http2Connection:
    """An h2 connection on a socket; events are sorted by stream."""

    def __init__(self, sock: socket.socket | ssl.SSLSocket):
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.events: dict[int, list[h2.events.Event]] = {}
        self.flush()
        while h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL not in self.h2.remote_settings:
            self.step()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def step(self) -> None:
        """Read once and sort what came."""
        data = self.sock.recv(65536)
        assert data, "lbd ended the connection"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.setdefault(getattr(event, "stream_id", None) or 0, []).append(event)
        self.flush()

    def wait(self, stream: int, kind: type[h2.events.Event]) -> h2.events.Event:
        """The next event of that kind on the stream; those before it are dropped."""
        while True:
            waiting = self.events.setdefault(stream, [])
            while waiting:
                event = waiting.pop(0)
                if isinstance(event, kind):
                    return event
            self.step()

    def request(self, *fields: tuple[str, str], end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def response(self, stream: int) -> dict[str, str]:
        event = self.wait(stream, h2.events.ResponseReceived)
        return {text(name): text(value) for name, value in event.headers}  # type: ignore[attr-defined]

    def connect(self, path: str = "/echo", *fields: tuple[str, str], protocol: str = "websocket") -> int:
        """Extended CONNECT; the stream."""
        return self.request(
            (":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"), (":path", path),
            (":authority", "a.test"), ("sec-websocket-version", "13"), *fields, end=False)


class StreamSocket:
    """The client's end of a WebSocket that has been accepted on a stream."""

    def __init__(self, connection: Http2Connection, stream: int, deflate: bool = False):
        self.connection, self.stream = connection, stream
        self.protocol = Protocol(Side.CLIENT, state=OPEN, max_size=None)
        if deflate:
            self.protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]

    def flush(self) -> None:
        http2 = self.connection.h2
        for data in self.protocol.data_to_send():
            while data:
                room = min(http2.local_flow_control_window(self.stream), http2.max_outbound_frame_size)
                if not room:
                    self.connection.step()
                    continue
                http2.send_data(self.stream, data[:room])
                self.connection.flush()
                data = data[room:]

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        self.flush()

    def receive(self) -> Frame:
        """The next frame, ping answered or not as it is."""
        while not (frames := self.protocol.events_received()):
            event = self.connection.wait(self.stream, h2.events.DataReceived)
            self.protocol.receive_data(event.data)  # type: ignore[attr-defined]
        assert isinstance(frames[0], Frame)
        assert len(frames) == 1, frames
        return frames[0]


def text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def connect_tcp(address: tuple[str, int]) -> socket.socket:
    return Client(address).sock
