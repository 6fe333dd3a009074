from collections.abc import Callable

from lbd.engine.listener import Listener

class Acceptor:
    def __init__(
        self, listener: Listener, fd: int, *, tcp: bool, on_problem: Callable[[str, int], None]
    ) -> None: ...
    def move(self, listener: Listener, *, tcp: bool) -> None: ...
    def close(self) -> None: ...
