"""What goes wrong between lbd and its endpoints, as gRPC clients get to see it: a status, and never a hang.

gRPC over HTTP/2, Errors; "HTTP to gRPC Status Code Mapping" of grpc/grpc."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_peers import METHOD, GrpcServer, Said, both_stream, call, channel, echo, echo_each, failure, unary
from h2_endpoint import GRPC_OK, H2Origin, Request
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.origin import Blackhole, Connection, Origin, Refusing, recv_all, reset
from harness.waiting import TIMEOUT, eventually

CONFIG = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: routed, bind: "127.0.0.1:0", routes: [{match: {path: /known/*}, cluster: app}]}
  - {name: lost, bind: "127.0.0.1:0", cluster: lost}
  - {name: hole, bind: "127.0.0.1:0", cluster: hole}
  - {name: small, bind: "127.0.0.1:0", cluster: app, limits: {body: 1KiB}}
clusters:
  - {name: app, protocol: http2, endpoints: [<server>]}
  - {name: lost, protocol: http2, endpoints: [<refusing>]}
  - {name: hole, protocol: http2, endpoints: [<hole>], timeouts: {connect: 200ms}}
"""
ONE = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, endpoints: [<server>]}]
"""
TWO = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, endpoints: [<first>, <second>]}]
"""
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
HANDLERS = {"Echo": unary(echo), "EchoEach": both_stream(echo_each)}


@pytest.fixture(scope="module")
def lbd() -> Iterator[Lbd]:
    with (
        GrpcServer(HANDLERS) as server, Refusing() as refusing, Blackhole() as hole,
        Lbd(CONFIG, server=server, refusing=refusing, hole=hole) as lbd,
    ):
        yield lbd


@contextmanager
def process() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A gRPC server that can be killed; its address."""
    command = [sys.executable, str(Path(__file__).with_name("endless_server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"127.0.0.1:{int(server.stdout.readline())}", server
        finally:
            server.kill()


OWN = [
    ("lost", grpc.StatusCode.UNAVAILABLE, "connect_failed"),
    ("hole", grpc.StatusCode.UNAVAILABLE, "connect_timeout"),
    ("routed", grpc.StatusCode.UNIMPLEMENTED, "no_route"),
]


@pytest.mark.parametrize(("listener", "code", "reason"), OWN, ids=[row[2] for row in OWN])
def test_own_errors_are_a_status(lbd: Lbd, listener: str, code: grpc.StatusCode, reason: str) -> None:
    with channel(lbd, listener) as client:
        error = failure(client, b"message")
        assert error.code() is code
        assert reason in error.details() and "request " in error.details()


def test_too_large_a_message(lbd: Lbd) -> None:
    with channel(lbd, "small") as client:
        assert call(client, b"x" * 1000) == b"x" * 1000
        error = failure(client, b"x" * 100_000)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "body_too_large" in error.details()
        assert call(client, b"x" * 1000) == b"x" * 1000, "the channel is of no use any more"


def test_too_large_a_stream(lbd: Lbd) -> None:
    """Small messages that grow over the limit while the response is on its way."""
    with channel(lbd, "small") as client:
        said = Said()
        answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=TIMEOUT)
        said.say(b"x" * 500)
        assert next(answers) == b"x" * 500
        said.say(b"x" * 1000)
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
        said.end()
        assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        assert call(client, b"x") == b"x"


def test_metadata_beyond_the_limit_of_the_head(lbd: Lbd) -> None:
    with channel(lbd) as client:
        error = failure(client, metadata=[("t-long", "v" * 40_000)])
        assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN)
        assert "431" in error.details() or "head_too_large" in error.details()
        assert call(client, b"x") == b"x"


def test_server_killed_inside_a_stream() -> None:
    with process() as (address, server), Lbd(ONE, server=address) as lbd, channel(lbd) as client:
        answers = client.unary_stream(METHOD("Endless"))(b"", timeout=4 * TIMEOUT)
        assert [next(answers) for _ in range(100)] == [b"%d" % number for number in range(100)]
        server.kill()
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
        assert caught.value.code() in GONE
        assert failure(client).code() is grpc.StatusCode.UNAVAILABLE


def test_connection_that_ended_is_not_used_again() -> None:
    with H2Origin(serve_one) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        for number in range(5):
            assert call(client, b"x") == b""
            assert len(endpoint.sessions) == number + 1
            endpoint.hang_up()
            eventually(lambda: lbd.metric("lbd_upstream_connections", cluster="app") == 0, "it is dropped")


def serve_one(request: Request) -> None:
    request.answer(b"\0\0\0\0\0", ("content-type", "application/grpc"), trailers=[("grpc-status", "0")])


def recv_once(connection: Connection) -> None:
    connection.recv()


def test_server_gone_before_it_answered() -> None:
    with Origin([recv_once, reset]) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        error = failure(client, b"message")
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "upstream_reset" in error.details()


def test_call_that_may_have_run_is_not_made_twice() -> None:
    """A call is a POST: after its bytes were sent, only the endpoint can say that it is safe to repeat."""

    def die(request: Request) -> None:
        request.session.connection.close(reset=True)

    with H2Origin(die) as first, H2Origin(die) as second, Lbd(TWO, first=first, second=second) as lbd:
        with channel(lbd) as client:
            assert failure(client, b"pay").code() is grpc.StatusCode.UNAVAILABLE
        assert len(first.requests) + len(second.requests) == 1


def test_silent_endpoint_is_a_deadline() -> None:
    config = ONE.replace("[<server>]", "[<server>], timeouts: {response: 300ms}")
    with Origin([recv_all]) as endpoint, Lbd(config, server=endpoint) as lbd, channel(lbd) as client:
        error = failure(client, timeout=None)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "response_timeout" in error.details()


def test_endpoint_that_does_not_speak_http2() -> None:
    with EchoOrigin() as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        error = failure(client)
        assert error.code() in GONE
        assert "upstream_" in error.details()


HTTP_CODES = {400: "INTERNAL", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "UNIMPLEMENTED",
              429: "UNAVAILABLE", 500: "UNKNOWN", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "UNAVAILABLE"}


def test_http_errors_of_the_endpoint_pass() -> None:
    """No gRPC server answers so, but a proxy behind lbd might; the client maps it."""

    def refuse(request: Request) -> None:
        status = int((request.one(":path") or "").rpartition("/")[2])
        request.answer(b"no", ("content-type", "text/plain"), status=status)

    with H2Origin(refuse) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        got = {status: failure(client, name=str(status)).code().name for status in HTTP_CODES}
    assert got == HTTP_CODES


def test_stream_cut_by_the_endpoint() -> None:
    def cut(request: Request) -> None:
        request.head(GRPC_OK)
        request.data(b"\0\0\0\0\1x")
        request.cut(2)

    with H2Origin(cut) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        answers = client.unary_stream(METHOD("Any"))(b"", timeout=TIMEOUT)
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
        assert caught.value.code() in (*GONE, grpc.StatusCode.UNKNOWN)


def test_end_without_a_status_is_not_success() -> None:
    """END_STREAM without trailers: the client must not take it for OK."""

    def forget(request: Request) -> None:
        request.answer(b"\0\0\0\0\1x", ("content-type", "application/grpc"))

    with H2Origin(forget) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        assert failure(client).code() in (grpc.StatusCode.UNKNOWN, *GONE)
