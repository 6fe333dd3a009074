"""What may become of a recorded request under one configuration, decided by the functions that serve traffic.

Most requests have one outcome. Where the route depends on what the recorder does not keep (a header field, a
cookie, the length of a body), every route that the request may take is told, with the conditions that this
asks for. Whether these hold is left open: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from lbd.config import schema
from lbd.control.compile import Runtime
from lbd.control.config_tests import OF_THE_MOMENT
from lbd.control.decision import Decision, Kind, answer_of
from lbd.control.listeners import PATH_MODES, build_router, listener_settings, routes_of
from lbd.control.recorded import Recorded
from lbd.engine import matchers
from lbd.engine.cluster import Cluster
from lbd.engine.listener import Listener
from lbd.engine.reasons import CODES
from lbd.engine.rehearsal import Rehearsal
from lbd.engine.router import Matcher, Respond, Route, Router
from lbd.engine.shared import Shared

STATUSES = dict(CODES)
TOO_LARGE = "body_too_large"
ALONE_KEPT = 512  # listeners with one route each, made as they are needed
DECISIONS_KEPT = 4096
BODY = "the length of the body"
CLIENT = "the address of the client, as the trusted proxies have changed"


class Condition(NamedTuple):
    """Something that is not known of the request. name: what it is about (`header x-beta`)."""

    name: str
    wanted: str


class Possible(NamedTuple):
    """An outcome, and what must hold or not for it, beside that no earlier one applies."""

    conditions: tuple[tuple[Condition, bool], ...]
    decision: Decision


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a request beyond its method, host and path."""

    client: bool
    query: bool
    body: bool
    bodiless: bool

    def __contains__(self, matcher: Matcher) -> bool:
        """Can what it asks for be told?"""
        if isinstance(matcher, matchers.Source):
            return self.client
        if isinstance(matcher, matchers.Query):
            return self.query
        if isinstance(matcher, matchers.BodySize):
            return self.body
        return isinstance(matcher, matchers.MethodIn)


class Side:
    """One of the configurations that are compared, compiled aside.

    names: by listener, route -> the name by which it is compared."""

    def __init__(self, runtime: Runtime, names: Mapping[str, Mapping[str, str]]) -> None:
        self.config = runtime.config
        self._runtime = runtime
        self._names = names
        self._shared = Shared(1)
        self._indexes = {
            one.name: {_name(one, index): index for index in range(len(routes_of(one)))}
            for one in self.config.listeners
        }
        clusters = enumerate(self.config.clusters)
        self._places = {one.name: self.config.places.of("clusters", index) for index, one in clusters}
        self._settings = {one.name: one for one in self.config.clusters}
        self._alone = lru_cache(ALONE_KEPT)(self._make_alone)
        self._bare = lru_cache(DECISIONS_KEPT)(self._make_bare)
        self._refused = lru_cache(DECISIONS_KEPT)(self._make_refused)
        self._served = lru_cache(DECISIONS_KEPT)(self._make_served)
        self._answered = lru_cache(DECISIONS_KEPT)(self._make_answered)
        self._sieve = lru_cache(ALONE_KEPT)(_make_sieve)

    def possible(self, recorded: Recorded, index: int, known: Known) -> tuple[Possible, ...]:
        """In order of choice; the last one has no conditions. index: of the listener.

        A request to a listener that passes bytes on is a connection to it."""
        setting = self.config.listeners[index]
        head = recorded.head if setting.protocol == "http" else None
        # TLS decides no route, and a listener that is compiled aside has no certificates
        outcome = Rehearsal(self._runtime.listeners[setting.name], head, recorded.asked.client)
        if outcome.path is None or _is_certain(outcome, known):
            return tuple(self._with_body(outcome, (), index, known))
        return tuple(self._open(recorded, outcome, index, known))

    def _open(self, recorded: Recorded, outcome: Rehearsal, index: int, known: Known) -> Iterator[Possible]:
        """Each route that host and path lead to and nothing known speaks against, up to a certain one."""
        head, client = recorded.head, recorded.asked.client
        mode = PATH_MODES[self.config.listeners[index].path]
        for route in sorted({row[0] for row in outcome.considered}, key=lambda route: route.rank):
            sieve, conditions = self._sieve(route, known)
            if sieve is not None and sieve.explain(head, client, path_mode=mode)["route"] is None:
                continue
            listener = self._alone(index, route.name)
            yield from self._with_body(Rehearsal(listener, head, client), conditions, index, known)
            if not conditions:
                return
        yield Possible((), self._refused(index, None, "no_route"))

    def _with_body(
        self,
        outcome: Rehearsal,
        conditions: tuple[tuple[Condition, bool], ...],
        index: int,
        known: Known,
    ) -> Iterator[Possible]:
        """The decision; before it the refusal of a body whose length is not known, where there is a limit."""
        decision = self._decision(outcome, index, known)
        limit = outcome.limits().get("route", {}).get("limits.body", -1) if not known.body else -1
        if limit >= 0 and decision.kind != "refused":
            too_long = (*conditions, (Condition(BODY, f"above {limit}"), True))
            yield Possible(too_long, self._refused(index, outcome.route, TOO_LARGE))
        yield Possible(conditions, decision)

    def _decision(self, outcome: Rehearsal, index: int, known: Known) -> Decision:
        target = self._target(outcome)
        if target is not None:
            endpoint = self._endpoint(outcome, known) if target is outcome.cluster else None
            return self._served(index, outcome.route, target.name, endpoint)
        if outcome.reason:
            return self._refused(index, outcome.route, outcome.reason)
        assert outcome.respond is not None
        return self._answered(index, outcome.route, outcome.respond)

    def _make_answered(self, index: int, route: Route | None, respond: Respond) -> Decision:
        is_redirect = respond.https_port or 300 <= respond.status < 400
        kind: Kind = "redirect" if is_redirect else "respond"
        bare = self._bare(index, route)
        return replace(bare, kind=kind, status=respond.status, answer=answer_of(respond))

    def _make_served(self, index: int, route: Route | None, cluster: str, endpoint: str | None) -> Decision:
        return replace(
            self._bare(index, route),
            cluster=cluster,
            cluster_at=self._places.get(cluster),
            labels=tuple(sorted(route.labels.items())) if route is not None else (),
            endpoint=endpoint,
        )

    def _make_refused(self, index: int, route: Route | None, reason: str) -> Decision:
        return replace(self._bare(index, route), kind="refused", status=STATUSES[reason], reason=reason)

    def _target(self, outcome: Rehearsal) -> Cluster | None:
        """The cluster that serves, fallbacks included. What discovery finds for a cluster is not known here:
        one that has it counts as well."""
        for cluster, _ in outcome.walked:
            if outcome.reason in ("", *OF_THE_MOMENT) and self.is_discovered(cluster.name):
                return cluster
        return outcome.cluster if not outcome.reason else None

    def is_discovered(self, cluster: str) -> bool:
        return self._settings[cluster].discover is not None

    def _endpoint(self, outcome: Rehearsal, known: Known) -> str | None:
        """Where nothing decides but the request: no turn, load, session or chance."""
        cluster, selection, picked = outcome.cluster, outcome.selection, outcome.picked
        if cluster is None or selection is None or picked is None or self.is_discovered(cluster.name):
            return None
        if len(selection.endpoints) == 1:
            return picked.name
        if cluster.sticky is not None or len(selection.parts) > 1:
            return None
        if self._settings[cluster.name].balancer.name == "first_available":
            return picked.name
        if cluster.key is None or outcome.key == 0 or (cluster.key.kind == "source" and not known.client):
            return None
        return picked.name

    def shares(self, cluster: str, labels: tuple[tuple[str, str], ...]) -> dict[str, float]:
        """Endpoint -> its share of the requests while all are well and alike."""
        serving = self._runtime.clusters[cluster]
        selection = serving.subset(dict(labels)) if labels else serving.selection
        found: dict[str, float] = {}
        for share, part in zip(selection.shares, selection.parts, strict=True):
            total = sum(endpoint.weight for endpoint in part.endpoints)
            for endpoint in part.endpoints if total else ():
                found[endpoint.name] = found.get(endpoint.name, 0.0) + share * endpoint.weight / total
        return found

    def _make_bare(self, index: int, route: Route | None) -> Decision:
        """A Decision of which nothing is known but the route."""
        listener = self.config.listeners[index]
        places = self.config.places
        if route is None:
            return Decision("cluster", at=places.of("listeners", index))
        number = self._indexes[listener.name][route.name]
        at = places.of("listeners", index, "routes", number)
        return Decision("cluster", route=route.name, route_key=self._names[listener.name][route.name], at=at)

    def _make_alone(self, index: int, name: str) -> Listener:
        """The listener as if it had this route alone, and that without conditions beyond host and path."""
        setting = self.config.listeners[index]
        route = routes_of(setting)[self._indexes[setting.name][name]]
        match = schema.Match().model_copy(update={"host": route.match.host, "path": route.match.path})
        only = route.model_copy(update={"name": name, "match": match})
        alone = setting.model_copy(update={"routes": (only,), "cluster": None})
        serving = self._runtime.listeners[setting.name]
        router = build_router(alone, self._runtime.clusters, self._shared)
        return Listener(
            setting.name, serving.reactor, shared=self._shared, router=router, **listener_settings(alone)
        )


def _name(listener: schema.Listener, index: int) -> str:
    return routes_of(listener)[index].name or f"{listener.name}[{index}]"


def _is_certain(outcome: Rehearsal, known: Known) -> bool:
    """Could nothing that is unknown lead to another route than the one that was found?"""
    chosen = outcome.route
    if chosen is not None and not all(_is_settled(one, known) for one in chosen.matchers):
        return False
    for route, how, why in outcome.considered:
        before = chosen is None or route.rank < chosen.rank
        if how == "refused" and before and not (isinstance(why, Matcher) and why in known):
            return False
    return True


def _is_settled(matcher: Matcher, known: Known) -> bool:
    """Does it hold for certain when it holds for what is known? A body may have come without a length."""
    return matcher in known and (known.bodiless or not isinstance(matcher, matchers.BodySize))


def _make_sieve(route: Route, known: Known) -> tuple[Router | None, tuple[tuple[Condition, bool], ...]]:
    """A Router that lets through what the known conditions of the route do; the conditions that are open."""
    settled = [one for one in route.matchers if one in known]
    left = tuple(_condition(one) for one in route.matchers if not _is_settled(one, known))
    sieve = Router([(None, (), True, Route("known", matchers=settled))]) if settled else None
    return sieve, left


def _condition(matcher: Matcher) -> tuple[Condition, bool]:
    """That something is absent is the contrary of its presence."""
    if isinstance(matcher, matchers.BodySize):
        return Condition(BODY, str(matcher)), True
    if isinstance(matcher, matchers.Source):
        return Condition(CLIENT, str(matcher)), True
    if isinstance(matcher, matchers.ClientCertificate):
        return Condition("the client's certificate", repr(matcher)), True
    label = str(getattr(matcher, "label", matcher))
    wanted = str(matcher).removeprefix(f"{label} must be ")
    return (Condition(label, "present"), False) if wanted == "absent" else (Condition(label, wanted), True)
