"""gRPC-Web is plain HTTP to lbd: over HTTP/1.1 and HTTP/2, to endpoints of either, not an octet changed.

PROTOCOL-WEB.md of grpc/grpc: trailers are a frame in the body (flag 0x80), the status of HTTP is 200."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from h2_endpoint import H2Origin, Request
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import post
from harness.origin import Refusing
from http2.frames import data, headers, request
from http2.wire import H2Client

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: h1, bind: "127.0.0.1:0", cluster: h1}
  - {name: h2, bind: "127.0.0.1:0", cluster: h2}
  - {name: lost, bind: "127.0.0.1:0", cluster: lost}
clusters:
  - {name: h1, endpoints: [<h1>]}
  - {name: h2, protocol: http2, endpoints: [<h2>]}
  - {name: lost, protocol: http2, endpoints: [<refusing>]}
"""
CALL = b"\0\0\0\0\5hello"
END = b"grpc-status: 5\r\ngrpc-message: gone\r\n"
REPLY = b"\0\0\0\0\3one" + b"\x80" + len(END).to_bytes(4, "big") + END
KINDS = ["application/grpc-web+proto", "application/grpc-web", "application/grpc-web-text+proto"]


@dataclass
class Got:
    status: int
    content_type: str | None
    body: bytes


class Peers:
    """Two endpoints that answer each call by REPLY, with its own content type; what they got is kept."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.h1, self.h2 = HttpOrigin(self.answer), H2Origin(self.answer_h2)

    def answer(self, seen: Seen) -> Answer:
        self.bodies.append(seen.body)
        return Answer(fields=[("content-type", seen.all("content-type")[0])], body=REPLY, chunked=True)

    def answer_h2(self, request: Request) -> None:
        self.bodies.append(bytes(request.body))
        request.answer(REPLY, ("content-type", request.one("content-type") or ""))


@pytest.fixture(scope="module")
def peers() -> Iterator[Peers]:
    peers = Peers()
    with peers.h1, peers.h2:
        yield peers
    assert (peers.h1.malformed, peers.h2.malformed) == ([], [])


@pytest.fixture(scope="module")
def lbd(peers: Peers) -> Iterator[Lbd]:
    with Refusing() as refusing, Lbd(CONFIG, h1=peers.h1, h2=peers.h2, refusing=refusing) as lbd:
        yield lbd


def ask_h1(lbd: Lbd, listener: str, kind: str) -> Got:
    response = lbd.ask(post("/lbd.Test/Any", CALL, f"Content-Type: {kind}", "X-Grpc-Web: 1"), listener)
    assert response.complete
    return Got(response.status, response.one("content-type"), response.body)


def ask_h2(lbd: Lbd, listener: str, kind: str) -> Got:
    block = request("/lbd.Test/Any", ("content-type", kind), ("x-grpc-web", "1"), method="POST")
    with H2Client(lbd.address(listener)).start() as client:
        client.send(headers(1, block, end=False) + data(1, CALL))
        answer = client.read_answer(1)
    assert answer.complete
    return Got(answer.status, dict(answer.fields).get("content-type"), answer.body)


ASKS = pytest.mark.parametrize("ask", [ask_h1, ask_h2], ids=["from-h1", "from-h2"])


@ASKS
@pytest.mark.parametrize("listener", ["h1", "h2"])
@pytest.mark.parametrize("kind", KINDS)
def test_call_passes_as_it_is(lbd: Lbd, peers: Peers, ask: type[Got], listener: str, kind: str) -> None:
    peers.bodies.clear()
    assert ask(lbd, listener, kind) == Got(200, kind, REPLY)
    assert peers.bodies == [CALL]
    assert lbd.metric("lbd_grpc_responses_total") == 0


@ASKS
def test_own_errors_are_plain_http(lbd: Lbd, ask: type[Got]) -> None:
    """A gRPC-Web client maps the status of HTTP; trailers-only would not reach a browser."""
    got = ask(lbd, "lost", KINDS[0])
    assert got.status == 502
    assert b"connect_failed" in got.body
