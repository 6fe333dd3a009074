from collections.abc import Sequence

from lbd.engine.endpoint import Balancer, Endpoint

class Division:
    parts: list[tuple[str, float, list[Endpoint]]]
    panic: bool
    next_change: int
    region: str
    def __init__(
        self,
        parts: list[tuple[str, float, list[Endpoint]]],
        panic: bool = False,
        next_change: int = 0,
        region: str = "",
    ) -> None: ...

def divide_plain(endpoints: Sequence[Endpoint], now: int) -> Division: ...

class Selection:
    parts: tuple[Balancer, ...]
    names: tuple[str, ...]
    shares: tuple[float, ...]
    panic: bool
    region: str
    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...
