"""The names gateway_*, beside lbd's own, for dashboards that were made for them: `admin.gateway_metrics`.

From the same records. Their label `method` is not there: lbd does not count by method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.shared import KNOWN_STATUS, Shared
from lbd.observe.histogram import histogram_rows

STATES = ("closed", "open", "half_open")
BADNESS = (0, 2, 1)  # of states: an open one is worse than one that is tried again


def gateway_metrics(shared: Shared, clusters: Iterable[Cluster]) -> Iterator[Metric]:
    """All four families."""
    clusters = list(clusters)
    yield from _of_routes(shared)
    yield _health(clusters)
    yield _breakers(shared, clusters)


def _of_routes(shared: Shared) -> Iterator[Metric]:
    """Routes of the same name in several listeners are one."""
    requests: dict[tuple[str, str, str], int] = {}
    durations: dict[tuple[str, str], list[Any]] = {}
    codes = ("other", *map(str, KNOWN_STATUS))
    for name in shared.names("route"):
        record = shared.read("route", name)
        _, route, cluster = name.split("/")
        for code, count in zip(codes, record["status"], strict=False):
            if count:
                key = (route, code, cluster)
                requests[key] = requests.get(key, 0) + count
        total, counts = record["duration"]
        before, so_far = durations.get((route, cluster), (0.0, [0] * len(counts)))
        durations[route, cluster] = [before + total, [a + b for a, b in zip(so_far, counts, strict=True)]]
    family = CounterMetricFamily(
        "gateway_route_requests", "Exchanges finished.", labels=["route", "status_code", "upstream"]
    )
    for key, count in requests.items():
        family.add_metric(key, count)
    yield family
    duration = HistogramMetricFamily(
        "gateway_route_duration_seconds",
        "From the request head to the end of the response.",
        labels=["route", "upstream"],
    )
    for where, sums in durations.items():
        rows, total = histogram_rows(sums)
        duration.add_metric(where, rows, total)
    yield duration


def _health(clusters: list[Cluster]) -> Metric:
    family = GaugeMetricFamily(
        "gateway_upstream_health",
        "Share of the endpoints there that may be picked, 0 to 1.",
        labels=["upstream", "datacenter", "zone"],
    )
    for cluster in clusters:
        places: dict[tuple[str, str], list[Endpoint]] = {}
        for endpoint in cluster.endpoints:
            labels = endpoint.labels
            place = str(labels.get("datacenter") or labels.get("region") or ""), str(labels.get("zone") or "")
            places.setdefault(place, []).append(endpoint)
        for place, endpoints in places.items():
            usable = sum(endpoint.usable for endpoint in endpoints)
            family.add_metric([cluster.name, *place], usable / len(endpoints))
    return family


def _breakers(shared: Shared, clusters: list[Cluster]) -> Metric:
    family = GaugeMetricFamily(
        "gateway_circuit_breaker_state",
        "1 for the state that it is in; with breakers of endpoints, that of the worst.",
        labels=["service", "state"],
    )
    for cluster in clusters:
        if cluster.breaker is None:
            continue
        if cluster.breaker.gates:
            found = [shared.read("cluster_state", cluster.name)["breaker"][0]]
        else:
            names = (f"{cluster.name}/{endpoint.name}" for endpoint in cluster.endpoints)
            found = [shared.read("endpoint_state", name)["breaker"][0] for name in names]
        worst = max(found, key=BADNESS.__getitem__, default=0)
        for index, state in enumerate(STATES):
            family.add_metric([cluster.name, state], int(index == worst))
    return family
