"""A raw client: what it sends is exactly the bytes given; what it reads is judged by h11, not by lbd.

Every call is bounded by TIMEOUT. An end of the connection is told apart: "fin" or "reset"."""

from __future__ import annotations

import json
import select
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Self

import h11

from harness.waiting import TIMEOUT

Fields = list[tuple[str, str]]


@dataclass
class Response:
    status: int = 0
    version: str = ""
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    informational: list[tuple[int, Fields]] = field(default_factory=list)
    complete: bool = False
    end: str | None = None  # how the connection ended while this was read: None, "fin", "reset"

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason code of an error by lbd: '502 connect_failed (request 4bf9...)' -> connect_failed."""
        words = self.body.decode("latin-1").split()
        return words[1] if len(words) > 1 else ""


def text(pairs: Any) -> Fields:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs]


class Client:
    def __init__(self, address: tuple[str, int], receive_buffer: int | None = None,
                 source: str | None = None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(TIMEOUT)
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.end: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # sending

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def send_pieces(self, data: bytes, size: int = 1) -> Client:
        """One send(2) per piece, Nagle off."""
        for start in range(0, len(data), size):
            self.sock.sendall(data[start : start + size])
        return self

    def send_while_accepted(self, data: bytes) -> bool:
        """Send all; False when the other side closed or did not take it within the deadline."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    # reading

    def recv(self) -> bytes:
        """The next bytes; b"" at the end, with .end telling which end it was."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            self.end = "reset"
            return b""
        if not data:
            self.end = self.end or "fin"
        return data

    def read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.recv()
            assert piece, f"connection ended ({self.end}) after {len(data)} of {size} bytes: {data[-200:]!r}"
            data += piece
        data, self.buffer = data[:size], data[size:]
        return data

    def read_until(self, marker: bytes) -> bytes:
        data = b""
        while marker not in data:
            piece = self.recv()
            assert piece, f"connection ended ({self.end}) before {marker!r}: {data[-200:]!r}"
            data += piece
        cut = data.index(marker) + len(marker)
        data, self.buffer = data[:cut], data[cut:]
        return data

    def read_until_close(self) -> bytes:
        """All that comes before the end; TimeoutError when it does not end."""
        pieces = []
        while piece := self.recv():
            pieces.append(piece)
        return b"".join(pieces)

    def read_response(self, method: str = "GET") -> Response:
        """One final response (1xx before it are in .informational). A cut one has complete=False."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "h"), ("Upgrade", "any")]))
        parser.send(h11.EndOfMessage())
        response = Response()
        body: list[bytes] = []
        while not self._take(parser, response, body):
            data = self.recv()
            try:
                parser.receive_data(data)
            except h11.RemoteProtocolError:
                break
            if not data and self.end == "reset":
                break
        response.body, response.end = b"".join(body), self.end
        self.buffer = parser.trailing_data[0] + self.buffer
        return response

    def _take(self, parser: h11.Connection, response: Response, body: list[bytes]) -> bool:
        """Move h11 events into the response; True when it is over (complete, cut or switched)."""
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                assert self.end, f"lbd sent invalid HTTP: {error}: {parser.trailing_data[0][:300]!r}"
                return True
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                response.informational.append((event.status_code, text(event.headers)))
            elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                response.status, response.fields = event.status_code, text(event.headers)
                response.version = event.http_version.decode()
                if event.status_code == 101:
                    response.complete = True
                    return True
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                response.trailers, response.complete = text(event.headers), True
                return True
            else:
                return True

    def ask(self, data: bytes, method: str | None = None) -> Response:
        """Send and read one response; the method is the first word sent."""
        self.send(data)
        return self.read_response(method or data.split(b" ", 1)[0].decode("latin-1"))

    def has_input(self) -> bool:
        """Is anything readable: bytes or an end? Takes nothing."""
        return bool(self.buffer) or bool(select.select([self.sock], [], [], 0)[0])

    def is_open(self) -> bool:
        """Neither bytes nor an end: an idle connection."""
        return not self.has_input()
