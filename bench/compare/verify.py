"""Before a work: one exchange through the proxy, of the same kind as the load, compared byte for byte.

Load generators look at sizes and statuses only; here a proxy shows that it does the work at all: the origin's
body, TLS 1.3 with the expected cipher and certificate, HTTP/2 and not less, gRPC's trailer, a WebSocket echo.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bench.compare.certificate import Certificate
from bench.compare.generators import CIPHER
from bench.compare.origin import BODIES, GRPC_REQUEST
from bench.compare.process import BenchError
from bench.compare.proxies import Running
from bench.compare.works import Work

SECONDS = 10.0
# The key and its answer from the example of RFC 6455 1.3.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ECHOED = b"a message of thirty-two bytes..."


def role_port(running: Running, work: Work) -> int:
    port = running.port(work.role)
    if port is None:
        raise BenchError(f"{running.name} has no {work.role} listener")
    return port


def verify(running: Running, work: Work, certificate: Certificate | None = None) -> None:
    """Raise BenchError unless this proxy does this work right; `certificate` is needed over TLS."""
    checks = {"h2load": _verify_http2, "roundtrips": _verify_websocket}
    check = checks.get(work.kind, _verify_http1)
    try:
        protocol = "h2" if work.kind == "h2load" else "http/1.1"
        with closing(_connect(role_port(running, work), work, certificate, protocol)) as connection:
            check(connection, work)
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{work.path} through {running.name}: {error!r}") from error
    except BenchError as error:
        raise BenchError(f"{work.path} through {running.name}: {error}") from error


def _connect(port: int, work: Work, certificate: Certificate | None, protocol: str) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    if not work.tls:
        return plain
    if certificate is None:
        plain.close()
        raise BenchError("no certificate was made for this run")
    context = ssl.create_default_context(cafile=str(certificate.cert))
    context.set_alpn_protocols([protocol])
    with closing(plain):  # a no-op once wrapped: the socket then belongs to the other object
        wrapped = context.wrap_socket(plain, server_hostname="127.0.0.1")
    suite = wrapped.cipher()
    found = (wrapped.version(), suite[0] if suite else None, wrapped.selected_alpn_protocol() or "http/1.1")
    if found != ("TLSv1.3", CIPHER, protocol):
        wrapped.close()
        raise BenchError(f"another TLS than for all: {found}")
    return wrapped


def _compare(status: int, body: bytes, work: Work) -> None:
    if status != 200 or body != BODIES[work.path]:
        raise BenchError(f"status {status}, {len(body)} bytes")


def _verify_http1(connection: socket.socket, work: Work) -> None:
    client = http.client.HTTPConnection("127.0.0.1")
    client.sock = connection
    host, port = connection.getpeername()
    client.request("GET", work.path, headers={"Host": f"{host}:{port}"})
    with closing(client.getresponse()) as answer:
        _compare(answer.status, answer.read(), work)


@dataclass
class _Answer:
    """One HTTP/2 response as it arrives."""

    fields: dict[bytes, bytes] = field(default_factory=dict)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False


def _verify_http2(connection: socket.socket, work: Work) -> None:
    """One request by the independent implementation h2."""
    answer = _http2_exchange(connection, work)
    _compare(int(answer.fields.get(b":status", b"0")), answer.body, work)
    if work.role == "grpc":
        kind, status = answer.fields.get(b"content-type"), answer.trailers.get(b"grpc-status")
        if kind != b"application/grpc" or status != b"0":
            raise BenchError(f"not an answer of gRPC: content type {kind!r}, grpc-status {status!r}")


def _http2_exchange(connection: socket.socket, work: Work) -> _Answer:
    try:
        import h2.config
        import h2.connection
    except ImportError as error:
        raise BenchError("works over HTTP/2 need the package h2 (pip install h2)") from error
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=False))
    client.initiate_connection()
    host, port = connection.getpeername()
    pseudo = [(":method", "POST" if work.role == "grpc" else "GET"), (":path", work.path)]
    pseudo += [(":scheme", "https" if work.tls else "http"), (":authority", f"{host}:{port}")]
    extra = [(name, value) for name, _, value in (line.partition(": ") for line in work.headers)]
    client.send_headers(1, pseudo + extra, end_stream=work.role != "grpc")
    if work.role == "grpc":
        client.send_data(1, GRPC_REQUEST, end_stream=True)
    answer = _Answer()
    while not answer.ended:
        connection.sendall(client.data_to_send())
        data = connection.recv(65536)
        if not data:
            raise BenchError("connection closed before the whole answer")
        for event in client.receive_data(data):
            _note(answer, event, client)
    return answer


def _note(answer: _Answer, event: Any, client: Any) -> None:
    import h2.events

    if isinstance(event, h2.events.ResponseReceived):
        answer.fields = dict(event.headers)
    elif isinstance(event, h2.events.TrailersReceived):
        answer.trailers = dict(event.headers)
    elif isinstance(event, h2.events.DataReceived):
        answer.body += event.data
        client.acknowledge_received_data(event.flow_controlled_length, 1)
    elif isinstance(event, h2.events.StreamEnded):
        answer.ended = True
    elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
        raise BenchError(f"ended with HTTP/2 error {event.error_code}")


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise BenchError("connection closed before the whole answer")
        data += more
    return data


def _verify_websocket(connection: socket.socket, work: Work) -> None:
    """One upgrade and one echoed message (RFC 6455)."""
    host, port = connection.getpeername()
    lines = [
        f"GET {work.path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", "", "",
    ]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _receive(connection, 1)
    if not head.startswith(b"HTTP/1.1 101 ") or ACCEPT.encode() not in head:
        raise BenchError(f"the upgrade is answered with {head[:40]!r}")
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(ECHOED))
    connection.sendall(bytes([0x82, 0x80 | len(ECHOED)]) + mask + masked)
    if (echo := _receive(connection, 2 + len(ECHOED))) != bytes([0x82, len(ECHOED)]) + ECHOED:
        raise BenchError(f"the echo is {echo!r}")
