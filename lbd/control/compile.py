"""Config -> Runtime: all that the data plane needs, built aside; and the way from one Runtime to the next.

The only place that puts settings and engine together. Units change in `clusters` and `listeners`: seconds to
milliseconds, text to bytes. What exists is found again by its name: a Listener, a Cluster, an Endpoint is the
same object as long as the configuration names it, and gets other settings where they differ. So connections,
idle pools, health, weights and measurements outlive any reload. Records in the shared block are found by
name too, so that numbers go on.

    compile_steps(config, before) -> Compiled: nothing that serves has been touched
    Compiled.adopt() -> the new Runtime serves
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbd.config import observing, schema
from lbd.config.units import split_address
from lbd.control.clusters import EndpointMaker, behaviour, protocol_of, respond_of
from lbd.control.listeners import (
    URGENCIES,
    access_log,
    listener_settings,
    log_setting,
    router_steps,
    routes_of,
)
from lbd.control.resilience import sticky
from lbd.control.steps import Steps, finish
from lbd.control.tls import client_tls, client_tls_inputs, server_tls, server_tls_inputs, ticket_keys
from lbd.discovery.member import Member
from lbd.engine.accesslog import LogWriter
from lbd.engine.cluster import Cluster
from lbd.engine.listener import Listener
from lbd.engine.reactor import Reactor
from lbd.engine.router import Respond
from lbd.engine.shared import Shared
from lbd.engine.tls import ServerTls

Addresses = Mapping[str, str]
OpenLog = Callable[[str], LogWriter]


@dataclass(frozen=True, slots=True)
class ListenerSource:
    """What a Listener was made of. inputs: of its TLS, files included; log: its own or for all."""

    setting: schema.Listener
    inputs: dict[str, Any] | None
    log: observing.AccessLog | None
    environment: str | None  # stands in its lines


@dataclass(slots=True)
class Runtime:
    """The compiled snapshot of one config generation, in one worker."""

    config: schema.Config
    listeners: dict[str, Listener] = field(default_factory=dict)
    listener_settings: dict[str, ListenerSource] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    log_writers: dict[str, LogWriter] = field(default_factory=dict)
    makers: dict[str, EndpointMaker] = field(default_factory=dict)  # by cluster


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Runtime is compiled for. `ticket_secret`, the same in all workers, is for TLS tickets."""

    reactor: Reactor
    shared: Shared
    open_log: OpenLog
    worker: int = 0
    ticket_secret: bytes = b""


@dataclass(slots=True)
class Compiled:
    """A Runtime that is not in force yet, and the settings of objects that serve already."""

    runtime: Runtime
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    listeners: dict[str, dict[str, Any]] = field(default_factory=dict)
    new_clusters: set[str] = field(default_factory=set)
    new_listeners: set[str] = field(default_factory=set)

    def adopt(self) -> Steps[None]:
        """Put it in force, a little at a time. Endpoints are the business of whoever knows the members."""
        runtime = self.runtime
        for name, settings in self.clusters.items():
            runtime.clusters[name].configure(**settings)
            yield
        for cluster in runtime.clusters.values():
            cluster.highest = URGENCIES.index("normal")
        for setting in runtime.config.clusters:
            runtime.clusters[setting.name].set_fallback(*_fallback(setting.fallback, runtime.clusters))
        yield
        for name, settings in self.listeners.items():
            runtime.listeners[name].configure(**settings)
            yield
        for listener in runtime.config.listeners:
            for route in routes_of(listener) if listener.protocol == "http" else ():
                if route.cluster:
                    _note_urgency(runtime.clusters[route.cluster], URGENCIES.index(route.urgency))
                yield


def compile_runtime(
    config: schema.Config,
    reactor: Reactor,
    shared: Shared,
    addresses: Addresses,
    *,
    worker: int = 0,
    open_log: OpenLog,
    ticket_secret: bytes = b"",
    now: float = 0.0,
) -> Runtime:
    """A first Runtime. `addresses`: host of an endpoint -> IP literal; a missing one is unresolved.

    `now`: Unix time. TlsSettingError for files that TLS needs and that cannot be used."""
    place = Place(reactor, shared, open_log, worker, ticket_secret)
    compiled = finish(compile_steps(config, None, place, addresses, now))
    finish(compiled.adopt())
    return compiled.runtime


def compile_steps(
    config: schema.Config, before: Runtime | None, place: Place, addresses: Addresses, now: float
) -> Steps[Compiled]:
    """See compile_runtime; `before` is what serves now, which stays as it is."""
    compiled = Compiled(Runtime(config))
    for cluster in config.clusters:
        _compile_cluster(compiled, cluster, before, place, addresses)
        yield
    for listener in config.listeners:
        yield from _compile_listener(compiled, listener, before, place, now)
    return compiled


def _compile_cluster(
    compiled: Compiled, setting: schema.Cluster, before: Runtime | None, place: Place, addresses: Addresses
) -> None:
    runtime, name = compiled.runtime, setting.name
    old = before.makers.get(name) if before is not None else None
    maker = _maker(setting, runtime.config, old, place)
    runtime.makers[name] = maker
    if before is None or old is None:
        runtime.clusters[name] = _new_cluster(maker, runtime.config, place, addresses)
        compiled.new_clusters.add(name)
        return
    cluster = runtime.clusters[name] = before.clusters[name]
    if maker is old and _around(before.config) == _around(runtime.config):
        return
    settings = compiled.clusters[name] = _cluster_settings(setting, runtime.config, place.shared)
    if old.setting.adaptive_limit == setting.adaptive_limit:
        settings["limiter"] = cluster.limiter  # with what it has learned


def _maker(
    setting: schema.Cluster, config: schema.Config, old: EndpointMaker | None, place: Place
) -> EndpointMaker:
    """The old one when nothing has changed, the contents of files that TLS needs included."""
    inputs = client_tls_inputs(setting) if setting.tls is not None else None
    same_tls = old is not None and old.tls_inputs == inputs
    if old is not None and same_tls and old.setting == setting and old.zone == config.zone:
        return old
    tls = old.tls if old is not None and same_tls else client_tls(setting, inputs) if inputs else None
    return EndpointMaker(setting, config.zone, place.reactor, place.shared, place.worker, tls, inputs)


def _new_cluster(
    maker: EndpointMaker, config: schema.Config, place: Place, addresses: Addresses
) -> Cluster:
    setting = maker.setting
    endpoints = [
        maker.make(Member.of(endpoint), addresses.get(split_address(endpoint.address)[0]))
        for endpoint in setting.endpoints
    ]
    return Cluster(
        setting.name,
        endpoints,
        reactor=place.reactor,
        shared=place.shared,
        worker=place.worker,
        **_cluster_settings(setting, config, place.shared),
    )


def _cluster_settings(setting: schema.Cluster, config: schema.Config, shared: Shared) -> dict[str, Any]:
    return {
        **behaviour(setting, config),
        "protocol": protocol_of(setting),
        "host": setting.host.encode() if setting.host else None,
        "sticky": sticky(setting, shared),
    }


def _around(config: schema.Config) -> tuple[object, ...]:
    """What clusters go by beside their own settings."""
    return (config.zone, config.region, config.admin is None)


def _compile_listener(
    compiled: Compiled, setting: schema.Listener, before: Runtime | None, place: Place, now: float
) -> Steps[None]:
    runtime, name = compiled.runtime, setting.name
    old = before.listener_settings.get(name) if before is not None else None
    inputs = server_tls_inputs(setting) if setting.tls is not None else None
    if old is not None and old.setting.protocol != setting.protocol:
        old = None  # another Listener: connections of the one kind cannot go on as the other
    config = runtime.config
    source = ListenerSource(setting, inputs, log_setting(setting, config), config.environment)
    runtime.listener_settings[name] = source
    log = access_log(source.log, config, lambda target: _writer(target, runtime, before, place))
    listener = before.listeners[name] if before is not None and old is not None else None
    if (
        listener is not None
        and source == old
        and not _has_new_cluster(compiled, setting)
    ):
        runtime.listeners[name] = listener
        return
    settings = listener_settings(setting)
    settings["access_log"] = log
    settings["tls"] = _server_tls(setting, inputs, old, listener, place, now)
    if setting.protocol == "tcp":
        settings["cluster"] = runtime.clusters[setting.cluster] if setting.cluster else None
    else:
        settings["router"] = yield from router_steps(setting, runtime.clusters, place.shared, place.worker)
    if listener is None:
        runtime.listeners[name] = Listener(
            name, place.reactor, shared=place.shared, worker=place.worker, **settings
        )
        compiled.new_listeners.add(name)
    else:
        runtime.listeners[name] = listener
        compiled.listeners[name] = settings


def _writer(target: str, runtime: Runtime, before: Runtime | None, place: Place) -> LogWriter:
    known = before.log_writers.get(target) if before is not None else None
    if target not in runtime.log_writers:
        runtime.log_writers[target] = known if known is not None else place.open_log(target)
    return runtime.log_writers[target]


def _has_new_cluster(compiled: Compiled, setting: schema.Listener) -> bool:
    """A cluster that has gone and come back under its name is another one."""
    names = {setting.cluster} if setting.protocol == "tcp" else {r.cluster for r in routes_of(setting)}
    return not compiled.new_clusters.isdisjoint(name for name in names if name)


def _server_tls(
    setting: schema.Listener,
    inputs: dict[str, Any] | None,
    old: ListenerSource | None,
    listener: Listener | None,
    place: Place,
    now: float,
) -> ServerTls | None:
    """The same one, with its certificates, where only other settings have changed."""
    if inputs is None or setting.tls is None:
        return None
    if listener is not None and old is not None and old.inputs == inputs:
        return listener.tls
    return server_tls(setting, inputs, ticket_keys(place.ticket_secret, now))


def _fallback(
    setting: schema.Fallback | None, clusters: Mapping[str, Cluster]
) -> tuple[Cluster | None, Respond | None]:
    if setting is None:
        return None, None
    respond = respond_of(setting.respond) if setting.respond is not None else None
    return clusters[setting.cluster] if setting.cluster else None, respond


def _note_urgency(cluster: Cluster | None, urgency: int) -> None:
    """Requests that are so urgent come to the cluster, and to what serves in its place."""
    while cluster is not None and urgency < cluster.highest:
        cluster.highest = urgency
        cluster = cluster.fallback
