"""WebSockets as bytes (RFC 6455): the way in, frames, and an endpoint that sends back what it gets."""

from __future__ import annotations

from harness.messages import get, head
from harness.origin import Connection

ASK = get("/chat", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
SWITCH = head("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket",
              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
AWAY = b"\x88\x02\x03\xe9"  # a close frame with 1001


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """Unmasked, as an endpoint sends it."""
    n = len(payload)
    first = bytes((0x80 | opcode,))
    if n < 126:
        return first + bytes((n,)) + payload
    return first + (b"\x7e" + n.to_bytes(2, "big") if n < 65536 else b"\x7f" + n.to_bytes(8, "big")) + payload


def echo_bytes(connection: Connection) -> None:
    """A step of a script, to its end."""
    while data := connection.recv():
        connection.send(data)
