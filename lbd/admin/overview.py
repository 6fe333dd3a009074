"""Overview: all that the dashboard shows, in one JSON document, and the events beside it.

Building it reads the records of every route and endpoint, which takes a while where there are thousands. So
it is done in slices of a millisecond, once for all who look, and never for more than a twentieth of the
time. Who has looked before gets only the clusters that have changed since.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse, Response

from lbd.admin import views
from lbd.admin.counting import Counting
from lbd.admin.health import view_health
from lbd.admin.overview_views import Events, OverviewView
from lbd.admin.slices import in_slices
from lbd.config import schema
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.reasons import CODES
from lbd.engine.shared import KNOWN_STATUS
from lbd.observe.histogram import SHOWN_BOUNDS, histogram_parts
from lbd.observe.process import beats_of, own_cpu, process_figures, resident_bytes

SHORTEST_PAUSE = 1.0
REST = 20  # times as long as building has taken, nothing is built again
STATUS = ("other", *map(str, KNOWN_STATUS))
COUNTERS = {  # of a cluster's record -> as the metrics name them
    "retries_denied": "retries_denied",
    "hedges": "hedges",
    "shed": "shed",
    "broken": "breaker_refused",
    "fallbacks": "fallbacks",
    "panic_picks": "panic_picks",
    "ejections_denied": "ejections_denied",
}


class Traffic:
    """Sums of the records of routes."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.duration: dict[int, int] = {}
        self.received = self.sent = 0

    def add(self, record: dict[str, Any]) -> None:
        """Of one route."""
        for index, count in enumerate(record["status"]):
            if count:
                self.codes[STATUS[index]] = self.codes.get(STATUS[index], 0) + count
        for index, count in histogram_parts(record["duration"]):
            self.duration[index] = self.duration.get(index, 0) + count
        self.received += record["bytes_received"]
        self.sent += record["bytes_sent"]

    def add_all(self, other: Traffic) -> None:
        """What another one is the sum of."""
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        for index, count in other.duration.items():
            self.duration[index] = self.duration.get(index, 0) + count
        self.received += other.received
        self.sent += other.sent

    def view(self) -> dict[str, Any]:
        """As the model Traffic."""
        duration = sorted(self.duration.items())
        return {"codes": self.codes, "duration": duration, "received": self.received, "sent": self.sent}


class Overview:
    """Of one lbd."""

    def __init__(self, worker: views.Administered, counting: Counting) -> None:
        self._worker = worker
        self._counting = counting
        self._life = f"{os.getpid()}-{time.time_ns():x}"
        self._number = 0  # of the last one that was built
        self._whole_since = 0  # the number of the first one with the same clusters
        self._clusters: dict[str, tuple[int, bytes]] = {}  # name -> when it changed, as JSON
        self._rest = b""  # as JSON, without the brace at its beginning
        self._pause = SHORTEST_PAUSE
        self._stale_at = 0.0
        self._building: asyncio.Task[None] | None = None

    async def text(self, after: str = "") -> bytes:
        """JSON, as OverviewView. after: the tag of what the asker has seen."""
        if self._building is None and time.monotonic() >= self._stale_at:
            self._building = asyncio.create_task(self._build())
        if self._building is not None:
            await asyncio.shield(self._building)  # others may wait for the same
        seen = self._seen(after)
        changed = [body for number, body in self._clusters.values() if number > seen]
        said = {"tag": f"{self._life}-{self._number}", "whole": seen == 0, "pause": round(self._pause, 3)}
        start = json.dumps(said)[:-1].encode()
        return b"%b, \"clusters\": [%b], %b" % (start, b", ".join(changed), self._rest)

    def forget(self) -> None:
        """Build it anew for whoever asks next."""
        self._stale_at = 0.0

    def _seen(self, tag: str) -> int:
        """The number in a tag, when all that has changed since then is known; else 0."""
        life, _, number = tag.rpartition("-")
        if life != self._life or not number.isdecimal() or len(number) > 18:
            return 0
        return int(number) if self._whole_since <= int(number) <= self._number else 0

    async def _build(self) -> None:
        began = time.monotonic()
        try:
            cost = await in_slices(self._steps())
            self._pause = max(SHORTEST_PAUSE, REST * cost)
        finally:
            self._stale_at = began + 0.9 * self._pause  # who comes regularly always gets something new
            self._building = None

    def _steps(self) -> Iterator[None]:
        worker, shared, number = self._worker, self._counting, self._number + 1
        at = time.monotonic()
        everything, by_cluster = Traffic(), dict[str, Traffic]()
        for name in shared.names("route"):
            yield
            by_cluster.setdefault(name.rpartition("/")[2], Traffic()).add(shared.read("route", name))
        for traffic in by_cluster.values():
            everything.add_all(traffic)
        settings = {setting.name: setting for setting in worker.config.clusters}
        found = dict[str, tuple[int, bytes]]()
        for name, cluster in dict(worker.runtime.clusters).items() if worker.runtime is not None else ():
            if name not in settings or not self._serves(cluster):
                continue
            view = self._view_cluster(settings[name], cluster, by_cluster.get(name) or Traffic())
            endpoints = view["endpoints"] = []
            obstacles = worker.obstacles(cluster)
            for endpoint in cluster.endpoints:
                yield
                if endpoint.removed:  # meanwhile; its records may be another's
                    continue
                endpoints.append(self._view_endpoint(cluster, endpoint, obstacles))
            body = json.dumps(view).encode()
            before = self._clusters.get(name)
            found[name] = before if before is not None and before[1] == body else (number, body)
            yield
        if found.keys() != self._clusters.keys():
            self._whole_since = number
        self._rest = json.dumps(self._view_rest(at, everything)).encode()[1:]
        self._clusters, self._number = found, number

    def _serves(self, cluster: Cluster) -> bool:
        """Has no reload taken it away meanwhile?"""
        runtime = self._worker.runtime
        return runtime is not None and runtime.clusters.get(cluster.name) is cluster

    def _view_cluster(self, setting: schema.Cluster, cluster: Cluster, traffic: Traffic) -> dict[str, Any]:
        shared = self._counting
        record = shared.read("cluster", cluster.name)
        counters = {"retries": sum(record["retries"])}
        counters |= {said: record[key] for key, said in COUNTERS.items()}
        return {
            **views.view_cluster(shared, setting, cluster),
            "traffic": traffic.view(),
            "counters": {name: count for name, count in counters.items() if count},
        }

    def _view_endpoint(
        self, cluster: Cluster, endpoint: Endpoint, obstacles: dict[str, list[str]]
    ) -> dict[str, Any]:
        shared, identity = self._counting, f"{cluster.name}/{endpoint.name}"
        record, state = shared.read("endpoint", identity), shared.read("endpoint_state", identity)
        return {
            **views.endpoint_facts(cluster, endpoint, record, state),
            "codes": record["status_class"],
            "first_byte": histogram_parts(record["first_byte"]) if record["requests"] else [],
            "connects": record["connects"],
            "connect_failures": record["connect_failures"],
            "ejections": state["ejection"][1],
            "breaker_opened": state["breaker"][1],
            "obstacles": obstacles.get(endpoint.name, []),
        }

    def _view_rest(self, at: float, everything: Traffic) -> dict[str, Any]:
        worker = self._worker
        beats = beats_of(worker.shared)
        reloads = worker.reloader
        return {
            "at": round(at, 6),
            "bounds": SHOWN_BOUNDS,
            "info": views.view_info(worker, self._counting.since),
            "health": self._view_health(),
            "traffic": everything.view(),
            "listeners": [self._view_listener(setting) for setting in worker.config.listeners],
            "processes": list(self._view_processes(beats)),
            "internal_errors": process_figures(worker.reactor, beats).faults,
            "lines_lost": worker.log.lost,
            "reloads": None
            if reloads is None
            else {**reloads.counts, "last_ok": reloads.last_ok, "last_change": reloads.last_change},
            "last_event": worker.log.last,
        }

    def _view_health(self) -> dict[str, Any]:
        health = view_health(self._worker)
        said = [f"{name}: {text}" for name, part in health["parts"].items() for text in part["problems"]]
        return {"status": health["status"], "problems": said}

    def _view_listener(self, setting: schema.Listener) -> dict[str, Any]:
        record = self._counting.read("listener", setting.name)
        return {
            **views.view_listener(self._worker, setting),
            "limit": setting.limits.connections,
            "accepted": record["accepted"],
            "errors": {code: n for (code, _), n in zip(CODES, record["reasons"], strict=True) if n and code},
        }

    def _view_processes(self, beats: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        own = "supervisor" if beats else "lbd"
        mine: dict[str, Any] = {"pid": os.getpid(), "cpu": own_cpu(), "silent": 0.0}
        rows = [(own, {**mine, "lag": self._worker.reactor.lag})]
        rows += [(f"worker {i}", beat) for i, beat in enumerate(beats) if beat["silent"] is not None]
        for name, row in rows:
            figures = {key: row[key] for key in ("pid", "cpu", "lag", "silent")}
            yield {"name": name, **figures, "memory": resident_bytes(row["pid"])}


def add_overview(api: FastAPI, worker: views.Administered, overview: Overview) -> None:
    """Reading only."""

    @api.get("/api/overview", responses={200: {"model": OverviewView}})
    async def everything(after: str = Query("", description="The `tag` of a former answer.")) -> Response:
        """What the dashboard shows: counters and states of everything, or what has changed since `after`."""
        return Response(await overview.text(after), media_type="application/json")

    @api.get("/api/events", responses={200: {"model": Events}})
    async def events(
        after: int = Query(0, ge=0, le=1 << 53, description="The number of the last one that is known."),
    ) -> JSONResponse:
        """The last lines of lbd's log, of level info and above, whatever is written to stderr."""
        said = [event._asdict() for event in worker.log.events(after)]
        return JSONResponse({"pid": os.getpid(), "events": said})
