"""A refresh that changes nothing leaves the balancer alone; what changes for real takes effect."""

from __future__ import annotations

import pytest
from balance.keys import cluster_of
from balance.picking import endpoints_of

from lbd import registry
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Balancer


@pytest.mark.parametrize("name", registry.BALANCERS)
def test_a_refresh_without_a_change_keeps_the_balancer(name: str) -> None:
    algorithm: type[Balancer] = registry.resolve("balancer", name)
    cluster = cluster_of(algorithm, endpoints_of([1, 2, 3]))
    before = cluster.balancer
    cluster.refresh()
    assert cluster.balancer is before


def test_round_robin_goes_on_where_it_was() -> None:
    """Clusters with regions or a check of latencies refresh every second: with few requests in a
    second the last endpoints would never have a turn."""
    cluster = cluster_of(registry.resolve("balancer", "round_robin"), endpoints_of([1, 1, 1, 1]))
    found = []
    for _ in range(4):
        endpoint = cluster.pick_one()
        assert endpoint is not None
        found.append(endpoint.name)
        cluster.refresh()
    assert sorted(found) == ["e0", "e1", "e2", "e3"]


def rebuilt(cluster: Cluster) -> bool:
    before = cluster.balancer
    cluster.changed()
    return cluster.balancer is not before


def test_changes_are_seen() -> None:
    cluster = cluster_of(registry.resolve("balancer", "ring_hash"), endpoints_of([1, 1, 1]))
    endpoint = cluster.endpoints[0]
    endpoint.set_weight(5)
    assert rebuilt(cluster)
    endpoint.set_health("down")
    assert rebuilt(cluster)
    assert endpoint not in cluster.selection.endpoints
    endpoint.set_weight(7)  # not among those that serve, but the ring is made of all members
    assert rebuilt(cluster)
    assert not rebuilt(cluster)


def test_load_is_counted_across_a_refresh() -> None:
    cluster = cluster_of(registry.resolve("balancer", "least_conn"), endpoints_of([1, 1]))
    first = cluster.pick_one()
    assert first is not None
    cluster.acquire_one(first)
    cluster.refresh()
    other = cluster.pick_one()
    assert other is not None and other is not first
    cluster.acquire_one(other)
    cluster.release_one(first)
    assert cluster.pick_one() is first
    assert (cluster.active, first.active, other.active) == (1, 0, 1)
