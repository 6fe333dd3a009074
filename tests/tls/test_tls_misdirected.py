"""421 where a Host belongs to another certificate than the connection's (RFC 9110 7.4, RFC 9113 9.1.2), and
Strict-Transport-Security (RFC 6797) on every response of a listener that has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import Answer, EchoOrigin, HttpOrigin, Seen, echo
from harness.messages import head
from http2.frames import block, headers
from tls.speaking import Served, TlsClient, TlsH2Client, World

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>, <wild>, <pair>]}}
  - {name: single, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
  - name: strict
    bind: "127.0.0.1:0"
    tls: {certificates: [<site>, <wild>], strict_sni: true}
    cluster: app
  - name: hsts
    bind: "127.0.0.1:0"
    hsts: {max_age: 2d, include_subdomains: true, preload: true}
    tls: {certificates: [<site>, <wild>]}
    limits: {head: 2KiB, request_line: 1KiB}
    routes:
      - {match: {path: /fixed}, respond: {status: 204}}
      - {match: {path: /own}, respond: {headers: {strict-transport-security: max-age=0}}}
      - {match: {path: /down}, cluster: down}
      - {match: {path: /app/*}, cluster: app}
clusters:
  - {name: app, endpoints: [<origin>]}
  - {name: down, endpoints: ["127.0.0.1:1"]}
"""
VALUE = "max-age=172800; includeSubDomains; preload"


@pytest.fixture(scope="module")
def directed(world: World, echo: EchoOrigin) -> Iterator[Served]:
    world.add("wild", "*.wild.test", "wild.test")
    world.add("pair", "one.test", "two.test", "192.0.2.7")
    pairs = {name: world.pair(name) for name in ("site", "wild", "pair")}
    with Served(CONFIG, origin=echo, **pairs) as lbd:
        yield lbd


# (listener, SNI, authority, is it right?)
CASES = [
    ("web", "a.test", "a.test", True), ("web", "a.test", "a.test:8443", True),
    ("web", "a.test", "A.TEST", True),
    ("web", "A.Test", "a.test", True), ("web", "a.test", "a.test.", True),
    ("web", "x.wild.test", "y.wild.test", True), ("web", "x.wild.test", "wild.test", True),
    ("web", "one.test", "two.test", True), ("web", "one.test", "two.test:443", True),
    ("web", "a.test", "x.wild.test", False), ("web", "x.wild.test", "a.test", False),
    ("web", "one.test", "a.test", False), ("web", "a.test", "one.test:443", False),
    ("web", "a.test", "unknown.example", True),  # both get the first certificate
    ("web", "unknown.example", "a.test", True), ("web", None, "a.test", True),
    ("web", None, "one.test", False),
    ("web", "unknown.example", "x.wild.test", False), ("web", "x.wild.test", "unknown.example", False),
    ("web", "x.wild.test", "z.y.wild.test", False), ("web", "a.test", "[::1]:443", True),
    ("web", "one.test", "127.0.0.1", False),
    ("single", "a.test", "anything.example", True), ("single", None, "a.test", True),
    ("strict", "a.test", "a.test", True), ("strict", "a.test", "x.wild.test", False),
    ("strict", "a.test", "unknown.example", False), ("strict", "x.wild.test", "y.wild.test", True),
]


@pytest.mark.parametrize(("listener", "sni", "authority", "right"), CASES)
def test_misdirected_over_http1(
    directed: Served, world: World, listener: str, sni: str | None, authority: str, right: bool
) -> None:
    with TlsClient(directed.address(listener), world.client_context(), sni) as client:
        response = client.ask(head("GET / HTTP/1.1", f"Host: {authority}"))
        assert response.status == (200 if right else 421)
        assert right or response.reason == "misdirected"
        own = head("GET / HTTP/1.1", f"Host: {sni or 'unknown.example'}")
        assert client.ask(own).status == 200, "the connection is usable for its own name"


@pytest.mark.parametrize(("listener", "sni", "authority", "right"), CASES)
def test_misdirected_over_http2(
    directed: Served, world: World, listener: str, sni: str | None, authority: str, right: bool
) -> None:
    context = world.client_context(alpn=("h2",))
    with TlsH2Client(directed.address(listener), context, sni) as client:
        answer = client.start().fetch(1, authority=authority)
        assert answer.status == (200 if right else 421)
        assert client.fetch(3, authority=sni or "unknown.example").status == 200


def test_what_counts_is_the_authority_of_the_request(directed: Served, world: World) -> None:
    """The absolute form's over Host's (RFC 9112 3.2.2); a Host field where HTTP/2 has no :authority."""
    with TlsClient(directed.address(), world.client_context()) as client:
        lines = ("GET https://one.test/ HTTP/1.1", "Host: one.test")
        assert client.ask(head(*lines)).status == 421
    with TlsH2Client(directed.address(), world.client_context(alpn=("h2",))) as client:
        pairs = ((":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "one.test"))
        client.start().send(headers(1, block(*pairs)))
        assert client.read_answer(1).status == 421


def test_misdirected_request_with_a_body(directed: Served, world: World) -> None:
    """The body is no request: what stands in it is not served."""
    inner = head("GET /smuggled HTTP/1.1", "Host: a.test")
    with TlsClient(directed.address(), world.client_context()) as client:
        client.send(head("POST / HTTP/1.1", "Host: one.test", f"Content-Length: {len(inner)}") + inner)
        assert client.read_response("POST").status == 421
        client.send_while_accepted(head("GET /after HTTP/1.1", "Host: a.test"))
        rest = client.read_response()
        assert not rest.complete or rest.json()["target"] == "/after"


def hsts_of(lbd: Served, world: World, request: bytes) -> tuple[int, list[str]]:
    with TlsClient(lbd.address("hsts"), world.client_context()) as client:
        response = client.ask(request)
        return response.status, response.all("strict-transport-security")


ANSWERS = [
    (head("GET /app/ HTTP/1.1", "Host: a.test"), 200), (head("HEAD /app/ HTTP/1.1", "Host: a.test"), 200),
    (head("GET /app/ HTTP/1.0"), 200), (head("GET /fixed HTTP/1.1", "Host: a.test"), 204),
    (head("GET /none HTTP/1.1", "Host: a.test"), 404), (head("GET /down HTTP/1.1", "Host: a.test"), 502),
    (head("GET / HTTP/1.1"), 400), (head("GET / HTTP/1.1", "Host: a.test", "Bad Name: x"), 400),
    (head("GET / HTTP/2.0", "Host: a.test"), 505), (head("CONNECT a.test:1 HTTP/1.1", "Host: a.test:1"), 405),
    (head("GET /" + "a" * 1100 + " HTTP/1.1", "Host: a.test"), 414),
    (head("GET / HTTP/1.1", "Host: a.test", "X-Long: " + "a" * 2100), 431),
    (head("GET / HTTP/1.1", "Host: x.wild.test"), 421),
]


@pytest.mark.parametrize(("request_bytes", "status"), ANSWERS, ids=lambda value: str(value)[:40])
def test_hsts_on_every_answer(directed: Served, world: World, request_bytes: bytes, status: int) -> None:
    assert hsts_of(directed, world, request_bytes) == (status, [VALUE])


@pytest.mark.parametrize(("path", "status"),
                         [("/app/", 200), ("/fixed", 204), ("/none", 404), ("/down", 502)])
def test_hsts_over_http2(directed: Served, world: World, path: str, status: int) -> None:
    with TlsH2Client(directed.address("hsts"), world.client_context(alpn=("h2",))) as client:
        answer = client.start().fetch(1, path)
        assert (answer.status, answer.all("strict-transport-security")) == (status, [VALUE])
        wrong = client.fetch(3, authority="x.wild.test")
        assert (wrong.status, wrong.all("strict-transport-security")) == (421, [VALUE])


def test_hsts_is_not_doubled(world: World, directed: Served) -> None:
    """RFC 6797 6.1: one field. The endpoint's own policy stands; so does one that a route's answer gives."""

    def answer(seen: Seen) -> Answer:
        made = echo(seen)
        made.fields.append(("STRICT-transport-security", "max-age=5"))
        return made

    config = CONFIG.replace("<origin>", "<own>")
    with HttpOrigin(answer) as origin, Served(
        config, own=origin, **{name: world.pair(name) for name in ("site", "wild", "pair")}
    ) as lbd:
        request = head("GET /app/ HTTP/1.1", "Host: a.test")
        assert hsts_of(lbd, world, request) == (200, ["max-age=5"])
        with TlsH2Client(lbd.address("hsts"), world.client_context(alpn=("h2",))) as client:
            assert client.start().fetch(1, "/app/").all("strict-transport-security") == ["max-age=5"]
            assert client.fetch(3, "/own").all("strict-transport-security") == ["max-age=0"]
    own = head("GET /own HTTP/1.1", "Host: a.test")
    assert hsts_of(directed, world, own) == (200, ["max-age=0"])


def test_none_where_it_is_not_configured(directed: Served, world: World) -> None:
    with TlsClient(directed.address(), world.client_context()) as client:
        response = client.ask(head("GET / HTTP/1.1", "Host: a.test"))
        assert (response.status, response.all("strict-transport-security")) == (200, [])
