from typing import Any

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.key import KeySource
from lbd.engine.listener import Listener
from lbd.engine.retry import RetryPolicy
from lbd.engine.router import Matcher, Respond, Route
from lbd.engine.selection import Selection

class Rehearsal:
    listener: Listener
    path: bytes | None
    client: str
    client_address: bytes
    considered: list[tuple[Route, str, Matcher | Route | None]]
    route: Route | None
    captures: dict[str, bytes]
    walked: list[tuple[Cluster, str]]
    respond: Respond | None
    cluster: Cluster | None
    selection: Selection | None
    key: int
    has_session: bool
    knows_session: bool
    pinned: Endpoint | None
    picked: Endpoint | None
    cause: str | None
    alternatives: list[Endpoint]
    reason: str
    status: int
    upstream_head: bytes | None
    retry: RetryPolicy | None
    upgrade: bool
    body_length: int | None
    def __init__(
        self, listener: Listener, raw_head: bytes | None, peer: str = "127.0.0.1", *, secure: bool = False
    ) -> None: ...
    def pick_from(self, cluster: Cluster, labels: dict[str, str]) -> Endpoint | None: ...
    def limits(self) -> dict[str, dict[str, int]]: ...
    def retry_plan(self) -> dict[str, Any] | None: ...

def circuits_of(cluster: Cluster, endpoint: Endpoint | None) -> dict[str, tuple[str, float, int]]: ...
def connections_of(endpoint: Endpoint) -> dict[str, int]: ...
def value_of(rehearsal: Rehearsal, source: KeySource) -> bytes | None: ...
def packed_text(address: bytes) -> str: ...
