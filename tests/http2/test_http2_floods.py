"""Floods end the connection that sends them; memory stays, others are served meanwhile. Hazards 24 to 26."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from http2.floods import BOMBS, FLOODS, FRAMES, Flood
from http2.frames import MAGIC, PROTOCOL_ERROR, data, headers, ping, request, settings
from http2.wire import H2Client

MIB = 2**20
CONFIG = """
listeners:
  - name: web
    bind: 127.0.0.1:0
    cluster: app
    http2: {streams: 100, continuations: 4, settings: 16, pending_acks: 50, resets: 50, glitches: 100}
clusters: [{name: app, endpoints: [<origin>]}]
"""
ALLOWED = 16 * MIB  # growth of the process in one test: buffers and the allocator, not the flood


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin
    assert origin.malformed == []


@pytest.fixture(scope="module")
def lbd(origin: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


class Bystander:
    """Another client of the same lbd, over HTTP/2 and HTTP/1.1; it also watches the memory."""

    def __init__(self, lbd: Lbd):
        self.lbd, self.client, self.number = lbd, H2Client(lbd.address()).start(), 1
        self.served()
        self.before = lbd.rss()

    def served(self) -> None:
        path = f"/served/{self.number}"
        assert self.client.ask(self.number, path).json()["target"] == path
        self.number += 2

    def check(self) -> None:
        self.served()
        assert self.lbd.rss() - self.before < ALLOWED

    def __enter__(self) -> Bystander:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.client.close()
        if kind is None:
            assert self.lbd.ask(get("/after")).json()["target"] == "/after"


def rush(client: H2Client, flood: Flood, bystander: Bystander) -> None:
    """Send it all, or as much as the server takes."""
    client.send_quietly(flood.setup)
    for number in range(flood.batches):
        if not client.send_while_accepted(flood.batch(number)):
            break
        while flood.reads and client.has_input() and client.recv():
            pass
        if number % 8 == 0:
            bystander.check()
        if client.end:
            break


@pytest.mark.parametrize("flood", FLOODS, ids=str)
def test_flood_ends_its_connection(flood: Flood, lbd: Lbd, origin: EchoOrigin) -> None:
    reached = len(origin.requests)
    with Bystander(lbd) as bystander:
        with H2Client(lbd.address(), receive_buffer=None if flood.reads else 4096) as client:
            client.start()
            rush(client, flood, bystander)
            client.read_until_close()  # TimeoutError when the server puts up with it
        bystander.check()
    assert [seen.target for seen in origin.requests[reached:]].count("/flood") <= FRAMES


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused(name: str, lbd: Lbd, origin: EchoOrigin) -> None:
    reached = len(origin.requests)
    with Bystander(lbd) as bystander:
        for _ in range(5):
            with H2Client(lbd.address()) as client:
                client.start().send_quietly(BOMBS[name](1))
                answer = client.read_answer(1)
                assert answer.status != 200 and (answer.over or client.end), answer
            bystander.check()
    assert "/flood" not in [seen.target for seen in origin.requests[reached:]]


@pytest.mark.parametrize("name", ["rapid-reset", "ping", "continuation-small"])
def test_flood_from_many_connections(name: str, lbd: Lbd) -> None:
    """Each connection by itself ends; what they leave behind is nothing."""
    flood = next(flood for flood in FLOODS if flood.id == name)
    with Bystander(lbd) as bystander:
        clients = [H2Client(lbd.address()).start() for _ in range(20)]
        for client in clients:
            client.send_quietly(flood.setup + flood.batch(0) + flood.batch(1))
        bystander.check()
        for client in clients:
            client.read_until_close()
            client.close()
        bystander.check()


def test_first_flight_flood(lbd: Lbd) -> None:
    """Before the server's SETTINGS are read or acknowledged."""
    with Bystander(lbd) as bystander:
        with H2Client(lbd.address()) as client:
            client.send_quietly(MAGIC + settings() + ping() * 20000)
            client.read_until_close()
        bystander.check()


def test_busy_client_is_no_flood(lbd: Lbd, origin: EchoOrigin) -> None:
    """Hundreds of requests with bodies, PINGs and window updates between them, as honest clients do."""
    reached = len(origin.requests)
    with H2Client(lbd.address()).start() as client:
        for number in range(1, 1001, 2):
            client.send(headers(number, request("/busy", method="POST"), end=False) + data(number, b"hello"))
            answer = client.read_answer(number)
            assert (answer.status, answer.json()["length"]) == (200, 5)
            client.grant(0, len(answer.body))
            if number % 20 == 1:
                client.settle()
    assert [seen.target for seen in origin.requests[reached:]] == ["/busy"] * 500


def test_malformed_requests_now_and_then_are_no_flood(lbd: Lbd) -> None:
    """30 stream errors among 60 good requests: below `resets`."""
    with H2Client(lbd.address()).start() as client:
        for number in range(1, 121, 4):
            client.send(headers(number, request("/bad", ("X-Bad", "1"))))
            bad = client.read_answer(number)
            assert bad.status == 400 or bad.reset == PROTOCOL_ERROR
            assert client.ask(number + 2).status == 200
