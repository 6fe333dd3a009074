"""Names of pluggable things, and where their code is.

One table per kind maps the name that users write in the configuration to "module:Class". The module is
imported when the name is resolved, never before: what is not configured costs nothing. Adding a balancer
is one file, one line here, and its test.

Invariant: this module imports nothing of lbd, so that `config` can know every name without the code
behind it. A class may carry `Options`, a pydantic model of the settings that stand beside `name:`;
without it the name takes no options.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

BALANCERS: dict[str, str] = {
    "round_robin": "lbd.balance.round_robin:RoundRobin",
    "least_conn": "lbd.balance.least_conn:LeastConn",
    "random": "lbd.balance.random:Random",
    "p2c": "lbd.balance.p2c:P2C",
    "peak_ewma": "lbd.balance.peak_ewma:PeakEwma",
    "least_conn_rt": "lbd.balance.least_conn_rt:LeastConnRt",
    "hash": "lbd.balance.hash:Hash",
    "ip_hash": "lbd.balance.ip_hash:IpHash",
    "ring_hash": "lbd.balance.ring_hash:RingHash",
    "maglev": "lbd.balance.maglev:Maglev",
    "first_available": "lbd.balance.first_available:FirstAvailable",
    "time_window": "lbd.balance.time_window:TimeWindow",
}

# names are settings of `discover`, see config/discovery.py
DISCOVERY: dict[str, str] = {
    "dns": "lbd.discovery.dns:DnsSource",
    "srv": "lbd.discovery.srv:SrvSource",
    "file": "lbd.discovery.file:FileSource",
}

# rules of the linter, see config/lint.py; a function each
LINT: dict[str, str] = {
    "shadowed-route": "lbd.config.lint_routes:shadowed_route",
    "labels-of-nobody": "lbd.config.lint_routes:labels_of_nobody",
    "no-key-in-path": "lbd.config.lint_routes:no_key_in_path",
    "no-client-certificates": "lbd.config.lint_routes:no_client_certificates",
    "timeout-above-total": "lbd.config.lint_routes:timeout_above_total",
    "retries-above-total": "lbd.config.lint_routes:retries_above_total",
    "queue-above-total": "lbd.config.lint_routes:queue_above_total",
    "try-above-response": "lbd.config.lint_routes:try_above_response",
    "unused-cluster": "lbd.config.lint_clusters:unused_cluster",
    "fallback-loop": "lbd.config.lint_clusters:fallback_loop",
    "unsafe-retry": "lbd.config.lint_clusters:unsafe_retry",
    "retry-without-peers": "lbd.config.lint_clusters:retry_without_peers",
    "large-retry-budget": "lbd.config.lint_clusters:large_retry_budget",
    "idle-above-lifetime": "lbd.config.lint_clusters:idle_above_lifetime",
    "idle-not-learned": "lbd.config.lint_clusters:idle_not_learned",
    "checks-overlap": "lbd.config.lint_clusters:checks_overlap",
    "panic-without-checks": "lbd.config.lint_clusters:panic_without_checks",
    "panic-with-residency": "lbd.config.lint_clusters:panic_with_residency",
    "places-without-labels": "lbd.config.lint_clusters:places_without_labels",
    "unverified-endpoints": "lbd.config.lint_clusters:unverified_endpoints",
    "admin-exposed": "lbd.config.lint_listeners:admin_exposed",
    "trusts-everybody": "lbd.config.lint_listeners:trusts_everybody",
}

# kind -> table; further kinds (filter, limiter, probe, ...) get a table above and a line here
KINDS: dict[str, dict[str, str]] = {
    "balancer": BALANCERS,
    "discovery": DISCOVERY,
    "lint": LINT,
}


def names(kind: str) -> tuple[str, ...]:
    """All registered names of a kind, in the order of the table."""
    return tuple(KINDS[kind])


def resolve(kind: str, name: str) -> Any:
    """Import and return the class or function registered for a name; KeyError when there is no such name."""
    module, _, attribute = KINDS[kind][name].partition(":")
    return getattr(import_module(module), attribute)
