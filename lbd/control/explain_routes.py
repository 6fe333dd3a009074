"""The routes of a listener as a request sees them: chosen, outranked, refused by a condition, or not near.

Part of `explain.py`. What the router has looked at it has told itself. Of the others is found out what they
miss, host or path: by Routers that hold nothing but that.
"""

from __future__ import annotations

from typing import Any

from lbd.config import schema
from lbd.control.asked import Asked
from lbd.control.listeners import PATH_MODES, routes_of
from lbd.control.routes import EVERY_PATH, Entry, entries_of
from lbd.engine.key import KeySource
from lbd.engine.rehearsal import Rehearsal, value_of
from lbd.engine.router import Matcher, Route, Router

MOST_ROUTES = 100  # that are told of, beside those that the router has looked at
MOST_PATTERNS = 8


def route_rows(
    outcome: Rehearsal, asked: Asked, setting: schema.Listener, config: schema.Config
) -> dict[str, Any]:
    """{"routes": what is to be said of each, the chosen one first, "routes_left_out": how many more}."""
    if outcome.listener.router is None or setting.https_redirect is not None:
        return {"routes": [], "routes_left_out": 0}
    listener = config.listeners.index(setting)
    seen = _said(outcome)
    rows: list[tuple[int, dict[str, Any]]] = []
    left_out = 0
    for index, route in enumerate(routes_of(setting)):
        name = route.name or f"{setting.name}[{index}]"
        if name in seen:
            how, why = seen[name]
        elif outcome.path is None:
            how, why = "not looked at", "the request was refused before"
        elif len(rows) >= MOST_ROUTES + len(seen):
            left_out += 1
            continue
        else:
            how, why = "missed", _what_is_missed(index, route, asked, outcome, setting)
        order = ("chosen", "outranked", "refused", "missed", "not looked at").index(how)
        at = config.places.of("listeners", listener, "routes", index)
        rows.append((order, {"name": name, "at": at, "outcome": how, "why": why, **_target(route)}))
    rows.sort(key=lambda row: row[0])
    return {"routes": [row for _, row in rows], "routes_left_out": left_out}


def _target(route: schema.Route) -> dict[str, Any]:
    respond = route.respond.status if route.respond is not None else None
    return {"cluster": route.cluster, "respond": respond, "priority": route.priority}


def _said(outcome: Rehearsal) -> dict[str, tuple[str, str]]:
    """By name of the route, what the router has told of it: (outcome, why). One with several hosts or paths
    is told of for each; the best counts."""
    found: dict[str, tuple[str, str]] = {}
    chosen = outcome.route
    for route, how, detail in outcome.considered:
        if chosen is not None and route.name == chosen.name:
            found[route.name] = ("chosen", "")
        elif how == "refused" and isinstance(detail, Matcher):
            found.setdefault(route.name, ("refused", _refusal(detail, outcome)))
        else:
            by = chosen if chosen is not None else detail
            name = by.name if isinstance(by, Route) else "another"
            found[route.name] = ("outranked", f"route {name} comes first")
    return found


def _refusal(matcher: Matcher, outcome: Rehearsal) -> str:
    """What the condition wants, and what the request has in its place."""
    kind, _, name = getattr(matcher, "label", "").partition(" ")
    if kind not in ("header", "query", "cookie"):
        return str(matcher)
    value = value_of(outcome, KeySource(kind, name))
    has = "it is absent" if value is None else f"it is {value.decode('latin-1')[:80]!r}"
    return f"{matcher}; {has}"


def _what_is_missed(
    index: int, route: schema.Route, asked: Asked, outcome: Rehearsal, setting: schema.Listener
) -> str:
    entries = list(entries_of(index, route))
    missed = []
    if route.match.host and not _leads(_of_host(entries), asked, setting):
        missed.append(f"host must be {_one_of(route.match.host)}")
    if route.match.path and not _leads(_of_path(entries), asked, setting):
        missed.append(f"path must be {_one_of(route.match.path)}")
    return "; ".join(missed) or "host and path must match together"


def _of_host(entries: list[Entry]) -> Router:
    return Router([(entry.host, EVERY_PATH.segments, True, Route("host")) for entry in entries])


def _of_path(entries: list[Entry]) -> Router:
    return Router(
        [
            (None, entry.path.segments, entry.path.below, Route("path", rank=i))
            for i, entry in enumerate(entries)
        ]
    )


def _leads(router: Router, asked: Asked, setting: schema.Listener) -> bool:
    found = router.explain(asked.head(), path_mode=PATH_MODES[setting.path])
    return found["route"] is not None


def _one_of(patterns: tuple[str, ...]) -> str:
    more = f" or {len(patterns) - MOST_PATTERNS} more" if len(patterns) > MOST_PATTERNS else ""
    return " or ".join(patterns[:MOST_PATTERNS]) + more
