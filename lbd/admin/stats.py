"""Resetting the counters that the admin API shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lbd.admin import views
from lbd.admin.audit import asked_by
from lbd.admin.counting import Counting


class Since(BaseModel):
    since: float = Field(description="Unix time from which counters count now.")


def add_stats(
    api: FastAPI,
    worker: views.Administered,
    counting: Counting,
    forget: Callable[[], None],
    refused: dict[int | str, dict[str, Any]],
) -> None:
    """forget: called when what has been made of counters before is worth nothing any more."""

    @api.post("/api/stats/reset", responses={200: {"model": Since}, **refused})
    async def reset(request: Request) -> JSONResponse:
        """Let the counters of this API begin anew; those of /metrics and /status go on."""
        before = counting.since
        await counting.reset()
        forget()
        worker.log.info(f"admin: {request.state.peer} reset the counters of the admin API")
        changes = {"since": (round(before, 3), round(counting.since, 3))}
        worker.audit.note("reset stats", **asked_by(request), changes=changes)
        return JSONResponse({"since": round(counting.since, 3)})
