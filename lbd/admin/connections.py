"""The open connections of clients over the admin API."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lbd.admin import views

MOST = 1000
Kind = Literal["handshake", "http1", "http2", "websocket", "tcp"]


class ExchangeUnderWay(BaseModel):
    request_id: str | None
    method: str | None = Field(description="null where lbd answers itself, and in tcp mode.")
    route: str | None
    cluster: str | None
    endpoint: str | None = Field(description="null while none is chosen.")
    seconds: float = Field(description="Since it began.")


class ConnectionView(BaseModel):
    worker: int
    listener: str
    client: str = Field(description="IP address, behind a PROXY header that of its source.")
    port: int | None = Field(description="null on unix sockets.")
    kind: Kind = Field(description="What it speaks. `handshake`: TLS or a PROXY header is still to come.")
    tls: str | None = Field(description="Version of TLS.")
    age: float = Field(description="Seconds since it was accepted.")
    busy: bool = Field(description="Whether something is under way; else it waits for a request.")
    streams: int | None = Field(description="Open now, of `http2`.")
    bytes_received: int | None = Field(
        description="Of the TCP connection, with everything that TLS and HTTP add."
    )
    bytes_sent: int | None = Field(description="The same, as far as the client has acknowledged it.")
    exchanges: list[ExchangeUnderWay] = Field(description="Under way; of `http2` the newest 8.")


class Connections(BaseModel):
    connections: list[ConnectionView] = Field(description="The newest first.")
    complete: bool = Field(description="Whether these are all that match.")
    open: int = Field(description="How many there are, whatever else is asked for.")
    silent_workers: list[int] = Field(description="Workers that did not answer in time.")


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=False))


class Filters(BaseModel):
    """Which connections; all that are given must hold."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    listener: str | None = None
    client: Annotated[str, AfterValidator(_network)] | None = Field(
        default=None, description="IP address or network, such as 10.0.0.0/8."
    )
    kind: Kind | None = None


UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": views.Problem, "description": "There is no such listener."}
}


def add_connections(api: FastAPI, worker: views.Administered) -> None:
    """Reading only."""

    @api.get("/api/connections", responses={200: {"model": Connections}, **UNKNOWN})
    async def connections(filters: Annotated[Filters, Query()]) -> JSONResponse:
        """Open connections of clients, the newest first, and what is under way on each."""
        found = await worker.connections(**filters.model_dump())
        known = {listener.name for listener in worker.config.listeners}
        if filters.listener is not None and filters.listener not in known and not found["connections"]:
            return JSONResponse({"error": f"there is no listener {filters.listener[:256]!r}"}, 404)
        return JSONResponse(found)
