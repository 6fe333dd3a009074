from typing import Any

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.reactor import Reactor

class Check:
    cluster: Cluster
    endpoint: Endpoint
    under_way: bool
    def __init__(self, reactor: Reactor, cluster: Cluster, endpoint: Endpoint, **settings: Any) -> None: ...
    def start(self, after_ms: int) -> None: ...
    def stop(self) -> None: ...
    def report(self, ok: bool, why: str | None) -> None: ...
