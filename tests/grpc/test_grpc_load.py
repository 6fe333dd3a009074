"""Many calls at a time: spread, limits of the endpoints, GOAWAY under load, PING.

RFC 9113 5.1.2, 6.5.3, 6.7, 6.8."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
from grpc_peers import (
    METHOD,
    GrpcServer,
    Load,
    Said,
    both_stream,
    call,
    channel,
    echo,
    echo_each,
    in_parallel,
    unary,
)
from h2_endpoint import Codes, H2Origin, Request
from harness.lbd import Lbd
from harness.waiting import TIMEOUT, eventually
from http2.frames import data, headers, request
from http2.wire import H2Client

ONE = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, endpoints: [<server>]}]
"""
TWO = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, balancer: round_robin, endpoints: [<first>, <second>]}]
"""
HANDLERS = {"Echo": unary(echo), "EchoEach": both_stream(echo_each)}


class Busy:
    """A handler that counts how many calls run at a time on each connection; 20 ms of work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()

    def work(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        peer = context.peer()
        with self.lock:
            self.running[peer] += 1
            self.peak[peer] = max(self.peak[peer], self.running[peer])
        time.sleep(0.02)
        with self.lock:
            self.running[peer] -= 1
        return message


def serve(request: Request) -> None:
    request.answer(bytes(request.body), ("content-type", "application/grpc"), trailers=[("grpc-status", "0")])


def test_calls_of_one_channel_are_spread_evenly() -> None:
    with (
        GrpcServer(HANDLERS) as first, GrpcServer(HANDLERS) as second,
        Lbd(TWO, first=first, second=second) as lbd, channel(lbd) as client,
    ):
        answers = in_parallel(20, lambda number: [call(client, b"%d" % number) for _ in range(10)])
        assert answers == [[b"%d" % number] * 10 for number in range(20)]
        assert (len(first.calls.seen), len(second.calls.seen)) == (100, 100)


def test_calls_share_connections() -> None:
    """100 calls at a time are no 100 connections."""
    with H2Origin(serve) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        in_parallel(50, lambda number: [call(client, b"x") for _ in range(4)])
        assert len(endpoint.complete) == 200
        assert len(endpoint.sessions) <= 4
        assert endpoint.malformed == []


@pytest.mark.parametrize("connections", ["", ", connections: {max: 1}"], ids=["many", "one"])
def test_limit_of_streams_of_the_server_is_respected(connections: str) -> None:
    """Also at the start: gRPC servers reset streams beyond the limit by ENHANCE_YOUR_CALM, which is not a
    safe refusal, so lbd must know the limit before it opens more than one."""
    busy = Busy()
    config = ONE.replace("[<server>]", "[<server>]" + connections)
    options = [("grpc.max_concurrent_streams", 2)]
    with (
        GrpcServer({"Echo": unary(busy.work)}, options, threads=64) as server,
        Lbd(config, server=server) as lbd, channel(lbd) as client,
    ):
        answers = in_parallel(50, lambda number: call(client, b"%d" % number, timeout=4 * TIMEOUT))
        assert answers == [b"%d" % number for number in range(50)]
        assert max(busy.peak.values()) <= 2
        if connections:
            assert len(busy.peak) == 1


@pytest.mark.parametrize("limit", [1, 3])
def test_limit_of_streams_is_never_passed_once_known(limit: int) -> None:
    """h2 ends a connection that passes the limit; connections: one, so that calls must wait."""
    config = ONE.replace("[<server>]", "[<server>], connections: {max: 1}")
    endpoint = H2Origin(serve, settings={Codes.MAX_CONCURRENT_STREAMS: limit})
    with endpoint, Lbd(config, server=endpoint) as lbd, channel(lbd) as client:
        call(client, b"x")  # lbd has the settings
        answers = in_parallel(30, lambda number: call(client, b"%d" % number))
        assert answers == [b"%d" % number for number in range(30)]
        assert endpoint.malformed == []
        (session,) = endpoint.sessions
        assert session.peak <= limit


def test_limit_of_streams_that_falls_while_calls_run() -> None:
    """New SETTINGS apply to new streams only; those under way are not cut (RFC 9113 5.1.2)."""
    go_on = threading.Event()

    def wait(request: Request) -> None:
        threading.Thread(target=lambda: go_on.wait(TIMEOUT) and serve(request), daemon=True).start()

    with H2Origin(wait) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        futures = [client.unary_unary(METHOD("Any")).future(b"%d" % n, timeout=2 * TIMEOUT) for n in range(5)]
        eventually(lambda: len(endpoint.complete) == 5, "five calls")
        endpoint.sessions[0].do(lambda http: http.update_settings({Codes.MAX_CONCURRENT_STREAMS: 1}))
        go_on.set()
        assert [future.result(TIMEOUT) for future in futures] == [b"%d" % n for n in range(5)]
        assert in_parallel(10, lambda number: call(client, b"%d" % number)) == [b"%d" % n for n in range(10)]
        assert endpoint.malformed == []


def test_stopping_one_of_two_servers_costs_no_call() -> None:
    """Graceful stop: GOAWAY, calls under way end, no new connections; the other endpoint takes over."""
    busy = Busy()
    handlers = {"Echo": unary(busy.work)}
    with GrpcServer(handlers) as first, GrpcServer(handlers) as second:
        with Lbd(TWO, first=first, second=second) as lbd, channel(lbd) as client:
            with Load(lambda: call(client, b"x"), threads=8) as load:
                eventually(lambda: load.done > 50, "load")
                first.server.stop(TIMEOUT).wait(TIMEOUT)
                done = load.done
                eventually(lambda: load.done > done + 50, "load goes on")
            # grpcio cancels what reaches a stopping server before its GOAWAY has reached the sender
            assert {error.code() for error in load.failed} <= {grpc.StatusCode.CANCELLED}
            assert len(load.failed) <= 8
        assert first.calls.seen and second.calls.seen


def test_goaway_under_load_costs_no_call() -> None:
    """Every call is served exactly once: those that crossed the GOAWAY are made again, no other is."""
    with H2Origin(serve) as endpoint, Lbd(ONE, server=endpoint) as lbd, channel(lbd) as client:
        with Load(lambda: call(client, b"x"), threads=8) as load:
            for count in range(1, 21):
                eventually(lambda count=count: len(endpoint.sessions) >= count, "a new connection")
                eventually(lambda count=count: load.done >= 10 * count, "load")
                endpoint.sessions[-1].goodbye()
        assert load.failed == []
        assert len(endpoint.complete) == load.done
        assert endpoint.malformed == []


def test_connections_that_age_out_cost_no_call() -> None:
    """The server ends its connections by GOAWAY again and again; it is the only one."""
    busy = Busy()
    options = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 5000)]
    with (
        GrpcServer({"Echo": unary(busy.work)}, options) as server,
        Lbd(ONE, server=server) as lbd, channel(lbd) as client,
    ):
        with Load(lambda: call(client, b"x"), threads=8) as load:
            eventually(lambda: len(busy.peak) >= 8, "eight connections", timeout=4 * TIMEOUT)
        assert load.failed == []
        assert load.done >= 50


def test_goaway_lets_an_open_stream_end() -> None:
    options = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 10000)]
    with GrpcServer(HANDLERS, options) as server, Lbd(ONE, server=server) as lbd, channel(lbd) as client:
        said = Said()
        answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=2 * TIMEOUT)
        start = time.monotonic()
        number = 0
        while time.monotonic() < start + 0.6:
            said.say(b"%d" % number)
            assert next(answers) == b"%d" % number
            number += 1
        said.end()
        assert list(answers) == []
        assert answers.code() is grpc.StatusCode.OK


def test_pings_of_the_client_do_no_harm() -> None:
    """Keepalive far more often than gRPC servers allow (they end such connections by ENHANCE_YOUR_CALM)."""
    options = [("grpc.keepalive_time_ms", 20), ("grpc.keepalive_timeout_ms", 2000),
               ("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_permit_without_calls", 1)]
    with (
        GrpcServer(HANDLERS) as server, Lbd(ONE, server=server) as lbd,
        channel(lbd, options=options) as client,
    ):
        said = Said()
        answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=2 * TIMEOUT)
        said.say(b"before")
        assert next(answers) == b"before"
        with pytest.raises(grpc.FutureTimeoutError):
            answers.result(timeout=1)  # one second of silence, but for some 50 PINGs
        said.say(b"after")
        assert next(answers) == b"after"
        said.end()
        assert list(answers) == []


def test_pings_of_the_client_stay_with_lbd() -> None:
    with H2Origin(at="head", script=lambda request: None) as endpoint, Lbd(ONE, server=endpoint) as lbd:
        with H2Client(lbd.address()).start() as client:
            block = request(METHOD("Any"), ("content-type", "application/grpc"), method="POST")
            client.send(headers(1, block, end=False) + data(1, b"\0\0\0\0\0", end=False))
            eventually(lambda: endpoint.requests, "the call")
            for _ in range(50):
                client.settle()
            serve(endpoint.requests[0])
            answer = client.read_answer(1)
            assert answer.complete and ("grpc-status", "0") in answer.trailers
        assert endpoint.sessions[0].pings == 0


@pytest.fixture
def pinging() -> Iterator[GrpcServer]:
    options = [("grpc.keepalive_time_ms", 50), ("grpc.keepalive_timeout_ms", 500),
               ("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_permit_without_calls", 1)]
    with GrpcServer(HANDLERS, options) as server:
        yield server


def test_pings_of_the_server_are_answered(pinging: GrpcServer) -> None:
    """A server that hears no answer ends the connection after 500 ms."""
    with Lbd(ONE, server=pinging) as lbd, channel(lbd) as client:
        said = Said()
        answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=2 * TIMEOUT)
        said.say(b"before")
        assert next(answers) == b"before"
        with pytest.raises(grpc.FutureTimeoutError):
            answers.result(timeout=1.2)
        said.say(b"after")
        assert next(answers) == b"after"
        said.end()
        assert list(answers) == []
