"""Settings of a listener -> keyword arguments of the engine's Listener, and its Router."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lbd.config import observing, schema, transport
from lbd.config.units import join_address, split_address
from lbd.control.clusters import milliseconds, respond_of, retry_policy
from lbd.control.observing import text_log
from lbd.control.routes import Entry, entries_of
from lbd.control.steps import Steps, finish
from lbd.engine.accesslog import LogWriter, TextLog
from lbd.engine.cluster import Cluster
from lbd.engine.router import Respond, Route, Router
from lbd.engine.shared import Shared
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
URGENCIES = ("high", "normal", "low")


def listener_settings(setting: schema.Listener) -> dict[str, Any]:
    """Keyword arguments of Listener, but for what is made of other objects: router, cluster, log, TLS."""
    timeouts, limits = setting.timeouts, setting.limits
    host, port = split_address(setting.bind[0])
    return {
        "head_ms": milliseconds(timeouts.head),
        "body_ms": milliseconds(timeouts.body),
        "idle_ms": milliseconds(timeouts.idle),
        "write_ms": milliseconds(timeouts.write),
        "tunnel_ms": milliseconds(timeouts.tunnel),
        "request_line": limits.request_line,
        "head": limits.head,
        "fields": limits.fields,
        "body": -1 if limits.body is None else limits.body,
        "body_rate": limits.body_rate,
        "connections": limits.connections,
        "keep_underscore": setting.underscore_fields == "keep",
        "path_mode": PATH_MODES[setting.path],
        "trusted": [str(network) for network in setting.trusted_proxies],
        "trailers": (*TRAILERS, *setting.trailers),
        "authority": _authority(host, port),
        "proxy_sources": [str(network) for network in setting.proxy_protocol],
        "handshake_ms": milliseconds(timeouts.handshake),
        "hsts": _hsts(setting.hsts) if setting.hsts else None,
        "redirect": _redirect(setting.https_redirect) if setting.https_redirect else None,
        "rfc7239": setting.forwarded,
        "http2": None if isinstance(setting.http2, str) else setting.http2.model_dump(),
    }


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


def log_setting(setting: schema.Listener, config: schema.Config) -> observing.AccessLog | None:
    """How its requests are written down; None when they are not."""
    chosen = setting.access_log if setting.access_log is not None else config.access_log
    return chosen if isinstance(chosen, observing.AccessLog) else None


def access_log(
    setting: observing.AccessLog | None, config: schema.Config, open_writer: Callable[[str], LogWriter]
) -> TextLog | None:
    """What writes the lines; several listeners share the writer of a target."""
    if setting is None:
        return None
    return text_log(setting, config, open_writer(target_of(setting)))


def routes_of(setting: schema.Listener) -> Sequence[schema.Route]:
    """The routes of an http listener; `cluster` is shorthand for one that matches everything."""
    if setting.https_redirect is not None:
        return ()
    return setting.routes or (schema.Route(cluster=setting.cluster),)


def build_router(
    setting: schema.Listener, clusters: Mapping[str, Cluster], shared: Shared | None = None, worker: int = 0
) -> Router:
    """The Router of an http listener."""
    return finish(router_steps(setting, clusters, shared, worker))


def router_steps(
    setting: schema.Listener, clusters: Mapping[str, Cluster], shared: Shared | None, worker: int
) -> Steps[Router]:
    """The Router of an http listener, a few routes at a time."""
    routes = routes_of(setting)
    ordered: list[tuple[tuple[Any, ...], int, Entry]] = []
    for index, route in enumerate(routes):
        ordered += [(entry.order(), number, entry) for number, entry in enumerate(entries_of(index, route))]
        yield
    ordered.sort()
    router = Router()
    for rank, (_, _, entry) in enumerate(ordered):
        made = _route(setting, entry, clusters, rank, shared, worker)
        router.add(entry.host, entry.path.segments, entry.path.below, made)
        yield
    return router


def _route(
    listener: schema.Listener,
    entry: Entry,
    clusters: Mapping[str, Cluster],
    rank: int,
    shared: Shared | None,
    worker: int,
) -> Route:
    setting = entry.setting
    limit = setting.limits.body if setting.limits.body is not None else listener.limits.body
    return Route(
        setting.name or f"{listener.name}[{entry.index}]",
        rank=rank,
        matchers=entry.conditions,
        cluster=clusters[setting.cluster] if setting.cluster else None,
        respond=respond_of(setting.respond) if setting.respond else None,
        labels=dict(setting.endpoint_labels),
        retry=retry_policy(setting.retry) if setting.retry is not None else None,
        urgency=URGENCIES.index(setting.urgency),
        captures=entry.path.captures,
        total_ms=milliseconds(setting.timeouts.total),
        response_ms=milliseconds(setting.timeouts.response),
        body_ms=milliseconds(setting.timeouts.body),
        tunnel_ms=milliseconds(setting.timeouts.tunnel),
        body_limit=-1 if limit is None else limit,
        max_tunnels=setting.limits.tunnels or 0,
        shared=shared,
        listener=listener.name,
        worker=worker,
    )
