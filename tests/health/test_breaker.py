"""Circuit breakers end to end: when they open, what serves meanwhile, and how they close again.

One lbd for nearly all tests: each has a cluster of its own, reached by the path /CLUSTER."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_peers import GrpcServer, call, channel, echo, failure, unary
from harness.http_origin import Answer, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Origin, Refusing, recv_head, reset, stall
from harness.waiting import TIMEOUT, eventually
from health.watching import Named, await_line, said, sample

START = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:"""
LONG, SHORT = "1h", "400ms"
BREAKER = {  # cluster -> settings of its breaker, of itself
    "count": (f"consecutive: 3, open: {LONG}", ""),
    "rate": (f"consecutive: none, success_rate: 50%, volume: 10, open: {LONG}, window: 1h", ""),
    "rate_of_many": (f"consecutive: none, success_rate: 50%, volume: 10, open: {LONG}, window: 1h", ""),
    "harmless": (f"consecutive: 1, open: {LONG}", ""),
    "listed": (f"consecutive: 1, open: {LONG}", "failure_statuses: [429]"),
    "refusing": (f"consecutive: 2, open: {LONG}", "retry: {limit: 0}"),
    "resetting": (f"consecutive: 2, open: {LONG}", "retry: {limit: 0}"),
    "late": (f"consecutive: 2, open: {LONG}", "timeouts: {response: 50ms}"),
    "left": (f"consecutive: 1, open: {LONG}", ""),
    "closes": (f"consecutive: 1, open: {SHORT}, probes: 3, needed: 2", ""),
    "opens_again": (f"consecutive: 1, open: {SHORT}, probes: 3, needed: 2", ""),
    "crowded": (f"consecutive: 1, open: {SHORT}, probes: 2, needed: 2", ""),
    "given_up": (f"consecutive: 1, open: {SHORT}, probes: 1, needed: 1", ""),
    "each": (f"scope: endpoint, consecutive: 2, open: {SHORT}, probes: 1, needed: 1", "passive_check: off"),
    "each_all": (f"scope: endpoint, consecutive: 1, open: {LONG}", "passive_check: off"),
    "each_one": (f"scope: endpoint, consecutive: 1, open: {SHORT}, probes: 2, needed: 2",
                 "passive_check: off"),
    "stood_in": (f"consecutive: 1, open: {LONG}", "fallback: {cluster: copy}"),
    "copy": (f"consecutive: 1, open: {LONG}", "fallback: {cluster: last}"),
    "last": (f"consecutive: 1, open: {LONG}",
             "fallback: {respond: {status: 418, headers: {retry-after: '60'}, body: a break}}"),
    "in_region": (f"consecutive: 1, open: {LONG}", "fallback: {cluster: elsewhere}"),
    "elsewhere": (f"consecutive: 1, open: {LONG}", ""),
    "no_region": (f"consecutive: 1, open: {LONG}", "fallback: {cluster: far}"),
    "far": (f"consecutive: 1, open: {LONG}", ""),
    "empty": (f"consecutive: 1, open: {LONG}",
              "fallback: {cluster: elsewhere}\n    health_check: {type: tcp, initial: down}"),
}
ENDPOINTS = {  # where they differ from one Named endpoint of the cluster's name
    "refusing": "[<refusing>]",
    "resetting": "[<resetting>]",
    "late": "[<late>]",
    "each": "[{address: <each>, name: each}, {address: <other>, name: other}]",
    "elsewhere": "[{address: <elsewhere>, labels: {region: eu}}, {address: <other>, labels: {region: us}}]",
    "in_region": "[{address: <in_region>, labels: {region: eu}}]",
    "no_region": "[{address: <no_region>, labels: {region: eu}}]",
    "far": "[{address: <far>, labels: {region: us}}]",
    "empty": "[<refusing>]",
}
LABELS = {"in_region": "eu", "no_region": "eu"}
SPECIAL = {
    "refusing": Refusing,
    "resetting": lambda: Origin([recv_head, reset]),
    "late": lambda: Origin([recv_head, stall]),
}


def written() -> str:
    lines = [START]
    for name in BREAKER:
        labels = f", endpoint_labels: {{region: {LABELS[name]}}}" if name in LABELS else ""
        lines.append(f"      - {{match: {{path: /{name}}}, cluster: {name}{labels}}}")
    lines.append("clusters:")
    for name, (breaker, more) in BREAKER.items():
        endpoints = ENDPOINTS.get(name, f"[{{address: <{name}>, name: one}}]")
        lines.append(f"  - name: {name}\n    endpoints: {endpoints}\n    breaker: {{{breaker}}}\n    {more}")
    return "\n".join(lines)


@dataclass
class Site:
    lbd: Lbd
    origins: dict[str, Named] = field(default_factory=dict)

    def asks(self, name: str, count: int = 1) -> list[int | str]:
        """Status of each answer by an endpoint, reason of each by lbd."""
        with self.lbd.connect() as client:
            responses = [client.ask(get(f"/{name}")) for _ in range(count)]
        return [one.reason if b"(request" in one.body else one.status for one in responses]

    def ask(self, name: str) -> int | str:
        return self.asks(name)[0]

    def answered_by(self, name: str) -> str:
        return self.lbd.ask(get(f"/{name}")).body.decode()

    def trip(self, name: str) -> None:
        """Open the breaker of a cluster by one failure, after which its endpoint is well again."""
        self.origins[name].status = 503
        assert self.ask(name) == 503
        self.origins[name].status = 200

    def state(self, name: str, endpoint: str = "") -> float | None:
        return sample(self.lbd, "lbd_breaker_state", cluster=name, endpoint=endpoint)

    def opened(self, name: str, endpoint: str = "") -> float | None:
        return sample(self.lbd, "lbd_breaker_opened_total", cluster=name, endpoint=endpoint)

    def until_tried(self, name: str) -> int | str:
        """Ask until a request is let through; what became of it."""
        return eventually(lambda: (found := self.ask(name)) != "breaker_open" and found, "it is tried")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        origins = {name: stack.enter_context(Named(name)) for name in (*BREAKER, "other")}
        special = {name: stack.enter_context(make()) for name, make in SPECIAL.items()}
        lbd = stack.enter_context(Lbd(written(), **{**origins, **special}))
        yield Site(lbd, origins)


# opening


def test_opens_after_failures_in_a_row(site: Site) -> None:
    origin = site.origins["count"]
    for status, count in ((503, 2), (200, 1), (503, 2), (200, 1), (502, 1), (504, 1)):
        origin.status = status
        assert site.asks("count", count) == [status] * count
    assert site.state("count") == 0
    origin.status = 503
    assert site.asks("count", 3) == [503, "breaker_open", "breaker_open"]
    assert origin.served == 9, "an open breaker lets nothing through"
    assert (site.state("count"), site.opened("count")) == (1, 1)
    assert sample(site.lbd, "lbd_breaker_refused_total", cluster="count") == 2
    assert sample(site.lbd, "lbd_errors_total", reason="breaker_open") >= 2
    assert await_line(site.lbd, "cluster count: breaker open").split()[1] == "WARNING"


def test_refusal_is_a_503(site: Site) -> None:
    site.trip("harmless") if site.state("harmless") == 0 else None
    response = site.lbd.ask(get("/harmless"))
    assert (response.status, response.reason) == (503, "breaker_open")


def test_opens_by_success_rate_but_not_before_the_volume(site: Site) -> None:
    site.origins["rate"].status = 503
    assert site.asks("rate", 11) == [503] * 10 + ["breaker_open"]


def test_opens_when_fewer_succeed_than_the_rate(site: Site) -> None:
    origin = site.origins["rate_of_many"]
    assert site.asks("rate_of_many", 10) == [200] * 10
    origin.status = 503
    found = site.asks("rate_of_many", 12)
    assert found[:9] == [503] * 9 and found[11] == "breaker_open"


@pytest.mark.parametrize("status", [200, 302, 404, 429, 500, 501])
def test_answers_that_are_no_failures(site: Site, status: int) -> None:
    origin = site.origins["each_all"]
    origin.status = status
    assert site.asks("each_all", 2) == [status] * 2
    assert site.state("each_all", "one") == 0
    origin.status = 200


def test_failure_statuses_are_a_setting(site: Site) -> None:
    origin = site.origins["listed"]
    origin.status = 503
    assert site.asks("listed", 2) == [503, 503]
    origin.status = 429
    assert site.asks("listed", 2) == [429, "breaker_open"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("refusing", "connect_failed"), ("resetting", "upstream_reset"), ("late", "response_timeout")],
)
def test_requests_without_an_answer_are_failures(site: Site, name: str, reason: str) -> None:
    assert site.asks(name, 3) == [reason, reason, "breaker_open"]


def test_client_that_leaves_is_no_failure(site: Site) -> None:
    origin, leave = site.origins["left"], threading.Event()

    def answer(seen: Seen) -> Answer:
        leave.wait(TIMEOUT)
        return Answer()

    origin.answer = answer
    with site.lbd.connect() as client:
        client.send(get("/left"))
        eventually(lambda: origin.requests, "the request is under way")
    eventually(lambda: sample(site.lbd, "lbd_upstream_active", cluster="left") == 0, "it has been given up")
    leave.set()
    assert site.ask("left") == 200 and site.state("left") == 0


# half-open


def test_closes_when_two_of_three_probes_succeed(site: Site) -> None:
    site.trip("closes")
    assert site.ask("closes") == "breaker_open"
    assert site.until_tried("closes") == 200
    assert site.state("closes") == 2
    await_line(site.lbd, "cluster closes: breaker half-open")
    site.origins["closes"].status = 503
    assert site.ask("closes") == 503
    assert site.state("closes") == 2, "one failure of three is allowed"
    site.origins["closes"].status = 200
    assert site.ask("closes") == 200
    assert site.state("closes") == 0 and site.asks("closes", 5) == [200] * 5
    assert await_line(site.lbd, "cluster closes: breaker closed").split()[1] == "INFO"


def test_opens_again_when_two_of_three_probes_fail(site: Site) -> None:
    site.trip("opens_again")
    assert site.until_tried("opens_again") == 200
    site.origins["opens_again"].status = 503
    assert site.asks("opens_again", 3) == [503, 503, "breaker_open"]
    assert (site.state("opens_again"), site.opened("opens_again")) == (1, 2)
    site.origins["opens_again"].status = 200
    assert site.until_tried("opens_again") == 200
    assert site.ask("opens_again") == 200 and site.state("opens_again") == 0


def test_only_the_probes_get_through_while_it_is_half_open(site: Site) -> None:
    """A dozen clients at a time, while the endpoint thinks about the first."""
    site.trip("crowded")
    origin, may_answer = site.origins["crowded"], threading.Event()
    arrived = threading.Semaphore(0)

    def answer(seen: Seen) -> Answer:
        arrived.release()
        may_answer.wait(TIMEOUT)
        return Answer(body=b"tried")

    origin.answer = answer
    with ThreadPoolExecutor(14) as pool:
        first = pool.submit(site.until_tried, "crowded")
        assert arrived.acquire(timeout=TIMEOUT), "it is half-open"
        second = pool.submit(site.ask, "crowded")
        assert arrived.acquire(timeout=TIMEOUT), "two probes"
        others = Counter(pool.map(lambda _: site.ask("crowded"), range(12)))
        may_answer.set()
        assert others == {"breaker_open": 12}
        assert (first.result(), second.result()) == (200, 200)
    assert site.state("crowded") == 0


def test_probe_whose_client_leaves_is_made_up_for(site: Site) -> None:
    site.trip("given_up")
    origin, may_answer = site.origins["given_up"], threading.Event()
    usual, before = origin.answer, origin.served

    def answer(seen: Seen) -> Answer:
        origin.served += 1
        may_answer.wait(TIMEOUT)
        return Answer()

    origin.answer = answer

    def leaves_after_asking() -> bool:
        with site.lbd.connect() as client:
            client.send(get("/given_up"))
            client.sock.settimeout(0.05)
            with suppress(TimeoutError):
                client.recv()
            return origin.served > before

    eventually(leaves_after_asking, "a probe is under way, and its client gone")
    origin.answer = usual
    may_answer.set()
    assert site.until_tried("given_up") == 200
    assert site.state("given_up") == 0


# of each endpoint


def test_breaker_of_each_endpoint(site: Site) -> None:
    site.origins["each"].status = 503
    assert Counter(site.asks("each", 4)) == {503: 2, 200: 2}
    assert site.state("each", "each") == 1 and site.state("each", "other") == 0
    assert site.opened("each", "each") == 1
    await_line(site.lbd, "endpoint each/each: breaker open")
    served = site.origins["each"].served
    site.origins["each"].status = 200
    eventually(lambda: site.asks("each") == [200] and site.origins["each"].served > served, "it is tried")
    eventually(lambda: site.state("each", "each") == 0, "closed")
    assert {site.answered_by("each") for _ in range(2)} == {"each", "other"}


def test_all_endpoints_are_open(site: Site) -> None:
    origin = site.origins["each_all"]
    origin.status = 503
    served = origin.served
    assert site.ask("each_all") == 503
    assert site.ask("each_all") in ("breaker_open", "no_endpoint")
    assert origin.served == served + 1


def test_only_the_probes_reach_a_single_half_open_endpoint(site: Site) -> None:
    site.trip("each_one")
    origin, may_answer = site.origins["each_one"], threading.Event()
    arrived = threading.Semaphore(0)

    def answer(seen: Seen) -> Answer:
        arrived.release()
        may_answer.wait(TIMEOUT)
        return Answer()

    origin.answer = answer
    eventually(lambda: site.state("each_one", "one") == 2, "half-open")
    with ThreadPoolExecutor(14) as pool:
        made = [pool.submit(site.ask, "each_one") for _ in range(2)]
        assert arrived.acquire(timeout=TIMEOUT) and arrived.acquire(timeout=TIMEOUT)
        others = [pool.submit(site.ask, "each_one") for _ in range(6)]
        try:
            assert all(one.result(TIMEOUT) in ("breaker_open", "no_endpoint") for one in others)
        finally:
            may_answer.set()
        assert [one.result(TIMEOUT) for one in made] == [200, 200]


# what serves meanwhile


def test_fallbacks_in_a_chain(site: Site) -> None:
    """stood_in -> copy -> last -> a fixed answer, as one after the other opens."""
    assert site.answered_by("stood_in") == "stood_in"
    site.trip("stood_in")
    assert site.answered_by("stood_in") == "copy"
    site.trip("copy")
    assert site.answered_by("stood_in") == site.answered_by("copy") == "last"
    site.trip("last")
    for name in ("stood_in", "copy", "last"):
        response = site.lbd.ask(get(f"/{name}"))
        assert (response.status, response.body, response.one("retry-after")) == (418, b"a break", "60")
    assert sample(site.lbd, "lbd_fallbacks_total", cluster="stood_in") == 3
    assert site.origins["stood_in"].served == 2


def test_labels_of_a_route_hold_in_the_fallback(site: Site) -> None:
    assert site.answered_by("in_region") == "in_region"
    site.trip("in_region")
    assert {site.answered_by("in_region") for _ in range(6)} == {"elsewhere"}, "not the other region's"


def test_fallback_without_endpoints_that_have_the_labels(site: Site) -> None:
    site.trip("no_region")
    assert site.ask("no_region") == "no_endpoint"
    assert site.origins["far"].served == 0, "what must stay in a region does"


def test_fallback_of_a_cluster_without_endpoints(site: Site) -> None:
    assert site.answered_by("empty") in ("elsewhere", "other")


# other protocols


GRPC = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: calls}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: data}
  - {name: spare, bind: "127.0.0.1:0", protocol: tcp, cluster: stood_in}
clusters:
  - {name: calls, protocol: http2, endpoints: [<server>], breaker: {consecutive: 2, open: 1h}}
  - {name: data, endpoints: [<refusing>], breaker: {consecutive: 1, open: 1h}, retry: {limit: 0}}
  - name: stood_in
    endpoints: [<refusing>]
    retry: {limit: 0}
    breaker: {consecutive: 1, open: 1h}
    fallback: {cluster: copy}
  - {name: copy, endpoints: [<copy>]}
"""


def is_cut(lbd: Lbd, listener: str) -> bool:
    """A connection ends without a byte; so early, perhaps, that connecting fails."""
    try:
        with lbd.connect(listener) as client:
            return client.read_until_close() == b""
    except ConnectionResetError:
        return True


def test_grpc_calls_and_tcp_connections() -> None:
    def unavailable(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAVAILABLE, "the server's own words")

    def not_found(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "")

    server = GrpcServer({"Bad": unary(unavailable), "None": unary(not_found), "Echo": unary(echo)})
    with ExitStack() as stack:
        refusing, copy = stack.enter_context(Refusing()), stack.enter_context(Named("copy"))
        with server, Lbd(GRPC, server=server, refusing=refusing, copy=copy) as lbd:
            with channel(lbd) as calls:
                assert call(calls, b"x") == b"x"
                for _ in range(3):
                    assert failure(calls, name="None").code() == grpc.StatusCode.NOT_FOUND
                for _ in range(2):
                    assert failure(calls, name="Bad").details() == "the server's own words"
                seen = len(server.calls.seen)
                error = failure(calls, b"x")
                assert error.code() == grpc.StatusCode.UNAVAILABLE and "breaker" in (error.details() or "")
                assert len(server.calls.seen) == seen
            for _ in range(2):
                assert is_cut(lbd, "db")
            assert sample(lbd, "lbd_breaker_refused_total", cluster="data") == 1
            assert sample(lbd, "lbd_upstream_connects_total", cluster="data") == 1
            assert is_cut(lbd, "spare")
            with lbd.connect("spare") as client:
                assert client.ask(get("/")).body == b"copy"
            assert said(lbd, "cluster data: breaker open")
