"""Retired: removed endpoints, until their records in the shared block may be used again.

Without this a cluster whose members come and go (pods, say) would fill the block and /metrics for ever.
Numbers stay for a while, so that the last of them are scraped, and a member that comes back finds its health.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.shared import Shared

KEPT_SECONDS = 600.0
MOST_KEPT = 2000


@dataclass(slots=True)
class _Gone:
    """One identity: there may be several objects of it, when it came back and went again."""

    cluster: str
    name: str
    since: float
    endpoints: list[Endpoint] = field(default_factory=list)


class Retired:
    """Of all clusters."""

    def __init__(self, shared: Shared, clusters: Callable[[], Iterable[Cluster]]) -> None:
        self._shared = shared
        self._clusters = clusters
        self._gone: dict[str, _Gone] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._gone)

    def add(self, cluster: str, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            identity = f"{cluster}/{endpoint.name}"
            gone = self._gone.pop(identity, None) or _Gone(cluster, endpoint.name, 0.0)
            gone.since = time.monotonic()
            gone.endpoints.append(endpoint)
            self._gone[identity] = gone

    def sweep(self) -> None:
        """Forget those that are gone for long enough and have nothing under way."""
        present = {
            f"{cluster.name}/{endpoint.name}"
            for cluster in self._clusters()
            for endpoint in cluster.endpoints
        }
        limit = time.monotonic() - KEPT_SECONDS
        too_many = len(self._gone) - MOST_KEPT
        for index, (identity, gone) in enumerate(list(self._gone.items())):
            if gone.since > limit and index >= too_many:
                return
            if all(endpoint.quiet for endpoint in gone.endpoints):
                del self._gone[identity]
                self._forget(identity, gone, identity in present)

    def _forget(self, identity: str, gone: _Gone, is_back: bool) -> None:
        kept = gone.endpoints[-1].admin != "ready"  # what the operator said outlives the endpoint
        for endpoint in gone.endpoints:
            endpoint.detach()
        if not is_back:
            self._shared.forget("endpoint", identity)
            if not kept:
                self._shared.forget("endpoint_state", identity)
