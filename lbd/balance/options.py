"""Options of balancers: what may stand beside `name:` in the `balancer` setting.

One model per balancer that has any; the class names its model as `Options`. The fields are the keyword
arguments of the class, but `key`, of which `control/compile.py` makes the cluster's KeySource.
"""

from __future__ import annotations

from pydantic import Field

from lbd.config.transport import Settings
from lbd.config.types import PositiveDuration


class PeakEwmaOptions(Settings):
    """Of peak_ewma."""

    decay: PositiveDuration = Field(
        default=10.0, description="Time in which what was measured fades to about a third."
    )
