"""Settings of where endpoints are, and in which order places serve. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lbd.config.transport import Settings
from lbd.config.types import Identifier, Integer, Percentage, PositiveDuration


class Zones(Settings):
    """How requests are divided among the zones (label `zone` of the endpoints)."""

    prefer_local: bool = Field(
        default=True, description="As much as its health allows goes to lbd's own zone (top-level `zone`)."
    )
    shares: dict[Identifier, Percentage] = Field(
        default_factory=dict, description="Capacity by zone; the weight of its endpoints when absent."
    )
    penalty: Annotated[float, Field(ge=1, le=100)] = Field(
        default=1.0, description="Capacities of other zones than lbd's own are divided by it."
    )
    max_cross: Percentage = Field(
        default=1.0,
        description="Most that other zones get while any endpoint of the own zone can serve.",
    )


class Regions(Settings):
    """Which region serves (label `region` of the endpoints). All conditions must hold."""

    order: tuple[Identifier, ...] = Field(
        default=(),
        description="By preference; others do not serve. Without it all, lbd's own (`region`) first.",
    )
    fallback: Literal["nearest", "order"] = Field(
        default="nearest",
        description="The next one: the nearest by the round-trip times of health checks, or by order.",
    )
    max_rtt: PositiveDuration | None = Field(
        default=None, description="Regions that are farther away serve only when no other can."
    )
    min_healthy: Percentage = Field(
        default=0.5, description="A region with a smaller share of usable endpoints is left."
    )
    max_response: PositiveDuration | None = Field(
        default=None, description="One with a longer mean time to the first byte is left."
    )
    max_errors: Percentage | None = Field(
        default=None, description="One with a larger share of failed requests is left."
    )
    volume: Annotated[Integer, Field(ge=1)] = Field(
        default=20, description="Recent requests (of about 10 s) without which the last two say nothing."
    )
    hold: PositiveDuration = Field(
        default=30.0, description="How long a region that was left must hold all conditions to serve again."
    )
