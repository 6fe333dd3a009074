from collections.abc import Iterable, Sequence
from typing import Any

from lbd.engine.cluster import Cluster
from lbd.engine.retry import RetryPolicy
from lbd.engine.shared import Shared

class Matcher: ...

class Respond:
    status: int
    headers: bytes
    body: bytes
    https_port: int
    def __init__(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        https_port: int = 0,
    ) -> None: ...

class Route:
    name: str
    rank: int
    matchers: tuple[Matcher, ...]
    cluster: Cluster | None
    respond: Respond | None
    labels: dict[str, str]
    urgency: int
    captures: tuple[str, ...]
    source: Any
    def __init__(
        self,
        name: str,
        *,
        rank: int = 0,
        matchers: Sequence[Matcher] = (),
        cluster: Cluster | None = None,
        respond: Respond | None = None,
        labels: dict[str, str] | None = None,
        retry: RetryPolicy | None = None,
        urgency: int = 1,
        captures: Sequence[str] = (),
        source: Any = None,
        response_ms: int = 0,
        body_ms: int = 0,
        tunnel_ms: int = 0,
        total_ms: int = 0,
        body_limit: int = -1,
        max_tunnels: int = 0,
        shared: Shared | None = None,
        listener: str = "",
        worker: int = 0,
    ) -> None: ...

Segment = bytes | tuple[str, bytes]

class Router:
    routes: tuple[Route, ...]
    def __init__(
        self, entries: Iterable[tuple[bytes | None, Sequence[Segment] | None, bool, Route]] = ()
    ) -> None: ...
    def add(
        self, host: bytes | None, segments: Sequence[Segment] | None, below: bool, route: Route
    ) -> None: ...
    def explain(
        self, raw_head: bytes, client: str = "127.0.0.1", *, path_mode: int = 0
    ) -> dict[str, Any]: ...
    def match_many(self, raw_head: bytes, client: str, times: int) -> None: ...
