"""PROXY headers of version 2 as bytes: HAProxy's proxy-protocol.txt, section 2.2."""

from __future__ import annotations

import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 168, 0, 1, 192, 168, 0, 11]) + struct.pack(">HH", 56324, 443)
UNIX = b"/run/a.sock".ljust(108, b"\0") + bytes(108)


def v2(block: bytes, head: bytes = b"\x21\x11") -> bytes:
    """A header; `head` is version, command, family and transport."""
    return SIGNATURE + head + struct.pack(">H", len(block)) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def tlvs(block: bytes) -> dict[int, bytes]:
    """Those behind the addresses."""
    found: dict[int, bytes] = {}
    while block:
        kind, size = struct.unpack(">BH", block[:3])
        found[kind], block = block[3 : 3 + size], block[3 + size :]
    return found
