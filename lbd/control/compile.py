"""Config -> Runtime: everything the data plane needs, built aside and immutable once it serves.

The only place that knows both the settings and the engine. Units change here: seconds to milliseconds,
text to bytes. Records in the shared block are found by identity (names), so that what stays keeps its
numbers when a later generation is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbd import registry
from lbd.config import observing, resilience, schema, transport
from lbd.config.balancer import BalancerChoice
from lbd.config.key import SOURCE, KeyChoice
from lbd.config.units import is_ip, join_address, split_address
from lbd.control.observing import text_log
from lbd.control.resilience import adaptive_limit, breaker, divider, passive_guard, sticky
from lbd.control.routes import conditions_of, entries_of
from lbd.control.tls import client_tls, server_tls, ticket_keys
from lbd.discovery.member import Member
from lbd.engine.accesslog import LogWriter, TextLog
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.key import KeySource
from lbd.engine.listener import Listener
from lbd.engine.pool import ConnectionPool, Protocol
from lbd.engine.reactor import Reactor
from lbd.engine.retry import RetryBudget, RetryPolicy
from lbd.engine.router import Matcher, Respond, Route, Router
from lbd.engine.shared import Shared
from lbd.engine.tls import ClientTls, ServerTls
from lbd.engine.upstream_http1 import Http1
from lbd.engine.upstream_http2 import Http2
from lbd.observe.targets import target_of

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
PoolMaker = Callable[[schema.Cluster, str], ConnectionPool]


@dataclass(slots=True)
class Runtime:
    """The compiled snapshot of one config generation, in one worker."""

    config: schema.Config
    listeners: dict[str, Listener] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    log_writers: dict[str, LogWriter] = field(default_factory=dict)
    makers: dict[str, EndpointMaker] = field(default_factory=dict)  # by cluster


@dataclass(frozen=True, slots=True)
class EndpointMaker:
    """Builds the endpoints of one cluster: those in the settings, and later those that are discovered."""

    setting: schema.Cluster
    zone: str | None  # of lbd itself
    reactor: Reactor
    shared: Shared
    worker: int
    tls: ClientTls | None

    @property
    def asks_for_host(self) -> bool:
        """Whether TLS asks for the host of an endpoint's address."""
        return self.setting.tls is not None and self.setting.tls.sni is None

    def make(self, member: Member, address: str | None) -> Endpoint:
        """`address`: the IP literal of the member's host; None when it is not known (yet)."""
        return Endpoint(
            member.identity,
            member.address,
            weight=member.weight,
            priority=member.priority,
            labels=dict(member.labels),
            foreign=self.zone is not None and member.labels.get("zone", self.zone) != self.zone,
            pool=_pool(self.setting, member, self.reactor, address, self.tls),
            shared=self.shared,
            cluster=self.setting.name,
            worker=self.worker,
        )


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
        tls = client_tls(cluster) if cluster.tls is not None else None
        maker = EndpointMaker(cluster, config.zone, reactor, shared, worker, tls)
        runtime.makers[cluster.name] = maker
        runtime.clusters[cluster.name] = _cluster(cluster, config, maker, reactor, shared, addresses, worker)
    for cluster in config.clusters:
        if cluster.fallback is not None:
            runtime.clusters[cluster.name].set_fallback(*_fallback(cluster.fallback, runtime.clusters))
    for listener in config.listeners:
        server = server_tls(listener, ticket_keys(ticket_secret, now)) if listener.tls is not None else None
        runtime.listeners[listener.name] = _listener(
            listener, runtime, reactor, shared, worker, open_log, server
        )
        for route in routes_of(listener) if listener.protocol == "http" else ():
            if route.cluster:
                _note_urgency(runtime.clusters[route.cluster], URGENCIES.index(route.urgency))
    return runtime


def _note_urgency(cluster: Cluster | None, urgency: int) -> None:
    """Requests that are so urgent come to the cluster, and to what serves in its place."""
    while cluster is not None and urgency < cluster.highest:
        cluster.highest = urgency
        cluster = cluster.fallback


def milliseconds(seconds: float | None) -> int:
    """For the engine: 0 means none, so anything shorter than a millisecond is one."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


def _fallback(
    setting: schema.Fallback, clusters: Mapping[str, Cluster]
) -> tuple[Cluster | None, Respond | None]:
    respond = _respond(setting.respond) if setting.respond is not None else None
    return clusters[setting.cluster] if setting.cluster else None, respond


def _cluster(
    setting: schema.Cluster,
    config: schema.Config,
    maker: EndpointMaker,
    reactor: Reactor,
    shared: Shared,
    addresses: Addresses,
    worker: int,
) -> Cluster:
    endpoints = [
        maker.make(Member.of(endpoint), addresses.get(split_address(endpoint.address)[0]))
        for endpoint in setting.endpoints
    ]
    return Cluster(
        setting.name,
        endpoints,
        protocol=_protocol(setting),
        host=setting.host.encode() if setting.host else None,
        reactor=reactor,
        shared=shared,
        worker=worker,
        sticky=sticky(setting, shared),
        **behaviour(setting, config),
    )


def behaviour(setting: schema.Cluster, config: schema.Config) -> dict[str, Any]:
    """Keyword arguments of Cluster that say whom it picks and what it does about failures: all but what needs
    sockets. The simulator (bench/sim) makes its clusters with it as well."""
    balancer_class, options, key = _balancer(setting.balancer)
    return {
        "balancer_class": balancer_class,
        "options": options,
        "key": key,
        "new_divide": divider(setting, config),
        "passive": passive_guard(setting),
        "breaker": breaker(setting),
        "limiter": adaptive_limit(setting),
        "failure_statuses": setting.failure_statuses,
        "measures": setting.regions is not None or config.admin is not None,  # the admin API shows them
        "retry": _retry(setting.retry),
        "budget": RetryBudget(setting.retry_budget.ratio, setting.retry_budget.per_second),
        "max_requests": setting.max_requests or 0,
        "response_ms": milliseconds(setting.timeouts.response),
        "body_ms": milliseconds(setting.timeouts.body),
        "queue_ms": milliseconds(setting.timeouts.queue),
    }


def _balancer(setting: BalancerChoice) -> tuple[type[Balancer], dict[str, Any], KeySource | None]:
    """The class, its keyword arguments, and what it chooses by, where it chooses by something."""
    balancer_class = registry.resolve("balancer", setting.name)
    model = getattr(balancer_class, "Options", None)
    given = setting.options if setting.options is not None else model() if model is not None else None
    if given is None:
        return balancer_class, {}, None
    options = {name: getattr(given, name) for name in type(given).model_fields}
    chosen: KeyChoice = options.pop("key", SOURCE)
    key = KeySource(chosen.kind, chosen.name) if getattr(balancer_class, "keyed", False) else None
    return balancer_class, options, key


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
    member: Member,
    reactor: Reactor,
    address: str | None,
    tls: ClientTls | None,
) -> ConnectionPool:
    host, port = split_address(member.address)
    connections, socket = setting.connections, setting.socket
    name = (setting.tls.sni if setting.tls is not None else None) or member.host or host
    return ConnectionPool(
        reactor,
        address,
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


def pool_maker(reactor: Reactor) -> PoolMaker:
    """Makes pools without an address, which get theirs later. Pools of one cluster share its TLS context."""
    known: dict[str, ClientTls] = {}

    def make(setting: schema.Cluster, address: str) -> ConnectionPool:
        if setting.tls is not None and setting.name not in known:
            known[setting.name] = client_tls(setting)
        return _pool(
            setting, Member(address), reactor, None, known[setting.name] if setting.tls is not None else None
        )

    return make


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
        access_log=_access_log(setting, runtime, open_log),
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
    if not isinstance(chosen, observing.AccessLog):
        return None
    target = target_of(chosen)
    if target not in runtime.log_writers:
        runtime.log_writers[target] = open_log(target)
    return text_log(chosen, runtime.config, runtime.log_writers[target])


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
