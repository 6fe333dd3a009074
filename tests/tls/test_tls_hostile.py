"""What is no TLS on a TLS port: it costs that connection alone, is counted, and leaves no line in the log."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Iterator

import pytest
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.messages import get
from harness.waiting import SLOW, TIMEOUT, eventually
from tls.hostile_hellos import ALERT, HELLO, REFUSED
from tls.speaking import SECURE, Served, TlsClient, World

ASK = get().replace(b"example.test", b"a.test")
SHORT = SECURE.replace("    cluster: app", "    timeouts: {handshake: 500ms}\n    cluster: app")


@pytest.fixture(scope="module")
def short(world: World, echo: EchoOrigin) -> Iterator[Served]:
    """With a deadline that tests can wait for."""
    with Served(SHORT, site=world.pair("site"), origin=echo) as lbd:
        yield lbd


@pytest.fixture(autouse=True)
def quiet(secure: Served, short: Served) -> Iterator[None]:
    """Any scanner can do this: nothing of it is said at level info."""
    yield
    assert secure.said() == short.said() == []


def serves(lbd: Served, world: World) -> bool:
    with TlsClient(lbd.address(), world.client_context()) as client:
        return client.ask(ASK).status == 200


def read_out(client: Client) -> bytes:
    """All until the end, however it comes."""
    return client.read_until_close()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(secure: Served, world: World, name: str) -> None:
    before = secure.errors("handshake_failed")
    with TlsClient(secure.address(), world.client_context()) as bystander, secure.connect() as client:
        client.send_while_accepted(REFUSED[name])
        answer = read_out(client)
        assert client.end in ("fin", "reset")
        assert b"HTTP/" not in answer
        assert bystander.ask(ASK).status == 200
    assert secure.errors("handshake_failed") == before + 1
    assert secure.metric("lbd_internal_errors_total") == 0
    assert serves(secure, world)


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_a_hello_in_pieces_is_served(secure: Served, world: World, piece: int) -> None:
    """The flights of a client, cut at will: a middle man that sends what it reads in small pieces."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = world.client_context().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with secure.connect() as client:
        def step(action) -> bytes:  # type: ignore[no-untyped-def]
            while True:
                try:
                    return action() or b""
                except ssl.SSLWantReadError:
                    client.send_pieces(outgoing.read(), piece)
                    incoming.write(client.recv())

        step(tls.do_handshake)
        tls.write(ASK)
        client.send_pieces(outgoing.read(), piece)
        assert step(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("cut", [0, 1, 5, 6, 50, len(HELLO) - 1, len(HELLO)])
@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
def test_a_client_that_goes_in_the_middle(secure: Served, cut: int, how: str) -> None:
    before = secure.errors("handshake_failed")
    client = secure.connect()
    client.send(HELLO[:cut])
    if cut == len(HELLO):
        client.recv()  # the server's flight
    getattr(client, how)()
    eventually(lambda: secure.errors("handshake_failed") == before + 1, "counted")
    client.close()
    eventually(lambda: secure.metric("lbd_connections_open", listener="web") == 0, "the connection is over")


def test_an_alert_in_the_middle(secure: Served, world: World) -> None:
    """A client that does not trust the certificate says so (unknown_ca) in the middle of the handshake."""
    before = secure.errors("handshake_failed")
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsClient(secure.address(), ssl.create_default_context())
    eventually(lambda: secure.errors("handshake_failed") == before + 1, "counted")
    with secure.connect() as client:
        client.send(HELLO)
        client.recv()
        client.send_while_accepted(ALERT)
        read_out(client)
    eventually(lambda: secure.errors("handshake_failed") == before + 2, "counted")
    assert serves(secure, world)


@pytest.mark.parametrize("start", [0, 1, 60])
def test_silence_ends_at_the_deadline(short: Served, start: int) -> None:
    before = short.errors("handshake_timeout")
    with short.connect() as client:
        began = time.monotonic()
        client.send(HELLO[:start])
        assert read_out(client) == b""
        assert 0.3 < time.monotonic() - began < 0.5 + 2 * SLOW
    assert short.errors("handshake_timeout") == before + 1


def test_drops_do_not_extend_the_deadline(short: Served, world: World) -> None:
    before = short.errors("handshake_timeout")
    with short.connect() as client:
        began = time.monotonic()
        client.sock.settimeout(0.05)
        for byte in itertools.cycle(HELLO[:-1]):
            if not client.send_while_accepted(bytes([byte])) or time.monotonic() - began > TIMEOUT:
                break
            try:
                if not client.recv():
                    break
            except TimeoutError:
                continue
        assert 0.3 < time.monotonic() - began < 0.5 + 2 * SLOW
    assert short.errors("handshake_timeout") == before + 1
    assert serves(short, world)


def test_waiting_after_the_hello_ends_at_the_deadline(short: Served) -> None:
    before = short.errors("handshake_timeout")
    with short.connect() as client:
        client.send(HELLO)
        assert read_out(client)  # the server's flight
    assert short.errors("handshake_timeout") == before + 1


def test_no_deadline_after_the_handshake(short: Served, world: World) -> None:
    """A connection that has shaken hands lives longer than that."""
    with TlsClient(short.address(), world.client_context()) as client:
        assert client.ask(ASK).status == 200
        with short.connect() as silent:
            read_out(silent)  # which takes the deadline
        assert client.ask(ASK).status == 200


def test_memory_and_descriptors_come_back(secure: Served, world: World) -> None:
    """Thousands of refused handshakes later lbd holds no more than before."""
    payloads = [REFUSED[name] for name in ("http", "hello-and-garbage", "hello-too-long", "hello-and-alert")]

    def storm(count: int) -> None:
        for payload in itertools.islice(itertools.cycle(payloads), count):
            with secure.connect() as client:
                client.send_while_accepted(payload)
                read_out(client)
        eventually(lambda: secure.metric("lbd_connections_open", listener="web") == 0, "all are over")

    storm(100)
    fds, rss = secure.fds("socket"), secure.rss()
    storm(800)
    assert secure.fds("socket") <= fds
    assert secure.rss() - rss < 4 << 20
    assert serves(secure, world)


def test_many_half_open_handshakes_cost_little(secure: Served, world: World) -> None:
    base = secure.rss()
    clients = [secure.connect() for _ in range(300)]
    try:
        for client in clients:
            client.send(HELLO[:-1])
        eventually(lambda: secure.metric("lbd_connections_open", listener="web") == 300, "all are accepted")
        assert serves(secure, world)
        assert secure.rss() - base < 300 * (64 << 10)
    finally:
        for client in clients:
            client.close()
    eventually(lambda: secure.metric("lbd_connections_open", listener="web") == 0, "all are over")
