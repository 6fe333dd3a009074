"""Metrics of what goes through: the records of routes, listeners, endpoints and clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbd.engine.reasons import CODES
from lbd.engine.retry import CAUSES
from lbd.engine.shared import KNOWN_STATUS, Shared
from lbd.observe.present import Present
from lbd.observe.records import Records, Said
from lbd.observe.text import Family, Pieces

STATUS = ("other", *map(str, KNOWN_STATUS))
STATUS_CLASS = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
GRPC_STATUS = (*map(str, range(17)), "other")  # the last: without a status, or with an unknown one


def route_metrics(shared: Shared, names: Iterable[str]) -> Pieces:
    """Of these routes, in whichever listener."""
    routes = Records(shared, "route", "listener", "route", "cluster", names=names)
    yield from routes.several(
        "lbd_requests_total", "Exchanges finished.", "code", ("status",), lambda counts: seen(STATUS, counts)
    )
    yield from routes.numbers("lbd_request_bytes_total", "Request body bytes received.", "bytes_received")
    yield from routes.numbers("lbd_response_bytes_total", "Response body bytes sent.", "bytes_sent")
    yield from routes.histogram(
        "lbd_request_duration_seconds", "From the request head to the end of the response.", "duration"
    )
    yield from routes.several(
        "lbd_grpc_responses_total",
        "gRPC calls finished, by their status.",
        "grpc_status",
        ("grpc",),
        lambda counts: seen(GRPC_STATUS, counts),
    )


def seen(names: Sequence[str], counts: Sequence[int]) -> Said:
    """Those that are not 0."""
    if not any(counts):
        return ()
    return [(name, count) for name, count in zip(names, counts, strict=False) if count]


def listener_metrics(shared: Shared, names: Iterable[str]) -> Pieces:
    """Of these listeners."""
    listeners = Records(shared, "listener", "listener", names=names)
    yield from listeners.numbers("lbd_connections_total", "Client connections accepted.", "accepted")
    yield from listeners.numbers("lbd_connections_open", "Client connections open.", "open")
    yield from listeners.numbers("lbd_accept_errors_total", "Failed accepts.", "accept_errors")
    yield from listeners.numbers(
        "lbd_accept_pauses_total",
        "Times accepting stopped for lack of slots, fds or memory.",
        "accept_pauses",
    )
    yield from listeners.several(
        "lbd_errors_total",
        "Exchanges and tunnels that lbd ended, by reason.",
        "reason",
        ("reasons",),
        lambda counts: [(code, count) for (code, _), count in zip(CODES, counts, strict=True) if code],
    )
    yield from listeners.several(
        "lbd_tunnel_bytes_total",
        "Bytes of finished TCP connections.",
        "direction",
        ("bytes_received", "bytes_sent"),
        lambda received, sent: (("received", received), ("sent", sent)),
    )
    yield from listeners.several(
        "lbd_tls_handshakes_total",
        "TLS handshakes completed.",
        "resumed",
        ("resumed", "handshakes"),
        lambda resumed, handshakes: (("yes", resumed), ("no", handshakes - resumed)),
    )
    yield from listeners.numbers(
        "lbd_http2_connections_total", "Client connections that spoke HTTP/2.", "http2"
    )


def endpoint_metrics(shared: Shared, present: Present) -> Pieces:
    """Of all endpoints, those that went lately as well; states only of those that are there."""
    endpoints = Records(shared, "endpoint", "cluster", "endpoint")
    yield from endpoints.several(
        "lbd_upstream_requests_total",
        "Attempts by the class of their response.",
        "code",
        ("status_class",),
        lambda counts: zip(STATUS_CLASS, counts, strict=True),
    )
    yield from endpoints.numbers("lbd_upstream_connects_total", "Connections opened.", "connects")
    yield from endpoints.numbers(
        "lbd_upstream_connect_failures_total", "Connections that failed.", "connect_failures"
    )
    yield from endpoints.numbers("lbd_upstream_reused_total", "Requests on a pooled connection.", "reused")
    yield from endpoints.numbers(
        "lbd_upstream_failures_total", "Attempts that failed for the endpoint's fault.", "failures"
    )
    yield from endpoints.numbers("lbd_upstream_active", "Exchanges and tunnels under way.", "active")
    yield from endpoints.numbers("lbd_queue_depth", "Exchanges that wait for a connection.", "queued")
    yield from endpoints.several(
        "lbd_upstream_connections",
        "Connections, by state.",
        "state",
        ("idle", "open"),
        lambda idle, is_open: (("idle", idle), ("busy", is_open - idle)),
    )
    yield from endpoints.histogram(
        "lbd_upstream_response_seconds", "From the request sent to the response head.", "first_byte"
    )
    yield from _of_present(present)


def _of_present(present: Present) -> Pieces:
    labels = ("cluster", "endpoint")
    up = Family("lbd_endpoint_up", "1 when the endpoint may be picked.", *labels)
    yield from up.pieces(
        ([cluster.name, endpoint.name], endpoint.usable) for cluster, endpoint in present.endpoints()
    )
    limit = Family(
        "lbd_endpoint_idle_limit_seconds",
        "For how long a connection may be unused and is used again, as configured or learned.",
        *labels,
    )
    yield from limit.pieces(
        ([cluster.name, endpoint.name], endpoint.pool.idle_seconds)
        for cluster, endpoint in present.endpoints()
    )


def cluster_metrics(shared: Shared, names: Iterable[str]) -> Pieces:
    """Of these clusters: further attempts, and what was refused."""
    clusters = Records(shared, "cluster", "cluster", names=names)
    yield from clusters.several(
        "lbd_retries_total",
        "Further attempts, by what caused them.",
        "reason",
        ("retries",),
        lambda counts: [(reason, counts[index]) for reason, index in CAUSES.items()],
    )
    yield from clusters.numbers(
        "lbd_retries_denied_total", "Further attempts that the budget did not allow.", "retries_denied"
    )
    yield from clusters.numbers("lbd_hedges_total", "Second attempts beside a slow first one.", "hedges")
    yield from clusters.numbers("lbd_hedges_won_total", "Second attempts that were faster.", "hedges_won")
    yield from clusters.numbers(
        "lbd_shed_total", "Exchanges refused because too many were under way.", "shed"
    )
