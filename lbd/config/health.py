"""Settings of how endpoints are found to be well, and how much a cluster is asked. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, WithJsonSchema

from lbd.config import units
from lbd.config.messages import OFF, ON
from lbd.config.transport import Settings
from lbd.config.types import (
    Authority,
    CountOrNone,
    Integer,
    Percentage,
    Port,
    PositiveDuration,
    RequestFields,
)

KIB = 2**10


def _read_ranges(value: Any) -> Any:
    """`200`, `"200-399"`, or a list of such -> tuple of (first, last)."""
    if isinstance(value, tuple) and all(isinstance(item, tuple) for item in value):
        return value
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(units.parse_status_range(item) for item in items)


def _write_ranges(ranges: tuple[tuple[int, int], ...]) -> list[int | str]:
    return [first if first == last else f"{first}-{last}" for first, last in ranges]


_ONE_RANGE: dict[str, Any] = {"type": ["string", "integer"], "pattern": units.STATUS_RANGE_PATTERN}
StatusRanges = Annotated[
    tuple[tuple[int, int], ...],
    BeforeValidator(_read_ranges),
    PlainSerializer(_write_ranges, when_used="json"),
    WithJsonSchema({"anyOf": [_ONE_RANGE, {"type": "array", "items": _ONE_RANGE}]}),
]


class Expect(Settings):
    """What the answer to an http check must be like."""

    status: StatusRanges = Field(
        default=((200, 399),), description="Status codes: `200`, `200-399`, or a list of these."
    )
    body: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Text that the first 64 KiB of the body must contain."
    )
    body_regex: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Regular expression (RE2) that must be found there."
    )


class HealthCheck(Settings):
    """Active checks: lbd asks each endpoint by itself, whether there are requests or not."""

    type: Literal["http", "tcp", "grpc", "exec"] = Field(
        default="http",
        description="A request, a connection only, grpc.health.v1, or a program that ends with 0.",
    )
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=2048)] = Field(
        default="/", description="Path asked for, for http."
    )
    method: Literal["GET", "HEAD", "OPTIONS"] = Field(default="GET", description="Method, for http.")
    host: Authority | None = Field(
        default=None, description="Host of the request; the cluster's `host` or the endpoint's address."
    )
    headers: RequestFields = Field(
        default_factory=dict, description="Further header fields, such as credentials."
    )
    expect: Expect = Field(default=Expect(), description="What the answer must be like, for http.")
    service: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Service asked about, for grpc; all of the server when empty."
    )
    command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="Program and arguments, for exec; given LBD_CLUSTER, LBD_ENDPOINT, LBD_HOST, LBD_PORT.",
    )
    port: Port | None = Field(default=None, description="Port to check; the endpoint's when absent.")
    tls: bool | None = Field(
        default=None, description="Whether to speak TLS, with the cluster's settings; absent: if it does."
    )
    interval: PositiveDuration = Field(default=5.0, description="From one check to the next.")
    fast_interval: PositiveDuration = Field(
        default=1.0, description="The same while results differ from the endpoint's state, if shorter."
    )
    timeout: PositiveDuration = Field(default=2.0, description="For the whole of a check.")
    jitter: Percentage = Field(default=0.1, description="By how much intervals vary, so that checks spread.")
    healthy: Annotated[Integer, Field(ge=1, le=100)] = Field(
        default=2, description="Good results in a row after which an endpoint is up."
    )
    unhealthy: Annotated[Integer, Field(ge=1, le=100)] = Field(
        default=3, description="Bad results in a row after which it is down."
    )
    initial: Literal["up", "down"] = Field(
        default="up", description="What an endpoint counts as until its first result, which decides at once."
    )


class LatencyOutlier(Settings):
    """Endpoints that are much slower than the others of their cluster, of which it takes three."""

    factor: Annotated[float, Field(gt=1, le=1000)] = Field(
        default=5.0, description="Times the median of the endpoints' mean times to the first byte."
    )
    above: PositiveDuration = Field(default=0.1, description="Faster ones are never too slow.")
    volume: Annotated[Integer, Field(ge=1)] = Field(
        default=20, description="Recent requests (of about 10 s) without which an endpoint is not judged."
    )


class PassiveCheck(Settings):
    """Endpoints are held back when requests to them fail, and tried again after a time."""

    consecutive: CountOrNone = Field(default=5, description="Failures in a row, or `none`.")
    failure_ratio: Percentage | None = Field(
        default=None, description="When a larger share fails in `window`, such as 50%."
    )
    volume: Annotated[Integer, Field(ge=1)] = Field(
        default=20, description="Requests in `window` without which the ratio says nothing."
    )
    window: PositiveDuration = Field(default=10.0, description="Time over which the ratio is taken.")
    latency: LatencyOutlier | None = Field(default=None, description="Hold back slow endpoints as well.")
    eject: PositiveDuration = Field(
        default=10.0, description="For how long, the first time; each further time twice as long."
    )
    max_eject: PositiveDuration = Field(default=300.0, description="Longest time.")
    max_ejected: Percentage = Field(
        default=0.5, description="Share of the endpoints that may be held back; never the last one."
    )
    probes: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=1, description="Requests that try an endpoint afterwards; the other requests go elsewhere."
    )
    needed: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=1, description="How many of them must succeed."
    )


class Breaker(Settings):
    """Circuit breaker: while it is open, nothing is sent; then a few requests try."""

    scope: Literal["cluster", "endpoint"] = Field(
        default="cluster", description="One for the cluster (then 503 or its fallback), or one per endpoint."
    )
    consecutive: CountOrNone = Field(default=5, description="Failures in a row that open it, or `none`.")
    success_rate: Percentage | None = Field(
        default=None, description="It opens when a smaller share of requests succeeds, such as 95%."
    )
    volume: Annotated[Integer, Field(ge=1)] = Field(
        default=20, description="Requests in `window` without which the rate says nothing."
    )
    window: PositiveDuration = Field(default=10.0, description="Time over which the rate is taken.")
    open: PositiveDuration = Field(default=30.0, description="How long it stays open.")
    growth: Annotated[float, Field(ge=1, le=10)] = Field(
        default=1.0, description="Factor of that time when the tries failed."
    )
    max_open: PositiveDuration = Field(default=300.0, description="Longest time, with growth.")
    probes: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=3, description="Requests that try afterwards."
    )
    needed: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        default=2, description="How many of them must succeed to close it."
    )


class AdaptiveLimit(Settings):
    """As many exchanges at a time as the cluster answers without queueing, found by its latency."""

    initial: Annotated[Integer, Field(ge=1)] = Field(default=100, description="Limit at the start.")
    min: Annotated[Integer, Field(ge=1)] = Field(default=10, description="Smallest limit.")
    max: Annotated[Integer, Field(ge=1)] = Field(default=10000, description="Largest limit.")
    tolerance: Annotated[float, Field(ge=1, le=10)] = Field(
        default=1.5, description="How many times its usual latency counts as no queueing yet."
    )
    interval: PositiveDuration = Field(default=0.5, description="Time between changes.")


def _kind(value: Any) -> str:
    return OFF if isinstance(value, str) else ON


PassiveCheckSetting = Annotated[
    Annotated[PassiveCheck, Tag(ON)] | Annotated[Literal["off"], Tag(OFF)], Discriminator(_kind)
]
