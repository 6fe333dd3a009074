"""TCP mode: bytes, ends and resets pass unchanged; memory and waiting are bounded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from harness.client import Client
from harness.lbd import Lbd
from harness.origin import (
    Blackhole,
    Connection,
    Origin,
    Refusing,
    close,
    half_close,
    notify,
    recv_all,
    recv_at_least,
    reset,
    send,
    send_forever,
    stall,
)
from harness.waiting import TIMEOUT, eventually

MIB = 1 << 20
ADMIN = "admin: {bind: \"127.0.0.1:0\"}\n"
CONFIG = """
listeners: [{name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: db, timeouts: {idle: 60s, tunnel: 60s}}]
clusters: [{name: db, endpoints: [<origin>], timeouts: {connect: 500ms}}]
"""


def echo(connection: Connection) -> None:
    while data := connection.recv():
        connection.send(data)
    half_close(connection)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin([echo]) as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(origin: Origin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


@pytest.fixture(scope="module")
def level(lbd: Lbd) -> int:
    """Open sockets before anybody connected."""
    return lbd.fds("socket")


@pytest.fixture(autouse=True)
def nothing_leaks(lbd: Lbd, origin: Origin, level: int) -> Iterator[None]:
    """After each test the shared process has no connection left."""
    origin.behave([echo])
    yield
    origin.close_all()
    eventually(lambda: lbd.fds("socket") <= level, "sockets return to the level of the start")


def test_echo(lbd: Lbd) -> None:
    with lbd.connect("db") as client:
        for message in (b"a", b"\x00\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", os.urandom(70_000)):
            client.send(message)
            assert client.read_exactly(len(message)) == message


def test_endpoint_speaks_first(lbd: Lbd, origin: Origin) -> None:
    origin.behave([send(b"220 hello\r\n"), echo])
    with lbd.connect("db") as client:
        assert client.read_until(b"\n") == b"220 hello\r\n"


def test_bytes_sent_before_the_endpoint_is_connected_arrive(lbd: Lbd) -> None:
    with lbd.connect("db") as client:
        client.send_pieces(b"early")
        assert client.read_exactly(5) == b"early"


def test_half_close_of_the_client_is_kept(lbd: Lbd, origin: Origin) -> None:
    """The endpoint answers after it saw the end: the other direction is still open."""
    origin.behave([recv_all, send(b"got all of it"), close])
    with lbd.connect("db") as client:
        client.send(b"question")
        client.half_close()
        assert client.read_until_close() == b"got all of it" and client.end == "fin"
    assert bytes(origin.connections[-1].received) == b"question" and origin.connections[-1].ended == "fin"


def test_half_close_of_the_endpoint_is_kept(lbd: Lbd, origin: Origin) -> None:
    origin.behave([send(b"bye"), half_close, recv_at_least(5)])
    with lbd.connect("db") as client:
        assert client.read_until_close() == b"bye" and client.end == "fin"
        client.send(b"still")
        eventually(lambda: bytes(origin.connections[-1].received) == b"still")


def test_reset_of_the_endpoint_is_passed_on(lbd: Lbd, origin: Origin) -> None:
    origin.behave([recv_at_least(1), reset])
    with lbd.connect("db") as client:
        client.send(b"x")
        client.read_until_close()
        assert client.end == "reset"


def test_reset_of_the_client_is_passed_on(lbd: Lbd, origin: Origin) -> None:
    with lbd.connect("db") as client:
        client.send(b"x")
        client.read_exactly(1)
        client.reset()
    eventually(lambda: origin.connections[-1].ended == "reset", "the endpoint sees a reset")


def test_close_of_the_client_is_a_fin(lbd: Lbd, origin: Origin) -> None:
    with lbd.connect("db") as client:
        client.send(b"x")
        client.read_exactly(1)
    eventually(lambda: origin.connections[-1].ended)
    assert origin.connections[-1].ended == "fin"


@pytest.mark.parametrize("size", [1, 65536, 65537, 8 * MIB])
def test_large_transfers_both_ways_at_once(lbd: Lbd, size: int) -> None:
    data = os.urandom(min(size, MIB)) * max(1, size // MIB)
    with lbd.connect("db") as client:
        sender = threading.Thread(target=lambda: (client.send(data), client.half_close()), daemon=True)
        sender.start()
        back = client.read_until_close()
        sender.join(TIMEOUT)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


def test_many_connections_at_once(lbd: Lbd) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(lbd.connect("db")) for _ in range(200)]
        for number, client in enumerate(clients):
            client.send(b"%04d" % number)
        assert [client.read_exactly(4) for client in clients] == [b"%04d" % number for number in range(200)]


def test_client_that_does_not_read_holds_the_endpoint_back(lbd: Lbd, origin: Origin) -> None:
    """64 MiB are offered; no more than the socket and pipe buffers take is read, and memory stays flat."""
    sent = threading.Event()
    origin.behave([send(b"x" * MIB)] * 64 + [notify(sent)])
    before = lbd.rss()
    with lbd.connect("db", receive_buffer=4096) as client:
        assert client.read_exactly(10) == b"x" * 10
        assert not sent.wait(0.5)
        assert lbd.rss() - before < 8 * MIB


def test_endpoint_that_does_not_read_holds_the_client_back(lbd: Lbd, origin: Origin) -> None:
    origin.behave([stall])
    before = lbd.rss()
    with lbd.connect("db") as client:
        client.sock.settimeout(0.5)
        assert not all(client.send_while_accepted(b"x" * MIB) for _ in range(64))
        assert lbd.rss() - before < 8 * MIB


def test_slow_reader_gets_everything(lbd: Lbd, origin: Origin) -> None:
    data = os.urandom(MIB) * 4
    origin.behave([send(data), close])
    with lbd.connect("db", receive_buffer=4096) as client:
        assert hashlib.sha256(client.read_until_close()).digest() == hashlib.sha256(data).digest()


def test_client_leaves_while_the_endpoint_sends(lbd: Lbd, origin: Origin) -> None:
    origin.behave([send_forever(b"x" * 65536)])
    with lbd.connect("db") as client:
        client.read_exactly(100_000)
    eventually(lambda: not origin.threads[-1].is_alive(), "the endpoint is told")


def ended(client: Client) -> bool:
    return client.read_until_close() == b"" and client.end is not None


@pytest.mark.parametrize("place", [Refusing, Blackhole])
def test_connect_failure_closes_the_client(place: type) -> None:
    with place() as bad, Lbd(CONFIG, origin=bad) as lbd:
        before = lbd.fds("socket")
        for _ in range(3):
            # The reset may be faster than our own connect() returns: then that is how we learn of it.
            with suppress(ConnectionResetError), lbd.connect("db") as client:
                client.send_while_accepted(b"hello")
                assert ended(client)
        eventually(lambda: lbd.fds("socket") <= before)


def test_idle_connection_ends() -> None:
    config = CONFIG.replace("idle: 60s, tunnel: 60s", "idle: 400ms, tunnel: 400ms")
    with Origin([echo]) as origin, Lbd(config, origin=origin) as lbd, lbd.connect("db") as client:
        client.send(b"x")
        assert client.read_exactly(1) == b"x"
        assert ended(client)
        eventually(lambda: origin.connections[0].ended)


def test_busy_connection_does_not_end() -> None:
    """Traffic in one direction keeps both alive."""
    config = CONFIG.replace("idle: 60s, tunnel: 60s", "idle: 600ms, tunnel: 600ms")
    pause = threading.Event()
    with Origin([recv_all]) as origin, Lbd(config, origin=origin) as lbd, lbd.connect("db") as client:
        for _ in range(20):
            client.send(b"x")
            pause.wait(0.06)
        assert client.is_open()
        eventually(lambda: len(origin.received) == 20)


def test_round_robin_over_endpoints() -> None:
    config = CONFIG.replace("[<origin>]", "[{address: <a>, weight: 2}, <b>]")
    with Origin([send(b"a"), close]) as a, Origin([send(b"b"), close]) as b, Lbd(config, a=a, b=b) as lbd:
        found = b""
        for _ in range(9):
            with lbd.connect("db") as client:
                found += client.read_until_close()
    assert (found.count(b"a"), found.count(b"b")) == (6, 3)


def test_refusing_endpoint_is_skipped() -> None:
    config = CONFIG.replace("[<origin>]", "[<bad>, <good>]")
    with Refusing() as bad, Origin([echo]) as good, Lbd(config, bad=bad, good=good) as lbd:
        for _ in range(6):
            with lbd.connect("db") as client:
                client.send(b"hello")
                assert client.read_exactly(5) == b"hello"


def test_connection_limit() -> None:
    config = CONFIG.replace("cluster: db,", "cluster: db, limits: {connections: 2},", 1) + ADMIN
    with (
        Origin([echo]) as origin,
        Lbd(config, origin=origin) as lbd,
        lbd.connect("db") as one,
        lbd.connect("db") as two,
    ):
        for client in (one, two):
            client.send(b"x")
            assert client.read_exactly(1) == b"x"
        with lbd.connect("db") as extra:
            extra.send(b"z")
            eventually(lambda: lbd.metric("lbd_accept_pauses_total") == 1, "the third waits in the backlog")
            one.close()
            assert extra.read_exactly(1) == b"z", "served once a place is free"
        eventually(lambda: echoes(lbd), "a place is free again")


def echoes(lbd: Lbd) -> bool:
    with lbd.connect("db") as client:
        return client.send_while_accepted(b"y") and client.recv() == b"y"
