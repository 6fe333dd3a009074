"""TLS to endpoints: what they are asked for and shown, endpoints without it, and connections that last."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from harness.http_origin import Answer, Seen
from harness.messages import chunk, get, head, ok, post
from harness.origin import Connection, Origin, recv_head, recv_request, send, stall, wait_for
from harness.waiting import eventually
from tls.speaking import TLS12, TLS13, SecureHttpOrigin, SecureOrigin, Served, TlsH2Client, World, say_goodbye

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    endpoints: [<origin>]
    tls: <tls>
    timeouts: {connect: 4s}
"""
versions = pytest.mark.parametrize("version", [TLS12, TLS13])


@pytest.fixture(scope="module")
def inside(world: World) -> World:
    """What endpoints show, and what lbd shows them."""
    world.add("named", "app.inside")
    world.add("lbd", "lbd.inside", common="lbd")
    return world


@pytest.fixture(scope="module")
def scripted(inside: World) -> Iterator[tuple[SecureOrigin, Served]]:
    """An endpoint that each test tells what to do, without idle connections to it."""
    config = CONFIG + "    connections: {idle: 0}\n"
    with SecureOrigin(inside.server_context("named"), []) as origin, \
            Served(config, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        yield origin, lbd


def test_host_name_of_the_endpoint_is_the_default(inside: World) -> None:
    inside.add("local", "localhost")
    with SecureHttpOrigin(inside.server_context("local")) as origin, \
            Served(CONFIG, origin=f"localhost:{origin.port}", tls=f"{{ca: {inside.ca_file}}}") as lbd:
        assert lbd.ask(get()).status == 200
    assert origin.names == ["localhost"]


@versions
def test_lbd_shows_its_own_certificate(inside: World, version: ssl.TLSVersion) -> None:
    context = inside.server_context("named")
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(inside.ca_file)
    cert, key = inside.files("lbd")
    with SecureHttpOrigin(context) as origin:
        tls = f"{{ca: {inside.ca_file}, sni: app.inside, cert: {cert}, key: {key}}}"
        with Served(CONFIG, origin=origin, tls=tls) as lbd:
            assert lbd.ask(get()).status == 200
        assert origin.identities == [inside.made["lbd"].certificate.public_bytes(Encoding.DER)]
        with Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
            assert lbd.ask(get()).status == 502
        assert len(origin.failures) >= 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_not_spoken(inside: World, version: ssl.TLSVersion) -> None:
    context = inside.server_context("named")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = version
    with SecureHttpOrigin(context) as origin, \
            Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        assert lbd.ask(get()).reason == "upstream_tls_failed"
    assert origin.requests == []


PLAIN: dict[str, list[Callable[[Connection], object]]] = {
    "speaks first": [send(b"220 smtp.test ESMTP\r\n")],
    "garbage": [send(bytes(range(256)) * 40)],
    "closes": [lambda connection: connection.recv(), lambda connection: connection.close()],
    "resets": [lambda connection: connection.recv(), lambda connection: connection.close(reset=True)],
    "alert": [lambda connection: connection.recv(), send(b"\x15\x03\x03\x00\x02\x02\x28")],
}


@pytest.mark.parametrize("kind", PLAIN)
def test_an_endpoint_without_tls(inside: World, kind: str) -> None:
    with Origin(PLAIN[kind]) as origin, \
            Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        for _ in range(3):
            response = lbd.ask(get("/secret"))
            assert (response.status, response.reason) == (502, "upstream_tls_failed")
        said = [line for line in lbd.said() if " WARNING " in line]
        assert 1 <= len(said) <= 2, "said once, not for each request"
        assert b"/secret" not in origin.received
        assert lbd.metric("lbd_upstream_connect_failures_total") >= 3


def test_an_endpoint_that_does_not_shake_hands(inside: World) -> None:
    """The handshake is part of connecting: timeouts.connect is for both."""
    config = CONFIG.replace("4s", "500ms")
    with Origin([stall]) as origin, \
            Served(config, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        response = lbd.ask(get())
        assert (response.status, response.reason) == (504, "connect_timeout")


@versions
def test_connections_are_reused(inside: World, version: ssl.TLSVersion) -> None:
    """The session tickets that TLS 1.3 endpoints send at their leisure are no answer to nobody's request."""
    context = inside.server_context("named")
    context.minimum_version = context.maximum_version = version
    context.num_tickets = 4
    with SecureHttpOrigin(context) as origin, \
            Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        for index in range(30):
            request = post(f"/{index}", b"x" * index * 100) if index % 2 else get(f"/{index}")
            assert lbd.ask(request).json()["target"] == f"/{index}"
        assert len(origin.connections) == 1
        assert lbd.metric("lbd_upstream_reused_total") == 29


def cork(connection: Connection) -> None:
    """What is sent from now on leaves together, once `say_goodbye` has been said."""
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)


@pytest.mark.parametrize("together", [False, True])
def test_close_notify_on_an_idle_connection(inside: World, together: bool) -> None:
    """The endpoint ends it in order, in one segment with its response or later: lbd makes a new one for the
    next request, a POST too."""
    let_go = threading.Event()
    if together:
        script = [recv_request, cork, send(ok()), say_goodbye]
    else:
        script = [recv_request, send(ok()), wait_for(let_go), say_goodbye]
    with SecureOrigin(inside.server_context("named"), script) as origin, \
            Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        for count in range(1, 4):
            let_go.clear()
            assert lbd.ask(post("/", b"once")).body == b"ok"
            let_go.set()
            eventually(lambda: lbd.metric("lbd_upstream_connections", state="idle") == 0, "it is let go")
            assert len(origin.connections) == count
        eventually(lambda: all(one.ended for one in origin.connections), "lbd ends its side")
        assert origin.received.count(b"POST / HTTP/1.1") == 3


def test_a_tls_endpoint_that_reads_slowly_is_back_pressure(inside: World) -> None:
    """The client waits; lbd keeps little of the body."""
    with SecureOrigin(inside.server_context("named"), [recv_head, stall]) as origin, \
            Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        base = lbd.rss()
        with lbd.connect() as client:
            client.send(head("POST / HTTP/1.1", "Host: a.test", f"Content-Length: {128 << 20}"))
            client.sock.settimeout(0.5)
            piece = bytes(1 << 20)
            with pytest.raises(TimeoutError):
                for _ in range(64):
                    client.send(piece)
            assert lbd.rss() - base < 16 << 20
        origin.close_all()


@pytest.mark.parametrize("size", [16_000, 16_384, 16_385, 20_000, 65_536, 100_000, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_reaches_a_tls_endpoint_without_more_from_the_client(
    scripted: tuple[SecureOrigin, Served], size: int, chunked: bool
) -> None:
    """Nothing waits for company: what the client sent so far arrives, whatever its size is in TLS records."""
    body = b"x" * size
    if chunked:
        request = head("POST / HTTP/1.1", "Host: a.test", "Transfer-Encoding: chunked") + chunk(body)
    else:
        request = head("POST / HTTP/1.1", "Host: a.test", f"Content-Length: {size + 1}") + body
    origin, lbd = scripted
    origin.behave([recv_head])
    before = len(origin.received)
    with lbd.connect() as client:
        client.send(request)
        eventually(lambda: origin.received[before:].count(b"x") >= size, "all of it arrives")


def test_large_bodies_both_ways(inside: World) -> None:
    body = bytes(range(256)) * (40 << 10)

    def mirror(seen: Seen) -> Answer:
        return Answer(body=seen.body, chunked=seen.target == "/chunked")

    with SecureHttpOrigin(inside.server_context("named"), mirror) as origin, \
            Served(CONFIG, origin=origin, tls=f"{{ca: {inside.ca_file}, sni: app.inside}}") as lbd:
        for path in ("/length", "/chunked"):
            assert lbd.ask(post(path, body)).body == body


def test_truncation_by_the_endpoint(scripted: tuple[SecureOrigin, Served]) -> None:
    """What only the end of the connection delimits is whole after close_notify only (RFC 8446 6.1)."""
    part = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000

    def cut(connection: Connection) -> None:
        connection.sock.shutdown(2)  # TCP ends, TLS does not

    origin, lbd = scripted
    origin.behave([recv_request, send(part), cut], [recv_request, cork, send(part), say_goodbye])
    assert not lbd.ask(get()).complete
    assert lbd.errors("upstream_truncated") == 1
    whole = lbd.ask(get())
    assert (whole.complete, len(whole.body)) == (True, 5000)


def test_two_ways_of_tls(inside: World) -> None:
    """From client to lbd and from lbd to the endpoint at once, HTTP/2 to one side."""
    own = f"tls: {{certificates: [{inside.pair('site')}]}}"
    config = CONFIG.replace("cluster: app}", f"{own}, cluster: app}}")
    with ExitStack() as stack:
        origin = stack.enter_context(SecureHttpOrigin(inside.server_context("named")))
        tls = f"{{ca: {inside.ca_file}, sni: app.inside}}"
        lbd = stack.enter_context(Served(config, origin=origin, tls=tls))
        client = stack.enter_context(TlsH2Client(lbd.address(), inside.client_context(alpn=("h2",))))
        client.start()
        for stream in range(1, 21, 2):
            assert client.fetch(stream, f"/{stream}").json()["target"] == f"/{stream}"
        assert len(origin.connections) == 1
