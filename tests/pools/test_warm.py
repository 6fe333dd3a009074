"""Connections that are open before anybody asks: how many, when they come back, and when there are none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest
from control.worlds import serving
from h2_endpoint import H2Origin, Request
from harness.http_origin import Answer, EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, post
from harness.origin import Origin, Refusing, close
from harness.waiting import TIMEOUT, eventually
from tls.fixtures import world
from tls.speaking import SecureHttpOrigin, SecureMixin, World

from lbd.config.loader import ConfigErrors, load_text

__all__ = ["world"]

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    endpoints: [<origin>]
    protocol: <protocol>
    tls: <tls>
    connections: {warm: <warm>, <more>}
"""


@contextmanager
def warmed(origin: object, warm: int, more: str = "idle: 256", protocol: str = "http1",
           tls: str = "false") -> Iterator[Lbd]:
    config = CONFIG.replace("<protocol>", protocol).replace("<tls>", tls).replace("<more>", more)
    with Lbd(config, origin=origin, warm=warm) as lbd:
        yield lbd


def idle(lbd: Lbd) -> float:
    return lbd.metric("lbd_upstream_connections", state="idle")


def busy(lbd: Lbd) -> float:
    return lbd.metric("lbd_upstream_connections", state="busy")


def connect_failures(lbd: Lbd) -> float:
    return lbd.metric("lbd_upstream_connect_failures_total")


def wait_until_idle(lbd: Lbd, count: int) -> None:
    eventually(lambda: (idle(lbd), busy(lbd)) == (count, 0), f"{count} idle ones", 2 * TIMEOUT)


def test_connections_are_open_before_the_first_request() -> None:
    with EchoOrigin() as origin, warmed(origin, 3) as lbd:
        wait_until_idle(lbd, 3)
        eventually(lambda: len(origin.connections) == 3, "the endpoint has seen them")
        assert origin.requests == []
        for request in (get(), post("/", b"first on its connection")):
            assert lbd.ask(request).status == 200
        assert {seen.connection for seen in origin.requests} <= {0, 1, 2}
        assert lbd.metric("lbd_upstream_reused_total") == 2


def test_none_by_default() -> None:
    with EchoOrigin() as origin, warmed(origin, 0) as lbd:
        assert lbd.ask(get()).status == 200
        assert len(origin.connections) == 1


def test_they_come_back_when_the_endpoint_closes_them() -> None:
    with EchoOrigin() as origin, warmed(origin, 2) as lbd:
        wait_until_idle(lbd, 2)
        eventually(lambda: len(origin.connections) == 2, "the endpoint has seen them")
        origin.close_all()
        eventually(lambda: len(origin.connections) == 4, "two new ones", 2 * TIMEOUT)
        wait_until_idle(lbd, 2)
        assert lbd.metric("lbd_upstream_failures_total") == 0


def test_there_are_as_many_beside_the_busy_ones() -> None:
    release = threading.Event()
    with (HttpOrigin(lambda seen: (release.wait(4 * TIMEOUT), Answer())[1]) as origin,
          warmed(origin, 2) as lbd, ExitStack() as stack):
        clients = [stack.enter_context(lbd.connect()) for _ in range(3)]
        for client in clients:
            client.send(get())
        eventually(lambda: (idle(lbd), busy(lbd)) == (2, 3), "two idle ones beside three busy ones")
        release.set()
        assert [client.read_response("GET").status for client in clients] == [200] * 3


def test_never_more_than_allowed() -> None:
    release = threading.Event()
    with (HttpOrigin(lambda seen: (release.wait(4 * TIMEOUT), Answer())[1]) as origin,
          warmed(origin, 2, more="max: 3") as lbd, ExitStack() as stack):
        clients = [stack.enter_context(lbd.connect()) for _ in range(4)]
        for client in clients:
            client.send(get())
        eventually(lambda: lbd.metric("lbd_queue_depth") == 1)
        assert (idle(lbd), busy(lbd)) == (0, 3)
        release.set()
        assert [client.read_response("GET").status for client in clients] == [200] * 4
        assert len(origin.connections) == 3


def test_failures_back_off_and_are_not_those_of_requests() -> None:
    with Refusing() as nobody, warmed(nobody, 2) as lbd:
        begun = time.monotonic()
        eventually(lambda: connect_failures(lbd) >= 6, "three rounds", 4 * TIMEOUT)
        assert time.monotonic() - begun > 0.5, "250 and 500 ms lie between them, less a quarter"
        assert lbd.metric("lbd_upstream_failures_total") == 0
        nobody.sock.listen(16)
        wait_until_idle(lbd, 2)


def test_an_endpoint_that_hangs_up_is_not_called_all_the_time() -> None:
    with Origin([close]) as origin, warmed(origin, 1) as lbd:
        begun = time.monotonic()
        eventually(lambda: len(origin.connections) >= 4, "four calls", 4 * TIMEOUT)
        assert time.monotonic() - begun > 1, "after 250, 500 and 1000 ms, less a quarter"
        assert lbd.metric("lbd_upstream_failures_total") == 0


def test_they_are_replaced_when_they_are_too_old() -> None:
    with EchoOrigin() as origin, warmed(origin, 1, more="lifetime: 300ms") as lbd:
        eventually(lambda: len(origin.connections) >= 3, "replaced twice", 4 * TIMEOUT)
        eventually(lambda: origin.connections[0].ended == "fin", "the first one is closed")
        assert lbd.ask(get()).status == 200


def test_http2() -> None:
    with H2Origin() as origin, warmed(origin, 2, protocol="http2") as lbd:
        wait_until_idle(lbd, 2)
        eventually(lambda: [bool(one.lbd_settings) for one in origin.sessions] == [True, True])
        with lbd.connect() as client:
            for request in (get(), post("/", b"x"), get()):
                assert client.ask(request).status == 200
        assert len(origin.sessions) == 2 and origin.malformed == []
        origin.hang_up()
        eventually(lambda: len(origin.sessions) == 4, "two new ones", 2 * TIMEOUT)
        wait_until_idle(lbd, 2)


def test_http2_connections_that_are_full_are_not_ready() -> None:
    held: list[Request] = []
    more = "max: 4}\n    http2: {streams: 1"
    with H2Origin(held.append) as origin, warmed(origin, 1, more, "http2") as lbd, lbd.connect() as client:
        wait_until_idle(lbd, 1)
        client.send(get())
        eventually(lambda: held, "a request")
        eventually(lambda: len(origin.sessions) == 2 and idle(lbd) == 1, "another one is ready")
        held[0].answer()
        assert client.read_response("GET").status == 200


class SecureH2Origin(SecureMixin, H2Origin):
    """H2Origin behind TLS."""


@pytest.mark.parametrize("protocol", ["http1", "http2", "auto", "auto to http1"])
def test_tls(world: World, protocol: str) -> None:
    context = world.server_context("site")
    over_http2 = protocol in ("http2", "auto")
    if over_http2:
        context.set_alpn_protocols(["h2"])
    origin: Any = SecureH2Origin(context) if over_http2 else SecureHttpOrigin(context)
    with origin, warmed(origin, 2, protocol=protocol.split()[0],
                        tls=f"{{ca: {world.ca_file}, sni: a.test}}") as lbd:
        wait_until_idle(lbd, 2)
        eventually(lambda: len(origin.protocols) == 2, "the endpoint has seen them")
        assert origin.failures == [] and origin.requests == []
        assert lbd.ask(get()).status == 200
        assert lbd.metric("lbd_upstream_reused_total") == 1


def test_tls_that_fails_backs_off(world: World) -> None:
    with SecureHttpOrigin(world.server_context("site")) as origin, \
            warmed(origin, 2, tls=f"{{ca: {world.ca_file}, sni: other.test}}") as lbd:
        begun = time.monotonic()
        eventually(lambda: connect_failures(lbd) >= 6, "three rounds", 4 * TIMEOUT)
        assert time.monotonic() - begun > 0.5
        assert idle(lbd) == 0


# what the control plane decides ---------------------------------------------------------------------------

TWO = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: ["127.0.0.1:PORT1", "127.0.0.1:PORT2"], connections: {warm: 2}}]
"""


class Counting:
    """A server that counts open connections and closes them on demand."""

    async def start(self) -> int:
        self.writers: list[asyncio.StreamWriter] = []
        self.accepted = 0
        self.server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.accepted += 1
        await reader.read()
        self.writers.remove(writer)
        writer.close()

    @property
    def open(self) -> int:
        return len(self.writers)

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(2 * TIMEOUT):
            while self.open != count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def two() -> Any:
    one, other = Counting(), Counting()
    text = TWO.replace("PORT1", str(await one.start())).replace("PORT2", str(await other.start()))
    try:
        async with serving(text) as (worker, _):
            yield worker.runtime.clusters["app"], one, other
    finally:
        for each in (one, other):
            each.hang_up()
            each.server.close()


def test_endpoints_that_are_down_are_not_kept_warm() -> None:
    async def run() -> None:
        async with two() as (cluster, one, other):
            await one.reach(2)
            await other.reach(2)
            cluster.endpoints[0].set_admin("disabled")
            cluster.changed()
            one.hang_up()
            other.hang_up()
            await one.reach(0)
            await other.reach(2)
            assert one.accepted == 2
            cluster.endpoints[0].set_admin("ready")
            cluster.changed()
            await one.reach(2)
            assert one.accepted == 4

    asyncio.run(run())


def test_endpoints_that_have_left_the_cluster_are_not_kept_warm() -> None:
    async def run() -> None:
        async with two() as (cluster, one, other):
            await one.reach(2)
            await other.reach(2)
            cluster.set_endpoints(cluster.endpoints[1:])
            await one.reach(0)
            other.hang_up()
            await other.reach(2)
            assert one.accepted == 2

    asyncio.run(run())


# settings -------------------------------------------------------------------------------------------------

SETTINGS = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, protocol: PROTOCOL}]
clusters: [{name: app, endpoints: ["127.0.0.1:1"], connections: {warm: 300, MORE}, OTHER}]
"""


@pytest.mark.parametrize(
    ("more", "other", "protocol", "expected"),
    [
        ("idle: 200", "", "http", "connections.idle (200)"),
        ("max: 299, idle: 400", "", "http", "connections.max (299)"),
        ("pending: 1", "", "http", "connections.idle (256)"),
        ("idle: 400", "proxy_protocol: v2", "http", "proxy_protocol"),
        ("idle: 400", "", "tcp", "tcp listener"),
    ],
)
def test_settings_that_contradict(more: str, other: str, protocol: str, expected: str) -> None:
    text = SETTINGS.replace("MORE", more).replace(", OTHER", f", {other}" if other else "")
    with pytest.raises(ConfigErrors) as caught:
        load_text(text.replace("PROTOCOL", protocol), env={})
    assert "clusters.app.connections.warm" in str(caught.value) and expected in str(caught.value)


def test_settings_that_do_not() -> None:
    text = SETTINGS.replace("MORE", "max: none, idle: 300").replace(", OTHER", "").replace("PROTOCOL", "http")
    assert load_text(text, env={}).clusters[0].connections.warm == 300
