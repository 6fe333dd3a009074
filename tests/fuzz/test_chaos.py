"""A whole lbd among peers that behave at random: it lives, leaks nothing, and gives nobody another's answer.

Limits: "tight" makes nearly everybody wait in a queue of three or be refused."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from fuzz.budget import turns
from fuzz.chaos import (
    GARBAGE,
    assert_at_rest,
    chaotic,
    check_echoes,
    crowd,
    drain,
    http_client,
    leave,
    polite,
    scripts,
    seeded,
)
from harness.client import Client
from harness.lbd import Lbd
from harness.messages import get, head
from harness.origin import Connection, Origin, Step

TIMEOUTS = "timeouts: {head: 400ms, body: 400ms, idle: 300ms, write: 400ms, tunnel: 500ms}"
CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: <log>}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, TIMEOUTS}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: db, TIMEOUTS}
clusters:
  - {name: app, endpoints: [<origin>], connections: LIMITS,
     timeouts: {connect: 400ms, response: 400ms, body: 400ms, idle: 300ms, queue: 300ms}}
  - {name: db, endpoints: [<origin>], connections: LIMITS, timeouts: {connect: 400ms, queue: 300ms}}
""".replace("TIMEOUTS", TIMEOUTS)
FREE, TIGHT = "{idle: 8}", "{max: 2, pending: 3}"
LIMITS = pytest.mark.parametrize("limits", [FREE, TIGHT], ids=["free", "tight"])


def start(limits: str, origin: Origin) -> Lbd:
    return Lbd(CONFIG.replace("LIMITS", limits), origin=origin, log="/dev/null")


@LIMITS
def test_http(limits: str) -> None:
    with Origin(*scripts(chaotic)) as origin, start(limits, origin) as lbd:
        sockets = lbd.fds("socket")
        crowd(http_client, lbd, turns(0.1, 150))
        origin.behave([polite])
        origin.close_all()
        assert_at_rest(lbd, sockets)
        with lbd.connect() as client:
            response = client.ask(get("/after"))
            assert (response.status, response.one("x-echo")) == (200, "/after")


# Tunnels: each client sends a pattern of its own, and may see nothing but that pattern.


def pattern(index: int, size: int) -> bytes:
    unit = b"<%d>" % index
    return (unit * (size // len(unit) + 1))[:size]


def mirror(random: Random) -> Step:
    """Sends back what comes, until it has enough, in some way or other."""

    def step(connection: Connection) -> None:
        kind = random.randrange(8)
        if kind == 0:
            return connection.close(reset=random.random() < 0.5)
        while not connection.closed and (data := connection.recv()):
            if not connection.send(data):
                return None
            if random.random() < 0.1:
                return connection.close(reset=random.random() < 0.5)
        if kind == 1:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(1)
        return None

    return step


def talk(random: Random, client: Client, index: int) -> None:
    sent = pattern(index, random.choice((0, 1, 100, 40000, 300000)))
    client.sock.settimeout(random.choice((0.1, 0.3)))
    client.send_while_accepted(sent)
    leave(random, client)
    if client.sock.fileno() >= 0:
        got = drain(client, random.choice((0, 1000, len(sent) or 1)))
        assert got == pattern(index, len(got)), f"client {index} saw {got[:60]!r}"
        if random.random() < 0.3:
            client.reset()


def tcp_client(lbd: Lbd, index: int) -> None:
    with lbd.connect("db") as client:
        talk(seeded("tcp", index), client, index)


@LIMITS
def test_tcp(limits: str) -> None:
    with Origin(*scripts(mirror)) as origin, start(limits, origin) as lbd:
        sockets = lbd.fds("socket")
        crowd(tcp_client, lbd, turns(0.05, 150))
        origin.behave([mirror(Random(1))])
        origin.close_all()
        assert_at_rest(lbd, sockets)


SWITCH = ("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade")


def switching(random: Random) -> Step:
    """Switches protocols, or does not, or does it wrongly."""
    goes_on = mirror(random)

    def step(connection: Connection) -> None:
        while b"\r\n\r\n" not in connection.received:
            if not connection.recv():
                return
        kind = random.randrange(8)
        if kind == 0:
            connection.send(random.choice(GARBAGE))
        elif kind == 1:
            connection.send(head(*SWITCH, "Upgrade: h2c"))
        elif kind == 2:
            connection.send(head("HTTP/1.1 426 Upgrade Required", "Content-Length: 0"))
        elif kind == 3:
            connection.send(head(*SWITCH, "Upgrade: websocket")[: random.randrange(60)])
            connection.close(reset=random.random() < 0.5)
        else:
            connection.send(head(*SWITCH, "Upgrade: websocket"))
            goes_on(connection)

    return step


def websocket_client(lbd: Lbd, index: int) -> None:
    random = seeded("websocket", index)
    early = pattern(index, random.choice((0, 0, 10)))
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    with lbd.connect() as client:
        client.sock.settimeout(0.6)
        client.send_while_accepted(get(f"/c{index}", *upgrade) + early)
        got = b""
        with contextlib.suppress(TimeoutError):
            while b"\r\n\r\n" not in got and (piece := client.recv()):
                got += piece
        if got.startswith(b"HTTP/1.1 101") and not early:
            talk(random, client, index)
        check_echoes(got, [f"/c{index}"])


@LIMITS
def test_upgraded(limits: str) -> None:
    with Origin(*scripts(switching)) as origin, start(limits, origin) as lbd:
        sockets = lbd.fds("socket")
        crowd(websocket_client, lbd, turns(0.05, 100))
        origin.behave([polite])
        origin.close_all()
        assert_at_rest(lbd, sockets)
        assert lbd.ask(get("/after", "Connection: close")).status == 200


def test_one_cluster_for_both_modes() -> None:
    """Tunnels and exchanges wait in the same queue for connections of different kinds."""
    config = CONFIG.replace("cluster: db", "cluster: app").replace("LIMITS", TIGHT)
    with Origin(*scripts(chaotic)) as origin, Lbd(config, origin=origin, log="/dev/null") as lbd:
        sockets = lbd.fds("socket")
        crowd(both, lbd, turns(0.04, 100))
        origin.close_all()
        assert_at_rest(lbd, sockets)


def both(lbd: Lbd, index: int) -> None:
    if index % 2:
        http_client(lbd, index)
        return
    with lbd.connect("db") as client:
        client.sock.settimeout(0.2)
        client.send_while_accepted(get(f"/c{index}/r0"))
        check_echoes(drain(client, 1000), [f"/c{index}/r0", "/not-asked-for"])  # a tunnel passes all on
