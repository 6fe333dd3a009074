"""replay: recorded requests through two configurations, and what differs.

    with Replay(old, new) as replay:
        for record in records: replay.take(record)
        replay.report.to_data()

Each record is decided twice, by `possible.py`. Where a decision hangs on what the recorder does not keep, the
route that was really taken tells which conditions of the old configuration held; what is then still open is
told as undecided, unless it makes no difference. Memory does not grow with the number of records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, Self

from lbd.config import schema
from lbd.config.diff import ClusterChange, diff, pair_routes
from lbd.config.units import BadValue
from lbd.control.config_tests import OF_THE_MOMENT
from lbd.control.decision import Decision, difference
from lbd.control.dry_run import dry_run
from lbd.control.listeners import routes_of
from lbd.control.plan import keys_moved
from lbd.control.possible import TOO_LARGE, Condition, Known, Possible, Side
from lbd.control.recorded import NAME_KEPT, Recorded, read_record
from lbd.control.replay_report import ReplayReport

MOST_CONDITIONS = 10  # that are open at once: each doubles what has to be looked at
VERDICTS_KEPT = 4096
LEAST_SHARE = 1e-9  # of the requests; less is rounding
# refusals by what is not recorded: the connection, the form of the head, the flow of the body
BY_CONNECTION = (
    "bad_request",
    "head_timeout",
    "body_timeout",
    "head_too_large",
    "misdirected",
    "http2_protocol_error",
    "http2_flood",
    "stream_refused",
)

REFUSED_BY = "why it was refused"

World = Mapping[Condition, bool]  # one way in which what is open may be


class Verdict(NamedTuple):
    """change: None when nothing differs. needs: what is missing, when it cannot be decided. was: what the old
    configuration makes of it, where that is certain. fits: whether it can be what was recorded."""

    change: str | None
    pairs: tuple[tuple[Decision, Decision], ...]
    needs: tuple[str, ...] = ()
    was: Decision | None = None
    fits: bool = True


class Replay:
    """old, new: the configurations; they are compiled aside, as if all were well."""

    def __init__(self, old: schema.Config, new: schema.Config) -> None:
        self.old, self.new = old, new
        self.report = ReplayReport()
        self._changes = {one.name: one for one in diff(old, new).clusters}
        self._listeners = {one.name: _counterpart(one, new) for one in old.listeners}
        self._other_clients = {
            one.name
            for one in old.listeners
            if (index := self._listeners[one.name]) is not None
            and not _same_clients(one, new.listeners[index])
        }
        self._indexes = {one.name: index for index, one in enumerate(old.listeners)}
        self._stack = ExitStack()
        self._judge = lru_cache(VERDICTS_KEPT)(self._judge_afresh)
        self.moved = lru_cache(VERDICTS_KEPT)(self._moved)

    def __enter__(self) -> Self:
        old, new = (self._stack.enter_context(dry_run(config)) for config in (self.old, self.new))
        names = {one.name: {name: name for name in _names(one)} for one in self.old.listeners}
        self._old = Side(old, names)
        self._new = Side(new, self._names_of_new())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, data: Any, line: int | None = None) -> None:
        """One record, as `lbd recorder --json` prints it; line: of the file where it stands."""
        try:
            recorded = read_record(data)
        except BadValue as error:
            self.report.unusable(str(error), line)
            return
        self.report.taken(recorded)
        listener = recorded.asked.listener or ""
        verdict = self._verdict(recorded, listener)
        self._note(recorded, listener, verdict)

    def _note(self, recorded: Recorded, listener: str, verdict: Verdict) -> None:
        report = self.report
        if verdict.needs:
            report.undecided(listener, verdict.needs, verdict.pairs, recorded)
        elif verdict.change is None:
            report.same()
        else:
            old, new = verdict.pairs[0]
            moved = self.moved(old, new) if verdict.change == "balance" else None
            report.changed(verdict.change, listener, old, new, recorded, moved)
        if why := _deviation(recorded, verdict):
            report.deviates(listener, why, verdict.was or verdict.pairs[0][0], recorded)

    def _verdict(self, recorded: Recorded, listener: str) -> Verdict:
        if recorded.gap:
            return _gap(recorded.gap)
        at = self._indexes.get(listener)
        if at is None:
            return _gap(f"listener {listener}, which the old configuration does not have")
        before, after = self.old.listeners[at], self._listeners[listener]
        speaks = after is not None and self.new.listeners[after].protocol
        if not recorded.is_http and "http" in (before.protocol, speaks):
            return _gap("the request: it was a connection of TCP, and HTTP is spoken")
        if recorded.is_http and before.protocol == "tcp":
            return _gap("the connection: it was a request of HTTP, and TCP is forwarded")
        query = recorded.query or _keeps_query(self.old)
        known = Known(True, query, recorded.body_known, recorded.bodiless)
        was = self._old.possible(recorded, at, known)
        if after is None:
            return self._judge(was, (Possible((), Decision("unreachable")),), _taken(recorded))
        if listener in self._other_clients:
            known = replace(known, client=False)
        return self._judge(was, self._new.possible(recorded, after, known), _taken(recorded))

    def _judge_afresh(self, was: tuple[Possible, ...], will: tuple[Possible, ...], taken: Taken) -> Verdict:
        """Compare them in every way in which what is open may be, that agrees with what was recorded."""
        open_ones = list(dict.fromkeys(one for p in (*was, *will) for one, _ in p.conditions))
        if len(open_ones) > MOST_CONDITIONS:
            return Verdict(None, (), needs=tuple(dict.fromkeys(one.name for one in open_ones)))
        worlds = list(_worlds(open_ones))
        fitting = [world for world in worlds if taken.agrees(_chosen(was, world))]
        if taken.elsewhere and not fitting:
            pair = was[-1].decision, will[-1].decision
            return Verdict(None, (pair,), needs=(taken.elsewhere,), fits=False)
        left = fitting or worlds
        pairs = tuple(dict.fromkeys((_chosen(was, world), _chosen(will, world)) for world in left))
        befores = {old for old, _ in pairs}
        certain = next(iter(befores)) if len(befores) == 1 else None
        kinds = {self._difference(old, new) for old, new in pairs}
        if kinds == {None} or len(pairs) == 1:
            return Verdict(kinds.pop(), pairs, was=certain, fits=bool(fitting))
        if None not in kinds and (merged := _merged(pairs)) is not None:
            return Verdict(self._difference(*merged), (merged,), was=certain, fits=bool(fitting))
        needs = tuple(sorted({one.name for one in open_ones if len({world[one] for world in left}) > 1}))
        return Verdict(None, pairs, needs=needs, was=certain, fits=bool(fitting))

    def _difference(self, old: Decision, new: Decision) -> str | None:
        found = difference(old, new)
        if found is None and old.cluster is not None and old.endpoint is None:
            return "balance" if self.moved(old, new) > LEAST_SHARE else None
        return found

    def _moved(self, old: Decision, new: Decision) -> float:
        """Expected share of the requests of a cluster that go to another endpoint of it, where no request
        decides by itself; 0 where discovery decides."""
        name = old.cluster or ""
        if self._old.is_discovered(name) or self._new.is_discovered(name):
            return 0.0
        change: ClusterChange | None = self._changes.get(name)
        keys = keys_moved(change, self.old, self.new) if change is not None else None
        if keys is not None:
            return keys
        before, after = self._old.shares(name, old.labels), self._new.shares(name, new.labels)
        return sum(max(0.0, share - after.get(endpoint, 0.0)) for endpoint, share in before.items())

    def _names_of_new(self) -> dict[str, dict[str, str]]:
        """Route of the new configuration -> its name, or that of the same route in the old one when either
        of them goes by its index."""
        found = {one.name: {name: name for name in _names(one)} for one in self.new.listeners}
        for before in self.old.listeners:
            index = self._listeners[before.name]
            if index is None:
                continue
            after = self.new.listeners[index]
            old_routes, new_routes = routes_of(before), routes_of(after)
            old_names, new_names = _names(before), _names(after)
            names = found[after.name]
            for mine, theirs in pair_routes(old_routes, new_routes).items():
                if old_routes[theirs].name is None or new_routes[mine].name is None:
                    names[new_names[mine]] = old_names[theirs]
        return found


class Taken(NamedTuple):
    """What was recorded of the decision. elsewhere: what it hung on that no configuration tells, or ""."""

    route: str | None
    reason: str | None
    elsewhere: str

    def agrees(self, decision: Decision) -> bool:
        """Can it have been this one?"""
        if self.elsewhere:
            return decision.reason == self.reason
        if (self.reason == TOO_LARGE) != (decision.reason == TOO_LARGE):
            return False
        return (decision.route or "").encode()[:NAME_KEPT] == (self.route or "").encode()[:NAME_KEPT]


def _gap(what: str) -> Verdict:
    """Nothing is decided, for want of it."""
    return Verdict(None, (), needs=(what,))


def _taken(recorded: Recorded) -> Taken:
    reason = recorded.reason
    refused_early = recorded.is_http and recorded.route is None and reason in BY_CONNECTION
    return Taken(recorded.route, reason, f"{REFUSED_BY}: {reason}" if refused_early else "")


def _deviation(recorded: Recorded, verdict: Verdict) -> str:
    """Why what was recorded is not what the old configuration says; "" when it is, or nobody knows."""
    was, reason = verdict.was, recorded.reason
    if not verdict.pairs or any(need.startswith(REFUSED_BY) for need in verdict.needs):
        return ""
    if not verdict.fits:
        return "another configuration"
    if was is None:
        return ""
    if was.cluster is None:
        answered = was.kind != "unreachable" and reason in (None, was.reason or None)
        return "another configuration" if answered and recorded.status != was.status else ""
    if recorded.cluster is None:
        return f"the state of things: {reason}" if reason in OF_THE_MOMENT else _no_cluster(reason)
    if recorded.cluster != was.cluster.encode()[:NAME_KEPT].decode():
        return "a fallback, or another configuration"
    return ""


def _no_cluster(reason: str | None) -> str:
    """lbd has answered where the configuration names a cluster; a reason says that something went wrong."""
    return "" if reason is not None else "a fallback, or another configuration"


def _merged(pairs: Sequence[tuple[Decision, Decision]]) -> tuple[Decision, Decision] | None:
    """One pair in place of several that differ in nothing but the names of routes; None when they do."""
    sides = [tuple(dict.fromkeys(side)) for side in zip(*pairs, strict=True)]
    if any(len({replace(one, route_key=None) for one in side}) > 1 for side in sides):
        return None
    old, new = (
        replace(
            side[0],
            route_key=" or ".join(str(one.route_key) for one in side),
            route=" or ".join(str(one.route) for one in side),
        )
        for side in sides
    )
    return old, new


def _chosen(possible: Sequence[Possible], world: World) -> Decision:
    for conditions, decision in possible:
        if all(world[one] == wanted for one, wanted in conditions):
            return decision
    raise AssertionError("the last one has no conditions")


def _worlds(open_ones: Sequence[Condition]) -> Iterator[World]:
    """Every way in which they may be. What has a certain value is present."""
    for values in product((False, True), repeat=len(open_ones)):
        world = dict(zip(open_ones, values, strict=True))
        absent = {one.name for one in open_ones if one.wanted == "present" and not world[one]}
        if not any(holds and one.name in absent for one, holds in world.items()):
            yield world


def _names(listener: schema.Listener) -> list[str]:
    """Of its routes, as the recorder has them."""
    return [route.name or f"{listener.name}[{index}]" for index, route in enumerate(routes_of(listener))]


def _counterpart(listener: schema.Listener, new: schema.Config) -> int | None:
    """Index of the listener that its clients reach: that of its name, or at one of its addresses."""
    for index, one in enumerate(new.listeners):
        if one.name == listener.name:
            return index
    binds = {bind for bind in listener.bind if not bind.endswith(":0")}
    for index, one in enumerate(new.listeners):
        if binds & set(one.bind):
            return index
    return None


def _same_clients(old: schema.Listener, new: schema.Listener) -> bool:
    """Would the client's address be found in the same way? The recorder has what came of it."""
    settings = ("trusted_proxies", "proxy_protocol")
    return all(set(getattr(old, name)) == set(getattr(new, name)) for name in settings)


def _keeps_query(config: schema.Config) -> bool:
    return config.recorder != "off" and config.recorder.query
