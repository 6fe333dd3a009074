"""Requests to the admin listener of people and pages that it must not serve. None changes anything."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from typing import Any

import pytest
from admin.asking import JSON, ask, endpoint_path, request
from harness.client import Response
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import head

CONFIG = """
state_directory: <state>
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [{address: <origin>, name: one}]}]
"""
TOKEN = "correct-horse-battery"
ONE = endpoint_path("app", "one")
DISABLE = b'{"state": "disabled"}'


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(scope="module")
def served(origin: EchoOrigin, tmp_path_factory: Any) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin, state=tmp_path_factory.mktemp("state")) as lbd:
        yield lbd


@pytest.fixture
def lbd(served: Lbd) -> Iterator[Lbd]:
    """Whatever a test asks for, the endpoint is as it was afterwards."""
    yield served
    response = ask(served, "GET", ONE)
    assert (response.status, response.json()["state"], response.json()["weight"]["wanted"]) == (
        200,
        "ready",
        1,
    )


@pytest.fixture(scope="module")
def guarded(origin: EchoOrigin, tmp_path_factory: Any) -> Iterator[Lbd]:
    """With a token."""
    config = CONFIG.replace('0.1:0"}', f'0.1:0", token: {TOKEN}}}', 1)
    with Lbd(config, origin=origin, state=tmp_path_factory.mktemp("state")) as lbd:
        yield lbd
        assert TOKEN not in lbd.stderr + lbd.stdout


def disable(lbd: Lbd, *fields: str, host: str = "127.0.0.1", body: bytes = DISABLE) -> Response:
    return ask(lbd, "PATCH", ONE, JSON, *fields, body=body, host=host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "10.1.2.3", "127.0.0.1.evil.example:9900", "x@127.0.0.1"],
)
def test_other_hosts(lbd: Lbd, host: str) -> None:
    assert disable(lbd, host=host).status == 403
    assert ask(lbd, "GET", "/api/info", host=host).status == 403
    assert ask(lbd, "GET", "/docs", host=host).status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.9.9.9:80", "[::1]:9900"])
def test_own_hosts(lbd: Lbd, host: str) -> None:
    assert ask(lbd, "GET", "/api/info", host=host).status == 200


@pytest.mark.parametrize(
    "field",
    [
        "Origin: http://evil.example",
        "Origin: http://127.0.0.1:1",
        "Origin: http://127.0.0.1.evil.example",
        "Origin: null",
        "Origin: file://127.0.0.1",
        "Origin:",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
def test_pages_of_others(lbd: Lbd, field: str) -> None:
    response = disable(lbd, field)
    assert response.status == 403 and "another" in response.json()["error"]


def test_two_origins(lbd: Lbd) -> None:
    assert disable(lbd, "Origin: http://127.0.0.1", "Origin: http://evil.example").status == 403


def test_own_page(served: Lbd) -> None:
    """The dashboard's own requests carry both."""
    fields = ("Origin: http://127.0.0.1", "Sec-Fetch-Site: same-origin")
    assert disable(served, *fields).status == 200
    assert disable(served, *fields, body=b'{"state": "ready"}').status == 200


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
    ],
)
def test_what_a_form_can_send(lbd: Lbd, kind: str) -> None:
    assert ask(lbd, "PATCH", ONE, f"Content-Type: {kind}", body=DISABLE).status == 415
    assert ask(lbd, "PATCH", ONE, body=DISABLE).status == 415
    assert ask(lbd, "PATCH", ONE, JSON, f"Content-Type: {kind}", body=DISABLE).status == 415


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "patch", "PROPFIND"])
def test_other_methods(lbd: Lbd, method: str) -> None:
    response = ask(lbd, method, ONE, JSON, "X-HTTP-Method-Override: PATCH", body=DISABLE)
    assert response.status == 405


def test_a_get_changes_nothing(lbd: Lbd) -> None:
    with lbd.connect("admin") as client:
        data = request("GET", ONE + "?state=disabled&_method=PATCH", JSON, body=DISABLE, close=False)
        assert client.ask(data).json()["state"] == "ready"
        assert client.ask(request("GET", "/live")).body == b"live\n"  # the body was read past


def test_a_body_that_is_announced_too_long(lbd: Lbd) -> None:
    with lbd.connect("admin") as client:
        client.send(head(f"PATCH {ONE} HTTP/1.1", "Host: localhost", JSON, "Content-Length: 65537"))
        assert client.read_response("PATCH").status == 413
        assert client.read_until_close() == b""


def test_a_body_that_is_too_long(lbd: Lbd) -> None:
    with lbd.connect("admin") as client:
        client.send(head(f"PATCH {ONE} HTTP/1.1", "Host: localhost", JSON, "Transfer-Encoding: chunked"))
        client.send(b"10001\r\n" + b" " * 0x10001 + b"\r\n")
        assert client.read_response("PATCH").status == 413


def test_the_longest_body(lbd: Lbd) -> None:
    body = b'{"weight": 1}'
    assert disable(lbd, body=body + b" " * (65536 - len(body))).status == 200
    assert disable(lbd, body=b'{"weight": null}').status == 200


def test_a_body_that_never_ends_is_not_kept(lbd: Lbd) -> None:
    before = lbd.rss()
    with lbd.connect("admin") as client:
        client.send(head(f"POST {ONE} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"))
        assert client.read_response("POST").status == 415
        for _ in range(200):
            if not client.send_while_accepted(b"10000\r\n" + b"x" * 0x10000 + b"\r\n"):
                break
    assert lbd.rss() - before < 8 << 20


@pytest.mark.parametrize(
    "path",
    [
        "/api/clusters/app/endpoints/one/",
        "/api/clusters/app/endpoints//one",
        "/api//clusters/app/endpoints/one",
        "/api/clusters/app/endpoints/../endpoints/one",
        "/api/clusters/app/endpoints/%2e%2e/one",
        "/api/clusters/app%2Fendpoints%2Fone",
        "/api/clusters/app/endpoints/one%00",
        "/api/clusters/app/endpoints/one;x",
        "/api/clusters/app/endpoints/%6fne/x",
        "/api/clusters/app/endpoints/{endpoint}",
        "/live/../api/clusters/app/endpoints/one",
        "//127.0.0.1/api/clusters/app/endpoints/one",
        "http://127.0.0.1/api/clusters/app/endpoints/one",
        "/API/clusters/app/endpoints/one",
        "/%61pi/clusters/app/endpoints/one",
        "*",
    ],
)
def test_paths_are_taken_as_they_are(lbd: Lbd, path: str) -> None:
    assert ask(lbd, "PATCH", path, JSON, body=DISABLE).status in (400, 404, 405)
    assert ask(lbd, "GET", path).status in (400, 404)


def test_pipelined_requests_are_told_apart(lbd: Lbd) -> None:
    """A body that looks like a request is none."""
    inner = request("PATCH", ONE, JSON, body=DISABLE)
    with lbd.connect("admin") as client:
        client.send(
            request("GET", ONE, body=inner, close=False)
            + request("PATCH", ONE, JSON, body=b'{"weight": 1}', close=False)
            + request("GET", "/live", close=False)
            + request("PATCH", ONE, JSON, body=b'{"weight": null}')
        )
        answers = [client.read_response() for _ in range(4)]
        assert client.read_until_close() == b""
    assert [answer.status for answer in answers] == [200, 200, 200, 200]
    assert answers[0].json()["state"] == "ready" and answers[2].body == b"live\n"


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 21", "Transfer-Encoding: chunked"),
        ("Content-Length: 21", "Content-Length: 22"),
        ("Content-Length: +21",),
        ("Transfer-Encoding: chunked, identity",),
    ],
)
def test_two_readings_of_a_length(lbd: Lbd, fields: tuple[str, ...]) -> None:
    with lbd.connect("admin") as client:
        client.send(head(f"PATCH {ONE} HTTP/1.1", "Host: localhost", JSON, *fields) + DISABLE + b"\r\n")
        client.half_close()
        assert client.read_response("PATCH").status in (400, 501)


def test_an_unfinished_body_changes_nothing(lbd: Lbd) -> None:
    with lbd.connect("admin") as client:
        client.send(head(f"PATCH {ONE} HTTP/1.1", "Host: localhost", JSON, "Content-Length: 100") + DISABLE)
        client.half_close()
        assert client.read_until_close() == b""


def test_too_many_connections(served: Lbd) -> None:
    clients = [served.connect("admin") for _ in range(100)]
    try:
        for client in clients:
            assert client.ask(request("GET", "/live", close=False)).status == 200
        with served.connect("admin") as late:
            assert late.read_response().status == 503
        clients.pop().close()
        clients[0].ask(request("GET", "/live", close=False))
    finally:
        for client in clients:
            client.close()
    assert "Traceback" not in served.stderr


# the token


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Authorization: Bearer wrong-horse-battery",),
        (f"Authorization: Bearer {TOKEN}x",),
        (f"Authorization: Bearer {TOKEN[:-1]}",),
        (f"Authorization: Basic {TOKEN}",),
        (f"Authorization: {TOKEN}",),
        ("Authorization: Bearer",),
        ("Authorization: Bearer caf\xe9-caf\xe9-caf\xe9-caf\xe9",),
        (f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"),
        (f"Cookie: token={TOKEN}",),
    ],
)
def test_wrong_tokens(guarded: Lbd, fields: tuple[str, ...]) -> None:
    for path in ("/api/info", "/api/nothing", "/metrics", "/x"):
        response = ask(guarded, "GET", path, *fields)
        assert (response.status, response.one("www-authenticate")) == (401, "Bearer")
    assert disable(guarded, *fields).status == 401


def test_the_token(guarded: Lbd) -> None:
    right = f"Authorization: bearer {TOKEN}"
    for host in ("127.0.0.1", "lbd.internal:9900"):  # who knows the token is no page that rebinds names
        assert ask(guarded, "GET", "/api/info", right, host=host).status == 200
        assert ask(guarded, "GET", "/metrics", right, host=host).status == 200
    assert ask(guarded, "GET", ONE, right).json()["state"] == "ready"
    assert disable(guarded, right, "Origin: http://evil.example").status == 403


def test_probes_need_no_token(guarded: Lbd) -> None:
    assert [ask(guarded, "GET", path).status for path in ("/live", "/ready")] == [200, 200]
    assert [ask(guarded, "GET", path).status for path in ("/docs", "/openapi.json")] == [200, 200]
    assert ask(guarded, "GET", "/live", host="evil.example").status == 403


# the unix socket


def test_unix_socket(origin: EchoOrigin, tmp_path: Any) -> None:
    path = tmp_path / "admin.sock"
    config = CONFIG.replace("127.0.0.1:0", f"unix:{path}", 1)
    with Lbd(config, origin=origin, state=tmp_path / "state") as lbd:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(request("PATCH", ONE, JSON, body=DISABLE, host="localhost"))
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        who = f"admin: uid {os.getuid()} (pid {os.getpid()}) set endpoint app/one: state ready -> disabled"
        assert any(line.endswith(who) for line in lbd.lines)
    assert not path.exists()
