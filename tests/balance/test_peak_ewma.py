"""Peak EWMA: what is measured, how it fades, and who is picked for it. The clock is set by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from balance.picking import SEED, endpoints_of, hold, picks, shares
from lbd.balance.peak_ewma import PeakEwma

from lbd.engine.endpoint import Endpoint


def measured(latencies: list[float], weights: list[int] | None = None) -> tuple[list[Endpoint], PeakEwma]:
    endpoints = endpoints_of(weights or [1] * len(latencies))
    balancer = PeakEwma(endpoints, decay=10, seed=SEED)
    balancer.set_time(1000)
    for endpoint, latency in zip(endpoints, latencies, strict=True):
        balancer.respond_one(endpoint, latency)
    return endpoints, balancer


def test_the_faster_one_is_picked() -> None:
    _, balancer = measured([0.1, 0.005])
    assert set(picks(balancer, 50)) == {"e1"}


def test_load_outweighs_latency() -> None:
    """Twice as fast, but two exchanges are under way there: 5 ms * 3 > 10 ms * 1."""
    endpoints, balancer = measured([0.010, 0.005])
    assert set(picks(balancer, 20)) == {"e1"}
    balancer.acquire_one(endpoints[1])
    balancer.acquire_one(endpoints[1])
    assert set(picks(balancer, 20)) == {"e0"}


def test_load_counts_per_weight() -> None:
    endpoints, balancer = measured([0.005, 0.005], [9, 1])
    for endpoint in (endpoints[0], endpoints[0], endpoints[1]):
        balancer.acquire_one(endpoint)
    assert set(picks(balancer, 20)) == {"e0"}


def test_equal_latencies_share_by_weight() -> None:
    _, balancer = measured([0.01, 0.01], [3, 1])
    got = Counter(picks(balancer, 4000))
    assert 2850 <= got["e0"] <= 3150
    got = shares(balancer, 4000)
    assert 2900 <= got["e0"] <= 3100


def test_peak_counts_at_once_and_goes_slowly() -> None:
    (endpoint,), balancer = measured([0.005])
    balancer.respond_one(endpoint, 1.0)
    assert endpoint.measured["latency"] == pytest.approx(1.0)
    balancer.set_time(1001)
    balancer.respond_one(endpoint, 0.005)
    assert endpoint.measured["latency"] == pytest.approx(0.9055, abs=0.002)
    for second in range(1002, 1100):
        balancer.set_time(second)
        balancer.respond_one(endpoint, 0.005)
    assert endpoint.measured["latency"] == pytest.approx(0.005, rel=0.05)


def test_unmeasured_endpoint_is_tried_with_one_exchange() -> None:
    endpoints = endpoints_of([1, 1])
    balancer = PeakEwma(endpoints, seed=SEED)
    balancer.respond_one(endpoints[0], 0.001)
    assert hold(balancer, 1) == [endpoints[1]]
    # as long as there is no answer it counts as average, and has an exchange already
    assert set(picks(balancer, 20)) == {"e0"}


def test_slow_endpoint_is_tried_again_when_time_has_passed() -> None:
    endpoints, balancer = measured([0.1, 0.005])
    tried = None
    for second in range(1000, 1120):
        balancer.set_time(second)
        picked = balancer.pick_one()
        if picked is endpoints[0]:
            tried = second
            break
        balancer.respond_one(endpoints[1], 0.005)
    assert tried is not None and 1020 <= tried <= 1060


def test_failure_is_slow_however_fast_it_came() -> None:
    endpoints, balancer = measured([0.005, 0.005])
    balancer.respond_one(endpoints[0], 0.0001, failed=True)
    assert set(picks(balancer, 50)) == {"e1"}
    assert endpoints[0].measured["latency"] == pytest.approx(1.0)


def test_failures_in_a_row_are_bounded() -> None:
    (endpoint,), balancer = measured([0.005])
    for _ in range(100):
        balancer.respond_one(endpoint, 0.001, failed=True)
    assert endpoint.measured["latency"] == pytest.approx(60.0)


def test_measurements_outlive_the_balancer() -> None:
    endpoints, before = measured([0.1, 0.005, 0.005])
    del before
    after = PeakEwma(endpoints[:2], seed=SEED)
    after.set_time(1001)
    assert set(picks(after, 50)) == {"e1"}


def test_long_rest_leaves_the_order_as_it_was() -> None:
    """Years without a request: nothing overflows, and the slower one is still the slower one."""
    _, balancer = measured([0.1, 0.005])
    for seconds in (1e5, 1e6, 4.2e6, 4.3e6, 1e8, 1e9):
        balancer.set_time(seconds)
        assert set(picks(balancer, 20)) == {"e1"}


def test_response_in_no_time() -> None:
    endpoints, balancer = measured([0.0, 0.1])
    assert endpoints[0].measured["latency"] > 0
    assert set(picks(balancer, 20)) == {"e0"}
