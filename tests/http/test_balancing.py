"""How exchanges spread over endpoints, and what connection limits do."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack

import pytest
from harness.http_origin import Answer, EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, ok
from harness.origin import Origin, recv_head, send, wait_for
from harness.waiting import TIMEOUT, eventually

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    balancer: BALANCER
    endpoints: [{address: <a>, weight: 5}, {address: <b>, weight: 1}, {address: <c>, weight: 1}]
"""


def named(name: str) -> HttpOrigin:
    return HttpOrigin(lambda _: Answer(body=name.encode()))


def picks(balancer: str, count: int, config: str = CONFIG) -> list[str]:
    with ExitStack() as stack:
        places = {name: stack.enter_context(named(name)) for name in "abc"}
        lbd = stack.enter_context(Lbd(config.replace("BALANCER", balancer), **places))
        client = stack.enter_context(lbd.connect())
        return [client.ask(get()).body.decode() for _ in range(count)]


def test_round_robin_is_smooth() -> None:
    """Weights 5, 1, 1: in any 7 picks in a row a is picked 5 times, and the others are spread between."""
    found = picks("round_robin", 70)
    for start in range(63):
        assert Counter(found[start : start + 7]) == {"a": 5, "b": 1, "c": 1}
    assert "aaaaa" not in "".join(found[:7]), "smooth: not all of a in one run"


def test_random_follows_the_weights() -> None:
    found = Counter(picks("random", 700))
    assert 430 <= found["a"] <= 570 and 50 <= found["b"] <= 160 and 50 <= found["c"] <= 160


def test_weight_zero_is_never_picked() -> None:
    found = picks("round_robin", 30, CONFIG.replace("<c>, weight: 1", "<c>, weight: 0"))
    assert Counter(found) == {"a": 25, "b": 5}


def test_least_conn_avoids_the_busy_one() -> None:
    config = CONFIG.replace("weight: 5", "weight: 1").replace("BALANCER", "least_conn")
    release = threading.Event()
    held = [recv_head, wait_for(release), send(ok(b"held"))]
    with Origin(held) as a, named("b") as b, named("c") as c, Lbd(config, a=a, b=b,
                                                                  c=c) as lbd, ExitStack() as stack:
        for _ in range(6):  # sooner or later one is held by a
            client = stack.enter_context(lbd.connect())
            client.send(get())
            eventually(lambda client=client: a.connections or client.has_input())
            if a.connections:
                break
        assert len(a.connections) == 1
        others = [lbd.ask(get()).body for _ in range(20)]
        assert set(others) == {b"b", b"c"} and len(a.connections) == 1
        release.set()


POOLED = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, endpoints: [<origin>], timeouts: {queue: QUEUE, idle: IDLE}, connections: {CONNECTIONS}}
"""


def pooled(connections: str, queue: str = "5s", idle: str = "50s") -> str:
    return POOLED.replace("CONNECTIONS", connections).replace("QUEUE", queue).replace("IDLE", idle)


def test_exchanges_wait_for_a_connection() -> None:
    """max: 1: two exchanges use one connection, one after the other."""
    release = threading.Event()
    with (
        Origin([recv_head, wait_for(release), send(ok(b"1")), recv_head, send(ok(b"2"))]) as origin,
        Lbd(pooled("max: 1"), origin=origin) as lbd, lbd.connect() as first, lbd.connect() as second,
    ):
        first.send(get())
        eventually(lambda: b"GET" in origin.received)
        second.send(get("/second"))
        release.set()
        assert (first.read_response().body, second.read_response().body) == (b"1", b"2")
        assert len(origin.connections) == 1


def test_queue_timeout() -> None:
    release = threading.Event()
    with (
        Origin([recv_head, wait_for(release), send(ok())]) as origin,
        Lbd(pooled("max: 1", queue="300ms"), origin=origin) as lbd, lbd.connect() as first,
    ):
        first.send(get())
        eventually(lambda: b"GET" in origin.received)
        response = lbd.ask(get())
        assert (response.status, response.reason) == (503, "queue_timeout")
        release.set()
        assert first.read_response().status == 200


def test_overflow() -> None:
    release = threading.Event()
    with (
        Origin([recv_head, wait_for(release), send(ok())]) as origin,
        Lbd(pooled("max: 1, pending: 1"), origin=origin) as lbd, ExitStack() as stack,
    ):
        clients = [stack.enter_context(lbd.connect()) for _ in range(5)]
        for client in clients:
            client.send(get())
        refused = eventually(lambda: [item for item in clients if item.has_input()])
        response = refused[0].read_response()
        assert (response.status, response.reason) == (503, "overflow")
        release.set()


def test_client_that_leaves_the_queue_frees_its_place() -> None:
    release = threading.Event()
    script = [recv_head, wait_for(release), send(ok(b"1")), recv_head, send(ok(b"3"))]
    with Origin(script) as origin, Lbd(pooled("max: 1"), origin=origin) as lbd, lbd.connect() as first:
        first.send(get())
        eventually(lambda: b"GET" in origin.received)
        before = lbd.fds("socket")
        with lbd.connect() as leaving:
            leaving.send(get("/left"))
            eventually(lambda: lbd.fds("socket") > before)
        eventually(lambda: lbd.fds("socket") <= before)
        release.set()
        assert first.read_response().body == b"1"
        assert lbd.ask(get("/third")).body == b"3"
        assert b"/left" not in origin.received


@pytest.mark.parametrize(("connections", "used"),
                         [("requests: 3", 4), ("requests: 1", 10), ("requests: none", 1)])
def test_requests_per_connection(connections: str, used: int) -> None:
    with EchoOrigin() as origin, Lbd(pooled(connections), origin=origin) as lbd, lbd.connect() as client:
        for _ in range(10):
            assert client.ask(get()).status == 200
        assert len(origin.connections) == used


def test_idle_connections_are_bounded() -> None:
    with EchoOrigin() as origin, Lbd(pooled("idle: 2"), origin=origin) as lbd, ExitStack() as stack:
        clients = [stack.enter_context(lbd.connect()) for _ in range(8)]
        for client in clients:
            client.send(get())
        for client in clients:
            assert client.read_response().status == 200
        eventually(lambda: sum(not item.ended for item in origin.connections) <= 2, "at most 2 stay idle")


def test_idle_connections_expire() -> None:
    with EchoOrigin() as origin, Lbd(pooled("idle: 2", idle="300ms"), origin=origin) as lbd:
        assert lbd.ask(get()).status == 200
        eventually(lambda: origin.connections[0].ended, "closed after the idle timeout", timeout=2 * TIMEOUT)
        assert lbd.ask(get()).status == 200


def test_connections_do_not_outlive_their_lifetime() -> None:
    with EchoOrigin() as origin, Lbd(pooled("lifetime: 300ms"),
                                     origin=origin) as lbd, lbd.connect() as client:
        assert client.ask(get()).status == 200
        eventually(lambda: client.ask(get()).status == 200 and len(origin.connections) > 1)


def test_lifo_reuse() -> None:
    """The connection that was used last is used next, so that the others can expire."""
    with EchoOrigin() as origin, Lbd(pooled("idle: 8"), origin=origin) as lbd, ExitStack() as stack:
        clients = [stack.enter_context(lbd.connect()) for _ in range(4)]
        for client in clients:
            client.send(get())
        for client in clients:
            client.read_response()
        before = len(origin.requests)
        for _ in range(6):
            assert clients[0].ask(get()).status == 200
        assert len({seen.connection for seen in origin.requests[before:]}) == 1
