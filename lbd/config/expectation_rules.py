"""Rules of `tests`: what they name must exist, and what they expect must be decidable. Part of `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import InitErrorDetails

from lbd.config.messages import Location, at_key, at_value, suggest
from lbd.config.shapes import get, items
from lbd.config.units import shorten

KEYED = ("hash", "ip_hash", "ring_hash", "maglev")


def check_expectations(data: Any, clusters: set[str]) -> Iterator[InitErrorDetails]:
    """The errors of all tests; `clusters`: their names."""
    listeners = {get(one, "name"): one for _, one in items(data, "listeners")}
    known = {name for name in listeners if isinstance(name, str)}
    for index, test in items(data, "tests"):
        at: Location = ("tests", index)
        request, expect = get(test, "request"), get(test, "expect")
        yield from _check_request((*at, "request"), request, known)
        if isinstance(expect, dict) and not expect:
            yield at_value(
                (*at, "expect"), "give at least one of route, cluster, endpoint, status, captures, labels"
            )
        cluster = get(expect, "cluster")
        if isinstance(cluster, str) and cluster not in clusters:
            yield at_value(
                (*at, "expect", "cluster"), f"unknown cluster {shorten(cluster)}{suggest(cluster, clusters)}"
            )
        yield from _check_route((*at, "expect", "route"), get(expect, "route"), listeners)
        if get(expect, "endpoint") is not None:
            yield from _check_endpoint((*at, "expect", "endpoint"), expect, data)


def _check_request(at: Location, request: Any, listeners: set[str]) -> Iterator[InitErrorDetails]:
    if isinstance(request, str) or request is None:
        return
    url = get(request, "url")
    for name in ("host", "path"):
        if url is not None and get(request, name) is not None:
            yield at_key((*at, name), "give either 'url' or 'host' and 'path'")
    listener = get(request, "listener")
    if isinstance(listener, str) and listener not in listeners:
        yield at_value(
            (*at, "listener"), f"unknown listener {shorten(listener)}{suggest(listener, listeners)}"
        )
    if listener is None and url is None and len(listeners) > 1:
        yield at_value(at, "give 'url' or 'listener': there are several listeners")


def _check_route(at: Location, route: Any, listeners: dict[Any, Any]) -> Iterator[InitErrorDetails]:
    if not isinstance(route, str) or route == "none":
        return
    names = set()
    for name, listener in listeners.items():
        given = items(listener, "routes")
        names |= {get(one, "name") or f"{name}[{index}]" for index, one in given} or {f"{name}[0]"}
    if route not in names:
        yield at_value(at, f"unknown route {shorten(route)}{suggest(route, {str(name) for name in names})}")


def _check_endpoint(at: Location, expect: Any, data: Any) -> Iterator[InitErrorDetails]:
    """Where turns or load decide, no test can know."""
    named = {get(one, "name"): one for _, one in items(data, "clusters")}
    cluster = named.get(get(expect, "cluster"))
    if cluster is None:
        if get(expect, "cluster") is None:
            yield at_value(at, "needs 'cluster' beside it")
        return
    endpoints = items(cluster, "endpoints")
    names = {
        name
        for _, one in endpoints
        for name in ((one,) if isinstance(one, str) else (get(one, "name"), get(one, "address")))
        if isinstance(name, str)
    }
    endpoint = get(expect, "endpoint")
    if get(cluster, "discover") is not None:
        yield at_value(at, "the cluster finds its endpoints by discovery, which no test can know")
    elif isinstance(endpoint, str) and endpoint not in names:
        yield at_value(at, f"unknown endpoint {shorten(endpoint)}{suggest(endpoint, names)}")
    balancer = get(cluster, "balancer")
    kind = get(balancer, "name") if isinstance(balancer, (dict, BaseModel)) else balancer
    if kind not in (*KEYED, "first_available") and len(endpoints) > 1:
        yield at_value(at, f"only for balancers that choose by a key ({', '.join(KEYED)}) or first_available")
