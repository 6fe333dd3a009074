"""Deadlines and cancellation: nobody works for a caller that has gone.

gRPC over HTTP/2: grpc-timeout is `digits unit`; a call past it is ended by RST_STREAM(CANCEL) towards the
endpoint, and by DEADLINE_EXCEEDED towards the client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from grpc_peers import METHOD, GrpcServer, Said, both_stream, call, channel, failure, server_stream, unary
from h2_endpoint import GRPC_OK, Codes, H2Origin, Request
from harness.lbd import Lbd
from harness.origin import Blackhole
from harness.waiting import TIMEOUT, eventually
from http2.frames import CANCEL, data, headers, request, rst_stream
from http2.wire import Answer, H2Client

CONFIG = """
access_log: {to: stdout, format: json}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    protocol: http2
    endpoints: [<server>]
    timeouts: {response: 300ms, body: 300ms, connect: 20s}
"""


class Watched:
    """Handlers that answer only when told to, and notice that the call is over."""

    def __init__(self) -> None:
        self.begun, self.over, self.go_on = threading.Event(), threading.Event(), threading.Event()
        self.left: list[float | None] = []

    def _begin(self, context: grpc.ServicerContext) -> None:
        self.left.append(context.time_remaining())
        if not context.add_callback(self.over.set):
            self.over.set()
        self.begun.set()

    def wait(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._begin(context)
        self.go_on.wait(4 * TIMEOUT)
        return message

    def stream(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._begin(context)
        yield message
        self.go_on.wait(4 * TIMEOUT)
        yield message

    def both(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._begin(context)
        yield from messages


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.go_on.set()


@pytest.fixture
def lbd(watched: Watched) -> Iterator[Lbd]:
    handlers = {
        "Wait": unary(watched.wait), "Stream": server_stream(watched.stream),
        "Both": both_stream(watched.both),
    }
    with GrpcServer(handlers) as server, Lbd(CONFIG, server=server) as lbd:
        yield lbd
        watched.go_on.set()


def deaf(request: Request) -> None:
    """The endpoint takes the request and never answers."""


def begin(request: Request) -> None:
    """A head, one message, and then nothing."""
    request.head(GRPC_OK)
    request.data(b"\0\0\0\0\1x")


def grpc_head(*fields: tuple[str, str], name: str = "Any") -> bytes:
    own = ("te", "trailers"), ("content-type", "application/grpc")
    return request(METHOD(name), *own, *fields, method="POST")


def ask(lbd: Lbd, timeout: str) -> tuple[Answer, float]:
    """A call whose client leaves its deadline to others; the answer, and the seconds that it took."""
    start = time.monotonic()
    with H2Client(lbd.address()).start() as client:
        client.send(headers(1, grpc_head(("grpc-timeout", timeout))))
        return client.read_answer(1), time.monotonic() - start


def status_of(answer: Answer) -> str | None:
    return dict(answer.fields + answer.trailers).get("grpc-status")


def log_line(lbd: Lbd) -> dict[str, object]:
    return json.loads(eventually(lambda: list(lbd.output), "an access log line")[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("timeout", ["200m", "200000u", "99999999n", "1S"])
def test_deadline_holds_when_neither_side_keeps_it(timeout: str) -> None:
    with H2Origin(deaf) as endpoint, Lbd(CONFIG, server=endpoint) as lbd:
        answer, took = ask(lbd, timeout)
        assert (answer.status, status_of(answer)) == (200, "4"), answer
        assert answer.complete
        assert took >= (0.9 if timeout == "1S" else 0.01)
        assert eventually(lambda: endpoint.requests[0].reset is not None, "RST_STREAM")
        assert endpoint.requests[0].reset == CANCEL
        assert endpoint.requests[0].one("grpc-timeout") is not None
        assert log_line(lbd)["reason"] == "deadline_exceeded"
        assert endpoint.malformed == []


def test_deadline_inside_a_response() -> None:
    """The head is out: the end of the stream must show it, as a status or as a reset."""
    with H2Origin(begin) as endpoint, Lbd(CONFIG, server=endpoint) as lbd:
        answer, took = ask(lbd, "400m")
        assert answer.status == 200 and answer.body == b"\0\0\0\0\1x"
        assert status_of(answer) == "4" or answer.reset is not None, answer
        assert took >= 0.3
        eventually(lambda: endpoint.requests[0].reset == CANCEL, "RST_STREAM(CANCEL)")
        assert log_line(lbd)["reason"] == "deadline_exceeded"


def test_deadline_while_connecting() -> None:
    with Blackhole() as hole, Lbd(CONFIG, server=hole) as lbd:
        answer, took = ask(lbd, "300m")
        assert status_of(answer) == "4", answer
        assert took < TIMEOUT


def test_deadline_in_the_queue() -> None:
    """The endpoint takes one stream at a time, and that one is taken."""
    config = CONFIG.replace("[<server>]", "[<server>]\n    connections: {max: 1}").replace("300ms", "20s")
    endpoint = H2Origin(deaf, settings={Codes.MAX_CONCURRENT_STREAMS: 1})
    with endpoint, Lbd(config, server=endpoint) as lbd, H2Client(lbd.address()).start() as client:
        client.send(headers(1, grpc_head()))
        eventually(lambda: endpoint.complete, "the first call")
        answer, took = ask(lbd, "300m")
        assert status_of(answer) == "4", answer
        assert took >= 0.2
        assert len(endpoint.requests) == 1
        client.send(rst_stream(1))


def test_deadline_while_the_client_still_sends() -> None:
    """An upload without end: the deadline is not put off by it."""
    with H2Origin(deaf) as endpoint, Lbd(CONFIG, server=endpoint) as lbd:
        with H2Client(lbd.address()).start() as client:
            client.send(headers(1, grpc_head(("grpc-timeout", "300m")), end=False))
            answer = client.read_answer(1)
            assert status_of(answer) == "4", answer
        eventually(lambda: endpoint.requests and endpoint.requests[0].reset is not None, "RST_STREAM")


def test_malformed_timeouts_are_no_deadline() -> None:
    """Nothing is guessed: the endpoint sees what came, and answers."""

    def accept(request: Request) -> None:
        request.answer(b"", ("content-type", "application/grpc"), ("grpc-status", "0"))

    timeouts = ["", "5", "S", "-1S", "123456789S", "1s", "1 S", "1.5S", "0x1S"]
    with H2Origin(accept) as endpoint, Lbd(CONFIG, server=endpoint) as lbd:
        assert [status_of(ask(lbd, timeout)[0]) for timeout in timeouts] == ["0"] * len(timeouts)
        assert [request.one("grpc-timeout") for request in endpoint.requests] == timeouts


def test_largest_timeout_does_not_overflow(lbd: Lbd, watched: Watched) -> None:
    """99999999H are 11 000 years."""
    with H2Client(lbd.address()).start() as client:
        watched.go_on.set()
        head = grpc_head(("grpc-timeout", "99999999H"), name="Wait")
        client.send(headers(1, head, end=False) + data(1, b"\0\0\0\0\0"))
        answer = client.read_answer(1)
        assert status_of(answer) == "0", answer


def test_client_sees_deadline_exceeded_and_the_server_the_end(lbd: Lbd, watched: Watched) -> None:
    with channel(lbd) as client:
        error = failure(client, name="Wait", timeout=0.5)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert watched.over.wait(TIMEOUT), "the server's context is still alive"
        (left,) = watched.left
        assert left is not None and left <= 0.5


def test_patient_calls_outlast_the_timeouts_of_the_cluster(lbd: Lbd, watched: Watched) -> None:
    """A call with a deadline may be silent for longer than timeouts.response and .body (300 ms)."""
    threading.Timer(0.9, watched.go_on.set).start()
    with channel(lbd) as client:
        answers = client.unary_stream(METHOD("Stream"))(b"x", timeout=2 * TIMEOUT)
        assert call(client, b"late", "Wait", timeout=2 * TIMEOUT) == b"late"
        assert list(answers) == [b"x", b"x"]


def test_cancelled_unary_call_reaches_the_server(lbd: Lbd, watched: Watched) -> None:
    with channel(lbd) as client:
        future = client.unary_unary(METHOD("Wait")).future(b"", timeout=2 * TIMEOUT)
        assert watched.begun.wait(TIMEOUT)
        assert not watched.over.is_set()
        future.cancel()
        assert watched.over.wait(TIMEOUT), "the server's context is still alive"


def test_cancelled_streams_reach_the_server(lbd: Lbd, watched: Watched) -> None:
    with channel(lbd) as client:
        said = Said()
        answers = client.stream_stream(METHOD("Both"))(iter(said), timeout=2 * TIMEOUT)
        said.say(b"x")
        assert next(answers) == b"x"
        answers.cancel()
        assert watched.over.wait(TIMEOUT), "the server's context is still alive"
        said.end()


def test_closed_channel_reaches_the_server(lbd: Lbd, watched: Watched) -> None:
    client = channel(lbd)
    answers = client.unary_stream(METHOD("Stream"))(b"x", timeout=2 * TIMEOUT)
    assert next(answers) == b"x"
    client.close()
    assert watched.over.wait(TIMEOUT), "the server's context is still alive"


def test_reset_by_the_client_is_a_cancel_for_the_endpoint_only() -> None:
    """The connection to the endpoint lives on, for the other calls on it."""
    patient = CONFIG.replace("300ms", "20s")
    with (
        H2Origin(begin) as endpoint, Lbd(patient, server=endpoint) as lbd,
        H2Client(lbd.address()).start() as client,
    ):
        client.send(headers(1, grpc_head(("t-stream", "1"))) + headers(3, grpc_head(("t-stream", "3"))))
        eventually(lambda: len(endpoint.complete) == 2, "both calls")
        client.send(rst_stream(1))
        cut, kept = sorted(endpoint.complete, key=lambda one: one.one("t-stream") or "")
        eventually(lambda: cut.reset is not None, "RST_STREAM")
        kept.head([("grpc-status", "0")])
        assert status_of(client.read_answer(3)) == "0"
        assert (cut.reset, kept.reset) == (CANCEL, None)
        assert len(endpoint.sessions) == 1 and endpoint.sessions[0].goaway is None
