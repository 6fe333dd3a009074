"""A second opinion on routing: every route is tried, the best of those that match wins.

Strategy: nothing is shared with lbd.control.routes or the engine, and nothing is fast. The order of choice is
in `order` alone: priority, host, path, conditions, place in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

Route = dict[str, Any]
Conditions = dict[str, Any]


@dataclass
class Asked:
    """A request by its parts, for the oracle and for writing the head."""

    host: str = "a.test"
    path: str = "/"
    method: str = "GET"
    fields: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    @property
    def target(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.query.items())
        return f"{self.path}?{query}" if query else self.path

    def lines(self) -> list[str]:
        found = [f"{name}: {value}" for name, value in self.fields.items()]
        if self.cookies:
            found.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if self.length is not None:
            found.append(f"Content-Length: {self.length}")
        return found


def host_matches(pattern: str | None, host: str) -> bool:
    name = host.lower().partition(":")[0]
    return (
        pattern is None
        or name == pattern
        or (pattern.startswith("*.") and name.endswith(pattern[1:]) and name != pattern[1:])
    )


def path_captures(pattern: str | None, path: str) -> dict[str, str] | None:
    """Captures when the pattern takes the path, else None."""
    if pattern is None:
        return {}
    expression = ""
    for segment in pattern[1:].split("/"):
        if segment == "*":
            expression += "(?:/.*)?"
        elif segment.startswith(":"):
            name, _, suffix = segment[1:].partition(":")
            expression += f"/(?P<{name}>[^/]+)" + (re.escape(":" + suffix) if suffix else "")
        else:
            expression += "/" + re.escape(segment)
    match = re.fullmatch(expression, path)
    return None if match is None else match.groupdict()


def value_matches(wanted: Any, value: str | None) -> bool:
    if isinstance(wanted, bool):
        return wanted == (value is not None)
    globs = [wanted] if isinstance(wanted, str) else wanted
    return value is not None and any(
        re.fullmatch(".*".join(map(re.escape, glob.split("*"))), value) for glob in globs
    )


def size_matches(wanted: str, length: int | None) -> bool:
    operator, number = wanted.split(" ")
    size, limit = length or 0, int(number.removesuffix("B"))
    return {">": size > limit, ">=": size >= limit, "<": size < limit, "<=": size <= limit}[operator]


def conditions_hold(match: Conditions, asked: Asked) -> bool:
    return (
        asked.method in match.get("method", [asked.method])
        and all(
            value_matches(wanted, asked.fields.get(name)) for name, wanted in match.get("header", {}).items()
        )
        and all(
            value_matches(wanted, asked.query.get(name)) for name, wanted in match.get("query", {}).items()
        )
        and all(
            value_matches(wanted, asked.cookies.get(name)) for name, wanted in match.get("cookie", {}).items()
        )
        and ("body_size" not in match or size_matches(match["body_size"], asked.length))
    )


def order(index: int, route: Route, host: str | None, path: str | None) -> tuple[Any, ...]:
    """Sorts by choice, best first."""
    match = route.get("match", {})
    segments = (path or "/*")[1:].split("/")
    below = segments[-1] == "*"
    kept = segments[:-1] if below else segments
    captures = sum(segment.startswith(":") for segment in kept)
    conditions = sum(len(match.get(kind, {})) for kind in ("header", "query", "cookie"))
    conditions += ("method" in match) + ("body_size" in match)
    host_order = (2, 0) if host is None else (1, -len(host)) if host.startswith("*") else (0, 0)
    return (
        -route.get("priority", 0),
        host_order,
        (captures - len(kept), below, -captures),
        -conditions,
        index,
    )


def entries(routes: list[Route]) -> Iterator[tuple[tuple[Any, ...], int, str | None, str | None]]:
    for index, route in enumerate(routes):
        match = route.get("match", {})
        for host, path in product(match.get("host") or [None], match.get("path") or [None]):
            yield order(index, route, host, path), index, host, path


def choose(routes: list[Route], asked: Asked) -> tuple[str | None, dict[str, str]]:
    """The name of the route (`r` and its index) and its captures."""
    for _, index, host, path in sorted(entries(routes), key=lambda entry: entry[0]):
        captures = path_captures(path, asked.path)
        if captures is None or not host_matches(host, asked.host):
            continue
        if conditions_hold(routes[index].get("match", {}), asked):
            return f"r{index}", captures
    return None, {}
