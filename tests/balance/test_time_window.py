"""time_window: who has rested longest, against a plain list; and turns when nobody has."""

from __future__ import annotations

from collections import Counter

import pytest
from balance.picking import endpoints_of, hold, picks
from hypothesis import given, settings
from hypothesis import strategies as st
from lbd.balance.time_window import TimeWindow

from lbd.engine.endpoint import Endpoint

MINUTE = 60.0


def use(balancer: TimeWindow, at: float) -> str:
    """One short exchange."""
    balancer.set_time(at)
    endpoint = balancer.pick_one()
    assert endpoint is not None
    balancer.acquire_one(endpoint)
    balancer.release_one(endpoint)
    return endpoint.name


def test_each_is_used_before_one_is_used_again() -> None:
    balancer = TimeWindow(endpoints_of([1, 5, 1]), window=5 * MINUTE)
    assert sorted(use(balancer, 1000 + second) for second in range(3)) == ["e0", "e1", "e2"]


def test_the_longest_unused_comes_first() -> None:
    endpoints = endpoints_of([1] * 4)
    balancer = TimeWindow(endpoints, window=MINUTE)
    for second, index in ((10, 2), (20, 0), (30, 3), (40, 1)):
        balancer.set_time(second)
        balancer.acquire_one(endpoints[index])
        balancer.release_one(endpoints[index])
    assert [use(balancer, 200 + second) for second in range(4)] == ["e2", "e0", "e3", "e1"]


def test_who_has_rested_for_the_window_is_preferred() -> None:
    """e1 and e2 work all the time, by other ways; e0 has rested."""
    endpoints = endpoints_of([1, 9, 9])
    balancer = TimeWindow(endpoints, window=5 * MINUTE)
    for _ in range(3):
        use(balancer, 1000)
    for second in range(1000, 1000 + 299):
        balancer.set_time(second)
        for endpoint in endpoints[1:]:
            balancer.acquire_one(endpoint)
            balancer.release_one(endpoint)
    assert use(balancer, 1301) == "e0"
    assert use(balancer, 1301) != "e0"


def test_turns_by_weight_when_nobody_has_rested() -> None:
    balancer = TimeWindow(endpoints_of([3, 1]), window=5 * MINUTE)
    got = Counter(use(balancer, 1000 + turn / 100) for turn in range(402))
    assert abs(got["e0"] - 301) <= 2


def test_long_exchange_is_use() -> None:
    """Ten minutes of one exchange are no rest, and rest begins when it ends."""
    endpoints = endpoints_of([1, 1])
    balancer = TimeWindow(endpoints, window=5 * MINUTE)
    (busy,) = hold(balancer, 1)
    (other,) = (endpoint for endpoint in endpoints if endpoint is not busy)
    for minute in (10, 20, 30):
        assert use(balancer, minute * MINUTE) == other.name
    balancer.release_one(busy)
    balancer.set_time(34 * MINUTE)
    balancer.acquire_one(other)
    balancer.release_one(other)
    assert use(balancer, 35.1 * MINUTE) == busy.name


def test_attempts_are_the_next_unused() -> None:
    balancer = TimeWindow(endpoints_of([1] * 4))
    balancer.set_time(1000)
    assert len({balancer.pick_one(0, attempt) for attempt in range(4)}) == 4


def test_last_use_outlives_the_balancer() -> None:
    endpoints = endpoints_of([1] * 3)
    before = TimeWindow(endpoints, window=MINUTE)
    order = [use(before, second) for second in (100, 200, 300)]
    after = TimeWindow([*endpoints, Endpoint("new", "127.0.0.1:9")], window=MINUTE)
    assert [use(after, 1000 + second) for second in range(4)] == ["new", *order]


@pytest.mark.parametrize("window", [0.001, 1e9])
def test_windows_without_measure(window: float) -> None:
    """Always rested: strictly in turn. Never rested again: by weight."""
    balancer = TimeWindow(endpoints_of([1, 1, 1]), window=window)
    names = [use(balancer, 100 + turn) for turn in range(9)]
    assert Counter(names) == {"e0": 3, "e1": 3, "e2": 3}


@settings(deadline=None)
@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60))
def test_against_a_list(count: int, steps: list[tuple[int, bool]]) -> None:
    """Steps in time, and whether a pick uses it. A tick (256 ms) and a 64th of the window may miss."""
    window, slack = 300.0, 300 / 64 + 0.6
    balancer = TimeWindow(endpoints_of([1] * count), window=window)
    used: dict[str, float] = {}
    now = 1000.0
    for step, by_pick in steps:
        now += step
        longest = min(used.get(f"e{index}", 0.0) for index in range(count))
        if by_pick:
            name = use(balancer, now)
            if now - longest >= window + slack:
                assert used.get(name, 0.0) <= longest + slack
        else:
            balancer.set_time(now)
            endpoint = balancer.endpoints[step % count]
            balancer.acquire_one(endpoint)
            balancer.release_one(endpoint)
            name = endpoint.name
        used[name] = now


def test_pick_without_an_exchange_passes_the_turn() -> None:
    balancer = TimeWindow(endpoints_of([1] * 5))
    balancer.set_time(1000)
    assert len(set(picks(balancer, 5))) == 5
