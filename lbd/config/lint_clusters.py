"""Rules of the linter about clusters. See lint.py."""

from __future__ import annotations

from collections.abc import Iterator

from lbd.config.lint import Finding
from lbd.config.lint_routes import routes_of
from lbd.config.messages import Location
from lbd.config.resilience import Retry
from lbd.config.schema import Cluster, Config
from lbd.config.units import format_duration, format_percentage

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 9.2.2
USUAL_IDLE = 5.0  # seconds after which common servers close unused connections
MOST_BUDGET = 0.5


def unused_cluster(config: Config) -> Iterator[Finding]:
    """A cluster that no listener, route or fallback leads to."""
    clusters = {cluster.name: cluster for cluster in config.clusters}
    waiting = [listener.cluster for listener in config.listeners if listener.cluster is not None]
    waiting += [route.cluster for _, _, route in routes_of(config) if route.cluster is not None]
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            fallback = clusters[name].fallback
            if fallback is not None and fallback.cluster is not None:
                waiting.append(fallback.cluster)
    for index, cluster in enumerate(config.clusters):
        if cluster.name not in used:
            yield Finding(
                ("clusters", index), "nothing leads here; remove it, or send a route or a fallback to it"
            )


def fallback_loop(config: Config) -> Iterator[Finding]:
    """Clusters that stand in for each other in a circle: when none can serve, all are asked for nothing."""
    clusters = {cluster.name: cluster for cluster in config.clusters}
    for index, cluster in enumerate(config.clusters):
        seen = [cluster.name]
        at = cluster
        while at.fallback is not None and at.fallback.cluster is not None:
            at = clusters[at.fallback.cluster]
            if at.name == cluster.name and cluster.name == min(seen):  # one finding for each circle
                circle = " -> ".join([*seen, cluster.name])
                yield Finding(
                    ("clusters", index, "fallback", "cluster"),
                    f"a circle: {circle}; let the last one respond, or end the circle",
                )
            if at.name in seen:
                break
            seen.append(at.name)


# retries ----------------------------------------------------------------------------------------------------


def _retries(config: Config) -> Iterator[tuple[Location, Retry, Cluster]]:
    clusters = {cluster.name: cluster for cluster in config.clusters}
    for index, cluster in enumerate(config.clusters):
        yield ("clusters", index, "retry"), cluster.retry, cluster
    for at, _, route in routes_of(config):
        if route.retry is not None and route.cluster is not None:
            yield (*at, "retry"), route.retry, clusters[route.cluster]


def unsafe_retry(config: Config) -> Iterator[Finding]:
    """Requests sent again although an endpoint may have acted on them, and acting twice is not the same."""
    for at, retry, _ in _retries(config):
        unsafe = [method for method in retry.methods if method not in REPEATABLE]
        after: list[str] = [cause for cause in retry.on if cause in ("reset", "timeout")]
        after += ["statuses"] if retry.statuses else []
        after += ["grpc"] if retry.grpc else []
        if unsafe and after and retry.limit:
            yield Finding(
                (*at, "methods"),
                f"{' and '.join(unsafe)} may be acted on twice ({', '.join(after)}); leave them out "
                "(an Idempotency-Key lets single requests through), or except their paths",
            )


def retry_without_peers(config: Config) -> Iterator[Finding]:
    """Further attempts that go to other endpoints only, in a cluster of one."""
    for at, retry, cluster in _retries(config):
        written = at[0] == "listeners" or "retry" in cluster.model_fields_set
        alone = len(cluster.endpoints) == 1 and cluster.discover is None
        if written and alone and retry.limit and retry.backoff is None and "limit" in retry.model_fields_set:
            yield Finding(
                (*at, "limit"),
                f"no effect: cluster {cluster.name} has one endpoint, and without a backoff further attempts "
                "go to others; give 'backoff', or add an endpoint",
            )


def large_retry_budget(config: Config) -> Iterator[Finding]:
    """A budget with which retries add more than half to an overload."""
    for index, cluster in enumerate(config.clusters):
        if cluster.retry_budget.ratio > MOST_BUDGET:
            yield Finding(
                ("clusters", index, "retry_budget", "ratio"),
                f"lets retries add {format_percentage(cluster.retry_budget.ratio)} to the load that caused "
                "them; 20% is usual",
            )


# connections and checks -------------------------------------------------------------------------------------


def idle_above_lifetime(config: Config) -> Iterator[Finding]:
    """Unused connections that are kept longer than any connection is used."""
    for index, cluster in enumerate(config.clusters):
        lifetime = cluster.connections.lifetime
        if lifetime is not None and cluster.timeouts.idle > lifetime:
            yield Finding(
                ("clusters", index, "timeouts", "idle"),
                f"longer than connections.lifetime ({format_duration(lifetime)}), after which a connection "
                "is not used again; shorten it",
            )


def idle_not_learned(config: Config) -> Iterator[Finding]:
    """Unused connections kept longer than common servers do, without learning when those close them."""
    for index, cluster in enumerate(config.clusters):
        if not cluster.connections.learn_idle and cluster.timeouts.idle >= USUAL_IDLE:
            yield Finding(
                ("clusters", index, "connections", "learn_idle"),
                "endpoints that close unused connections earlier than timeouts.idle "
                f"({format_duration(cluster.timeouts.idle)}; many do after 5s) break requests; leave it on, "
                "or keep idle below their time",
            )


def checks_overlap(config: Config) -> Iterator[Finding]:
    """Checks that may take longer than it is to the next one."""
    for index, cluster in enumerate(config.clusters):
        check = cluster.health_check
        if check is not None and check.timeout > check.interval:
            yield Finding(
                ("clusters", index, "health_check", "timeout"),
                f"longer than the interval ({format_duration(check.interval)}), so a silent endpoint is "
                "found later than that says; shorten it",
            )


def panic_without_checks(config: Config) -> Iterator[Finding]:
    """A panic threshold where nothing ever says that an endpoint is not well."""
    for index, cluster in enumerate(config.clusters):
        watched = cluster.health_check is not None or cluster.passive_check != "off"
        each = cluster.breaker is not None and cluster.breaker.scope == "endpoint"
        if cluster.panic_threshold and not watched and not each:
            yield Finding(
                ("clusters", index, "panic_threshold"),
                "no effect without checks; give 'health_check' or 'passive_check', or remove it",
            )


def panic_with_residency(config: Config) -> Iterator[Finding]:
    """Panic where only some regions may serve: without a usable one all endpoints do, those of others too."""
    for index, cluster in enumerate(config.clusters):
        if cluster.panic_threshold and cluster.regions is not None and cluster.regions.order:
            named = set(cluster.regions.order)
            others = {one.labels.get("region", "") for one in cluster.endpoints} - named
            if others or cluster.discover is not None:
                yield Finding(
                    ("clusters", index, "panic_threshold"),
                    "when no region of regions.order has a usable endpoint, panic lets endpoints of other "
                    "regions serve; where data must stay, remove it, or put those into another cluster",
                )


def places_without_labels(config: Config) -> Iterator[Finding]:
    """Zones or regions, and no endpoint that is labelled with one."""
    for index, cluster in enumerate(config.clusters):
        for name, setting in (("zone", cluster.zones), ("region", cluster.regions)):
            labelled = any(name in endpoint.labels for endpoint in cluster.endpoints)
            if setting is not None and not labelled and cluster.discover is None:
                yield Finding(
                    ("clusters", index, f"{name}s"),
                    f"no endpoint has a label {name!r}; label them, or remove the setting",
                )


def unverified_endpoints(config: Config) -> Iterator[Finding]:
    """TLS to endpoints whose certificates nobody looks at."""
    for index, cluster in enumerate(config.clusters):
        if cluster.tls is not None and cluster.tls.insecure_skip_verify:
            yield Finding(
                ("clusters", index, "tls", "insecure_skip_verify"),
                "anybody on the way can read and change everything; give the endpoints' authority as 'ca'",
            )
