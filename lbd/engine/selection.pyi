from collections.abc import Sequence

from lbd.engine.endpoint import Balancer, Endpoint

class Division:
    parts: list[tuple[str, float, list[Endpoint]]]
    panic: bool
    next_change: int
    def __init__(
        self, parts: list[tuple[str, float, list[Endpoint]]], panic: bool = False, next_change: int = 0
    ) -> None: ...

def divide_plain(endpoints: Sequence[Endpoint], now: int) -> Division: ...

class Selection:
    parts: tuple[Balancer, ...]
    names: tuple[str, ...]
    shares: tuple[float, ...]
    panic: bool
    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...
