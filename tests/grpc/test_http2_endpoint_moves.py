"""An endpoint that speaks HTTP/2 moves: streams finish where they are, new ones go to the new address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from discovery.name_server import NameServer
from discovery.stage import CONFIG, sharing_a_port
from h2_endpoint import H2Origin, Request
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually
from tls.speaking import SecureMixin, World

TWO = ("127.0.0.1", "127.0.0.2")
PLAIN = CONFIG.replace("<members>", 'endpoints: ["app.test:<port>"], protocol: http2')


class SecureH2Origin(SecureMixin, H2Origin):
    """HTTP/2 over TLS."""


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as made:
        made.set("app.test", TWO[0], ttl=0)
        yield made


def move(names: NameServer, lbd: Lbd) -> None:
    names.set("app.test", TWO[1], ttl=0)
    eventually(lambda: "app.test is now at 127.0.0.2" in lbd.stderr, "it moves")


def test_streams_finish_and_the_connection_ends(names: NameServer) -> None:
    held, release = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        held.set()
        assert release.wait(4 * TIMEOUT)
        request.answer(b"old")

    with sharing_a_port([H2Origin(slow), H2Origin(lambda request: request.answer(b"new"))], TWO) as (
        old,
        new,
    ):
        with Lbd(PLAIN, names=names, port=old.port) as lbd, lbd.connect() as client:
            client.send(get("/"))
            assert held.wait(TIMEOUT)
            move(names, lbd)
            assert [lbd.ask(get("/")).body for _ in range(3)] == [b"new"] * 3
            assert old.connections[0].ended is None, "a stream is still open there"
            release.set()
            assert client.read_response().body == b"old"
            eventually(lambda: old.connections[0].ended, "nothing is left to do there")
            assert client.ask(get("/")).body == b"new"
            assert len(old.connections) == len(new.connections) == 1
        assert old.malformed == new.malformed == []


def test_idle_connection_ends_at_once(names: NameServer) -> None:
    with sharing_a_port([H2Origin(), H2Origin()], TWO) as (old, new):
        with Lbd(PLAIN, names=names, port=old.port) as lbd:
            assert lbd.ask(get("/")).status == 200
            move(names, lbd)
            eventually(lambda: old.connections[0].ended, "it is closed")
            assert lbd.ask(get("/")).status == 200 and len(new.connections) == 1
        assert old.malformed == new.malformed == []


def test_connection_that_is_being_made_is_used_once(names: NameServer, tmp_path: Path) -> None:
    """TCP is connected, TLS is under way; then the address changes."""
    world = World(tmp_path)
    world.add("app", "app.test")
    go = threading.Event()

    class Slow(SecureH2Origin):
        def _run(self, connection: object, script: object) -> None:
            assert go.wait(4 * TIMEOUT)
            super()._run(connection, script)  # type: ignore[arg-type]

    contexts = [world.server_context("app") for _ in TWO]
    for context in contexts:
        context.set_alpn_protocols(["h2"])
    tls = f"protocol: http2, tls: {{ca: {world.ca_file}}}, timeouts: {{connect: 1m}}"
    endpoints = [Slow(contexts[0]), SecureH2Origin(contexts[1])]
    with (
        sharing_a_port(endpoints, TWO) as (old, new),
        Lbd(PLAIN.replace("protocol: http2", tls), names=names, port=old.port) as lbd,
        lbd.connect() as client,
    ):
        client.send(get("/"))
        eventually(lambda: old.connections, "it is connected")
        move(names, lbd)
        go.set()
        assert client.read_response().status == 200
        eventually(lambda: old.connections[0].ended, "it is not kept")
        assert client.ask(get("/")).status == 200
        assert len(old.connections) == len(new.connections) == 1
