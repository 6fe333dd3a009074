"""Host names of endpoints: with a fake getaddrinfo, so that no test asks a name server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from control.worlds import Lines, compiled

from lbd.control import resolve
from lbd.control.resolve import hosts_of, keep_resolving, resolve_hosts
from lbd.engine.cluster import Cluster

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, balancer: <balancer>, endpoints: ["127.0.0.1:1", "later.test:2", "[::1]:3"]}
  - {name: other, endpoints: ["later.test:4"]}
"""


class Names:
    """What the fake resolver knows: name -> addresses, or an exception to raise."""

    def __init__(self) -> None:
        self.known: dict[str, list[str] | Exception] = {}
        self.asked: list[str] = []
        self.stuck = threading.Event()

    def getaddrinfo(self, host: str, port: object, *_: object, **__: object) -> list[Any]:
        self.asked.append(host)
        found = self.known.get(host, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        if host == "stuck.test":
            self.stuck.wait(10)
        if isinstance(found, Exception):
            raise found
        return [
            (socket.AF_INET6, 1, 6, "", (a, 0, 0, 0)) if ":" in a else (socket.AF_INET, 1, 6, "", (a, 0))
            for a in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    fake = Names()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    monkeypatch.setattr(resolve, "RETRY_SECONDS", 0.0)
    yield fake
    fake.stuck.set()


def resolved(*hosts: str, timeout: float = 5.0) -> tuple[dict[str, str], list[tuple[str, str]]]:
    log = Lines()
    return asyncio.run(resolve_hosts(hosts, log, timeout)), log.lines


def test_literals_are_not_asked_for(names: Names) -> None:
    assert resolved("10.0.0.1", "::1") == ({"10.0.0.1": "10.0.0.1", "::1": "::1"}, [])
    assert names.asked == []


def test_name_resolves(names: Names) -> None:
    names.known["a.test"] = ["192.0.2.1"]
    assert resolved("a.test") == ({"a.test": "192.0.2.1"}, [])


def test_ipv4_is_preferred(names: Names) -> None:
    names.known["a.test"] = ["2001:db8::1", "192.0.2.1"]
    names.known["six.test"] = ["2001:db8::6"]
    assert resolved("a.test", "six.test")[0] == {"a.test": "192.0.2.1", "six.test": "2001:db8::6"}


@pytest.mark.parametrize(
    "failure",
    [socket.gaierror(-2, "no"), OSError("down"), UnicodeError("label too long"), []],
    ids=["unknown", "no network", "bad label", "no rows"],
)
def test_name_that_does_not_resolve_is_left_out_and_said(names: Names, failure: Any) -> None:
    names.known.update({"bad.test": failure, "good.test": ["192.0.2.1"]})
    addresses, lines = resolved("bad.test", "good.test")
    assert addresses == {"good.test": "192.0.2.1"}
    assert [(level, "bad.test" in text) for level, text in lines] == [("warning", True)]


def test_stuck_resolver_does_not_block_the_start(names: Names) -> None:
    names.known["stuck.test"] = ["192.0.2.9"]

    async def run() -> dict[str, str]:
        addresses = await resolve_hosts(["stuck.test"], Lines(), 0.05)
        names.stuck.set()  # lets the executor's thread end
        return addresses

    assert asyncio.run(run()) == {}


def test_hosts_of_a_config() -> None:
    with compiled(CONFIG.replace("<balancer>", "random")) as runtime:
        assert hosts_of(runtime.config) == {"127.0.0.1", "::1", "later.test"}


def availability(cluster: Cluster) -> list[bool]:
    return [endpoint.resolved for endpoint in cluster.endpoints]


@pytest.mark.parametrize("balancer", ["round_robin", "least_conn", "random"])
def test_endpoint_gets_traffic_once_its_name_resolves(names: Names, balancer: str) -> None:
    log = Lines()
    with compiled(CONFIG.replace("<balancer>", balancer)) as runtime:
        app, other = runtime.clusters["app"], runtime.clusters["other"]
        assert availability(app) == [True, False, True] and availability(other) == [False]
        assert len(app.balancer.endpoints) == 2 and other.balancer is None
        names.known["later.test"] = ["127.0.0.1"]
        asyncio.run(asyncio.wait_for(keep_resolving(runtime.clusters.values(), log, Cluster.refresh), 5))
        assert availability(app) == [True] * 3 and availability(other) == [True]
        assert {app.balancer.pick_one() for _ in range(100)} == set(app.endpoints)
        assert other.balancer.pick_one() is other.endpoints[0]
    assert sum("later.test resolves to 127.0.0.1" in text for _, text in log.lines) == 2


def test_asks_again_until_it_resolves(names: Names) -> None:
    async def run(clusters: list[Cluster]) -> None:
        task = asyncio.create_task(keep_resolving(clusters, Lines(), Cluster.refresh))
        while len(names.asked) < 5:
            await asyncio.sleep(0)
        assert not task.done() and not clusters[0].endpoints[1].resolved
        names.known["later.test"] = ["127.0.0.1"]
        await asyncio.wait_for(task, 5)

    with compiled(CONFIG.replace("<balancer>", "random")) as runtime:
        asyncio.run(run(list(runtime.clusters.values())))


def test_nothing_to_resolve_ends_at_once(names: Names) -> None:
    with compiled(CONFIG.replace("<balancer>", "random"), {"later.test": "127.0.0.1"}) as runtime:
        asyncio.run(asyncio.wait_for(keep_resolving(runtime.clusters.values(), Lines(), Cluster.refresh), 5))
    assert names.asked == []


def test_link_local_answer_does_not_end_the_asking(names: Names) -> None:
    """getaddrinfo gives fe80::1%eth0; what cannot be used must not take the other names down with it."""
    names.known["later.test"] = ["fe80::1%2"]

    async def run(clusters: list[Cluster]) -> None:
        task = asyncio.create_task(keep_resolving(clusters, Lines(), Cluster.refresh))
        while len(names.asked) < 5 and not task.done():
            await asyncio.sleep(0)
        if task.done():
            task.result()  # raises what ended it
        names.known["later.test"] = ["127.0.0.1"]
        await asyncio.wait_for(task, 5)

    with compiled(CONFIG.replace("<balancer>", "random")) as runtime:
        asyncio.run(run(list(runtime.clusters.values())))
