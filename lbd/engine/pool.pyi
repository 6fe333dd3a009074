from collections.abc import Callable
from typing import Any

from lbd.engine.reactor import Reactor
from lbd.engine.tls import ClientTls

class Protocol:
    name: str

class ConnectionPool:
    on_problem: Callable[[str], None] | None
    on_connect_failed: Callable[[], None] | None
    def __init__(self, reactor: Reactor, host: str | None, port: int, **settings: Any) -> None: ...
    def configure(
        self,
        *,
        max_open: int,
        max_idle: int,
        max_queue: int,
        max_requests: int,
        connect_ms: int,
        idle_ms: int,
        lifetime_ms: int,
        tls: ClientTls | None = None,
        tls_name: bytes = b"",
        tls_name_is_ip: bool = False,
        proxy_version: int = 0,
        keepalive_s: int = 0,
        user_timeout_ms: int = 0,
        congestion: bytes | None = None,
        fast_open: bool = False,
        learn_idle: bool = True,
        warm: int = 0,
        protocol: Protocol | None = None,
    ) -> None: ...
    @property
    def idle_seconds(self) -> float: ...
    def set_address(self, host: str, port: int) -> None: ...
    def close_unused(self) -> None: ...
