"""A raw HTTP/2 client: it sends exactly the bytes given and judges what comes back itself.

What the server sends is held against RFC 9113: SETTINGS first, frame sizes and stream numbers, no frame
after the end of a stream, our flow-control windows, header blocks decodable in order (by `hpack`). Every
call is bounded by TIMEOUT. The end of the connection is told apart: "fin" or "reset"."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import hpack
from harness.client import Client, Fields
from http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAGIC,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    Frame,
    frame,
    headers,
    ping,
    request,
    settings,
)

OUR_MAX_FRAME = 16384  # what we announce by silence, RFC 9113 6.5.2
DEFAULT_WINDOW = 65535


@dataclass
class Answer:
    """What came on one stream."""

    status: int = 0
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    informational: list[tuple[int, Fields]] = field(default_factory=list)
    complete: bool = False  # END_STREAM came
    reset: int | None = None  # code of the RST_STREAM that came

    @property
    def over(self) -> bool:
        return self.complete or self.reset is not None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def json(self) -> Any:
        return json.loads(self.body)


class H2Client(Client):
    """`start` does the connection preface; without it the test speaks from the first byte."""

    def __init__(self, address: tuple[str, int], receive_buffer: int | None = None):
        super().__init__(address, receive_buffer)
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.answers: dict[int, Answer] = {}
        self.server_settings: dict[int, int] = {}
        self.frames: list[Frame] = []
        self.goaway: tuple[int, int] | None = None  # the last one: (last stream, code)
        self.settings_acks = 0
        self.pings: list[bytes] = []  # payloads of PING acks
        self.initial_window, self.window = DEFAULT_WINDOW, DEFAULT_WINDOW  # what the server may send us
        self.windows: dict[int, int] = {}
        self.granted = {0: DEFAULT_WINDOW}  # what we may send in all, by stream; 0 is the connection
        self.input = bytearray()

    # sending

    def start(self, *pairs: tuple[int, int]) -> Self:
        """Client preface with these settings; returns once the server's SETTINGS are acknowledged."""
        self.initial_window = dict(pairs).get(INITIAL_WINDOW_SIZE, self.initial_window)
        self.send(MAGIC + settings(*pairs))
        self.read_until_that(lambda: bool(self.frames), "the server's SETTINGS")
        self.send(SETTINGS_ACK)
        return self

    def send(self, data: bytes) -> Self:
        super().send(data)
        return self

    def get(self, stream: int, path: str = "/probe") -> Self:
        return self.send_quietly(headers(stream, request(path)))

    def send_quietly(self, data: bytes) -> Self:
        """Send; when the other side is gone already, reading will tell."""
        self.send_while_accepted(data)
        return self

    def grant(self, stream: int, increment: int) -> Self:
        """WINDOW_UPDATE, kept in the books."""
        if stream:
            self.windows[stream] = self.windows.get(stream, self.initial_window) + increment
        else:
            self.window += increment
        return self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment)))

    @property
    def server_max_frame(self) -> int:
        return self.server_settings.get(MAX_FRAME_SIZE, 16384)

    @property
    def server_stream_window(self) -> int:
        return self.server_settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)

    # reading

    def answer(self, stream: int) -> Answer:
        return self.answers.setdefault(stream, Answer())

    def read_answer(self, stream: int) -> Answer:
        """The answer once it is over: complete, reset or cut by the end of the connection."""
        self.read_until_that(
            lambda: self.answer(stream).over, f"an answer on stream {stream}", ended_too=True
        )
        return self.answer(stream)

    def ask(self, stream: int, path: str = "/probe") -> Answer:  # type: ignore[override]
        return self.get(stream, path).read_answer(stream)

    def settle(self) -> None:
        """Everything that the server sends in reaction to what it got so far is read: a PING round trip."""
        mark = b"settle%02d" % (len(self.pings) % 100)
        self.send_quietly(ping(mark))
        self.read_until_that(lambda: mark in self.pings, "the PING ack", ended_too=True)

    def read_to_end(self) -> None:
        """Read frames until the server ends the connection; TimeoutError when it does not."""
        self.read_until_that(lambda: False, "the end of the connection", ended_too=True)

    def read_until_that(self, condition: Callable[[], object], what: str, ended_too: bool = False) -> None:
        while not condition():
            if self.end:
                assert ended_too, f"connection ended ({self.end}) before {what}; frames: {self.frames[-8:]}"
                return
            try:
                got = self.read_frame()
            except TimeoutError:
                raise TimeoutError(f"waited for {what}; frames so far: {self.frames[-8:]}") from None
            if got is not None:
                self._judge(got)

    def read_frame(self) -> Frame | None:
        """The next frame, unjudged; None at the end of the connection."""
        if not self._fill(9):
            return None
        size = int.from_bytes(self.input[:3], "big")
        assert size <= OUR_MAX_FRAME, f"a frame of {size} octets, we allow {OUR_MAX_FRAME}"
        type, flags, stream = struct.unpack("!BBI", self.input[3:9])
        if not self._fill(9 + size):
            return None
        payload = bytes(self.input[9 : 9 + size])
        del self.input[: 9 + size]
        return Frame(type, flags, stream & 0x7FFFFFFF, payload)

    def _fill(self, size: int) -> bool:
        while len(self.input) < size:
            piece = self.recv()
            if not piece:
                return False
            self.input += piece
        return True

    # judging what came

    def _judge(self, got: Frame) -> None:
        if not self.frames:
            assert got.type == SETTINGS and not got.flags & ACK, f"the server's first frame is {got}"
        self.frames.append(got)
        if got.type in (DATA, HEADERS, RST_STREAM, PRIORITY, CONTINUATION):
            assert got.stream % 2 == 1, f"no stream of ours: {got}"
        elif got.type in (SETTINGS, PING, GOAWAY):
            assert got.stream == 0, f"not on the connection: {got}"
        take = self.TAKE.get(got.type)
        if take is not None:
            take(self, got)

    def _take_settings(self, got: Frame) -> None:
        if got.flags & ACK:
            assert got.payload == b""
            self.settings_acks += 1
            return
        assert len(got.payload) % 6 == 0
        self.server_settings.update(struct.iter_unpack("!HI", got.payload))

    def _take_ping(self, got: Frame) -> None:
        assert len(got.payload) == 8
        if got.flags & ACK:
            self.pings.append(got.payload)

    def _take_goaway(self, got: Frame) -> None:
        last, code = struct.unpack("!II", got.payload[:8])
        self.goaway = (last & 0x7FFFFFFF, code)

    def _take_window(self, got: Frame) -> None:
        increment = struct.unpack("!I", got.payload)[0]
        assert 0 < increment < 2**31, got
        self.granted[got.stream] = self.granted.get(got.stream, self.server_stream_window) + increment

    def _take_reset(self, got: Frame) -> None:
        self.answer(got.stream).reset = struct.unpack("!I", got.payload)[0]

    def _take_data(self, got: Frame) -> None:
        answer = self._open_answer(got)
        assert answer.status >= 200, f"DATA before a final response: {got}"
        self.window -= len(got.payload)
        left = self.windows.get(got.stream, self.initial_window) - len(got.payload)
        self.windows[got.stream] = left
        assert not got.payload or (self.window >= 0 and left >= 0), f"window exceeded: {self.window}, {left}"
        answer.body += unpadded(got)
        answer.complete = bool(got.flags & END_STREAM)

    def _take_headers(self, got: Frame) -> None:
        answer = self._open_answer(got)
        fragment = unpadded(got)[5 if got.flags & PRIORITIZED else 0 :]
        flags = got.flags
        while not flags & END_HEADERS:
            more = self.read_frame()
            if more is None:
                return
            assert (more.type, more.stream) == (CONTINUATION, got.stream), more
            self.frames.append(more)
            fragment, flags = fragment + more.payload, flags | more.flags & END_HEADERS
        fields = [(text(name), text(value)) for name, value in self.decoder.decode(fragment, raw=True)]
        self._take_fields(answer, fields, bool(got.flags & END_STREAM))

    def _take_fields(self, answer: Answer, fields: Fields, end: bool) -> None:
        assert all(name == name.lower() for name, _ in fields), fields
        banned = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
        assert banned.isdisjoint(name for name, _ in fields), f"connection fields: {fields}"
        answer.complete = end
        if answer.status:
            assert end and not any(name.startswith(":") for name, _ in fields), f"trailers: {fields}"
            answer.trailers = fields
            return
        assert [name for name, _ in fields if name.startswith(":")] == [":status"], fields
        assert fields[0][0] == ":status", fields
        status = int(fields[0][1])
        if status < 200:
            assert status != 101 and not end, fields  # RFC 9113 8.6
            answer.informational.append((status, fields[1:]))
        else:
            answer.status, answer.fields = status, fields[1:]

    def _open_answer(self, got: Frame) -> Answer:
        answer = self.answer(got.stream)
        assert not answer.over, f"the stream was over already: {got}"
        return answer

    def _take_push(self, got: Frame) -> None:
        raise AssertionError(f"the server pushes: {got}")

    TAKE: ClassVar[dict[int, Callable[[H2Client, Frame], None]]] = {
        DATA: _take_data,
        HEADERS: _take_headers,
        RST_STREAM: _take_reset,
        SETTINGS: _take_settings,
        PUSH_PROMISE: _take_push,
        PING: _take_ping,
        GOAWAY: _take_goaway,
        WINDOW_UPDATE: _take_window,
    }


def text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def unpadded(got: Frame) -> bytes:
    if not got.flags & PADDED:
        return got.payload
    pad = got.payload[0]
    assert pad < len(got.payload), got
    return got.payload[1 : len(got.payload) - pad]
