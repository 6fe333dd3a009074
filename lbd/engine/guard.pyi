from collections.abc import Sequence
from typing import Any

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint

class Guard:
    measures: bool
    gates: bool
    def bind(self, cluster: Cluster) -> None: ...
    def figures(self, endpoint: Endpoint | None = None) -> dict[str, Any]: ...
    def next_change(self, endpoints: Sequence[Endpoint], now: int) -> int: ...

class ConcurrencyLimit:
    limit: int
