"""Stream numbers and states, field blocks in pieces, padding, priority.

RFC 9113 4.3, 5.1, 6.1 to 6.4, 6.10."""

from __future__ import annotations

from http2.corpus import IGNORED, MALFORMED, SERVED, Row, answered, connection, row, stream
from http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    FRAME_SIZE_ERROR,
    HEADERS,
    PADDED,
    PRIORITIZED,
    PROTOCOL_ERROR,
    RST_STREAM,
    STREAM_CLOSED,
    block,
    continuation,
    data,
    frame,
    headers,
    padded,
    ping,
    prioritized,
    priority,
    request,
    rst_stream,
    settings,
    window_update,
)

SETUP, BLOCK = request("/setup"), request("/bad")
GET = headers(1, SETUP)
OPEN = headers(1, request("/setup", method="POST"), end=False)
PROTOCOL, CLOSED = connection(PROTOCOL_ERROR), connection(STREAM_CLOSED)
EITHER_CLOSED = stream(STREAM_CLOSED) | CLOSED  # 5.4.1: a stream error may be made one of the connection
BACKWARDS = PROTOCOL | EITHER_CLOSED | IGNORED

NUMBERS: list[Row] = [
    row("data-on-0", "6.1", PROTOCOL, data(0, b"abc")),
    row("headers-on-0", "6.2", PROTOCOL, headers(0, BLOCK)),
    row("priority-on-0", "6.3", PROTOCOL, priority(0)),
    row("reset-on-0", "6.4", PROTOCOL, rst_stream(0)),
    row("continuation-on-0", "6.10", PROTOCOL, continuation(0, BLOCK)),
    row("headers-on-even", "5.1.1", PROTOCOL, headers(2, BLOCK)),
    row("headers-on-even-after-odd", "5.1.1", PROTOCOL, GET + headers(4, BLOCK)),
    row("data-on-even", "5.1", PROTOCOL, data(2, b"abc")),
    # 5.1.1 asks for a connection error; by 5.1 the lower stream is closed, where frames may also be ignored
    row("headers-backwards", "5.1.1", BACKWARDS, headers(5, SETUP) + headers(3, BLOCK), stream=3),
    row(
        "headers-backwards-open",
        "5.1.1",
        BACKWARDS,
        headers(5, SETUP, end=False) + headers(3, BLOCK),
        stream=3,
    ),
    row(
        "headers-backwards-answered",
        "5.1.1",
        BACKWARDS,
        headers(5, SETUP),
        answered(5),
        headers(3, BLOCK),
        stream=3,
    ),
    row(
        "numbers-with-gaps",
        "5.1.1",
        SERVED,
        headers(1, SETUP) + headers(7, SETUP) + headers(77, SETUP),
        stream=77,
    ),
]

IDLE: list[Row] = [
    row("data-on-idle", "5.1", PROTOCOL | CLOSED, data(1, b"abc")),
    row("empty-data-on-idle", "5.1", PROTOCOL | CLOSED, data(1)),
    row("reset-on-idle", "5.1", PROTOCOL, rst_stream(1)),
    row("reset-on-idle-even", "5.1", PROTOCOL, rst_stream(2)),
    row("reset-on-idle-later", "5.1", PROTOCOL, GET + rst_stream(9)),
    row("window-update-on-idle", "5.1", PROTOCOL, window_update(1, 1)),
    row("window-update-on-idle-even", "5.1", PROTOCOL, window_update(2, 1)),
    row("continuation-on-idle", "6.10", PROTOCOL, continuation(1, BLOCK)),
    row("priority-on-idle", "5.1", SERVED, priority(1) + GET),
    row("priority-on-idle-later", "5.1", SERVED, priority(99) + GET),
    row(
        "window-update-on-skipped",
        "5.1.1",
        SERVED | PROTOCOL | CLOSED,
        headers(7, SETUP) + window_update(5, 1),
        stream=7,
    ),
    row(
        "data-on-skipped",
        "5.1.1",
        IGNORED | EITHER_CLOSED | PROTOCOL,
        headers(7, SETUP) + data(5, b"abc"),
        stream=5,
    ),
]

# All in one segment: the stream is half-closed, since no answer can have come yet.
HALF_CLOSED: list[Row] = [
    row("data-when-half-closed", "5.1", EITHER_CLOSED, GET + data(1, b"abc")),
    row("empty-data-when-half-closed", "5.1", EITHER_CLOSED, GET + data(1)),
    row("headers-when-half-closed", "5.1", EITHER_CLOSED | PROTOCOL, GET + headers(1, BLOCK)),
    row(
        "trailers-when-half-closed", "5.1", EITHER_CLOSED | PROTOCOL, GET + headers(1, block(("x-bad", "1")))
    ),
    row("continuation-when-half-closed", "6.10", PROTOCOL, GET + continuation(1, BLOCK)),
    row("data-after-end-of-data", "5.1", EITHER_CLOSED, OPEN + data(1, b"abc") + data(1, b"def")),
    row(
        "data-after-trailers",
        "5.1",
        EITHER_CLOSED,
        OPEN + data(1, b"abc", end=False) + headers(1, block(("x-t", "1"))) + data(1, b"def"),
    ),
    row("window-update-when-half-closed", "5.1", SERVED, GET + window_update(1, 1)),
    row("priority-when-half-closed", "5.1", SERVED, GET + priority(1, 3)),
    row("reset-when-half-closed", "5.1", IGNORED | SERVED, GET + rst_stream(1)),
]

# 5.1: what comes on a closed stream may be ignored, or be an error of the stream or the connection.
ANY = IGNORED | SERVED | EITHER_CLOSED
RESET = OPEN + rst_stream(1)
DONE = (GET, answered(1))
CLOSED_ROWS: list[Row] = [
    row("data-after-reset", "5.1", ANY, RESET + data(1, b"abc")),
    row("headers-after-reset", "5.1", ANY | PROTOCOL, RESET + headers(1, BLOCK)),
    row("continuation-after-reset", "6.10", PROTOCOL | CLOSED, RESET + continuation(1, BLOCK)),
    row("window-update-after-reset", "5.1", IGNORED | CLOSED, RESET + window_update(1, 1)),
    row(
        "zero-window-update-after-reset",
        "5.1",
        IGNORED | CLOSED | PROTOCOL | stream(PROTOCOL_ERROR),
        RESET + window_update(1, 0),
    ),
    row("reset-after-reset", "5.1", IGNORED | CLOSED, RESET + rst_stream(1)),
    row("priority-after-reset", "5.1", IGNORED, RESET + priority(1)),
    row("data-after-answer", "5.1", ANY, *DONE, data(1, b"abc")),
    row("headers-after-answer", "5.1.1", ANY | PROTOCOL, *DONE, headers(1, BLOCK)),
    row("continuation-after-answer", "6.10", PROTOCOL | CLOSED, *DONE, continuation(1, BLOCK)),
    row("window-update-after-answer", "5.1", SERVED, *DONE, window_update(1, 1)),
    row("reset-after-answer", "5.1", SERVED, *DONE, rst_stream(1)),
    row("priority-after-answer", "5.1", SERVED, *DONE, priority(1)),
    row(
        "reset-of-reset-length", "6.4", connection(FRAME_SIZE_ERROR), RESET + frame(RST_STREAM, 0, 1, b"abc")
    ),
]

FIRST, REST = BLOCK[:11], BLOCK[11:]  # in the middle of a field
BEGIN = headers(1, FIRST, flags=0)
INTERLOPERS = {
    "data": data(1, b"abc"),
    "headers-of-it": headers(1, REST),
    "headers-of-other": headers(3, BLOCK),
    "priority": priority(1),
    "reset": rst_stream(1),
    "settings": settings(),
    "settings-ack": settings(flags=1),
    "ping": ping(),
    "window-update": window_update(0, 1),
    "window-update-of-it": window_update(1, 1),
    "continuation-of-other": continuation(3, REST),
    "unknown": frame(0x77, 0, 1),
    "altsvc": frame(0x0A, 0, 0, b"\0\0"),
}
PIECES: list[Row] = [
    *(
        row(f"{name}-in-field-block", "6.10", PROTOCOL, BEGIN + intruder + continuation(1, REST))
        for name, intruder in INTERLOPERS.items()
    ),
    row(
        "ping-after-continuation",
        "6.10",
        PROTOCOL,
        BEGIN + continuation(1, REST, last=False) + ping() + continuation(1),
    ),
    row("orphan", "6.10", PROTOCOL, GET + continuation(1)),
    row("orphan-first", "6.10", PROTOCOL, continuation(1, BLOCK)),
    row(
        "orphan-after-continuation",
        "6.10",
        PROTOCOL,
        headers(1, SETUP[:11], flags=0) + continuation(1, SETUP[11:]) + continuation(1, REST),
    ),
    row("orphan-after-data", "6.10", PROTOCOL, OPEN + data(1, b"abc", end=False) + continuation(1, REST)),
    row("in-two", "4.3", SERVED, headers(1, SETUP[:11], flags=0) + continuation(1, SETUP[11:])),
    row(
        "in-five",
        "4.3",
        SERVED,
        headers(1, SETUP[:1], flags=0)
        + b"".join(continuation(1, SETUP[at : at + 9], last=False) for at in (1, 10, 19))
        + continuation(1, SETUP[28:]),
    ),
    row("empty-headers", "4.3", SERVED, headers(1, b"", flags=0) + continuation(1, SETUP)),
    row("empty-continuation", "4.3", SERVED, headers(1, SETUP, flags=0) + continuation(1)),
    row(
        "trailers-in-two",
        "4.3",
        SERVED,
        OPEN + headers(1, block(("x-t", "1"))[:3], flags=0) + continuation(1, block(("x-t", "1"))[3:]),
    ),
    row(
        "end-stream-of-continuation-is-no-flag",
        "6.10",
        SERVED,
        headers(1, request("/setup", method="POST"), end=False, flags=0)
        + frame(CONTINUATION, END_HEADERS | 1, 1)
        + data(1, b"abc"),
    ),
    row(
        "in-pieces-malformed",
        "8.2.1",
        MALFORMED,
        headers(1, SETUP, flags=0) + continuation(1, block(("X-Bad", "1"))),
    ),
]

PADS = END_HEADERS | PADDED
PADDING: list[Row] = [
    row("headers-good", "6.2", SERVED, headers(1, padded(SETUP, 20), flags=PADS)),
    row("headers-zero", "6.2", SERVED, headers(1, padded(SETUP, 0), flags=PADS)),
    row("headers-longest", "6.2", SERVED, headers(1, padded(SETUP, 255), flags=PADS)),
    row(
        "headers-is-payload", "6.2", PROTOCOL, headers(1, padded(BLOCK, 0, claim=len(BLOCK) + 1), flags=PADS)
    ),
    row("headers-over-payload", "6.2", PROTOCOL, headers(1, padded(BLOCK, 0, claim=255), flags=PADS)),
    row(
        "headers-over-payload-with-priority",
        "6.2",
        PROTOCOL,
        headers(1, padded(prioritized(BLOCK), 0, claim=len(BLOCK) + 1), flags=PADS | PRIORITIZED),
    ),
    row("headers-only-pad-length", "6.2", PROTOCOL, headers(1, b"\1", flags=PADS)),
    row("headers-all-padding", "8.3.1", MALFORMED, headers(1, padded(b"", 9), flags=PADS)),
    row(
        "headers-good-with-priority",
        "6.2",
        SERVED,
        headers(1, padded(prioritized(SETUP), 9), flags=PADS | PRIORITIZED),
    ),
    row(
        "trailers-over-payload",
        "6.2",
        PROTOCOL,
        OPEN + headers(1, padded(block(("x", "y")), 0, claim=200), flags=PADS),
    ),
    row("data-good", "6.1", SERVED, OPEN + data(1, padded(b"abc", 20), flags=PADDED)),
    row("data-longest", "6.1", SERVED, OPEN + data(1, padded(b"abc", 255), flags=PADDED)),
    row("data-all-padding", "6.1", SERVED, OPEN + data(1, padded(b"", 9), flags=PADDED)),
    row("data-only-pad-length", "6.1", SERVED, OPEN + data(1, b"\0", flags=PADDED)),
    row("data-is-payload", "6.1", PROTOCOL, OPEN + data(1, padded(b"abc", 0, claim=4), flags=PADDED)),
    row("data-over-payload", "6.1", PROTOCOL, OPEN + data(1, padded(b"abc", 0, claim=255), flags=PADDED)),
    row("data-over-payload-by-far", "6.1", PROTOCOL, OPEN + data(1, b"\1", flags=PADDED)),
    row(
        "data-not-zero",
        "6.1",
        SERVED | PROTOCOL,
        OPEN + data(1, padded(b"abc", 9, filler=b"x"), flags=PADDED),
    ),
    row("headers-not-zero", "6.2", SERVED | PROTOCOL, headers(1, padded(SETUP, 9, filler=b"x"), flags=PADS)),
    row("padding-on-idle", "6.1", PROTOCOL | CLOSED, frame(DATA, PADDED, 1, padded(b"", 3))),
]

# RFC 9113 5.3.2 deprecates priority; RFC 7540 5.3.1 made a dependency on itself a stream error.
SELF = SERVED | stream(PROTOCOL_ERROR) | PROTOCOL
WITH_PRIORITY = END_HEADERS | PRIORITIZED
PRIORITIES: list[Row] = [
    row("headers-with", "5.3.2", SERVED, headers(1, prioritized(SETUP), flags=WITH_PRIORITY)),
    row(
        "headers-exclusive", "5.3.2", SERVED, headers(1, prioritized(SETUP, 2**31, 255), flags=WITH_PRIORITY)
    ),
    row("headers-on-idle-stream", "5.3.2", SERVED, headers(1, prioritized(SETUP, 99), flags=WITH_PRIORITY)),
    row("headers-on-itself", "5.3.2", SELF, headers(1, prioritized(SETUP, 1), flags=WITH_PRIORITY)),
    row("on-itself", "5.3.2", SELF, OPEN + priority(1, 1) + data(1)),
    row("on-itself-idle", "5.3.2", SELF, priority(1, 1) + GET),
    row(
        "trailers-with",
        "5.3.2",
        SERVED,
        OPEN + headers(1, prioritized(block(("x-t", "1"))), flags=WITH_PRIORITY),
    ),
    row("ring", "5.3.2", SERVED, priority(1, 3) + priority(3, 5) + priority(5, 1) + GET),
]
UNFINISHED: list[Row] = [  # a frame cut by nothing but the next one: the octets count, not the sense
    row(
        "headers-shorter-than-told",
        "4.1",
        connection(PROTOCOL_ERROR, FRAME_SIZE_ERROR) | CLOSED | connection(9),
        frame(HEADERS, END_HEADERS | 1, 1, BLOCK, length=len(BLOCK) + 9) + ping() + ping(),
    )
]
ROWS: list[Row] = NUMBERS + IDLE + HALF_CLOSED + CLOSED_ROWS + PIECES + PADDING + PRIORITIES + UNFINISHED
