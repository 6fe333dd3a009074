"""The four kinds of calls, and that nothing of them is changed or held back.

gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc/grpc); every message must pass before the next one is sent."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Iterator

import grpc
import pytest
from grpc_peers import (
    LARGE,
    METHOD,
    GrpcServer,
    Said,
    both_stream,
    call,
    channel,
    client_stream,
    echo,
    echo_each,
    failure,
    in_parallel,
    server_stream,
    unary,
)
from h2_endpoint import GRPC_OK, H2Origin, Request
from harness.lbd import Lbd
from harness.waiting import TIMEOUT

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, protocol: http2, endpoints: [<server>]}]
"""
received: queue.Queue[bytes] = queue.Queue()  # by Collect, message by message
wanted: queue.Queue[bytes | None] = queue.Queue()  # what Tell says next
ALL_BYTES = bytes(range(256))


def collect(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    digest = hashlib.sha256()
    for message in messages:
        received.put(message)
        digest.update(message)
    return digest.digest()


def tell(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    while (message := wanted.get(timeout=4 * TIMEOUT)) is not None:
        yield message


def repeat(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


def fail_with(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Nothing but the status: trailers only."""
    code = next(code for code in grpc.StatusCode if code.value[0] == int(request))
    context.set_code(code)
    context.set_details(f"status {code.name}")
    return b""


def abort(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("x-why", "aborted"), ("x-proof-bin", ALL_BYTES)))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())


def fail_late(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"first"
    yield b"second"
    context.set_trailing_metadata((("x-why", "late"),))
    context.abort(grpc.StatusCode.DATA_LOSS, "no third")


def metadata(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The client's own metadata, back as initial and as trailing metadata."""
    own = [(key, value) for key, value in context.invocation_metadata() if key.startswith("t-")]
    context.send_initial_metadata(own)
    context.set_trailing_metadata([(f"trailing-{key}", value) for key, value in own])
    return b""


HANDLERS = {
    "Echo": unary(echo), "Collect": client_stream(collect), "Tell": server_stream(tell),
    "EchoEach": both_stream(echo_each), "Repeat": server_stream(repeat), "FailWith": unary(fail_with),
    "Abort": unary(abort), "FailLate": server_stream(fail_late), "Metadata": unary(metadata),
}


@pytest.fixture(scope="module")
def lbd() -> Iterator[Lbd]:
    with GrpcServer(HANDLERS) as server, Lbd(CONFIG, server=server) as lbd:
        yield lbd


@pytest.fixture
def client(lbd: Lbd) -> Iterator[grpc.Channel]:
    with channel(lbd) as client:
        yield client


@pytest.mark.parametrize("message", [b"", b"x", ALL_BYTES * 100], ids=["empty", "one", "25600"])
def test_unary(client: grpc.Channel, message: bytes) -> None:
    assert call(client, message) == message


def test_server_stream_is_not_buffered(client: grpc.Channel) -> None:
    answers = client.unary_stream(METHOD("Tell"))(b"", timeout=4 * TIMEOUT)
    for number in range(50):
        wanted.put(b"%d" % number)
        assert next(answers) == b"%d" % number
    wanted.put(None)
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK


def test_client_stream_is_not_buffered(client: grpc.Channel) -> None:
    said, digest = Said(), hashlib.sha256()
    answer = client.stream_unary(METHOD("Collect")).future(iter(said), timeout=4 * TIMEOUT)
    for number in range(50):
        said.say(b"%d" % number)
        assert received.get(timeout=TIMEOUT) == b"%d" % number
        digest.update(b"%d" % number)
    said.end()
    assert answer.result(TIMEOUT) == digest.digest()


def test_bidirectional_stream_is_not_buffered(client: grpc.Channel) -> None:
    said = Said()
    answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=4 * TIMEOUT)
    for number in range(100):
        said.say(b"%d" % number)
        assert next(answers) == b"%d" % number
    said.end()
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK


def test_initial_metadata_comes_before_the_first_message(client: grpc.Channel) -> None:
    """Response headers are not held back until there is a body."""
    answers = client.unary_stream(METHOD("Tell"))(b"", timeout=TIMEOUT)
    wanted.put(b"only")
    assert next(answers) == b"only"
    said = Said()
    open_call = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=TIMEOUT)
    said.say(b"x")
    assert open_call.initial_metadata() is not None
    said.end()
    wanted.put(None)
    assert (list(open_call), list(answers)) == ([b"x"], [])


def test_many_small_messages_in_order(client: grpc.Channel) -> None:
    answers = client.unary_stream(METHOD("Repeat"))(b"5000", timeout=4 * TIMEOUT)
    assert list(answers) == [b"%d" % number for number in range(5000)]


def test_many_small_messages_both_ways(client: grpc.Channel) -> None:
    """A frame and a window update for each is how gRPC speaks: no flood."""
    messages = [b"%d" % number for number in range(5000)]
    answers = client.stream_stream(METHOD("EchoEach"))(iter(messages), timeout=4 * TIMEOUT)
    assert list(answers) == messages


def test_many_cancelled_calls_do_not_end_the_channel(client: grpc.Channel) -> None:
    """Within the listener's `http2.resets` (200 in a row)."""
    for _ in range(150):
        answers = client.unary_stream(METHOD("Repeat"))(b"100000", timeout=TIMEOUT)
        assert next(answers) == b"0"
        answers.cancel()
    assert call(client, b"x") == b"x"


def test_large_messages_both_ways(client: grpc.Channel) -> None:
    message = ALL_BYTES * (LARGE // 256)
    assert call(client, message, timeout=4 * TIMEOUT) == message


def test_large_messages_in_a_stream(client: grpc.Channel) -> None:
    messages = [bytes([number]) * LARGE for number in range(3)]
    answers = client.stream_stream(METHOD("EchoEach"))(iter(messages), timeout=4 * TIMEOUT)
    assert [hashlib.sha256(answer).digest() for answer in answers] == [
        hashlib.sha256(message).digest() for message in messages
    ]


def test_streams_of_one_channel_do_not_hinder_each_other(client: grpc.Channel) -> None:
    """An open call, and others that come and go beside it."""
    said = Said()
    answers = client.stream_stream(METHOD("EchoEach"))(iter(said), timeout=4 * TIMEOUT)
    said.say(b"before")
    assert next(answers) == b"before"
    assert in_parallel(20, lambda number: call(client, b"%d" % number)) == [b"%d" % n for n in range(20)]
    said.say(b"after")
    assert next(answers) == b"after"
    said.end()
    assert list(answers) == []


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:], ids=lambda code: code.name)
def test_status_codes_pass(client: grpc.Channel, code: grpc.StatusCode) -> None:
    error = failure(client, b"%d" % code.value[0], "FailWith")
    assert (error.code(), error.details()) == (code, f"status {code.name}")


@pytest.mark.parametrize("why", ["plain", "50 % of größe\n\tähm \U0001f600", "a" * 2000, ""])
def test_trailers_only_errors_keep_message_and_metadata(client: grpc.Channel, why: str) -> None:
    error = failure(client, why.encode(), "Abort")
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, why)
    trailing = dict(error.trailing_metadata())
    assert (trailing.get("x-why"), trailing.get("x-proof-bin")) == ("aborted", ALL_BYTES)


def test_error_behind_messages(client: grpc.Channel) -> None:
    answers = client.unary_stream(METHOD("FailLate"))(b"", timeout=TIMEOUT)
    assert [next(answers), next(answers)] == [b"first", b"second"]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "no third")
    assert ("x-why", "late") in caught.value.trailing_metadata()


def test_unknown_method_is_answered_by_the_server(client: grpc.Channel) -> None:
    error = failure(client, name="Nowhere")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "request " not in error.details(), "that is how lbd's own errors end"


METADATA = {
    "ascii": [("t-a", "plain text"), ("t-b", "0")],
    "binary": [("t-all-bin", ALL_BYTES), ("t-zero-bin", b"\0"), ("t-empty-bin", b"")],
    "repeated": [("t-a", "1"), ("t-b", "2"), ("t-a", "3")],
    "long": [("t-long", "v" * 3000), ("t-long-bin", ALL_BYTES * 8)],
    "many": [(f"t-{number}", str(number)) for number in range(60)],
}


@pytest.mark.parametrize("sent", METADATA.values(), ids=METADATA)
def test_metadata_both_ways(client: grpc.Channel, sent: list[tuple[str, str | bytes]]) -> None:
    work = client.unary_unary(METHOD("Metadata"))
    _, done = work.with_call(b"", metadata=sent, timeout=TIMEOUT)
    initial = [(key, value) for key, value in done.initial_metadata() if key.startswith("t-")]
    trailing = [(key, value) for key, value in done.trailing_metadata() if key.startswith("trailing-")]
    assert sorted(initial) == sorted(sent)
    assert sorted(trailing) == sorted((f"trailing-{key}", value) for key, value in sent)
    assert [value for key, value in initial if key == "t-a"] == [value for key, value in sent if key == "t-a"]


def test_compressed_messages_pass_untouched() -> None:
    """The endpoint gets, and sends back, the frames of the client octet by octet."""

    def mirror(request: Request) -> None:
        request.head([*GRPC_OK, ("grpc-encoding", "gzip")])
        request.data(bytes(request.body))
        request.head([("grpc-status", "0")])

    message = b"compress me " * 10000
    with H2Origin(mirror) as endpoint, Lbd(CONFIG, server=endpoint) as lbd, channel(lbd) as client:
        assert call(client, message, compression=grpc.Compression.Gzip) == message
        (request,) = endpoint.requests
        assert request.one("grpc-encoding") == "gzip"
        assert "gzip" in (request.one("grpc-accept-encoding") or "")
        assert request.body[:1] == b"\1" and len(request.body) < len(message) / 10
        assert endpoint.malformed == []


def test_head_of_a_call_as_the_endpoint_sees_it() -> None:
    """gRPC over HTTP/2, Requests: te, content-type and timeout are the endpoint's to see."""

    def accept(request: Request) -> None:
        request.answer(b"\0\0\0\0\0", ("content-type", "application/grpc"), trailers=[("grpc-status", "0")])

    with H2Origin(accept) as endpoint, Lbd(CONFIG, server=endpoint) as lbd, channel(lbd) as client:
        assert call(client) == b""
        (request,) = endpoint.requests
        pseudo = {name: value for name, value in request.fields if name.startswith(":")}
        assert pseudo == {":method": "POST", ":scheme": "http", ":path": METHOD("Echo"),
                          ":authority": "{}:{}".format(*lbd.address())}
        assert request.one("te") == "trailers"
        assert request.one("content-type") == "application/grpc"
        assert (request.one("grpc-timeout") or "")[-1:] in ("m", "S", "u", "n")
        assert (request.one("user-agent") or "").startswith("grpc-python")
        assert request.one("x-forwarded-for") == "127.0.0.1"
        assert endpoint.malformed == []
