from lbd.engine.reactor import Reactor

class Protocol:
    name: str

class ConnectionPool:
    def __init__(
        self,
        reactor: Reactor,
        host: str | None,
        port: int,
        *,
        max_open: int,
        max_idle: int,
        max_queue: int,
        max_requests: int,
        connect_ms: int,
        idle_ms: int,
        lifetime_ms: int,
    ) -> None: ...
    def set_address(self, host: str, port: int) -> None: ...
