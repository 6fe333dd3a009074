from collections.abc import Iterable, Mapping
from typing import Any

from lbd.engine.pool import ConnectionPool, Protocol
from lbd.engine.shared import Shared

class Endpoint:
    name: str
    address: str
    weight: int
    labels: dict[str, str]
    pool: ConnectionPool
    active: int
    available: bool
    def __init__(
        self,
        name: str,
        address: str,
        *,
        weight: int = 1,
        labels: dict[str, str] | None = None,
        pool: ConnectionPool | None = None,
        shared: Shared | None = None,
        cluster: str = "",
        worker: int = 0,
    ) -> None: ...
    def resolved(self, host: str, port: int) -> None: ...

class Balancer:
    endpoints: tuple[Endpoint, ...]
    needs_key: bool
    def __init__(self, endpoints: Iterable[Endpoint], *args: Any, **options: Any) -> None: ...
    def pick_one(self, key: int = 0) -> Endpoint | None: ...
    def pick_many(self, times: int) -> None: ...
    def acquire_one(self, endpoint: Endpoint) -> None: ...
    def release_one(self, endpoint: Endpoint) -> None: ...

class Cluster:
    name: str
    endpoints: tuple[Endpoint, ...]
    balancer: Balancer
    protocol: Protocol | None
    host: bytes | None
    response_ms: int
    body_ms: int
    queue_ms: int
    attempts: int
    def __init__(
        self,
        name: str,
        endpoints: Iterable[Endpoint],
        *,
        balancer_class: type[Balancer],
        options: Mapping[str, Any] | None = None,
        protocol: Protocol | None = None,
        host: bytes | None = None,
        response_ms: int = 0,
        body_ms: int = 0,
        queue_ms: int = 0,
    ) -> None: ...
    def rebuild(self) -> None: ...
