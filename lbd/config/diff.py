"""What a new configuration changes of an old one: by name for listeners, clusters and endpoints.

Pure comparison of two Configs; nothing is looked up and nothing is decided here. Reload reports with it what
it did, `lbd plan` what it would do. What serves nobody (`tests`, `lint`) is not compared.

- An endpoint is the same when its name is, or its address where it has no name.
- A route is the same when its name is; without a name, or when the name is new, when its conditions are; the
  routes that are left over are the same when they stand at the same index.
- A secret that is masked on either side (a dump) is unknown, and taken to be unchanged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, SecretStr

from lbd.config.schema import Cluster, Config, Endpoint, Listener, Route
from lbd.config.transport import Settings
from lbd.config.units import MASK

Kind = Literal["added", "removed", "changed"]
S = TypeVar("S", bound=Settings)
NOT_SERVING = frozenset({"tests", "lint"})
_APART = {  # what has changes of its own below
    Config: NOT_SERVING | {"listeners", "clusters"},
    Listener: frozenset({"routes"}),
    Cluster: frozenset({"endpoints"}),
}


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting. `path` counts from its owner (`timeouts.head`); values as people write them or None."""

    path: str
    old: Any
    new: Any

    @property
    def is_secret(self) -> bool:
        """Both are masked, and yet they differ."""
        return bool(self.old == self.new)


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """An endpoint of a cluster that stays."""

    name: str
    kind: Kind
    old: Endpoint | None
    new: Endpoint | None
    settings: tuple[SettingChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A route of a listener that stays. `moved`: it stands elsewhere among those that stay; changed without
    settings means that alone. Indexes are those in the configurations, None where it is not there."""

    name: str
    kind: Kind
    old: Route | None
    new: Route | None
    old_index: int | None
    new_index: int | None
    settings: tuple[SettingChange, ...] = ()
    moved: bool = False

    @property
    def targets(self) -> tuple[str | None, str | None]:
        """Where it leads, before and after: a cluster's name, or such as `respond 404`."""
        return target_of(self.old), target_of(self.new)


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """A cluster. `endpoints` and `settings` are empty for one that is added or removed."""

    name: str
    kind: Kind
    old: Cluster | None
    new: Cluster | None
    settings: tuple[SettingChange, ...] = ()
    endpoints: tuple[EndpointChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ListenerChange:
    """A listener. `bound` and `unbound`: addresses that it takes up and gives up, of a whole one too."""

    name: str
    kind: Kind
    old: Listener | None
    new: Listener | None
    settings: tuple[SettingChange, ...] = ()
    routes: tuple[RouteChange, ...] = ()
    bound: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """All differences, in the order of the new configuration, removals last. False when there are none.

    `settings` are those of the top level, with the paths that they have there."""

    settings: tuple[SettingChange, ...] = ()
    listeners: tuple[ListenerChange, ...] = ()
    clusters: tuple[ClusterChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.settings or self.listeners or self.clusters)

    def counts(self) -> dict[str, dict[str, int]]:
        """{"listeners": {"added": 0, "removed": 1, "changed": 2}, ...}, also routes, clusters, endpoints."""
        found: dict[str, Iterable[Any]] = {
            "listeners": self.listeners,
            "routes": [route for listener in self.listeners for route in listener.routes],
            "clusters": self.clusters,
            "endpoints": [endpoint for cluster in self.clusters for endpoint in cluster.endpoints],
        }
        return {
            what: {kind: sum(one.kind == kind for one in ones) for kind in ("added", "removed", "changed")}
            for what, ones in found.items()
        }


def diff(old: Config, new: Config) -> Changes:
    """What `new` changes of `old`."""
    return Changes(
        settings=tuple(setting_changes(old, new, _APART[Config])),
        listeners=tuple(_listeners(old.listeners, new.listeners)),
        clusters=tuple(_clusters(old.clusters, new.clusters)),
    )


def target_of(route: Route | None) -> str | None:
    """Where a route leads: a cluster's name, or such as `respond 404`."""
    if route is None:
        return None
    return f"respond {route.respond.status}" if route.respond is not None else route.cluster


def endpoint_identity(endpoint: Endpoint) -> str:
    """By which an endpoint is known, in logs, metrics and here."""
    return endpoint.name or endpoint.address


# settings ---------------------------------------------------------------------------------------------------


def setting_changes(
    old: Settings, new: Settings, apart: frozenset[str] = frozenset(), path: str = ""
) -> Iterator[SettingChange]:
    """The settings of two models of one type that differ, nested ones each for itself. `apart`: left out."""
    if old == new:  # most are, and this is the quickest way to know
        return
    for name in type(new).model_fields:
        if name in apart:
            continue
        before, after = getattr(old, name), getattr(new, name)
        if _is_same(before, after):
            continue
        if isinstance(before, Settings) and type(before) is type(after):
            yield from setting_changes(before, after, path=f"{path}{name}.")
        else:
            yield SettingChange(f"{path}{name}", _written(old, name), _written(new, name))


def _is_same(old: Any, new: Any) -> bool:
    if old == new:
        return True
    if isinstance(old, SecretStr) and isinstance(new, SecretStr):
        return MASK in (old.get_secret_value(), new.get_secret_value())
    if isinstance(old, Settings) and type(old) is type(new):
        return all(_is_same(getattr(old, name), getattr(new, name)) for name in type(old).model_fields)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(
            old[key] == new[key] or MASK in (old[key], new[key]) for key in old
        )
    return False


def _written(owner: BaseModel, name: str) -> Any:
    """A setting as a person writes it; what is absent or empty is None."""
    value = owner.model_dump(mode="json", include={name}, exclude_none=True).get(name)
    return None if value in ([], {}) else value


# listeners and routes ---------------------------------------------------------------------------------------


def _listeners(old: Sequence[Listener], new: Sequence[Listener]) -> Iterator[ListenerChange]:
    for name, before, after in _by_name(old, new, lambda listener: listener.name):
        if before is None or after is None:
            yield ListenerChange(
                name,
                "added" if before is None else "removed",
                before,
                after,
                bound=after.bind if after is not None else (),
                unbound=before.bind if before is not None else (),
            )
            continue
        settings = tuple(setting_changes(before, after, _APART[Listener]))
        routes = tuple(_routes(name, before.routes, after.routes))
        if settings or routes:
            yield ListenerChange(
                name,
                "changed",
                before,
                after,
                settings,
                routes,
                bound=tuple(bind for bind in after.bind if bind not in before.bind),
                unbound=tuple(bind for bind in before.bind if bind not in after.bind),
            )


def _routes(listener: str, old: Sequence[Route], new: Sequence[Route]) -> Iterator[RouteChange]:
    if old == new:
        return
    pairs = pair_routes(old, new)
    moved = _moved([pairs[index] for index in sorted(pairs)])
    for index, after in enumerate(new):
        name = after.name or f"{listener}[{index}]"
        if index not in pairs:
            yield RouteChange(name, "added", None, after, None, index)
            continue
        before = old[pairs[index]]
        settings = tuple(setting_changes(before, after))
        if settings or pairs[index] in moved:
            yield RouteChange(
                name, "changed", before, after, pairs[index], index, settings, pairs[index] in moved
            )
    for index in sorted(set(range(len(old))) - set(pairs.values())):
        yield RouteChange(
            old[index].name or f"{listener}[{index}]", "removed", old[index], None, index, None
        )


def pair_routes(old: Sequence[Route], new: Sequence[Route]) -> dict[int, int]:
    """Index among the new routes -> index of the same route among the old ones."""
    pairs: dict[int, int] = {}
    left_old, left_new = dict(enumerate(old)), dict(enumerate(new))

    def pair(key_of: Callable[[int, Route], Any]) -> None:
        waiting: dict[Any, list[int]] = {}
        for index, route in left_old.items():
            if (key := key_of(index, route)) is not None:
                waiting.setdefault(key, []).append(index)
        for index, route in list(left_new.items()):
            others = waiting.get(key_of(index, route))
            if others:
                pairs[index] = others.pop(0)
                del left_new[index], left_old[pairs[index]]

    pair(lambda _, route: route.name)
    if left_old and left_new:
        pair(lambda _, route: (route.name is None, _conditions(route)))
        pair(lambda _, route: _conditions(route))
        pair(lambda index, route: index if route.name is None else None)
    return pairs


def _conditions(route: Route) -> tuple[Any, ...]:
    """What a route matches, with a hash."""
    values = (getattr(route.match, name) for name in type(route.match).model_fields)
    return tuple(tuple(sorted(value.items())) if isinstance(value, dict) else value for value in values)


def _moved(order: Sequence[int]) -> set[int]:
    """Old indexes in their new order -> the fewest of them that have to move to come from the one to the
    other: all that are not in a longest increasing subsequence (by patience sorting)."""
    tops: list[int] = []
    before: dict[int, int | None] = {}
    for index in order:
        at = bisect_left(tops, index)
        before[index] = tops[at - 1] if at else None
        tops[at : at + 1] = [index]
    stays: set[int] = set()
    one = tops[-1] if tops else None
    while one is not None:
        stays.add(one)
        one = before[one]
    return set(order) - stays


# clusters and endpoints -------------------------------------------------------------------------------------


def _clusters(old: Sequence[Cluster], new: Sequence[Cluster]) -> Iterator[ClusterChange]:
    for name, before, after in _by_name(old, new, lambda cluster: cluster.name):
        if before is None or after is None:
            yield ClusterChange(name, "added" if before is None else "removed", before, after)
            continue
        settings = tuple(setting_changes(before, after, _APART[Cluster]))
        endpoints = tuple(_endpoints(before.endpoints, after.endpoints))
        if settings or endpoints:
            yield ClusterChange(name, "changed", before, after, settings, endpoints)


def _endpoints(old: Sequence[Endpoint], new: Sequence[Endpoint]) -> Iterator[EndpointChange]:
    for name, before, after in _by_name(old, new, endpoint_identity):
        if before is None or after is None:
            yield EndpointChange(name, "added" if before is None else "removed", before, after)
        elif settings := tuple(setting_changes(before, after)):
            yield EndpointChange(name, "changed", before, after, settings)


def _by_name(
    old: Sequence[S], new: Sequence[S], name_of: Callable[[S], str]
) -> Iterator[tuple[str, S | None, S | None]]:
    """(name, old, new) of all, those of the new ones first."""
    before = {name_of(one): one for one in old}
    for one in new:
        yield name_of(one), before.pop(name_of(one), None), one
    for name, gone in before.items():
        yield name, gone, None
