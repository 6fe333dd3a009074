"""The endpoints of a cluster as candidates for a request: usable or why not, score, and why they lost.

Part of `explain.py`; the dashboard shows obstacles too. Whether one is usable, stands in the selection, and
is picked, the engine has decided; its reasons are read from the same state that it goes by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from lbd.config import schema
from lbd.config.diff import endpoint_identity
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.rehearsal import Rehearsal, circuits_of, connections_of
from lbd.engine.selection import Selection

MOST_ENDPOINTS = 200  # that are told of

Seats = dict[Endpoint, tuple[str, float, Balancer]]  # endpoint -> name and share of its part, the part


def endpoint_rows(outcome: Rehearsal, config: schema.Config) -> dict[str, Any]:
    """{"endpoints": a row for each, "endpoints_left_out": how many more}: of the cluster that serves, and
    before them of clusters that could not for want of one."""
    asked = [
        (cluster, _selection(cluster, outcome))
        for cluster, reason in outcome.walked
        if reason == "no_endpoint" and cluster is not outcome.cluster
    ]
    if outcome.cluster is not None and outcome.selection is not None:
        asked.append((outcome.cluster, outcome.selection))
    rows: list[dict[str, Any]] = []
    for cluster, selection in asked:
        rows += _rows(cluster, selection, outcome, config)
    left_out = sum(len(cluster.endpoints) for cluster, _ in asked) - len(rows)
    return {"endpoints": rows, "endpoints_left_out": left_out}


def obstacles_of(cluster: Cluster) -> dict[str, list[str]]:
    """Endpoints that get no new requests now, by name: what keeps each of them from it."""
    selection = cluster.selection
    seated = {endpoint for part in selection.parts for endpoint in part.endpoints}
    return {
        endpoint.name: list(_obstacles(endpoint, cluster, selection, seated, {}))
        for endpoint in cluster.endpoints
        if endpoint not in seated
    }


def _selection(cluster: Cluster, outcome: Rehearsal) -> Selection:
    """The one that the route wants, where it has been made."""
    labels = outcome.route.labels if outcome.route is not None else {}
    return cluster.subsets.get(tuple(sorted(labels.items())), cluster.selection)


def _rows(
    cluster: Cluster, selection: Selection, outcome: Rehearsal, config: schema.Config
) -> Iterator[dict[str, Any]]:
    seats: Seats = {
        endpoint: (name, share, part)
        for name, share, part in zip(selection.names, selection.shares, selection.parts, strict=True)
        for endpoint in part.endpoints
    }
    scores = {part: part.scores(outcome.key) for part in selection.parts}
    labels = outcome.route.labels if outcome.route is not None else {}
    places = _places(cluster, config)
    for endpoint in _shown(cluster, outcome):
        obstacles = list(_obstacles(endpoint, cluster, selection, seats, labels))
        seat = seats.get(endpoint)
        score = scores[seat[2]].get(endpoint) if seat is not None else None
        yield {
            "cluster": cluster.name,
            "name": endpoint.name,
            "address": endpoint.address,
            "at": places.get(endpoint.name),
            "usable": endpoint.usable,
            "obstacles": obstacles,
            "notes": list(_notes(endpoint, cluster)),
            "part": seat[0] if seat is not None else None,
            "weight": endpoint.wanted_weight,
            "active": endpoint.under_way,
            "connections": connections_of(endpoint),
            "score": None if score is None else round(score, 6),
            "place": _place(endpoint, outcome),
            "why": _why(endpoint, outcome, seats, scores, bool(obstacles)),
        }


def _shown(cluster: Cluster, outcome: Rehearsal) -> list[Endpoint]:
    """All, or of many those that the request would meet, and the first others."""
    if len(cluster.endpoints) <= MOST_ENDPOINTS or cluster is not outcome.cluster:
        return list(cluster.endpoints[:MOST_ENDPOINTS])
    met = [one for one in (outcome.picked, outcome.pinned, *outcome.alternatives) if one is not None]
    others = (endpoint for endpoint in cluster.endpoints if endpoint not in met)
    return [*dict.fromkeys(met), *islice(others, MOST_ENDPOINTS - len(met))]


def _places(cluster: Cluster, config: schema.Config) -> dict[str, str | None]:
    """By name; those that were discovered are not written anywhere."""
    for index, setting in enumerate(config.clusters):
        if setting.name == cluster.name:
            return {
                endpoint_identity(endpoint): config.places.of("clusters", index, "endpoints", number)
                for number, endpoint in enumerate(setting.endpoints)
            }
    return {}


def _obstacles(
    endpoint: Endpoint,
    cluster: Cluster,
    selection: Selection,
    seats: Collection[Endpoint],
    labels: Mapping[str, object],
) -> Iterator[str]:
    """What keeps it from serving a request whose route wants these labels. seats: who is in the selection."""
    for name, value in labels.items():
        if endpoint.labels.get(name) != value:
            has = endpoint.labels.get(name)
            yield f"label {name} must be {value!r}" + (f", is {has!r}" if has is not None else "")
    if not endpoint.resolved:
        yield "unresolved: no address of its name is known"
    if endpoint.admin != "ready":
        yield {"draining": "draining: its sessions only", "disabled": "disabled"}[endpoint.admin]
    if endpoint.health == "down" and not selection.panic:
        yield "down by active checks" + (f": {endpoint.trouble}" if endpoint.trouble else "")
    circuits = circuits_of(cluster, endpoint)
    for name, word in (("ejection", "ejected by passive checks"), ("breaker", "its breaker is open")):
        state, left, _ = circuits.get(name, ("closed", 0.0, 0))
        if state == "open" and endpoint not in seats:
            yield f"{word} for {left:.1f} s more" if left else f"{word}, to be tried next"
    if endpoint.wanted_weight == 0:
        yield "weight 0"
    if endpoint.usable and endpoint.wanted_weight and endpoint not in seats and not labels:
        yield _out_of_selection(endpoint, selection)


def _out_of_selection(endpoint: Endpoint, selection: Selection) -> str:
    if selection.region and endpoint.region != selection.region:
        return f"region {selection.region} is in use, not {endpoint.region or 'none'}"
    where = f"tier {endpoint.priority}" + (f", zone {endpoint.zone}" if endpoint.zone else "")
    return f"gets no share now ({where}): others have room"


def _notes(endpoint: Endpoint, cluster: Cluster) -> Iterator[str]:
    """What is no obstacle, and yet matters."""
    for name, (state, _, tries) in circuits_of(cluster, endpoint).items():
        if state == "half-open":
            yield f"on probation ({name}): single requests try it, {tries} so far"
    if endpoint.weight and endpoint.wanted_weight != endpoint.configured_weight:
        yield f"weight {endpoint.configured_weight} configured"
    if endpoint.foreign:
        yield "in another zone than lbd"
    if not connections_of(endpoint)["room"]:
        yield "no room for another connection: requests wait"


def _place(endpoint: Endpoint, outcome: Rehearsal) -> str | None:
    """`picked`, or `alternative 1` and so on."""
    if endpoint is outcome.picked:
        return "picked"
    if endpoint in outcome.alternatives:
        return f"alternative {outcome.alternatives.index(endpoint) + 1}"
    return None


def _why(
    endpoint: Endpoint,
    outcome: Rehearsal,
    seats: Seats,
    scores: dict[Balancer, dict[Endpoint, float]],
    has_obstacles: bool,
) -> str:
    """Why it was picked, or lost."""
    picked = outcome.picked
    if picked is None or (has_obstacles and endpoint is not picked):
        return ""
    if outcome.cause == "session":
        return "the session is here" if endpoint is picked else "the session is elsewhere"
    seat, winner = seats.get(endpoint), seats.get(picked)
    if seat is None or winner is None:
        return ""
    if seat[2] is not winner[2]:
        return f"part {seat[0]} ({seat[1]:.0%} of the requests) was not drawn, but {winner[0]}"
    of_part = scores[seat[2]]
    own, best = of_part.get(endpoint), of_part.get(picked)
    if endpoint is picked:
        return _why_picked(own, of_part)
    if not connections_of(endpoint)["room"]:
        return "no room for another connection"
    if own is None or best is None:
        return "not drawn" if not of_part else "far behind in the order of the key"
    if own > best:
        return f"{own:g} is more than {best:g}"
    return "as good, but not its turn" if own == best else "better, but not among those that were drawn"


def _why_picked(score: float | None, scores: dict[Endpoint, float]) -> str:
    if len(scores) == 1 or score is None:
        return "the only one" if len(scores) == 1 else "drawn by weight"
    lowest = min(scores.values())
    return f"lowest score ({score:g})" if score == lowest else f"score {score:g}, the best of those drawn"
