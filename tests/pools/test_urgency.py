"""Who waits for a connection, who is served first, who has to go, and what those are told who are refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from harness.client import Client
from harness.lbd import Lbd
from harness.messages import get, ok
from harness.origin import Connection, Origin, Refusing, notify, recv_head, send, wait_for
from harness.waiting import eventually
from http2.wire import H2Client

from lbd.config.loader import ConfigErrors, load_text

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {match: {path: "/high/*"}, cluster: app, urgency: high}
      - {match: {path: "/low/*"}, cluster: app, urgency: low}
      - {cluster: app}
  - {name: raw, bind: "127.0.0.1:0", protocol: tcp, cluster: app}
clusters:
  - {name: app, endpoints: [<origin>], connections: {max: 1, pending: <pending>}, timeouts: {queue: <queue>}}
"""


class Stage:
    """One connection, which is busy until `release` is set."""

    def __init__(self, lbd: Lbd, origin: Origin, stack: ExitStack, release: threading.Event) -> None:
        self.lbd, self.origin, self.stack, self.release = lbd, origin, stack, release

    def queue(self, target: str, depth: int) -> Client:
        """A request that waits; `depth` wait then."""
        client = self.stack.enter_context(self.lbd.connect())
        client.send(get(target))
        self.wait_for_depth(depth)
        return client

    def wait_for_depth(self, depth: int) -> None:
        eventually(lambda: self.lbd.metric("lbd_queue_depth") == depth, f"{depth} wait")

    def targets(self) -> list[str]:
        return [line.split()[1].decode() for line in self.origin.received.split(b"\r\n")
                if line.startswith(b"GET")]


@contextmanager
def busy(pending: int = 10, queue: str = "20s") -> Iterator[Stage]:
    taken, release = threading.Event(), threading.Event()

    def serve(connection: Connection) -> None:
        while len(connection.received) > connection.head_end or connection.recv():
            connection.head_end = len(connection.received)
            connection.send(ok())

    script = [recv_head, notify(taken), wait_for(release), send(ok()), serve]
    with (Origin(script) as origin, ExitStack() as stack,
          Lbd(CONFIG, origin=origin, pending=pending, queue=queue) as lbd):
        try:
            stack.enter_context(lbd.connect()).send(get("/first"))
            assert taken.wait(10)
            yield Stage(lbd, origin, stack, release)
        finally:
            release.set()


def test_urgent_ones_are_served_first_and_the_rest_in_order() -> None:
    with busy() as stage:
        order = ["/low/1", "/1", "/high/1", "/low/2", "/2", "/high/2"]
        clients = [stage.queue(target, i + 1) for i, target in enumerate(order)]
        stage.release.set()
        assert [client.read_response("GET").status for client in clients] == [200] * 6
        assert stage.targets() == ["/first", "/high/1", "/high/2", "/1", "/2", "/low/1", "/low/2"]


def test_less_urgent_ones_make_place_when_the_queue_is_full() -> None:
    with busy(pending=2) as stage:
        low = [stage.queue("/low/1", 1), stage.queue("/low/2", 2)]
        high = stage.stack.enter_context(stage.lbd.connect())
        high.send(get("/high/1"))
        pushed = low[1].read_response("GET")
        assert (pushed.status, pushed.reason, pushed.one("retry-after")) == (503, "overflow", "1")
        normal = stage.stack.enter_context(stage.lbd.connect())
        normal.send(get("/1"))
        assert low[0].read_response("GET").reason == "overflow"
        stage.wait_for_depth(2)
        for target in ("/low/3", "/2"):  # nobody is less urgent than they are
            assert stage.lbd.ask(get(target)).reason == "overflow"
        stage.release.set()
        assert [client.read_response("GET").status for client in (high, normal)] == [200, 200]
        assert stage.targets() == ["/first", "/high/1", "/1"]
        assert low[0].is_open() and low[0].ask(get("/low/again")).status == 200


def test_pushed_out_client_with_another_request_behind() -> None:
    """Its next request begins while the one that pushed it out is being dealt with."""
    with busy(pending=1) as stage:
        low = stage.stack.enter_context(stage.lbd.connect())
        low.send(get("/low/1") + get("/low/2") + get("/low/3"))
        stage.wait_for_depth(1)
        high = stage.stack.enter_context(stage.lbd.connect())
        high.send(get("/high/1"))
        assert [low.read_response("GET").reason for _ in range(3)] == ["overflow"] * 3
        stage.release.set()
        assert high.read_response("GET").status == 200
        assert stage.targets() == ["/first", "/high/1"]


def test_pushed_out_client_that_leaves() -> None:
    with busy(pending=1) as stage:
        low = stage.queue("/low/1", 1)
        low.reset()
        stage.wait_for_depth(0)
        high = stage.queue("/high/1", 1)
        stage.release.set()
        assert high.read_response("GET").status == 200


def test_tcp_clients_wait_as_normal_ones() -> None:
    with busy(pending=1) as stage:
        low = stage.queue("/low/1", 1)
        stage.stack.enter_context(stage.lbd.connect("raw"))
        assert low.read_response("GET").reason == "overflow"
        stage.wait_for_depth(1)
        high = stage.stack.enter_context(stage.lbd.connect())
        with suppress(ConnectionResetError):  # one of its kind is not pushed out by another
            stage.stack.enter_context(stage.lbd.connect("raw"))
        eventually(lambda: stage.lbd.metric("lbd_errors_total", listener="raw", reason="overflow") == 1)
        high.send(get("/high/1"))
        stage.wait_for_depth(1)
        stage.release.set()
        assert high.read_response("GET").status == 200


def test_http2_clients_are_told_as_well() -> None:
    with busy(pending=1) as stage, H2Client(stage.lbd.address()) as client:
        client.start()
        client.get(1, "/low/1")
        stage.wait_for_depth(1)
        stage.stack.enter_context(stage.lbd.connect()).send(get("/high/1"))
        answer = client.read_answer(1)
        assert (answer.status, answer.all("retry-after")) == (503, ["1"])


def test_queue_timeout_says_when_to_come_back() -> None:
    with busy(queue="200ms") as stage:
        response = stage.lbd.ask(get("/"))
        assert (response.status, response.reason, response.one("retry-after")) == (503, "queue_timeout", "1")


def test_other_errors_do_not() -> None:
    with Refusing() as nobody, Lbd(CONFIG, origin=nobody, pending=1, queue="1s") as lbd:
        response = lbd.ask(get("/"))
        assert (response.status, response.all("retry-after")) == (502, [])


@pytest.mark.parametrize("value", ["urgent", "1"])
def test_urgency_is_one_of_three(value: str) -> None:
    text = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {}, urgency: VALUE}]}]'
    with pytest.raises(ConfigErrors, match=r"routes\[0\].urgency"):
        load_text(text.replace("VALUE", value), env={})
