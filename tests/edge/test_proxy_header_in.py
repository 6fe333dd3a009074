"""The PROXY protocol towards lbd: from listed sources only, before TLS, in any pieces; HAProxy as the sender.

Clients at 127.0.0.2 are listed proxies, those at 127.0.0.1 are anybody."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
from edge.programs import curl, haproxy
from edge.proxy_bytes import UNIX, V4, tlv, v2
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.messages import get
from harness.waiting import eventually
from http2.frames import MAGIC, SETTINGS_ACK, headers, request, settings
from http2.wire import H2Client
from tls.speaking import Served, TlsClient, World

Program = Callable[[str], str]
CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    proxy_protocol: [127.0.0.2/32]
    timeouts: {handshake: 500ms}
    routes:
      - {match: {source: 203.0.113.0/24}, respond: {body: matched}}
      - {cluster: app}
  - name: secure
    bind: "127.0.0.1:0"
    proxy_protocol: [127.0.0.2/32]
    tls: {certificates: [<site>]}
    cluster: app
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, proxy_protocol: [127.0.0.2/32], cluster: app}
  - {name: trusting, bind: "127.0.0.1:0", proxy_protocol: [127.0.0.2/32], trusted_proxies: [192.0.2.0/24],
     cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + bytes([0x12, 0x34, 0x01, 0xBB])
V1 = b"PROXY TCP4 198.51.100.9 192.0.2.1 40000 443\r\n"
GOOD: dict[str, tuple[bytes, str]] = {
    "v1": (V1, "198.51.100.9"),
    "v1-ipv6": (b"PROXY TCP6 2001:db8::7 2001:db8::8 40000 443\r\n", "2001:db8::7"),
    "v1-mapped": (b"PROXY TCP6 ::ffff:198.51.100.9 ::ffff:192.0.2.1 40000 443\r\n", "198.51.100.9"),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.2"),
    "v2": (v2(V4), "192.168.0.1"),
    "v2-ipv6": (v2(V6, b"\x21\x21"), "2001:db8::7"),
    "v2-local": (v2(b"", b"\x20\x00"), "127.0.0.2"),
    "v2-unix": (v2(UNIX, b"\x21\x31"), "127.0.0.2"),
    "v2-tlvs": (v2(V4 + tlv(1, b"h2") + tlv(2, b"a.test") + tlv(0xE0, b"x" * 500)), "192.168.0.1"),
    "v2-longest": (v2(V4 + tlv(4, bytes(4096 - 15))), "192.168.0.1"),
}
BAD: dict[str, bytes] = {
    "none": b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "garbage": bytes(range(256)),
    "bad-address": b"PROXY TCP4 1.2.3.400 192.0.2.1 1 2\r\n" + get(),
    "line-without-end": b"PROXY UNKNOWN " + b"x" * 200,
    "bad-checksum": v2(V4 + tlv(3, bytes(4))) + get(),
    "too-long": v2(V4 + tlv(4, bytes(5000))) + get(),
    "twice": V1 + V1 + get(),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
}


@pytest.fixture(scope="module")
def lbd(world: World, echo: EchoOrigin) -> Iterator[Served]:
    with Served(CONFIG, site=world.pair("site"), origin=echo) as lbd:
        yield lbd


def forwarded(client: Client, *fields: str) -> str:
    """What the endpoint is told of the client."""
    return dict(client.ask(get("/", *fields)).json()["headers"])["x-forwarded-for"]


@pytest.mark.parametrize("name", GOOD)
def test_believed(lbd: Served, name: str) -> None:
    header, address = GOOD[name]
    with lbd.connect(source="127.0.0.2") as client:
        client.send(header + get("/first"))
        assert dict(client.read_response().json()["headers"])["x-forwarded-for"] == address
        assert forwarded(client) == address, "it counts for the connection, not for a request"


@pytest.mark.parametrize("name", GOOD)
def test_in_pieces(lbd: Served, name: str) -> None:
    header, address = GOOD[name]
    step = 1 if len(header) < 300 else 97
    with lbd.connect(source="127.0.0.2") as client:
        client.send_pieces(header, step)
        assert forwarded(client) == address


@pytest.mark.parametrize("name", BAD)
def test_refused(lbd: Served, echo: EchoOrigin, name: str) -> None:
    """A listed source must send one: otherwise anybody who gets through it chooses his address."""
    before = lbd.errors("bad_proxy_header"), len(echo.requests)
    with lbd.connect(source="127.0.0.2") as client:
        client.send_while_accepted(BAD[name])
        answer = client.read_until_close()
    if name == "twice":
        assert answer.startswith(b"HTTP/1.1 400"), "the second one is no request"
    else:
        assert answer == b""
        assert lbd.errors("bad_proxy_header") == before[0] + 1
    assert len(echo.requests) == before[1]
    assert lbd.said() == []


@pytest.mark.parametrize("header", [V1, GOOD["v2"][0]], ids=["v1", "v2"])
def test_not_taken_from_anybody_else(lbd: Served, echo: EchoOrigin, header: bytes) -> None:
    """An unlisted source that sends one gets no other address by it: it is an invalid request."""
    before = len(echo.requests)
    with lbd.connect() as client:
        client.send(header + get())
        assert client.read_response().status == 400
        client.read_until_close()
    assert len(echo.requests) == before
    with lbd.connect() as client:
        assert forwarded(client) == "127.0.0.1"


@pytest.mark.parametrize("part", [b"", b"PROXY TCP4 1", GOOD["v2"][0][:15]])
def test_the_deadline_covers_it(lbd: Served, part: bytes) -> None:
    before = lbd.errors("handshake_timeout")
    with lbd.connect(source="127.0.0.2") as client:
        client.send(part)
        assert client.read_until_close() == b""
    assert lbd.errors("handshake_timeout") == before + 1


@pytest.mark.parametrize("part", [b"PROXY TCP4 1", GOOD["v2"][0][:20]])
def test_an_end_inside_it(lbd: Served, part: bytes) -> None:
    before = lbd.errors("bad_proxy_header")
    with lbd.connect(source="127.0.0.2") as client:
        client.send(part)
        client.half_close()
        assert client.read_until_close() == b""
    assert lbd.errors("bad_proxy_header") == before + 1


def test_a_forged_one_inside_tls_is_no_header(lbd: Served, world: World) -> None:
    with TlsClient(lbd.address("secure"), world.client_context()) as client:
        client.send(V1 + get())
        assert client.read_response().status == 400


def secured(lbd: Served, context: ssl.SSLContext, header: bytes) -> TlsClient:
    """TLS behind a PROXY header, from a listed source."""
    client = TlsClient.__new__(TlsClient)
    Client.__init__(client, lbd.address("secure"), source="127.0.0.2")
    client.send_pieces(header, 11)
    client.secure(context, "a.test", None)
    return client


@pytest.mark.parametrize("name", GOOD)
def test_before_tls(lbd: Served, world: World, name: str) -> None:
    header, address = GOOD[name]
    with secured(lbd, world.client_context(), header) as client:
        told = dict(client.ask(get()).json()["headers"])
        assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == (address, "https")


def test_header_and_hello_in_one_segment(lbd: Served, world: World) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = world.client_context().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with lbd.connect("secure", source="127.0.0.2") as client:
        client.send(V1 + outgoing.read())
        while tls.version() is None:
            incoming.write(client.recv())
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
        client.send(outgoing.read())


def test_before_http2(lbd: Served) -> None:
    client = H2Client.__new__(H2Client)
    H2Client.__init__(client, lbd.address())
    client.sock.close()
    client.sock = Client(lbd.address(), source="127.0.0.2").sock
    with client:
        client.send(V1 + MAGIC + settings() + SETTINGS_ACK + headers(1, request("/")))
        fields = dict(client.read_answer(1).json()["headers"])
        assert fields["x-forwarded-for"] == "198.51.100.9"


def test_before_a_tunnel(lbd: Served, echo: EchoOrigin) -> None:
    with lbd.connect("db", source="127.0.0.2") as client:
        client.send_pieces(V1)
        fields = dict(client.ask(get("/through")).json()["headers"])
        assert "x-forwarded-for" not in fields
    with lbd.connect("db") as client:
        client.send(V1 + get())
        assert client.read_until_close() == b""
    said = eventually(lambda: echo.malformed, "what an unlisted source sends is the endpoint's affair")
    assert len(said) == 1 and "PROXY TCP4" in said[0]
    echo.connections[-1].malformed = None


def test_source_conditions_and_the_access_log_see_it(lbd: Served) -> None:
    with lbd.connect(source="127.0.0.2") as client:
        client.send(b"PROXY TCP4 203.0.113.77 192.0.2.1 1 2\r\n" + get("/logged"))
        assert client.read_response().body == b"matched"
    lines = eventually(lambda: [line for line in lbd.output if '"/logged"' in line], "the access log")
    assert json.loads(lines[0])["client"] == "203.0.113.77"


def test_trusted_proxies_means_the_address_in_the_header(lbd: Served) -> None:
    """Behind a TCP balancer the peer is whom the header names: that one is trusted or not."""
    for peer, expected in (("192.0.2.9", "9.9.9.9, 192.0.2.9"), ("198.51.100.9", "198.51.100.9")):
        with lbd.connect("trusting", source="127.0.0.2") as client:
            client.send(f"PROXY TCP4 {peer} 192.0.2.1 1 2\r\n".encode())
            assert forwarded(client, "X-Forwarded-For: 9.9.9.9") == expected


SENDERS = """
listen v1
  mode tcp
  bind <v1>
  server lbd WEB send-proxy source 127.0.0.2
listen v2
  mode tcp
  bind <v2>
  server lbd WEB send-proxy-v2 proxy-v2-options unique-id,crc32c,authority source 127.0.0.2
listen through
  mode tcp
  bind <through>
  server lbd SECURE send-proxy-v2 proxy-v2-options crc32c source 127.0.0.2
listen ending
  mode tcp
  bind <ending> ssl crt PEM alpn h2,http/1.1
  server lbd WEB send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,authority,crc32c source 127.0.0.2
listen checked
  mode http
  bind <checked>
  option httpchk GET /checked
  server lbd WEB check inter 100ms send-proxy-v2 check-send-proxy source 127.0.0.2
"""


@pytest.fixture(scope="module")
def senders(program: Program, lbd: Served, world: World,
            tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, int]]]:
    pem = world.directory / "both.pem"
    pem.write_bytes(b"".join(file.read_bytes() for file in world.files("site")))
    config = SENDERS.replace("PEM", str(pem))
    for name, listener in (("WEB", "web"), ("SECURE", "secure")):
        config = config.replace(name, "{}:{}".format(*lbd.address(listener)))
    directory = tmp_path_factory.mktemp("haproxy")
    with haproxy(program, directory, config, "v1", "v2", "through", "ending", "checked") as addresses:
        yield addresses


@pytest.mark.parametrize("front", ["v1", "v2"])
def test_haproxy_sends_it(senders: dict[str, tuple[str, int]], front: str) -> None:
    with Client(senders[front], source="127.0.0.77") as client:
        assert forwarded(client) == forwarded(client) == "127.0.0.77"


def test_haproxy_passes_tls_on(senders: dict[str, tuple[str, int]], world: World, program: Program) -> None:
    host, port = senders["through"]
    url = f"https://a.test:{port}/"
    said = curl(program, "--cacert", str(world.ca_file), "--resolve", f"a.test:{port}:{host}", "--http2",
                "--interface", "127.0.0.78", url)
    assert dict(json.loads(said)["headers"])["x-forwarded-for"] == "127.0.0.78"


def test_haproxy_ends_tls(senders: dict[str, tuple[str, int]], world: World) -> None:
    """With all that it can tell in TLVs; HTTP/2 by prior knowledge then, as it was agreed on with HAProxy."""
    with TlsClient(senders["ending"], world.client_context(alpn=("http/1.1",))) as client:
        assert forwarded(client) == "127.0.0.1"


def test_haproxy_checks_health(senders: dict[str, tuple[str, int]], lbd: Served, echo: EchoOrigin) -> None:
    """Its checks come with a LOCAL header: they are the proxy's own."""
    seen = eventually(lambda: [one for one in echo.complete if one.target == "/checked"], "a check")
    assert seen[0].all("x-forwarded-for") == ["127.0.0.2"]
    assert lbd.said() == []
