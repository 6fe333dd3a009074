"""HTTP/2 endpoints that refuse, break off, or break the rules: retried where safe, else a visible error.

RFC 9113 5.4, 6.4, 6.8, 6.9, 6.10, 8.1.1, 8.7. Frames are made by hand where `h2` would not send them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from h2_endpoint import Codes, H2Origin, Request
from harness.lbd import Lbd
from harness.messages import chunk, get, head, post
from harness.origin import Connection, Origin, Step, recv_all, send
from harness.waiting import TIMEOUT, eventually
from http2.frames import (
    CANCEL,
    INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    REFUSED_STREAM,
    SETTINGS_ACK,
    settings,
)
from http2.wire import H2Client

ONE = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, protocol: http2, endpoints: [<endpoint>], timeouts: {response: 500ms, body: 500ms}}
"""
TWO = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, balancer: round_robin, endpoints: [<first>, <second>]}]
"""
BODY = bytes(range(256)) * 800  # more than three windows


def ok(request: Request) -> None:
    request.answer(b"served")


def refuse(request: Request) -> None:
    request.cut(REFUSED_STREAM)


# refused: another attempt is safe, whatever the method (RFC 9113 8.7)


@pytest.mark.parametrize("ask", [get("/"), post("/", b"pay 10")], ids=["get", "post"])
def test_refused_stream_goes_to_the_other_endpoint(ask: bytes) -> None:
    with H2Origin(refuse) as first, H2Origin(ok) as second, Lbd(TWO, first=first, second=second) as lbd:
        for _ in range(4):
            response = lbd.ask(ask)
            assert (response.status, response.body) == (200, b"served")
        assert second.bodies() == [ask.partition(b"\r\n\r\n")[2]] * 4
        assert 2 <= len(first.requests) <= 4
        assert len(first.sessions) == 1, "the connection was not at fault"
        assert first.malformed == second.malformed == []


def test_refused_stream_is_tried_again_where_there_is_one_endpoint() -> None:
    def refuse_first(request: Request) -> None:
        (refuse if len(request.session.endpoint.requests) == 1 else ok)(request)

    with H2Origin(refuse_first) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        assert lbd.ask(post("/", b"x")).body == b"served"
        assert endpoint.bodies() == [b"x", b"x"]


def test_endless_refusals_end() -> None:
    with H2Origin(refuse) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        response = lbd.ask(post("/", b"x"))
        assert (response.status, response.reason) == (503, "stream_refused")
        assert 2 <= len(endpoint.requests) <= 5


def test_refused_upload_that_is_on_its_way() -> None:
    """What has been given away cannot be sent again: an error, not half a body for the next endpoint."""
    first, second = (H2Origin(at="head", script=lambda request: None) for _ in range(2))
    with first, second, Lbd(TWO, first=first, second=second) as lbd, lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: h.test", "Transfer-Encoding: chunked") + chunk(b"part"))
        request = eventually(lambda: first.requests + second.requests, "the head")[0]
        eventually(lambda: request.body == b"part", "the part")
        refuse(request)
        response = client.read_response("POST")
        assert (response.status, response.reason) == (503, "stream_refused")
        assert len(first.requests) + len(second.requests) == 1


# broken off


@pytest.mark.parametrize("code", [CANCEL, INTERNAL_ERROR, NO_ERROR])
def test_reset_before_the_head_is_an_error(code: int) -> None:
    with H2Origin(lambda request: request.cut(code)) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        response = lbd.ask(post("/", b"pay"))
        assert (response.status, response.reason) == (502, "upstream_reset")
        assert len(endpoint.requests) == 1, "it may have been done: not to be sent again"


def begin_and_cut(request: Request) -> None:
    request.head([(":status", "200")])
    request.data(b"part")
    request.cut(INTERNAL_ERROR)


def begin_and_hang_up(request: Request) -> None:
    request.head([(":status", "200")])
    request.data(b"part")
    request.session.endpoint.hang_up()  # type: ignore[attr-defined]


CUTS = pytest.mark.parametrize("cut", [begin_and_cut, begin_and_hang_up], ids=["reset", "closed"])


@CUTS
def test_cut_response_is_visibly_cut_over_http1(cut: Callable[[Request], None]) -> None:
    with H2Origin(cut) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        response = lbd.ask(get("/"))
        assert response.status in (200, 502)
        if response.status == 200:
            assert (response.body, response.complete) == (b"part", False)
            assert response.end is not None


@CUTS
def test_cut_response_is_visibly_cut_over_http2(cut: Callable[[Request], None]) -> None:
    with (
        H2Origin(cut) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd,
        H2Client(lbd.address()).start() as client,
    ):
        answer = client.ask(1)
        assert answer.status in (200, 502)
        assert answer.status == 502 or (answer.reset is not None and not answer.complete)
        client.settle()
        assert client.goaway is None, "the client's other streams are not at fault"


def test_reset_after_a_whole_response_is_no_error() -> None:
    """RFC 9113 8.1: NO_ERROR once the response is complete says: spare me the rest of the request."""

    def enough(request: Request) -> None:
        request.answer(b"enough")
        request.cut(NO_ERROR)

    with H2Origin(enough, at="head") as endpoint, Lbd(ONE, endpoint=endpoint) as lbd, lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: h.test", "Content-Length: 1000000"))
        response = client.read_response("POST")
        assert (response.status, response.body, response.complete) == (200, b"enough", True)


def test_reset_of_one_stream_leaves_the_others_alone() -> None:
    go_on = threading.Event()

    def serve(request: Request) -> None:
        if ("x-cut", "1") in request.fields:
            request.cut(INTERNAL_ERROR)
        else:
            threading.Thread(target=lambda: go_on.wait(TIMEOUT) and ok(request), daemon=True).start()

    with H2Origin(serve) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd, lbd.connect() as client:
        client.send(get("/"))
        eventually(lambda: endpoint.requests, "the first")
        assert lbd.ask(post("/", b"", "X-Cut: 1")).status == 502
        go_on.set()
        assert client.read_response().body == b"served"
        assert len(endpoint.sessions) == 1


# GOAWAY (RFC 9113 6.8)


@pytest.mark.parametrize("ask", [get("/"), post("/", b"pay 10")], ids=["get", "post"])
def test_goaway_before_a_stream_was_looked_at(ask: bytes) -> None:
    """Streams above the last one named were not processed: tried again on a new connection."""

    def first_leaves(request: Request) -> None:
        if request.session.index == 0:
            request.session.goodbye(last=0)
        else:
            ok(request)

    with H2Origin(first_leaves) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        response = lbd.ask(ask)
        assert (response.status, response.body) == (200, b"served")
        assert endpoint.bodies() == [ask.partition(b"\r\n\r\n")[2]] * 2
        assert len(endpoint.sessions) == 2


def test_goaway_inside_a_response_lets_it_end() -> None:
    def leave(request: Request) -> None:
        request.head([(":status", "200")])
        request.data(b"first ")
        request.session.goodbye(last=request.stream)

    with H2Origin(leave) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd, lbd.connect() as client:
        client.send(get("/"))
        assert client.read_until(b"first \r\n").endswith(b"\r\n\r\n6\r\nfirst \r\n")
        endpoint.script = ok
        assert lbd.ask(get("/")).body == b"served"
        assert len(endpoint.sessions) == 2, "nothing new on a connection that is said goodbye to"
        endpoint.requests[0].data(b"second", end=True)
        assert client.read_until(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"
        eventually(lambda: endpoint.sessions[0].connection.ended, "the old connection is closed")


def test_goaway_in_two_steps() -> None:
    """2^31-1 first: a warning; then the true last stream. What is under way ends."""

    def warn(request: Request) -> None:
        if request.session.index == 0:
            request.session.goodbye(last=2**31 - 1)
            request.session.goodbye(last=request.stream)
        ok(request)

    with H2Origin(warn) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        for _ in range(5):
            assert lbd.ask(post("/", b"x")).body == b"served"
        assert len(endpoint.requests) == 5


def test_goaway_on_an_idle_connection() -> None:
    with H2Origin(ok) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        assert lbd.ask(get("/")).body == b"served"
        endpoint.sessions[0].goodbye(last=1)
        eventually(lambda: endpoint.sessions[0].connection.ended, "lbd closes it")
        assert lbd.ask(post("/", b"x")).body == b"served"
        assert len(endpoint.sessions) == 2


def test_every_connection_says_goodbye_at_once() -> None:
    """Bounded: no endless round of connections for one request."""

    def leave(request: Request) -> None:
        request.session.goodbye(last=0)

    with H2Origin(leave) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        response = lbd.ask(get("/"))
        assert (response.status, response.reason) == (503, "stream_refused")
        assert len(endpoint.sessions) <= 5


def recv_once(connection: Connection) -> None:
    connection.recv()


# settings and windows (RFC 9113 6.5, 6.9)


def test_one_stream_at_a_time() -> None:
    config = ONE.replace("[<endpoint>]", "[<endpoint>], connections: {max: 1}")
    endpoint = H2Origin(ok, settings={Codes.MAX_CONCURRENT_STREAMS: 1})
    with endpoint, Lbd(config, endpoint=endpoint) as lbd:
        assert lbd.ask(get("/")).body == b"served"
        clients = [lbd.connect() for _ in range(20)]
        try:
            for client in clients:
                client.send(get("/"))
            assert [client.read_response().body for client in clients] == [b"served"] * 20
        finally:
            for client in clients:
                client.close()
        assert endpoint.sessions[0].peak == 1
        assert endpoint.malformed == []


def test_no_stream_at_all() -> None:
    """MAX_CONCURRENT_STREAMS 0: wait in vain, but not for ever."""
    config = ONE.replace("[<endpoint>]", "[<endpoint>], connections: {max: 1}")
    config = config.replace("{response:", "{queue: 300ms, response:")
    script: list[Step] = [recv_once, send(settings((MAX_CONCURRENT_STREAMS, 0)) + SETTINGS_ACK), recv_all]
    with Origin(script) as endpoint, Lbd(config, endpoint=endpoint) as lbd:
        assert lbd.ask(get("/")).status >= 500
        assert lbd.ask(get("/")).status >= 500


def test_no_window_to_begin_with() -> None:
    """The body waits for WINDOW_UPDATE, and is all there in the end."""
    endpoint = H2Origin(ok, settings={Codes.INITIAL_WINDOW_SIZE: 0}, miserly=True, at="head")
    endpoint.script = lambda request: None
    config = ONE.replace("500ms", "5s")
    with endpoint, Lbd(config, endpoint=endpoint) as lbd, lbd.connect() as client:
        assert client.send_while_accepted(post("/", BODY))
        request = eventually(lambda: endpoint.requests[:1], "the head")[0]
        while (size := len(request.body)) < len(BODY):  # 65535 may come before lbd knows of the window
            request.session.do(lambda http: open_window(http, request.stream, 70_000))
            eventually(lambda size=size: len(request.body) > size, "more of the body")
        eventually(lambda: request.complete, "the end")
        assert bytes(request.body) == BODY
        ok(request)
        assert client.read_response("POST").body == b"served"
        assert endpoint.malformed == []


def open_window(http: object, stream: int, size: int) -> None:
    for where in (None, stream):
        http.increment_flow_control_window(size, where)  # type: ignore[attr-defined]


def test_window_that_never_opens() -> None:
    endpoint = H2Origin(settings={Codes.INITIAL_WINDOW_SIZE: 0}, miserly=True)
    with endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        response = lbd.ask(post("/", BODY))
        assert response.status == 504
        assert lbd.ask(post("/", b"")).status == 200, "only that stream was stuck"
