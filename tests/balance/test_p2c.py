"""P2C: which of two is taken, and how even that makes the load."""

from __future__ import annotations

from collections import Counter

import pytest
from balance.picking import SEED, endpoints_of, hold, picks
from lbd.balance.p2c import P2C
from lbd.balance.random import Random


def test_of_two_the_one_with_fewer_exchanges() -> None:
    endpoints = endpoints_of([1, 1])
    balancer = P2C(endpoints, seed=SEED)
    for _ in range(50):
        balancer.acquire_one(endpoints[0])
    assert hold(balancer, 50) == [endpoints[1]] * 50


def test_exchanges_count_per_weight() -> None:
    """20 exchanges at weight 4 are less than 6 at weight 1."""
    endpoints = endpoints_of([4, 1])
    balancer = P2C(endpoints, seed=SEED)
    for endpoint, count in zip(endpoints, (20, 6), strict=True):
        for _ in range(count):
            balancer.acquire_one(endpoint)
    assert set(picks(balancer, 50)) == {"e0"}


def test_idle_endpoints_are_picked_by_weight() -> None:
    got = Counter(picks(P2C(endpoints_of([3, 1]), seed=SEED), 4000))
    assert 2850 <= got["e0"] <= 3150


def test_load_of_a_rebuilt_balancer_is_that_of_its_endpoints() -> None:
    endpoints = endpoints_of([1, 1])
    for _ in range(10):
        P2C(endpoints, seed=SEED).acquire_one(endpoints[0])
    assert set(picks(P2C(endpoints, seed=SEED), 50)) == {"e1"}


def test_released_exchanges_no_longer_count() -> None:
    endpoints = endpoints_of([1, 1])
    balancer = P2C(endpoints, seed=SEED)
    for _ in range(10):
        balancer.acquire_one(endpoints[0])
    for _ in range(10):
        balancer.release_one(endpoints[0])
    assert set(picks(balancer, 50)) == {"e0", "e1"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fullest_of_a_thousand(seed: int) -> None:
    """n exchanges on n endpoints: log log n at the fullest with two choices, log n / log log n with one."""
    fullest = {}
    for algorithm in (P2C, Random):
        endpoints = endpoints_of([1] * 1000)
        hold(algorithm(endpoints, seed=seed), 1000)
        fullest[algorithm] = max(endpoint.active for endpoint in endpoints)
    assert fullest[P2C] <= 3 < fullest[Random]


def test_alternatives_are_less_loaded_ones_too() -> None:
    endpoints = endpoints_of([1] * 4)
    balancer = P2C(endpoints, seed=SEED)
    for _ in range(9):
        balancer.acquire_one(endpoints[3])
    for _ in range(50):
        assert endpoints[3] not in [balancer.pick_one(0, attempt) for attempt in range(3)]
