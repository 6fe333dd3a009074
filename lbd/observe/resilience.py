"""Metrics of health, breakers, placement and sessions: the state records of clusters and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from lbd.engine.cluster import Cluster
from lbd.engine.shared import Shared

COUNTERS = {
    "broken": ("lbd_breaker_refused", "Exchanges that an open circuit breaker refused."),
    "fallbacks": ("lbd_fallbacks", "Exchanges that a fallback served, or was to serve."),
    "ejections_denied": (
        "lbd_ejections_denied",
        "Endpoints kept although they failed, as too many were out.",
    ),
    "panic_picks": ("lbd_panic_picks", "Exchanges sent while health was ignored."),
    "cross_zone": ("lbd_cross_zone", "Exchanges sent to another zone than lbd's own."),
}
UNKNOWN, UP = 0, 1  # EndpointState.health


def resilience_metrics(shared: Shared, clusters: Iterable[Cluster]) -> Iterator[Metric]:
    """All families, of clusters and of endpoints."""
    clusters = list(clusters)
    yield from _of_clusters(shared, clusters)
    yield from _of_endpoints(shared, clusters)
    yield from _of_breakers(shared, clusters)


def _of_clusters(shared: Shared, clusters: list[Cluster]) -> Iterator[Metric]:
    counters = {
        key: CounterMetricFamily(name, text, labels=["cluster"]) for key, (name, text) in COUNTERS.items()
    }
    sticky = CounterMetricFamily(
        "lbd_sessions",
        "Requests of sessions: kept at their endpoint, or lost to another.",
        labels=["cluster", "result"],
    )
    panic = GaugeMetricFamily("lbd_panic", "1 while health is ignored.", labels=["cluster"])
    panics = CounterMetricFamily("lbd_panics", "Times health began to be ignored.", labels=["cluster"])
    limit = GaugeMetricFamily("lbd_concurrency_limit", "The adaptive limit now.", labels=["cluster"])
    region = GaugeMetricFamily("lbd_region_active", "1 for the region in use.", labels=["cluster", "region"])
    for cluster in clusters:
        record = shared.read("cluster", cluster.name)
        state = shared.read("cluster_state", cluster.name)
        for key, counter in counters.items():
            counter.add_metric([cluster.name], record[key])
        sticky.add_metric([cluster.name, "kept"], record["sticky_kept"])
        sticky.add_metric([cluster.name, "lost"], record["sticky_lost"])
        panic.add_metric([cluster.name], state["panic"])
        panics.add_metric([cluster.name], state["panics"])
        if cluster.limiter is not None:
            limit.add_metric([cluster.name], record["limit"] or cluster.limiter.limit)
        if cluster.selection.region:
            region.add_metric([cluster.name, cluster.selection.region], 1)
    yield from (*counters.values(), sticky, panic, panics, limit, region)


def _of_endpoints(shared: Shared, clusters: list[Cluster]) -> Iterator[Metric]:
    labels = ["cluster", "endpoint"]
    healthy = GaugeMetricFamily(
        "lbd_endpoint_healthy",
        "What active checks say: 1 up, 0 down; absent before the first.",
        labels=labels,
    )
    checks = CounterMetricFamily("lbd_health_checks", "Active checks made.", labels=[*labels, "result"])
    ejected = GaugeMetricFamily("lbd_endpoint_ejected", "1 while passive checks hold it back.", labels=labels)
    ejections = CounterMetricFamily("lbd_ejections", "Times passive checks held it back.", labels=labels)
    rtt = GaugeMetricFamily("lbd_endpoint_rtt_seconds", "Round trip that checks measured.", labels=labels)
    admin = GaugeMetricFamily(
        "lbd_endpoint_admin_state", "What operators set: 0 ready, 1 draining, 2 disabled.", labels=labels
    )
    for values, record in _states(shared, clusters):
        admin.add_metric(values, record["admin"])
        if record["health"] != UNKNOWN:
            healthy.add_metric(values, int(record["health"] == UP))
        checks.add_metric([*values, "ok"], record["checks_ok"])
        checks.add_metric([*values, "failed"], record["checks_failed"])
        state, times = record["ejection"]
        ejected.add_metric(values, int(state != 0))
        ejections.add_metric(values, times)
        if record["rtt_us"]:
            rtt.add_metric(values, record["rtt_us"] / 1e6)
    weight = GaugeMetricFamily(
        "lbd_endpoint_weight", "As configured, found or set at run time.", labels=labels
    )
    for cluster in clusters:
        for endpoint in cluster.endpoints:
            weight.add_metric([cluster.name, endpoint.name], endpoint.wanted_weight)
    yield from (healthy, checks, ejected, ejections, rtt, admin, weight)


def _of_breakers(shared: Shared, clusters: list[Cluster]) -> Iterator[Metric]:
    labels = ["cluster", "endpoint"]
    states = GaugeMetricFamily(
        "lbd_breaker_state",
        "0 closed, 1 open, 2 half-open; endpoint is empty for the cluster's.",
        labels=labels,
    )
    opened = CounterMetricFamily("lbd_breaker_opened", "Times a circuit breaker opened.", labels=labels)
    for cluster in clusters:
        if cluster.breaker is None:
            continue
        rows: Iterable[tuple[list[str], list[int]]]
        if cluster.breaker.gates:
            rows = [([cluster.name, ""], shared.read("cluster_state", cluster.name)["breaker"])]
        else:
            rows = [(values, record["breaker"]) for values, record in _states(shared, [cluster])]
        for values, (state, times) in rows:
            states.add_metric(values, state)
            opened.add_metric(values, times)
    yield from (states, opened)


def _states(shared: Shared, clusters: list[Cluster]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for cluster in clusters:
        for endpoint in cluster.endpoints:
            values = [cluster.name, endpoint.name]
            yield values, shared.read("endpoint_state", f"{cluster.name}/{endpoint.name}")
