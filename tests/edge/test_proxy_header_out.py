"""The PROXY protocol towards endpoints: raw bytes, and what HAProxy and nginx make of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge.programs import address_of, haproxy, nginx
from edge.proxy_bytes import SIGNATURE, tlvs
from harness.client import Client
from harness.messages import get, head, ok, post
from harness.origin import Connection, Origin, recv_request, send
from harness.waiting import eventually
from tls.speaking import SecureOrigin, Served, TlsClient, TlsH2Client, World

Program = Callable[[str], str]
CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: six, bind: "[::1]:0", cluster: app}
  - {name: secure, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: app}
  - {name: behind, bind: "127.0.0.1:0", proxy_protocol: [127.0.0.2/32], cluster: app}
clusters: [{name: app, endpoints: [<origin>], proxy_protocol: <version>}]
"""
ALPN, AUTHORITY, CRC32C, UNIQUE_ID, SSL = 1, 2, 3, 5, 0x20


def serving(world: World, origin: object, version: str) -> Served:
    return Served(CONFIG, site=world.pair("site"), origin=origin, version=version)


def split_v2(data: bytes) -> tuple[int, tuple[str, int], tuple[str, int], dict[int, bytes], bytes]:
    """Family, source, destination, TLVs and what comes behind the header."""
    assert data.startswith(SIGNATURE + b"\x21"), data[:40]
    size = struct.unpack(">H", data[14:16])[0]
    block, rest = data[16 : 16 + size], data[16 + size :]
    width, family = (4, socket.AF_INET) if data[13] == 0x11 else (16, socket.AF_INET6)
    places = [socket.inet_ntop(family, block[at : at + width]) for at in (0, width)]
    ports = struct.unpack(">HH", block[2 * width : 2 * width + 4])
    return data[13], (places[0], ports[0]), (places[1], ports[1]), tlvs(block[2 * width + 4 :]), rest


def greeted(connection: Connection) -> None:
    """Answer requests that come behind a header; the header is left to the test."""
    while not connection.received.endswith(b"\r\n\r\n"):
        if not connection.recv():
            return
    connection.send(ok())


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin([greeted]) as origin:
        yield origin


@pytest.mark.parametrize("listener", ["web", "six", "secure", "behind"])
def test_v1(world: World, origin: Origin, listener: str) -> None:
    with serving(world, origin, "v1") as lbd:
        if listener == "secure":
            client: Client = TlsClient(lbd.address(listener), world.client_context())
        else:
            client = lbd.connect(listener, source="127.0.0.2" if listener == "behind" else None)
        with client:
            here, there = client.sock.getsockname(), client.sock.getpeername()
            family, places = ("TCP6" if listener == "six" else "TCP4"), (here[0], there[0], here[1], there[1])
            if listener == "behind":
                places = ("198.51.100.9", "192.0.2.1", 40000, 443)
                client.send(b"PROXY TCP4 198.51.100.9 192.0.2.1 40000 443\r\n")
            assert client.ask(get()).status == 200
        expected = "PROXY {} {} {} {} {}\r\nGET / HTTP/1.1\r\n".format(family, *places)
        assert origin.received.startswith(expected.encode())


@pytest.mark.parametrize("listener", ["web", "six", "behind"])
def test_v2(world: World, origin: Origin, listener: str) -> None:
    with serving(world, origin, "v2") as lbd, \
            lbd.connect(listener, source="127.0.0.2" if listener == "behind" else None) as client:
        source, destination = client.sock.getsockname()[:2], client.sock.getpeername()[:2]
        if listener == "behind":
            source, destination = ("198.51.100.9", 40000), ("192.0.2.1", 443)
            client.send(b"PROXY TCP4 198.51.100.9 192.0.2.1 40000 443\r\n")
        assert client.ask(get()).status == 200
    family, told_source, told_destination, found, rest = split_v2(origin.received)
    assert (family, told_source, told_destination) == (
        0x21 if listener == "six" else 0x11, source, destination)
    assert rest.startswith(b"GET / HTTP/1.1\r\n")
    assert SSL not in found and AUTHORITY not in found
    assert b"x-request-id: " + found[UNIQUE_ID] in rest.lower(), "the request's own"


def test_v2_tells_of_tls(world: World, origin: Origin) -> None:
    context = world.client_context(alpn=("h2",))
    with serving(world, origin, "v2") as lbd, TlsH2Client(lbd.address("secure"), context) as client:
        assert client.start().fetch(1).status == 200
    found = split_v2(origin.received)[3]
    assert (found[ALPN], found[AUTHORITY]) == (b"h2", b"a.test")
    assert found[SSL][0] & 1, "PP2_CLIENT_SSL"


def test_tunnels(world: World) -> None:
    with Origin([lambda c: c.recv(), send(b"hello\r\n")]) as origin, serving(world, origin, "v2") as lbd, \
            lbd.connect("db") as client:
        source = client.sock.getsockname()
        assert client.read_until(b"\r\n") == b"hello\r\n", "it goes out before the client says anything"
        family, told, _, _, rest = split_v2(origin.received)
        assert (family, told, rest) == (0x11, source, b"")


def test_each_client_has_its_own_connection(world: World, origin: Origin) -> None:
    """A pooled connection would carry the next client under the first one's name."""
    with serving(world, origin, "v1") as lbd:
        for last in range(2, 8):
            with lbd.connect(source=f"127.0.0.{last}") as client:
                assert client.ask(get()).status == 200
        names = [bytes(one.received).split()[2].decode() for one in origin.connections]
        assert names == [f"127.0.0.{last}" for last in range(2, 8)]
        assert lbd.metric("lbd_upstream_reused_total") == 0


def test_before_tls_to_the_endpoint(world: World) -> None:
    """The header goes in plain text, then the handshake (2.2 of the specification)."""
    context = world.server_context("site")

    class Peeling(SecureOrigin):
        def _run(self, connection: Connection, script: list) -> None:  # type: ignore[type-arg,override]
            header = b""
            while not header.endswith(b"\r\n"):
                header += connection.sock.recv(1)
            headers.append(header)
            super()._run(connection, script)

    headers: list[bytes] = []
    tls = f"tls: {{ca: {world.ca_file}, sni: a.test}}, proxy_protocol"
    with Peeling(context, [recv_request, send(ok())]) as origin, Served(
        CONFIG.replace("proxy_protocol: <version>", f"{tls}: v1"), site=world.pair("site"), origin=origin
    ) as lbd, lbd.connect() as client:
        assert client.ask(post("/", b"x" * 50_000)).status == 200
        assert headers[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")


RECEIVER = """
listen http
  mode http
  bind <http> accept-proxy
  http-request return status 200 content-type text/plain lf-string "ANSWER"
""".replace("ANSWER", "%[src] %[src_port] %[dst_port] %[fc_pp_authority]")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_understands_it(program: Program, world: World, tmp_path: Path, version: str) -> None:
    with haproxy(program, tmp_path, RECEIVER, "http") as fronts:
        place = "{}:{}".format(*fronts["http"])
        with serving(world, place, version) as lbd:
            for last in (3, 4):
                with lbd.connect(source=f"127.0.0.{last}") as client:
                    source, port = client.sock.getsockname()
                    told = client.ask(get()).body.decode().split()
                    assert told == [source, str(port), str(lbd.address()[1])]
            with TlsClient(lbd.address("secure"), world.client_context()) as client:
                told = client.ask(get()).body.decode().split()
                assert told[0] == "127.0.0.1"
                assert told[3:] == (["a.test"] if version == "v2" else [])
            with lbd.connect("six") as client:
                assert client.ask(get()).body.decode().split()[0] == "::1"
            with lbd.connect("db", source="127.0.0.9") as client:
                assert client.ask(get()).body.decode().split()[0] == "127.0.0.9"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_understands_it(program: Program, world: World, tmp_path: Path, version: str) -> None:
    told = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port $http_x_forwarded_for"
    server = f"server {{ listen 127.0.0.1:PORT proxy_protocol; return 200 '{told}'; }}"
    with nginx(program, tmp_path, server) as place, serving(world, place, version) as lbd:
        assert address_of(place)[0] == "127.0.0.1"
        for last in (5, 6):
            with lbd.connect(source=f"127.0.0.{last}") as client:
                source, port = client.sock.getsockname()
                answer = client.ask(get()).body.decode().split()
                assert answer == [source, str(port), str(lbd.address()[1]), source]
        with TlsH2Client(lbd.address("secure"), world.client_context(alpn=("h2",))) as client:
            assert client.start().fetch(1).body.split()[0] == b"127.0.0.1"


def test_through_a_chain(program: Program, world: World, tmp_path: Path) -> None:
    """lbd to HAProxy to lbd: the first client's address arrives."""
    final = """
listeners: [{name: web, bind: "127.0.0.1:0", proxy_protocol: [127.0.0.0/8], cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
    with Origin([greeted]) as origin, Served(final, origin=origin) as last:
        config = """
listen between
  mode tcp
  bind <between> accept-proxy
  server lbd WEB send-proxy-v2
""".replace("WEB", "{}:{}".format(*last.address()))
        with haproxy(program, tmp_path, config, "between") as fronts:
            place = "{}:{}".format(*fronts["between"])
            with serving(world, place, "v2") as first, first.connect(source="127.0.0.66") as client:
                assert client.ask(head("GET / HTTP/1.1", "Host: a.test")).status == 200
        eventually(lambda: b"X-Forwarded-For: 127.0.0.66" in origin.received, "the client's address")
