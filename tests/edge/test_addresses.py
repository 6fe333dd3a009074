"""Several binds per listener, IPv6 on both sides, and socket options as `ss` sees them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from edge.programs import address_of
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.messages import get, head
from tls.speaking import ElsewhereMixin, Served, TlsClient, World

Program = Callable[[str], str]
CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: ["127.0.0.1:0", "[::1]:0", "127.0.0.5:0", "unix:<sock>"], cluster: app}
  - {name: secure, bind: ["127.0.0.1:0", "[::1]:0"], cluster: app, tls: {certificates: [<site>]}}
  - {name: sourced, bind: "[::1]:0", routes: [{match: {source: "::1/128"}, cluster: app}]}
  - name: any
    bind: ":0"
    routes: [{match: {source: "127.0.0.0/8"}, cluster: app}, {respond: {status: 204}}]
clusters: [{name: app, endpoints: ["<origin>"]}]
"""


class SixEcho(ElsewhereMixin, EchoOrigin):
    """An echo endpoint on IPv6."""


@pytest.fixture(scope="module")
def origin() -> Iterator[SixEcho]:
    with SixEcho("::1") as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(world: World, origin: SixEcho, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    sock = tmp_path_factory.mktemp("s") / "web"
    with Served(CONFIG, site=world.pair("site"), origin=origin, sock=sock) as lbd:
        yield lbd


def test_all_binds_of_a_listener_serve(lbd: Served) -> None:
    places = [place for place in lbd.places["web"] if not place.startswith("unix:")]
    assert len(places) == 3 and len(lbd.places["web"]) == 4
    for place in places:
        with Client(address_of(place)) as client:
            fields = dict(client.ask(get()).json()["headers"])
            assert fields["x-forwarded-for"] == client.sock.getsockname()[0]
    assert lbd.metric("lbd_connections_total", listener="web") == 3


def test_tls_on_all_binds(lbd: Served, world: World) -> None:
    for place in lbd.places["secure"]:
        with TlsClient(address_of(place), world.client_context()) as client:
            assert client.ask(get()).status == 200
            assert client.shown() == world.made["site"].fingerprint


def test_ipv6_clients(lbd: Served) -> None:
    with lbd.connect("sourced") as client:
        assert dict(client.ask(get()).json()["headers"])["x-forwarded-for"] == "::1"
        literal = head("GET /lit HTTP/1.1", f"Host: [::1]:{lbd.address('sourced')[1]}")
        fields = dict(client.ask(literal).json()["headers"])
        assert fields["x-forwarded-host"] == fields["host"] == f"[::1]:{lbd.address('sourced')[1]}"


def test_one_socket_for_both_families(lbd: Served) -> None:
    """IPv4 clients of an IPv6 socket have their IPv4 address, not ::ffff:127.0.0.1."""
    port = lbd.ports["any"][1]
    with Client(("127.0.0.1", port)) as client:
        assert dict(client.ask(get()).json()["headers"])["x-forwarded-for"] == "127.0.0.1"
    with Client(("::1", port)) as client:
        assert client.ask(get()).status == 204


OPTIONS = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, socket: {keepalive: 33s, congestion: reno, fast_open: 16}}
  - {name: none, bind: "127.0.0.1:0", cluster: app, socket: {keepalive: none}}
clusters:
  - {name: app, endpoints: [<origin>], socket: {keepalive: 44s, congestion: reno}}
"""


def sockets(program: Program, where: str) -> str:
    """What `ss` knows of the TCP sockets with this filter: timers, congestion control."""
    command = [program("ss"), "-tnoi", *where.split()]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def keepalive(text: str) -> float:
    """Seconds until the kernel asks whether the peer is alive."""
    match = re.search(r"timer:\(keepalive,(?:(\d+)min)?(?:([\d.]+)(ms|sec)?)?,", text)
    assert match, text
    rest = float(match[2] or 0) / (1000 if match[3] == "ms" else 1)
    return 60 * int(match[1] or 0) + rest


def test_socket_options(program: Program, echo: EchoOrigin) -> None:
    program("ss")
    with Served(OPTIONS, origin=echo) as lbd, lbd.connect() as client, lbd.connect("none") as other:
        assert client.ask(get()).status == other.ask(get()).status == 200
        ours = sockets(program, f"state established sport = :{lbd.address()[1]}")
        assert 30 < keepalive(ours) <= 33.1
        assert " reno " in ours
        silent = sockets(program, f"state established sport = :{lbd.address('none')[1]}")
        assert "keepalive" not in silent and "ESTAB" not in silent.splitlines()[0]
        assert len(silent.splitlines()) >= 2, "the connection is listed"
        upstream = sockets(program, f"state established dport = :{echo.port}")
        assert 40 < keepalive(upstream) <= 44.1
        assert " reno " in upstream


def test_a_congestion_control_that_the_kernel_lacks(echo: EchoOrigin) -> None:
    config = OPTIONS.replace("33s, congestion: reno", "33s, congestion: nosuch")
    failing = Served(config, exit_code=1, origin=echo)
    failing.start()
    try:
        assert failing.wait() == 1
        assert "congestion control 'nosuch'" in failing.stderr
        failing.assert_clean()
    finally:
        failing.discard()
