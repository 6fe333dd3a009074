"""Rules between the settings of health, fallback and placement of a cluster. Part of `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import InitErrorDetails

from lbd.config import units
from lbd.config.health import HealthCheck
from lbd.config.messages import Location, at_key, at_value, suggest
from lbd.config.shapes import get
from lbd.config.units import shorten

ONLY_FOR = {
    "path": ("http",),
    "method": ("http",),
    "expect": ("http",),
    "host": ("http", "grpc"),
    "headers": ("http", "grpc"),
    "service": ("grpc",),
    "command": ("exec",),
    "tls": ("http", "grpc", "tcp"),
}


def check_resilience(at: Location, cluster: Any, names: set[str], data: Any) -> Iterator[InitErrorDetails]:
    """The errors of one cluster; `names` of all clusters, `data` the whole configuration."""
    yield from _check_health((*at, "health_check"), get(cluster, "health_check"), cluster)
    for key in ("passive_check", "breaker"):
        yield from _check_circuit((*at, key), get(cluster, key))
    yield from _check_fallback((*at, "fallback"), get(cluster, "fallback"), get(cluster, "name"), names)
    limit = get(cluster, "adaptive_limit")
    least, first, most = (
        get(limit, key, default) for key, default in (("min", 10), ("initial", 100), ("max", 10000))
    )
    if all(isinstance(value, int) for value in (least, first, most)) and not least <= first <= most:
        yield at_value((*at, "adaptive_limit"), "min, initial and max must not be in another order")
    sticky = get(cluster, "sticky")
    if sticky is not None and (get(sticky, "cookie") is None) == (get(sticky, "key") is None):
        yield at_value((*at, "sticky"), "give either 'cookie' or 'key'")
    regions = get(cluster, "regions")
    if regions is not None and not get(regions, "order") and get(data, "region") is None:
        yield at_value((*at, "regions"), "needs 'order', or lbd's own 'region' at the top level")
    if get(get(cluster, "zones"), "prefer_local") is True and get(data, "zone") is None:
        yield at_key((*at, "zones", "prefer_local"), "needs lbd's own 'zone' at the top level")


def _check_health(at: Location, check: Any, cluster: Any) -> Iterator[InitErrorDetails]:
    if check is None:
        return
    kind = get(check, "type", "http")
    usual = HealthCheck().model_dump(mode="json", exclude_none=True)
    for key, kinds in ONLY_FOR.items():
        given = check.get(key) if isinstance(check, dict) else None
        if given is not None and given != usual.get(key) and kind not in kinds:
            yield at_key((*at, key), f"only for checks of type {' or '.join(kinds)}")
    if kind == "exec" and not get(check, "command"):
        yield at_value(at, "needs the 'command' that checks an endpoint")
    if get(check, "tls") is True and get(cluster, "tls") in (None, False):
        yield at_key((*at, "tls"), "the cluster has no 'tls' settings to speak it with")
    try:
        if units.parse_duration(get(check, "timeout", "2s")) > 60:
            yield at_value((*at, "timeout"), "must not be longer than 60s")
    except ValueError:
        pass
    pattern = get(get(check, "expect"), "body_regex")
    if isinstance(pattern, str):
        import re2  # only where it is used

        try:
            re2.compile(pattern)
        except re2.error as error:
            yield at_value((*at, "expect", "body_regex"), f"not a regular expression (RE2): {_said(error)}")
    method = get(check, "method")
    if method == "HEAD" and any(get(get(check, "expect"), key) for key in ("body", "body_regex")):
        yield at_key((*at, "expect"), "an answer to HEAD has no body")


def _said(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _check_circuit(at: Location, circuit: Any) -> Iterator[InitErrorDetails]:
    probes, needed = get(circuit, "probes"), get(circuit, "needed")
    if isinstance(needed, int) and needed > (probes if isinstance(probes, int) else _probes(at)):
        yield at_value((*at, "needed"), "must not be more than 'probes'")


def _probes(at: Location) -> int:
    return 3 if at[-1] == "breaker" else 1


def _check_fallback(at: Location, fallback: Any, own: Any, names: set[str]) -> Iterator[InitErrorDetails]:
    if fallback is None:
        return
    cluster, respond = get(fallback, "cluster"), get(fallback, "respond")
    if (cluster is None) == (respond is None):
        yield at_value(at, "give either 'cluster' or 'respond'")
    if isinstance(cluster, str) and cluster == own:
        yield at_value((*at, "cluster"), "a cluster cannot stand in for itself")
    elif isinstance(cluster, str) and cluster not in names:
        yield at_value((*at, "cluster"), f"unknown cluster {shorten(cluster)}{suggest(cluster, names)}")
