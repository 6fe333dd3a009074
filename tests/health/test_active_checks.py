"""Active checks over time: what is sent, how results change the state, and what follows from it.

Results are made to come in a known order: an endpoint looks at lbd's metrics while it is being asked, and
sees the state that all results before have led to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from harness.http_origin import Answer, EchoOrigin, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get, ok
from harness.origin import Connection, Origin, Refusing, recv_head, send
from harness.waiting import eventually
from health.watching import Named, answers, await_line, is_healthy, said, sample

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    endpoints: [{address: <origin>, name: one}]
    health_check: {path: /health, interval: 20ms, timeout: 5s<more>}
"""


def config(more: str = "") -> str:
    return CONFIG.replace("<more>", f", {more}" if more else "")


class Observed(HttpOrigin):
    """Answers checks with these statuses one after another, the last one again and again. states[n] is the
    endpoint's state after n results, as /metrics has it; None: no sample."""

    def __init__(self, *statuses: int):
        super().__init__(self._say)
        self.statuses = statuses
        self.states: list[float | None] = []
        self.lbd: Lbd | None = None
        self.may_answer = threading.Event()

    def _say(self, seen: Seen) -> Answer:
        if seen.target != "/health":
            return Answer(body=b"served")
        self.may_answer.wait(20)
        turn = len(self.states)
        if self.lbd is not None and turn <= len(self.statuses):
            self.states.append(is_healthy(self.lbd, "app"))
        return Answer(self.statuses[min(turn, len(self.statuses) - 1)])

    def watch(self, lbd: Lbd) -> list[float | None]:
        """The states, once all the statuses have been given."""
        self.lbd = lbd
        self.may_answer.set()
        eventually(lambda: len(self.states) > len(self.statuses), "all results")
        self.lbd = None
        return self.states


@contextmanager
def staged(origin: Origin, more: str = "", text: str = CONFIG) -> Iterator[Lbd]:
    with origin, Lbd(text.replace("<more>", f", {more}" if more else ""), origin=origin) as lbd:
        yield lbd


# the state


def test_three_bad_results_in_a_row_take_it_out_and_two_good_ones_bring_it_back() -> None:
    origin = Observed(200, 500, 500, 200, 500, 500, 500, 200, 500, 200, 200)
    with staged(origin) as lbd:
        assert origin.watch(lbd) == [None, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1]
        assert "down: status 500" in said(lbd, "endpoint app/one")[0]
        assert said(lbd, "endpoint app/one")[1].endswith(" INFO endpoint app/one: up")
        assert len(said(lbd, "endpoint app/one")) == 2, "only changes are said"


def test_thresholds_are_settings() -> None:
    origin = Observed(200, 500, 200, 200, 200)
    with staged(origin, "unhealthy: 1, healthy: 3") as lbd:
        assert origin.watch(lbd) == [None, 1, 0, 0, 0, 1]


def test_first_result_decides_at_once() -> None:
    origin = Observed(500, 200, 200)
    with staged(origin, "unhealthy: 10") as lbd:
        assert origin.watch(lbd) == [None, 0, 0, 1]


def test_endpoint_serves_before_its_first_result() -> None:
    origin = Observed(200)
    with staged(origin) as lbd:
        assert lbd.ask(get("/")).body == b"served"
        assert sample(lbd, "lbd_endpoint_up", cluster="app") == 1
        origin.may_answer.set()


@pytest.mark.parametrize(("status", "word"), [(200, "INFO endpoint app/one: up"), (500, "WARNING endpoint")])
def test_endpoint_that_is_initially_down(status: int, word: str) -> None:
    origin = Observed(status)
    with staged(origin, "initial: down, healthy: 10") as lbd:
        response = lbd.ask(get("/"))
        assert (response.status, response.reason) == (503, "no_endpoint")
        origin.may_answer.set()
        await_line(lbd, word)
        assert lbd.ask(get("/")).status == (200 if status == 200 else 503)


def test_no_request_reaches_an_endpoint_that_is_down() -> None:
    config = CONFIG.replace("endpoints: [", "endpoints: [{address: <other>, name: other}, ")
    with Named("one") as one, Named("other") as other:
        one.health = 500
        with Lbd(config.replace("<more>", ""), origin=one, other=other) as lbd:
            await_line(lbd, "endpoint app/one: down")
            assert answers(lbd, 10) == {"other": 10}
            assert sample(lbd, "lbd_endpoint_up", endpoint="one") == 0
            one.health = 200
            await_line(lbd, "endpoint app/one: up")
            assert answers(lbd, 10) == {"one": 5, "other": 5}


def test_all_down_is_a_clear_answer_and_ends_by_itself() -> None:
    origin = Named("one")
    origin.health = 500
    with staged(origin) as lbd:
        await_line(lbd, "endpoint app/one: down")
        response = lbd.ask(get("/"))
        assert (response.status, response.reason) == (503, "no_endpoint")
        origin.health = 200
        await_line(lbd, "endpoint app/one: up")
        assert lbd.ask(get("/")).status == 200


class Late(Named):
    """Its address refuses until it is opened."""

    def __init__(self, name: str):
        super().__init__(name)
        address = self.listener.getsockname()
        self.listener.close()
        self.listener = type(self.listener)()
        self.listener.bind(address)

    def __enter__(self) -> Late:
        return self

    def open(self) -> None:
        self.listener.listen(64)
        super().__enter__()


def test_endpoint_that_comes_later() -> None:
    origin = Late("late")
    with Lbd(config("healthy: 1"), origin=origin) as lbd:
        assert "connect failed" in await_line(lbd, "endpoint app/one: down")
        origin.open()
        try:
            await_line(lbd, "endpoint app/one: up")
            assert lbd.ask(get("/")).body == b"late"
        finally:
            origin.__exit__()


def test_checks_are_faster_while_results_differ() -> None:
    """At the usual interval it would take half a minute."""
    origin = Observed(200, *[500] * 10)
    text = CONFIG.replace("interval: 20ms", "interval: 3s")
    with staged(origin, "unhealthy: 10, fast_interval: 10ms", text) as lbd:
        origin.may_answer.set()
        origin.statuses = (500,)
        await_line(lbd, "endpoint app/one: down")


# what is sent


def test_request_of_a_check() -> None:
    more = "method: OPTIONS, host: shop.test, headers: {Authorization: Bearer 123, X-Two: b}"
    origin = EchoOrigin()
    with staged(origin, more):
        eventually(lambda: origin.complete, "a check")
        seen = origin.complete[0]
        assert (seen.method, seen.target, seen.version, seen.body) == ("OPTIONS", "/health", "1.1", b"")
        assert seen.all("host") == ["shop.test"] and seen.all("authorization") == ["Bearer 123"]
        assert seen.all("x-two") == ["b"] and seen.all("user-agent") == ["lbd-health-check"]
        assert not seen.all("x-forwarded-for") and not seen.all("content-length")
    assert origin.malformed == []


def test_user_agent_of_ones_own() -> None:
    origin = EchoOrigin()
    with staged(origin, "headers: {User-Agent: mine, Accept: text/plain}"):
        eventually(lambda: origin.complete, "a check")
        assert origin.complete[0].all("user-agent") == ["mine"]
        assert origin.complete[0].all("accept") == ["text/plain"]


@pytest.mark.parametrize("where", ["address", "cluster"])
def test_host_of_a_check(where: str) -> None:
    origin = EchoOrigin()
    text = CONFIG if where == "address" else CONFIG + "    host: app.internal\n"
    with staged(origin, text=text):
        eventually(lambda: origin.complete, "a check")
        expected = str(origin) if where == "address" else "app.internal"
        assert origin.complete[0].all("host") == [expected]


def test_connection_is_kept_between_checks() -> None:
    origin = EchoOrigin()
    with staged(origin):
        eventually(lambda: len(origin.complete) >= 5, "some checks")
        assert len(origin.connections) == 1


def test_connection_that_ended_between_checks_is_no_bad_result() -> None:
    answered: list[Connection] = []
    with staged(Origin([recv_head, send(ok()), answered.append]), "unhealthy: 1") as lbd:
        for round_ in range(1, 5):
            eventually(lambda: len(answered) == round_, "a check on another connection")  # noqa: B023
            answered[-1].close()
        assert not said(lbd, "endpoint app/one")


def test_port_of_its_own() -> None:
    """The endpoint itself refuses; what is asked is another port of its host."""
    with Refusing() as refusing, EchoOrigin() as origin:
        more = f"port: {origin.port}, unhealthy: 1"
        with Lbd(config(more), origin=refusing) as lbd:
            eventually(lambda: len(origin.complete) >= 2, "checks")
            assert origin.complete[0].all("host") == [str(origin)]
            assert is_healthy(lbd, "app") == 1
            assert lbd.ask(get("/")).reason == "connect_failed"


def test_port_of_its_own_for_connections() -> None:
    with Refusing() as refusing, Origin([]) as origin:
        text = CONFIG.replace("path: /health", "type: tcp")
        with Lbd(text.replace("<more>", f", port: {origin.port}"), origin=refusing) as lbd:
            eventually(lambda: len(origin.connections) >= 2, "checks")
            eventually(lambda: is_healthy(lbd, "app") == 1, "a result")
            assert all(item.received == b"" for item in origin.connections)


@pytest.mark.parametrize("kind", ["http", "tcp"])
@pytest.mark.parametrize(
    ("version", "header"),
    [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20")],
    ids=["v1", "v2"],
)
def test_proxy_protocol_header(kind: str, version: str, header: bytes) -> None:
    """It says that no client is behind the connection: UNKNOWN in version 1, LOCAL in version 2."""
    text = CONFIG.replace("path: /health", f"type: {kind}") + f"    proxy_protocol: {version}\n"

    def read_header(connection: object) -> None:
        while len(connection.received) < len(header) and connection.recv():  # type: ignore[attr-defined]
            pass
        if version == "v2":
            connection.head_end = 16  # type: ignore[attr-defined]

    origin = Origin([read_header, recv_head, send(ok())] if kind == "http" else [read_header])
    with staged(origin, text=text) as lbd:
        eventually(lambda: is_healthy(lbd, "app") is not None, "a result")
        assert is_healthy(lbd, "app") == 1
        eventually(lambda: len(origin.connections[0].received) >= len(header), "the header")
        assert bytes(origin.connections[0].received).startswith(header)


# what is left alone


def test_endpoint_without_checks() -> None:
    unchecked = "{address: <other>, name: other, health_check: false}"
    config = CONFIG.replace("endpoints: [", f"endpoints: [{unchecked}, ")
    with Named("one") as one, Named("other") as other:
        one.health = other.health = 500
        with Lbd(config.replace("<more>", ""), origin=one, other=other) as lbd:
            await_line(lbd, "endpoint app/one: down")
            assert answers(lbd, 4) == {"other": 4}
            assert sample(lbd, "lbd_endpoint_healthy", endpoint="other") is None
            assert "/health" not in other.targets()


def test_checks_are_not_in_the_figures_of_requests() -> None:
    origin = Named("one")
    with staged(origin, "unhealthy: 1, healthy: 1") as lbd:
        assert lbd.ask(get("/")).status == 200
        eventually(lambda: len(origin.complete) >= 4, "some checks")
        origin.health = 500
        await_line(lbd, "endpoint app/one: down")
        origin.health = 200
        await_line(lbd, "endpoint app/one: up")
        assert lbd.ask(get("/")).status == 200, "failed checks are no failed requests"
        text = lbd.admin("/metrics").body.decode()
        assert lbd.metric("lbd_requests_total") == 2
        assert lbd.metric("lbd_upstream_requests_total", cluster="app") == 2
        assert lbd.metric("lbd_upstream_connects_total", cluster="app") == 1, "its pool is another one"
        assert lbd.metric("lbd_upstream_failures_total") == lbd.metric("lbd_ejections_total") == 0
        assert lbd.metric("lbd_errors_total") == lbd.metric("lbd_retries_total") == 0
        assert 'listener="checks"' not in text
        assert lbd.metric("lbd_health_checks_total", endpoint="one", result="ok") >= 3
        assert lbd.metric("lbd_health_checks_total", endpoint="one", result="failed") >= 1


@pytest.mark.parametrize("check", ["path: /health", "type: tcp"])
def test_round_trip_is_measured(check: str) -> None:
    origin = Named("one")
    with staged(origin, text=CONFIG.replace("path: /health", check)) as lbd:
        rtt: Callable[[], float | None] = lambda: sample(lbd, "lbd_endpoint_rtt_seconds", endpoint="one")  # noqa: E731
        eventually(rtt, "a round trip")
        assert 0 < (rtt() or 0) < 5


def test_checks_end_with_the_process() -> None:
    """One is under way when lbd is told to stop: the harness wants exit code 0 and no complaint."""
    with Observed(200) as origin:
        with Lbd(config(), origin=origin):
            eventually(lambda: origin.requests, "a check under way")
        origin.may_answer.set()
