from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lbd.engine.endpoint import Balancer, Endpoint
from lbd.engine.guard import ConcurrencyLimit, Guard
from lbd.engine.key import KeySource
from lbd.engine.pool import Protocol
from lbd.engine.reactor import Reactor
from lbd.engine.retry import RetryBudget, RetryPolicy
from lbd.engine.router import Respond
from lbd.engine.selection import Division, Selection
from lbd.engine.shared import Shared
from lbd.engine.sticky import Sticky

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
    key: KeySource | None
    sticky: Sticky | None
    retry: RetryPolicy | None
    budget: RetryBudget | None
    fallback: Cluster | None
    response_ms: int
    body_ms: int
    queue_ms: int
    max_requests: int
    active: int
    highest: int
    gated: bool
    watched: bool
    measures: bool
    on_change: Callable[[Cluster, str, Endpoint | None], None] | None
    def __init__(
        self,
        name: str,
        endpoints: Iterable[Endpoint],
        *,
        reactor: Reactor | None = None,
        shared: Shared | None = None,
        worker: int = 0,
        seed: int | None = None,
        **settings: Any,
    ) -> None: ...
    def configure(
        self,
        *,
        balancer_class: Callable[..., Balancer],
        options: Mapping[str, Any] | None = None,
        new_divide: Callable[[], Callable[[Sequence[Endpoint], int], Division]] | None = None,
        protocol: Protocol | None = None,
        host: bytes | None = None,
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
        measures: bool = False,
        key: Any = None,
        sticky: Sticky | None = None,
    ) -> None: ...
    @property
    def balancer(self) -> Balancer | None: ...
    def set_fallback(self, cluster: Cluster | None, respond: Respond | None) -> None: ...
    def subset(self, labels: Mapping[str, Any]) -> Selection: ...
    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None: ...
    def refresh(self) -> None: ...
    def set_time(self, seconds: float) -> None: ...
    @property
    def under_way(self) -> int: ...
    def look(self) -> None: ...
    def changed(self) -> None: ...
    def admit_one(self, urgency: int = 1) -> str | None: ...
    def pick_one(self, key: int = 0, tried: list[Endpoint] | None = None) -> Endpoint | None: ...
    def pick_one_again(self, cause: str, tried: list[Endpoint], key: int = 0) -> Endpoint | None: ...
    def acquire_one(self, endpoint: Endpoint) -> None: ...
    def release_one(self, endpoint: Endpoint) -> None: ...
    def outcome_one(self, endpoint: Endpoint, failed: bool | None, seconds: float = 0.0) -> None: ...
    @property
    def next_refresh(self) -> float: ...
