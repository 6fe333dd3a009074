from collections.abc import Sequence

from lbd.engine.endpoint import Endpoint

class Guard:
    def next_change(self, endpoints: Sequence[Endpoint], now: int) -> int: ...

class ConcurrencyLimit:
    limit: int
