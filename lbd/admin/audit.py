"""The audit log over the admin API: its last entries."""

from __future__ import annotations

import os
from typing import Any, Literal, TypedDict

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from lbd.admin import views

LONGEST_PATH = 300


class Value(BaseModel):
    old: Any
    new: Any


class Entry(BaseModel):
    """What does not apply is left out; some actions say more."""

    model_config = ConfigDict(extra="allow")

    time: str = Field(description="UTC.")
    who: str | None = Field(
        default=None, description="Address, or user behind a unix socket; absent with signals."
    )
    via: str = Field(description="The request, or the signal.")
    action: str
    subject: str | None = None
    changes: dict[str, Value] | None = None
    outcome: Literal["ok", "refused", "failed"]


class Entries(BaseModel):
    pid: int = Field(description="Of the process that remembers; another one begins anew.")
    entries: list[Entry] = Field(description="The last 200, the oldest first.")


class AskedBy(TypedDict):
    who: str
    via: str


def asked_by(request: Request) -> AskedBy:
    """Who wants a change and by which request, as Audit.note takes it."""
    path = str(request.scope["path"])[:LONGEST_PATH]
    return {"who": request.state.peer, "via": f"{request.method} {path}"}


def add_audit(api: FastAPI, worker: views.Administered) -> None:
    """Reading only."""

    @api.get("/api/audit", responses={200: {"model": Entries}})
    async def audit() -> JSONResponse:
        """Who has changed what of late, over this API or by a signal."""
        return JSONResponse({"pid": os.getpid(), "entries": worker.audit.entries()})
