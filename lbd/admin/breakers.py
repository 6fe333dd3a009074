"""Breakers and ejections over the admin API: what holds back clusters and endpoints, since when, how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lbd.admin import views
from lbd.admin.slices import in_slices
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.guard import Guard


class Tries(BaseModel):
    under_way: int
    ok: int
    failed: int
    needed: int = Field(description="How many must succeed.")


class CircuitView(BaseModel):
    """Times are Unix times."""

    cluster: str
    endpoint: str | None = Field(description="null: it is that of the cluster.")
    state: views.Circuit
    since: float | None = Field(description="When it became open or half-open; null while closed.")
    retry: float | None = Field(
        description="While open: when single requests try again; once it is past, the next one does."
    )
    cause: str | None = Field(
        description="`failures in a row`, `failure ratio`, `failed tries` or `latency`; null while closed."
    )
    failures_in_a_row: int
    failure_ratio: float | None = Field(
        description="Of the last `window`, 0 to 1; null when it is not watched, or without results."
    )
    results: int = Field(description="Requests in that window.")
    last_failure: float | None = Field(
        description="While closed, or what opened it; null: none since the start."
    )
    opened: int = Field(description="Times since the start.")
    tries: Tries | None = Field(description="While half-open.")


class Breakers(BaseModel):
    breakers: list[CircuitView] = Field(description="One for each cluster, or each endpoint, that has one.")
    ejected: list[CircuitView] = Field(
        description="Endpoints that passive checks hold back, or have on probation (half-open)."
    )


class _Circuits:
    """Read in steps, as clusters may have thousands of endpoints."""

    def __init__(self, worker: views.Administered) -> None:
        self._worker = worker
        self.breakers: list[dict[str, Any]] = []
        self.ejected: list[dict[str, Any]] = []

    def steps(self) -> Iterator[None]:
        runtime = self._worker.runtime
        for name, cluster in dict(runtime.clusters).items() if runtime is not None else ():
            yield
            if not self._serves(name, cluster):
                continue
            if cluster.breaker is not None and cluster.breaker.gates:
                self.breakers.append(_view(cluster, None, cluster.breaker))
            for endpoint in cluster.endpoints:
                yield
                if endpoint.removed or not self._serves(name, cluster):  # its records may be another's
                    continue
                if cluster.breaker is not None and not cluster.breaker.gates:
                    self.breakers.append(_view(cluster, endpoint, cluster.breaker))
                if cluster.passive is not None:
                    view = _view(cluster, endpoint, cluster.passive)
                    self.ejected += [view] if view["state"] != "closed" else []

    def _serves(self, name: str, cluster: Cluster) -> bool:
        """Has no reload taken it away meanwhile?"""
        runtime = self._worker.runtime
        return runtime is not None and runtime.clusters.get(name) is cluster


def _view(cluster: Cluster, endpoint: Endpoint | None, guard: Guard) -> dict[str, Any]:
    """As CircuitView."""
    figures, now = guard.figures(endpoint), time.time()
    ratio, retry_in = figures["failure_ratio"], figures["retry_in"]
    return {
        "cluster": cluster.name,
        "endpoint": endpoint.name if endpoint is not None else None,
        "state": figures["state"],
        "since": _ago(figures["since"], now),
        "retry": None if retry_in is None else round(now + retry_in, 3),
        "cause": figures["cause"],
        "failures_in_a_row": figures["failures_in_a_row"],
        "failure_ratio": None if ratio is None else round(ratio, 4),
        "results": figures["results"],
        "last_failure": _ago(figures["last_failure"], now),
        "opened": figures["opened"],
        "tries": figures["tries"],
    }


def _ago(seconds: float | None, now: float) -> float | None:
    return None if seconds is None else round(now - seconds, 3)


def add_breakers(api: FastAPI, worker: views.Administered) -> None:
    """Reading only."""

    @api.get("/api/breakers", responses={200: {"model": Breakers}})
    async def breakers() -> JSONResponse:
        """All breakers, and the endpoints that passive checks have ejected."""
        circuits = _Circuits(worker)
        await in_slices(circuits.steps())
        return JSONResponse({"breakers": circuits.breakers, "ejected": circuits.ejected})
