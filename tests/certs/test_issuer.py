"""ACME when things go wrong: authorities that are silent, hostile or limiting."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from certs.making import make, make_ca
from certs.stage import FakeTls, Lines, LoopThread, config_of
from harness.waiting import TIMEOUT, eventually

from lbd.control.certs.acme import parse_retry_after
from lbd.control.certs.issuer import Pace
from lbd.control.certs.keeper import CertificateKeeper

FAST = Pace(shortest_retry=0.05, longest_retry=0.2, poll=0.02, order=TIMEOUT, look=0.05)
HOST = "a.lbd.test"
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@contextlib.contextmanager
def authority(directory: Path, answer: Callable[[str], Answer]) -> Iterator[str]:
    """An https server on loopback that answers by path; its URL. `directory`/ca.pem is its CA."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, fields, body = answer(self.path)
            self.send_response(status)
            always = {"Content-Length": str(len(body)), "Replay-Nonce": "bm9uY2U"}
            for name, value in (always | fields).items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_POST = do_HEAD = respond

        def log_message(self, *_: Any) -> None:
            """Not to stderr."""

    ca = make_ca()
    cert, key = make("127.0.0.1", issuer=ca).write(directory, "https")
    (directory / "ca.pem").write_bytes(ca.cert_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that leave
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(TIMEOUT)


def settings(directory: Path, url: str, challenge: str) -> str:
    acme = {"directory": f"{url}/dir", "ca": f"{directory}/ca.pem", "challenge": challenge}
    return f"state_directory: {directory}/state\nacme: {json.dumps(acme)}\n"


def keeper_of(
    directory: Path, url: str, log: Lines, pace: Pace, hosts: str = HOST, challenge: str = "http-01"
) -> CertificateKeeper:
    config = config_of(f"{{acme: {{hosts: [{hosts}]}}}}", settings(directory, url, challenge))
    return CertificateKeeper(config, log, pace=pace)  # type: ignore[arg-type]


def first_error(directory: Path, answer: Callable[[str], Answer], pace: Pace = FAST) -> str:
    """What is logged when an authority answers so."""
    log = Lines()
    with authority(directory, answer) as url, LoopThread() as loop:
        keeper = keeper_of(directory, url, log, pace)
        keeper.load()
        loop.call(keeper.start, {"web": FakeTls()}, lambda paths: None)
        eventually(lambda: log.of("error"), "an error is logged", timeout=2 * TIMEOUT)
        loop.run(keeper.stop())
    return log.of("error")[0].removeprefix(f"certificate for {HOST}: failed: ")


def directory_of(base: str = "https://127.0.0.1:1") -> bytes:
    names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
    return json.dumps({name: f"{base}/{name}" for name in names}).encode()


JSON = {"Content-Type": "application/json"}
UNEXPECTED = "unexpected answer of the authority"
HOSTILE: dict[str, tuple[Answer, str]] = {
    "html": ((200, {"Content-Type": "text/html"}, b"<html>"), UNEXPECTED),
    "list": ((200, JSON, b"[]"), UNEXPECTED),
    "empty object": ((200, JSON, b"{}"), UNEXPECTED),
    "numbers": ((200, JSON, b'{"newNonce": 1, "newAccount": {}, "meta": 3}'), UNEXPECTED),
    "server error": ((500, {"Content-Type": "text/plain"}, b"oh no"), UNEXPECTED),
    "endless": ((200, JSON, b" " * (2**20 + 1)), "longer than 1 MiB"),
    "to plain http": ((302, {"Location": "http://127.0.0.1:9/"}, b""), "No connection adapters"),
    "problem": ((400, {"Content-Type": "application/problem+json"},
                 b'{"type": "urn:ietf:params:acme:error:malformed", "detail": "two\\nlines"}'),
                "malformed: two lines"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_answers_are_one_line_in_the_log(tmp_path: Path, kind: str) -> None:
    answer, text = HOSTILE[kind]
    found = first_error(tmp_path, lambda path: answer)
    assert text in found
    assert ", next try in " in found
    assert "\n" not in found


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
@pytest.mark.parametrize("token", ["short", "../../../../../etc/passwd", "ü" * 20, "a" * 300, 7, None])
def test_a_token_that_is_no_base64url_is_refused(tmp_path: Path, token: object, challenge: str) -> None:
    """It becomes a path on the http listeners (RFC 8555, section 8.3)."""
    places: dict[str, str] = {}

    def answer(path: str) -> Answer:
        base = places.get("base", "")
        kind = {"Content-Type": "application/json"}
        if path == "/dir":
            return 200, kind, directory_of(base)
        if path == "/newAccount":
            return 201, {**kind, "Location": f"{base}/account"}, b'{"status": "valid"}'
        if path == "/newOrder":
            order = {"status": "pending", "authorizations": [f"{base}/authz"], "finalize": f"{base}/finalize",
                     "identifiers": [{"type": "dns", "value": HOST}]}  # fmt: skip
            return 201, {**kind, "Location": f"{base}/order"}, json.dumps(order).encode()
        if path == "/authz":
            offered = {"type": challenge, "url": f"{base}/chall", "token": token, "status": "pending"}
            authorization = {"status": "pending", "identifier": {"type": "dns", "value": HOST},
                             "challenges": [offered]}  # fmt: skip
            return 200, kind, json.dumps(authorization).encode()
        return 200, kind, b""

    log, shown = Lines(), []
    with authority(tmp_path, answer) as url, LoopThread() as loop:
        places["base"] = url
        keeper = keeper_of(tmp_path, url, log, FAST, challenge=challenge)
        keeper.load()
        tls = FakeTls()
        loop.call(keeper.start, {"web": tls}, lambda paths: shown.extend(paths))
        eventually(lambda: log.of("error"), "an error is logged")
        loop.run(keeper.stop())
    assert "malformed token" in log.of("error")[0] or UNEXPECTED in log.of("error")[0]
    assert shown == []
    assert [hosts for hosts in tls.challenges if hosts] == []


def test_without_acme_ca_the_systems_authorities_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the bundle that requests brings along."""
    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/ca.pem")
    log = Lines()
    with authority(tmp_path, lambda path: HOSTILE["html"][0]) as url, LoopThread() as loop:
        settings = f"state_directory: {tmp_path}/state\nacme: {{directory: '{url}/dir'}}\n"
        config = config_of(f"{{acme: {{hosts: [{HOST}]}}}}", settings)
        keeper = CertificateKeeper(config, log, pace=FAST)  # type: ignore[arg-type]
        keeper.load()
        loop.call(keeper.start, {"web": FakeTls()}, lambda paths: None)
        eventually(lambda: log.of("error"), "an error is logged")
        loop.run(keeper.stop())
    assert UNEXPECTED in log.of("error")[0]


def limited(fields: dict[str, str]) -> Answer:
    body = b'{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}'
    return 429, {"Content-Type": "application/problem+json", **fields}, body


def test_retry_after_is_obeyed_and_a_rate_limit_stops_the_other_hosts_too(tmp_path: Path) -> None:
    log, asked = Lines(), []

    def answer(path: str) -> Answer:
        asked.append(path)
        return limited({"Retry-After": "120"})

    with authority(tmp_path, answer) as url, LoopThread() as loop:
        keeper = keeper_of(tmp_path, url, log, FAST, f"{HOST}, b.lbd.test")
        keeper.load()
        loop.call(keeper.start, {"web": FakeTls()}, lambda paths: None)
        eventually(lambda: log.of("error"), "an error is logged")
        assert log.of("error") == [f"certificate for {HOST}: failed: rateLimited: too many, next try in 2m"]
        issuer = keeper.issuer
        assert issuer is not None
        delays = [issuer._delay(state) for state in issuer.states.values()]
        assert all(100 < delay <= 120 for delay in delays)
        loop.run(keeper.stop())
    assert asked == ["/dir"]
    assert keeper.failures == {"web": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("0", 0.0),
        ("99999999", 7 * 86400.0),
        ("9" * 5000, None),
        ("-5", None),
        ("soon", None),
        ("²", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_retry_after_values(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value) == expected


def test_retry_after_as_a_date() -> None:
    found = parse_retry_after(formatdate(time.time() + 300, usegmt=True))
    assert found is not None
    assert 290 < found <= 300


def test_stopping_does_not_wait_for_a_silent_authority(tmp_path: Path) -> None:
    make_ca().write(tmp_path, "ca")
    with socket.socket() as listening, LoopThread() as loop:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        keeper = keeper_of(tmp_path, f"https://127.0.0.1:{listening.getsockname()[1]}", Lines(), FAST)
        keeper.load()
        loop.call(keeper.start, {"web": FakeTls()}, lambda paths: None)
        listening.settimeout(TIMEOUT)
        accepted, _ = listening.accept()
        with accepted:
            started = time.monotonic()
            loop.run(keeper.stop())
            assert time.monotonic() - started < 1
            assert not [task for task in asyncio.all_tasks(loop.loop) if task.get_name() == "ACME"]


def test_an_order_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    make_ca().write(tmp_path, "ca")
    log = Lines()
    with socket.socket() as listening, LoopThread() as loop:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        keeper = keeper_of(tmp_path, url, log, Pace(shortest_retry=60, order=0.1))
        keeper.load()
        loop.call(keeper.start, {"web": FakeTls()}, lambda paths: None)
        eventually(lambda: log.of("error"), "given up")
        loop.run(keeper.stop())
    assert "failed: no certificate within 100ms, next try in " in log.of("error")[0]
