"""first_available against a walk over all endpoints in their order."""

from __future__ import annotations

import asyncio

import pytest
from balance.picking import endpoints_of, hold, picks
from hypothesis import given, settings
from hypothesis import strategies as st
from lbd.balance.first_available import FirstAvailable

from lbd.engine.endpoint import Endpoint
from lbd.engine.pool import ConnectionPool
from lbd.engine.reactor import Reactor


def test_the_first_is_filled_before_the_next() -> None:
    endpoints = endpoints_of([1, 1, 1])
    balancer = FirstAvailable(endpoints, connections=3)
    assert hold(balancer, 7) == [endpoints[0]] * 3 + [endpoints[1]] * 3 + [endpoints[2]]
    balancer.release_one(endpoints[0])
    assert hold(balancer, 2) == [endpoints[0], endpoints[2]]


def test_when_all_are_full_they_take_turns() -> None:
    balancer = FirstAvailable(endpoints_of([1, 1, 1]), connections=2)
    held = hold(balancer, 6)
    assert sorted(picks(balancer, 6)) == ["e0", "e0", "e1", "e1", "e2", "e2"]
    hold(balancer, 3)
    balancer.release_one(held[2])  # 3 - 1: it is as full as it may be, but not more
    assert set(picks(balancer, 6)) == {"e0", "e1", "e2"}


def test_order_is_that_of_the_configuration_whatever_the_weights() -> None:
    assert picks(FirstAvailable(endpoints_of([1, 9]), connections=1), 3) == ["e0"] * 3


def test_without_a_bound_there_is_always_room() -> None:
    endpoints = endpoints_of([1, 1])
    assert hold(FirstAvailable(endpoints), 5000) == [endpoints[0]] * 5000


def test_room_is_that_of_the_pool_unless_it_is_given() -> None:
    loop = asyncio.new_event_loop()
    reactor = Reactor(loop, print)
    pools = [pool_of(reactor, most) for most in (2, 0)]
    endpoints = [Endpoint(f"e{i}", "127.0.0.1:1", pool=pool) for i, pool in enumerate(pools)]
    assert hold(FirstAvailable(endpoints), 5) == [endpoints[0]] * 2 + [endpoints[1]] * 3
    again = [Endpoint(f"e{i}", "127.0.0.1:1", pool=pool) for i, pool in enumerate(pools)]
    assert hold(FirstAvailable(again, connections=1), 2) == again
    loop.close()


def pool_of(reactor: Reactor, most: int) -> ConnectionPool:
    return ConnectionPool(
        reactor, "127.0.0.1", 1, max_open=most, max_idle=1, max_queue=1, max_requests=0,
        connect_ms=1000, idle_ms=1000, lifetime_ms=0,
    )


def test_load_of_a_rebuilt_balancer_is_that_of_its_endpoints() -> None:
    endpoints = endpoints_of([1, 1])
    hold(FirstAvailable(endpoints, connections=2), 2)
    assert set(picks(FirstAvailable(endpoints, connections=2), 5)) == {"e1"}


def test_attempts_are_the_next_with_room() -> None:
    endpoints = endpoints_of([1] * 4)
    balancer = FirstAvailable(endpoints, connections=1)
    balancer.acquire_one(endpoints[1])
    assert [balancer.pick_one(0, attempt) for attempt in range(3)] == [endpoints[i] for i in (0, 2, 3)]


@pytest.mark.parametrize("count", [63, 64, 65, 4095, 4096, 4097, 70_000])
def test_only_the_last_has_room(count: int) -> None:
    """Sizes around those of the bitmap's words."""
    endpoints = endpoints_of([1] * count)
    balancer = FirstAvailable(endpoints, connections=1)
    for endpoint in endpoints[:-1]:
        balancer.acquire_one(endpoint)
    assert picks(balancer, 1) == [f"e{count - 1}"]
    balancer.acquire_one(endpoints[-1])
    balancer.release_one(endpoints[count // 2])
    assert picks(balancer, 1) == [f"e{count // 2}"]


@settings(deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 3),
    st.lists(st.tuples(st.booleans(), st.integers(0, 199), st.integers(0, 4)), max_size=200),
)
def test_against_a_walk(count: int, room: int, steps: list[tuple[bool, int, int]]) -> None:
    endpoints = endpoints_of([1] * count)
    balancer = FirstAvailable(endpoints, connections=room)
    for is_acquire, number, attempt in steps:
        endpoint = endpoints[number % count]
        if is_acquire:
            balancer.acquire_one(endpoint)
        elif endpoint.active:
            balancer.release_one(endpoint)
        free = [endpoint for endpoint in endpoints if endpoint.active < room]
        picked = balancer.pick_one(0, attempt)
        assert picked is free[attempt] if attempt < len(free) else picked is not None
