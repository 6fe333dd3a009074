"""The PROXY protocol codec: fed in every way, against a second opinion, and with a real HAProxy."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from codec.proxy_headers import (
    BAD,
    FROM,
    GOOD,
    PLACES,
    SIGNATURE,
    TCP4,
    TCP6,
    TO,
    V4,
    Place,
    crc32c,
    header,
    read_binary,
    read_line,
    sealed,
    tlv,
    v2,
)
from harness.waiting import TIMEOUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbd.engine.proxy_protocol import ProxyHeader, inspect_proxy, make_proxy

Program = Callable[[str], str]
REFUSED = "refused"
fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow],
                derandomize=True, database=None)


def outcome(data: bytes) -> ProxyHeader | str | None:
    try:
        return inspect_proxy(data)
    except ValueError as error:
        assert str(error)
        return REFUSED


def inspect_every_way(data: bytes) -> ProxyHeader | str | None:
    """Byte by byte, whole, and with trailing data: once decided, more bytes change nothing."""
    results = [outcome(data[:end]) for end in range(len(data) + 1)]
    final = results[-1]
    decided = next((end for end, result in enumerate(results) if result is not None), len(results))
    assert decided > 0 and set(results[decided:]) <= {final}, "the first decision stays"
    if isinstance(final, ProxyHeader):
        assert final.consumed == decided, "at the byte that ends the header, not before, not after"
    if final is not None:
        assert {outcome(data + tail) for tail in (b"\0", b"\r\n", b" x", b"GET / HTTP/1.1\r\n")} == {final}
    return final


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    data, expected = GOOD[name]
    assert inspect_every_way(data) == expected._replace(consumed=len(data))


@pytest.mark.parametrize("name", BAD)
def test_bad_at_its_last_byte(name: str) -> None:
    data = BAD[name]
    assert inspect_every_way(data) == REFUSED
    assert outcome(data[:-1]) is None


def test_checksum_is_crc32c() -> None:
    """Check value of the CRC catalogues, for the code that the tables were made with."""
    assert crc32c(b"123456789") == 0xE3069283


def agrees(data: bytes) -> None:
    ours = inspect_every_way(data)
    theirs = read_line(data) or read_binary(data)
    assert (ours if isinstance(ours, ProxyHeader) else None) == theirs
    assert theirs is None or theirs.consumed <= len(data)


HEADERS = sorted({data for data, _ in GOOD.values() if len(data) < 1000} | set(BAD.values()))
TOKENS = st.sampled_from([b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b" ", b"\r\n", b"\n", b"1.2.3.4", b"::1",
                          b"::", b"0", b"1", b"65535", b"65536", b"a:", b".", b"\0", b"%1"])


@fuzz
@given(st.binary(max_size=200), st.sampled_from(
    [b"", b"PROXY ", TCP4, TCP6, PLACES, SIGNATURE, SIGNATURE + b"\x21\x11\0"]))
def test_noise(noise: bytes, start: bytes) -> None:
    agrees(start + noise)


@fuzz
@given(st.lists(TOKENS, max_size=12), st.sampled_from([b"", b"PROXY ", TCP4, TCP6, PLACES]))
def test_words_in_any_order(words: list[bytes], start: bytes) -> None:
    agrees(start + b"".join(words))


@fuzz
@given(st.sampled_from(HEADERS), st.data())
def test_damaged(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    cut = draw.draw(st.integers(0, 3))
    agrees(data[:at] + draw.draw(st.binary(max_size=3)) + data[at + cut:])


@fuzz
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 0x20, 0xE0]), st.binary(max_size=12)), max_size=5),
       st.booleans())
def test_any_tlvs(entries: list[tuple[int, bytes]], seal: bool) -> None:
    block = b"".join(tlv(kind, value) for kind, value in entries)
    agrees(sealed(block) if seal else v2(V4 + block))


# the writer

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6),
                      st.ip_addresses(v=4).map(lambda a: IPv6Address(bytes(10) + b"\xff\xff" + a.packed)),
                      st.lists(st.sampled_from([0, 0, 1, 0xFFFF]), min_size=8, max_size=8).map(
                          lambda groups: IPv6Address(struct.pack(">8H", *groups)))).map(str)
PLACE = st.tuples(ADDRESSES, st.integers(0, 65535))


def as_written(*places: Place) -> tuple[int, list[Place]]:
    """The family of the header, and how its addresses read: as IPv4 only if both are."""
    whole = [IPv6Address(address if ":" in address else f"::ffff:{address}") for address, _ in places]
    mapped = [address.ipv4_mapped for address in whole]
    texts = [str(address) for address in (mapped if all(mapped) else whole)]
    return 4 if all(mapped) else 6, [(text, port) for text, (_, port) in zip(texts, places, strict=True)]


@fuzz
@given(PLACE, PLACE)
def test_round_trip_v1(source: Place, destination: Place) -> None:
    data = make_proxy(1, source, destination)
    family, (there, here) = as_written(source, destination)
    assert data == f"PROXY TCP{family} {there[0]} {here[0]} {there[1]} {here[1]}\r\n".encode()
    assert inspect_every_way(data) == header(1, family, there, here, consumed=len(data))


@fuzz
@given(PLACE, PLACE, st.binary(max_size=255), st.binary(max_size=255), st.binary(max_size=128), st.booleans())
def test_round_trip_v2(source: Place, destination: Place, alpn: bytes, authority: bytes, unique_id: bytes,
                       tls: bool) -> None:
    more: dict[str, Any] = {"alpn": alpn, "authority": authority, "unique_id": unique_id, "tls": tls}
    data = make_proxy(2, source, destination, **more)
    family, (there, here) = as_written(source, destination)
    assert inspect_every_way(data) == header(2, family, there, here, consumed=len(data), **more)


def test_no_addresses() -> None:
    assert make_proxy(1) == b"PROXY UNKNOWN\r\n"
    assert make_proxy(2) == v2(b"", b"\x20\x00")


def test_bytes_of_version_2() -> None:
    assert make_proxy(2, FROM, TO) == v2(V4)
    assert make_proxy(2, FROM, TO, alpn=b"h2", authority=b"a.b", unique_id=b"id", tls=True) == v2(
        V4 + tlv(1, b"h2") + tlv(2, b"a.b") + tlv(5, b"id") + tlv(0x20, b"\x01\0\0\0\x01"))
    longest = make_proxy(2, ("::1", 1), TO, alpn=b"a" * 255, authority=b"b" * 255, unique_id=b"c" * 128,
                         tls=True)
    assert len(longest) == 707


@pytest.mark.parametrize(("version", "places", "more"), [
    (0, (FROM, TO), {}), (3, (FROM, TO), {}), (2, (FROM, None), {}), (1, (None, TO), {}),
    (1, (FROM, TO), {"tls": True}), (1, (FROM, TO), {"alpn": b"h2"}),
    (2, (None, None), {"unique_id": b"x"}), (2, (("localhost", 1), TO), {}),
    (2, (FROM, TO), {"alpn": b"x" * 256}), (2, (FROM, TO), {"authority": b"x" * 256}),
    (2, (FROM, TO), {"unique_id": b"x" * 129})])
def test_what_can_not_be_written(version: int, places: tuple[Any, Any], more: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        make_proxy(version, *places, **more)


# a real HAProxy

HAPROXY_CONFIG = """
defaults
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen it
  bind fd@{fd} {bind}
  {rules}
"""


@contextmanager
def haproxy(program: Program, directory: Path, rules: str, bind: str = "") -> Iterator[Place]:
    """Its address. The socket is ours and listens before it starts, so nobody waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = directory / "haproxy.cfg"
        config.write_text(HAPROXY_CONFIG.format(fd=listening.fileno(), bind=bind, rules=rules))
        process = subprocess.Popen([program("haproxy"), "-db", "-f", str(config)],
                                   pass_fds=[listening.fileno()])
        try:
            yield listening.getsockname()
        finally:
            process.terminate()
            process.wait(TIMEOUT)


@pytest.fixture
def origin() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as origin:
        origin.settimeout(TIMEOUT)
        yield origin


def captured(origin: socket.socket) -> bytes:
    """The header that the next connection begins with."""
    connection, _ = origin.accept()
    with closing(connection):
        connection.settimeout(TIMEOUT)
        data = b""
        while outcome(data) is None:
            piece = connection.recv(65536)
            assert piece, f"the connection ended after {data!r}"
            data += piece
    return data


OPTIONS = "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,authority,cert-sig,cert-key,ssl-cipher"


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", OPTIONS])
def test_haproxy_sends(program: Program, tmp_path: Path, origin: socket.socket, option: str) -> None:
    rules = f"unique-id-format one-id\n  server s 127.0.0.1:{origin.getsockname()[1]} {option}"
    with haproxy(program, tmp_path, rules) as address, socket.create_connection(address, TIMEOUT) as client:
        data = captured(origin)
        expected = header(1 if option == "send-proxy" else 2, 4, client.getsockname(), address,
                          unique_id=b"one-id" if option == OPTIONS else b"", consumed=len(data))
    assert inspect_every_way(data) == expected
    if option == OPTIONS:
        damaged = data[:16] + bytes([data[16] ^ 1]) + data[17:]
        assert inspect_every_way(damaged) == REFUSED, "the checksum tells"


def test_haproxy_sends_what_tls_told(program: Program, tmp_path: Path, origin: socket.socket) -> None:
    pem, cert = tmp_path / "site.pem", tmp_path / "cert"
    subprocess.run([program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
                    "-subj", "/CN=shop.example", "-keyout", str(pem), "-out", str(cert)],
                   check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + cert.read_bytes())
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False  # the name stands in no subjectAltName
    context.set_alpn_protocols(["h2"])
    rules = f"unique-id-format one-id\n  server s 127.0.0.1:{origin.getsockname()[1]} {OPTIONS}"
    with haproxy(program, tmp_path, rules, f"ssl crt {pem} alpn h2") as address:
        plain = socket.create_connection(address, TIMEOUT)
        with context.wrap_socket(plain, server_hostname="shop.example") as client:
            data = captured(origin)
            assert inspect_every_way(data) == header(
                2, 4, client.getsockname(), address, alpn=b"h2", authority=b"shop.example",
                unique_id=b"one-id", tls=True, consumed=len(data))


def test_haproxy_checks_as_local(program: Program, tmp_path: Path, origin: socket.socket) -> None:
    rules = f"server s 127.0.0.1:{origin.getsockname()[1]} check inter 100ms {OPTIONS}"
    with haproxy(program, tmp_path, rules):
        data = captured(origin)
    assert inspect_every_way(data) == header(2, 0, consumed=len(data))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("source", "destination"), [
    (FROM, TO), (("2001:db8::1", 1), ("::", 65535)), (("1:0:0:2::3", 7), ("192.0.2.1", 8))])
def test_haproxy_reads_ours(program: Program, tmp_path: Path, version: int, source: Place,
                            destination: Place) -> None:
    rules = ('mode http\n  http-request return status 200 content-type text/plain lf-string '
             '"%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"')
    more: dict[str, Any] = {}
    if version == 2:
        more = {"authority": b"a.example", "unique_id": b"id", "alpn": b"h2", "tls": True}
    with (haproxy(program, tmp_path, rules, "accept-proxy") as address,
          socket.create_connection(address, TIMEOUT) as client):
        client.sendall(make_proxy(version, source, destination, **more) + b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    words = answer.partition("\r\n\r\n")[2].split()
    _, places = as_written(source, destination)
    assert [(str(ip_address(words[at])), int(words[at + 1])) for at in (0, 2)] == places
    assert words[4:] == (["a.example", "id"] if version == 2 else [])
