"""1xx responses: 100-continue end to end, 103 passed on, none of them to HTTP/1.0 clients.

RFC 9110 10.1.1, 15.2."""

from __future__ import annotations

import pytest
from harness.http_origin import Answer, EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, head, ok
from harness.origin import Origin, close, recv_all, recv_body, recv_head, recv_request, send

PLAIN = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, timeouts: {body: 2s}}]
clusters: [{name: app, endpoints: [<origin>], timeouts: {response: 2s}}]
"""
EXPECTING = head("POST /up HTTP/1.1", "Host: a", "Content-Length: 5", "Expect: 100-continue")


def test_continue_end_to_end(plain: Lbd, echo: EchoOrigin) -> None:
    with plain.connect() as client:
        client.send(EXPECTING)
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send(b"hello")
        assert client.read_response("POST").json()["length"] == 5
        assert client.ask(get("/next")).json()["target"] == "/next"


def test_continue_with_chunked_body(plain: Lbd) -> None:
    with plain.connect() as client:
        client.send(head("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Expect: 100-continue"))
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send(b"2\r\nab\r\n0\r\n\r\n")
        assert client.read_response("PUT").json()["length"] == 2


def test_body_sent_without_waiting(plain: Lbd) -> None:
    response = plain.ask(EXPECTING + b"hello")
    assert response.json()["length"] == 5
    assert {status for status, _ in response.informational} <= {100}


def test_refused_expectation_ends_the_connection_or_drains_the_body() -> None:
    """The body that was not asked for must not be read as a request."""
    wire = head("HTTP/1.1 417 Expectation Failed", "Content-Length: 2") + b"no"
    with Origin([recv_head, send(wire), recv_all]) as origin, Lbd(PLAIN, origin=origin) as lbd:
        with lbd.connect() as client:
            response = client.ask(EXPECTING)
            assert (response.status, response.body, response.informational) == (417, b"no", [])
            client.send_while_accepted(b"GET /")
            client.read_until_close()
        assert b"GET /" not in b"".join(bytes(item.received) for item in origin.connections[1:])


@pytest.mark.parametrize("count", [1, 3])
def test_early_hints_pass(count: int) -> None:
    hints = [(103, [("link", f"</{number}.css>")]) for number in range(count)]
    with HttpOrigin(lambda _: Answer(body=b"x", informational=hints)) as origin, Lbd(PLAIN,
                                                                                     origin=origin) as lbd:
        response = lbd.ask(get())
        assert [(status, dict(fields)["link"]) for status, fields in response.informational] == [
            (103, f"</{number}.css>") for number in range(count)]
        assert (response.status, response.body) == (200, b"x")


def test_no_interim_response_to_old_clients() -> None:
    wire = head("HTTP/1.1 103 Early Hints", "Link: </a>") + head("HTTP/1.1 100 Continue") + ok(b"x")
    with Origin([recv_request, send(wire), close]) as origin, Lbd(PLAIN, origin=origin) as lbd:
        with lbd.connect() as client:
            raw = client.send(head("GET / HTTP/1.0", "Host: a")).read_until_close()
        assert raw.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
        assert raw.endswith(b"\r\n\r\nx")


def test_continue_then_final_from_a_raw_endpoint() -> None:
    script = [recv_head, send(head("HTTP/1.1 100 Continue")), recv_body(5), send(ok(b"got it"))]
    with Origin(script) as origin, Lbd(PLAIN, origin=origin) as lbd, lbd.connect() as client:
        client.send(EXPECTING)
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send(b"hello")
        assert client.read_response("POST").body == b"got it"
