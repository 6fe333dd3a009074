"""The shapes of /api/overview and /api/events, as models for OpenAPI."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from lbd.admin import views

Histogram = list[tuple[int, int]]


class Traffic(BaseModel):
    """Counters since the start, or the last reset."""

    codes: dict[str, int] = Field(description="Exchanges finished, by status; `other` for unusual ones.")
    duration: Histogram = Field(
        description="Their duration: (index in `bounds`, count) of every bucket that is not empty."
    )
    received: int = Field(description="Bytes of request bodies.")
    sent: int = Field(description="Bytes of response bodies.")


class EndpointOverview(views.EndpointFacts):
    codes: list[int] = Field(description="Attempts by class of status: none, 1xx to 5xx.")
    first_byte: Histogram = Field(description="Request sent to response head, as `duration` has it.")
    connects: int = Field(description="Connections opened.")
    connect_failures: int
    ejections: int
    breaker_opened: int
    obstacles: list[str] = Field(description="Why it gets no new requests now; empty when it does.")


class ClusterOverview(views.ClusterView):
    traffic: Traffic
    counters: dict[str, int] = Field(
        description="Retries, hedges, shed, breaker_refused and so on; those that are not 0."
    )
    endpoints: list[EndpointOverview]


class ListenerOverview(views.ListenerView):
    limit: int = Field(description="Most connections at a time.")
    accepted: int = Field(description="Connections since the start, or the last reset.")
    errors: dict[str, int] = Field(description="Exchanges and tunnels that lbd ended, by reason.")


class ProcessView(BaseModel):
    name: str
    pid: int
    cpu: float = Field(description="Seconds of user and system time.")
    lag: float = Field(description="Seconds that the last tick of its loop was late.")
    memory: int | None = Field(description="Resident bytes.")
    silent: float = Field(description="Seconds since it was heard of.")


class ReloadsView(BaseModel):
    ok: int
    failed: int
    last_ok: bool
    last_change: float = Field(description="When the configuration in force was put in force, Unix time.")


class HealthView(BaseModel):
    status: Literal["ok", "degraded", "failed", "draining"]
    problems: list[str] = Field(description="As /health has them, with the part before each.")


class OverviewView(BaseModel):
    tag: str = Field(description="What to ask with as `after` next time.")
    whole: bool = Field(description="Whether `clusters` are all, not only those that changed.")
    clusters: list[ClusterOverview]
    pause: float = Field(description="Seconds after which there will be something new.")
    at: float = Field(description="Seconds, of a clock that only goes forward while `info.pid` is the same.")
    bounds: list[float] = Field(description="Upper bounds of buckets in seconds; past the last: the rest.")
    info: views.Info
    health: HealthView
    traffic: Traffic
    listeners: list[ListenerOverview]
    processes: list[ProcessView] = Field(description="This one, then workers of their own.")
    internal_errors: int
    lines_lost: int = Field(description="Lines of lbd's log that stderr did not take.")
    reloads: ReloadsView | None
    last_event: int = Field(description="The highest number in /api/events.")


class EventView(BaseModel):
    number: int
    time: float = Field(description="Unix time.")
    level: Literal["info", "warning", "error"]
    text: str


class Events(BaseModel):
    pid: int = Field(description="Of the process that counts; another one begins at 1.")
    events: list[EventView] = Field(description="The oldest first; at most the last 500 are remembered.")
