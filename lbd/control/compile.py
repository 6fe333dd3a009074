"""Config -> Runtime: everything the data plane needs, built aside and immutable once it serves.

The only place that knows both the settings and the engine. Units change here: seconds to milliseconds,
text to bytes. Records in the shared block are found by identity (names), so that what stays keeps its
numbers when a later generation is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lbd import registry
from lbd.config import resilience, schema, transport
from lbd.config.units import is_ip, join_address, split_address
from lbd.control.routes import conditions_of, entries_of
from lbd.control.tls import client_tls, server_tls, ticket_keys
from lbd.engine.accesslog import LogWriter, TextLog
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.listener import Listener
from lbd.engine.pool import ConnectionPool, Protocol
from lbd.engine.reactor import Reactor
from lbd.engine.retry import RetryBudget, RetryPolicy
from lbd.engine.router import Matcher, Respond, Route, Router
from lbd.engine.shared import Shared
from lbd.engine.tls import ClientTls, ServerTls
from lbd.engine.upstream_http1 import Http1
from lbd.engine.upstream_http2 import Http2

PATH_MODES = {"normalize": 0, "reject": 1, "as_is": 2}
# Trailers that say something about the body and change nothing else (RFC 9110 6.5.1); grpc-* and
# x-amz-checksum-* pass as well, see engine/rewrite.pyx.
TRAILERS = (
    "server-timing",
    "digest",
    "content-digest",
    "repr-digest",
    "content-md5",
    "x-checksum",
    "x-stream-error",
)

GRPC_CODES = {
    "cancelled": 1,
    "unknown": 2,
    "deadline_exceeded": 4,
    "resource_exhausted": 8,
    "aborted": 10,
    "internal": 13,
    "unavailable": 14,
    "data_loss": 15,
}

URGENCIES = ("high", "normal", "low")

Addresses = Mapping[str, str]


@dataclass(slots=True)
class Runtime:
    """The compiled snapshot of one config generation, in one worker."""

    config: schema.Config
    listeners: dict[str, Listener] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    log_writers: dict[str, LogWriter] = field(default_factory=dict)


def compile_runtime(
    config: schema.Config,
    reactor: Reactor,
    shared: Shared,
    addresses: Addresses,
    *,
    worker: int = 0,
    open_log: Callable[[str], LogWriter],
    ticket_secret: bytes = b"",
    now: float = 0.0,
) -> Runtime:
    """Build the Runtime. `addresses`: host of an endpoint -> IP literal; a missing one is unresolved.

    `ticket_secret` (the same in all workers) and `now` (Unix time) make the keys of TLS session tickets.
    TlsSettingError for files that TLS needs and that cannot be used.
    """
    runtime = Runtime(config)
    for cluster in config.clusters:
        runtime.clusters[cluster.name] = _cluster(cluster, reactor, shared, addresses, worker)
    for listener in config.listeners:
        tls = server_tls(listener, ticket_keys(ticket_secret, now)) if listener.tls is not None else None
        runtime.listeners[listener.name] = _listener(
            listener, runtime, reactor, shared, worker, open_log, tls
        )
    return runtime


def milliseconds(seconds: float | None) -> int:
    """For the engine: 0 means none, so anything shorter than a millisecond is one."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


def _cluster(
    setting: schema.Cluster, reactor: Reactor, shared: Shared, addresses: Addresses, worker: int
) -> Cluster:
    tls = client_tls(setting) if setting.tls is not None else None
    endpoints = [
        Endpoint(
            endpoint.name or endpoint.address,
            endpoint.address,
            weight=endpoint.weight,
            labels=dict(endpoint.labels),
            pool=_pool(setting, endpoint, reactor, addresses, tls),
            shared=shared,
            cluster=setting.name,
            worker=worker,
        )
        for endpoint in setting.endpoints
    ]
    options = setting.balancer.options
    return Cluster(
        setting.name,
        endpoints,
        balancer_class=registry.resolve("balancer", setting.balancer.name),
        options=options.model_dump() if options is not None else {},
        protocol=_protocol(setting),
        host=setting.host.encode() if setting.host else None,
        reactor=reactor,
        shared=shared,
        worker=worker,
        retry=_retry(setting.retry),
        budget=RetryBudget(setting.retry_budget.ratio, setting.retry_budget.per_second),
        max_requests=setting.max_requests or 0,
        response_ms=milliseconds(setting.timeouts.response),
        body_ms=milliseconds(setting.timeouts.body),
        queue_ms=milliseconds(setting.timeouts.queue),
    )


def _retry(setting: resilience.Retry) -> RetryPolicy | None:
    if setting.limit == 0 and setting.hedge_after is None:
        return None
    backoff = setting.backoff
    return RetryPolicy(
        limit=setting.limit,
        causes=setting.on,
        statuses=setting.statuses,
        grpc=[GRPC_CODES[name] for name in setting.grpc],
        methods=setting.methods,
        by_key=setting.idempotency_key,
        excepted=[(path.removesuffix("/*").encode(), path.endswith("/*")) for path in setting.except_paths],
        try_ms=milliseconds(setting.try_timeout),
        base_ms=milliseconds(backoff.base) if backoff else 0,
        longest_ms=milliseconds(backoff.max) if backoff else 0,
        multiplier=backoff.multiplier if backoff and backoff.kind == "exponential" else 0,
        jitter=backoff is not None and backoff.jitter,
        buffer=setting.buffer,
        hedge_ms=milliseconds(setting.hedge_after),
    )


def _protocol(setting: schema.Cluster) -> Protocol:
    if setting.protocol == "http1":
        return Http1()
    return Http2(streams=setting.http2.streams, may_be_http1=setting.protocol == "auto")


def _pool(
    setting: schema.Cluster,
    endpoint: schema.Endpoint,
    reactor: Reactor,
    addresses: Addresses,
    tls: ClientTls | None,
) -> ConnectionPool:
    host, port = split_address(endpoint.address)
    connections, socket = setting.connections, setting.socket
    name = (setting.tls.sni if setting.tls is not None else None) or host
    return ConnectionPool(
        reactor,
        addresses.get(host),
        port,
        max_open=connections.max or 0,
        max_idle=connections.idle,
        max_queue=connections.pending,
        max_requests=connections.requests or 0,
        connect_ms=milliseconds(setting.timeouts.connect),
        idle_ms=milliseconds(setting.timeouts.idle),
        lifetime_ms=milliseconds(connections.lifetime),
        tls=tls,
        tls_name=name.encode(),
        tls_name_is_ip=is_ip(name),
        proxy_version={None: 0, "v1": 1, "v2": 2}[setting.proxy_protocol],
        keepalive_s=math.ceil(socket.keepalive or 0),
        user_timeout_ms=milliseconds(socket.user_timeout),
        congestion=socket.congestion.encode() if socket.congestion else None,
        fast_open=socket.fast_open > 0,
        learn_idle=connections.learn_idle,
        warm=connections.warm,
        protocol=_protocol(setting),
    )


def _listener(
    setting: schema.Listener,
    runtime: Runtime,
    reactor: Reactor,
    shared: Shared,
    worker: int,
    open_log: Callable[[str], LogWriter],
    tls: ServerTls | None,
) -> Listener:
    timeouts, limits = setting.timeouts, setting.limits
    is_tcp = setting.protocol == "tcp"
    host, port = split_address(setting.bind[0])
    return Listener(
        setting.name,
        reactor,
        shared=shared,
        worker=worker,
        router=None if is_tcp else build_router(setting, runtime.clusters, shared, worker),
        cluster=runtime.clusters[setting.cluster] if is_tcp and setting.cluster else None,
        access_log=None if is_tcp else _access_log(setting, runtime, open_log),
        head_ms=milliseconds(timeouts.head),
        body_ms=milliseconds(timeouts.body),
        idle_ms=milliseconds(timeouts.idle),
        write_ms=milliseconds(timeouts.write),
        tunnel_ms=milliseconds(timeouts.tunnel),
        request_line=limits.request_line,
        head=limits.head,
        fields=limits.fields,
        body=-1 if limits.body is None else limits.body,
        body_rate=limits.body_rate,
        connections=limits.connections,
        keep_underscore=setting.underscore_fields == "keep",
        path_mode=PATH_MODES[setting.path],
        trusted=[str(network) for network in setting.trusted_proxies],
        trailers=(*TRAILERS, *setting.trailers),
        authority=_authority(host, port),
        tls=tls,
        proxy_sources=[str(network) for network in setting.proxy_protocol],
        handshake_ms=milliseconds(timeouts.handshake),
        hsts=_hsts(setting.hsts) if setting.hsts else None,
        redirect=_redirect(setting.https_redirect) if setting.https_redirect else None,
        rfc7239=setting.forwarded,
        http2=None if isinstance(setting.http2, str) else setting.http2.model_dump(),
    )


def _authority(host: str, port: int) -> bytes:
    """What stands for Host in requests of HTTP/1.0 without one."""
    return b"localhost" if host.startswith("unix:") else join_address(host or "localhost", port).encode()


def _hsts(setting: transport.Hsts) -> bytes:
    """The field line (RFC 6797, section 6.1)."""
    value = f"max-age={int(setting.max_age)}"
    value += "; includeSubDomains" if setting.include_subdomains else ""
    value += "; preload" if setting.preload else ""
    return f"Strict-Transport-Security: {value}\r\n".encode()


def _redirect(setting: transport.HttpsRedirect) -> Respond:
    return Respond(setting.status, https_port=setting.port)


def _access_log(
    setting: schema.Listener, runtime: Runtime, open_log: Callable[[str], LogWriter]
) -> TextLog | None:
    chosen = setting.access_log if setting.access_log is not None else runtime.config.access_log
    if not isinstance(chosen, schema.AccessLog):
        return None
    target = chosen.to if chosen.to == "stdout" else str(Path(chosen.to))
    if target not in runtime.log_writers:
        runtime.log_writers[target] = open_log(target)
    return TextLog(runtime.log_writers[target], chosen.format)


def routes_of(setting: schema.Listener) -> Sequence[schema.Route]:
    """The routes of an http listener; `cluster` is shorthand for one that matches everything."""
    if setting.https_redirect is not None:
        return ()
    return setting.routes or (schema.Route(cluster=setting.cluster),)


def build_router(
    setting: schema.Listener, clusters: Mapping[str, Cluster], shared: Shared | None = None, worker: int = 0
) -> Router:
    """The Router of an http listener."""
    routes = routes_of(setting)
    entries = [entry for index, route in enumerate(routes) for entry in entries_of(index, route)]
    entries.sort(key=lambda entry: entry.order())
    conditions = [conditions_of(route.match) for route in routes]
    built = []
    for rank, entry in enumerate(entries):
        route = _route(
            setting,
            entry.index,
            entry.setting,
            clusters,
            rank,
            conditions[entry.index],
            entry.path.captures,
            shared,
            worker,
        )
        built.append((entry.host, entry.path.segments, entry.path.below, route))
    return Router(built)


def _route(
    listener: schema.Listener,
    index: int,
    setting: schema.Route,
    clusters: Mapping[str, Cluster],
    rank: int,
    conditions: Sequence[Matcher],
    captures: tuple[str, ...],
    shared: Shared | None,
    worker: int,
) -> Route:
    cluster = clusters[setting.cluster] if setting.cluster else None
    limit = setting.limits.body if setting.limits.body is not None else listener.limits.body
    return Route(
        setting.name or f"{listener.name}[{index}]",
        rank=rank,
        matchers=conditions,
        cluster=cluster,
        respond=_respond(setting.respond) if setting.respond else None,
        labels=dict(setting.endpoint_labels),
        retry=_retry(setting.retry) if setting.retry is not None else None,
        urgency=URGENCIES.index(setting.urgency),
        captures=captures,
        total_ms=milliseconds(setting.timeouts.total),
        response_ms=milliseconds(setting.timeouts.response) or (cluster.response_ms if cluster else 0),
        body_ms=milliseconds(setting.timeouts.body) or (cluster.body_ms if cluster else 0),
        tunnel_ms=milliseconds(setting.timeouts.tunnel),
        body_limit=-1 if limit is None else limit,
        max_tunnels=setting.limits.tunnels or 0,
        shared=shared,
        listener=listener.name,
        worker=worker,
    )


def _respond(setting: schema.Respond) -> Respond:
    fields = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in setting.headers.items()]
    body = setting.body.encode()
    if body and not any(name.lower() == b"content-type" for name, _ in fields):
        fields.append((b"Content-Type", b"text/plain; charset=utf-8"))
    return Respond(setting.status, fields, body)
