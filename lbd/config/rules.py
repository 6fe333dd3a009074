"""Rules between settings: references, duplicates, either-or.

They run over what was given, not over validated models, so that one wrong value does not hide the errors
beside it: every getter here tolerates any shape, and says nothing about what the schema already refuses.
One rule is one generator of errors; adding a rule is one function and its line in `check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import InitErrorDetails

from lbd import registry
from lbd.config import units
from lbd.config.expectation_rules import check_expectations
from lbd.config.messages import Location, at_key, at_value, suggest
from lbd.config.patterns import parse_field_name
from lbd.config.resilience_rules import check_resilience
from lbd.config.shapes import get as _get
from lbd.config.shapes import items as _items
from lbd.config.units import shorten


def check(data: Any) -> list[InitErrorDetails]:
    """The errors of all rules over a configuration as given (mapping or model)."""
    clusters = {
        name for _, cluster in _items(data, "clusters") if isinstance(name := _get(cluster, "name"), str)
    }
    found = [*_not_empty(data, "listeners", ()), *_check_resolver(data)]
    found += _unique(data, "listeners", "name", "a listener")
    found += _unique(data, "clusters", "name", "a cluster")
    found += _check_binds(data)
    found += _check_admin(data)
    found += _check_log_fields(("access_log",), _get(data, "access_log"))
    for index, listener in _items(data, "listeners"):
        found += _check_listener(("listeners", index), listener, clusters)
        found += _check_log_fields(("listeners", index, "access_log"), _get(listener, "access_log"))
    tcp = {
        _get(listener, "cluster"): _get(listener, "name")
        for _, listener in _items(data, "listeners")
        if _get(listener, "protocol") == "tcp" and isinstance(_get(listener, "cluster"), str)
    }
    for index, cluster in _items(data, "clusters"):
        found += _check_cluster(("clusters", index), cluster)
        found += check_resilience(("clusters", index), cluster, clusters, data)
        found += _check_tcp_key(("clusters", index), cluster, tcp)
        found += _check_warm(("clusters", index), cluster, tcp)
    found += check_expectations(data, clusters)
    return found


def _check_tcp_key(at: Location, cluster: Any, tcp: dict[Any, Any]) -> Iterator[InitErrorDetails]:
    """tcp: name of a cluster -> the tcp listener that it serves."""
    balancer = _get(cluster, "balancer")
    given = _get(balancer, "options", balancer) if isinstance(balancer, BaseModel) else balancer
    key = _get(given, "key", "source")
    name = _get(cluster, "name")
    if isinstance(name, str) and name in tcp and "source" not in (key, _get(key, "kind")):
        yield at_value(
            (*at, "balancer", "key"),
            f"must be source: cluster {shorten(name)} serves the tcp listener {shorten(tcp[name])}, "
            "where nothing else of a client is known",
        )


def _check_admin(data: Any) -> Iterator[InitErrorDetails]:
    """Whoever reaches the admin listener can take endpoints out of service."""
    admin = _get(data, "admin")
    try:
        local = units.is_local(units.parse_bind(_get(admin, "bind", "127.0.0.1:9900")))
    except ValueError:
        return
    if not local and _get(admin, "token") is None:
        yield at_value(
            ("admin", "bind"),
            "other machines can reach it: give 'admin.token', or bind to 127.0.0.1 or unix:",
        )


def _check_log_fields(at: Location, log: Any) -> Iterator[InitErrorDetails]:
    if _get(log, "format") == "combined" and _get(log, "fields") is not None:
        yield at_key((*at, "fields"), "the combined format has its own fields; only for format json")


def _check_listener(at: Location, listener: Any, clusters: set[str]) -> Iterator[InitErrorDetails]:
    cluster, routes = _get(listener, "cluster"), _get(listener, "routes")
    yield from _check_reference((*at, "cluster"), cluster, clusters)
    if _get(listener, "https_redirect") not in (None, False):
        if cluster is not None or routes:
            yield at_key(
                (*at, "https_redirect"), "everything is redirected, so 'cluster' and 'routes' never serve"
            )
        if _get(listener, "tls") is not None or _get(listener, "protocol") == "tcp":
            yield at_key((*at, "https_redirect"), "only for an http listener without tls")
    elif _get(listener, "protocol") == "tcp":
        if routes:
            yield at_key((*at, "routes"), "a tcp listener has no routes; give it a 'cluster'")
        if cluster is None:
            yield at_value(at, "a tcp listener needs a 'cluster'")
    elif cluster is not None and routes:
        yield at_key((*at, "routes"), "give either 'cluster' or 'routes', not both")
    elif cluster is None and not routes and _get(listener, "name") is not None:
        yield at_value(at, "give either 'cluster' or 'routes'")
    yield from _check_limits(at, listener)
    yield from _check_listener_tls(at, listener)
    yield from _unique(listener, "routes", "name", "a route", at)
    for index, route in _items(listener, "routes"):
        yield from _check_route((*at, "routes", index), route, clusters)


def _check_listener_tls(at: Location, listener: Any) -> Iterator[InitErrorDetails]:
    tls = _get(listener, "tls")
    if tls is None:
        if _get(listener, "hsts") not in (None, False):
            yield at_key((*at, "hsts"), "only for a listener with tls: browsers ignore it elsewhere")
        return
    if isinstance(tls, (dict, BaseModel)) and not _get(tls, "certificates") and _get(tls, "acme") is None:
        yield at_value((*at, "tls"), "give 'certificates' or 'acme'")


def _check_cluster_tls(at: Location, cluster: Any) -> Iterator[InitErrorDetails]:
    tls = _get(cluster, "tls")
    if _get(cluster, "protocol") == "auto" and tls in (None, False):
        yield at_value((*at, "protocol"), "auto asks by ALPN, which needs 'tls'; write http1 or http2")
    if (_get(tls, "cert") is None) != (_get(tls, "key") is None):
        yield at_value((*at, "tls"), "give both 'cert' and 'key', or neither")
    if _get(tls, "insecure_skip_verify") is True and _get(tls, "ca") is not None:
        yield at_key((*at, "tls", "ca"), "has no meaning with insecure_skip_verify")


def _check_limits(at: Location, listener: Any) -> Iterator[InitErrorDetails]:
    limits = _get(listener, "limits")
    try:
        line, head = (units.parse_size(_get(limits, name)) for name in ("request_line", "head"))
    except ValueError:
        return
    if line > head:
        yield at_value(
            (*at, "limits", "request_line"), "must not be more than limits.head, of which it is a part"
        )


def _check_route(at: Location, route: Any, clusters: set[str]) -> Iterator[InitErrorDetails]:
    cluster, respond = _get(route, "cluster"), _get(route, "respond")
    yield from _check_reference((*at, "cluster"), cluster, clusters)
    if cluster is not None and respond is not None:
        yield at_key((*at, "respond"), "give either 'cluster' or 'respond', not both")
    elif cluster is None and respond is None and isinstance(route, (dict, BaseModel)):
        yield at_value(at, "give either 'cluster' or 'respond'")
    if respond is not None:
        yield from _check_respond((*at, "respond"), respond)
    yield from _check_fields((*at, "match", "header"), _get(_get(route, "match"), "header"))


def _check_respond(at: Location, respond: Any) -> Iterator[InitErrorDetails]:
    status = _get(respond, "status")
    if _get(respond, "body") and status in (204, 205, 304):
        yield at_key((*at, "body"), f"an answer with status {status} has no body")
    yield from _check_fields((*at, "headers"), _get(respond, "headers"))


def _check_fields(at: Location, fields: Any) -> Iterator[InitErrorDetails]:
    """Names that differ in case only are the same field."""
    seen: set[str] = set()
    for name in fields if isinstance(fields, dict) else ():
        try:
            field = parse_field_name(name)
        except ValueError:
            continue
        if field in seen:
            yield at_key((*at, name), f"{field!r} is given twice (case does not matter)")
        seen.add(field)


def _check_reference(at: Location, name: Any, clusters: set[str]) -> Iterator[InitErrorDetails]:
    if isinstance(name, str) and name not in clusters:
        hint = suggest(name, clusters) if clusters else "; there are no clusters"
        yield at_value(at, f"unknown cluster {shorten(name)}{hint}")


def _check_cluster(at: Location, cluster: Any) -> Iterator[InitErrorDetails]:
    yield from _check_cluster_tls(at, cluster)
    endpoints, discover = _get(cluster, "endpoints"), _get(cluster, "discover")
    if endpoints == []:
        yield at_value((*at, "endpoints"), "must not be empty")
    elif not endpoints and discover is None and _get(cluster, "name") is not None:
        yield at_value(at, "give 'endpoints', or 'discover' to find them")
    yield from _check_discover((*at, "discover"), discover)
    yield from check_endpoints(cluster, at)
    weights = [
        1 if isinstance(endpoint, str) else _get(endpoint, "weight", 1)
        for _, endpoint in _items(cluster, "endpoints")
    ]
    if discover is None and weights and all(isinstance(weight, int) and weight == 0 for weight in weights):
        yield at_value((*at, "endpoints"), "every endpoint has weight 0, so none would ever be used")


def _check_discover(at: Location, discover: Any) -> Iterator[InitErrorDetails]:
    if not isinstance(discover, (dict, BaseModel)):
        return
    sources = registry.names("discovery")
    given = [name for name in sources if _get(discover, name) is not None]
    if not given:
        yield at_value(at, f"give one of {', '.join(sources)}")
    for name in given[1:]:
        yield at_key((*at, name), f"give either {given[0]!r} or {name!r}, not both")
    if "dns" in given:
        try:
            host, _ = units.split_address(units.parse_endpoint_address(_get(discover, "dns")))
        except ValueError:
            return
        if units.is_ip(host) or host.startswith("unix:"):
            yield at_value((*at, "dns"), f"{shorten(host)} is no host name; write it under 'endpoints'")


def _check_resolver(data: Any) -> Iterator[InitErrorDetails]:
    resolver = _get(data, "resolver")
    try:
        least = units.parse_duration(_get(resolver, "min_ttl", "5s"))
        most = units.parse_duration(_get(resolver, "max_ttl", "1h"))
    except ValueError:
        return
    if least > most:
        yield at_value(("resolver",), "min_ttl must not be more than max_ttl")


def check_endpoints(holder: Any, at: Location) -> Iterator[InitErrorDetails]:
    """Addresses and names in the `endpoints` of a cluster, or of a file of endpoints, are there once."""
    seen: dict[str, int] = {}
    for index, endpoint in _items(holder, "endpoints"):
        address = endpoint if isinstance(endpoint, str) else _get(endpoint, "address")
        try:
            canonical = units.parse_endpoint_address(address)
        except ValueError:
            continue
        if canonical in seen:
            where = (
                (*at, "endpoints", index)
                if isinstance(endpoint, str)
                else (*at, "endpoints", index, "address")
            )
            yield at_value(
                where,
                f"{canonical} is already endpoint {seen[canonical]} of this {'cluster' if at else 'file'}",
            )
        seen.setdefault(canonical, index)
    yield from _unique(holder, "endpoints", "name", "an endpoint", at)


def _check_warm(at: Location, cluster: Any, tcp: dict[Any, Any]) -> Iterator[InitErrorDetails]:
    """Connections opened ahead of need must be able to wait for any request."""
    connections = _get(cluster, "connections")
    warm = _get(connections, "warm")
    if not isinstance(warm, int) or warm < 1:
        return
    at = (*at, "connections", "warm")
    for name, default in (("max", 1024), ("idle", 256)):
        most = _get(connections, name, default)
        if isinstance(most, int) and warm > most:
            yield at_value(at, f"must not be more than connections.{name} ({most})")
    if _get(cluster, "proxy_protocol") is not None:
        yield at_value(at, "has no meaning with proxy_protocol, where each connection belongs to one client")
    if _get(cluster, "name") in tcp:
        yield at_value(at, "has no meaning for a tcp listener, where each connection belongs to one client")


def _check_binds(data: Any) -> Iterator[InitErrorDetails]:
    """One address, one listener: the second bind would fail at start, or share the port silently."""
    taken: dict[tuple[str, int], str] = {}
    for at, bind in _binds(data):
        try:
            host, port = units.split_address(units.parse_bind(bind))
        except ValueError:
            continue
        address = ("*" if host in ("", "::", "0.0.0.0") else host, port)
        if (port or host.startswith("unix:")) and address in taken:
            yield at_value(at, f"{bind} is already bound by {taken[address]}")
        taken.setdefault(address, _owner(at, data))


def _binds(data: Any) -> Iterator[tuple[Location, Any]]:
    for index, listener in _items(data, "listeners"):
        at: Location = ("listeners", index, "bind")
        bind = _get(listener, "bind")
        if isinstance(bind, (list, tuple)):
            yield from (((*at, position), item) for position, item in enumerate(bind))
        else:
            yield at, bind
    yield ("admin", "bind"), _get(_get(data, "admin"), "bind")


def _owner(at: Location, data: Any) -> str:
    if at[0] == "admin":
        return "admin"
    name = _get(dict(_items(data, "listeners"))[int(at[1])], "name")
    return f"listener {name}" if isinstance(name, str) else f"listeners[{at[1]}]"


def _unique(data: Any, collection: str, key: str, what: str, at: Location = ()) -> Iterator[InitErrorDetails]:
    seen: set[str] = set()
    for index, item in _items(data, collection):
        name = _get(item, key)
        if isinstance(name, str) and name in seen:
            yield at_value((*at, collection, index, key), f"there is already {what} named {shorten(name)}")
        elif isinstance(name, str):
            seen.add(name)


def _not_empty(data: Any, collection: str, at: Location) -> Iterator[InitErrorDetails]:
    # not as min_length in the schema: pydantic counts valid items, and would call a list of errors empty
    if _get(data, collection) in ([], ()):
        yield at_value((*at, collection), "must not be empty")
