"""Speaking TLS with lbd from both sides: clients and endpoints made of Python's `ssl`, and `Served`, an Lbd
whose listeners with TLS and on Unix sockets have addresses too.

A cut is told apart from an end: a TLS client's .end is "fin" after close_notify, "cut" when TCP ended
without one."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
from pathlib import Path
from typing import Any

from certs.making import Made, make, make_ca
from harness.client import Client
from harness.http_origin import HttpOrigin
from harness.lbd import Lbd
from harness.origin import Connection, Origin, Script
from harness.waiting import TIMEOUT
from http2.frames import headers, request
from http2.wire import Answer, H2Client

PLACE = re.compile(r" INFO (?:listener )?(\S+): listening on (\S+)(?: \((?:http|tcp)(?:\+tls)?\))?$")
SECURE = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    tls: {certificates: [<site>]}
    cluster: app
clusters: [{name: app, endpoints: [<origin>]}]
"""
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Served(Lbd):
    """An Lbd with .places: where each listener listens, all its binds, Unix sockets included."""

    def _is_ready_or_gone(self) -> bool:
        if not super()._is_ready_or_gone():
            return False
        self.places: dict[str, list[str]] = {}
        for line in list(self.lines):
            if match := PLACE.search(line):
                self.places.setdefault(match[1], []).append(match[2])
                host, _, port = match[2].rpartition(":")
                if not match[2].startswith("unix:"):
                    self.ports.setdefault(match[1], (host.strip("[]"), int(port)))
        return True

    def errors(self, reason: str, listener: str = "web") -> int:
        """How many connections and exchanges ended for that reason."""
        return int(self.metric("lbd_errors_total", reason=reason, listener=listener))

    def said(self) -> list[str]:
        """Its log after it was ready."""
        lines = list(self.lines)
        return lines[next(i for i, line in enumerate(lines) if line.endswith(" INFO ready")) + 1 :]

    def https(self, path: str = "/", host: str = "a.test", listener: str = "web") -> str:
        return f"https://{host}:{self.ports[listener][1]}{path}"


class World:
    """The certificates of a module of tests, in files: an authority, and what it signed."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.ca = make_ca("World CA")
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self.ca.cert_pem)
        self.made: dict[str, Made] = {}

    def add(self, name: str, *hosts: str, issuer: Made | None = None, **how: Any) -> Made:
        """A certificate NAME.pem, NAME-key.pem, by the world's authority unless another is given."""
        self.made[name] = made = make(*hosts, issuer=issuer or self.ca, **how)
        made.write(self.directory, name)
        return made

    def pair(self, name: str) -> str:
        """For a configuration: {cert: ..., key: ...}."""
        return f"{{cert: {self.directory / name}.pem, key: {self.directory / name}-key.pem}}"

    def files(self, name: str) -> tuple[Path, Path]:
        return self.directory / f"{name}.pem", self.directory / f"{name}-key.pem"

    def client_context(self, identity: str | None = None, *, alpn: tuple[str, ...] = (),
                       version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Trusts the world's authority; shows the named certificate if asked. Host names are not checked
        here: tests look at the certificate that came, see `Secured.shown`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ca_file)
        if identity:
            context.load_cert_chain(*self.files(identity))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def server_context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(name))
        return context


class Secured(Client):
    """The TLS part of a client; see TlsClient and TlsH2Client."""

    sock: ssl.SSLSocket  # type: ignore[assignment]

    def secure(self, context: ssl.SSLContext, sni: str | None, session: ssl.SSLSession | None) -> None:
        try:
            self.sock = context.wrap_socket(
                self.sock, server_hostname=sni, session=session, suppress_ragged_eofs=False
            )
        except BaseException:
            self.sock.close()
            raise

    def recv(self) -> bytes:
        try:
            return super().recv()
        except ssl.SSLEOFError:
            self.end = "cut"
            return b""

    def shown(self) -> str:
        """The fingerprint of the certificate that the server showed."""
        return hashlib.sha256(self.sock.getpeercert(binary_form=True) or b"").hexdigest()

    def has_input(self) -> bool:
        return bool(self.sock.pending()) or super().has_input()

    def close_politely(self) -> None:
        """close_notify, and wait for the server's."""
        self.sock.unwrap().close()


class TlsClient(Secured):
    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, sni: str | None = "a.test",
                 session: ssl.SSLSession | None = None, receive_buffer: int | None = None,
                 before: bytes = b""):
        """before: bytes sent in plain text ahead of the handshake, such as a PROXY header."""
        Client.__init__(self, address, receive_buffer)
        if before:
            self.sock.sendall(before)
        self.secure(context, sni, session)


class TlsH2Client(Secured, H2Client):
    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, sni: str | None = "a.test",
                 session: ssl.SSLSession | None = None):
        H2Client.__init__(self, address)
        self.secure(context, sni, session)
        assert self.sock.selected_alpn_protocol() == "h2"

    def fetch(self, stream: int, path: str = "/", *fields: tuple[str, str],
              authority: str = "a.test") -> Answer:
        """A GET and its answer."""
        self.send_quietly(headers(stream, request(path, *fields, scheme="https", authority=authority)))
        return self.read_answer(stream)


class SecureMixin(Origin):
    """Shakes hands before the script runs. What it learned is kept by connection: failures, identities."""

    def __init__(self, context: ssl.SSLContext, *args: Any, **how: Any):
        self.context = context
        self.names: list[str | None] = []  # SNI, in the order of the handshakes
        self.protocols: list[str | None] = []  # ALPN
        self.identities: list[bytes | None] = []  # client certificates, DER
        self.failures: list[str] = []
        context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        super().__init__(*args, **how)

    def _run(self, connection: Connection, script: Script) -> None:
        plain = connection.sock
        try:
            connection.sock = secured = self.context.wrap_socket(plain, server_side=True)
        except OSError as error:
            self.failures.append(str(error))
            plain.close()
            return
        self.identities.append(secured.getpeercert(binary_form=True))
        self.protocols.append(secured.selected_alpn_protocol())
        super()._run(connection, script)


class SecureOrigin(SecureMixin, Origin):
    """Origin behind TLS: SecureOrigin(context, script, ...)."""


class SecureHttpOrigin(SecureMixin, HttpOrigin):
    """HttpOrigin behind TLS: SecureHttpOrigin(context, answer)."""


def say_goodbye(connection: Connection) -> None:
    """A step of a TLS endpoint: close_notify, without waiting for that of the other side; ends TCP_CORK."""
    connection.sock.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLEOFError):  # the other one may be quick
        connection.sock.unwrap()  # type: ignore[attr-defined]
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    connection.sock.settimeout(4 * TIMEOUT)


class UnixSocket(socket.socket):
    """The harness sets TCP's options on what it accepts; here they have no meaning."""

    def setsockopt(self, level: int, *args: Any) -> None:
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *args)

    def accept(self) -> tuple[socket.socket, Any]:
        made, address = super().accept()
        return UnixSocket(fileno=made.detach()), address


class ElsewhereMixin(Origin):
    """An endpoint on another family of sockets: `place` is an IPv6 address, or the path of a Unix socket."""

    def __init__(self, place: str, *args: Any, **how: Any):
        super().__init__(*args, **how)
        self.listener.close()
        family = socket.AF_UNIX if place.startswith("/") else socket.AF_INET6
        self.listener = (UnixSocket if family == socket.AF_UNIX else socket.socket)(family)
        self.listener.bind(place if family == socket.AF_UNIX else (place, 0))
        self.listener.listen(64)
        port = None if family == socket.AF_UNIX else self.listener.getsockname()[1]
        self.text = f"unix:{place}" if port is None else f"[{place}]:{port}"

    def __str__(self) -> str:
        return self.text


def handshake_error(address: tuple[str, int], context: ssl.SSLContext, sni: str | None = "a.test") -> str:
    """Shake hands and ask once, because TLS 1.3 clients learn of a refusal late. Why it failed; "" if not."""
    try:
        with TlsClient(address, context, sni) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            while client.sock.recv(65536):
                pass
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    return ""
