"""Several workers act as one balancer: what one finds out the others know, and one that dies is replaced."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from admin.asking import change, endpoint, look
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.messages import get
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually
from health.watching import Named, await_line, said, sample
from reload.changing import body
from workers.several import Several

PLAIN = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
clusters:
  - {name: app, endpoints: [{address: <one>, name: one}]}
"""
PAIR = PLAIN.replace("name: one}]", "name: one}, {address: <two>, name: two}]")
FIXED = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {body: "<text>"}}]}]'
MANY = 40  # connections; that the kernel gives all of them to one of two workers is as good as impossible


def ask_many(lbd: Several, count: int = MANY) -> list[bytes]:
    """Each over a connection of its own."""
    found = []
    for _ in range(count):
        with lbd.connect() as client:
            found.append(bytes(client.ask(get("/")).body))
    return found


def test_all_of_them_serve_and_are_counted_together() -> None:
    with Named("one") as one, Several(PLAIN, one=one) as lbd:
        assert ask_many(lbd) == [b"one"] * MANY
        # the process that tells is not the one that counts
        eventually(lambda: sample(lbd, "lbd_requests_total", route="web[0]", code="200") == MANY, "all count")
        assert sample(lbd, "lbd_connections_total", listener="web") == MANY
        assert len(one.connections) == 2, "each has its own pooled connection"
        assert look(lbd, "/api/info")["workers"] == 2


def test_auto() -> None:
    config = PLAIN.replace("listeners:", "pin_workers: true\nlisteners:", 1)

    class Auto(Several):
        count = "auto"  # type: ignore[assignment]

    with Named("one") as one, Auto(config, one=one) as lbd:
        cores = sorted(os.sched_getaffinity(0))
        found = lbd.pids()
        if len(cores) > 1:  # with one core there is one process
            assert sorted(min(os.sched_getaffinity(pid)) for pid in found) == cores
        assert ask_many(lbd, 4) == [b"one"] * 4


def test_health_is_known_to_all() -> None:
    check = "], health_check: {path: /health, interval: 20ms, healthy: 1, unhealthy: 1}"
    config = PAIR.replace("name: two}]", "name: two}" + check)
    with Named("one") as one, Named("two") as two, Several(config, one=one, two=two) as lbd:
        eventually(lambda: sample(lbd, "lbd_endpoint_healthy", endpoint="two") == 1, "it is checked")
        before = len(one.connections)
        eventually(lambda: set(ask_many(lbd, 10)) == {b"one", b"two"}, "both serve")
        two.health = 500
        await_line(lbd, "endpoint app/two: down")
        eventually(lambda: set(ask_many(lbd)) == {b"one"}, "nobody goes there")
        assert len(said(lbd, "endpoint app/two: down")) == 1, "checked once, whatever the number of workers"
        assert len(one.connections) - before <= 6
        two.health = 200
        await_line(lbd, "endpoint app/two: up")
        eventually(lambda: set(ask_many(lbd)) == {b"one", b"two"}, "all go there")


def test_ejection_by_one_holds_for_all() -> None:
    config = PAIR.replace("name: two}]", "name: two}], passive_check: {consecutive: 3, eject: 1h}")
    with Named("one") as one, Named("two", status=503) as two, Several(config, one=one, two=two) as lbd:
        with lbd.connect() as client:  # one connection: one worker
            for _ in range(8):
                client.ask(get("/"))
        await_line(lbd, "endpoint app/two: held back")
        before = two.served
        assert set(ask_many(lbd)) == {b"one"}
        assert two.served == before


def test_breaker_is_one_for_all() -> None:
    breaker = "breaker: {consecutive: 3, open: 1h}, passive_check: off"
    config = PLAIN.replace("name: one}]", f"name: one}}], {breaker}")
    with Named("one", status=503) as one, Several(config, one=one) as lbd:
        with lbd.connect() as client:
            for _ in range(3):
                assert client.ask(get("/")).status == 503
        served = one.served
        for _ in range(MANY):
            with lbd.connect() as client:
                assert client.ask(get("/")).reason == "breaker_open"
        assert one.served == served
        assert len(said(lbd, "cluster app: breaker open")) == 1


def test_limits_hold_for_all_together() -> None:
    gate = threading.Event()

    def waits(seen: Seen) -> Answer:
        gate.wait(4 * TIMEOUT)
        return Answer()

    config = PLAIN.replace("name: one}]", "name: one}], max_requests: 5")
    with HttpOrigin(waits) as one, Several(config, one=one) as lbd:
        clients = [lbd.connect() for _ in range(MANY)]
        try:
            for client in clients:
                client.send(get("/"))
            eventually(lambda: sum(c.has_input() for c in clients) >= MANY - 6, "some are under way")
            refused = [client.read_response() for client in clients if client.has_input()]
            assert {response.reason for response in refused} == {"overflow"}
            # two workers that count at the same moment may let one more pass
            eventually(lambda: len(one.requests) in (5, 6), "the others have reached the endpoint")
            eventually(lambda: len(one.requests) == MANY - len(refused) - sum(c.has_input() for c in clients))
        finally:
            gate.set()
            for client in clients:
                client.close()


def test_admin_changes_hold_for_all() -> None:
    with Named("one") as one, Named("two") as two, Several(PAIR, one=one, two=two) as lbd:
        change(lbd, "app", "two", state="draining")
        eventually(lambda: set(ask_many(lbd)) == {b"one"}, "nothing new goes there")
        await_line(lbd, "endpoint app/two: draining and empty")
        assert endpoint(lbd, "app", "two")["empty"] is True
        change(lbd, "app", "two", state="ready")
        change(lbd, "app", "one", weight=0)
        eventually(lambda: set(ask_many(lbd)) == {b"two"}, "nothing goes to weight 0")


def test_endpoints_found_by_a_file() -> None:
    config = PLAIN.replace("endpoints: [{address: <one>, name: one}]", "discover: {file: ends.yaml}")
    with Named("one") as one, Named("two") as two, Several(config) as lbd:
        path = lbd.directory / "ends.yaml"
        path.write_text(f"endpoints: [{{address: {one}, name: one}}]\n")
        eventually(lambda: set(ask_many(lbd, 10)) == {b"one"}, "it is found", timeout=4 * TIMEOUT)
        path.write_text(f"endpoints: [{{address: {two}, name: two}}]\n")
        eventually(lambda: set(ask_many(lbd)) == {b"two"}, "all know of the other one", timeout=4 * TIMEOUT)


def test_reload_holds_for_all() -> None:
    with Several(FIXED, text="one") as lbd:
        clients = [lbd.connect() for _ in range(10)]
        assert {body(client) for client in clients} == {b"one"}
        report = lbd.reload(FIXED, text="two")
        assert report["kept_connections"] == 10
        assert {body(client) for client in clients} == {b"two"}, "on the same connections"
        assert set(ask_many(lbd, 10)) == {b"two"}
        for client in clients:
            client.close()


def test_reload_with_new_listeners_and_clusters() -> None:
    listener = '  - {name: more, bind: "127.0.0.1:0", cluster: spare}'
    more = PAIR.replace("cluster: app}", f"cluster: app}}\n{listener}", 1)
    more += "  - {name: spare, endpoints: [{address: <two>, name: two}]}\n"
    with Named("one") as one, Named("two") as two, Several(PLAIN, one=one, two=two) as lbd:
        lbd.reload(more)
        await_line(lbd, "listener more: listening on")
        for _ in range(10):
            with lbd.connect("more") as client:
                assert body(client) == b"two"
        assert set(ask_many(lbd)) == {b"one", b"two"}
        lbd.reload(PLAIN)
        assert set(ask_many(lbd)) == {b"one"}
        with pytest.raises(ConnectionRefusedError):
            lbd.connect("more")


def test_refused_reload_changes_nothing_anywhere() -> None:
    with Several(FIXED, text="one") as lbd:
        wrong = FIXED.replace("{respond: {body: \"<text>\"}}", "{cluster: nosuch}")
        assert "unknown cluster" in lbd.refused(wrong)
        assert set(ask_many(lbd, 10)) == {b"one"}
        lbd.reload(FIXED, text="two")
        assert set(ask_many(lbd, 10)) == {b"two"}


def test_killed_worker_is_replaced() -> None:
    """Only what it had under way is lost; nobody who connects is refused."""
    with Named("one") as one, Several(PLAIN, one=one) as lbd:
        clients = [lbd.connect() for _ in range(20)]
        assert {body(client) for client in clients} == {b"one"}
        victim = lbd.both()[0]
        os.kill(victim, signal.SIGKILL)
        assert ask_many(lbd) == [b"one"] * MANY, "some waited in its queue"
        await_line(lbd, f"(pid {victim}) ended with signal 9; starting another")
        eventually(lambda: victim not in lbd.both(), "there is another one")
        left = [client for client in clients if client.is_open()]
        assert 0 < len(left) < 20
        assert {body(client) for client in left} == {b"one"}, "those of the other worker notice nothing"
        for client in clients:
            client.close()
        eventually(lambda: sample(lbd, "lbd_connections_open", listener="web") == 0, "nothing is left of it")
        assert ask_many(lbd, 10) == [b"one"] * 10
        assert lbd.metric("lbd_worker_deaths_total") == 1


def test_replaced_worker_knows_what_the_others_know() -> None:
    with Named("one") as one, Named("two") as two, Several(PAIR, one=one, two=two) as lbd:
        change(lbd, "app", "two", state="disabled")
        lbd.reload(PAIR.replace("cluster: app}", "cluster: app, timeouts: {idle: 9s}}", 1))
        for victim in lbd.both():
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: victim not in lbd.both(), "there is another one")
        assert set(ask_many(lbd)) == {b"one"}


def starting_another(lbd: Several) -> None:
    """A worker that was killed is being replaced."""
    victim = lbd.both()[0]
    os.kill(victim, signal.SIGKILL)
    await_line(lbd, f"(pid {victim}) ended with signal 9; starting another")
    eventually(lambda: len(lbd.pids()) == 2 and victim not in lbd.pids(), "it is started")


def test_reload_while_a_worker_starts() -> None:
    with Named("one") as one, Several(PLAIN, one=one) as lbd:
        starting_another(lbd)
        lbd.reload(PLAIN.replace("cluster: app}", "cluster: app, timeouts: {idle: 9s}}", 1))
        assert ask_many(lbd, 10) == [b"one"] * 10
        assert not [line for line in lbd.lines if " ERROR " in line and "ended with signal 9" not in line]


def test_stop_while_a_worker_starts() -> None:
    with Named("one") as one, Several(PLAIN, one=one) as lbd:
        starting_another(lbd)
        assert lbd.stop() == 0
        said = [line for line in lbd.lines if " ERROR " in line or " WARNING " in line]
        assert len(said) == 1 and "ended with signal 9" in said[0]


def test_stop_lets_all_finish() -> None:
    gate = threading.Event()

    def waits(seen: Seen) -> Answer:
        gate.wait(4 * TIMEOUT)
        return Answer()

    with HttpOrigin(waits) as one, Several(f"drain_timeout: 30s\n{PLAIN}", one=one) as lbd:
        clients = [lbd.connect() for _ in range(8)]
        for client in clients:
            client.send(get("/"))
        eventually(lambda: len(one.requests) == 8, "they are under way")
        lbd.signal(signal.SIGTERM)
        await_line(lbd, "draining")
        gate.set()
        assert [client.read_response().status for client in clients] == [200] * 8
        assert lbd.wait() == 0
        for client in clients:
            client.close()


def test_second_signal_stops_at_once() -> None:
    with HttpOrigin(lambda seen: Answer(), ) as one, Several(f"drain_timeout: 1h\n{PLAIN}", one=one) as lbd:
        one.answer = lambda seen: (threading.Event().wait(TIMEOUT) and Answer()) or Answer()
        workers = lbd.both()
        with lbd.connect() as client:
            client.send(get("/"))
            eventually(lambda: one.requests, "it is under way")
            lbd.signal(signal.SIGTERM)
            await_line(lbd, "draining")
            lbd.signal(signal.SIGTERM)
            assert lbd.wait() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_end_when_the_supervisor_is_killed() -> None:
    with Named("one") as one, Several(PLAIN, one=one) as lbd:
        workers = lbd.both()
        lbd.process.kill()
        lbd.exit_code = lbd.process.wait(TIMEOUT)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "they have ended")
        lbd.stop = lambda: lbd.exit_code  # type: ignore[method-assign]


def test_endpoint_that_refuses_is_asked_for_again() -> None:
    with Refusing() as gone, Several(PLAIN, one=gone) as lbd:
        for _ in range(4):
            with lbd.connect() as client:
                assert client.ask(get("/")).status == 502
