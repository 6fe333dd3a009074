"""Metrics of health, breakers, placement and sessions: the state records of clusters and their endpoints."""

from __future__ import annotations

from collections.abc import Iterator

from lbd.engine.shared import Shared
from lbd.observe.present import Names, Present
from lbd.observe.records import Records
from lbd.observe.text import Family, Pieces, Row

COUNTERS = {
    "broken": ("lbd_breaker_refused_total", "Exchanges that an open circuit breaker refused."),
    "fallbacks": ("lbd_fallbacks_total", "Exchanges that a fallback served, or was to serve."),
    "ejections_denied": (
        "lbd_ejections_denied_total",
        "Endpoints kept although they failed, as too many were out.",
    ),
    "panic_picks": ("lbd_panic_picks_total", "Exchanges sent while health was ignored."),
    "cross_zone": ("lbd_cross_zone_total", "Exchanges sent to another zone than lbd's own."),
}
UNKNOWN, UP = 0, 1  # EndpointState.health
LABELS = ("cluster", "endpoint")


def resilience_metrics(shared: Shared, present: Present) -> Pieces:
    """All families, of clusters and of endpoints."""
    yield from _of_clusters(shared, present)
    yield from _of_endpoints(shared, present)
    yield from _of_breakers(shared, present)


def _of_clusters(shared: Shared, present: Present) -> Pieces:
    names = Names(lambda: (cluster.name for cluster in present.clusters()))
    records = Records(shared, "cluster", "cluster", names=names)
    states = Records(shared, "cluster_state", "cluster", names=names)
    for field, (name, text) in COUNTERS.items():
        yield from records.numbers(name, text, field)
    yield from records.several(
        "lbd_sessions_total",
        "Requests of sessions: kept at their endpoint, or lost to another.",
        "result",
        ("sticky_kept", "sticky_lost"),
        lambda kept, lost: (("kept", kept), ("lost", lost)),
    )
    yield from states.numbers("lbd_panic", "1 while health is ignored.", "panic")
    yield from states.numbers("lbd_panics_total", "Times health began to be ignored.", "panics")
    limit = Family("lbd_concurrency_limit", "The adaptive limit now.", "cluster")
    yield from limit.pieces(_limits(shared, present))
    region = Family("lbd_region_active", "1 for the region in use.", "cluster", "region")
    yield from region.pieces(_regions(present))


def _limits(shared: Shared, present: Present) -> Iterator[Row]:
    for cluster in present.clusters():
        if cluster.limiter is None:
            yield None
        else:
            limit = shared.read("cluster", cluster.name, "limit") or cluster.limiter.limit
            yield [cluster.name], limit


def _regions(present: Present) -> Iterator[Row]:
    for cluster in present.clusters():
        region = cluster.selection.region
        yield ([cluster.name, region], 1) if region else None


def _of_endpoints(shared: Shared, present: Present) -> Pieces:
    names = Names(lambda: (f"{cluster.name}/{endpoint.name}" for cluster, endpoint in present.endpoints()))
    states = Records(shared, "endpoint_state", *LABELS, names=names)
    healthy = Family(
        "lbd_endpoint_healthy", "What active checks say: 1 up, 0 down; absent before the first.", *LABELS
    )
    yield from healthy.pieces(
        None if health == UNKNOWN else (values, health == UP) for values, (health,) in states.read("health")
    )
    yield from states.several(
        "lbd_health_checks_total",
        "Active checks made.",
        "result",
        ("checks_ok", "checks_failed"),
        lambda ok, failed: (("ok", ok), ("failed", failed)),
    )
    ejected = Family("lbd_endpoint_ejected", "1 while passive checks hold it back.", *LABELS)
    yield from ejected.pieces((values, state != 0) for values, ((state, _),) in states.read("ejection"))
    ejections = Family("lbd_ejections_total", "Times passive checks held it back.", *LABELS)
    yield from ejections.pieces((values, times) for values, ((_, times),) in states.read("ejection"))
    rtt = Family("lbd_endpoint_rtt_seconds", "Round trip that checks measured.", *LABELS)
    yield from rtt.pieces((values, us / 1e6) if us else None for values, (us,) in states.read("rtt_us"))
    yield from states.numbers(
        "lbd_endpoint_admin_state", "What operators set: 0 ready, 1 draining, 2 disabled.", "admin"
    )
    weight = Family("lbd_endpoint_weight", "As configured, found or set at run time.", *LABELS)
    yield from weight.pieces(
        ([cluster.name, endpoint.name], endpoint.wanted_weight) for cluster, endpoint in present.endpoints()
    )


def _of_breakers(shared: Shared, present: Present) -> Pieces:
    states = Family(
        "lbd_breaker_state",
        "0 closed, 1 open, 2 half-open; endpoint is empty for the cluster's.",
        *LABELS,
    )
    yield from states.pieces(_breakers(shared, present, 0))
    opened = Family("lbd_breaker_opened_total", "Times a circuit breaker opened.", *LABELS)
    yield from opened.pieces(_breakers(shared, present, 1))


def _breakers(shared: Shared, present: Present, part: int) -> Iterator[Row]:
    """part: 0 their state, 1 how often they have opened."""
    for cluster in present.clusters():
        if cluster.breaker is None:
            yield None
        elif cluster.breaker.gates:
            yield [cluster.name, ""], shared.read("cluster_state", cluster.name, "breaker")[part]
        else:
            names = [f"{cluster.name}/{endpoint.name}" for endpoint in cluster.endpoints]
            for values, (circuit,) in Records(shared, "endpoint_state", *LABELS, names=names).read("breaker"):
                yield values, circuit[part]
