"""What a well-behaved client gets: settings, PING, flow control, many streams.

RFC 9113 3.4, 5, 6; RFC 7541 4."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Blackhole
from http2.frames import (
    ENABLE_PUSH,
    FLOW_CONTROL_ERROR,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAGIC,
    MAX_CONCURRENT_STREAMS,
    MAX_WINDOW,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    data,
    goaway,
    headers,
    ping,
    request,
    rst_stream,
    settings,
)
from http2.wire import H2Client

CONFIG = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: few, bind: "127.0.0.1:0", cluster: app, http2: {streams: 2}}
  - {name: tight, bind: "127.0.0.1:0", cluster: app, http2: {streams: 2, window: 100000, header_table: 1KiB}}
  - {name: old, bind: "127.0.0.1:0", cluster: app, http2: off}
  - {name: hole, bind: "127.0.0.1:0", cluster: hole, http2: {window: 65535, streams: 50}}
clusters:
  - {name: app, endpoints: [<origin>]}
  - {name: hole, endpoints: [<hole>], timeouts: {connect: 20s}}
"""
BODY = bytes(range(256)) * 1000
OPEN = headers(1, request("/open", method="POST"), end=False)


def answer(seen: Seen) -> Answer:
    """/bytes/N: N octets; all else: what was asked for."""
    if seen.target.startswith("/bytes/"):
        return Answer(body=BODY[: int(seen.target.rsplit("/", 1)[1])])
    return Answer(body=f"{seen.method} {seen.target} {len(seen.body)}".encode())


@pytest.fixture(scope="module")
def lbd() -> Iterator[Lbd]:
    with HttpOrigin(answer) as origin, Blackhole() as hole, Lbd(CONFIG, origin=origin, hole=hole) as lbd:
        yield lbd
        assert origin.malformed == []


def test_settings_are_acknowledged_each(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client:
        client.send(settings((INITIAL_WINDOW_SIZE, 1000)) + settings()).settle()
        assert client.settings_acks == 3


def test_pings_are_echoed_in_order(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client:
        sent = [b"%08d" % number for number in range(20)]
        client.send(b"".join(map(ping, sent)))
        client.read_until_that(lambda: len(client.pings) == 20, "20 acks")
        assert client.pings == sent


def test_configured_limits_are_announced(lbd: Lbd) -> None:
    with H2Client(lbd.address("tight")).start() as client:
        said = client.server_settings
        assert said[MAX_CONCURRENT_STREAMS] == 2
        assert said[INITIAL_WINDOW_SIZE] == 100000
        assert said[HEADER_TABLE_SIZE] == 1024
        assert said.get(ENABLE_PUSH, 0) == 0  # RFC 9113 6.5.2: a server must not send 1


def test_both_protocols_on_one_listener(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client, lbd.connect() as old:
        for number in (1, 3, 5):
            assert client.ask(number, f"/two/{number}").body == b"GET /two/%d 0" % number
            assert old.ask(get(f"/one/{number}")).body == b"GET /one/%d 0" % number


def test_off_is_off(lbd: Lbd) -> None:
    with lbd.connect("old") as client:
        client.send_while_accepted(MAGIC + settings() + headers(1, request("/h2")))
        response = client.read_response()
        assert (response.status, response.version) in ((400, "1.1"), (505, "1.1"))
        assert client.read_until_close() == b""


def test_interleaved_streams_get_their_own_answers(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client:
        numbers = range(1, 121, 2)
        client.send(b"".join(headers(n, request(f"/s/{n}", method="POST"), end=False) for n in numbers))
        for piece in (b"abc", b"de"):
            client.send(b"".join(data(n, piece, end=False) for n in reversed(numbers)))
        client.send(b"".join(data(n) for n in numbers))
        for n in numbers:
            got = client.read_answer(n)
            assert (got.status, got.body, got.complete) == (200, b"POST /s/%d 5" % n, True)


def test_malformed_stream_leaves_open_ones_alone(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client:
        client.send(OPEN + headers(3, request("/bad", ("X-Bad", "1"))))
        bad = client.read_answer(3)
        assert bad.status == 400 or bad.reset == PROTOCOL_ERROR
        assert client.send(data(1, b"abc")).read_answer(1).body == b"POST /open 3"


def test_goaway_of_the_client_lets_its_streams_finish(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client:
        client.send(OPEN + goaway(NO_ERROR) + data(1, b"abc"))
        assert client.read_answer(1).body == b"POST /open 3"


def opened(*numbers: int) -> bytes:
    return b"".join(headers(n, request(f"/{n}", method="POST"), end=False) for n in numbers)


def test_streams_beyond_the_limit_are_refused(lbd: Lbd) -> None:
    """RFC 9113 5.1.2: a stream error; or (5.4.1) of the connection, since the client knows the limit."""
    with H2Client(lbd.address("few")).start() as client:
        answer = client.send(opened(1, 3, 5)).read_answer(5)
        if answer.reset is None:
            client.read_to_end()
            assert client.goaway is not None and client.goaway[1] == PROTOCOL_ERROR
        else:
            assert answer.reset in (REFUSED_STREAM, PROTOCOL_ERROR)
            assert client.send(data(1)).read_answer(1).status == 200


def test_a_stream_that_is_over_makes_room(lbd: Lbd) -> None:
    """By its answer, or by a reset."""
    with H2Client(lbd.address("few")).start() as client:
        client.send(opened(1, 3) + data(1))
        assert client.read_answer(1).status == 200
        assert client.ask(5).status == 200
        client.send(rst_stream(3)).settle()
        client.get(7).get(9)
        assert (client.read_answer(7).status, client.read_answer(9).status) == (200, 200)


def overfill(client: H2Client, numbers: range, each: int) -> bool:
    """POSTs whose DATA ignores the windows; True when the server called it a violation."""
    client.send(b"".join(headers(n, request("/full", method="POST"), end=False) for n in numbers))
    for n in numbers:
        for at in range(0, each, 16384):
            client.send_quietly(data(n, bytes(min(16384, each - at)), end=False))
    client.settle()
    codes = {client.answer(n).reset for n in numbers} | ({client.goaway[1]} if client.goaway else set())
    return FLOW_CONTROL_ERROR in codes


def test_stream_window_exceeded(lbd: Lbd) -> None:
    """The endpoint cannot be reached, so nothing of the body is used up and no window has to grow. 6.9.1."""
    with H2Client(lbd.address("hole")).start() as client:
        client.settle()
        size = client.server_stream_window + 1
        assert overfill(client, range(1, 3, 2), size) or client.granted.get(1, 0) >= size


def test_connection_window_exceeded(lbd: Lbd) -> None:
    with H2Client(lbd.address("hole")).start() as client:
        client.settle()
        each = client.server_stream_window
        count = client.granted[0] // each + 1
        assert count <= 50, "the connection's window takes more than all streams: nothing can exceed it"
        assert overfill(client, range(1, 2 * count, 2), each) or client.granted[0] >= each * count


def body_of(client: H2Client, number: int = 1) -> bytes:
    """What came so far, everything on the way included; the endpoint's answer is there first."""
    client.read_until_that(lambda: client.answer(number).status, "the head")
    client.settle()
    return client.answer(number).body


def test_stream_window_is_kept(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start((INITIAL_WINDOW_SIZE, 0)) as client:
        client.get(1, "/bytes/1000")
        assert body_of(client) == b""
        for size in (1, 10, 100):
            before = len(client.answer(1).body)
            client.grant(1, size)
            client.read_until_that(
                lambda end=before + size: len(client.answer(1).body) >= end, "what was granted"
            )
        assert client.grant(1, 5000).read_answer(1).body == BODY[:1000]


def test_connection_window_is_kept(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start((INITIAL_WINDOW_SIZE, MAX_WINDOW)) as client:
        client.get(1, "/bytes/100000")
        client.read_until_that(lambda: len(client.answer(1).body) >= 65535, "the whole window")
        client.settle()
        assert client.answer(1).body == BODY[:65535]
        assert client.grant(0, 100000).read_answer(1).body == BODY[:100000]


def test_window_raised_by_settings(lbd: Lbd) -> None:
    """RFC 9113 6.9.2: a changed initial window counts for open streams."""
    with H2Client(lbd.address()).start((INITIAL_WINDOW_SIZE, 10)) as client:
        client.get(1, "/bytes/1000")
        client.read_until_that(lambda: len(client.answer(1).body) >= 10, "the first window")
        assert body_of(client) == BODY[:10]
        client.windows[1] = 990  # 1000 less the 10 that came
        client.send(settings((INITIAL_WINDOW_SIZE, 1000)))
        assert client.read_answer(1).body == BODY[:1000]


def test_window_below_zero(lbd: Lbd) -> None:
    """RFC 9113 6.9.2: after a lower initial window, nothing until the stream's window is positive again."""
    with H2Client(lbd.address()).start((INITIAL_WINDOW_SIZE, 100)) as client:
        client.get(1, "/bytes/1000")
        client.read_until_that(lambda: len(client.answer(1).body) >= 100, "the first window")
        client.windows[1] = -100
        client.send(settings((INITIAL_WINDOW_SIZE, 0)))
        client.grant(1, 60)
        assert body_of(client) == BODY[:100]
        client.grant(1, 50)
        client.read_until_that(lambda: len(client.answer(1).body) >= 110, "the ten that are open")
        assert body_of(client) == BODY[:110]


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 65536])
def test_header_table_of_the_client(size: int, lbd: Lbd) -> None:
    """RFC 7541 4.2: a smaller table is acknowledged in the next block, and never outgrown."""
    with H2Client(lbd.address()) as client:
        client.decoder.max_allowed_table_size = size
        client.start((HEADER_TABLE_SIZE, size)).settle()
        for number in (1, 3, 5):
            assert client.ask(number).status == 200


def test_large_upload(lbd: Lbd) -> None:
    """The server opens its windows again as the endpoint takes the body."""
    with H2Client(lbd.address()).start() as client:
        client.send(OPEN)
        client.settle()
        left, sent = 2**20, 0
        while left:
            stream = client.granted.get(1, client.server_stream_window)
            size = min(16384, left, client.granted[0] - sent, stream - sent)
            if size <= 0:
                client.read_until_that(
                    lambda sent=sent: (
                        min(client.granted[0], client.granted.get(1, client.server_stream_window)) > sent
                    ),
                    "a wider window",
                )
                continue
            client.send(data(1, bytes(size), end=size == left))
            left, sent = left - size, sent + size
        assert client.read_answer(1).body == b"POST /open %d" % 2**20
