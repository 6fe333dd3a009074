"""The flight recorder over the admin API: the last exchanges, by filters or by id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lbd.admin import views
from lbd.engine.recorder import Recorder, Wanted

MOST = 1000
FORGOTTEN: dict[int | str, dict[str, Any]] = {
    404: {"model": views.Problem, "description": "The recorder is off, or it is not remembered."}
}


class AttemptView(BaseModel):
    endpoint: str
    status: int | None = None
    reason: str | None = None
    duration: float


class RecordView(BaseModel):
    """An exchange that is over; what does not apply is left out. Times in seconds; long texts are cut."""

    id: str = Field(description="Of the record: the worker, and its number there.")
    time: str = Field(description="When it ended, UTC.")
    ended: float = Field(description="The same as Unix time.")
    request_id: str | None = None
    trace_id: str | None = None
    client: str
    method: str | None = None
    host: str | None = None
    path: str | None = Field(default=None, description="Without its query, unless `recorder.query` is set.")
    protocol: str
    tls: str | None = None
    status: int | None = None
    grpc_status: int | None = None
    reason: str | None = None
    listener: str
    route: str | None = None
    cluster: str | None = None
    endpoint: str | None = None
    duration: float
    queue: float | None = None
    connect: float | None = None
    first_byte: float | None = None
    bytes_received: int
    bytes_sent: int
    attempts: list[AttemptView] | None = Field(default=None, description="The last four, when one failed.")
    attempts_made: int | None = None


class Records(BaseModel):
    records: list[RecordView] = Field(description="The newest first.")


class Filters(BaseModel):
    """Which records; all that are given must hold."""

    kind: Literal["all", "errors", "slow"] = Field(
        default="all", description="`errors` and `slow` reach back further than `all`."
    )
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    listener: str | None = None
    route: str | None = None
    cluster: str | None = None
    endpoint: str | None = None
    method: str | None = None
    host: str | None = None
    path: str | None = Field(default=None, description="How the path begins.")
    client: str | None = Field(default=None, description="IP address.")
    status: str | None = Field(default=None, description="`404`, or a class such as `5xx`.")
    reason: str | None = Field(default=None, description="Reason code.")
    least: Annotated[float, Field(ge=0, le=1e9)] = Field(default=0, description="Seconds that it took.")
    since: Annotated[float, Field(ge=0, le=1e12)] = Field(default=0, description="Unix time of its end.")
    until: Annotated[float, Field(ge=0, le=1e12)] = Field(
        default=0, description="Unix time of its end, to read page by page; 0: now."
    )


def add_recorder(api: FastAPI, worker: views.Administered) -> None:
    """Reading only: nothing of a record is changed."""

    @api.get("/api/recorder", responses={200: {"model": Records}, **FORGOTTEN})
    async def records(filters: Annotated[Filters, Query()]) -> JSONResponse:
        """The last exchanges, the newest first."""
        recorder = worker.recorder
        if recorder is None:
            return _off()
        asked = filters.model_dump(exclude={"kind", "limit"})
        try:
            wanted = Wanted(**asked)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"records": recorder.records(filters.kind, wanted, filters.limit)})

    @api.get("/api/recorder/{request_id}", responses={200: {"model": RecordView}, **FORGOTTEN})
    async def record(request_id: str) -> JSONResponse:
        """One exchange, by the id that error pages and logs show."""
        return _one(worker.recorder, request_id)


def _off() -> JSONResponse:
    return JSONResponse({"error": "the recorder is off"}, 404)


def _one(recorder: Recorder | None, request_id: str) -> JSONResponse:
    if recorder is None:
        return _off()
    found: dict[str, Any] | None = recorder.find(request_id[:64])
    if found is None:
        return JSONResponse({"error": "no exchange of that id is remembered"}, 404)
    return JSONResponse(found)
