"""Further attempts of gRPC calls: by their status, and not at all once messages came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_peers import GrpcServer, both_stream, call, channel, echo, failure, unary
from harness.lbd import Lbd
from harness.waiting import eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout, format: json}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    protocol: http2
    endpoints: [{address: <bad>, name: bad}, {address: <good>, name: good}]
    retry: {grpc: [unavailable], methods: [POST], buffer: 64KiB}
"""


def refuse(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def not_found(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "no")


def begin_and_fail(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield next(messages)
    context.abort(grpc.StatusCode.UNAVAILABLE, "half-way")


BAD = {"Echo": unary(refuse), "Find": unary(not_found), "EchoEach": both_stream(begin_and_fail)}
GOOD = {"Echo": unary(echo), "Find": unary(echo), "EchoEach": both_stream(lambda messages, _: messages)}


@contextmanager
def staged() -> Iterator[tuple[Lbd, grpc.Channel, GrpcServer, GrpcServer]]:
    with (
        GrpcServer(BAD) as bad,
        GrpcServer(GOOD) as good,
        Lbd(CONFIG, bad=bad, good=good) as lbd,
        channel(lbd) as calls,
    ):
        yield lbd, calls, bad, good


@pytest.mark.parametrize("size", [0, 10, 40_000])
def test_listed_status_goes_to_another_endpoint(size: int) -> None:
    with staged() as (lbd, calls, bad, good):
        message = bytes(size)
        assert call(calls, message) == message
        assert bad.calls.seen == ["Echo"] and good.calls.seen == ["Echo"]
        assert lbd.metric("lbd_retries_total", reason="grpc") == 1
        eventually(lambda: lbd.output, "a line in the access log")
        attempt = json.loads(lbd.output[0])["attempts"][0]
        assert (attempt["endpoint"], attempt["status"]) == ("bad", 200)


def test_other_status_is_the_answer() -> None:
    with staged() as (_, calls, bad, good):
        assert failure(calls, b"x", "Find").code() is grpc.StatusCode.NOT_FOUND
        assert bad.calls.seen == ["Find"] and good.calls.seen == []


def test_call_that_has_begun_is_never_repeated() -> None:
    with staged() as (_, calls, bad, good):
        stream = calls.stream_stream("/lbd.Test/EchoEach")(iter([b"one", b"two"]), timeout=5)
        assert next(stream) == b"one"
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert bad.calls.seen == ["EchoEach"] and good.calls.seen == []
