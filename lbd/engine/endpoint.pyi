from collections.abc import Iterable
from typing import Any

from lbd.engine.pool import ConnectionPool
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
    trouble: str | None
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
    def reconfigure(
        self,
        *,
        weight: int,
        priority: int,
        labels: dict[str, str],
        address: str | None = None,
        foreign: bool = False,
    ) -> None: ...
    @property
    def under_way(self) -> int: ...
    @property
    def quiet(self) -> bool: ...
    def detach(self) -> None: ...
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
    def recent_requests(self, now: int) -> tuple[float, float, float]: ...
    @property
    def recent_now(self) -> tuple[float, float, float]: ...
    @property
    def measured(self) -> dict[str, float]: ...
    def set_health(self, health: str) -> None: ...
    def set_rtt(self, seconds: float) -> None: ...
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
