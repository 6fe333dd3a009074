"""The names gateway_*, beside lbd's own, for dashboards that were made for them: `admin.gateway_metrics`.

From the same records. Their label `method` is not there: lbd does not count by method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.shared import KNOWN_STATUS, Shared
from lbd.observe.present import Present
from lbd.observe.records import Records
from lbd.observe.text import Family, HistogramFamily, Pieces, Row

STATUS = ("other", *map(str, KNOWN_STATUS))
STATES = ("closed", "open", "half_open")
BADNESS = (0, 2, 1)  # of states: an open one is worse than one that is tried again


def gateway_metrics(shared: Shared, present: Present, routes: Iterable[str]) -> Pieces:
    """All four families. routes: whose records are told of."""
    yield from _of_routes(shared, routes)
    yield from Family(
        "gateway_upstream_health",
        "Share of the endpoints there that may be picked, 0 to 1.",
        "upstream",
        "datacenter",
        "zone",
    ).pieces(_health(present))
    yield from Family(
        "gateway_circuit_breaker_state",
        "1 for the state that it is in; with breakers of endpoints, that of the worst.",
        "service",
        "state",
    ).pieces(_breakers(shared, present))


def _of_routes(shared: Shared, routes: Iterable[str]) -> Pieces:
    """Routes of the same name in several listeners are one."""
    same: dict[tuple[str, str], list[str]] = {}
    for name in routes:
        _, route, cluster = name.split("/")
        same.setdefault((route, cluster), []).append(name)
        yield b""
    requests = Family(
        "gateway_route_requests_total", "Exchanges finished.", "route", "status_code", "upstream"
    )
    yield requests.head
    for (route, cluster), names in same.items():
        for code, count in zip(STATUS, _sums(shared, names, "status"), strict=False):
            if count:
                yield requests.sample((route, code, cluster), count)
        yield b""
    duration = HistogramFamily(
        "gateway_route_duration_seconds",
        "From the request head to the end of the response.",
        "route",
        "upstream",
    )
    yield duration.head
    for where, names in same.items():
        found = [record for _, (record,) in Records(shared, "route", "name", names=names).read("duration")]
        if found:
            counts = [sum(column) for column in zip(*(counts for _, counts in found), strict=True)]
            yield duration.samples(where, [sum(total for total, _ in found), counts])


def _sums(shared: Shared, names: list[str], field: str) -> list[int]:
    """Of these routes, place by place of a list."""
    found = [counts for _, (counts,) in Records(shared, "route", "name", names=names).read(field)]
    return found[0] if len(found) == 1 else [sum(column) for column in zip(*found, strict=True)]


def _health(present: Present) -> Iterator[Row]:
    for cluster in present.clusters():
        places: dict[tuple[str, str], list[Endpoint]] = {}
        for endpoint in cluster.endpoints:
            labels = endpoint.labels
            place = str(labels.get("datacenter") or labels.get("region") or ""), str(labels.get("zone") or "")
            places.setdefault(place, []).append(endpoint)
            yield None
        for place, endpoints in places.items():
            usable = sum(endpoint.usable for endpoint in endpoints)
            yield [cluster.name, *place], usable / len(endpoints)


def _breakers(shared: Shared, present: Present) -> Iterator[Row]:
    for cluster in present.clusters():
        if cluster.breaker is None:
            yield None
            continue
        worst = 0
        for state in _states(shared, cluster):
            worst = max(worst, state, key=BADNESS.__getitem__)
            yield None
        for index, name in enumerate(STATES):
            yield [cluster.name, name], index == worst


def _states(shared: Shared, cluster: Cluster) -> Iterator[int]:
    """Of the breaker of a cluster, or of those of its endpoints."""
    assert cluster.breaker is not None
    if cluster.breaker.gates:
        kind, names = "cluster_state", [cluster.name]
    else:
        kind, names = "endpoint_state", [f"{cluster.name}/{endpoint.name}" for endpoint in cluster.endpoints]
    for _, ((state, _times),) in Records(shared, kind, "name", names=names).read("breaker"):
        yield state
