"""plan: what a new configuration would do to the one that serves, as plain data.

The comparison is `config/diff.py`. Here is added what only the engine knows: which keys go to other endpoints
(asked of the real balancers), what a running lbd cannot change, and who would be cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbd.config import schema
from lbd.config.diff import (
    Changes,
    ClusterChange,
    EndpointChange,
    ListenerChange,
    RouteChange,
    SettingChange,
    diff,
)
from lbd.config.lint import lint
from lbd.control.config_tests import failed_tests
from lbd.control.dry_run import dry_run
from lbd.control.reload import FIXED
from lbd.engine.cluster import Cluster
from lbd.engine.key import hash_of

KEYS = 10_000  # that are followed from the old balancer to the new one
PLACEMENT = ("balancer", "zones", "regions", "overprovision")  # what decides where a key goes

Connections = Mapping[str, int]  # listener -> open now
Active = Mapping[str, Mapping[str, int]]  # cluster -> endpoint -> exchanges under way


def plan(
    old: schema.Config,
    new: schema.Config,
    *,
    connections: Connections | None = None,
    active: Active | None = None,
) -> dict[str, Any]:
    """All changes, with their effects, the failed tests and the warnings of `new`; for JSON.

    `connections` and `active`: as they are in the running lbd; None: not known."""
    changes = diff(old, new)
    return {
        "changed": bool(changes),
        "counts": changes.counts(),
        "settings": [_setting(one) for one in changes.settings],
        "restart_for": [name for name in FIXED if _touches(changes, name)],
        "listeners": [_listener(one, connections) for one in changes.listeners],
        "clusters": [_cluster(one, old, new, (active or {}).get(one.name)) for one in changes.clusters],
        "tests": {"count": len(new.tests), "failed": failed_tests(None, new)},
        "warnings": [str(warning) for warning in lint(new)],
    }


def _touches(changes: Changes, name: str) -> bool:
    return any(one.path == name or one.path.startswith(f"{name}.") for one in changes.settings)


def _setting(change: SettingChange) -> dict[str, Any]:
    return {"path": change.path, "old": change.old, "new": change.new, "secret": change.is_secret}


def _listener(change: ListenerChange, connections: Connections | None) -> dict[str, Any]:
    count = connections.get(change.name) if connections is not None else None
    return {
        "name": change.name,
        "kind": change.kind,
        "bound": list(change.bound),
        "unbound": list(change.unbound),
        "settings": [_setting(one) for one in change.settings if one.path != "bind"],
        "routes": [_route(one) for one in change.routes],
        "connections": count,
        "effects": _effects_on_clients(change, count),
    }


def _effects_on_clients(change: ListenerChange, count: int | None) -> list[str]:
    """Who would be cut off."""
    open_now = f" ({count} open now)" if count is not None else ""
    other = {one.path for one in change.settings} & {"protocol"}
    if change.kind == "removed" or other:
        found = [f"its connections{open_now} end when they are idle, at the latest after drain_timeout"]
        return [*found, "it speaks another protocol from then on"] if other else found
    found = []
    if change.kind == "changed" and change.unbound:
        found.append(
            f"new connections to {', '.join(change.unbound)} are refused; those that are open{open_now} go on"
        )
    if any(one.path.startswith("tls.") or one.path == "tls" for one in change.settings):
        found.append(f"new handshakes go by the new TLS settings; open connections{open_now} keep theirs")
    return found


def _route(change: RouteChange) -> dict[str, Any]:
    before, after = change.targets
    return {
        "name": change.name,
        "kind": change.kind,
        "old_target": before,
        "new_target": after,
        "old_index": change.old_index,
        "new_index": change.new_index,
        "moved": change.moved,
        "settings": [_setting(one) for one in change.settings],
    }


def _cluster(
    change: ClusterChange, old: schema.Config, new: schema.Config, active: Mapping[str, int] | None
) -> dict[str, Any]:
    return {
        "name": change.name,
        "kind": change.kind,
        "settings": [_setting(one) for one in change.settings],
        "endpoints": [_endpoint(one, active) for one in change.endpoints],
        "keys_moved": keys_moved(change, old, new),
        "active": sum(active.values()) if active is not None else None,
    }


def _endpoint(change: EndpointChange, active: Mapping[str, int] | None) -> dict[str, Any]:
    weights = [one.weight if one is not None else None for one in (change.old, change.new)]
    drained = change.kind == "changed" and weights[1] == 0 != weights[0]
    return {
        "name": change.name,
        "kind": change.kind,
        "drained": drained,
        "old_weight": weights[0],
        "new_weight": weights[1],
        "settings": [_setting(one) for one in change.settings],
        "active": active.get(change.name) if active is not None else None,
    }


def keys_moved(change: ClusterChange, old: schema.Config, new: schema.Config) -> float | None:
    """Share of the keys (clients, users, paths) that go to another endpoint, while all are well; None where
    no key decides, or where nothing changes that would move one."""
    if change.old is None or change.new is None:
        return None
    touched = any(one.path in PLACEMENT or one.path.startswith(PLACEMENT) for one in change.settings)
    if not touched and not change.endpoints:
        return None
    with dry_run(_alone(old, change.old)) as before, dry_run(_alone(new, change.new)) as after:
        one, other = before.clusters[change.name], after.clusters[change.name]
        if not (_is_keyed(one) or _is_keyed(other)) or not (one.endpoints and other.endpoints):
            return None
        if not (_is_keyed(one) and _is_keyed(other)) or _key_of(change.old) != _key_of(change.new):
            return 1.0
        keys = [hash_of(b"%d" % number) for number in range(KEYS)]
        return sum(_goes_to(one, key) != _goes_to(other, key) for key in keys) / KEYS


def _alone(config: schema.Config, cluster: schema.Cluster) -> schema.Config:
    """The cluster and nothing else."""
    lonely = cluster.model_copy(update={"fallback": None})
    return config.model_copy(update={"listeners": (), "clusters": (lonely,), "tests": ()})


def _is_keyed(cluster: Cluster) -> bool:
    return cluster.key is not None


def _key_of(cluster: schema.Cluster) -> Any:
    return getattr(cluster.balancer.options, "key", None) or "source"


def _goes_to(cluster: Cluster, key: int) -> str | None:
    endpoint = cluster.pick_one(key)
    return endpoint.name if endpoint is not None else None
