"""least_conn_rt: the score and its two weights, the percentile, failures, and who is tried again."""

from __future__ import annotations

from collections import Counter
from statistics import quantiles

import pytest
from balance.picking import SEED, endpoints_of, hold, picks
from hypothesis import given
from hypothesis import strategies as st
from lbd.balance.least_conn_rt import LeastConnRt
from pydantic import ValidationError

from lbd.balance.options import LeastConnRtOptions
from lbd.engine.endpoint import Endpoint


def measured(
    latencies: list[float], weights: list[int] | None = None, **options: float
) -> tuple[list[Endpoint], LeastConnRt]:
    endpoints = endpoints_of(weights or [1] * len(latencies))
    balancer = LeastConnRt(endpoints, seed=SEED, **options)
    balancer.set_time(1000)
    for endpoint, latency in zip(endpoints, latencies, strict=True):
        for _ in range(20):
            balancer.respond_one(endpoint, latency)
    return endpoints, balancer


def acquire(balancer: LeastConnRt, endpoint: Endpoint, times: int) -> None:
    for _ in range(times):
        balancer.acquire_one(endpoint)


def test_the_faster_of_idle_ones() -> None:
    _, balancer = measured([0.1, 0.005, 0.1])
    assert set(picks(balancer, 50)) == {"e1"}


@pytest.mark.parametrize("count", [5, 40], ids=["all are looked at", "some are looked at"])
def test_slow_one_gets_little(count: int) -> None:
    """20 times slower: the others have to be far fuller before it gets anything."""
    endpoints, balancer = measured([0.1] + [0.005] * (count - 1))
    hold(balancer, 20 * count)
    assert endpoints[0].active < 3


def test_weights_of_the_score() -> None:
    """e0 is fast and busy, e1 slow and idle."""
    cases = ((1.0, 0.0, "e1"), (0.0, 1.0, "e0"), (0.3, 0.7, "e0"), (0.7, 0.3, "e1"))
    for connections, time, expected in cases:
        endpoints, balancer = measured(
            [0.01, 0.03], connection_count_weight=connections, response_time_weight=time
        )
        acquire(balancer, endpoints[0], 6)
        assert set(picks(balancer, 20)) == {expected}, (connections, time)


def test_load_counts_per_weight() -> None:
    endpoints, balancer = measured([0.01, 0.01], [4, 1])
    acquire(balancer, endpoints[0], 3)
    acquire(balancer, endpoints[1], 1)
    assert set(picks(balancer, 20)) == {"e0"}


@pytest.mark.parametrize("weights", [[3, 1], [3, 1, *[1] * 18]], ids=["few", "many"])
def test_equals_are_picked_by_weight(weights: list[int]) -> None:
    _, balancer = measured([0.01] * len(weights), weights)
    got = Counter(picks(balancer, 6000))
    assert got["e0"] / got["e1"] == pytest.approx(3, rel=0.25)


def test_failures_multiply_the_time() -> None:
    """Half as fast, but every other response of the faster one is a failure: 10 ms / 0.5 against 15 ms."""
    endpoints, balancer = measured([0.010, 0.015])
    assert set(picks(balancer, 20)) == {"e0"}
    for _ in range(20):
        balancer.respond_one(endpoints[0], 0.0001, failed=True)
    assert endpoints[0].measured["error_rate"] == pytest.approx(0.5)
    assert set(picks(balancer, 20)) == {"e1"}


def test_endpoint_that_fails_from_the_beginning() -> None:
    """Fast failures are not fast responses."""
    endpoints, balancer = measured([0.01, 0.01, 0.01])
    new = Endpoint("new", "127.0.0.1:9")
    balancer = LeastConnRt([*endpoints, new], seed=SEED)
    balancer.set_time(1001)
    assert set(picks(balancer, 20)) == {"new"}
    balancer.respond_one(new, 0.0001, failed=True)
    assert "new" not in picks(balancer, 50)


def test_unmeasured_endpoint_is_tried_with_one_exchange() -> None:
    endpoints = endpoints_of([1, 1])
    balancer = LeastConnRt(endpoints, seed=SEED)
    balancer.respond_one(endpoints[0], 0.001)
    assert hold(balancer, 1) == [endpoints[1]]
    assert set(picks(balancer, 20)) == {"e0"}


def test_slow_endpoint_is_tried_again_after_six_intervals() -> None:
    endpoints, balancer = measured([0.1, 0.005], update_interval=5)
    tried = []
    for second in range(1000, 1060):
        balancer.set_time(second)
        picked = balancer.pick_one()
        assert picked is not None
        balancer.respond_one(picked, 0.005)
        if picked is endpoints[0]:
            tried.append(second)
    assert tried[0] == 1031
    assert len(tried) > 5, "it is as fast as the other by now"


@given(st.lists(st.floats(0.0001, 60), min_size=1, max_size=200))
def test_percentile(latencies: list[float]) -> None:
    """Within one bucket: half a power of two."""
    (endpoint,) = endpoints_of([1])
    balancer = LeastConnRt([endpoint])
    for latency in latencies:
        balancer.respond_one(endpoint, latency)
    balancer.set_time(5)
    balancer.respond_one(endpoint, max(latencies))
    ordered = sorted([*latencies, max(latencies)])
    low, high = ordered[int(0.9 * len(ordered)) - 1 if len(ordered) > 9 else 0], ordered[-1]
    assert low / 1.6 <= endpoint.measured["p95"] <= max(high, 0.00003) * 1.6


def test_percentile_of_many() -> None:
    (endpoint,) = endpoints_of([1])
    balancer = LeastConnRt([endpoint], update_interval=1)
    latencies = [0.001 * (1 + number % 100) for number in range(100_000)]
    for latency in latencies:
        balancer.respond_one(endpoint, latency)
    balancer.set_time(1)
    balancer.respond_one(endpoint, 0.001)
    exact = quantiles(latencies, n=20)[-1]
    assert exact / 1.35 < endpoint.measured["p95"] < exact * 1.35


def test_a_rise_shows_at_once_and_a_fall_after_intervals() -> None:
    (endpoint,), balancer = measured([0.005], update_interval=5)
    for _ in range(3):
        balancer.respond_one(endpoint, 2.0)
    assert endpoint.measured["p95"] > 1
    for second in range(1001, 1030):
        balancer.set_time(second)
        for _ in range(10):
            balancer.respond_one(endpoint, 0.005)
    assert endpoint.measured["p95"] < 0.01


def test_measurements_outlive_the_balancer() -> None:
    endpoints, before = measured([0.1, 0.005, 0.005])
    del before
    after = LeastConnRt(endpoints[:2], seed=SEED)
    after.set_time(1001)
    assert set(picks(after, 50)) == {"e1"}


@pytest.mark.parametrize("latency", [0.0, 1e-6, 1e5, 1e9])
def test_extreme_latencies(latency: float) -> None:
    endpoints, balancer = measured([latency, 0.01])
    assert endpoints[0].measured["p95"] > 0
    assert set(picks(balancer, 20)) == {"e0" if latency < 0.01 else "e1"}


def test_weights_of_zero_are_refused_together() -> None:
    with pytest.raises(ValidationError):
        LeastConnRtOptions.model_validate({"connection_count_weight": 0, "response_time_weight": 0})
    assert LeastConnRtOptions.model_validate({"response_time_weight": 0}).connection_count_weight == 0.3
