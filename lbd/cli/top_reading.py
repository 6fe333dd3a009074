"""What `lbd top` knows: readings of /metrics and /api/clusters, and what has happened between two of them.

Rates are increases of counters divided by the time between the readings; a counter that is lower than before
has begun anew, with its process. Only the standard library is used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lbd.cli.admin_client import AdminClient

Key = tuple[str, ...]
Samples = dict[str, list[tuple[dict[str, str], float]]]

LINE = re.compile(r"^(lbd_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
ADMIN_STATES = ("ready", "draining", "disabled")
BREAKER_STATES = ("closed", "open", "half-open")


def parse(text: str) -> Samples:
    """Prometheus' text format, as lbd writes it: name -> labels and value of each series."""
    found: Samples = {}
    for name, labels, value in LINE.findall(text):
        pairs = {
            key: re.sub(r"\\.", lambda match: ESCAPES.get(match[0], match[0]), raw) if "\\" in raw else raw
            for key, raw in LABEL.findall(labels)
        }
        found.setdefault(name, []).append((pairs, float(value)))
    return found


@dataclass(frozen=True)
class Reading:
    """All at one time. when: seconds of a clock that only goes forward."""

    when: float
    samples: Samples
    clusters: list[dict[str, Any]]
    info: dict[str, Any]

    @classmethod
    def take(cls, client: AdminClient) -> Reading:
        """NotRunning, Refused."""
        info = client.get("/api/info", "counts")
        clusters = client.get("/api/clusters")
        samples = parse(client.text("/metrics"))
        return cls(time.monotonic(), samples, clusters, info)

    def sums(self, name: str, labels: Iterable[str] = (), **only: str) -> dict[Key, float]:
        """The series of a metric that have these labels, summed by `labels`."""
        found: dict[Key, float] = {}
        wanted = tuple(labels)
        for pairs, value in self.samples.get(name, ()):
            if only.items() <= pairs.items():
                key = tuple(pairs.get(label, "") for label in wanted)
                found[key] = found.get(key, 0.0) + value
        return found

    def sum(self, name: str, **only: str) -> float:
        return self.sums(name, **only).get((), 0.0)


@dataclass(frozen=True)
class Flow:
    """What went through: a second, and the shares and seconds of what ended. None without any."""

    rate: float = 0.0
    errors: float | None = None
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class ClusterFigures:
    name: str
    balancer: str
    usable: int
    endpoints: int
    active: int
    flow: Flow
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EndpointFigures:
    cluster: str
    name: str
    state: str  # what operators want; else what keeps it from being picked; else ready
    usable: bool
    weight: int
    active: int
    queued: int
    connections: int
    flow: Flow
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """Between two readings."""

    version: str
    pid: int
    started: float
    draining: bool
    seconds: float
    connections: int
    cpu: float  # cores in use
    lag: float  # seconds, of the event loop
    flow: Flow
    clusters: list[ClusterFigures]
    endpoints: list[EndpointFigures]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Change:
    """From one reading to the next."""

    def __init__(self, before: Reading, after: Reading) -> None:
        self.before, self.after = before, after
        self.seconds = max(after.when - before.when, 1e-6)

    def increases(self, name: str, labels: Iterable[str] = (), **only: str) -> dict[Key, float]:
        """Of counters, by `labels`; what is new has begun at 0."""
        wanted = tuple(labels)
        before = self.before.sums(name, wanted, **only)
        found = {}
        for key, value in self.after.sums(name, wanted, **only).items():
            old = before.get(key, 0.0)
            found[key] = value - old if value >= old else value
        return found

    def quantiles(self, name: str, labels: tuple[str, ...] = ()) -> dict[Key, tuple[float, float]]:
        """50th and 99th percentile of a histogram's new observations, in its unit; absent without any."""
        buckets: dict[Key, list[tuple[float, float]]] = {}
        for key, count in self.increases(f"{name}_bucket", (*labels, "le")).items():
            buckets.setdefault(key[:-1], []).append((float(key[-1]), count))
        found = {}
        for key, rows in buckets.items():
            rows.sort()
            if rows[-1][1] > 0:
                found[key] = quantile(0.5, rows), quantile(0.99, rows)
        return found

    def flows(
        self,
        requests: Mapping[Key, float],
        failed: Mapping[Key, float],
        histogram: str,
        labels: tuple[str, ...],
    ) -> dict[Key, Flow]:
        """For all keys of `requests`."""
        latency = self.quantiles(histogram, labels)
        found = {}
        for key, count in requests.items():
            p50, p99 = latency.get(key, (None, None))
            errors = failed.get(key, 0.0) / count if count else None
            found[key] = Flow(count / self.seconds, errors, p50, p99)
        return found


def quantile(q: float, rows: list[tuple[float, float]]) -> float:
    """Of cumulative (upper bound, count) rows, which end with infinity; observations are taken to be spread
    evenly in their bucket, as Prometheus does."""
    rank = q * rows[-1][1]
    low = below = 0.0
    for bound, count in rows:
        if count >= rank:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((rank - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low


def figures(before: Reading, after: Reading) -> Figures:
    """What there is to show."""
    change = Change(before, after)
    info = after.info
    return Figures(
        version=info["version"],
        pid=info["pid"],
        started=info["started"],
        draining=info["draining"],
        seconds=change.seconds,
        connections=int(after.sum("lbd_connections_open")),
        cpu=sum(change.increases("lbd_process_cpu_seconds_total").values()) / change.seconds,
        lag=after.sum("lbd_event_loop_lag_seconds"),
        flow=_exchanges(change, ()).get((), Flow()),
        clusters=_clusters(change),
        endpoints=_endpoints(change),
    )


def _exchanges(change: Change, labels: tuple[str, ...]) -> dict[Key, Flow]:
    requests = change.increases("lbd_requests_total", labels)
    failed: dict[Key, float] = {}
    for key, count in change.increases("lbd_requests_total", (*labels, "code")).items():
        if key[-1].startswith("5"):
            failed[key[:-1]] = failed.get(key[:-1], 0.0) + count
    return change.flows(requests, failed, "lbd_request_duration_seconds", labels)


def _clusters(change: Change) -> list[ClusterFigures]:
    flows = _exchanges(change, ("cluster",))
    waiting = change.after.sums("lbd_queue_depth", ("cluster",))
    found = []
    for cluster in change.after.clusters:
        name, counts = cluster["name"], cluster["counts"]
        notes = ["panic"] if cluster["panic"] else []
        notes += [f"breaker {cluster['breaker']}"] if cluster["breaker"] not in (None, "closed") else []
        notes += [f"region {cluster['region']}"] if cluster["region"] else []
        queued = int(waiting.get((name,), 0))
        notes += [f"{queued} queued"] if queued else []
        found.append(
            ClusterFigures(
                name,
                cluster["balancer"],
                counts["usable"],
                counts["endpoints"],
                cluster["active"],
                flows.get((name,), Flow()),
                notes,
            )
        )
    return found


ENDPOINT = ("cluster", "endpoint")


def _endpoints(change: Change) -> list[EndpointFigures]:
    after = change.after
    requests = change.increases("lbd_upstream_requests_total", ENDPOINT)
    failures = change.increases("lbd_upstream_failures_total", ENDPOINT)
    flows = change.flows(requests, failures, "lbd_upstream_response_seconds", ENDPOINT)
    gauges = {
        name: after.sums(f"lbd_{name}", ENDPOINT)
        for name in (
            "endpoint_admin_state",
            "endpoint_healthy",
            "endpoint_ejected",
            "breaker_state",
            "endpoint_weight",
            "upstream_active",
            "queue_depth",
            "upstream_connections",
        )
    }
    found = []
    for key, usable in after.sums("lbd_endpoint_up", ENDPOINT).items():
        now = {name: values[key] for name, values in gauges.items() if key in values}
        found.append(
            EndpointFigures(
                cluster=key[0],
                name=key[1],
                state=_state(now, usable=bool(usable)),
                usable=bool(usable),
                weight=int(now.get("endpoint_weight", 0)),
                active=int(now.get("upstream_active", 0)),
                queued=int(now.get("queue_depth", 0)),
                connections=int(now.get("upstream_connections", 0)),
                flow=flows.get(key, Flow()),
                notes=_notes(now),
            )
        )
    return found


def _state(now: Mapping[str, float], *, usable: bool) -> str:
    wanted = ADMIN_STATES[int(now.get("endpoint_admin_state", 0))]
    if wanted != "ready":
        return wanted
    if now.get("endpoint_healthy") == 0:
        return "down"
    if now.get("endpoint_ejected"):
        return "ejected"
    return "ready" if usable else "not usable"


def _notes(now: Mapping[str, float]) -> list[str]:
    notes = []
    breaker = BREAKER_STATES[int(now.get("breaker_state", 0))]
    if breaker != "closed":
        notes.append(f"breaker {breaker}")
    if now.get("endpoint_admin_state") and now.get("endpoint_healthy") == 0:
        notes.append("down")
    return notes
