"""What clusters tell of themselves, as lines of lbd's log."""

from __future__ import annotations

from collections.abc import Callable

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.observe.log import Log

GOOD = {"up", "recovered", "breaker closed", "breaker half-open", "panic ends"}
TEXTS = {
    "ejected": "held back: its requests fail",
    "recovered": "in use again: it has been tried",
    "panic begins": "panic: too few endpoints are usable, so health is ignored",
    "panic ends": "panic is over: health counts again",
}


class ClusterEvents:
    """The `on_change` of a cluster. `members_changed` is called when it has other endpoints."""

    def __init__(self, log: Log, members_changed: Callable[[Cluster], None]) -> None:
        self.log = log
        self.members_changed = members_changed

    def __call__(self, cluster: Cluster, kind: str, endpoint: Endpoint | None) -> None:
        if kind in ("members", "address"):
            self.members_changed(cluster)
            return
        where, text = f"cluster {cluster.name}", TEXTS.get(kind, kind)
        if endpoint is not None:
            where = f"endpoint {cluster.name}/{endpoint.name}"
            text = f"down: {endpoint.trouble}" if kind == "down" else text
        (self.log.info if kind in GOOD else self.log.warning)(f"{where}: {text}")
