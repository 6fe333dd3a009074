"""Unix sockets on both sides: HTTP, tunnels, TLS; sockets that a dead daemon left, and those in use."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head, post
from harness.origin import Origin, recv_all, send
from harness.waiting import TIMEOUT, eventually
from http2.frames import MAGIC, SETTINGS_ACK, headers, request, settings
from http2.wire import H2Client
from tls.speaking import ElsewhereMixin, SecureHttpOrigin, Served, TlsClient, World

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "unix:<dir>/web.sock", cluster: app}
  - {name: secure, bind: "unix:<dir>/secure.sock", cluster: app, tls: {certificates: [<site>]}, hsts: true}
  - {name: db, bind: "unix:<dir>/db.sock", protocol: tcp, cluster: app}
  - {name: redirect, bind: "unix:<dir>/redirect.sock", https_redirect: true}
  - {name: sourced, bind: "unix:<dir>/sourced.sock", trusted_proxies: ["0.0.0.0/0", "::/0"], routes: [
       {match: {source: ["0.0.0.0/0"]}, respond: {body: internet}}, {cluster: app}]}
clusters: [{name: app, endpoints: [<origin>]}]
"""
ONE = """
listeners: [{name: web, bind: "unix:<path>", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


class UnixEcho(ElsewhereMixin, EchoOrigin):
    """An echo endpoint at a path."""


class UnixOrigin(ElsewhereMixin, Origin):
    """A scripted endpoint at a path."""


class UnixSecure(ElsewhereMixin, SecureHttpOrigin):
    """An echo endpoint behind TLS at a path."""


def at(path: Path | str, kind: type[Client] = Client) -> Client:
    """A client of a Unix socket; the harness's own connects by TCP."""
    made = kind.__new__(kind)
    with socket.socket() as listener:  # somewhere to connect to, for the rest of the client's start
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        kind.__init__(made, listener.getsockname())
        made.sock.close()
    made.sock = socket.socket(socket.AF_UNIX)
    made.sock.settimeout(TIMEOUT)
    made.sock.connect(str(path))
    return made


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short, since the path of a Unix socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("u")


@pytest.fixture(scope="module")
def origin(places: Path) -> Iterator[UnixEcho]:
    with UnixEcho(str(places / "app.sock")) as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(world: World, places: Path, origin: UnixEcho) -> Iterator[Served]:
    with Served(CONFIG, site=world.pair("site"), dir=places, origin=origin) as lbd:
        yield lbd


def test_http_both_sides(lbd: Served, places: Path, origin: UnixEcho) -> None:
    with at(places / "web.sock") as client:
        for index in range(3):
            report = client.ask(post(f"/{index}", b"x" * 100_000)).json()
            assert (report["target"], report["length"]) == (f"/{index}", 100_000)
        assert client.ask(head("GET / HTTP/1.0")).json()["target"] == "/"
    assert len(origin.connections) == 1


def test_http2(lbd: Served, places: Path) -> None:
    client = at(places / "web.sock", H2Client)
    assert isinstance(client, H2Client)
    with client:
        client.send(MAGIC + settings() + SETTINGS_ACK + headers(1, request("/two")))
        assert client.read_answer(1).json()["target"] == "/two"


def test_tls(lbd: Served, places: Path, world: World) -> None:
    plain = at(places / "secure.sock")
    client = TlsClient.__new__(TlsClient)
    client.__dict__.update(plain.__dict__)
    client.secure(world.client_context(), "a.test", None)
    with client:
        response = client.ask(get())
        assert dict(response.json()["headers"])["x-forwarded-proto"] == "https"
        assert response.all("strict-transport-security") == ["max-age=31536000"]


def test_redirect(lbd: Served, places: Path) -> None:
    with at(places / "redirect.sock") as client:
        response = client.ask(head("GET /a?b HTTP/1.1", "Host: a.test:80"))
        assert (response.status, response.one("location")) == (308, "https://a.test/a?b")


def test_source_of_a_unix_client_is_no_ipv4_address(lbd: Served, places: Path) -> None:
    """It has no address: conditions on addresses of the internet do not hold for it."""
    with at(places / "sourced.sock") as client:
        assert client.ask(get()).json()["target"] == "/"


def test_tunnel_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "db"
    config = ONE.replace("cluster: app}", "protocol: tcp, cluster: app}")
    with UnixOrigin(str(tmp_path / "app"), [recv_all, send(b"all of it")]) as origin, \
            Served(config, path=path, origin=origin), at(path) as client:
        client.send(b"x" * 300_000)
        client.half_close()
        assert client.read_until_close() == b"all of it"
        assert len(origin.received) == 300_000


def test_tls_to_an_endpoint_at_a_path(world: World, places: Path) -> None:
    tls = f"tls: {{ca: {world.ca_file}, sni: a.test}}"
    config = ONE.replace("unix:<path>", "127.0.0.1:0").replace("[<origin>]", f"[<origin>], {tls}")
    path = places / "tls.sock"
    with UnixSecure(str(path), world.server_context("site")) as origin, Served(config, origin=origin) as lbd:
        assert lbd.ask(get("/in")).json()["target"] == "/in"
    path.unlink()


def test_everybody_who_reaches_the_directory_may_connect(lbd: Served, places: Path) -> None:
    assert stat.S_IMODE((places / "web.sock").stat().st_mode) == 0o666


def test_its_sockets_are_gone_when_it_ends(tmp_path: Path, echo: EchoOrigin) -> None:
    path = tmp_path / "s"
    with Served(ONE, path=path, origin=echo) as lbd:
        assert path.is_socket()
        assert lbd.stop() == 0
        assert not path.exists()


def test_a_socket_left_behind_is_replaced(tmp_path: Path, echo: EchoOrigin) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    with Served(ONE, path=path, origin=echo), at(path) as client:
        assert client.ask(get()).status == 200


def test_lbd_killed_and_started_again(tmp_path: Path, echo: EchoOrigin) -> None:
    path = tmp_path / "s"
    killed = Served(ONE, path=path, origin=echo)
    with killed, at(path) as client:
        assert client.ask(get()).status == 200
        killed.process.kill()
        killed.process.wait()
        killed.exit_code = -9
    assert path.exists(), "nobody cleaned up"
    with Served(ONE, path=path, origin=echo), at(path) as client:
        assert client.ask(get()).status == 200


def start_fails(path: Path, origin: object) -> str:
    failing = Lbd(ONE, exit_code=1, path=path, origin=origin)
    failing.start()
    try:
        assert failing.wait() == 1
        failing.assert_clean()
        return failing.stderr
    finally:
        failing.discard()


def test_a_socket_in_use_is_refused(tmp_path: Path, echo: EchoOrigin) -> None:
    path = tmp_path / "s"
    with Served(ONE, path=path, origin=echo):
        assert f"cannot listen on unix:{path}: Address already in use" in start_fails(path, echo)
        with at(path) as client:
            assert client.ask(get()).status == 200, "the first one goes on"


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path, echo: EchoOrigin) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    assert f"cannot listen on unix:{path}" in start_fails(path, echo)
    assert path.read_text() == "precious"
    assert f"cannot listen on unix:{tmp_path}/none/s" in start_fails(tmp_path / "none" / "s", echo)


def test_an_endpoint_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "app"
    config = ONE.replace("unix:<path>", "127.0.0.1:0")
    with Served(config, origin=f"unix:{path}") as lbd:
        assert lbd.ask(get()).reason == "connect_failed"
        with UnixEcho(str(path)):
            eventually(lambda: lbd.ask(get()).status == 200, "it is there now")
        assert lbd.ask(get()).status == 502, "nobody listens there any more"


def test_the_proxy_header_of_a_unix_client(tmp_path: Path) -> None:
    """Nothing it could say: UNKNOWN, or LOCAL."""
    for version, expected in (("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\x00\r\nQUIT\n")):
        path = tmp_path / version
        config = ONE.replace("[<origin>]", f"[<origin>], proxy_protocol: {version}")
        answer = [lambda c: c.recv(), send(b"HTTP/1.1 204 No Content\r\n\r\n")]
        with Origin(answer) as origin, Served(config, path=path, origin=origin), at(path) as client:
            assert client.ask(get()).status == 204
            assert origin.received.startswith(expected)
            if version == "v2":
                assert origin.received[12:14] in (b"\x20\x00", b"\x21\x00")
