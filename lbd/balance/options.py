"""Options of balancers: what may stand beside `name:` in the `balancer` setting.

One model per balancer that has any; the class names its model as `Options`. The fields are the keyword
arguments of the class, but `key`, of which `control/compile.py` makes the cluster's KeySource.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from lbd.config.key import SOURCE, KeySetting
from lbd.config.transport import Settings
from lbd.config.types import CountOrNone, Integer, PositiveDuration
from lbd.config.units import BadValue


class PeakEwmaOptions(Settings):
    """Of peak_ewma."""

    decay: PositiveDuration = Field(
        default=10.0, description="Time in which what was measured fades to about a third."
    )


class LeastConnRtOptions(Settings):
    """Of least_conn_rt."""

    connection_count_weight: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=0.3, description="How much the exchanges under way count, in proportion to their mean."
    )
    response_time_weight: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=0.7, description="How much the 95th percentile of response times and the failures count."
    )
    update_interval: PositiveDuration = Field(
        default=5.0, description="Time after which what was measured counts half."
    )

    @model_validator(mode="after")
    def _check_weights(self) -> LeastConnRtOptions:
        if not self.connection_count_weight and not self.response_time_weight:
            raise BadValue("one of connection_count_weight and response_time_weight must be more than 0")
        return self


class IpHashOptions(Settings):
    """Of ip_hash, and of all that choose by a key."""

    load_factor: Annotated[float, Field(gt=1, le=100)] | None = Field(
        default=None,
        description="Bounded load: an endpoint has at most this many times its share of the exchanges.",
    )


class HashOptions(IpHashOptions):
    """Of hash."""

    key: KeySetting = Field(
        default=SOURCE, description="What is hashed: `source`, `host`, `path`, or such as `{header: X-User}`."
    )


class RingHashOptions(HashOptions):
    """Of ring_hash."""

    virtual_nodes: Annotated[Integer, Field(ge=1, le=10_000)] = Field(
        default=160, description="Points on the ring per unit of weight: more of them are more even."
    )


def _prime(value: int) -> int:
    if value % 2 == 0 or any(value % divisor == 0 for divisor in range(3, int(value**0.5) + 1, 2)):
        raise BadValue("must be a prime number, such as 65537 or 655373")
    return value


class MaglevOptions(HashOptions):
    """Of maglev."""

    table_size: Annotated[Integer, Field(ge=101, le=10_000_000), AfterValidator(_prime)] | None = Field(
        default=None,
        description="Places of the table, a prime, best 100 per endpoint; 65537, or more where that is few.",
    )


class FirstAvailableOptions(Settings):
    """Of first_available."""

    connections: CountOrNone = Field(
        default=None,
        description="Exchanges at a time per endpoint; none = `connections.max` of the cluster.",
    )


class TimeWindowOptions(Settings):
    """Of time_window."""

    window: PositiveDuration = Field(
        default=300.0, description="How long an endpoint has to be unused to be preferred."
    )
