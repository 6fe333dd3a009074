from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lbd.engine.pool import ConnectionPool, Protocol
from lbd.engine.reactor import Reactor
from lbd.engine.retry import RetryBudget, RetryPolicy
from lbd.engine.router import Respond
from lbd.engine.shared import Shared

class Endpoint:
    name: str
    address: str
    configured_weight: int
    weight: int
    priority: int
    labels: dict[str, str]
    zone: str
    region: str
    pool: ConnectionPool
    active: int
    resolved: bool
    usable: bool
    keeps: bool
    available: bool
    on_probation: bool
    foreign: bool
    removed: bool
    def __init__(
        self,
        name: str,
        address: str,
        *,
        weight: int = 1,
        priority: int = 0,
        labels: dict[str, str] | None = None,
        pool: ConnectionPool | None = None,
        shared: Shared | None = None,
        cluster: str = "",
        worker: int = 0,
        foreign: bool = False,
    ) -> None: ...
    def resolve(self, host: str, port: int) -> None: ...
    def reconfigure(self, *, weight: int, priority: int, labels: dict[str, str]) -> None: ...
    @property
    def wanted_weight(self) -> int: ...
    @property
    def health(self) -> str: ...
    @property
    def admin(self) -> str: ...
    @property
    def up_since(self) -> int: ...
    @property
    def rtt(self) -> float | None: ...
    def set_health(self, health: str) -> None: ...
    def set_admin(self, admin: str) -> None: ...
    def set_weight(self, weight: int | None) -> None: ...

class Balancer:
    endpoints: tuple[Endpoint, ...]
    needs_key: bool
    tracks_load: bool
    tracks_latency: bool
    def __init__(self, endpoints: Iterable[Endpoint], *args: Any, **options: Any) -> None: ...
    def pick_one(self, key: int = 0, attempt: int = 0) -> Endpoint | None: ...
    def pick_many(self, times: int) -> None: ...
    def acquire_one(self, endpoint: Endpoint) -> None: ...
    def release_one(self, endpoint: Endpoint) -> None: ...
    def respond_one(self, endpoint: Endpoint, seconds: float, failed: bool = False) -> None: ...
    def set_time(self, seconds: float) -> None: ...

class Guard:
    def next_change(self, endpoints: Sequence[Endpoint], now: int) -> int: ...

class ConcurrencyLimit:
    limit: int

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

class Cluster:
    name: str
    endpoints: tuple[Endpoint, ...]
    selection: Selection
    subsets: dict[tuple[tuple[str, Any], ...], Selection]
    protocol: Protocol | None
    host: bytes | None
    passive: Guard | None
    breaker: Guard | None
    limiter: ConcurrencyLimit | None
    retry: RetryPolicy | None
    budget: RetryBudget | None
    fallback: Cluster | None
    response_ms: int
    body_ms: int
    queue_ms: int
    max_requests: int
    active: int
    gated: bool
    watched: bool
    on_change: Callable[[Cluster, str, str], None] | None
    def __init__(
        self,
        name: str,
        endpoints: Iterable[Endpoint],
        *,
        balancer_class: type[Balancer],
        options: Mapping[str, Any] | None = None,
        divide: Callable[[Sequence[Endpoint], int], Division] = ...,
        protocol: Protocol | None = None,
        host: bytes | None = None,
        reactor: Reactor | None = None,
        shared: Shared | None = None,
        worker: int = 0,
        response_ms: int = 0,
        body_ms: int = 0,
        queue_ms: int = 0,
        max_requests: int = 0,
        passive: Guard | None = None,
        breaker: Guard | None = None,
        limiter: ConcurrencyLimit | None = None,
        retry: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        failure_statuses: Iterable[int] = (502, 503, 504),
        key: Any = None,
        sticky: Any = None,
    ) -> None: ...
    @property
    def balancer(self) -> Balancer | None: ...
    def set_fallback(self, cluster: Cluster | None, respond: Respond | None) -> None: ...
    def subset(self, labels: Mapping[str, Any]) -> Selection: ...
    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None: ...
    def refresh(self) -> None: ...
    def set_time(self, seconds: float) -> None: ...
    def changed(self) -> None: ...
