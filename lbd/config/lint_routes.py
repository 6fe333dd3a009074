"""Rules of the linter about routes. See lint.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lbd.config.lint import Finding
from lbd.config.messages import Location
from lbd.config.resilience import Retry
from lbd.config.schema import Cluster, Config, Match, Route
from lbd.config.units import format_duration

KEYED_BY_OPTION = ("hash", "ring_hash", "maglev")


def routes_of(config: Config) -> Iterator[tuple[Location, str, Route]]:
    """Every route with its place and its name; a listener's `cluster` counts as one."""
    for index, listener in enumerate(config.listeners):
        for number, route in enumerate(listener.routes):
            yield ("listeners", index, "routes", number), route.name or f"{listener.name}[{number}]", route
        if not listener.routes and listener.cluster is not None and listener.protocol == "http":
            yield ("listeners", index), f"{listener.name}[0]", Route(cluster=listener.cluster)


def _with_clusters(config: Config) -> Iterator[tuple[Location, str, Route, Cluster]]:
    clusters = {cluster.name: cluster for cluster in config.clusters}
    for at, name, route in routes_of(config):
        if route.cluster is not None:
            yield at, name, route, clusters[route.cluster]


# never matching ---------------------------------------------------------------------------------------------


def shadowed_route(config: Config) -> Iterator[Finding]:
    """A route that is never chosen: each of its requests goes to one that is tried before it."""
    for index, listener in enumerate(config.listeners):
        tried: dict[str | None, list[int]] = {}
        for number, route in enumerate(listener.routes):
            for host in route.match.host or (None,):
                tried.setdefault(host, []).append(number)
        for number in range(len(listener.routes)):
            if (other := _shadow(number, listener.routes, tried)) is not None:
                name = listener.routes[other].name or f"{listener.name}[{other}]"
                where = config.places.of("listeners", index, "routes", other)
                yield Finding(
                    ("listeners", index, "routes", number),
                    f"never chosen: all of its requests go to route {name}"
                    + (f" ({where})" if where else "")
                    + "; remove it, or give it a higher priority",
                )


def _shadow(number: int, routes: tuple[Route, ...], tried: Mapping[str | None, list[int]]) -> int | None:
    """A route that takes all requests of this one before it, on its own."""
    route = routes[number]
    hosts = route.match.host or (None,)
    candidates = {other for key in _hosts_around(hosts[0]) for other in tried.get(key, ())}
    for other in sorted(candidates - {number}):
        if _comes_first(routes[other], other, route, number) and _covers(routes[other].match, route.match):
            return other
    return None


def _hosts_around(host: str | None) -> Iterator[str | None]:
    """What a route with this host could be covered by: itself, wildcards, any."""
    yield None
    if host is not None:
        yield host
        labels = host.removeprefix("*.").split(".")
        yield from (
            "*." + ".".join(labels[at:]) for at in range(0 if host.startswith("*.") else 1, len(labels))
        )


def _comes_first(one: Route, at: int, other: Route, other_at: int) -> bool:
    """Is it tried before the other, for whatever both match? Specific hosts and paths come first within one
    priority, so there only what is written alike can be told."""
    if one.priority != other.priority:
        return one.priority > other.priority
    alike = set(other.match.host) == set(one.match.host) and set(other.match.path) == set(one.match.path)
    return alike and _conditions(one.match) == _conditions(other.match) and at < other_at


def _conditions(match: Match) -> int:
    """How many there are beside host and path: of two alike routes, the one with more is tried first."""
    single = (match.method, match.source, match.client_certificate, match.body_size)
    return sum(map(bool, single)) + len(match.header) + len(match.query) + len(match.cookie)


def _covers(wide: Match, narrow: Match) -> bool:
    """Does `wide` hold for every request for which `narrow` does? False when that is not certain."""
    if wide.host and not (
        narrow.host and all(any(_host_covers(w, n) for w in wide.host) for n in narrow.host)
    ):
        return False
    if wide.path and not all(any(_path_covers(w, n) for w in wide.path) for n in narrow.path or ("/*",)):
        return False
    if wide.method and not (narrow.method and set(narrow.method) <= set(wide.method)):
        return False
    for of_wide, of_narrow in (
        (wide.header, narrow.header),
        (wide.query, narrow.query),
        (wide.cookie, narrow.cookie),
    ):
        if not all(
            name in of_narrow and _values_cover(values, of_narrow[name]) for name, values in of_wide.items()
        ):
            return False
    rest = ("source", "client_certificate", "body_size")
    return all(not getattr(wide, name) or getattr(wide, name) == getattr(narrow, name) for name in rest)


def _host_covers(wide: str, narrow: str) -> bool:
    return wide == narrow or (wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:]))


def _path_covers(wide: str, narrow: str) -> bool:
    a, b = wide[1:].split("/"), narrow[1:].split("/")
    below_a, below_b = a[-1] == "*", b[-1] == "*"
    a, b = a[: -1 if below_a else None], b[: -1 if below_b else None]
    if len(a) > len(b) or (not below_a and (below_b or len(a) != len(b))):
        return False
    return all(_segment_covers(one, other) for one, other in zip(a, b, strict=False))


def _segment_covers(wide: str, narrow: str) -> bool:
    """`:id` covers every segment that is not empty; `:id:run` those that end so."""
    if not wide.startswith(":"):
        return wide == narrow
    suffix = wide[1:].partition(":")[1] + wide[1:].partition(":")[2]
    if narrow.startswith(":"):
        other = narrow[1:].partition(":")[1] + narrow[1:].partition(":")[2]
        return other.endswith(suffix)
    return len(narrow) > len(suffix) and narrow.endswith(suffix)


def _values_cover(wide: tuple[str, ...] | bool, narrow: tuple[str, ...] | bool) -> bool:
    if wide is True:
        return narrow is not False
    if isinstance(wide, bool) or isinstance(narrow, bool):
        return wide is narrow
    return "*" in wide or set(narrow) <= set(wide)


def labels_of_nobody(config: Config) -> Iterator[Finding]:
    """A route for endpoints with labels that no endpoint of its cluster has: always 503."""
    for at, _, route, cluster in _with_clusters(config):
        if route.endpoint_labels and cluster.discover is None and cluster.fallback is None:
            wanted = route.endpoint_labels.items()
            if not any(wanted <= endpoint.labels.items() for endpoint in cluster.endpoints):
                yield Finding(
                    (*at, "endpoint_labels"),
                    f"no endpoint of cluster {cluster.name} has these labels, so every request gets 503; "
                    "label one, or correct them",
                )


def no_key_in_path(config: Config) -> Iterator[Finding]:
    """A cluster that chooses by a capture, and a route to it whose paths do not capture that."""
    for at, _, route, cluster in _with_clusters(config):
        for what, name in _captures_wanted(cluster):
            paths = route.match.path or ("/*",)
            if any(name not in _captured(path) for path in paths):
                place: Location = (*at, "match", "path") if route.match.path else at
                yield Finding(
                    place,
                    f"{what} of cluster {cluster.name} goes by the capture {name!r}, which this path does "
                    "not have: its requests have no key; capture it, or choose by something else",
                )


def _captures_wanted(cluster: Cluster) -> Iterator[tuple[str, str]]:
    key = getattr(cluster.balancer.options, "key", None)
    if key is not None and key.kind == "capture":
        yield "the balancer", key.name
    if cluster.sticky is not None and cluster.sticky.key is not None and cluster.sticky.key.kind == "capture":
        yield "the session", cluster.sticky.key.name


def _captured(path: str) -> set[str]:
    return {part[1:].partition(":")[0] for part in path.split("/") if part.startswith(":")}


def no_client_certificates(config: Config) -> Iterator[Finding]:
    """A route for certificates of clients, on a listener that asks for none: it never matches."""
    for index, listener in enumerate(config.listeners):
        asked = listener.tls is not None and listener.tls.client_certificate is not None
        for number, route in enumerate(listener.routes):
            if route.match.client_certificate is not None and not asked:
                yield Finding(
                    ("listeners", index, "routes", number, "match", "client_certificate"),
                    "never matches: the listener asks no client for a certificate; "
                    "give tls.client_certificate, or remove the condition",
                )


# times ------------------------------------------------------------------------------------------------------


def timeout_above_total(config: Config) -> Iterator[Finding]:
    """A timeout of a route that its `timeouts.total` always ends first."""
    for at, _, route in routes_of(config):
        total = route.timeouts.total
        for name in ("response", "body"):
            value: Any = getattr(route.timeouts, name)
            if total is not None and value is not None and value > total:
                yield Finding(
                    (*at, "timeouts", name),
                    f"never reached: timeouts.total ends the exchange after {format_duration(total)}; "
                    "shorten it, or lengthen the total",
                )


def retries_above_total(config: Config) -> Iterator[Finding]:
    """Further attempts for which `timeouts.total` leaves no time."""
    for at, _, route, cluster in _with_clusters(config):
        total, retry = route.timeouts.total, route.retry or cluster.retry
        if total is None or not retry.limit or not _may_time_out(retry):
            continue
        response = route.timeouts.response or cluster.timeouts.response
        attempt = min(retry.try_timeout or response, response)
        needed = attempt * retry.limit + sum(_waits(retry))
        if needed >= total:
            place: Location = (*at, "retry") if route.retry is not None else (*at, "timeouts", "total")
            yield Finding(
                place,
                f"attempts that time out take {format_duration(attempt)} each, and {retry.limit} of them "
                f"leave nothing of timeouts.total ({format_duration(total)}) for the last; give a shorter "
                "try_timeout, fewer attempts, or a longer total",
            )


def _may_time_out(retry: Retry) -> bool:
    return "timeout" in retry.on


def _waits(retry: Retry) -> Iterator[float]:
    """The longest wait before each further attempt."""
    if retry.backoff is not None:
        growth = retry.backoff.multiplier if retry.backoff.kind == "exponential" else 1.0
        for turn in range(retry.limit):
            yield min(retry.backoff.max, retry.backoff.base * growth**turn)


def queue_above_total(config: Config) -> Iterator[Finding]:
    """A wait for a connection that is longer than the whole exchange may take."""
    for at, _, route, cluster in _with_clusters(config):
        queue, total = cluster.timeouts.queue, route.timeouts.total
        if total is not None and queue > total and "queue" in cluster.timeouts.model_fields_set:
            yield Finding(
                (*at, "timeouts", "total"),
                f"shorter than the wait for a connection to cluster {cluster.name} "
                f"(timeouts.queue: {format_duration(queue)}); shorten that",
            )


def try_above_response(config: Config) -> Iterator[Finding]:
    """A `try_timeout` that the timeout for the response always ends first."""
    for index, cluster in enumerate(config.clusters):
        yield from _try_above(("clusters", index, "retry"), cluster.retry, cluster.timeouts.response)
    for at, _, route, cluster in _with_clusters(config):
        if route.retry is not None:
            response = route.timeouts.response or cluster.timeouts.response
            yield from _try_above((*at, "retry"), route.retry, response)


def _try_above(at: Location, retry: Retry, response: float) -> Iterator[Finding]:
    if retry.try_timeout is not None and retry.try_timeout >= response:
        yield Finding(
            (*at, "try_timeout"),
            f"has no effect: timeouts.response ends each attempt after {format_duration(response)}; "
            "shorten it, or remove it",
        )
