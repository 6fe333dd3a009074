"""Rehearsal: the same decisions as in service, and nothing that is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness.messages import head

from lbd import registry
from lbd.config.loader import load_text
from lbd.control.clusters import behaviour
from lbd.control.listeners import build_router
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.listener import Listener
from lbd.engine.reactor import Reactor
from lbd.engine.rehearsal import Rehearsal, circuits_of
from lbd.engine.shared import Shared

REQUEST = head("GET /x/7?q=1 HTTP/1.1", "Host: a.test", "X-User: anna")
TEXT = """
listeners:
  - name: web
    bind: ':1'
    routes:
      - {{name: seven, match: {{path: '/x/:id'}}, cluster: c {route}}}
      - {{name: rest, respond: {{status: 404}}}}
clusters:
  - name: c
    endpoints: [{{address: '10.0.0.1:1', name: e0, weight: 2}}, {{address: '10.0.0.2:1', name: e1}},
                {{address: '10.0.0.3:1', name: e2, labels: {{v: '2'}}}}]
    {cluster}
  - {{name: spare, endpoints: ['10.0.1.1:1']}}
"""


@contextmanager
def world(cluster: str = "", route: str = "") -> Iterator[tuple[Listener, dict[str, Cluster]]]:
    """A listener and its clusters, on a clock of the test (Cluster.set_time)."""
    config = load_text(TEXT.format(cluster=cluster, route=route and f", {route}"))
    clusters = {}
    for setting in config.clusters:
        endpoints = [
            Endpoint(
                e.name or e.address, e.address, weight=e.weight, priority=e.priority, labels=dict(e.labels)
            )
            for e in setting.endpoints
        ]
        clusters[setting.name] = Cluster(setting.name, endpoints, **behaviour(setting, config))
        clusters[setting.name].set_time(1000.0)
    for setting in config.clusters:
        if setting.fallback is not None and setting.fallback.cluster:
            clusters[setting.name].set_fallback(clusters[setting.fallback.cluster], None)
    loop = asyncio.new_event_loop()
    shared = Shared(1, 1 << 20)
    router = build_router(config.listeners[0], clusters)
    try:
        yield Listener("web", Reactor(loop, print), shared=shared, router=router), clusters
    finally:
        loop.close()


def name_of(endpoint: Endpoint | None) -> str | None:
    return endpoint.name if endpoint is not None else None


@pytest.mark.parametrize("balancer", registry.names("balancer"))
def test_what_is_rehearsed_happens_then_and_not_before(balancer: str) -> None:
    with world(f"balancer: {balancer}") as (listener, clusters):
        cluster = clusters["c"]
        for turn in range(30):
            outcomes = [Rehearsal(listener, REQUEST) for _ in range(3)]
            named = [
                (name_of(one.picked), [endpoint.name for endpoint in one.alternatives]) for one in outcomes
            ]
            assert named[0] == named[1] == named[2]
            picked = cluster.pick_one(outcomes[0].key)
            assert name_of(picked) == named[0][0], f"turn {turn}"
            assert picked is not None
            cluster.acquire_one(picked)
            if turn % 3:
                cluster.outcome_one(picked, False, 0.01 * turn)
                cluster.release_one(picked)
        if balancer in ("round_robin", "random", "p2c"):
            assert len({cluster.pick_one() for _ in range(60)}) > 1, "turns go on"


@pytest.mark.parametrize("balancer", registry.names("balancer"))
def test_peek_moves_nothing_and_scores_neither(balancer: str) -> None:
    with world(f"balancer: {balancer}") as (_, clusters):
        made = clusters["c"].balancer
        assert made is not None
        for key in (0, 1, 7**20):
            first = made.peek(key, 3)
            scores = made.scores(key)
            assert made.scores(key) == scores and made.peek(key, 3) == first
            assert set(scores) <= set(made.endpoints)
            assert [made.pick_one(key, attempt) for attempt in range(3)] == first


@pytest.mark.parametrize("balancer", [n for n in registry.names("balancer") if n not in ("random", "p2c")])
def test_the_lowest_score_is_picked(balancer: str) -> None:
    """But p2c and peak_ewma draw two before they compare: of three the second best may be picked."""
    with world(f"balancer: {balancer}") as (_, clusters):
        cluster = clusters["c"]
        for turn, endpoint in enumerate(cluster.endpoints):  # each has served, the first is the busiest
            for _ in range(3 - turn):
                cluster.acquire_one(endpoint)
            cluster.outcome_one(endpoint, False, 0.01 * (turn + 1))
        made = cluster.balancer
        assert made is not None and made.score_means
        key = 12345 if made.needs_key else 0
        scores = made.scores(key)
        assert len(scores) == 3
        order = sorted(scores, key=scores.__getitem__)
        (picked,) = made.peek(key)
        if balancer == "time_window":  # all were used a moment ago: turns by weight
            return
        assert picked in (order[:2] if balancer == "peak_ewma" else order[:1])


def test_no_counter_and_no_token_is_touched() -> None:
    with world("retry: {limit: 3}\n    max_requests: 1") as (listener, clusters):
        cluster = clusters["c"]
        budget = cluster.budget
        assert budget is not None
        before = repr(budget)
        cluster.acquire_one(cluster.endpoints[0])  # the limit is reached
        assert Rehearsal(listener, REQUEST).reason == "overflow"
        cluster.release_one(cluster.endpoints[0])
        outcome = Rehearsal(listener, REQUEST)
        assert outcome.picked is not None and outcome.alternatives
        assert repr(budget) == before
        assert cluster.active == 0 and [endpoint.active for endpoint in cluster.endpoints] == [0, 0, 0]
        assert listener.open_connections == 0


BREAKER = "breaker: {consecutive: 2, open: 10s, probes: 1, needed: 1}\n    passive_check: 'off'"


def trip(cluster: Cluster, endpoint: int = 0, times: int = 2) -> None:
    for _ in range(times):
        cluster.outcome_one(cluster.endpoints[endpoint], True, 0.01)


def test_a_breakers_try_is_not_used_up() -> None:
    with world(BREAKER) as (listener, clusters):
        cluster = clusters["c"]
        trip(cluster)
        told: list[Any] = []
        cluster.on_change = lambda *what: told.append(what)
        assert [Rehearsal(listener, REQUEST).reason for _ in range(3)] == ["breaker_open"] * 3
        assert circuits_of(cluster, None) == {"breaker": ("open", 10.0, 0)}
        cluster.set_time(1010.5)
        assert [Rehearsal(listener, REQUEST).reason for _ in range(3)] == [""] * 3
        assert circuits_of(cluster, None) == {"breaker": ("open", 0.0, 0)}, "nobody has asked in earnest"
        assert told == []
        assert cluster.admit_one() is None and cluster.admit_one() == "breaker_open"
        assert told and circuits_of(cluster, None) == {"breaker": ("half-open", 0.0, 1)}
        assert Rehearsal(listener, REQUEST).reason == "breaker_open"


def test_an_endpoints_try_is_not_used_up() -> None:
    text = f"{BREAKER}\n    balancer: first_available".replace("breaker: {", "breaker: {scope: endpoint, ")
    with world(text) as (listener, clusters):
        cluster = clusters["c"]
        trip(cluster)
        assert name_of(Rehearsal(listener, REQUEST).picked) == "e1"
        cluster.set_time(1010.5)
        assert cluster.endpoints[0].on_probation
        assert [name_of(Rehearsal(listener, REQUEST).picked) for _ in range(4)] == ["e0"] * 4
        assert circuits_of(cluster, cluster.endpoints[0]) == {"breaker": ("half-open", 0.0, 0)}
        assert name_of(cluster.pick_one()) == "e0", "the try is still there"
        assert name_of(cluster.pick_one()) == "e1"
        assert name_of(Rehearsal(listener, REQUEST).picked) == "e1"


def test_a_try_of_passive_checks_is_not_used_up() -> None:
    text = "passive_check: {consecutive: 2, eject: 10s, probes: 1, needed: 1}\n    balancer: first_available"
    with world(text) as (listener, clusters):
        cluster = clusters["c"]
        trip(cluster)
        assert circuits_of(cluster, cluster.endpoints[0])["ejection"][0] == "open"
        cluster.set_time(1010.5)
        assert [name_of(Rehearsal(listener, REQUEST).picked) for _ in range(4)] == ["e0"] * 4
        assert circuits_of(cluster, cluster.endpoints[0])["ejection"] == ("half-open", 0.0, 0)
        assert name_of(cluster.pick_one()) == "e0"


def test_fallbacks_are_walked_with_their_reasons() -> None:
    with world(f"{BREAKER}\n    fallback: {{cluster: spare}}") as (listener, clusters):
        trip(clusters["c"])
        outcome = Rehearsal(listener, REQUEST)
        assert [(cluster.name, reason) for cluster, reason in outcome.walked] == [
            ("c", "breaker_open"),
            ("spare", ""),
        ]
        assert outcome.cluster is clusters["spare"] and name_of(outcome.picked) == "10.0.1.1:1"


def test_a_loop_of_fallbacks_ends() -> None:
    with world(BREAKER) as (listener, clusters):
        clusters["c"].set_fallback(clusters["spare"], None)
        clusters["spare"].set_fallback(clusters["c"], None)
        for cluster in clusters.values():
            for endpoint in cluster.endpoints:
                endpoint.set_admin("disabled")
            cluster.changed()
        outcome = Rehearsal(listener, REQUEST)
        assert outcome.reason == "no_endpoint" and outcome.status == 503
        assert len(outcome.walked) == 4


def test_what_a_route_says() -> None:
    with world(route="endpoint_labels: {v: '2'}, timeouts: {total: 7s}, retry: {limit: 4}") as (listener, _):
        outcome = Rehearsal(listener, REQUEST)
        assert outcome.route is not None and outcome.route.name == "seven"
        assert outcome.captures == {"id": b"7"} and outcome.path == b"/x/7"
        assert name_of(outcome.picked) == "e2"
        assert outcome.limits()["route"]["timeouts.total"] == 7000
        plan = outcome.retry_plan()
        assert plan is not None and plan["limit"] == 4 and plan["allowed"] is True
        assert outcome.upstream_head is not None and outcome.upstream_head.startswith(
            b"GET /x/7?q=1 HTTP/1.1\r\n"
        )
        assert {(route.name, how) for route, how, _ in outcome.considered} == {
            ("rest", "matched"),
            ("seven", "matched"),
        }


@pytest.mark.parametrize(
    ("raw_head", "reason", "status"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", "bad_request", 400),
        (b"GET /x HTTP/3.0\r\nHost: a\r\n\r\n", "version_refused", 505),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "target_too_long", 414),
    ],
)
def test_what_is_refused_by_its_form(raw_head: bytes, reason: str, status: int) -> None:
    with world() as (listener, _):
        outcome = Rehearsal(listener, raw_head)
        assert (outcome.reason, outcome.status, outcome.cluster) == (reason, status, None)


def test_a_head_that_does_not_end_is_an_error() -> None:
    with world() as (listener, _), pytest.raises(ValueError, match="does not end"):
        Rehearsal(listener, b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(("length", "kept"), [(0, True), (16384, True), (16385, False), (2**29, False)])
def test_a_body_that_is_too_long_to_be_kept(length: int, kept: bool) -> None:
    with world() as (listener, _):
        raw_head = head("PUT /x/7 HTTP/1.1", "Host: a.test", f"Content-Length: {length}")
        plan = Rehearsal(listener, raw_head).retry_plan()
        assert plan is not None and plan["body_is_kept"] is kept
        assert plan["allowed"] is True
        post = Rehearsal(listener, raw_head.replace(b"PUT", b"POST")).retry_plan()
        assert post is not None and post["allowed"] is False


def test_the_waits_of_a_policy() -> None:
    backoff = "retry: {limit: 3, backoff: {base: 100ms, multiplier: 2, max: 300ms}}"
    with world(backoff) as (listener, _):
        plan = Rehearsal(listener, REQUEST).retry_plan()
        assert plan is not None
        assert plan["waits"] == [(0.05, pytest.approx(0.1, abs=0.002)), (0.1, pytest.approx(0.2, abs=0.002)),
                                 (0.15, pytest.approx(0.3, abs=0.002))]  # fmt: skip
