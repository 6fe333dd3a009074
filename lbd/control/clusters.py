"""Settings of a cluster -> keyword arguments of the engine's Cluster, its endpoints and their pools.

Used when a cluster is made, and again when a reload changes it: the same function says what it is like.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbd import registry
from lbd.config import resilience, schema
from lbd.config.balancer import BalancerChoice
from lbd.config.key import SOURCE, KeyChoice
from lbd.config.units import is_ip, split_address
from lbd.control.resilience import adaptive_limit, breaker, divider, passive_guard
from lbd.control.tls import client_tls, client_tls_inputs
from lbd.discovery.member import Member
from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.key import KeySource
from lbd.engine.pool import ConnectionPool, Protocol
from lbd.engine.reactor import Reactor
from lbd.engine.retry import RetryBudget, RetryPolicy
from lbd.engine.router import Respond
from lbd.engine.shared import Shared
from lbd.engine.tls import ClientTls
from lbd.engine.upstream_http1 import Http1
from lbd.engine.upstream_http2 import Http2

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

PoolMaker = Callable[[schema.Cluster, str], ConnectionPool]


def milliseconds(seconds: float | None) -> int:
    """For the engine: 0 means none, so anything shorter than a millisecond is one."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


@dataclass(frozen=True, slots=True)
class EndpointMaker:
    """Builds the endpoints of one cluster: those in the settings, and later those that are discovered."""

    setting: schema.Cluster
    zone: str | None  # of lbd itself
    reactor: Reactor
    shared: Shared
    worker: int
    tls: ClientTls | None
    tls_inputs: dict[str, Any] | None = None  # what `tls` was made of

    @property
    def asks_for_host(self) -> bool:
        """Whether TLS asks for the host of an endpoint's address."""
        return self.setting.tls is not None and self.setting.tls.sni is None

    def make(self, member: Member, address: str | None) -> Endpoint:
        """`address`: the IP literal of the member's host; None when it is not known (yet)."""
        pool = ConnectionPool(
            self.reactor,
            address,
            split_address(member.address)[1],
            **pool_settings(self.setting, member, self.tls, self.shared.workers),
        )
        return Endpoint(
            member.identity,
            member.address,
            weight=member.weight,
            priority=member.priority,
            labels=dict(member.labels),
            foreign=self._is_foreign(member),
            pool=pool,
            shared=self.shared,
            cluster=self.setting.name,
            worker=self.worker,
        )

    def adjust(self, endpoint: Endpoint, member: Member) -> None:
        """One that was made before, as it would be made now; its address apart."""
        endpoint.reconfigure(
            weight=member.weight,
            priority=member.priority,
            labels=dict(member.labels),
            address=member.address,
            foreign=self._is_foreign(member),
        )
        endpoint.pool.configure(**pool_settings(self.setting, member, self.tls, self.shared.workers))

    def _is_foreign(self, member: Member) -> bool:
        return self.zone is not None and member.labels.get("zone", self.zone) != self.zone


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
        "retry": retry_policy(setting.retry),
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


def retry_policy(setting: resilience.Retry) -> RetryPolicy | None:
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


def protocol_of(setting: schema.Cluster) -> Protocol:
    if setting.protocol == "http1":
        return Http1()
    return Http2(streams=setting.http2.streams, may_be_http1=setting.protocol == "auto")


def pool_settings(
    setting: schema.Cluster, member: Member, tls: ClientTls | None, workers: int = 1
) -> dict[str, Any]:
    """Keyword arguments of ConnectionPool for an endpoint of the cluster. Each worker has its share of the
    connections, rounded up."""
    host, _ = split_address(member.address)
    connections, socket = setting.connections, setting.socket
    name = (setting.tls.sni if setting.tls is not None else None) or member.host or host
    return {
        "max_open": math.ceil((connections.max or 0) / workers),
        "max_idle": connections.idle,
        "max_queue": math.ceil(connections.pending / workers),
        "max_requests": connections.requests or 0,
        "connect_ms": milliseconds(setting.timeouts.connect),
        "idle_ms": milliseconds(setting.timeouts.idle),
        "lifetime_ms": milliseconds(connections.lifetime),
        "tls": tls,
        "tls_name": name.encode(),
        "tls_name_is_ip": is_ip(name),
        "proxy_version": {None: 0, "v1": 1, "v2": 2}[setting.proxy_protocol],
        "keepalive_s": math.ceil(socket.keepalive or 0),
        "user_timeout_ms": milliseconds(socket.user_timeout),
        "congestion": socket.congestion.encode() if socket.congestion else None,
        "fast_open": socket.fast_open > 0,
        "learn_idle": connections.learn_idle,
        "warm": connections.warm,
        "protocol": protocol_of(setting),
    }


def pool_maker(reactor: Reactor) -> PoolMaker:
    """Makes pools without an address, which get theirs later. Pools of one cluster share its TLS context."""
    known: dict[str, tuple[dict[str, Any], ClientTls]] = {}

    def make(setting: schema.Cluster, address: str) -> ConnectionPool:
        tls = None
        if setting.tls is not None:
            inputs = client_tls_inputs(setting)
            if setting.name not in known or known[setting.name][0] != inputs:
                known[setting.name] = (inputs, client_tls(setting, inputs))
            tls = known[setting.name][1]
        settings = pool_settings(setting, Member(address), tls)
        return ConnectionPool(reactor, None, split_address(address)[1], **settings)

    return make


def respond_of(setting: schema.Respond) -> Respond:
    fields = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in setting.headers.items()]
    body = setting.body.encode()
    if body and not any(name.lower() == b"content-type" for name, _ in fields):
        fields.append((b"Content-Type", b"text/plain; charset=utf-8"))
    return Respond(setting.status, fields, body)
