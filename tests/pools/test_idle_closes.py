"""Endpoints that close idle connections: their time is learned, and connections are used up to it only.

The endpoints here wait for a request no longer than they say: that is their idle timeout, no test's clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from edge.programs import nginx
from h2_endpoint import H2Origin, Request
from harness.client import Client
from harness.http_origin import Answer, EchoOrigin, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get, ok, post
from harness.origin import Connection, Origin, Step
from harness.waiting import TIMEOUT, eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, endpoints: [<origin>], protocol: <protocol>, timeouts: {idle: <idle>}, connections: {<more>}}
"""


@contextmanager
def serving(
    origin: object, idle: str = "50s", more: str = "idle: 256", protocol: str = "http1"
) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin, idle=idle, more=more, protocol=protocol) as lbd:
        yield lbd


def limit(lbd: Lbd) -> float:
    return lbd.metric("lbd_endpoint_idle_limit_seconds", endpoint=lbd_endpoint(lbd))


def lbd_endpoint(lbd: Lbd) -> str:
    found = lbd.config.partition("endpoints: [")[2].partition("]")[0]
    assert found
    return found


def idle(lbd: Lbd) -> float:
    return lbd.metric("lbd_upstream_connections", state="idle")


def keep_for(seconds: float) -> Step:
    """Answer requests, and close when none has come for that long. Bodies are not looked at."""

    def step(connection: Connection) -> None:
        connection.sock.settimeout(4 * TIMEOUT)
        while connection.recv():
            connection.send(ok())
            connection.sock.settimeout(seconds)

    return step


def announcing(value: str) -> HttpOrigin:
    return HttpOrigin(lambda seen: Answer(fields=[("keep-alive", value)], body=b"ok"))


def two_at_a_time(lbd: Lbd, origin: HttpOrigin) -> None:
    """Leaves two idle connections behind."""
    arrived = threading.Barrier(2, timeout=TIMEOUT)
    answer = origin.answer

    def held(seen: Seen) -> Answer:
        arrived.wait()
        return answer(seen)

    origin.answer = held
    with lbd.connect() as one, lbd.connect() as other:
        for client in (one, other):
            client.send(get())
        assert [client.read_response("GET").status for client in (one, other)] == [200, 200]
    origin.answer = answer
    assert len(origin.connections) == 2


def test_the_endpoints_timeout_is_learned() -> None:
    with Origin([keep_for(0.6)]) as origin, serving(origin) as lbd:
        assert limit(lbd) == 50
        assert lbd.ask(get()).status == 200
        eventually(lambda: limit(lbd) < 50, "learned")
        assert 0.1 <= limit(lbd) < 0.9 * 50
        assert lbd.ask(get()).status == 200


def test_learning_can_be_switched_off() -> None:
    with Origin([keep_for(0.6)]) as origin, serving(origin, more="learn_idle: false") as lbd:
        assert lbd.ask(get()).status == 200 and idle(lbd) == 1
        eventually(lambda: idle(lbd) == 0, "closed")
        assert limit(lbd) == 50
    with announcing("timeout=5") as origin, serving(origin, more="learn_idle: false") as lbd:
        assert lbd.ask(get()).status == 200
        assert limit(lbd) == 50


def test_announced_timeout_counts_at_once() -> None:
    with announcing("timeout=5, max=100") as origin, serving(origin) as lbd:
        response = lbd.ask(get())
        assert response.status == 200 and response.all("keep-alive") == []
        assert limit(lbd) == 4


def test_worn_connections_are_not_used_again() -> None:
    """Of two idle connections that are past the limit one is closed, the other one is the witness: neither
    serves, though both would."""
    with announcing("timeout=1") as origin, serving(origin) as lbd:
        two_at_a_time(lbd, origin)
        eventually(lambda: any(one.ended for one in origin.connections), "past the limit", 2 * TIMEOUT)
        assert lbd.ask(post("/", b"once")).status == 200
        assert origin.requests[-1].connection == 2
        assert sum(one.ended is None for one in origin.connections[:2]) == 1
        assert lbd.metric("lbd_retries_total", reason="stale_connection") == 0


def test_the_witness_gives_way_when_its_place_is_needed() -> None:
    with announcing("timeout=1") as origin, serving(origin, more="max: 2") as lbd:
        two_at_a_time(lbd, origin)
        eventually(lambda: any(one.ended for one in origin.connections), "past the limit", 2 * TIMEOUT)
        arrived = threading.Barrier(2, timeout=TIMEOUT)
        origin.answer = lambda seen: (arrived.wait(), Answer(body=b"ok"))[1]
        with lbd.connect() as one, lbd.connect() as other:
            one.send(get())
            other.send(get())
            assert [client.read_response("GET").status for client in (one, other)] == [200, 200]
        eventually(lambda: all(one.ended for one in origin.connections[:2]), "the witness has gone")
        assert len(origin.connections) == 4


def test_a_witness_refutes_what_was_wrong() -> None:
    """Announced once, and never true."""
    said = iter([[("keep-alive", "timeout=1")]])
    with HttpOrigin(lambda seen: Answer(fields=next(said, []))) as origin, serving(origin, idle="2s") as lbd:
        assert lbd.ask(get()).status == 200
        assert limit(lbd) == 0.5
        eventually(lambda: limit(lbd) == 2, "refuted", 2 * TIMEOUT)
        assert len(origin.connections) == 1


def test_a_stale_connection_teaches_as_well() -> None:
    """The close and the request meet: the request is sent again, and the limit is known."""
    with EchoOrigin() as origin, serving(origin) as lbd, lbd.connect() as client:
        assert client.ask(get()).status == 200
        eventually(lambda: idle(lbd) == 1)
        first = origin.connections[0]
        asked = threading.Event()

        def close_at(seen: Seen) -> Answer:
            if seen.connection == 0:
                asked.set()
                first.close(reset=True)
            return Answer()

        origin.answer = close_at
        time.sleep(0.4)  # its idle time: shorter ones are not believed to be a timeout
        assert client.ask(get()).status == 200
        assert asked.is_set() and lbd.metric("lbd_retries_total", reason="stale_connection") == 1
        assert 0.1 < limit(lbd) < 50


@pytest.mark.parametrize("how", ["goaway", "close"])
def test_http2_endpoints_are_learned_too(how: str) -> None:
    def answer(request: Request) -> None:
        timer = threading.Timer(0.6, request.session.goodbye if how == "goaway" else origin.hang_up)
        timer.start()
        timers.append(timer)
        request.answer(b"ok")

    timers: list[threading.Timer] = []
    with H2Origin(answer) as origin, serving(origin, protocol="http2") as lbd:
        assert lbd.ask(get()).status == 200
        eventually(lambda: limit(lbd) < 50, "learned")
        assert limit(lbd) >= 0.1 and idle(lbd) == 0
        assert lbd.ask(get()).status == 200 and len(origin.sessions) == 2
        for timer in timers:
            timer.join()


def test_worn_http2_connections_are_not_used_again() -> None:
    """The first one teaches, the second one becomes the witness, or is closed."""
    def answer(request: Request) -> None:
        if request.session.index == 0:
            timer.start()
        request.answer(b"ok")

    with H2Origin(answer) as origin:
        timer = threading.Timer(0.6, origin.hang_up)
        with serving(origin, protocol="http2", idle="2s", more="max: 1") as lbd:
            assert lbd.ask(get()).status == 200
            eventually(lambda: limit(lbd) < 2, "learned")
            assert lbd.ask(get()).status == 200 and len(origin.sessions) == 2
            eventually(lambda: limit(lbd) == 2, "the second one has outlived it", 2 * TIMEOUT)
            eventually(lambda: origin.sessions[1].goaway == 0, "closed after timeouts.idle")
            assert lbd.ask(get()).status == 200 and len(origin.sessions) == 3
        timer.join()


def test_nginx_that_keeps_connections_for_a_second(program: Callable[[str], str], tmp_path: Path) -> None:
    """Slow traffic with pauses as long as nginx's patience: nothing fails, hardly a request meets a close."""
    servers = "keepalive_timeout 1s; server { listen 127.0.0.1:PORT; location / { return 200 ok; } }"
    failures: list[str] = []

    def ask(client: Client, number: int) -> None:
        for turn in range(8):
            request = post("/", b"once") if (turn + number) % 2 else get("/")
            response = client.ask(request)
            if (response.status, response.body) != (200, b"ok"):
                failures.append(f"{number}.{turn}: {response}")
            time.sleep(0.9 + 0.03 * ((turn * 3 + number) % 7))  # 0.9 to 1.08 s: the traffic

    with nginx(program, tmp_path, servers) as address, serving(address) as lbd, ExitStack() as stack:
        clients = [stack.enter_context(lbd.connect()) for _ in range(6)]
        threads = [threading.Thread(target=ask, args=(client, i)) for i, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert limit(lbd) <= 1, "learned"
        assert lbd.metric("lbd_retries_total", reason="stale_connection") <= 3
