"""Bytes that come where a ClientHello should: the parts of the hostile handshakes."""

from __future__ import annotations

import contextlib
import ssl


def client_hello(sni: str = "a.test") -> bytes:
    """A whole first flight, as OpenSSL would send it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(incoming, outgoing, server_hostname=sni)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def record(payload: bytes, kind: int = 22, version: bytes = b"\x03\x01", length: int | None = None) -> bytes:
    """One TLS record (RFC 8446 5.1); `length` when that is a lie."""
    size = len(payload) if length is None else length
    return bytes([kind]) + version + size.to_bytes(2, "big") + payload


HELLO = client_hello()
BODY = HELLO[5:]
ALERT = record(b"\x02\x28", kind=21)  # fatal handshake_failure

# what a client sends, whole; lbd must close, by alert or without
REFUSED: dict[str, bytes] = {
    "http": b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "http-connect": b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "proxy-header": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + HELLO,
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "random": bytes(range(256)) * 16,
    "newlines": b"\r\n" * 64,
    "ssl2-hello": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600") + bytes(20),
    "ssl3-record": record(b"\x01\x00\x00\x2d\x03\x00" + bytes(43), version=b"\x03\x00"),
    "wrong-major-version": record(BODY, version=b"\x05\x01"),
    "empty-records": record(b"") * 40,
    "record-too-long": record(b"\x01" + bytes(64), length=0xFFFF) + bytes(0x10000),
    "record-just-too-long": record(bytes(16384 + 2048 + 1)),
    "hello-too-long": record(b"\x01\x10\x00\x00" + bytes(16380)) * 20,
    "hello-with-a-lying-length": record(b"\x01\x00\x00\x10" + BODY[4:20]),
    "hello-without-ciphers": record(b"\x01\x00\x00\x2b\x03\x03" + bytes(32) + b"\0\0\0\0\0\0" + bytes(3)),
    "hello-cut-and-repeated": record(BODY[:40]) + HELLO,
    "client-finished-first": record(b"\x14\x00\x00\x0c" + bytes(12)),
    "application-data-first": record(b"hello", kind=23),
    "change-cipher-spec-only": record(b"\x01", kind=20) * 40,
    "heartbeat": record(b"\x01\x40\x00", kind=24),  # CVE-2014-0160
    "unknown-record-type": record(b"\x00\x01\x02", kind=99),
    "alert-first": ALERT,
    "many-warnings": record(b"\x01\x5a", kind=21) * 100,
    "hello-and-alert": HELLO + ALERT,
    "hello-and-garbage": HELLO + bytes(range(200)) * 2,
    "hello-and-plain-http": HELLO + b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "hello-twice": HELLO + HELLO,
}
