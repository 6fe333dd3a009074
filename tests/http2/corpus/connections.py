"""Frames that concern the connection: preface, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, sizes, what is unknown.

RFC 9113 3.4, 4.1, 4.2, 5.5, 6.4 to 6.9, 8.4; RFC 8441 3; RFC 9218 2.1."""

from __future__ import annotations

from http2.corpus import (
    DROPPED,
    IGNORED,
    SERVED,
    Expect,
    Row,
    Step,
    answered,
    connection,
    raw,
    row,
    status,
    stream,
)
from http2.frames import (
    ACK,
    ALTSVC,
    CONTINUATION,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAGIC,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    NO_RFC7540_PRIORITIES,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    data,
    frame,
    goaway,
    headers,
    ping,
    request,
    settings,
    window_update,
)
from http2.wire import H2Client

GET = headers(1, request("/setup"))
BAD = headers(1, request("/bad"))
OPEN = headers(1, request("/setup", method="POST"), end=False)
END = data(1)
PROTOCOL, SIZE, FLOW = (
    connection(PROTOCOL_ERROR),
    connection(FRAME_SIZE_ERROR),
    connection(FLOW_CONTROL_ERROR),
)


def octets(whole: bytes) -> Step:
    """One send(2) per octet, Nagle off."""

    def step(client: H2Client) -> None:
        client.send_pieces(whole)

    return step


PREFACE: list[Row] = [
    raw("in-one-segment", "3.4", SERVED, MAGIC + settings() + GET),
    raw("octet-by-octet", "3.4", SERVED, octets(MAGIC + settings() + GET)),
    raw("in-two", "3.4", SERVED, MAGIC[:18], MAGIC[18:], settings() + GET),
    raw("wrong-end", "3.4", DROPPED, MAGIC[:18] + b"XX\r\n\r\n" + settings() + BAD),
    raw("wrong-last-octet", "3.4", DROPPED, MAGIC[:-1] + b"\r" + settings() + BAD),
    raw("lower-case", "3.4", DROPPED, MAGIC.lower() + settings() + BAD),
    raw("http-3", "3.4", DROPPED, MAGIC.replace(b"2.0", b"3.0") + settings() + BAD),
    raw("line-feeds", "3.4", DROPPED, MAGIC.replace(b"\r", b"") + settings() + BAD),
    raw("twice", "3.4", DROPPED, MAGIC + MAGIC + settings() + BAD),
    raw("none", "3.4", DROPPED, settings() + BAD),
    raw("request-first", "3.4", PROTOCOL | DROPPED, MAGIC + BAD + settings()),
    raw("ping-first", "3.4", PROTOCOL | DROPPED, MAGIC + ping() + settings() + BAD),
    raw("window-update-first", "3.4", PROTOCOL | DROPPED, MAGIC + window_update(0, 1) + settings() + BAD),
    raw("unknown-frame-first", "3.4", PROTOCOL | DROPPED, MAGIC + frame(0x77, 0, 0) + settings() + BAD),
    raw("ack-first", "3.4", PROTOCOL | DROPPED, MAGIC + settings(flags=ACK) + settings() + BAD),
    raw("http1-after-magic", "3.4", DROPPED, MAGIC + b"GET /bad HTTP/1.1\r\nHost: example.test\r\n\r\n"),
    raw("first-settings-bad", "6.5.2", PROTOCOL | DROPPED, MAGIC + settings((ENABLE_PUSH, 2)) + BAD),
]


def value(id: str, expect: Expect, *pairs: tuple[int, int], after: bytes = BAD) -> Row:
    return row(id, "6.5.2", expect, settings(*pairs) + after)


LENIENT = SERVED | PROTOCOL  # the RFC names no error, or only for those who know the setting
SETTINGS_ROWS: list[Row] = [
    value("empty", SERVED, after=GET),
    value("unknown", SERVED, (0xFFFF, MAX_WINDOW), (0x0A0A, 0), (0, 1), after=GET),
    value("repeated-last-counts", SERVED, (INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 65535), after=GET),
    value("header-table-0", SERVED, (HEADER_TABLE_SIZE, 0), after=GET),
    value("header-table-huge", SERVED, (HEADER_TABLE_SIZE, 2**32 - 1), after=GET),
    value("window-largest", SERVED, (INITIAL_WINDOW_SIZE, MAX_WINDOW), after=GET),
    value("frame-size-largest", SERVED, (MAX_FRAME_SIZE, 2**24 - 1), after=GET),
    value("push-0", SERVED, (ENABLE_PUSH, 0), after=GET),
    value("push-1", SERVED, (ENABLE_PUSH, 1), after=GET),
    value("push-2", PROTOCOL, (ENABLE_PUSH, 2)),
    value("push-huge", PROTOCOL, (ENABLE_PUSH, 2**32 - 1)),
    value("window-2-31", FLOW, (INITIAL_WINDOW_SIZE, 2**31)),
    value("window-2-32", FLOW, (INITIAL_WINDOW_SIZE, 2**32 - 1)),
    value("frame-size-0", PROTOCOL, (MAX_FRAME_SIZE, 0)),
    value("frame-size-16383", PROTOCOL, (MAX_FRAME_SIZE, 16383)),
    value("frame-size-2-24", PROTOCOL, (MAX_FRAME_SIZE, 2**24)),
    value("good-then-bad", PROTOCOL, (HEADER_TABLE_SIZE, 100), (MAX_FRAME_SIZE, 1)),
    # libnghttp2 looks at the last of equal settings only; nothing comes of the others
    value("bad-then-good", LENIENT, (ENABLE_PUSH, 7), (ENABLE_PUSH, 0), after=GET),
    row("connect-protocol-1", "8441 3", SERVED, settings((ENABLE_CONNECT_PROTOCOL, 1)) + GET),
    row("connect-protocol-2", "8441 3", LENIENT, settings((ENABLE_CONNECT_PROTOCOL, 2)) + GET),
    row("no-priorities-2", "9218 2.1", LENIENT, settings((NO_RFC7540_PRIORITIES, 2)) + GET),
    # a MUST for the connection; only the stream is harmed, so ending that alone (libnghttp2) is taken too
    row(
        "window-change-overflows-stream",
        "6.9.2",
        FLOW | stream(FLOW_CONTROL_ERROR),
        OPEN + window_update(1, MAX_WINDOW - 65535) + settings((INITIAL_WINDOW_SIZE, 65536)),
    ),
    row("ack-unasked", "6.5.3", LENIENT, settings(flags=ACK) + GET),
    row("ack-with-payload", "6.5", SIZE, settings((ENABLE_PUSH, 0), flags=ACK) + BAD),
    row("ack-with-one-octet", "6.5", SIZE, frame(SETTINGS, ACK, 0, b"x") + BAD),
    row("on-stream", "6.5", PROTOCOL, settings(stream=1) + BAD),
    row("on-open-stream", "6.5", PROTOCOL, OPEN + settings(stream=1)),
    *(row(f"length-{size}", "6.5", SIZE, frame(SETTINGS, 0, 0, bytes(size)) + BAD) for size in (1, 5, 7, 13)),
]

PINGS: list[Row] = [
    row("good", "6.7", SERVED, ping() + GET),
    row("ack-unasked", "6.7", SERVED, ping(flags=ACK) + GET),
    row("on-stream", "6.7", PROTOCOL, ping(stream=1) + BAD),
    row("ack-on-stream", "6.7", PROTOCOL, ping(flags=ACK, stream=1) + BAD),
    *(row(f"length-{size}", "6.7", SIZE, ping(bytes(size)) + BAD) for size in (0, 7, 9, 16)),
    row("ack-length-7", "6.7", SIZE, ping(bytes(7), flags=ACK) + BAD),
]

GOAWAYS: list[Row] = [
    row("on-stream", "6.8", PROTOCOL, goaway(stream=1) + BAD),
    row("on-open-stream", "6.8", PROTOCOL, OPEN + goaway(stream=1)),
    *(row(f"length-{size}", "4.2", SIZE, frame(GOAWAY, 0, 0, bytes(size)) + BAD) for size in (0, 4, 7)),
]

WINDOWS: list[Row] = [
    row("connection-0", "6.9", PROTOCOL, window_update(0, 0) + BAD),
    row("connection-0-with-reserved-bit", "6.9", PROTOCOL, window_update(0, 2**31) + BAD),
    row("reserved-bit", "6.9", SERVED, window_update(0, 2**31 + 1) + GET),
    row("stream-0", "6.9", stream(PROTOCOL_ERROR) | PROTOCOL, OPEN + window_update(1, 0)),
    row(
        "stream-0-with-reserved-bit", "6.9", stream(PROTOCOL_ERROR) | PROTOCOL, OPEN + window_update(1, 2**31)
    ),
    row("connection-overflow", "6.9.1", FLOW, window_update(0, MAX_WINDOW) + BAD),
    row("connection-overflow-by-two", "6.9.1", FLOW, window_update(0, 2**30) * 2 + BAD),
    row("connection-largest", "6.9.1", SERVED, window_update(0, MAX_WINDOW - 65535) + GET),
    # or of the connection (5.4.1: "MAY choose to treat a stream error as a connection error")
    row("stream-overflow", "6.9.1", FLOW | stream(FLOW_CONTROL_ERROR), OPEN + window_update(1, MAX_WINDOW)),
    row(
        "stream-overflow-by-two",
        "6.9.1",
        FLOW | stream(FLOW_CONTROL_ERROR),
        OPEN + window_update(1, 2**30) * 2,
    ),
    row("stream-largest", "6.9.1", SERVED, OPEN + window_update(1, MAX_WINDOW - 65535) + END),
    *(
        row(
            f"connection-length-{size}",
            "6.9",
            SIZE,
            frame(WINDOW_UPDATE, 0, 0, bytes([0] * (size - 1) + [1])) + BAD,
        )
        for size in (1, 3, 5, 8)
    ),
    *(
        row(
            f"stream-length-{size}",
            "6.9",
            SIZE,
            OPEN + frame(WINDOW_UPDATE, 0, 1, bytes([0] * (size - 1) + [1])),
        )
        for size in (3, 5)
    ),
    row("length-0", "6.9", SIZE, frame(WINDOW_UPDATE, 0, 0) + BAD),
]

PROMISE = b"\0\0\0\2" + block((":method", "GET"), (":scheme", "http"), (":path", "/bad"), (":authority", "a"))
PUSHES: list[Row] = [
    row("on-idle-stream", "8.4", PROTOCOL, frame(PUSH_PROMISE, END_HEADERS, 1, PROMISE)),
    row("on-open-stream", "8.4", PROTOCOL, OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, PROMISE)),
    row("on-connection", "8.4", PROTOCOL, frame(PUSH_PROMISE, END_HEADERS, 0, PROMISE)),
    row(
        "after-push-enabled",
        "8.4",
        PROTOCOL,
        settings((ENABLE_PUSH, 1)) + OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, PROMISE),
    ),
]


LONGEST = 16384  # every server must take that much; one that announces more just gets less than it could take


def too_long(type: int, flags: int, number: int) -> Step:
    return lambda client: frame(type, flags, number, bytes(client.server_max_frame + 1))


def head_too_long(client: H2Client) -> bytes:
    return headers(1, request("/bad", ("x", "a" * client.server_max_frame)))


def continuation_too_long(client: H2Client) -> bytes:
    return frame(CONTINUATION, END_HEADERS, 1, block(("x", "a" * client.server_max_frame)))


TYPES = {
    "settings": (SETTINGS, 0),
    "ping": (PING, 0),
    "goaway": (GOAWAY, 0),
    "window-update": (WINDOW_UPDATE, 0),
    "push-promise": (PUSH_PROMISE, 1),
}
SIZES: list[Row] = [
    *(
        row(
            f"too-long-{name}",
            "4.2",
            SIZE if name != "push-promise" else SIZE | PROTOCOL,
            too_long(type, 0, number),
        )
        for name, (type, number) in TYPES.items()
    ),
    # a MUST; libnghttp2 looks at the length of the whole block instead, which bounds it as well
    row(
        "too-long-continuation",
        "4.2",
        SIZE | SERVED | status(431),
        headers(1, request("/either"), flags=0),
        continuation_too_long,
    ),
    row("too-long-headers", "4.2", SIZE, head_too_long),
    row("too-long-data", "4.2", SIZE | stream(FRAME_SIZE_ERROR), OPEN, too_long(DATA, END_STREAM, 1)),
    row("too-long-data-on-connection", "4.2", SIZE | PROTOCOL, too_long(DATA, 0, 0)),
    row("too-long-priority", "4.2", SIZE | stream(FRAME_SIZE_ERROR), OPEN, too_long(PRIORITY, 0, 1)),
    row("too-long-reset", "4.2", SIZE, OPEN, too_long(RST_STREAM, 0, 1)),
    row("too-long-unknown", "4.2", SIZE, too_long(0x77, 0, 0)),
    row("claims-16-MiB", "4.2", SIZE, frame(SETTINGS, 0, 0, length=2**24 - 1)),
    row("longest-data", "4.2", SERVED, OPEN + data(1, bytes(LONGEST))),
    *(
        row(f"reset-length-{size}", "6.4", SIZE, OPEN + frame(RST_STREAM, 0, 1, bytes(size)))
        for size in (0, 3, 5, 8)
    ),
    *(
        row(
            f"priority-length-{size}",
            "6.3",
            stream(FRAME_SIZE_ERROR) | SIZE,
            OPEN + frame(PRIORITY, 0, 1, bytes(size)),
        )
        for size in (0, 4, 6)
    ),
    row("headers-without-pad-length", "4.2", SIZE | PROTOCOL, headers(1, b"", flags=END_HEADERS | PADDED)),
    row(
        "headers-without-priority",
        "4.2",
        SIZE | PROTOCOL,
        headers(1, bytes(4), flags=END_HEADERS | PRIORITIZED),
    ),
    row(
        "headers-pad-without-priority",
        "4.2",
        SIZE | PROTOCOL,
        headers(1, bytes(5), flags=END_HEADERS | PRIORITIZED | PADDED),
    ),
    row(
        "data-without-pad-length",
        "4.2",
        SIZE | PROTOCOL | stream(FRAME_SIZE_ERROR, PROTOCOL_ERROR),
        OPEN + data(1, flags=PADDED),
    ),
]

ALL_BUT = {
    DATA: END_STREAM | PADDED,
    HEADERS: END_STREAM | END_HEADERS | PADDED | PRIORITIZED,
    SETTINGS: ACK,
    PING: ACK,
}


def odd(type: int) -> int:
    """All flags that the type does not define."""
    return 0xFF & ~ALL_BUT.get(type, 0)


UNKNOWN: list[Row] = [
    *(
        row(f"type-{type:02x}-on-{number}", "4.1", SERVED, frame(type, 0xFF, number, b"what is this") + GET)
        for type in (0x0B, 0x20, 0x77, 0xFF)
        for number in (0, 3, 2, 99)
    ),
    row("type-on-open-stream", "5.5", SERVED, OPEN + frame(0x77, 0xFF, 1, bytes(100)) + END),
    row("type-on-closed-stream", "5.5", SERVED, GET, answered(1), frame(0x77, 0xFF, 1, bytes(100))),
    row("type-empty", "5.5", SERVED, frame(0x77, 0, 0) + GET),
    row("type-longest", "5.5", SERVED, frame(0x77, 0, 0, bytes(LONGEST)) + GET),
    row(
        "type-in-field-block",
        "5.5",
        PROTOCOL,
        headers(1, request("/bad")[:9], flags=0)
        + frame(0x77, 0, 0)
        + frame(CONTINUATION, 4, 1, request("/bad")[9:]),
    ),
    row("altsvc", "7838 4", SERVED, frame(ALTSVC, 0, 0, b'\0\1ah2=":1"') + GET),
    row("flags-of-headers", "4.1", SERVED, headers(1, request("/setup"), flags=END_HEADERS | odd(HEADERS))),
    row("flags-of-data", "4.1", SERVED, OPEN + data(1, b"abc", flags=odd(DATA))),
    row("flags-of-settings", "4.1", SERVED, settings(flags=odd(SETTINGS)) + GET),
    row("flags-of-ping", "4.1", SERVED, ping(flags=odd(PING)) + GET),
    row("flags-of-window-update", "4.1", SERVED, frame(WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1") + GET),
    row("flags-of-priority", "4.1", SERVED, frame(PRIORITY, 0xFF, 1, b"\0\0\0\0\1") + GET),
    row("flags-of-reset", "4.1", IGNORED | SERVED, OPEN + frame(RST_STREAM, 0xFF, 1, b"\0\0\0\x08")),
    row("reserved-bit-of-headers", "4.1", SERVED, headers(2**31 + 1, request("/setup"))),
    row("reserved-bit-of-data", "4.1", SERVED, OPEN + data(2**31 + 1, b"abc")),
    row("reserved-bit-of-settings", "4.1", SERVED, settings(stream=2**31) + GET),
    row("reserved-bit-of-ping", "4.1", SERVED, ping(stream=2**31) + GET),
]

# An endless SETTINGS frame is a flood (RFC 9113 10.5): few entries are fine, a thousand may be refused.
LONG = settings(*((0x0A0A + number, number) for number in range(1000)))
ROWS: list[Row] = (
    PREFACE
    + SETTINGS_ROWS
    + PINGS
    + GOAWAYS
    + WINDOWS
    + PUSHES
    + SIZES
    + UNKNOWN
    + [row("thousand-settings", "10.5", SERVED | connection(ENHANCE_YOUR_CALM, PROTOCOL_ERROR), LONG + GET)]
)
