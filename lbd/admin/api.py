"""The admin API: a FastAPI application behind the Gate. What changes something (PATCH, PUT) is logged.

Errors are JSON, {"error": a sentence for the operator}. Names in paths are percent-encoded: the Gate hands
paths over undecoded, so that a name with slashes (unix:/run/app.sock) is one segment.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import os
import signal
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from lbd.admin import documents, views
from lbd.admin.audit import add_audit, asked_by
from lbd.admin.breakers import add_breakers
from lbd.admin.certificates import add_certificates
from lbd.admin.connections import add_connections
from lbd.admin.counting import Counting
from lbd.admin.log_level import add_log_level
from lbd.admin.overview import Overview, add_overview
from lbd.admin.recorder import add_recorder
from lbd.admin.stats import add_stats
from lbd.config import schema
from lbd.config.dump import data_of
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.observe.log import Log

ENDPOINT_PATH = "/api/clusters/{cluster}/endpoints/{endpoint}"
Responses = dict[int | str, dict[str, Any]]
UNKNOWN: Responses = {404: {"model": views.Problem, "description": "There is no such cluster or endpoint."}}
REFUSED: Responses = {
    status: {"model": views.Problem, "description": why}
    for status, why in (
        (400, "The body is not JSON."),
        (401, "The token is missing or wrong."),
        (403, "The Host is no address, or the request comes from another site."),
        (413, "The body is too long."),
        (415, "The body is not said to be JSON."),
        (422, "A value cannot be used."),
    )
}


class Unknown(Exception):
    """Nothing has the name that was asked for; str() says so."""


def build_api(worker: views.Administered, log: Log) -> FastAPI:
    """The application. Its handlers run on the worker's loop: each is short."""
    api = FastAPI(title="lbd admin API", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    counting = Counting(worker.shared, views.STARTED)
    overview = Overview(worker, counting)
    _answer_errors(api)
    _add_documents(api)
    _add_reading(api, worker, counting)
    add_connections(api, worker)
    add_breakers(api, worker)
    add_certificates(api, worker)
    add_audit(api, worker)
    _add_changes(api, worker, counting, log)
    _add_reload(api, worker, log)
    add_overview(api, worker, overview)
    add_stats(api, worker, counting, overview.forget, REFUSED)
    add_recorder(api, worker)
    add_log_level(api, worker, REFUSED)
    _add_why(api, worker)
    _add_stop(api, worker, log)
    return api


def _add_reading(api: FastAPI, worker: views.Administered, counting: Counting) -> None:

    @api.get("/api/info", responses={200: {"model": views.Info}})
    async def info() -> JSONResponse:
        """Which lbd this is."""
        return JSONResponse(views.view_info(worker, counting.since))

    @api.get("/api/clusters", responses={200: {"model": list[views.ClusterView]}})
    async def clusters() -> JSONResponse:
        """All clusters, without their endpoints."""
        return JSONResponse(
            [
                views.view_cluster(counting, setting, cluster)
                for setting in worker.config.clusters
                if (cluster := clusters_of(worker).get(setting.name)) is not None
            ]
        )

    @api.get("/api/clusters/{cluster}", responses={200: {"model": views.FullClusterView}, **UNKNOWN})
    async def cluster(cluster: str) -> JSONResponse:
        """A cluster with its endpoints."""
        found = find_cluster(worker, cluster)
        view = views.view_cluster(counting, setting_of(worker, found.name), found)
        view["endpoints"] = [
            views.view_endpoint(counting, found, endpoint) for endpoint in found.endpoints
        ]
        return JSONResponse(view)

    @api.get(ENDPOINT_PATH, responses={200: {"model": views.EndpointView}, **UNKNOWN})
    async def endpoint(cluster: str, endpoint: str) -> JSONResponse:
        """One endpoint."""
        return JSONResponse(views.view_endpoint(counting, *find_endpoint(worker, cluster, endpoint)))


def _add_changes(api: FastAPI, worker: views.Administered, counting: Counting, log: Log) -> None:
    @api.patch(ENDPOINT_PATH, responses={200: {"model": views.Changed}, **UNKNOWN, **REFUSED})
    async def change_endpoint(
        cluster: str, endpoint: str, change: views.Change, request: Request
    ) -> JSONResponse:
        """Set its weight, its state or both; in force when this answers, and kept over restarts."""
        found = find_endpoint(worker, cluster, endpoint)
        changes = apply(worker.states, *found, change)
        name = f"{found[0].name}/{found[1].name}"
        said = [f"{part} {old} -> {new}" for part, (old, new) in changes.items()]
        log.info(f"admin: {request.state.peer} set endpoint {name}: {', '.join(said)}")
        saved = await worker.states.save()
        worker.audit.note(
            "set endpoint", **asked_by(request), subject=name, changes=changes, details={"saved": saved}
        )
        return JSONResponse({"endpoint": views.view_endpoint(counting, *found), "saved": saved})


def _add_reload(api: FastAPI, worker: views.Administered, log: Log) -> None:
    @api.post(
        "/api/reload",
        responses={
            200: {"model": views.Reloaded},
            409: {"model": views.Problem, "description": "The running configuration stays."},
            **REFUSED,
        },
    )
    async def reload(request: Request) -> JSONResponse:
        """Load the configuration files again and put them in force; answers when that is done."""
        if worker.reloader is None:
            return JSONResponse({"error": "there is no configuration file to reload"}, 409)
        log.info(f"admin: {request.state.peer} asks for a reload")
        try:
            reloading = worker.reloader.reload_and_say(**asked_by(request))
            report = await asyncio.shield(asyncio.ensure_future(reloading))
        except worker.reloader.refused as refusal:
            return JSONResponse({"error": str(refusal)}, 409)
        return JSONResponse(asdict(report))


def _add_why(api: FastAPI, worker: views.Administered) -> None:
    """What changes nothing. A POST all the same where the question does not fit into a path."""

    @api.post("/api/explain", responses={200: {"description": "All that is decided about it."}, **REFUSED})
    async def explain(asked: views.Asked) -> JSONResponse:
        """Where a request would go and why; nothing is sent, and nothing changes."""
        given = asked.model_dump(exclude_unset=True, exclude_none=True)
        try:
            return JSONResponse(worker.explain(given))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 422)

    @api.get("/api/config", responses={200: {"description": "As a file has it, defaults included."}})
    async def config(request: Request) -> Response:
        """The configuration in force; secrets are masked. Its ETag tells whether it is still the same."""
        body = json.dumps(data_of(worker.config)).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"etag": tag})
        return Response(body, media_type="application/json", headers={"etag": tag})

    @api.get("/api/listeners", responses={200: {"model": list[views.ListenerView]}})
    async def listeners() -> JSONResponse:
        """All listeners, with how many connections they have."""
        return JSONResponse([views.view_listener(worker, one) for one in worker.config.listeners])


def _add_stop(api: FastAPI, worker: views.Administered, log: Log) -> None:
    @api.post("/api/stop", responses={200: {"model": views.Stopping}, **REFUSED})
    async def stop(request: Request) -> JSONResponse:
        """Drain and end, as after SIGTERM; answers before that. Asking again changes nothing."""
        log.info(f"admin: {request.state.peer} asks lbd to stop")
        worker.audit.note("stop", **asked_by(request))
        # a second signal would cut what drains; the first one only when this is answered
        order = None if worker.draining else BackgroundTask(os.kill, os.getpid(), signal.SIGTERM)
        view = {"pid": os.getpid(), "drain_timeout": max(worker.config.drain_timeouts)}
        return JSONResponse(view, background=order)


def apply(
    states: views.Setter, cluster: Cluster, endpoint: Endpoint, change: views.Change
) -> dict[str, tuple[object, object]]:
    """Put it in force; old and new of each part."""
    changes: dict[str, tuple[object, object]] = {}
    if "weight" in change.model_fields_set:
        old = endpoint.wanted_weight
        states.set_weight(cluster, endpoint, change.weight)
        new = endpoint.wanted_weight
        changes["weight"] = old, f"{new} (as configured)" if change.weight is None else new
    if "state" in change.model_fields_set:
        before = endpoint.admin
        states.set_state(cluster, endpoint, change.state)
        changes["state"] = before, endpoint.admin
    return changes


def setting_of(worker: views.Administered, name: str) -> schema.Cluster:
    """The setting of a cluster that serves."""
    return next(setting for setting in worker.config.clusters if setting.name == name)


def clusters_of(worker: views.Administered) -> dict[str, Cluster]:
    """By name."""
    return dict(worker.runtime.clusters) if worker.runtime is not None else {}


def find_cluster(worker: views.Administered, segment: str) -> Cluster:
    """The cluster that a segment of a path names; Unknown."""
    clusters = clusters_of(worker)
    name = decoded(segment)
    if name not in clusters:
        raise Unknown(f"there is no cluster {name!r}{_closest(name, clusters)}")
    return clusters[name]


def find_endpoint(worker: views.Administered, cluster: str, segment: str) -> tuple[Cluster, Endpoint]:
    """An endpoint by its name, or its address when only one has it, with its cluster; Unknown."""
    found = find_cluster(worker, cluster)
    name = decoded(segment)
    for endpoint in found.endpoints:
        if endpoint.name == name:
            return found, endpoint
    at_address = [endpoint for endpoint in found.endpoints if endpoint.address == name]
    if len(at_address) == 1:
        return found, at_address[0]
    close = _closest(name, (endpoint.name for endpoint in found.endpoints))
    raise Unknown(f"there is no endpoint {name!r} in cluster {found.name!r}{close}")


def decoded(segment: str) -> str:
    """A segment of a path without percent-encoding; Unknown when it is no text."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise Unknown("the path is not percent-encoded UTF-8") from None


def _closest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:256], list(known)[:1000], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _add_documents(api: FastAPI) -> None:

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page, policy = documents.docs()
        return HTMLResponse(page, headers={"content-security-policy": policy})

    @api.get("/dashboard", include_in_schema=False)
    async def dashboard() -> HTMLResponse:
        page, policy = documents.dashboard()
        return HTMLResponse(page, headers={"content-security-policy": policy})


def _answer_errors(api: FastAPI) -> None:
    @api.exception_handler(Unknown)
    async def unknown(request: Request, error: Unknown) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404)

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        why = {400: "the body is not JSON", 404: "there is nothing at this path; see /docs"}
        text = why.get(error.status_code, str(error.detail))
        return JSONResponse({"error": text}, error.status_code, headers=dict(error.headers or {}))

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        if any(problem["type"] == "json_invalid" for problem in problems):
            return JSONResponse({"error": "the body is not JSON"}, 400)
        return JSONResponse({"error": "; ".join(_sentence(problem) for problem in problems[:10])}, 422)


def _sentence(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"][1:])
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where[:100]}: {text}" if where else text
