"""hash and ip_hash: whose keys move when endpoints go and come, and what all nodes agree on."""

from __future__ import annotations

from collections import Counter

import pytest
from balance.keys import KEYS, cluster_of, moved, owners, set_health
from balance.picking import SEED, endpoints_of
from lbd.balance.hash import Hash
from lbd.balance.ip_hash import IpHash


@pytest.mark.parametrize("weights", [[1] * 5, [4, 2, 1, 1], [1000, 10, 1]], ids=str)
def test_only_the_keys_of_the_endpoint_that_goes_down_move(weights: list[int]) -> None:
    cluster = cluster_of(Hash, endpoints_of(weights))
    before = owners(cluster.balancer)
    for down in range(len(weights)):
        set_health(cluster, f"e{down}", "down")
        without = owners(cluster.balancer)
        assert {old for old, _ in moved(before, without)} == {f"e{down}"} & set(before)
        assert f"e{down}" not in without
        set_health(cluster, f"e{down}", "up")
        assert owners(cluster.balancer) == before


def test_its_keys_go_to_the_others_by_weight() -> None:
    cluster = cluster_of(Hash, endpoints_of([4, 3, 1]))
    before = owners(cluster.balancer)
    set_health(cluster, "e0", "down")
    got = Counter(new for _, new in moved(before, owners(cluster.balancer)))
    assert got["e1"] / got["e2"] == pytest.approx(3, rel=0.2)


def test_few_of_many_serve() -> None:
    """A tier of a large cluster: by weight as well, and the same whenever asked."""
    endpoints = endpoints_of([1] * 300 + [3, 1])
    for endpoint in endpoints[:300]:
        endpoint.set_health("down")
    cluster = cluster_of(Hash, endpoints)
    got = Counter(owners(cluster.balancer))
    assert set(got) == {"e300", "e301"} and got["e300"] / got["e301"] == pytest.approx(3, rel=0.2)
    assert owners(cluster.balancer) == owners(cluster_of(Hash, endpoints).balancer)


def test_nodes_agree_whatever_the_order_of_their_files() -> None:
    one, other = endpoints_of([3, 1, 2, 1]), endpoints_of([3, 1, 2, 1])[::-1]
    assert owners(Hash(one, seed=1)) == owners(Hash(other, seed=2))


def test_choice_is_the_same_in_all_versions() -> None:
    """Of nodes with different versions behind one address, and after an update."""
    found = owners(Hash(endpoints_of([3, 1, 2, 1])))[:12]
    assert " ".join(found) == "e0 e3 e0 e2 e0 e0 e3 e2 e1 e2 e1 e0"


def test_subset_and_part_know_their_members() -> None:
    endpoints = endpoints_of([1] * 6)
    for index, endpoint in enumerate(endpoints):
        endpoint.reconfigure(weight=1, priority=0, labels={"kind": "odd" if index % 2 else "even"})
    cluster = cluster_of(Hash, endpoints)
    selection = cluster.subset({"kind": "odd"})
    before = owners(selection.parts[0])
    assert set(before) == {"e1", "e3", "e5"}
    set_health(cluster, "e3", "down")
    assert {old for old, _ in moved(before, owners(selection.parts[0]))} == {"e3"}
    set_health(cluster, "e3", "up")
    set_health(cluster, "e2", "down")
    assert owners(selection.parts[0]) == before


def test_weight_held_down() -> None:
    """Slow start: e0 has 2/10 of the keys instead of 4/12, and no other key moves."""
    endpoints = endpoints_of([4, 4, 4])
    before = owners(Hash(endpoints))
    endpoints[0].weight = 2
    after = owners(Hash(endpoints))
    assert {old for old, _ in moved(before, after)} == {"e0"}
    assert after.count("e0") / len(KEYS) == pytest.approx(0.2, abs=0.02)
    for endpoint in endpoints:
        endpoint.weight = 400  # another scale
    assert owners(Hash(endpoints)) == before


def test_member_of_weight_zero_owns_nothing() -> None:
    endpoints = endpoints_of([1, 1, 0])
    cluster = cluster_of(Hash, endpoints)
    assert set(owners(cluster.balancer)) == {"e0", "e1"}
    endpoints[2].set_weight(1)
    cluster.changed()
    assert set(owners(cluster.balancer)) == {"e0", "e1", "e2"}


def test_all_down() -> None:
    cluster = cluster_of(Hash, endpoints_of([1, 1]))
    for name in ("e0", "e1"):
        set_health(cluster, name, "down")
    assert cluster.balancer is None


def test_no_key_is_spread_at_random() -> None:
    balancer = Hash(endpoints_of([3, 1]), seed=SEED)
    found = [balancer.pick_one(0) for _ in range(4000)]
    assert 2850 <= sum(endpoint is not None and endpoint.name == "e0" for endpoint in found) <= 3150


def test_alternatives_do_not_depend_on_the_moment() -> None:
    balancer = Hash(endpoints_of([1] * 6), seed=1)
    for attempt in range(6):
        assert owners(balancer, attempt) == owners(Hash(endpoints_of([1] * 6), seed=2), attempt)
    for key in KEYS[:200]:
        assert len({balancer.pick_one(key, attempt) for attempt in range(6)}) == 6


def test_alternatives_of_a_key_are_spread() -> None:
    """What one endpoint cannot serve burdens all others alike."""
    balancer = Hash(endpoints_of([1] * 5))
    first, second = owners(balancer), owners(balancer, 1)
    got = Counter(new for old, new in zip(first, second, strict=True) if old == "e0")
    assert len(got) == 4 and max(got.values()) < 1.3 * min(got.values())


def test_ip_hash_is_hash_with_a_fixed_key() -> None:
    assert owners(IpHash(endpoints_of([2, 1, 1]))) == owners(Hash(endpoints_of([2, 1, 1])))
    assert "key" not in IpHash.Options.model_fields and IpHash.keyed
