import asyncio
from collections.abc import Callable

from lbd.engine.shared import Shared

class Reactor:
    streams: int
    faults: int
    clients: int
    max_clients: int
    lag: float
    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_fault: Callable[[BaseException], None]
    ) -> None: ...
    def watch(self, shared: Shared, on_generation: Callable[[], None]) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
