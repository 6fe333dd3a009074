"""Options of balancers: what may stand beside `name:` in the `balancer` setting.

One model per balancer that has any; the class names its model as `Options`. The fields are the keyword
arguments of the class, but `key`, of which `control/compile.py` makes the cluster's KeySource.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lbd.config.key import SOURCE, KeySetting
from lbd.config.transport import Settings
from lbd.config.types import PositiveDuration


class PeakEwmaOptions(Settings):
    """Of peak_ewma."""

    decay: PositiveDuration = Field(
        default=10.0, description="Time in which what was measured fades to about a third."
    )


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
