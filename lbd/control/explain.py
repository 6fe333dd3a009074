"""explain: where a request would go and why, as plain data.

Who decides is the Rehearsal: the functions that serve traffic, asked without a trace. Here is only told what
they have said, with the lines of the configuration and what speaks against each route and endpoint. Nothing
is changed by it, so it may be asked of a daemon under load; the answer is bounded, however large the
configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lbd.config import schema
from lbd.config.units import BadValue, format_duration, format_size, shorten
from lbd.control.asked import Asked, choose_listener
from lbd.control.compile import Runtime
from lbd.control.explain_endpoints import endpoint_rows
from lbd.control.explain_routes import route_rows
from lbd.engine.cluster import Cluster
from lbd.engine.rehearsal import Rehearsal, circuits_of, packed_text

REASONS = {  # of a cluster, in words
    "no_endpoint": "no endpoint can serve",
    "overflow": "max_requests is reached",
    "overload": "the adaptive limit is reached",
    "breaker_open": "its breaker is open",
}
URGENCIES = ("high", "normal", "low")
CAPTURED = 256  # characters of a capture, or of the head for endpoints a line, that are shown


class Remembers(Protocol):
    """What is asked of the flight recorder."""

    def find(self, request_id: str) -> Mapping[str, Any] | None: ...


def explain(runtime: Runtime, request: Asked | Mapping[str, Any]) -> dict[str, Any]:
    """All that is decided about the request, for JSON. BadValue for one that cannot be made sense of."""
    asked = request if isinstance(request, Asked) else Asked.from_data(request)
    config = runtime.config
    setting, chosen = choose_listener(asked, config)
    listener = runtime.listeners.get(setting.name)
    if listener is None:
        raise BadValue(f"listener {setting.name} does not serve yet")
    if setting.protocol == "tcp" and asked.is_http:
        raise BadValue(f"listener {setting.name} passes bytes on and knows no requests; name it alone")
    head = None if setting.protocol == "tcp" else asked.head()
    secure = asked.is_secure if asked.is_secure is not None else setting.tls is not None
    try:
        outcome = Rehearsal(listener, head, asked.client, secure=secure)
    except ValueError as error:
        raise BadValue(str(error)) from None
    return {
        "request": _request(asked, outcome),
        "listener": _listener(setting, chosen, config),
        **route_rows(outcome, asked, setting, config),
        "route": _route(outcome, config, setting),
        "clusters": [_walked(cluster, reason, config) for cluster, reason in outcome.walked],
        "cluster": _cluster(outcome, config),
        "session": _session(outcome),
        **endpoint_rows(outcome, config),
        "retry": _retry(outcome),
        "limits": _limits(outcome),
        "upstream_head": _shown_head(outcome.upstream_head),
        "outcome": _outcome(outcome),
    }


def recalled(request: Mapping[str, Any], recorder: Remembers | None) -> Mapping[str, Any]:
    """The request, or the past one that it names by `id`. BadValue when that is not known."""
    if "id" not in request:
        return request
    if recorder is None:
        raise BadValue("this lbd records no requests, so it knows none by its id")
    found = recorder.find(str(request["id"]))
    if found is None:
        raise BadValue(f"request {shorten(request['id'])} is not, or no longer, in the recorder")
    # header fields are not recorded: conditions on them count as not met
    names = {"method": "method", "host": "host", "path": "target", "client": "client", "listener": "listener"}
    return {wanted: found[name] for name, wanted in names.items() if name in found}


def _request(asked: Asked, outcome: Rehearsal) -> dict[str, Any]:
    client = packed_text(outcome.client_address)
    return {
        **asked.to_data(),
        "method": asked.method,
        "target": asked.request_target(),
        "path": _text(outcome.path),
        "client": client,
        "peer": asked.client,
    }


def _listener(setting: schema.Listener, chosen: str, config: schema.Config) -> dict[str, Any]:
    return {
        "name": setting.name,
        "bind": list(setting.bind),
        "protocol": setting.protocol,
        "tls": setting.tls is not None,
        "at": config.places.of("listeners", config.listeners.index(setting)),
        "chosen": chosen,
    }


def _route(outcome: Rehearsal, config: schema.Config, setting: schema.Listener) -> dict[str, Any] | None:
    route = outcome.route
    if route is None:
        return None
    return {
        "name": route.name,
        "captures": {name: _text(value) for name, value in outcome.captures.items()},
        "endpoint_labels": dict(route.labels),
        "urgency": URGENCIES[route.urgency],
        "cluster": route.cluster.name if route.cluster is not None else None,
        "respond": route.respond.status if route.respond is not None else None,
    }


def _walked(cluster: Cluster, reason: str, config: schema.Config) -> dict[str, Any]:
    """A cluster that was asked: the route's own, or one that stands in."""
    circuits = circuits_of(cluster, None)
    why = REASONS.get(reason, reason)
    if reason == "breaker_open" and "breaker" in circuits:
        state, left, _ = circuits["breaker"]
        why = f"its breaker is {state}" + (f" for {left:.1f} s more" if left else ": its tries are under way")
    if reason == "overflow":
        why = f"max_requests is reached: {cluster.under_way} of {cluster.max_requests} under way"
    if reason == "overload" and cluster.limiter is not None:
        why = f"the adaptive limit is reached: {cluster.active} under way, {cluster.limiter.limit} allowed"
    return {"name": cluster.name, "at": cluster_place(cluster.name, config), "reason": reason, "why": why}


def cluster_place(name: str, config: schema.Config) -> str | None:
    """Where a cluster is written."""
    for index, setting in enumerate(config.clusters):
        if setting.name == name:
            return config.places.of("clusters", index)
    return None


def _cluster(outcome: Rehearsal, config: schema.Config) -> dict[str, Any] | None:
    cluster, selection = outcome.cluster, outcome.selection
    if cluster is None or selection is None:
        return None
    setting = next((one for one in config.clusters if one.name == cluster.name), None)
    key = cluster.key
    return {
        "name": cluster.name,
        "at": cluster_place(cluster.name, config),
        "balancer": setting.balancer.name if setting is not None else "",
        "score_means": selection.parts[0].score_means if selection.parts else "",
        "key": None if key is None else {"by": f"{key.kind} {key.name}".strip(), "given": outcome.key != 0},
        "parts": [
            {"name": name, "share": round(share, 4), "endpoints": len(part.endpoints)}
            for name, share, part in zip(selection.names, selection.shares, selection.parts, strict=True)
        ],
        "panic": selection.panic,
        "region": selection.region or None,
        "active": cluster.under_way,
        "breaker": circuits_of(cluster, None).get("breaker", ("closed",))[0] if cluster.breaker else None,
    }


def _session(outcome: Rehearsal) -> dict[str, Any] | None:
    """Whether the request names one, and what has become of that."""
    cluster = outcome.cluster
    if cluster is None or cluster.sticky is None:
        return None
    source = cluster.sticky.source
    if not outcome.has_session:
        said = "the request names none"
    elif outcome.cause == "session":
        said = "goes back to its endpoint"
    elif outcome.pinned is not None:
        said = "its endpoint takes single requests only at the moment"
    elif outcome.knows_session:
        said = "its endpoint cannot serve it, or is not known: it gets a new one"
    else:
        said = "new: it stays with the endpoint that answers"
    pinned = outcome.pinned.name if outcome.pinned is not None else None
    return {"by": f"{source.kind} {source.name}".strip(), "endpoint": pinned, "said": said}


def _retry(outcome: Rehearsal) -> dict[str, Any] | None:
    plan = outcome.retry_plan()
    if plan is None:
        return None
    if outcome.listener.router is None:
        plan |= {
            "allowed": False,
            "said": "only when connecting fails: no byte is sent twice",
        }
    elif not plan["body_is_kept"]:
        plan["said"] = "only before any of the body was sent: it is longer than what is kept (retry.buffer)"
    elif not plan["allowed"]:
        plan["said"] = f"{plan['method']} may not be repeated once an endpoint has perhaps acted on it"
    else:
        plan["said"] = "for all of its causes"
    return plan


def _limits(outcome: Rehearsal) -> dict[str, dict[str, str]]:
    """Times and sizes that apply, by whose they are, as people write them; without those that do not."""
    found: dict[str, dict[str, str]] = {}
    for owner, values in outcome.limits().items():
        for name, value in values.items():
            if name.startswith("timeouts.") and value:
                found.setdefault(owner, {})[name] = format_duration(value / 1000)
            elif value > 0 or (name == "limits.body" and value == 0):
                found.setdefault(owner, {})[name] = (
                    format_size(value) if name == "limits.body" else str(value)
                )
    return found


def _outcome(outcome: Rehearsal) -> dict[str, Any]:
    """What the client would see, at first."""
    if outcome.reason:
        return {"kind": "refused", "status": outcome.status, "reason": outcome.reason}
    if outcome.respond is not None:
        kind = "redirect" if outcome.respond.https_port else "respond"
        return {"kind": kind, "status": outcome.respond.status, "https_port": outcome.respond.https_port}
    assert outcome.cluster is not None and outcome.picked is not None
    return {
        "kind": "endpoint",
        "cluster": outcome.cluster.name,
        "endpoint": outcome.picked.name,
        "address": outcome.picked.address,
        "by": outcome.cause,
        "alternatives": [endpoint.name for endpoint in outcome.alternatives],
        "upgrade": outcome.upgrade,
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")[:CAPTURED]


SECRET = ("authorization", "cookie", "proxy-authorization", "x-api-key")


def _shown_head(head: bytes | None) -> list[str] | None:
    """Its lines; of fields that hold secrets, the name alone."""
    if head is None:
        return None
    lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return [
        f"{line.partition(':')[0]}: ..." if line.partition(":")[0].lower() in SECRET else line[:CAPTURED]
        for line in lines
    ]
