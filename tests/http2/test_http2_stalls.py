"""Clients that take no data, send none, or send it drop by drop. RFC 9113 10.5; hazards 27 and 28."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest
from harness.lbd import Lbd
from harness.messages import get, head, ok
from harness.origin import Origin, close, recv_head, recv_request, send, send_forever
from harness.waiting import eventually
from http2.frames import INITIAL_WINDOW_SIZE, MAGIC, MAX_WINDOW, data, headers, request, settings
from http2.wire import H2Client

MIB = 2**20
CONFIG = """
listeners:
  - name: web
    bind: 127.0.0.1:0
    cluster: app
    timeouts: {handshake: 1s, head: 1s, body: 1s, idle: 1s, write: 1s}
  - {name: patient, bind: "127.0.0.1:0", cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""
ONCE = [recv_request, send(ok(b"ok", "Connection: close")), close]
ENDLESS = [
    recv_head,
    send(head("HTTP/1.1 200 OK", f"Content-Length: {1024 * MIB}")),
    send_forever(bytes(MIB)),
]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(ONCE) as origin:
        yield origin


@pytest.fixture
def lbd(origin: Origin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


FIRST = MAGIC + settings()
SILENCES: dict[str, bytes] = {
    "half-preface": MAGIC[:20],
    "preface-without-settings": MAGIC,
    "no-request": FIRST,
    "half-frame-head": FIRST + b"\0\0",
    "half-frame": FIRST + headers(1, request())[:20],
    "half-field-block": FIRST + headers(1, request()[:9], flags=0),
}


@pytest.mark.parametrize("name", SILENCES)
def test_silence_ends_the_connection(name: str, lbd: Lbd) -> None:
    with H2Client(lbd.address()) as client:
        client.send(SILENCES[name])
        client.read_until_close()


@pytest.mark.parametrize(
    "sent", [MAGIC, FIRST + headers(1, request("/bad", ("x", "a" * 5000)))], ids=["preface", "head"]
)
def test_drops_do_not_extend_the_deadline(sent: bytes, lbd: Lbd, origin: Origin) -> None:
    """An octet every tenth of a second; at that rate a whole head would take minutes."""
    start = len(FIRST) if len(sent) > len(FIRST) else 0
    with H2Client(lbd.address()) as client:
        client.send(sent[:start])
        for at in range(start, start + 30):
            if not client.send_while_accepted(sent[at : at + 1]):
                break
            select.select([client.sock], [], [], 0.1)  # the rate of the attack; an answer cuts it short
        client.read_until_close()
    assert origin.connections == []


def test_stalled_body_ends_its_stream(lbd: Lbd) -> None:
    """408 or RST_STREAM; or, since no other stream is open, the connection."""
    with H2Client(lbd.address()).start() as client:
        client.send(headers(1, request("/slow", ("content-length", "9"), method="POST"), end=False))
        client.send(data(1, b"abc", end=False))
        answer = client.read_answer(1)
        assert answer.status != 200 and (answer.over or client.end)


def test_stalled_body_leaves_the_other_streams(lbd: Lbd, origin: Origin) -> None:
    origin.behave([recv_request, send(ok())] * 10000)
    with H2Client(lbd.address()).start() as client:
        client.send(headers(1, request("/slow", method="POST"), end=False))
        number = 3
        while not client.answer(1).over and number < 20000:
            assert client.ask(number).status == 200
            client.grant(0, 2)
            number += 2
        assert client.answer(1).over and client.answer(1).status != 200
        assert client.ask(number).status == 200


@pytest.mark.parametrize("window", [0, 1, 1000])
def test_window_that_stays_shut_ends_the_stream(window: int, lbd: Lbd, origin: Origin) -> None:
    """CVE-2019-9517 class: after timeouts.write; the endpoint is let go."""
    origin.behave(ENDLESS)
    with H2Client(lbd.address()).start((INITIAL_WINDOW_SIZE, window)) as client:
        answer = client.ask(1)
        assert not answer.complete and len(answer.body) == window
        assert answer.reset is not None or client.end
    eventually(
        lambda: all(item.ended or item.closed for item in origin.connections), "the endpoint is let go"
    )


def test_shut_connection_window_ends_the_streams(lbd: Lbd, origin: Origin) -> None:
    origin.behave(ENDLESS)
    with H2Client(lbd.address()).start((INITIAL_WINDOW_SIZE, MAX_WINDOW)) as client:
        first, second = client.get(3).ask(1), client.read_answer(3)
        assert len(first.body) + len(second.body) == 65535 and not (first.complete or second.complete)
        assert (first.reset is not None and second.reset is not None) or client.end
    eventually(
        lambda: all(item.ended or item.closed for item in origin.connections), "the endpoints are let go"
    )


def test_unread_socket_ends_the_connection(lbd: Lbd, origin: Origin) -> None:
    """All windows are open, but nobody reads: CVE-2019-9517. Memory stays, others are served."""
    with lbd.connect() as warm:
        assert warm.ask(get()).status == 200
    origin.behave(ENDLESS, ENDLESS, ENDLESS, ONCE)
    with H2Client(lbd.address(), receive_buffer=4096) as client:
        client.start((INITIAL_WINDOW_SIZE, MAX_WINDOW)).grant(0, MAX_WINDOW - 65535)
        before = lbd.rss()
        client.get(1).get(3).get(5)
        eventually(lambda: len(origin.connections) >= 4, "all three have reached an endpoint")
        assert lbd.ask(get()).status == 200
        assert lbd.rss() - before < 16 * MIB
        eventually(
            lambda: all(item.ended or item.closed for item in origin.connections[1:4]), "they are let go"
        )
        client.read_until_close()
    assert lbd.rss() - before < 16 * MIB


def test_slow_reader_is_served_within_memory(lbd: Lbd, origin: Origin) -> None:
    """Back-pressure reaches the endpoint: 256 MiB are on offer, little is taken."""
    origin.behave(ENDLESS)
    with H2Client(lbd.address("patient")).start((INITIAL_WINDOW_SIZE, 65535)) as client:
        before = lbd.rss()
        client.get(1)
        for _ in range(50):
            size = len(client.answer(1).body)
            client.read_until_that(
                lambda size=size: len(client.answer(1).body) >= size + 65535, "a window full"
            )
            client.grant(0, 65535).grant(1, 65535)
        assert lbd.rss() - before < 16 * MIB and not client.answer(1).over
