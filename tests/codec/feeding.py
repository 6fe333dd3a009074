"""Ways to feed the codec, and h11 as the second opinion.

Invariant: how the bytes are cut never changes the result; a proper prefix of a valid head is "needs more"."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import h11
from h11._connection import _body_framing

from lbd.engine.body import ChunkedDecoder
from lbd.engine.http1 import (
    ProtocolError,
)

Refusal = tuple[str, int, str]
FRAMINGS = {"content-length": "length", "chunked": "chunked", "http/1.0": "close"}


def outcome(parse: Callable[..., Any], data: bytes, *args: Any, **options: Any) -> Any:
    """The result, or ("refused", status, reason)."""
    try:
        return parse(data, *args, **options)
    except ProtocolError as error:
        assert str(error)
        return ("refused", error.status, error.reason)


def is_refused(result: Any) -> bool:
    return isinstance(result, tuple) and len(result) == 3 and result[0] == "refused"


def values(info: Any) -> dict[str, Any]:
    """The attributes of a result, to compare two of them."""
    return {name: getattr(info, name) for name in dir(info) if not name.startswith("_")
            and not callable(getattr(info, name))}


def lower(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(bytes(name).lower(), bytes(value)) for name, value in fields]


def inspect_every_way(parse: Callable[..., Any], data: bytes, *args: Any, **options: Any) -> Any:
    """Whole, byte by byte and with trailing data; the results must agree."""
    whole = outcome(parse, data, *args, **options)
    grown: Any = None
    for end in range(len(data) + 1):
        grown = outcome(parse, data[:end], *args, **options)
        if grown is not None:
            break
    if whole is None or is_refused(whole):
        assert grown == whole or (is_refused(whole) and is_refused(grown)), (grown, whole)
        return whole
    assert values(grown) == values(whole)
    assert end == whole.consumed, "decided at the byte that ends the head, not before, not after"
    for tail in (b"\x00", b"\r\n", b" x", b"GET / HTTP/1.1\r\n", b"A: b\r\n\r\n"):
        assert values(parse(data[: whole.consumed] + tail, *args, **options)) == values(whole)
    return whole


def decode(data: bytes, cuts: Iterable[int] = ()) -> tuple[bytes, int, bool, list[tuple[bytes, bytes]]]:
    """(payload, consumed, done, trailers) of a chunked body that arrives in these pieces."""
    decoder, payload, consumed, waiting, done = ChunkedDecoder(), b"", 0, b"", False
    points = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(points):
        waiting += data[start:end]
        while waiting and not done:
            piece, used, done = decoder.feed(waiting)
            payload, consumed, waiting = payload + bytes(piece), consumed + used, waiting[used:]
            if not used:
                break
    return payload, consumed, done, lower(decoder.trailers) if done else []


# h11


def h11_request(data: bytes) -> tuple[h11.Request, str, int] | None:
    """(event, framing, length); None when more is needed; raises h11.RemoteProtocolError."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(data)
    event = parser.next_event()
    if not isinstance(event, h11.Request):
        return None
    kind, args = _body_framing(event.method, event)
    length = args[0] if kind == "content-length" else 0
    declared = any(name == b"content-length" for name, _ in event.headers)
    return event, FRAMINGS[kind] if kind != "content-length" or declared else "none", length


def h11_response(data: bytes, method: bytes) -> tuple[Any, str, int] | None:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "h"), ("Upgrade", "x")]))
    parser.receive_data(data)
    event = parser.next_event()
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        return None
    if isinstance(event, h11.InformationalResponse):
        return event, "none", 0
    kind, args = _body_framing(method, event)
    return event, FRAMINGS[kind], args[0] if kind == "content-length" else 0


def h11_chunked(data: bytes) -> tuple[bytes, int, bool, list[tuple[bytes, bytes]]]:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(parser.next_event(), h11.Request)
    payload = b""
    while isinstance(event := parser.next_event(), h11.Data):
        payload += bytes(event.data)
    done = isinstance(event, h11.EndOfMessage)
    return payload, len(data) - len(parser.trailing_data[0]), done, lower(event.headers) if done else []
