"""PROXY headers: the parts they are made of, tables, and a second opinion in plain Python."""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from lbd.engine.proxy_protocol import ProxyHeader

Place = tuple[str, int]
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 168, 0, 1, 192, 168, 0, 11]) + struct.pack(">HH", 56324, 443)
V6 = IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + struct.pack(">HH", 1, 65535)
UNIX = b"/run/a.sock".ljust(108, b"\0") + bytes(108)
FROM, TO = ("192.168.0.1", 56324), ("192.168.0.11", 443)


def v2(block: bytes, head: bytes = b"\x21\x11") -> bytes:
    return SIGNATURE + head + struct.pack(">H", len(block)) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def crc32c(data: bytes) -> int:
    """RFC 4960 appendix B, bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def sealed(before: bytes, after: bytes = b"", flip: int = 0) -> bytes:
    """A header over IPv4 with a checksum between these TLVs; flip: bits of it that are wrong."""
    value = crc32c(v2(V4 + before + tlv(3, bytes(4)) + after)) ^ flip
    return v2(V4 + before + tlv(3, struct.pack(">I", value)) + after)


def header(version: int, family: int, source: Place | None = None, destination: Place | None = None,
           **more: Any) -> ProxyHeader:
    """What the parser should say; `consumed` is filled in by the test."""
    values = {"alpn": b"", "authority": b"", "unique_id": b"", "tls": False, "consumed": 0, **more}
    return ProxyHeader(version, family, source, destination, **values)


# As HAProxy 2.6.12 sent it for a TLS 1.3 connection, with all of its proxy-v2-options
HAPROXY = bytes.fromhex(
    "0d0a0d0a000d0a515549540a211100727f0000017f000001ca52931b0300046ff1960501000268320200"
    "0c73686f702e6578616d706c650500066f6e652d696420003f0100000000210007544c5376312e332500"
    "075253413230343824000a5253412d534841323536230016544c535f4145535f3235365f47434d5f534841333834")
LONGEST = b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"

GOOD: dict[str, tuple[bytes, ProxyHeader]] = {
    "v1-tcp4": (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", header(1, 4, FROM, TO)),
    "v1-longest-tcp4": (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                        header(1, 4, ("255.255.255.255", 65535), ("255.255.255.255", 65535))),
    "v1-zeros": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", header(1, 4, ("0.0.0.0", 0), ("0.0.0.0", 0))),
    "v1-tcp6": (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", header(1, 6, ("2001:db8::1", 1), ("::1", 2))),
    "v1-longest-tcp6": (b"PROXY TCP6 " + b" ".join([b"fFfF:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n",
                        header(1, 6, ("ffff:" * 7 + "ffff", 65535), ("ffff:" * 7 + "ffff", 65535))),
    "v1-mapped": (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n",
                  header(1, 6, ("::ffff:c000:201", 1), ("::ffff:c000:202", 2))),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", header(1, 0)),
    "v1-unknown-rest": (b"PROXY UNKNOWN any \x00\xff thing\r\n", header(1, 0)),
    "v1-unknown-longest": (LONGEST, header(1, 0)),
    "v2-tcp4": (v2(V4), header(2, 4, FROM, TO)),
    "v2-tcp6": (v2(V6, b"\x21\x21"), header(2, 6, ("2001:db8::1", 1), ("2001:db8::2", 65535))),
    "v2-unix": (v2(UNIX + tlv(5, b"id"), b"\x21\x31"), header(2, 1, unique_id=b"id")),
    "v2-unspec": (v2(b"", b"\x21\x00"), header(2, 0)),
    "v2-unspec-stream": (v2(b"", b"\x21\x01"), header(2, 0)),
    "v2-unspec-anything": (v2(b"\x01\xff\xff", b"\x21\x00"), header(2, 0)),
    "v2-local": (v2(b"", b"\x20\x00"), header(2, 0)),
    "v2-local-block": (v2(V4 + b"\x01", b"\x20\x11"), header(2, 0)),
    "v2-local-any-family": (v2(b"x", b"\x20\xff"), header(2, 0)),
    "v2-tlvs": (v2(V4 + tlv(1, b"h2") + tlv(2, b"example.com") + tlv(5, b"\0" * 128)),
                header(2, 4, FROM, TO, alpn=b"h2", authority=b"example.com", unique_id=bytes(128))),
    "v2-longest-values": (v2(V4 + tlv(1, b"a" * 255) + tlv(2, b"b" * 255)),
                          header(2, 4, FROM, TO, alpn=b"a" * 255, authority=b"b" * 255)),
    "v2-empty-values": (v2(V4 + tlv(1, b"") + tlv(2, b"") + tlv(5, b"")), header(2, 4, FROM, TO)),
    "v2-skipped": (v2(V4 + tlv(4, bytes(9)) + tlv(4, b"") + tlv(0x30, b"ns") + tlv(0xE0, b"x")
                      + tlv(1, b"h2")),
                   header(2, 4, FROM, TO, alpn=b"h2")),
    "v2-tls": (v2(V4 + tlv(0x20, b"\x01" + bytes(4) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"cn"))),
               header(2, 4, FROM, TO, tls=True)),
    "v2-no-tls": (v2(V4 + tlv(0x20, b"\x06" + bytes(4))), header(2, 4, FROM, TO)),
    "v2-checksum-first": (sealed(b"", tlv(1, b"h2")), header(2, 4, FROM, TO, alpn=b"h2")),
    "v2-checksum-last": (sealed(tlv(1, b"h2")), header(2, 4, FROM, TO, alpn=b"h2")),
    "v2-longest": (v2(V4 + tlv(4, bytes(4096 - 15))), header(2, 4, FROM, TO)),
    "haproxy": (HAPROXY, header(
        2, 4, ("127.0.0.1", 51794), ("127.0.0.1", 37659), alpn=b"h2", authority=b"shop.example",
        unique_id=b"one-id", tls=True)),
}

TCP4, TCP6 = b"PROXY TCP4 ", b"PROXY TCP6 "
PLACES = TCP4 + b"1.2.3.4 5.6.7.8 "
# Each ends with the byte that rules it out; without that byte a header may still come.
BAD: dict[str, bytes] = {
    **{f"first-byte-{byte:02x}": bytes([byte]) for byte in range(256) if byte not in b"P\r"},
    "http": b"PO",
    "v1-lower-case": b"Pr", "v1-two-spaces": b"PROXY  ", "v1-tab": b"PROXY\t", "v1-no-family": b"PROXY \r",
    "v1-tcp5": b"PROXY TCP5", "v1-udp4": b"PROXY UD", "v1-tcp": b"PROXY TCP ",
    "v1-family-two-spaces": TCP4 + b" ", "v1-unknown-more": b"PROXY UNKNOWNX",
    "v1-unknown-lf": b"PROXY UNKNOWN\n", "v1-unknown-cr": b"PROXY UNKNOWN\rx",
    "v1-unknown-rest-cr": b"PROXY UNKNOWN a\rb", "v1-unknown-rest-lf": b"PROXY UNKNOWN a\n",
    "v1-unknown-too-long": LONGEST[:-2] + b"x\r", "v1-crlf-at-108": b"PROXY UNKNOWN " + b"x" * 92 + b"\r",
    "v4-zeros": TCP4 + b"01.2.3.4 ", "v4-short": TCP4 + b"1.2.3 ", "v4-long": TCP4 + b"1.2.3.4.5 ",
    "v4-256": TCP4 + b"1.2.3.256 ", "v4-hex": TCP4 + b"0x", "v4-colon": TCP4 + b":", "v4-sign": TCP4 + b"+",
    "v4-too-long": TCP4 + b"255.255.255.2555", "v4-nul": TCP4 + b"1.2.3.4\0", "v4-crlf": TCP4 + b"1.2.3.4\r",
    "v4-second": TCP4 + b"1.2.3.4 5.6.7 ", "v4-two-spaces": TCP4 + b"1.2.3.4  ", "v4-empty": TCP4 + b" ",
    "v6-in-tcp4": TCP4 + b"2001:", "v4-in-tcp6": TCP6 + b"1.2.3.4 ",
    "v6-second-v4": TCP6 + b"::1 1.2.3.4 ", "v6-zone": TCP6 + b"fe80::1%", "v6-bracket": TCP6 + b"[",
    "v6-two-gaps": TCP6 + b"1::2::3 ", "v6-five-digits": TCP6 + b"12345:: ",
    "v6-nine-groups": TCP6 + b"1:2:3:4:5:6:7:8:9 ", "v6-too-long": TCP6 + b"0" * 46, "v6-letter": TCP6 + b"g",
    "v6-two-long": TCP6 + b"0:" * 22 + b"0 ",
    "port-empty": PLACES + b" ", "port-zeros": PLACES + b"01", "port-00": PLACES + b"00",
    "port-65536": PLACES + b"65536", "port-long": PLACES + b"655350", "port-sign": PLACES + b"-",
    "port-plus": PLACES + b"1 +", "port-hex": PLACES + b"0x", "port-second-empty": PLACES + b"1 \r",
    "port-second-65536": PLACES + b"1 65536", "port-one": PLACES + b"1\r", "port-lf": PLACES + b"1 2\n",
    "port-cr": PLACES + b"1 2\r\r", "port-space": PLACES + b"1 2 ", "port-two-spaces": PLACES + b"1  ",
    "port-tab": PLACES + b"1\t",
    "v2-signature-crlf": b"\r\r", "v2-signature-3": b"\r\n\r\n\r", "v2-signature-end": SIGNATURE[:-1] + b"\r",
    "v2-version-1": SIGNATURE + b"\x11", "v2-version-3": SIGNATURE + b"\x31",
    "v2-command-2": SIGNATURE + b"\x22", "v2-command-f": SIGNATURE + b"\x2f",
    "v2-family-4": SIGNATURE + b"\x21\x41", "v2-family-f": SIGNATURE + b"\x21\xf1",
    **{f"v2-{byte:02x}": SIGNATURE + b"\x21" + bytes([byte])
       for byte in b"\x02\x03\x10\x12\x13\x20\x22\x30\x32\x33"},
    "v2-4097": SIGNATURE + b"\x21\x11\x10\x01", "v2-4352": SIGNATURE + b"\x21\x11\x11",
    "v2-local-4097": SIGNATURE + b"\x20\x00\x10\x01", "v2-65535": SIGNATURE + b"\x21\x11\xff",
    "v2-tcp4-11": SIGNATURE + b"\x21\x11\0\x0b", "v2-tcp4-0": SIGNATURE + b"\x21\x11\0\0",
    "v2-tcp6-35": SIGNATURE + b"\x21\x21\0\x23", "v2-unix-215": SIGNATURE + b"\x21\x31\0\xd7",
    "tlv-one-byte": v2(V4 + b"\x04"), "tlv-two-bytes": v2(V4 + b"\x04\0"),
    "tlv-beyond": v2(V4 + b"\x04\0\x01"), "tlv-far-beyond": v2(V4 + tlv(1, b"h2") + b"\xe0\xff\xff"),
    "tlv-after-unix": v2(UNIX + b"\x04", b"\x21\x31"),
    "alpn-twice": v2(V4 + tlv(1, b"h2") * 2), "alpn-empty-twice": v2(V4 + tlv(1, b"") + tlv(1, b"h2")),
    "authority-twice": v2(V4 + tlv(2, b"a") + tlv(2, b"b")),
    "unique-id-twice": v2(V4 + tlv(5, b"a") * 2),
    "alpn-256": v2(V4 + tlv(1, bytes(256))),
    "authority-256": v2(V4 + tlv(2, bytes(256))),
    "unique-id-129": v2(V4 + tlv(5, bytes(129))),
    "ssl-short": v2(V4 + tlv(0x20, b"\x01\0\0\0")), "ssl-twice": v2(V4 + tlv(0x20, bytes(5)) * 2),
    "ssl-part-beyond": v2(V4 + tlv(0x20, bytes(5) + b"\x21\0\x02x") + tlv(4, b"")),
    "ssl-part-cut": v2(V4 + tlv(0x20, bytes(5) + b"\x21\0")),
    "checksum-low-bit": sealed(b"", flip=1), "checksum-high-bit": sealed(b"", tlv(1, b"h2"), flip=1 << 31),
    "checksum-zero": v2(V4 + tlv(3, bytes(4))), "checksum-short": v2(V4 + tlv(3, bytes(3))),
    "checksum-long": v2(V4 + tlv(3, bytes(5))), "checksum-of-others": sealed(b"", tlv(4, b"x"))[:-1] + b"y",
}


# a second opinion

LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|(TCP[46]) (\S+) (\S+) (0|[1-9]\d*) (0|[1-9]\d*))\r\n")


def read_line(data: bytes) -> ProxyHeader | None:
    match = LINE.match(data[:107])
    if match is None:
        return None
    if match[1] is None:
        return header(1, 0, consumed=match.end())
    kind = IPv4Address if match[1] == b"TCP4" else IPv6Address
    try:
        places = [str(kind(match[group].decode())) for group in (2, 3)]
    except ValueError:
        return None
    ports = int(match[4]), int(match[5])
    if max(ports) > 65535 or "%" in "".join(places):
        return None
    return header(1, 4 if kind is IPv4Address else 6, (places[0], ports[0]), (places[1], ports[1]),
                  consumed=match.end())


def read_tlvs(block: bytes) -> list[tuple[int, bytes, int]] | None:
    """(type, value, offset of the value) of each, or None when the last is cut."""
    found, at = [], 0
    while at < len(block):
        kind, length = struct.unpack_from(">BH", block, at) if at + 3 <= len(block) else (0, len(block))
        if at + 3 + length > len(block):
            return None
        found.append((kind, block[at + 3:at + 3 + length], at + 3))
        at += 3 + length
    return found


def read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < 16 or data[:12] != SIGNATURE or data[12] not in (0x20, 0x21):
        return None
    end = 16 + struct.unpack_from(">H", data, 14)[0]
    kind = {0: "", 1: "", 0x11: ">4s4sHH", 0x21: ">16s16sHH", 0x31: ">108s108s"}.get(data[13])
    if end > min(len(data), 4112):
        return None
    if data[12] == 0x20 or kind == "":
        return header(2, 0, consumed=end)
    if kind is None or end < 16 + (size := struct.calcsize(kind)):
        return None
    tlvs = read_tlvs(data[16 + size:end])
    known = [entry for entry in tlvs or () if entry[0] in (1, 2, 3, 5, 0x20)]
    values = {entry[0]: entry[1] for entry in known}
    if tlvs is None or len(values) < len(known):
        return None
    if any(len(values.get(key, b"")) > most for key, most in ((1, 255), (2, 255), (5, 128))):
        return None
    if 3 in values:
        at = 16 + size + next(entry[2] for entry in known if entry[0] == 3)
        if values[3] != struct.pack(">I", crc32c(data[:at] + bytes(4) + data[at + 4:end])):
            return None
    tls = values.get(0x20, bytes(5))
    if len(tls) < 5 or read_tlvs(tls[5:]) is None:
        return None
    places: list[Place | None] = [None, None]
    if data[13] != 0x31:
        source, destination, *ports = struct.unpack_from(kind, data, 16)
        places = [(str(ip_address(source)), ports[0]), (str(ip_address(destination)), ports[1])]
    return header(2, {0x11: 4, 0x21: 6, 0x31: 1}[data[13]], *places, alpn=values.get(1, b""), consumed=end,
                  authority=values.get(2, b""), unique_id=values.get(5, b""), tls=bool(tls[0] & 1))
