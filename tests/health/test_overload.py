"""Too many requests: limits that find themselves, fixed ones, who takes over, and that other clusters notice
nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from harness.client import Client, Response
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Blackhole, Origin, Refusing, recv_head, stall
from harness.waiting import TIMEOUT, eventually
from health.watching import Named, sample

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {match: {path: /urgent}, cluster: app, urgency: high}
      - {match: {path: /other}, cluster: other}
      - {match: {path: /limited}, cluster: limited}
      - {match: {path: /stood-in}, cluster: stood_in}
      - cluster: app
clusters:
  - name: app
    endpoints: [<app>]
    adaptive_limit: {initial: 20, min: 4, max: 40, interval: 20ms}
  - {name: limited, endpoints: [<slow>], max_requests: 2}
  - {name: stood_in, endpoints: [<slow>], max_requests: 1, fallback: {cluster: other}}
  - {name: other, endpoints: [<other>]}
"""


class Gate(HttpOrigin):
    """Answers nobody until it is opened."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.opened = threading.Event()

    def _say(self, seen: Seen) -> Answer:
        self.opened.wait(4 * TIMEOUT)
        return Answer(body=b"gate")


@contextmanager
def held(lbd: Lbd, origin: Gate, path: str, count: int) -> Iterator[list[Client]]:
    """That many requests that wait for the endpoint; it answers them all at the end."""
    clients = [lbd.connect() for _ in range(count)]
    before = len(origin.requests)
    try:
        for client in clients:
            client.send(get(path))
        eventually(lambda: len(origin.requests) == before + count, "they are under way")
        yield clients
    finally:
        origin.opened.set()
        for client in clients:
            client.close()


def limit(lbd: Lbd) -> float:
    return sample(lbd, "lbd_concurrency_limit", cluster="app") or 0


def shed(response: Response) -> tuple[int, str]:
    return response.status, response.reason


def test_limits() -> None:
    with (
        Gate() as app, Gate() as slow, Named("other") as other,
        Lbd(CONFIG, app=app, slow=slow, other=other) as lbd,
    ):
        check_max_requests(lbd, slow)
        check_shedding(lbd, app)


def check_max_requests(lbd: Lbd, slow: Gate) -> None:
    with held(lbd, slow, "/limited", 2) as clients:
        for _ in range(3):
            response = lbd.ask(get("/limited"))
            assert shed(response) == (503, "overflow") and response.one("retry-after")
        assert sample(lbd, "lbd_shed_total", cluster="limited") == 3
        assert lbd.ask(get("/other")).body == b"other", "nobody else notices"
        with held(lbd, slow, "/stood-in", 1) as more:
            assert [lbd.ask(get("/stood-in")).body for _ in range(2)] == [b"other"] * 2
            assert sample(lbd, "lbd_fallbacks_total", cluster="stood_in") == 2
        clients += more
    eventually(lambda: sample(lbd, "lbd_upstream_active", cluster="limited") == 0, "they are over")
    assert lbd.ask(get("/limited")).body == b"gate"


def check_shedding(lbd: Lbd, app: Gate) -> None:
    """At the limit requests are shed, those of urgency high last."""
    assert limit(lbd) == 20
    with held(lbd, app, "/urgent", 20) as _:
        response = lbd.ask(get("/urgent"))
        assert shed(response) == (503, "overload") and response.one("retry-after")
        assert sample(lbd, "lbd_errors_total", reason="overload") == 1
    eventually(lambda: sample(lbd, "lbd_upstream_active", cluster="app") == 0, "they are over")
    app.opened.clear()
    with held(lbd, app, "/", 17):
        assert shed(lbd.ask(get("/"))) == (503, "overload")
        with lbd.connect() as urgent:
            urgent.send(get("/urgent"))
            eventually(lambda: len(app.requests) == 38, "it goes through")


class Laggard(HttpOrigin):
    """An endpoint whose answers take so many seconds, which may be changed."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.lag = threading.Event()
        self.seconds = 0.001

    def _say(self, seen: Seen) -> Answer:
        self.lag.wait(self.seconds)
        return Answer()


def test_limit_falls_while_the_endpoint_is_slow() -> None:
    """How it grows depends on times, which a busy machine makes: see test_gradient.py."""
    config = CONFIG.replace("initial: 20, min: 4, max: 40", "initial: 30, min: 4, max: 60")
    stop = threading.Event()
    statuses: set[int] = set()

    def load(lbd: Lbd) -> None:
        with lbd.connect() as client:
            while not stop.is_set():
                statuses.add(client.ask(get("/urgent")).status)

    with (
        Laggard() as app, Named("other") as other, Refusing() as slow,
        Lbd(config, app=app, slow=slow, other=other) as lbd, ThreadPoolExecutor(20) as pool,
    ):
        done = [pool.submit(load, lbd) for _ in range(20)]
        try:
            eventually(lambda: limit(lbd) >= 39, "rounds show what is usual", timeout=4 * TIMEOUT)
            app.seconds = 0.3
            eventually(lambda: limit(lbd) < 20, "it falls", timeout=4 * TIMEOUT)
            eventually(lambda: 503 in statuses, "requests are shed", timeout=4 * TIMEOUT)
            assert limit(lbd) >= 4
        finally:
            stop.set()
            app.lag.set()
            for one in done:
                one.result(TIMEOUT)
        assert statuses == {200, 503}


ISOLATION = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {match: {path: /good}, cluster: good}
      - {match: {path: /dead}, cluster: dead}
      - {match: {path: /gone}, cluster: gone}
      - {match: {path: /slow}, cluster: slow}
clusters:
  - {name: good, endpoints: [<good>]}
  - {name: dead, endpoints: [<dead>]}
  - {name: gone, endpoints: [<gone>], timeouts: {connect: 10s}}
  - {name: slow, endpoints: [<slow>], connections: {max: 4, pending: 8}, timeouts: {queue: 20s}}
"""


def test_one_cluster_in_trouble_leaves_the_others_alone() -> None:
    """One refuses, one swallows connections, one answers nobody while its queue is full."""
    with (
        Named("good") as good, Refusing() as dead, Blackhole() as gone, Origin([recv_head, stall]) as slow,
        Lbd(ISOLATION, good=good, dead=dead, gone=gone, slow=slow) as lbd,
    ):
        waiting = [lbd.connect() for _ in range(40)]
        for number, client in enumerate(waiting):
            client.send(get(("/gone", "/slow")[number % 2]))
        eventually(lambda: sample(lbd, "lbd_queue_depth", cluster="slow") == 8, "its queue is full")
        assert lbd.ask(get("/slow")).reason == "overflow"
        assert lbd.ask(get("/dead")).reason == "connect_failed"
        with lbd.connect() as client:
            assert [client.ask(get("/good")).body for _ in range(50)] == [b"good"] * 50
        assert len(slow.connections) == 4
        for client in waiting:
            client.close()
        eventually(lambda: lbd.metric("lbd_upstream_active") == 0, "those who left are forgotten")
