"""Events one by one: the endpoint sends the next one only when the client has confirmed the last.

Server-sent events in each framing, 103 Early Hints; over HTTP/1.1, HTTP/2 and TLS. Whatever waits for company
in lbd makes these tests wait for ever, so they need no clock."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from harness.client import Client
from harness.messages import chunk, get, head, ok
from harness.origin import Connection, Origin, recv_head, send, wait_for
from harness.waiting import TIMEOUT, eventually
from http2.frames import DATA, data, headers, request
from http2.wire import H2Client
from tls.speaking import SecureOrigin, Served, TlsClient, TlsH2Client, World, say_goodbye

EVENTS = 25
CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [{match: {path: /secured/*}, cluster: secured}, {cluster: app}]}
  - name: secure
    bind: "127.0.0.1:0"
    tls: {certificates: [<site>]}
    routes: [{match: {path: /secured/*}, cluster: secured}, {cluster: app}]
clusters:
  - {name: app, endpoints: [<plain>], connections: {idle: 0}}
  - {name: secured, endpoints: [<secured>], connections: {idle: 0}, tls: {ca: <ca>, sni: a.test}}
"""
KINDS = ("http1", "http1 over tls", "http2", "http2 over tls")


def event(index: int) -> bytes:
    return b"id: %d\ndata: {\"tick\": %d}\n\n" % (index, index)


class Source:
    """The script of an endpoint that waits for a confirmation after each event."""

    def __init__(self, framed: Callable[[bytes], bytes], start: bytes, end: bytes):
        self.framed, self.start, self.end = framed, start, end
        self.confirmed = threading.Semaphore(0)

    def run(self, connection: Connection) -> None:
        connection.send(self.start)
        for index in range(EVENTS):
            assert self.confirmed.acquire(timeout=TIMEOUT), f"event {index} was not confirmed"
            connection.send(self.framed(event(index)))
        assert self.confirmed.acquire(timeout=TIMEOUT)
        connection.send(self.end)
        if isinstance(connection.sock, ssl.SSLSocket):
            say_goodbye(connection)
        connection.close()


SSE = head("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Cache-Control: no-store",
           "Transfer-Encoding: chunked")
UNTIL_CLOSE = head("HTTP/1.1 200 OK", "Content-Type: text/event-stream")
LENGTH = head("HTTP/1.1 200 OK", f"Content-Length: {sum(len(event(index)) for index in range(EVENTS))}")
SOURCES: dict[str, Callable[[], Source]] = {
    "chunked": lambda: Source(chunk, SSE, b"0\r\n\r\n"),
    "until close": lambda: Source(bytes, UNTIL_CLOSE, b""),
    "length": lambda: Source(bytes, LENGTH, b""),
}


@dataclass
class Stage:
    """One lbd before an endpoint without TLS and one with it, which the tests tell what to do."""

    lbd: Served
    plain: Origin
    secured: Origin
    world: World


@pytest.fixture(scope="module")
def stage(world: World) -> Iterator[Stage]:
    with Origin([]) as plain, SecureOrigin(world.server_context("site"), []) as secured, \
            Served(CONFIG, site=world.pair("site"), plain=plain, secured=secured, ca=world.ca_file) as lbd:
        yield Stage(lbd, plain, secured, world)


def open_client(kind: str, stage: Stage) -> Client:
    lbd, world = stage.lbd, stage.world
    if kind == "http1":
        return lbd.connect()
    if kind == "http1 over tls":
        return TlsClient(lbd.address("secure"), world.client_context())
    if kind == "http2":
        return H2Client(lbd.address()).start()
    return TlsH2Client(lbd.address("secure"), world.client_context(alpn=("h2",))).start()


def bodies(client: Client, path: str = "/events") -> Iterator[bytes]:
    """All of the body so far, again after each piece; the framing of HTTP/1.1 is still in it."""
    if isinstance(client, H2Client):
        client.send(headers(1, request(path, authority="a.test", scheme="https")))
        answer = client.answer(1)
        while not answer.over:
            seen = len(answer.body)
            client.read_until_that(lambda seen=seen: len(answer.body) > seen or answer.over, "more of it")
            yield answer.body
        assert answer.complete
        return
    client.send(get(path).replace(b"example.test", b"a.test"))
    client.read_until(b"\r\n\r\n")
    body = b""
    while not body.endswith(b"\r\n0\r\n\r\n"):
        piece = client.recv()
        assert piece, f"ended after {body!r}"
        body += piece
        yield body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framing", SOURCES)
@pytest.mark.parametrize("place", ["plain", "secured"])
def test_each_event_arrives_by_itself(stage: Stage, kind: str, framing: str, place: str) -> None:
    source = SOURCES[framing]()
    origin = stage.plain if place == "plain" else stage.secured
    origin.behave([recv_head, source.run])
    with open_client(kind, stage) as client:
        source.confirmed.release()
        seen = 0
        for body in bodies(client, f"/{place}/events"):
            while seen < EVENTS and event(seen) in body:
                seen += 1
                source.confirmed.release()
            if seen == EVENTS and framing == "length":
                break
        assert seen == EVENTS


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_does_not_wait_for_the_body(stage: Stage, kind: str) -> None:
    """An EventSource is open when the head is there, long before the first event."""
    stage.plain.behave([recv_head, send(SSE)])
    with open_client(kind, stage) as client:
        if isinstance(client, H2Client):
            client.get(1)
            client.read_until_that(lambda: client.answer(1).status == 200, "the head")
            assert ("content-type", "text/event-stream") in client.answer(1).fields
            assert not any(frame.type == DATA for frame in client.frames)
        else:
            client.send(get())
            assert b"text/event-stream" in client.read_until(b"\r\n\r\n")


@pytest.mark.parametrize("kind", KINDS)
def test_the_endpoint_learns_that_the_client_has_gone(stage: Stage, kind: str) -> None:
    stage.plain.behave([recv_head, send(SSE + chunk(event(0)))])
    with open_client(kind, stage) as client:
        next(body for body in bodies(client) if event(0) in body)
        assert stage.plain.connections[-1].ended is None
    eventually(lambda: stage.plain.connections[-1].ended, "the connection to the endpoint ends")


HINTS = head("HTTP/1.1 103 Early Hints", "Link: </style.css>; rel=preload; as=style",
             "Link: </app.js>; rel=preload; as=script", "Connection: close")


@pytest.mark.parametrize("kind", KINDS)
def test_early_hints_come_early(stage: Stage, kind: str) -> None:
    """RFC 8297: with both links, before the endpoint has an answer."""
    hinted = threading.Event()
    stage.plain.behave([recv_head, send(HINTS), wait_for(hinted), send(ok(b"page"))])
    with open_client(kind, stage) as client:
        if isinstance(client, H2Client):
            client.get(1)
            client.read_until_that(lambda: client.answer(1).informational, "the hints")
            status, fields = client.answer(1).informational[0]
            hinted.set()
            answer = client.read_answer(1)
            assert (answer.status, answer.body) == (200, b"page")
        else:
            client.send(get())
            lines = client.read_until(b"\r\n\r\n").decode().split("\r\n")
            status = int(lines[0].split()[1])
            fields = [tuple(line.split(": ", 1)) for line in lines[1:-2]]  # type: ignore[misc]
            hinted.set()
            response = client.read_response()
            assert (response.status, response.body) == (200, b"page")
        assert status == 103
        assert [value for name, value in fields if name.lower() == "link"] == [
            "</style.css>; rel=preload; as=style", "</app.js>; rel=preload; as=script"]
        assert "connection" not in {name.lower() for name, _ in fields}


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_body_streams_up(stage: Stage, kind: str) -> None:
    """Each piece reaches the endpoint before the client sends the next."""
    stage.plain.behave([recv_head])
    before = len(stage.plain.received)
    with open_client(kind, stage) as client:
        if isinstance(client, H2Client):
            client.send(headers(1, request("/up", method="POST", authority="a.test"), end=False))
        else:
            client.send(head("POST /up HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked"))
        for index in range(EVENTS):
            piece = event(index)
            client.send(data(1, piece, end=False) if isinstance(client, H2Client) else chunk(piece))
            eventually(lambda piece=piece: piece in stage.plain.received[before:], f"piece {index}")  # type: ignore[misc]
