"""What the admin API says and takes: the shapes, as models for OpenAPI, and how they are filled.

Figures of endpoints are read and not kept. Names of settings are those of the configuration.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from lbd import __version__
from lbd.admin.counting import Records
from lbd.config import schema
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.recorder import Recorder
from lbd.observe.audit import Audit
from lbd.observe.log import Log
from lbd.observe.metrics import CertificateState, Observed, Reloads

BREAKER = ("closed", "open", "half-open")
STARTED = time.time()

State = Literal["ready", "draining", "disabled"]
Circuit = Literal["closed", "open", "half-open"]


class Problem(BaseModel):
    """Why a request was refused."""

    error: str


class Reloaded(BaseModel):
    """What a reload did. Lists of names by kind: listeners, clusters."""

    seconds: float
    kept_connections: int = Field(description="Clients' connections that went on undisturbed.")
    kept: dict[str, int]
    changed: dict[str, list[str]]
    added: dict[str, list[str]]
    removed: dict[str, list[str]]
    warnings: list[str]


class Asked(BaseModel):
    """A request to explain: `url`, or `listener` with `host` and `target`; or the `id` of a past one."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, description="Of a request in the recorder, in place of all else.")
    method: str = "GET"
    url: str | None = Field(default=None, description="`http://host[:port]/path?query`, or https.")
    host: str | None = None
    target: str = Field(default="/", description="Path and query, with `host`.")
    fields: list[tuple[str, str]] = Field(default=[], description="Header fields: name and value.")
    client: str = Field(default="127.0.0.1", description="IP address that it comes from.")
    listener: str | None = Field(default=None, description="Found by the `url` when absent.")
    body: StrictInt = Field(default=0, description="Announced length of its body; -1: not announced.")


class Stopping(BaseModel):
    """What lbd does when it has been told to stop."""

    pid: int = Field(description="Of the process that will end.")
    drain_timeout: float = Field(description="Seconds after which what is still under way is cut.")


class Weights(BaseModel):
    configured: int = Field(description="As in the configuration, or as discovered.")
    wanted: int = Field(description="As set at run time, else as configured.")
    effective: float = Field(description="What the balancer goes by, relative to others; 0: nothing new.")


class Recent(BaseModel):
    """Exchanges of late: what is 10 seconds old counts for little more than a third."""

    requests: float
    errors: float = Field(description="Share of them that failed, 0 to 1.")
    latency: float = Field(description="Mean seconds to the first byte.")


class Connections(BaseModel):
    open: int
    idle: int
    queued: int = Field(description="Exchanges that wait for one.")


class EndpointFacts(BaseModel):
    cluster: str
    name: str
    address: str
    labels: dict[str, str]
    priority: int
    weight: Weights
    state: State = Field(description="What operators want.")
    health: Literal["unknown", "up", "down"] = Field(description="What active checks say.")
    trouble: str | None = Field(description="What the last active check found wrong.")
    usable: bool = Field(description="Whether new exchanges may go to it.")
    ejected: bool = Field(description="Whether passive checks hold it back.")
    breaker: Circuit | None = Field(description="Of a breaker with scope `endpoint`.")
    active: int = Field(description="Exchanges and tunnels under way.")
    empty: bool = Field(description="Draining or disabled, with nothing under way.")
    rtt: float | None = Field(description="Seconds to connect, as active checks measured.")
    connections: Connections
    requests: int = Field(description="Attempts since the start, or the last reset.")
    failures: int = Field(description="Of them, those that failed for its fault.")


class EndpointView(EndpointFacts):
    recent: Recent


class ClusterView(BaseModel):
    name: str
    balancer: str
    active: int = Field(description="Exchanges and tunnels under way.")
    breaker: Circuit | None = Field(description="Of a breaker with scope `cluster`.")
    panic: bool = Field(description="Whether health is ignored, as too few endpoints are usable.")
    region: str | None = Field(description="The region in use.")
    counts: dict[str, int] = Field(description="Endpoints: all, usable, draining, disabled, down, ejected.")


class FullClusterView(ClusterView):
    endpoints: list[EndpointView]


class ListenerView(BaseModel):
    name: str
    bind: list[str] = Field(description="As in the configuration.")
    protocol: Literal["http", "tcp"]
    tls: bool
    connections: int = Field(description="Open now.")


class Info(BaseModel):
    name: str
    version: str
    environment: str | None
    workers: int
    pid: int
    started: float = Field(description="Unix time.")
    counting_since: float = Field(
        description="The same, or when counters were reset: they count from then on."
    )
    draining: bool = Field(description="Whether lbd is about to stop.")
    counts: dict[str, int] = Field(description="Listeners, clusters, endpoints.")


class Change(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    weight: Annotated[StrictInt, Field(ge=0, le=65535)] | None = Field(
        default=None, description="null: as configured."
    )
    state: State = Field(
        default="ready",
        description="`draining`: old exchanges finish, new ones of its sessions only; `disabled`: no new.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Change:
        if not self.model_fields_set:
            raise ValueError("give 'weight', 'state' or both")
        return self


class Changed(BaseModel):
    endpoint: EndpointView
    saved: bool = Field(description="Whether it will be so after a restart.")


class Setter(Protocol):
    """What sets the state of endpoints (control/endpoint_states.py)."""

    def set_weight(self, cluster: Cluster, endpoint: Endpoint, weight: int | None) -> None: ...
    def set_state(self, cluster: Cluster, endpoint: Endpoint, state: str) -> None: ...
    async def save(self) -> bool: ...


class Reloading(Reloads, Protocol):
    """What reloads, and says who wanted it."""

    async def reload_and_say(self, *, via: str = ..., who: str | None = ...) -> Any: ...


class KnownCertificate(CertificateState, Protocol):
    """What is read of a certificate, beside what metrics read."""

    @property
    def fingerprint(self) -> str | None: ...
    @property
    def file(self) -> str | None: ...
    @property
    def not_before(self) -> float | None: ...
    @property
    def issuer(self) -> str | None: ...


class KnownCertificates(Protocol):
    """What is read of a CertificateKeeper."""

    @property
    def failures(self) -> Mapping[str, int]: ...
    def certificates(self) -> Iterator[KnownCertificate]: ...


class Administered(Observed, Protocol):
    """What is read, and asked for, of a worker."""

    @property
    def log(self) -> Log: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def reloader(self) -> Reloading | None: ...
    @property
    def keeper(self) -> KnownCertificates | None: ...
    async def connections(self, **wanted: Any) -> dict[str, Any]: ...
    @property
    def states(self) -> Setter: ...
    def set_log_level(self, level: str) -> str: ...
    @property
    def recorder(self) -> Recorder | None: ...
    def explain(self, request: Mapping[str, Any]) -> dict[str, Any]: ...
    def obstacles(self, cluster: Cluster) -> dict[str, list[str]]: ...


def view_endpoint(shared: Records, cluster: Cluster, endpoint: Endpoint) -> dict[str, Any]:
    """As EndpointView."""
    identity = f"{cluster.name}/{endpoint.name}"
    record, state = shared.read("endpoint", identity), shared.read("endpoint_state", identity)
    requests, errors, latency = endpoint.recent_now
    recent = {"requests": round(requests, 1), "errors": round(errors, 4), "latency": round(latency, 6)}
    return {**endpoint_facts(cluster, endpoint, record, state), "recent": recent}


def endpoint_facts(
    cluster: Cluster, endpoint: Endpoint, record: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[str, Any]:
    """As EndpointFacts, of its two records in the shared block."""
    breaker = cluster.breaker
    own_breaker = breaker is not None and not breaker.gates
    return {
        "cluster": cluster.name,
        "name": endpoint.name,
        "address": endpoint.address,
        "labels": dict(endpoint.labels),
        "priority": endpoint.priority,
        "weight": {
            "configured": endpoint.configured_weight,
            "wanted": endpoint.wanted_weight,
            "effective": endpoint.weight if endpoint.available else 0,
        },
        "state": endpoint.admin,
        "health": endpoint.health,
        "trouble": endpoint.trouble,
        "usable": endpoint.usable,
        "ejected": state["ejection"][0] != 0,
        "breaker": BREAKER[state["breaker"][0]] if own_breaker else None,
        "active": record["active"],
        "empty": endpoint.admin != "ready" and record["active"] == 0,
        "rtt": endpoint.rtt,
        "connections": {name: record[name] for name in ("open", "idle", "queued")},
        "requests": record["requests"],
        "failures": record["failures"],
    }


def view_cluster(shared: Records, setting: schema.Cluster, cluster: Cluster) -> dict[str, Any]:
    """As ClusterView."""
    state = shared.read("cluster_state", cluster.name)
    breaker = cluster.breaker
    gates = breaker is not None and breaker.gates
    return {
        "name": cluster.name,
        "balancer": setting.balancer.name,
        "active": cluster.under_way,
        "breaker": BREAKER[state["breaker"][0]] if gates else None,
        "panic": bool(state["panic"]),
        "region": cluster.selection.region or None,
        "counts": {
            "endpoints": len(cluster.endpoints),
            "usable": sum(endpoint.usable for endpoint in cluster.endpoints),
            "draining": sum(endpoint.admin == "draining" for endpoint in cluster.endpoints),
            "disabled": sum(endpoint.admin == "disabled" for endpoint in cluster.endpoints),
            "down": sum(endpoint.health == "down" for endpoint in cluster.endpoints),
            "ejected": state["ejected"],
        },
    }


def view_listener(worker: Administered, setting: schema.Listener) -> dict[str, Any]:
    """As ListenerView."""
    return {
        "name": setting.name,
        "bind": list(setting.bind),
        "protocol": setting.protocol,
        "tls": setting.tls is not None,
        "connections": worker.shared.read("listener", setting.name)["open"],
    }


def view_info(worker: Administered, counting_since: float) -> dict[str, Any]:
    """As Info."""
    clusters = worker.runtime.clusters.values() if worker.runtime is not None else ()
    return {
        "name": "lbd",
        "version": __version__,
        "environment": worker.config.environment,
        "workers": worker.shared.workers,
        "pid": os.getpid(),
        "started": round(STARTED, 3),
        "counting_since": round(counting_since, 3),
        "draining": worker.draining,
        "counts": {
            "listeners": len(worker.config.listeners),
            "clusters": len(clusters),
            "endpoints": sum(len(cluster.endpoints) for cluster in clusters),
        },
    }
