from collections.abc import Iterable

from lbd.engine.cluster import Cluster
from lbd.engine.reactor import Reactor
from lbd.engine.router import Router
from lbd.engine.shared import Shared

class AccessLog: ...

class Listener:
    name: str
    reactor: Reactor
    router: Router | None
    cluster: Cluster | None
    access_log: AccessLog | None
    draining: bool
    def __init__(
        self,
        name: str,
        reactor: Reactor,
        *,
        shared: Shared,
        worker: int = 0,
        router: Router | None = None,
        cluster: Cluster | None = None,
        access_log: AccessLog | None = None,
        head_ms: int = ...,
        body_ms: int = ...,
        idle_ms: int = ...,
        write_ms: int = ...,
        tunnel_ms: int = ...,
        request_line: int = ...,
        head: int = ...,
        fields: int = ...,
        body: int = ...,
        connections: int = ...,
        body_rate: int = ...,
        keep_underscore: bool = False,
        path_mode: int = 0,
        trusted: Iterable[str] = (),
        trailers: Iterable[str] = (),
        authority: bytes = ...,
    ) -> None: ...
    @property
    def open_connections(self) -> int: ...
    def start_drain(self) -> int: ...
