"""What `lbd plan` prints for people: + added, - removed, ~ changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from lbd.cli.admin_client import printable

SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
LONGEST = 60  # characters of a value


class _Lines:
    """Lines with a sign and an indentation."""

    def __init__(self, coloured: bool) -> None:
        self.coloured = coloured

    def __call__(self, depth: int, kind: str, text: str) -> str:
        sign, colour = SIGNS.get(kind, (" ", "white"))
        line = printable(f"{'  ' * depth}{sign} {text}")
        return click.style(line, fg=colour) if self.coloured and kind in SIGNS else line


def lines(found: dict[str, Any], *, coloured: bool) -> Iterator[str]:
    """The text, a line each; nothing in it can steer a terminal."""
    line = _Lines(coloured)
    for setting in found["settings"]:
        yield line(0, "changed", _setting(setting))
    for name in found["restart_for"]:
        yield line(1, "", f"{name} cannot change while lbd runs: a reload refuses it, restart lbd for that")
    for listener in found["listeners"]:
        yield from _listener(listener, line)
    for cluster in found["clusters"]:
        yield from _cluster(cluster, line)
    tests = found["tests"]
    for failed in tests["failed"]:
        yield line(0, "removed", f"test failed: {failed}")
    if tests["count"] and not tests["failed"]:
        yield line(0, "", f"{tests['count']} tests passed")
    yield from (line(0, "", warning) for warning in found["warnings"])
    yield _summary(found)


def _listener(listener: dict[str, Any], line: _Lines) -> Iterator[str]:
    yield line(0, listener["kind"], f"listener {listener['name']}")
    yield from (line(1, "added", f"binds {bind}") for bind in listener["bound"])
    yield from (line(1, "removed", f"binds {bind}") for bind in listener["unbound"])
    yield from (line(1, "changed", _setting(setting)) for setting in listener["settings"])
    for route in listener["routes"]:
        yield line(1, route["kind"], f"route {route['name']}{_target(route)}")
        yield from (
            line(2, "changed", _setting(setting))
            for setting in route["settings"]
            if setting["path"] != "cluster"
        )
    yield from (line(1, "", f"! {effect}") for effect in listener["effects"])


def _target(route: dict[str, Any]) -> str:
    before, after = route["old_target"], route["new_target"]
    said = (
        f": {before} -> {after}"
        if None not in (before, after) and before != after
        else f" -> {after or before}"
    )
    if route["moved"]:
        said += f" (now {route['new_index'] + 1}. in the list, was {route['old_index'] + 1}.)"
    return said


def _cluster(cluster: dict[str, Any], line: _Lines) -> Iterator[str]:
    under_way = (
        f" ({cluster['active']} under way)" if cluster["active"] and cluster["kind"] == "removed" else ""
    )
    yield line(0, cluster["kind"], f"cluster {cluster['name']}{under_way}")
    yield from (line(1, "changed", _setting(setting)) for setting in cluster["settings"])
    for endpoint in cluster["endpoints"]:
        yield line(1, endpoint["kind"], f"endpoint {endpoint['name']}{_fate(endpoint)}")
        yield from (
            line(2, "changed", _setting(setting))
            for setting in endpoint["settings"]
            if setting["path"] != "weight"
        )
    if cluster["keys_moved"] is not None:
        yield line(1, "", f"! {cluster['keys_moved']:.1%} of the keys go to another endpoint")


def _fate(endpoint: dict[str, Any]) -> str:
    under_way = f" ({endpoint['active']} under way)" if endpoint["active"] is not None else ""
    if endpoint["kind"] == "removed":
        return f": drains{under_way}"
    if endpoint["drained"]:
        return f": weight {endpoint['old_weight']} -> 0, gets nothing new{under_way}"
    if endpoint["kind"] == "added":
        return f" with weight {endpoint['new_weight']}"
    if endpoint["old_weight"] != endpoint["new_weight"]:
        return f": weight {endpoint['old_weight']} -> {endpoint['new_weight']}"
    return ""


def _setting(setting: dict[str, Any]) -> str:
    if setting["secret"]:
        return f"{setting['path']}: another secret"
    return f"{setting['path']}: {_value(setting['old'])} -> {_value(setting['new'])}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _summary(found: dict[str, Any]) -> str:
    if not found["changed"]:
        return "nothing changes"
    parts = []
    for what, counts in found["counts"].items():
        said: Sequence[str] = [f"{count} {kind}" for kind, count in counts.items() if count]
        if said:
            parts.append(f"{what}: {', '.join(said)}")
    if found["settings"]:
        parts.append(f"general settings: {len(found['settings'])} changed")
    return "; ".join(parts)
