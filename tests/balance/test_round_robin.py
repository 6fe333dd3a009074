"""Round robin: the order of turns within a cycle, and how weights are scaled."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from balance.picking import endpoints_of, picks
from hypothesis import given, settings
from hypothesis import strategies as st

from lbd.balance.round_robin import RoundRobin, scale_weights, smooth_cycle

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def order(weights: list[int], count: int) -> str:
    """Picks as letters: a for the first endpoint, b for the second, ..."""
    names = picks(RoundRobin(endpoints_of(weights)), count)
    return "".join(chr(ord("a") + int(name[1:])) for name in names)


def longest_run(cycle: str) -> int:
    """Of one letter, over the seam between two cycles too."""
    longest = run = 1
    for one, next_one in pairwise(cycle * 2):
        run = run + 1 if one == next_one else 1
        longest = max(longest, run)
    return longest


def test_equal_weights_take_turns() -> None:
    assert order([1, 1, 1], 9) == "abcabcabc"
    assert order([7, 7], 4) == "abab"


@settings(deadline=None)
@given(WEIGHTS)
def test_one_cycle_is_exactly_proportional(weights: list[int]) -> None:
    reduced = scale_weights(weights)
    names = picks(RoundRobin(endpoints_of(weights)), sum(reduced))
    assert Counter(names) == {f"e{index}": weight for index, weight in enumerate(reduced)}


@settings(deadline=None)
@given(WEIGHTS)
def test_cycles_repeat(weights: list[int]) -> None:
    length = sum(scale_weights(weights))
    balancer = RoundRobin(endpoints_of(weights))
    assert picks(balancer, length) == picks(balancer, length)


def test_heavy_endpoint_does_not_get_all_its_turns_in_a_row() -> None:
    """5:1:1: nginx gives a a b a c a a, no more than four in a row even over the seam."""
    assert Counter(order([5, 1, 1], 7)) == {"a": 5, "b": 1, "c": 1}
    assert longest_run(order([5, 1, 1], 7)) <= 4


@pytest.mark.parametrize("weights", [[2, 1, 1], [3, 2, 1], [2, 2], [5, 5, 1, 1]], ids=str)
def test_never_twice_in_a_row_when_avoidable(weights: list[int]) -> None:
    """Avoidable when nobody has more than half of the turns."""
    assert longest_run(order(weights, sum(weights))) == 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=8))
def test_turns_are_spread(weights: list[int]) -> None:
    """After any number of picks nobody is more than two turns ahead of or behind its share."""
    cycle = list(smooth_cycle(weights))
    total = sum(weights)
    seen: Counter[int] = Counter()
    for position, index in enumerate(cycle, 1):
        seen[index] += 1
        for other, weight in enumerate(weights):
            assert abs(seen[other] - position * weight / total) < 2


@pytest.mark.parametrize(
    ("weights", "scaled"),
    [
        ([], []),
        ([5], [1]),
        ([1, 1], [1, 1]),
        ([10, 20, 30], [1, 2, 3]),
        ([65535, 65535], [1, 1]),
        ([3, 5], [3, 5]),
        ([4095, 1], [4095, 1]),
    ],
)
def test_scale_weights(weights: list[int], scaled: list[int]) -> None:
    assert scale_weights(weights) == scaled


@settings(deadline=None)
@given(st.lists(st.integers(1, 65535), min_size=1, max_size=300))
def test_scaled_weights_stay_within_bounds(weights: list[int]) -> None:
    """At least one turn each; in all at most 4096, or 4 per endpoint, and one more each for rounding."""
    scaled = scale_weights(weights)
    assert len(scaled) == len(weights) and min(scaled) >= 1
    assert sum(scaled) <= max(4096, 4 * len(weights)) + len(weights)


@settings(deadline=None)
@given(st.lists(st.integers(1, 65535), min_size=1, max_size=50))
def test_scaled_weights_keep_their_order_and_share(weights: list[int]) -> None:
    scaled = scale_weights(weights)
    total, scaled_total = sum(weights), sum(scaled)
    for weight, turns in zip(weights, scaled, strict=True):
        assert abs(turns / scaled_total - weight / total) <= (len(weights) + 1) / 4096
    pairs = sorted(zip(weights, scaled, strict=True))
    assert [turns for _, turns in pairs] == sorted(scaled)


def test_no_endpoint_no_cycle() -> None:
    assert list(smooth_cycle([])) == []
