from typing import Any

from lbd.engine.observer import Observer

KINDS: dict[str, int]
REASONS: dict[str, int]

class Wanted:
    def __init__(
        self,
        *,
        listener: str | None = None,
        route: str | None = None,
        cluster: str | None = None,
        endpoint: str | None = None,
        method: str | None = None,
        host: str | None = None,
        path: str | None = None,
        client: str | None = None,
        status: str | None = None,
        reason: str | None = None,
        least: float = 0,
        since: float = 0,
        until: float = 0,
    ) -> None: ...

class Recorder(Observer):
    worker: int
    workers: int
    size_bytes: int
    fd: int
    def __init__(
        self,
        *,
        size: int = 1024,
        errors: int = 512,
        slow: int = 256,
        slow_us: int = 1000000,
        query: bool = False,
        workers: int = 1,
        worker: int = 0,
        fd: int = -1,
    ) -> None: ...
    def records(
        self, kind: str = "all", wanted: Wanted | None = None, limit: int = 100
    ) -> list[dict[str, Any]]: ...
    def find(self, request_id: str) -> dict[str, Any] | None: ...
