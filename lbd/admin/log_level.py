"""The level of lbd's own log over the admin API: read, and changed at run time."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from lbd.admin import views
from lbd.admin.audit import asked_by


class LogLevel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = Field(
        description="Least important kind of event that is logged, until a restart."
    )


def add_log_level(api: FastAPI, worker: views.Administered, refused: dict[int | str, dict[str, Any]]) -> None:
    """GET and PUT of /api/log-level."""

    @api.get("/api/log-level", responses={200: {"model": LogLevel}})
    async def log_level() -> JSONResponse:
        """What is logged now."""
        return JSONResponse({"level": worker.log.level})

    @api.put("/api/log-level", responses={200: {"model": LogLevel}, **refused})
    async def set_log_level(wanted: LogLevel, request: Request) -> JSONResponse:
        """Log more or less from now on."""
        before = worker.set_log_level(wanted.level)
        said = f"admin: {request.state.peer} set the log level: {before} -> {wanted.level}"
        worker.audit.note("set log level", **asked_by(request), changes={"level": (before, wanted.level)})
        getattr(worker.log, wanted.level)(said)  # so that it is there whatever the level
        return JSONResponse({"level": wanted.level})
