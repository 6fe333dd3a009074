"""Who owns which key, and how many keys change their owner."""

from __future__ import annotations

from collections.abc import Iterable

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.key import hash_of

KEYS = [hash_of(f"user-{number}".encode()) for number in range(10_000)]


def owners(balancer: Balancer | None, attempt: int = 0) -> list[str]:
    """The name of the endpoint of each of KEYS."""
    assert balancer is not None
    found = [balancer.pick_one(key, attempt) for key in KEYS]
    return [endpoint.name for endpoint in found if endpoint is not None]


def moved(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    assert len(before) == len(after) == len(KEYS)
    return [(old, new) for old, new in zip(before, after, strict=True) if old != new]


def cluster_of(algorithm: type[Balancer], endpoints: Iterable[Endpoint], **options: object) -> Cluster:
    """Without a reactor: what is changed takes effect at once."""
    return Cluster("app", endpoints, balancer_class=algorithm, options=options)


def set_health(cluster: Cluster, name: str, health: str) -> None:
    (endpoint,) = [endpoint for endpoint in cluster.endpoints if endpoint.name == name]
    endpoint.set_health(health)
    cluster.changed()
