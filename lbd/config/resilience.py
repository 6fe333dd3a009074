"""Settings of what happens when endpoints fail: further attempts. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lbd.config.transport import Settings
from lbd.config.types import Integer, Percentage, PlainPaths, PositiveDuration, Size

MIB = 2**20

RetryCause = Literal["connect_failed", "connect_timeout", "reset", "timeout"]
Method = Literal["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH"]
GrpcCode = Literal[
    "cancelled",
    "unknown",
    "deadline_exceeded",
    "resource_exhausted",
    "aborted",
    "internal",
    "unavailable",
    "data_loss",
]
Status = Annotated[Integer, Field(ge=400, le=599)]


class Backoff(Settings):
    """The wait before each further attempt. Without one they follow at once, and only at other endpoints."""

    kind: Literal["exponential", "linear"] = Field(
        default="exponential", description="Whether waits grow, or all are `base`."
    )
    base: PositiveDuration = Field(default=0.025, description="Wait before the first further attempt.")
    max: PositiveDuration = Field(default=1.0, description="Longest wait.")
    multiplier: Annotated[float, Field(ge=1, le=10)] = Field(
        default=2.0, description="Growth from one wait to the next."
    )
    jitter: bool = Field(
        default=True, description="Wait between half of it and all, so that clients spread."
    )


class Retry(Settings):
    """When a request is sent again, while the client has seen nothing of a response."""

    limit: Annotated[Integer, Field(ge=0, le=10)] = Field(
        default=2, description="Further attempts of one request; 0 = none."
    )
    on: tuple[RetryCause, ...] = Field(
        default=("connect_failed", "connect_timeout", "reset"),
        description="Causes: `connect_failed`, `connect_timeout`, `reset` (no response came), `timeout`.",
    )
    statuses: tuple[Status, ...] = Field(
        default=(), description="Status codes that are causes as well, such as 502, 503, 504."
    )
    grpc: tuple[GrpcCode, ...] = Field(
        default=(), description="gRPC codes that are causes as well, such as `unavailable`."
    )
    methods: tuple[Method, ...] = Field(
        default=("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"),
        description="Methods that may be sent again when an endpoint has perhaps acted on them.",
    )
    idempotency_key: bool = Field(
        default=True, description="Any method may, when the request carries `Idempotency-Key`."
    )
    except_paths: PlainPaths = Field(
        default=(), description="Paths, such as `/payments/*`, whose requests may not."
    )
    try_timeout: PositiveDuration | None = Field(
        default=None, description="For the response head of an attempt; `timeouts.response` when absent."
    )
    backoff: Backoff | None = Field(default=None, description="Wait before further attempts.")
    buffer: Annotated[Size, Field(le=16 * MIB)] = Field(
        default=0, description="Longest request body kept for another attempt, beyond 16 KiB at once."
    )
    hedge_after: PositiveDuration | None = Field(
        default=None,
        description="Ask a second endpoint as well when no response has begun by then.",
    )


class RetryBudget(Settings):
    """How many further attempts all requests of a cluster may cause: retries must not load an overload."""

    ratio: Percentage = Field(default=0.2, description="Share of the requests.")
    per_second: Annotated[Integer, Field(ge=0)] = Field(
        default=10, description="Further attempts per second that there always are, in each worker."
    )
