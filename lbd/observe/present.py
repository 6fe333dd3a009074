"""Clusters and endpoints in force, gone through with pauses, in which reloads and discovery change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint


class HasClusters(Protocol):
    """What is read of a Runtime."""

    @property
    def clusters(self) -> Mapping[str, Cluster]: ...


class HasRuntime(Protocol):
    """What is read of a worker."""

    @property
    def runtime(self) -> HasClusters | None: ...


class Present:
    """Of one worker. Who is taken away before its turn is left out."""

    def __init__(self, worker: HasRuntime) -> None:
        self._worker = worker

    def clusters(self) -> Iterator[Cluster]:
        for name in list(self._now()):
            cluster = self._now().get(name)
            if cluster is not None:
                yield cluster

    def endpoints(self) -> Iterator[tuple[Cluster, Endpoint]]:
        for cluster in self.clusters():
            for endpoint in cluster.endpoints:
                if not endpoint.removed:
                    yield cluster, endpoint

    def _now(self) -> Mapping[str, Cluster]:
        return self._worker.runtime.clusters if self._worker.runtime is not None else {}


class Names:
    """Gone through anew each time that they are asked for."""

    def __init__(self, each: Callable[[], Iterator[str]]) -> None:
        self._each = each

    def __iter__(self) -> Iterator[str]:
        return self._each()
