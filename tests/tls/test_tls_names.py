"""Which certificate a client gets by SNI (RFC 6066 3, RFC 6125 6.4), which protocol by ALPN (RFC 7301)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.messages import get
from harness.waiting import TIMEOUT
from tls.speaking import SECURE, TLS12, TLS13, Served, TlsClient, TlsH2Client, World, handshake_error

Program = Callable[[str], str]
NAMES = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<first>, <wild>, <exact>, <other>]}}
  - name: strict
    bind: "127.0.0.1:0"
    tls: {strict_sni: true, certificates: [<first>, <wild>]}
    cluster: app
  - {name: plain1, bind: "127.0.0.1:0", http2: off, cluster: app, tls: {certificates: [<first>]}}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: app, tls: {certificates: [<first>]}}
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.fixture(scope="module")
def named(world: World, echo: EchoOrigin) -> Iterator[Served]:
    world.add("first", "a.test", "127.0.0.1")
    world.add("wild", "*.wild.test")
    world.add("exact", "exact.wild.test")
    world.add("other", "shop.example")
    other = world.pair("other").replace("}", ", hosts: [configured.test]}")
    pairs = {name: world.pair(name) for name in ("first", "wild", "exact")}
    with Served(NAMES, other=other, origin=echo, **pairs) as lbd:
        yield lbd


CHOICES = [
    ("a.test", "first"), ("A.TEST", "first"), ("one.wild.test", "wild"), ("exact.wild.test", "exact"),
    ("ExAct.Wild.Test", "exact"), ("wild.test", "first"), ("two.one.wild.test", "first"),
    ("configured.test", "other"), ("shop.example", "first"), ("unknown.example", "first"), (None, "first"),
    ("evil-a.test", "first"), ("xwild.test", "first"), ("one.wild.test.evil", "first"),
]


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize(("sni", "expected"), CHOICES)
def test_sni_chooses(named: Served, world: World, sni: str | None, expected: str, version: object) -> None:
    context = world.client_context(version=version)  # type: ignore[arg-type]
    with TlsClient(named.address(), context, sni) as client:
        assert client.shown() == world.made[expected].fingerprint
        request = get().replace(b"example.test", (sni or "localhost").encode())
        assert client.ask(request).status == 200


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("sni", [None, "unknown.example", "wild.test", "b.a.test", "x" * 60 + ".test"])
def test_strict_sni_refuses_what_it_has_no_certificate_for(
    named: Served, world: World, sni: str | None, version: object
) -> None:
    before = named.errors("unknown_sni", "strict")
    context = world.client_context(version=version)  # type: ignore[arg-type]
    assert "UNRECOGNIZED_NAME" in handshake_error(named.address("strict"), context, sni)
    assert named.errors("unknown_sni", "strict") == before + 1
    for good in ("a.test", "q.wild.test"):
        assert handshake_error(named.address("strict"), context, good) == ""


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize(
    ("listener", "offer", "chosen"),
    [
        ("web", ("h2", "http/1.1"), "h2"), ("web", ("http/1.1", "h2"), "h2"),
        ("web", ("http/1.1",), "http/1.1"),
        ("web", ("spdy/3", "http/1.1"), "http/1.1"), ("web", ("unknown",), None), ("web", (), None),
        ("web", ("h2c",), None), ("web", ("acme-tls/1",), None), ("web", ("http/1.0",), None),
        ("plain1", ("h2", "http/1.1"), "http/1.1"), ("plain1", ("h2",), None), ("plain1", (), None),
    ],
)
def test_alpn(named: Served, world: World, listener: str, offer: tuple[str, ...], chosen: str | None,
              version: object) -> None:
    """Without a common protocol it is HTTP/1.1, as with nginx."""
    context = world.client_context(alpn=offer, version=version)  # type: ignore[arg-type]
    if chosen == "h2":
        with TlsH2Client(named.address(listener), context) as h2:
            answer = h2.start().fetch(1)
            assert (answer.status, answer.json()["target"]) == (200, "/")
        return
    with TlsClient(named.address(listener), context) as client:
        assert client.sock.selected_alpn_protocol() == chosen
        assert client.ask(get().replace(b"example.test", b"a.test")).status == 200


def test_http2_without_alpn_is_not_taken_over_tls(named: Served, world: World) -> None:
    """RFC 9113 3.2: over TLS it is agreed on by ALPN; the preface is then no request."""
    with TlsClient(named.address(), world.client_context()) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        assert client.read_response().status in (400, 505)


def test_tcp_listener_ends_tls(named: Served, world: World) -> None:
    """No ALPN there: it is any protocol's bytes."""
    context = world.client_context(alpn=("h2", "http/1.1"))
    with TlsClient(named.address("db"), context) as client:
        assert client.sock.selected_alpn_protocol() is None
        answer = client.ask(get("/through"))
        assert answer.json()["target"] == "/through"
        assert "via" not in dict(answer.json()["headers"])


def test_chain_goes_with_the_certificate(named: Served, program: Callable[[str], str]) -> None:
    """The issuer behind the leaf in the file is shown to the client."""
    command = [program("openssl"), "s_client", "-showcerts", "-connect", "{}:{}".format(*named.address()),
               "-servername", "a.test"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=TIMEOUT, check=False)
    assert done.stdout.count(b"BEGIN CERTIFICATE") == 2


def test_handshakes_are_counted(world: World, echo: EchoOrigin) -> None:
    with Served(SECURE, site=world.pair("site"), origin=echo) as lbd:
        context = world.client_context(version=TLS12)
        for _ in range(3):
            assert handshake_error(lbd.address(), context) == ""
        assert lbd.metric("lbd_tls_handshakes_total", listener="web", resumed="no") == 3
        assert lbd.metric("lbd_tls_handshakes_total", listener="web", resumed="yes") == 0
