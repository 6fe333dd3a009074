"""Floods: cheap frames that cost the server more than the client, in batches.

RFC 9113 10.5; hazards 24 to 26. Each names the first CVE of its class, and goes on far beyond every limit
in the tests' config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from http2.frames import (
    PADDED,
    continuation,
    data,
    frame,
    headers,
    indexed,
    literal,
    padded,
    ping,
    priority,
    request,
    rst_stream,
    settings,
    window_update,
)

FRAMES = 500  # in a batch
BATCHES = 40
POST = request("/flood", method="POST")
GET = request("/flood")


@dataclass(frozen=True)
class Flood:
    id: str
    cve: str
    batch: Callable[[int], bytes]  # the octets of batch number n
    setup: bytes = b""
    reads: bool = True  # the client takes the answers
    batches: int = BATCHES

    def __str__(self) -> str:
        return self.id


def numbers(batch: int) -> range:
    """Fresh stream numbers of a batch."""
    first = 3 + 2 * FRAMES * batch
    return range(first, first + 2 * FRAMES, 2)


def each(build: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """A batch of what `build` gives for each fresh stream number."""
    return lambda batch: b"".join(map(build, numbers(batch)))


def same(octets: bytes) -> Callable[[int], bytes]:
    return lambda batch: octets * FRAMES


OPEN = headers(1, POST, end=False)
BEGIN = headers(1, GET, flags=0)
BIG = literal("x-big", "a" * 4000)

FLOODS: list[Flood] = [
    Flood("rapid-reset", "CVE-2023-44487", each(lambda n: headers(n, GET) + rst_stream(n))),
    Flood("rapid-reset-open", "CVE-2023-44487", each(lambda n: headers(n, POST, end=False) + rst_stream(n))),
    Flood(
        "rapid-reset-with-body",
        "CVE-2023-44487",
        each(lambda n: headers(n, POST, end=False) + data(n, b"x", end=False) + rst_stream(n)),
    ),
    Flood(
        "made-you-reset-zero-window-update",
        "CVE-2025-8671",
        each(lambda n: headers(n, GET) + window_update(n, 0)),
    ),
    Flood(
        "made-you-reset-window-overflow",
        "CVE-2025-8671",
        each(lambda n: headers(n, GET) + window_update(n, 2**31 - 1)),
    ),
    Flood("made-you-reset-data-after-end", "CVE-2025-8671", each(lambda n: headers(n, GET) + data(n, b"x"))),
    Flood(
        "made-you-reset-headers-after-end", "CVE-2025-8671", each(lambda n: headers(n, GET) + headers(n, GET))
    ),
    Flood(
        "made-you-reset-priority-length",
        "CVE-2025-8671",
        each(lambda n: headers(n, GET) + frame(2, 0, n, b"abc")),
    ),
    Flood(
        "made-you-reset-content-length",
        "CVE-2025-8671",
        each(lambda n: headers(n, request("/flood", ("content-length", "9")), end=False) + data(n, b"x")),
    ),
    Flood(
        "malformed-requests", "CVE-2019-9514", each(lambda n: headers(n, request("/flood", ("X-Bad", "1"))))
    ),
    Flood("continuation-empty", "CVE-2019-9518", same(continuation(1, last=False)), BEGIN),
    Flood(
        "continuation-small", "CVE-2024-27316", same(continuation(1, literal("a", "b"), last=False)), BEGIN
    ),
    Flood("continuation-large", "CVE-2024-27316", lambda _: continuation(1, BIG * 4, last=False) * 50, BEGIN),
    Flood(
        "continuation-indexed",
        "CVE-2016-6581",
        lambda _: continuation(1, indexed(62) * 16000, last=False) * 50,
        headers(1, GET + literal("x-big", "a" * 3900, pattern=0x40), flags=0),
    ),
    Flood(
        "continuation-unread",
        "CVE-2024-27316",
        same(continuation(1, b"\x10\x01a\x01b", last=False)),
        BEGIN,
        reads=False,
    ),
    Flood("settings", "CVE-2019-9515", same(settings())),
    Flood("settings-unread", "CVE-2019-9515", same(settings((3, 100))), reads=False),
    Flood("settings-long", "CVE-2020-11080", lambda _: settings(*((9999, n) for n in range(2700))) * 50),
    Flood(
        "settings-window-up-and-down", "CVE-2019-9515", same(settings((4, 0)) + settings((4, 65535))), OPEN
    ),
    Flood("settings-table-up-and-down", "CVE-2016-1544", same(settings((1, 0)) + settings((1, 4096)))),
    Flood("ping", "CVE-2019-9512", same(ping())),
    Flood("ping-unread", "CVE-2019-9512", same(ping()), reads=False),
    Flood("ping-acks", "CVE-2019-9512", same(ping(flags=1))),
    Flood("empty-data", "CVE-2019-9518", same(data(1, end=False)), OPEN),
    Flood(
        "empty-data-padded", "CVE-2019-9518", same(data(1, padded(b"", 20), end=False, flags=PADDED)), OPEN
    ),
    Flood("priority", "CVE-2019-9513", same(priority(1, 3))),
    Flood("priority-of-idle-streams", "CVE-2019-9513", each(lambda n: priority(n, n - 2))),
    Flood("priority-shuffle", "CVE-2019-9513", same(priority(1, 2**31 + 3) + priority(3, 2**31 + 1)), OPEN),
    Flood("window-update", "CVE-2019-9511", same(window_update(0, 1))),
    Flood("window-update-of-stream", "CVE-2019-9511", same(window_update(1, 1)), OPEN),
    Flood("unknown-frames", "CVE-2019-9518", same(frame(0x77, 0, 0, b"x"))),
    Flood("unknown-frames-of-stream", "CVE-2019-9518", same(frame(0x77, 0, 1, b"x")), OPEN),
    Flood("resets-of-closed-stream", "CVE-2019-9514", same(rst_stream(1)), OPEN + rst_stream(1)),
]

# Header lists far larger than their blocks, or just far too large: each alone is refused.
TABLE_ENTRY = literal("x-big", "a" * 3900, pattern=0x40)
CRUMBS = b"".join(literal("cookie", f"a{number}=b", pattern=0x40) for number in range(70))
BOMBS: dict[str, Callable[[int], bytes]] = {
    "one-entry-16000-times": lambda n: headers(n, GET + TABLE_ENTRY + indexed(62) * 12000),
    "one-entry-over-continuations": lambda n: (
        headers(n, GET + TABLE_ENTRY, flags=0)
        + b"".join(continuation(n, indexed(62) * 16000, last=last) for last in (False, False, True))
    ),
    "cookie-crumbs": lambda n: headers(n, GET + CRUMBS + bytes(range(0xBE, 0xFE)) * 180),
    "names-only": lambda n: headers(n, GET + literal("x" * 3900, "", pattern=0x40) + indexed(62) * 12000),
    "ten-thousand-fields": lambda n: (
        headers(n, GET, flags=0)
        + b"".join(continuation(n, literal("a", "b") * 3200, last=last) for last in (False, False, True))
    ),
    "one-megabyte-value": lambda n: (
        headers(n, GET + b"\x00\x01a\x7f\x81\xff\x3e", flags=0)
        + b"".join(continuation(n, b"b" * 16384, last=number == 63) for number in range(64))
    ),
}
