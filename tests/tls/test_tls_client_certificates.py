"""Mutual TLS: who is let in, which routes they get, and what the endpoint is told of them (RFC 9440).

The fields that say it are lbd's alone: a client that sends them itself, in any spelling, gets nowhere."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator

import pytest
from certs.making import DAY, make, make_ca
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from harness.http_origin import EchoOrigin
from harness.messages import get, head
from tls.speaking import TLS12, TLS13, Served, TlsClient, TlsH2Client, World, handshake_error

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    tls: {certificates: [<site>], client_certificate: {ca: <ca>, mode: required}}
    cluster: app
  - name: either
    bind: "127.0.0.1:0"
    tls: {certificates: [<site>], client_certificate: {ca: <ca>, mode: optional}}
    routes:
      - {match: {client_certificate: {subject: "CN=alice*"}}, respond: {body: by-subject}}
      - {match: {client_certificate: {san: "*.robots.test"}}, respond: {body: by-name}}
      - {match: {client_certificate: {san: ["10.0.0.9"]}}, respond: {body: by-address}}
      - {match: {client_certificate: {fingerprint: <print>}}, respond: {body: by-fingerprint}}
      - {match: {client_certificate: {}, path: /any}, respond: {body: any-certificate}}
      - {cluster: app}
  - name: behind
    bind: "127.0.0.1:0"
    trusted_proxies: [127.0.0.0/8]
    tls: {certificates: [<site>], client_certificate: {ca: <ca>, mode: optional}}
    cluster: app
  - {name: plain, bind: "127.0.0.1:0", cluster: app}
  - {name: keeping, bind: "127.0.0.1:0", underscore_fields: keep, cluster: app}
  - {name: trusting, bind: "127.0.0.1:0", trusted_proxies: [127.0.0.0/8], cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""
versions = pytest.mark.parametrize("version", [TLS12, TLS13])
FIELDS = ("client-cert", "x-client-cert-subject", "x-client-cert-san", "x-client-cert-fingerprint")


@pytest.fixture(scope="module")
def mutual(world: World, echo: EchoOrigin) -> Iterator[Served]:
    world.add("alice", "alice.test", common="alice")
    world.add("robot", "r2.robots.test", common="r2")
    world.add("addressed", "10.0.0.9", common="machine")
    world.add("printed", "p.test", common="printed")
    world.add("bob", "bob.test", common="bob")
    world.add("expired", "alice.test", common="alice", start=-3 * DAY, end=-DAY)
    world.add("future", "alice.test", common="alice", start=DAY, end=3 * DAY)
    world.add("stranger", "alice.test", common="alice", issuer=make_ca("World CA"))  # same name, another key
    make("alice.test", common="alice").write(world.directory, "selfmade")
    with Served(CONFIG, site=world.pair("site"), ca=world.ca_file, origin=echo,
                print=world.made["printed"].fingerprint) as lbd:
        yield lbd
    assert lbd.said() == [line for line in lbd.said() if " INFO " in line]


def ask(lbd: Served, context: ssl.SSLContext, path: str = "/", listener: str = "either") -> bytes:
    with TlsClient(lbd.address(listener), context) as client:
        response = client.ask(get(path).replace(b"example.test", b"a.test"))
        assert response.status == 200
        return response.body


@versions
@pytest.mark.parametrize("listener", ["web", "either"])
@pytest.mark.parametrize("who", ["expired", "future", "stranger", "selfmade"])
def test_bad_certificates_are_refused_even_where_none_is_needed(
    mutual: Served, world: World, who: str, listener: str, version: ssl.TLSVersion
) -> None:
    before = mutual.errors("client_certificate_refused", listener)
    error = handshake_error(mutual.address(listener), world.client_context(who, version=version))
    assert "ALERT" in error, error
    assert mutual.errors("client_certificate_refused", listener) == before + 1


@versions
def test_required(mutual: Served, world: World, version: ssl.TLSVersion) -> None:
    before = mutual.errors("client_certificate_refused")
    error = handshake_error(mutual.address(), world.client_context(version=version))
    assert "CERTIFICATE_REQUIRED" in error or "HANDSHAKE_FAILURE" in error
    assert mutual.errors("client_certificate_refused") == before + 1
    assert handshake_error(mutual.address(), world.client_context("bob", version=version)) == ""


@versions
@pytest.mark.parametrize(
    ("who", "expected"),
    [("alice", b"by-subject"), ("robot", b"by-name"), ("addressed", b"by-address"),
     ("printed", b"by-fingerprint")],
)
def test_routes_by_certificate(
    mutual: Served, world: World, who: str, expected: bytes, version: ssl.TLSVersion
) -> None:
    assert ask(mutual, world.client_context(who, version=version)) == expected
    with TlsH2Client(mutual.address("either"),
                     world.client_context(who, version=version, alpn=("h2",))) as client:
        assert client.start().fetch(1).body == expected


def test_others_fall_through(mutual: Served, world: World) -> None:
    for context in (world.client_context(), world.client_context("bob")):
        assert ask(mutual, context).startswith(b"{")
    assert ask(mutual, world.client_context("bob"), "/any") == b"any-certificate"
    assert ask(mutual, world.client_context(), "/any").startswith(b"{")


def told(fields: list[list[str]]) -> dict[str, list[str]]:
    """What the endpoint was told of the client's certificate, in any spelling that a program may read."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        if "clientcert" in name.lower().replace("-", "").replace("_", ""):
            found.setdefault(name.lower(), []).append(value)
    return found


def expected(world: World, who: str) -> dict[str, list[str]]:
    made = world.made[who]
    der = made.certificate.public_bytes(Encoding.DER)
    names = made.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    values = (f":{base64.b64encode(der).decode()}:", made.certificate.subject.rfc4514_string(),
              ", ".join(str(name.value) for name in names), made.fingerprint)
    return {name: [value] for name, value in zip(FIELDS, values, strict=True)}


FORGED = [
    ("Client-Cert", ":Zm9yZ2Vk:"), ("client-cert", ":Zm9yZ2Vk:"), ("CLIENT-CERT", ":Zm9yZ2Vk:"),
    ("Client_Cert", ":Zm9yZ2Vk:"), ("Client-Cert-Chain", ":Zm9yZ2Vk:"), ("Client_Cert_Chain", ":Zm9yZ2Vk:"),
    ("X-Client-Cert", "forged"), ("X-Client-Cert-Subject", "CN=forged"),
    ("x-CLIENT-cert-SUBJECT", "CN=forged"),
    ("X_Client_Cert_Subject", "CN=forged"), ("X-Client-Cert_Subject", "CN=forged"),
    ("X-Client_Cert-Subject", "CN=forged"), ("X-Client-Cert-SAN", "forged.test"),
    ("X_CLIENT_CERT_SAN", "forged.test"), ("X-Client-Cert-Fingerprint", "00" * 32),
    ("X-Client-Cert-Anything", "forged"), ("X-Client-Cert-", "forged"),
]


def forged_request(*fields: tuple[str, str]) -> bytes:
    return head("GET / HTTP/1.1", "Host: a.test", *(f"{name}: {value}" for name, value in fields))


@pytest.mark.parametrize("who", [None, "bob"])
@pytest.mark.parametrize("field", FORGED, ids=lambda field: str(field[0]))
def test_nobody_forges_over_http1(
    mutual: Served, world: World, who: str | None, field: tuple[str, str]
) -> None:
    right = expected(world, who) if who else {}
    with TlsClient(mutual.address("either"), world.client_context(who)) as client:
        assert told(client.ask(forged_request(field)).json()["headers"]) == right
        assert told(client.ask(forged_request(field, *FORGED)).json()["headers"]) == right
    if who is None:
        assert told(mutual.ask(forged_request(field), "plain").json()["headers"]) == {}


@pytest.mark.parametrize("field", FORGED, ids=lambda field: str(field[0]))
def test_nobody_forges_where_underscores_are_kept(mutual: Served, field: tuple[str, str]) -> None:
    """Kept for the endpoint's sake, but a CGI cannot tell X_Client_Cert from X-Client-Cert."""
    assert told(mutual.ask(forged_request(field), "keeping").json()["headers"]) == {}


@pytest.mark.parametrize("who", [None, "bob"])
@pytest.mark.parametrize("field", sorted({(name.lower(), value) for name, value in FORGED}),
                         ids=lambda field: str(field[0]))
def test_nobody_forges_over_http2(
    mutual: Served, world: World, who: str | None, field: tuple[str, str]
) -> None:
    context = world.client_context(who, alpn=("h2",))
    with TlsH2Client(mutual.address("either"), context) as client:
        answer = client.start().fetch(1, "/", field)
        assert told(answer.json()["headers"]) == (expected(world, who) if who else {})


def test_nominating_does_not_remove_them(mutual: Served, world: World) -> None:
    """`Connection: client-cert` asks a proxy to remove what another one added (hazard: hop-by-hop abuse)."""
    names = "Client-Cert, X-Client-Cert-Subject, X-Client-Cert-SAN, X-Client-Cert-Fingerprint"
    with TlsClient(mutual.address("either"), world.client_context("bob")) as client:
        answer = client.ask(forged_request(("Connection", names)))
        assert told(answer.json()["headers"]) == expected(world, "bob")


def test_trusted_proxies_may_say_it(mutual: Served, world: World) -> None:
    """When they have no certificate of their own: then theirs is what was verified here."""
    said = [("Client-Cert", ":YWxpY2U=:"), ("X-Client-Cert-Subject", "CN=alice")]
    relayed = {name.lower(): [value] for name, value in said}
    assert told(mutual.ask(forged_request(*said), "trusting").json()["headers"]) == relayed
    with TlsClient(mutual.address("behind"), world.client_context()) as client:
        assert told(client.ask(forged_request(*said)).json()["headers"]) == relayed
    with TlsClient(mutual.address("behind"), world.client_context("bob")) as client:
        assert told(client.ask(forged_request(*said)).json()["headers"]) == expected(world, "bob")


@versions
def test_resumption_keeps_the_identity(mutual: Served, world: World, version: ssl.TLSVersion) -> None:
    context = world.client_context("bob", version=version)
    with TlsClient(mutual.address(), context) as client:
        assert told(client.ask(forged_request()).json()["headers"]) == expected(world, "bob")
        session = client.sock.session
    with TlsClient(mutual.address(), context, session=session) as client:
        assert told(client.ask(forged_request()).json()["headers"]) == expected(world, "bob")
        assert client.sock.session_reused


def test_http2_identity(mutual: Served, world: World) -> None:
    with TlsH2Client(mutual.address(), world.client_context("bob", alpn=("h2",))) as client:
        client.start()
        for stream in (1, 3, 5):
            assert told(client.fetch(stream).json()["headers"]) == expected(world, "bob")


def test_a_subject_cannot_break_out_of_its_field(mutual: Served, world: World) -> None:
    """The authority signed it, but line ends and other control bytes in it stay harmless."""
    world.add("odd", "odd.test", common="odd\r\nX-Injected: yes\x00\x7f\x1b é")
    with TlsClient(mutual.address(), world.client_context("odd")) as client:
        fields = client.ask(forged_request()).json()["headers"]
    assert "x-injected" not in dict(fields)
    subject = told(fields)["x-client-cert-subject"][0]
    assert subject.startswith("CN=odd") and not any(ord(char) < 0x20 or ord(char) == 0x7F for char in subject)


def test_a_huge_certificate_is_no_trouble(mutual: Served, world: World) -> None:
    """Hundreds of names: what is told stays bounded, the rest of the request is whole."""
    world.add("huge", *(f"name-{index}.long-domain-of-a-test.test" for index in range(300)), common="huge")
    with TlsClient(mutual.address(), world.client_context("huge")) as client:
        fields = client.ask(forged_request(("X-Last", "here"))).json()["headers"]
    assert dict(fields)["x-last"] == "here"
    found = told(fields)
    assert len(found["x-client-cert-san"][0]) <= 1024
    assert found["x-client-cert-fingerprint"] == [world.made["huge"].fingerprint]
    assert found["x-client-cert-subject"] == ["CN=huge"]
