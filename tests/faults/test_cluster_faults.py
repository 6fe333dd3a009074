"""One endpoint of three in trouble, under steady load of GETs from several clients: none of them fails.

The settings are the defaults plus a health check; times are shorter. What is promised for GETs with the
default retry policy: nobody notices an endpoint that refuses, swallows or resets connections, is slow, or
comes and goes. All of them down is a clear answer, which ends by itself."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import pytest
from harness.lbd import Lbd
from harness.messages import get, ok
from harness.origin import Blackhole, Connection, Origin, Refusing, close, recv_head, recv_request, reset
from harness.waiting import TIMEOUT, eventually
from health.watching import Named, await_line, sample

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    endpoints: [{address: <bad>, name: bad}, {address: <two>, name: two}, {address: <three>, name: three}]
    health_check: {path: /health, interval: 100ms, fast_interval: 20ms, timeout: 300ms}
    timeouts: {connect: 300ms}
"""
CLIENTS, ENOUGH = 4, 60


class Mortal(Origin):
    """Answers with its name, in one piece. May die as a killed process does, and come back at its address."""

    def __init__(self, name: str):
        super().__init__([self._serve])
        self.page = ok(name.encode())
        self.listener.close()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))  # so bound, it keeps its port when it stops listening
        self.listener.listen(1024)

    def _serve(self, connection: Connection) -> None:
        while not connection.closed and not connection.ended:
            before = connection.head_end
            recv_head(connection)
            if connection.head_end > before:
                connection.send(self.page)

    def die(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join(TIMEOUT)
        self.close_all()

    def live(self) -> None:
        self.listener.listen(1024)
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()


class Load:
    """Clients that ask one request after another until the block is left."""

    def __init__(self, lbd: Lbd):
        self.lbd, self.stopped, self.lock = lbd, threading.Event(), threading.Lock()
        self.found: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                with self.lbd.connect() as client:
                    while not self.stopped.is_set():
                        response = client.ask(get("/"))
                        self._note(response.body.decode() if response.status == 200 else response.reason)
                        if response.one("connection") == "close":
                            break
            except (OSError, AssertionError) as error:
                self._note(repr(error))

    def _note(self, what: str) -> None:
        with self.lock:
            self.found[what] += 1

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive(), "a client hangs"

    def goes_on(self, count: int = ENOUGH) -> None:
        """Until so many more requests are done."""
        wanted = self.found.total() + count
        eventually(lambda: self.found.total() >= wanted, f"{count} more requests", timeout=4 * TIMEOUT)

    def nobody_noticed(self) -> None:
        assert set(self.found) <= {"bad", "two", "three"}, self.found


@contextmanager
def loaded(bad: Any, config: str = CONFIG) -> Iterator[tuple[Lbd, Load]]:
    with bad, Named("two") as two, Named("three") as three:
        with Lbd(config, bad=bad, two=two, three=three) as lbd, Load(lbd) as load:
            yield lbd, load
        load.nobody_noticed()


FAULTS: dict[str, Callable[[], Any]] = {
    "refuses": Refusing,
    "swallows": Blackhole,
    "resets_at_accept": lambda: Origin([reset]),
    "closes_at_accept": lambda: Origin([close]),
    "resets": lambda: Origin([recv_request, reset]),
    "closes": lambda: Origin([recv_request, close]),
}
UNCHECKED = CONFIG.replace("    health_check: ", "    # ")


@pytest.mark.parametrize("fault", FAULTS)
def test_endpoint_that_cannot_be_used(fault: str) -> None:
    """Passive checks, which are on by default, find it out by the attempts that failed there."""
    with loaded(FAULTS[fault](), UNCHECKED) as (lbd, load):
        eventually(lambda: sample(lbd, "lbd_endpoint_up", endpoint="bad") == 0, "it is known")
        load.goes_on()
        assert load.found["bad"] == 0 < load.found["two"]
        assert lbd.metric("lbd_retries_total") >= 5, "it was met"


@pytest.mark.parametrize("fault", ["refuses", "swallows", "closes"])
def test_endpoint_that_checks_find_out(fault: str) -> None:
    with loaded(FAULTS[fault](), CONFIG + "    passive_check: off\n") as (lbd, load):
        await_line(lbd, "endpoint app/bad: down")
        retries = lbd.metric("lbd_retries_total")
        load.goes_on()
        assert load.found["bad"] == 0 < load.found["two"]
        assert lbd.metric("lbd_retries_total") <= retries + CLIENTS, "nothing more goes there"


def test_endpoint_that_is_killed_and_comes_back() -> None:
    bad = Mortal("bad")
    with loaded(bad, CONFIG + "    passive_check: {eject: 200ms}\n") as (lbd, load):
        load.goes_on()
        bad.die()
        await_line(lbd, "endpoint app/bad: down")
        load.goes_on()
        bad.live()
        await_line(lbd, "endpoint app/bad: up")
        served = load.found["bad"]
        eventually(lambda: load.found["bad"] > served, "it serves again")


def test_endpoint_that_comes_and_goes() -> None:
    bad = Mortal("bad")
    with loaded(bad, CONFIG + "    passive_check: off\n") as (lbd, load):
        for _ in range(4):
            load.goes_on()
            bad.die()
            load.goes_on()
            bad.live()
        load.goes_on()
        assert lbd.metric("lbd_retries_total") > 0, "it was met"


def test_endpoint_that_is_slow() -> None:
    bad = Named("bad")
    usual = bad.answer
    bad.answer = lambda seen: time.sleep(0.1) or usual(seen)  # type: ignore[func-returns-value]
    with loaded(bad) as (_, load):
        load.goes_on()
        eventually(lambda: load.found["bad"], "it serves, too")


def test_all_endpoints_down_and_up_again() -> None:
    with ExitStack() as stack:
        made = {name: stack.enter_context(Mortal(name)) for name in ("bad", "two", "three")}
        lbd = stack.enter_context(Lbd(CONFIG, **made))
        with lbd.connect() as client:
            assert client.ask(get("/")).status == 200
            for one in made.values():
                one.die()
            reasons = set()

            def refused() -> bool:
                response = client.ask(get("/"))
                reasons.add((response.status, response.reason))
                return reasons >= {(503, "no_endpoint")}

            eventually(refused, "a clear answer")
            assert reasons <= {(503, "no_endpoint"), (502, "connect_failed"), (502, "upstream_reset")}
            for one in made.values():
                one.live()
            eventually(lambda: client.ask(get("/")).status == 200, "it ends by itself")
            assert {client.ask(get("/")).status for _ in range(30)} == {200}
