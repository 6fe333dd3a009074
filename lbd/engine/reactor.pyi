import asyncio
from collections.abc import Callable

class Reactor:
    streams: int
    faults: int
    clients: int
    max_clients: int
    lag: float
    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_fault: Callable[[BaseException], None]
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
