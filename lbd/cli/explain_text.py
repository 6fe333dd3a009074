"""What `lbd explain` prints for people: the decisions as a tree, with the lines of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lbd.cli.admin_client import printable

MARKS = {
    "chosen": ("✓", "green"),
    "outranked": ("·", "yellow"),
    "refused": ("✗", "red"),
    "missed": ("✗", "red"),
}
MOST_LINES = 40  # endpoints, and routes that were missed


def lines(found: dict[str, Any], *, coloured: bool) -> Iterator[str]:
    """The text, a line each; nothing in it can steer a terminal."""
    paint = _Paint(coloured)
    yield from _head(found, paint)
    yield from _routes(found, paint)
    yield from _limits(found, paint)
    yield from _clusters(found, paint)
    if found["cluster"] is not None:
        yield from _endpoints(found, found["cluster"]["name"], paint)
    yield from _retry(found, paint)
    yield from _end(found, paint)


class _Paint:
    """Colours, where they are wanted."""

    def __init__(self, coloured: bool) -> None:
        self.coloured = coloured

    def __call__(self, text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
        text = printable(text)
        return click.style(text, fg=colour, bold=bold or None, dim=dim or None) if self.coloured else text

    def place(self, at: str | None) -> str:
        return f"  {self(at, dim=True)}" if at else ""


def _head(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    request, listener = found["request"], found["listener"]
    if listener["protocol"] == "tcp":
        yield paint(f"a connection from {request['client']}", bold=True)
    else:
        target = request.get("url") or f"{request.get('host') or ''}{request['target']}"
        yield paint(f"{request['method']} {target} from {request['client']}", bold=True)
        if request["client"] != request["peer"]:
            yield paint(f"  the client's address is what the proxy {request['peer']} says")
    over = " with TLS" if listener["tls"] else ""
    bind = ", ".join(listener["bind"])
    yield (
        paint(f"listener {listener['name']} ({bind}, {listener['protocol']}{over}): {listener['chosen']}")
        + paint.place(listener["at"])
    )
    if request["path"] and request["path"] != request["target"].partition("?")[0]:
        yield paint(f"  path as matched: {request['path']}")


def _routes(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    missed = 0
    for row in found["routes"]:
        if row["outcome"] in ("missed", "not looked at"):
            missed += 1
            if missed > MOST_LINES:
                continue
        mark, colour = MARKS.get(row["outcome"], ("·", "yellow"))
        target = f"cluster {row['cluster']}" if row["cluster"] else f"respond {row['respond']}"
        why = f": {row['why']}" if row["why"] else ""
        said = paint(f"route {row['name']} -> {target}{why}")
        yield f"  {paint(mark, colour)} {said}{paint.place(row['at'])}"
    more = max(0, missed - MOST_LINES) + found["routes_left_out"]
    if more:
        yield paint(f"  … and {more} routes more that do not match", dim=True)
    route = found["route"]
    if route is not None:
        for name, value in route["captures"].items():
            yield paint(f"    captures {name} = {value!r}")
        for name, value in route["endpoint_labels"].items():
            yield paint(f"    wants endpoints with label {name}: {value}")
        if route["urgency"] != "normal":
            yield paint(f"    urgency {route['urgency']}")


def _limits(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    for owner, values in found["limits"].items():
        said = ", ".join(f"{name} {value}" for name, value in values.items())
        if said and (owner != "listener" or found["listener"]["protocol"] == "http"):
            yield paint(f"  limits of the {owner}: {said}", dim=True)


def _clusters(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    """Those that were asked; of one that lacks an endpoint its endpoints, at once."""
    for row in found["clusters"]:
        mark = paint("✗", "red") if row["reason"] else paint("✓", "green")
        why = f": takes none, {row['why']} ({row['reason']})" if row["reason"] else ""
        said = paint(f"cluster {row['name']}{why}")
        yield f"{mark} {said}{paint.place(row['at'])}"
        if found["cluster"] is None or row["name"] != found["cluster"]["name"]:
            yield from _endpoints(found, row["name"], paint)
    cluster = found["cluster"]
    if cluster is None:
        return
    yield paint(f"  balancer {cluster['balancer']}")
    if cluster["score_means"]:
        yield paint(f"    score: {cluster['score_means']}", dim=True)
    if cluster["key"] is not None:
        none = "" if cluster["key"]["given"] else ", which the request does not have: one is drawn"
        yield paint(f"    key: {cluster['key']['by']}{none}")
    if cluster["panic"]:
        yield paint("    panic: too few endpoints are usable, so health is ignored", "red")
    if cluster["region"]:
        yield paint(f"    region in use: {cluster['region']}")
    if len(cluster["parts"]) > 1:
        parts = ", ".join(f"{part['name']} {part['share']:.0%}" for part in cluster["parts"])
        yield paint(f"    parts: {parts}")
    session = found["session"]
    if session is not None:
        where = f" ({session['endpoint']})" if session["endpoint"] else ""
        yield paint(f"  session by {session['by']}: {session['said']}{where}")


def _endpoints(found: dict[str, Any], cluster: str, paint: _Paint) -> Iterator[str]:
    rows = [row for row in found["endpoints"] if row["cluster"] == cluster]
    for row in rows[:MOST_LINES]:
        mark, colour = ("✗", "red") if row["obstacles"] else ("·", None)
        if row["place"] == "picked":
            mark, colour = "✓", "green"
        parts = [f"{row['name']}" + (f" ({row['address']})" if row["address"] != row["name"] else "")]
        parts += [row["place"]] if row["place"] else []
        parts += row["obstacles"] or [f"weight {row['weight']}, {row['active']} under way"]
        parts += [f"score {row['score']:g}"] if row["score"] is not None and not row["obstacles"] else []
        parts += row["notes"]
        parts += [row["why"]] if row["why"] else []
        yield f"  {paint(mark, colour)} {paint('; '.join(parts))}{paint.place(row['at'])}"
    more = len(rows[MOST_LINES:]) + (found["endpoints_left_out"] if rows else 0)
    if more:
        yield paint(f"  … and {more} endpoints more", dim=True)


def _retry(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    plan = found["retry"]
    if plan is None:
        if found["cluster"] is not None:
            yield paint("retries: none")
        return
    statuses = f", statuses {', '.join(map(str, plan['statuses']))}" if plan["statuses"] else ""
    causes = ", ".join(cause for cause in plan["causes"] if cause not in ("status", "grpc"))
    yield paint(f"retries: up to {plan['limit']}, on {causes}{statuses}: {plan['said']}")
    waits = [f"{low:g}-{high:g} s" if low != high else f"{low:g} s" for low, high in plan["waits"]]
    if any(high for _, high in plan["waits"]):
        yield paint(f"  waits before them: {', '.join(waits)}")
    elif plan["limit"]:
        yield paint("  at once, at other endpoints only")
    if plan["hedge_after"]:
        yield paint(f"  a second endpoint is asked as well after {plan['hedge_after']:g} s")
    if plan["budget"] is not None:
        yield paint(f"  budget left: {plan['budget']:.1f} attempts")


def _end(found: dict[str, Any], paint: _Paint) -> Iterator[str]:
    outcome = found["outcome"]
    if outcome["kind"] == "endpoint":
        then = f", then {', '.join(outcome['alternatives'])}" if outcome["alternatives"] else ""
        yield paint(f"-> {outcome['cluster']}/{outcome['endpoint']}{then}", "green", bold=True)
    elif outcome["kind"] == "redirect":
        yield paint(f"-> {outcome['status']}, a redirect to https on port {outcome['https_port']}", bold=True)
    elif outcome["kind"] == "respond":
        yield paint(f"-> {outcome['status']}, a fixed answer", bold=True)
    else:
        yield paint(f"-> {outcome['status']} {outcome['reason']}", "red", bold=True)
