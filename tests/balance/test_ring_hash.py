"""The ring: no key moves but to or from the endpoint that changes."""

from __future__ import annotations

from collections import Counter

import pytest
from balance.keys import KEYS, cluster_of, moved, owners, set_health
from balance.picking import endpoints_of
from lbd.balance.ring_hash import RingHash


@pytest.mark.parametrize("weights", [[1] * 10, [4, 3, 2, 1], [900, 800, 3000]], ids=str)
def test_keys_move_from_the_endpoint_that_goes_and_no_others(weights: list[int]) -> None:
    """Also with weights so large that the ring is scaled down: the scale does not depend on who serves."""
    cluster = cluster_of(RingHash, endpoints_of(weights))
    before = owners(cluster.balancer)
    for down in range(len(weights)):
        set_health(cluster, f"e{down}", "down")
        assert {old for old, _ in moved(before, owners(cluster.balancer))} == {f"e{down}"}
        set_health(cluster, f"e{down}", "up")
    assert owners(cluster.balancer) == before


def test_keys_move_to_the_endpoint_that_comes_and_no_others() -> None:
    endpoints = endpoints_of([2, 1, 3, 1])
    changes = moved(owners(RingHash(endpoints[:3])), owners(RingHash(endpoints)))
    assert {new for _, new in changes} == {"e3"}
    assert len(changes) / len(KEYS) == pytest.approx(1 / 7, rel=0.3)


def test_weight_that_changes_moves_its_own_keys_only() -> None:
    endpoints = endpoints_of([4, 4, 4])
    before = owners(RingHash(endpoints))
    endpoints[0].weight = 2
    less = owners(RingHash(endpoints))
    assert {old for old, _ in moved(before, less)} == {"e0"}
    assert less.count("e0") / len(KEYS) == pytest.approx(0.2, abs=0.05)


def test_keys_of_the_endpoint_that_goes_are_spread() -> None:
    endpoints = endpoints_of([1] * 6)
    changes = moved(owners(RingHash(endpoints)), owners(RingHash(endpoints[1:])))
    assert {new for _, new in changes} == {f"e{index}" for index in range(1, 6)}


def test_more_virtual_nodes_are_more_even() -> None:
    spread = {}
    for nodes in (4, 1600):
        got = Counter(owners(RingHash(endpoints_of([1] * 10), virtual_nodes=nodes)))
        spread[nodes] = max(got.values()) / (len(KEYS) / 10)
    assert spread[1600] < 1.15 < spread[4]


def test_nodes_agree_whatever_the_order_of_their_files() -> None:
    one, other = endpoints_of([3, 1, 2, 1]), endpoints_of([3, 1, 2, 1])[::-1]
    assert owners(RingHash(one, seed=1)) == owners(RingHash(other, seed=2))


def test_choice_is_the_same_in_all_versions() -> None:
    found = owners(RingHash(endpoints_of([3, 1, 2, 1])))[:12]
    assert " ".join(found) == "e1 e0 e2 e2 e1 e3 e2 e2 e3 e0 e2 e3"


@pytest.mark.parametrize("nodes", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_against_a_search_over_all_points(count: int, nodes: int) -> None:
    """Small rings, where the first and the last point matter."""
    endpoints = endpoints_of([1] * count)
    balancer = RingHash(endpoints, virtual_nodes=nodes)
    points = sorted(
        (mix(name_hash(endpoint.name) + number * GOLDEN) >> 32, endpoint.name)
        for endpoint in endpoints
        for number in range(nodes)
    )
    for key in KEYS[:300]:
        place = mix(key) >> 32
        expected = next((name for at, name in points if at >= place), points[0][1])
        picked = balancer.pick_one(key)
        assert picked is not None and picked.name == expected


GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def mix(x: int) -> int:
    """The finalizer of SplitMix64."""
    x &= MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def name_hash(name: str) -> int:
    """What lbd.engine.bytemap makes of a name of less than 8 bytes."""
    h = len(name) * GOLDEN & MASK
    h = (h ^ int.from_bytes(name.encode(), "little")) * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ (h >> 29)
