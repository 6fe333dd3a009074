"""Least connections against a naive search over all endpoints."""

from __future__ import annotations

from fractions import Fraction

import pytest
from balance.picking import endpoints_of, hold
from hypothesis import given, settings
from hypothesis import strategies as st
from lbd.balance.least_conn import LeastConn

from lbd.engine.endpoint import Endpoint

STEPS = st.lists(
    st.tuples(st.sampled_from(["pick", "acquire", "release"]), st.integers(0, 1000)), max_size=150
)
PER_EXCHANGE = 64  # levels of load that one exchange on the heaviest endpoint takes


def load(endpoint: Endpoint) -> Fraction:
    """What one more exchange would make of it, per weight."""
    return Fraction(endpoint.active + 1, endpoint.weight)


def resolution(weights: list[int]) -> Fraction:
    """The difference in load that is not told apart: none with equal weights."""
    return Fraction(0) if len(set(weights)) == 1 else Fraction(1, PER_EXCHANGE * max(weights))


def run_model(weights: list[int], steps: list[tuple[str, int]]) -> None:
    endpoints = endpoints_of(weights)
    balancer = LeastConn(endpoints)
    held: list[Endpoint] = []
    for step, number in steps:
        if step == "release" and held:
            balancer.release_one(held.pop(number % len(held)))
            continue
        if step == "acquire":
            endpoint = endpoints[number % len(endpoints)]
        else:
            picked = balancer.pick_one()
            assert picked is not None
            assert load(picked) < min(map(load, endpoints)) + (resolution(weights) or Fraction(1, 10**9)), (
                endpoints
            )
            endpoint = picked
        balancer.acquire_one(endpoint)
        held.append(endpoint)


@settings(deadline=None)
@given(st.integers(1, 65535), st.integers(1, 12), STEPS)
def test_picks_a_least_loaded_one_with_equal_weights(
    weight: int, count: int, steps: list[tuple[str, int]]
) -> None:
    run_model([weight] * count, steps)


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), STEPS)
def test_picks_a_least_loaded_one_with_weights(weights: list[int], steps: list[tuple[str, int]]) -> None:
    run_model(weights, steps)


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=12), STEPS)
def test_weights_that_divide_are_compared_exactly(weights: list[int], steps: list[tuple[str, int]]) -> None:
    endpoints = endpoints_of(weights)
    balancer = LeastConn(endpoints)
    for _, number in steps:
        balancer.acquire_one(endpoints[number % len(endpoints)])
    picked = balancer.pick_one()
    assert picked is not None and load(picked) == min(map(load, endpoints))


def test_equals_take_turns_without_load() -> None:
    """A pick that comes to nothing (a request that fails at once) must not come back to the same endpoint."""
    endpoints = endpoints_of([1, 1, 1])
    balancer = LeastConn(endpoints)
    assert [balancer.pick_one() for _ in range(6)] == endpoints * 2


def test_one_at_a_time_goes_around() -> None:
    balancer = LeastConn(endpoints_of([1, 1, 1, 1]))
    seen = []
    for _ in range(8):
        (endpoint,) = hold(balancer, 1)
        balancer.release_one(endpoint)
        seen.append(endpoint.name)
    assert len(set(seen[:4])) == 4 and len(set(seen[4:])) == 4


def test_busy_endpoint_is_left_alone() -> None:
    endpoints = endpoints_of([1, 1])
    balancer = LeastConn(endpoints)
    for _ in range(50):
        balancer.acquire_one(endpoints[0])
    assert hold(balancer, 50) == [endpoints[1]] * 50


@pytest.mark.parametrize(
    ("weights", "count"), [([1, 1], 600_000), ([3, 1], 20_000), ([100, 1], 10_000)], ids=str
)
def test_many_exchanges(weights: list[int], count: int) -> None:
    """Tunnels are held by the thousands; the share must not drift then."""
    endpoints = endpoints_of(weights)
    hold(LeastConn(endpoints), count)
    for endpoint in endpoints:
        assert abs(endpoint.active - count * endpoint.weight / sum(weights)) <= 2, endpoints
