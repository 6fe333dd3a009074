"""What endpoints do wrong before a whole response head is there: the client gets 502 or 504 with a reason,
the next client is served, nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.stage import Stage, staged
from harness.lbd import Lbd
from harness.messages import get, head, ok, post, post_chunked
from harness.origin import (
    Blackhole,
    Origin,
    Refusing,
    Script,
    close,
    half_close,
    recv_head,
    recv_request,
    reset,
    send,
    send_forever,
    send_slowly,
    stall,
)
from harness.waiting import eventually

LOST = {(502, "upstream_reset")}
INVALID = {(502, "upstream_invalid")}
LATE = {(504, "response_timeout")}
EARLY_LOST = LOST | {(502, "connect_failed")}  # a connection that dies at accept may count as either
SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"

FAULTS: dict[str, tuple[Script, set[tuple[int, str]]]] = {
    "closes at accept": ([close], EARLY_LOST),
    "resets at accept": ([reset], EARLY_LOST),
    "closes after the request": ([recv_request, close], LOST),
    "resets after the request": ([recv_request, reset], LOST),
    "half-closes after the request": ([recv_request, half_close, stall], LOST),
    "closes after the request head": ([recv_head, close], LOST),
    "stalls after the request": ([recv_request, stall], LATE),
    "never reads, never answers": ([stall], LATE | {(502, "upstream_reset"), (408, "body_timeout")}),
    "stalls in the status line": ([recv_request, send(b"HTTP/1.1 2"), stall], LATE),
    "stalls in the head": ([recv_request, send(ok()[:25]), stall], LATE),
    "stalls before the last LF": ([recv_request, send(head("HTTP/1.1 200 OK", "A: b")[:-1]), stall], LATE),
    "closes in the status line": ([recv_request, send(b"HTTP/1.1 200"), close], LOST),
    "closes in the head": ([recv_request, send(ok()[:25]), close], LOST),
    "resets in the head": ([recv_request, send(ok()[:25]), reset], LOST),
    "closes before the last LF": ([recv_request, send(head("HTTP/1.1 200 OK", "A: b")[:-1]), close], LOST),
    "endless head, one field": ([recv_request, send(b"HTTP/1.1 200 OK\r\nA: "), send_forever(b"a" * 65536)],
                                INVALID),
    "endless head, many fields": ([recv_request, send(b"HTTP/1.1 200 OK\r\n"),
                                   send_forever(b"A: b\r\n" * 9999)], INVALID),
    "endless status line": ([recv_request, send(b"HTTP/1.1 200 "), send_forever(b"a" * 65536)], INVALID),
    "garbage": ([recv_request, send(bytes(range(256)) * 4), stall], INVALID),
    "zeros for ever": ([recv_request, send_forever(bytes(65536))], INVALID),
    "ssh banner after the request": ([recv_request, send(SSH), stall], INVALID),
    "ssh banner at accept": ([send(SSH), stall], INVALID),
    "tls alert": ([recv_request, send(TLS_ALERT), close], INVALID),
    "smtp banner": ([send(b"220 mail.test ESMTP\r\n"), stall], INVALID),
    "http/2 settings": ([send(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), stall], INVALID),
    "http/0.9 page": ([recv_request, send(b"<html>hello</html>\n"), close], INVALID),
    "1xx, then closes": ([recv_request, send(head("HTTP/1.1 103 Early Hints")), close], LOST),
    "1xx, then stalls": ([recv_request, send(head("HTTP/1.1 100 Continue")), stall], LATE),
    "100 without end": ([recv_request, send_forever(head("HTTP/1.1 100 Continue") * 999)],
                        INVALID | LATE | LOST),
    "102 without end": ([recv_request, send_forever(head("HTTP/1.1 102 Processing") * 999)],
                        INVALID | LATE | LOST),
    "103 without end": ([recv_request, send_forever(head("HTTP/1.1 103 Early Hints", "Link: </a>") * 999)],
                        INVALID | LATE | LOST),
    "1xx that is malformed": ([recv_request, send(b"HTTP/1.1 103 E\nLink: a\n\n"), stall], INVALID),
}
REQUESTS: dict[str, bytes] = {
    "get": get(), "length": post("/", b"x" * 1000), "chunked": post_chunked("/", b"x" * 500, b"y" * 500),
    "old": head("GET / HTTP/1.0", "Host: a"),
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


# a fault that ends by a timeout costs a second: one kind of request is enough
MATRIX = [(fault, kind) for fault, (_, outcomes) in FAULTS.items() for kind in REQUESTS
          if kind == "length" or not outcomes >= LATE]


@pytest.mark.parametrize(("fault", "request_kind"), MATRIX)
def test_before_the_response_head(stage: Stage, fault: str, request_kind: str) -> None:
    script, outcomes = FAULTS[fault]
    stage.play(script)
    with stage.lbd.connect() as client:
        response = client.ask(REQUESTS[request_kind])
        assert response.complete, response
        assert (response.status, response.reason) in outcomes
    assert len(stage.origin.connections[stage.origin.first :]) == 1, "tried once"
    stage.assert_recovered()


def test_slow_head_that_arrives_is_fine(stage: Stage) -> None:
    stage.play([recv_request, send_slowly(ok(b"slowly"))])
    assert stage.lbd.ask(get()).body == b"slowly"
    stage.assert_recovered()


ADDRESS = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<bad>], timeouts: {connect: 300ms}}]
"""


@pytest.mark.parametrize("data", REQUESTS.values(), ids=list(REQUESTS))
def test_refuses(data: bytes) -> None:
    with Refusing() as bad, Lbd(ADDRESS, bad=bad) as lbd:
        before = lbd.fds("socket")
        for _ in range(5):
            response = lbd.ask(data)
            assert (response.status, response.reason) == (502, "connect_failed")
        assert_sockets_return(lbd, before)


def test_blackhole() -> None:
    with Blackhole() as bad, Lbd(ADDRESS, bad=bad) as lbd:
        before = lbd.fds("socket")
        response = lbd.ask(get())
        assert (response.status, response.reason) == (504, "connect_timeout")
        assert_sockets_return(lbd, before)


def assert_sockets_return(lbd: Lbd, before: int) -> None:
    eventually(lambda: lbd.fds("socket") <= before, f"sockets return to {before}")


def test_a_refusing_endpoint_does_not_hide_a_good_one() -> None:
    """Connect failures are retried on another endpoint: no client notices."""
    config = ADDRESS.replace("[<bad>]", "[<bad>, <good>]")
    with Refusing() as bad, Origin([recv_request, send(ok(b"good"))]) as good, Lbd(config, bad=bad,
                                                                                   good=good) as lbd:
        for number in range(6):
            response = lbd.ask(post(f"/{number}", b"body", "Connection: close"))
            assert (response.status, response.body) == (200, b"good")
            good.close_all()


def test_many_faults_in_a_row_leak_no_descriptor(stage: Stage) -> None:
    """Sockets and pipes: the second round of all quick faults leaves as many as the first."""
    def one_round() -> int:
        for script, outcomes in FAULTS.values():
            if (504, "response_timeout") not in outcomes:
                stage.play(script)
                stage.lbd.ask(get())
        stage.assert_recovered()
        return stage.lbd.fds()

    assert one_round() >= one_round()
