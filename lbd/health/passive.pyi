from collections.abc import Mapping
from typing import Any

from lbd.engine.guard import Guard

class Passive(Guard):
    def __init__(
        self,
        *,
        rule: Mapping[str, Any],
        most: float = 0.5,
        latency_factor: float = 0.0,
        latency_ms: float = 0.0,
        latency_volume: float = 0.0,
    ) -> None: ...
