"""An ACME authority for tests (Pebble) and what it needs: a DNS server, and servers that show the proofs.

Everything is on loopback. The names that are validated end in .test; the DNS server says 127.0.0.1 for any.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from certs.making import make, make_ca
from harness.waiting import TIMEOUT, eventually


def free_port() -> int:
    """A port that is free now: for programs that cannot be given a bound socket, nor tell what they chose."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Dns:
    """Every name is 127.0.0.1 (RFC 1035, section 4)."""

    def __enter__(self) -> Self:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._answer)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", self.socket.getsockname())
        self.thread.join(TIMEOUT)
        self.socket.close()

    def _answer(self) -> None:
        while True:
            query, peer = self.socket.recvfrom(4096)
            if not query:
                return
            end = query.index(b"\0", 12) + 5
            question = query[12:end]
            is_a = question[-4:-2] == b"\0\1"
            head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, int(is_a), 0, 0)
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + b"\x7f\0\0\1"
            self.socket.sendto(head + question + (record if is_a else b""), peer)


class Pebble:
    """The process. `directory` is its URL, `ca` the file to trust for its https."""

    def __init__(
        self, program: str, http_port: int, tls_port: int, *, reject_nonces: int = 0, life: int = 90 * 86400
    ) -> None:
        self.program, self.reject_nonces = program, reject_nonces
        self.ports = {"httpPort": http_port, "tlsPort": tls_port, "certificateValidityPeriod": life}

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lbd-pebble-")))
        dns = self._stack.enter_context(Dns())
        authority = make_ca("https of Pebble")
        cert, key = make("127.0.0.1", "localhost", issuer=authority).write(place)
        (place / "ca.pem").write_bytes(authority.cert_pem)
        port = free_port()
        self.ca, self.directory = place / "ca.pem", f"https://127.0.0.1:{port}/dir"
        settings = {"listenAddress": f"127.0.0.1:{port}", "certificate": str(cert), "privateKey": str(key)}
        (place / "pebble.json").write_text(json.dumps({"pebble": settings | self.ports}))
        log = self._stack.enter_context((place / "log").open("w"))
        self.process = subprocess.Popen(
            [self.program, "-config", str(place / "pebble.json"), "-dnsserver", dns.address],
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": "0",
                 "PEBBLE_WFE_NONCEREJECT": str(self.reject_nonces), "PEBBLE_AUTHZREUSE": "0"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self._stack.callback(self._end)
        eventually(lambda: _accepts(port), "Pebble listens", timeout=2 * TIMEOUT)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def settings(self, state: Path, challenge: str) -> str:
        """The lines of a configuration that uses it."""
        acme = {"directory": self.directory, "ca": str(self.ca), "challenge": challenge, "email": "a@b.test"}
        return f"state_directory: {state}\nacme: {json.dumps(acme)}\n"


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
    except ConnectionRefusedError:
        return False
    return True


class Proofs:
    """An http and a TLS server that show what they are told to: in the place of lbd's listeners."""

    def __init__(self) -> None:
        self.paths: dict[bytes, bytes] = {}
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.shown: list[str] = []  # every path and host that was ever shown
        self.installed: list[list[tuple[Sequence[str], bytes, bytes]]] = []
        self.is_mute = False  # forget the proofs: every validation fails

    def __enter__(self) -> Self:
        proofs = self

        class OnHttp(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = proofs.paths.get(self.path.encode())
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: Any) -> None:
                """Not to stderr."""

        class OnTls(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), base.wrap_socket(self.request, server_side=True) as tls:
                    tls.recv(1)

        base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        base.sni_callback = self._choose
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OnHttp)
        self.tls = socketserver.ThreadingTCPServer(("127.0.0.1", 0), OnTls)
        for server in (self.http, self.tls):
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.http, self.tls):
            server.shutdown()
            server.server_close()

    @property
    def ports(self) -> tuple[int, int]:
        return self.http.server_address[1], self.tls.server_address[1]

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name not in self.contexts:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        tls.context = self.contexts[name]
        return None

    # what a keeper calls

    def publish(self, paths: Mapping[bytes, bytes]) -> None:
        self.paths = {} if self.is_mute else dict(paths)
        self.shown += [path.decode() for path in paths]

    def set_challenges(self, challenges: Mapping[str, tuple[bytes, bytes]]) -> None:
        self.contexts = {} if self.is_mute else {host: _context(*pair) for host, pair in challenges.items()}
        self.shown += challenges

    def install(self, certificates: Sequence[tuple[Sequence[str], bytes, bytes]]) -> None:
        self.installed.append(list(certificates))


def _context(cert: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["acme-tls/1"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(key + cert)
        file.flush()
        context.load_cert_chain(file.name)
    return context
