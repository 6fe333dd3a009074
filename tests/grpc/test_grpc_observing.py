"""How calls ended, in metrics and the access log."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import pytest
from grpc_peers import METHOD, GrpcServer, call, channel, echo, failure, server_stream, unary
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout, format: json}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {name: lost, match: {path: /lbd.Lost/*}, cluster: lost}
      - {name: calls, match: {path: /lbd.Test/*}, cluster: app}
clusters:
  - {name: app, protocol: http2, endpoints: [<server>]}
  - {name: lost, protocol: http2, endpoints: [<refusing>]}
"""


def refuse(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "not here")


def refuse_late(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"one"
    context.abort(grpc.StatusCode.ABORTED, "not all")


@pytest.fixture
def lbd() -> Iterator[Lbd]:
    handlers = {"Echo": unary(echo), "Refuse": unary(refuse), "RefuseLate": server_stream(refuse_late)}
    with (
        GrpcServer(handlers) as server, Refusing() as refusing,
        Lbd(CONFIG, server=server, refusing=refusing) as lbd,
    ):
        yield lbd


def count(lbd: Lbd, status: int, **labels: str) -> float:
    return lbd.metric("lbd_grpc_responses_total", grpc_status=str(status), **labels)


def line_of(lbd: Lbd, path: str) -> dict[str, object]:
    def found() -> list[str]:
        return [line for line in list(lbd.output) if path in line]

    return json.loads(eventually(found, f"a line with {path}")[0])  # type: ignore[no-any-return]


def test_statuses_are_counted(lbd: Lbd) -> None:
    labels = {"listener": "web", "route": "calls", "cluster": "app"}
    with channel(lbd) as client:
        for _ in range(3):
            call(client)
        for _ in range(2):
            failure(client, name="Refuse")
        with pytest.raises(grpc.RpcError):
            list(client.unary_stream(METHOD("RefuseLate"))(b"", timeout=TIMEOUT))
        eventually(lambda: count(lbd, 10, **labels) == 1, "RefuseLate is counted")
        assert (count(lbd, 0, **labels), count(lbd, 5, **labels)) == (3, 2)
        assert lbd.metric("lbd_grpc_responses_total") == 6
        assert lbd.metric("lbd_requests_total", route="calls", code="200") == 6


def test_own_errors_are_counted_as_a_status(lbd: Lbd) -> None:
    with channel(lbd) as client:
        client.unary_unary("/lbd.Lost/Any").future(b"", timeout=TIMEOUT).exception(TIMEOUT)
    eventually(lambda: count(lbd, 14, route="lost", cluster="lost") == 1, "UNAVAILABLE is counted")


def test_plain_requests_are_not_counted(lbd: Lbd) -> None:
    lbd.ask(get("/lbd.Test/Echo"))
    eventually(lambda: lbd.metric("lbd_requests_total", route="calls") == 1, "the request is counted")
    assert lbd.metric("lbd_grpc_responses_total") == 0


@pytest.mark.parametrize(("name", "status"), [("Echo", 0), ("Refuse", 5), ("Nowhere", 12)])
def test_status_is_logged(lbd: Lbd, name: str, status: int) -> None:
    with channel(lbd) as client:
        client.unary_unary(METHOD(name)).future(b"", timeout=TIMEOUT).exception(TIMEOUT)
    line = line_of(lbd, METHOD(name))
    assert line["grpc_status"] == status
    assert (line["status"], line["method"], line["protocol"]) == (200, "POST", "HTTP/2.0")


def test_status_behind_messages_is_logged(lbd: Lbd) -> None:
    with channel(lbd) as client, pytest.raises(grpc.RpcError):
        list(client.unary_stream(METHOD("RefuseLate"))(b"", timeout=TIMEOUT))
    assert line_of(lbd, METHOD("RefuseLate"))["grpc_status"] == 10


def test_own_error_is_logged_with_status_and_reason(lbd: Lbd) -> None:
    with channel(lbd) as client:
        client.unary_unary("/lbd.Lost/Any").future(b"", timeout=TIMEOUT).exception(TIMEOUT)
    line = line_of(lbd, "/lbd.Lost/Any")
    assert (line["grpc_status"], line["reason"]) == (14, "connect_failed")


def test_plain_requests_have_no_grpc_status(lbd: Lbd) -> None:
    lbd.ask(get("/lbd.Test/plain"))
    assert "grpc_status" not in line_of(lbd, "/lbd.Test/plain")
