"""Names: the host names of endpoints, resolved while they serve. One NameWatch per host, whoever names it.

An endpoint by host name has one address at a time. It is kept while it is among the answers, so that name
servers which rotate them move nothing. Another address replaces it in place: the endpoint, its numbers and
its health stay; connections to the old address are not used again.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from lbd.config.units import is_ip, split_address
from lbd.discovery.host import HostLookup
from lbd.discovery.source import Means
from lbd.discovery.watch import Watch
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.observe.log import Log

Counter = Callable[[str], None]  # counts one for a cluster


def is_name(host: str) -> bool:
    """Whether a host must be resolved: neither an IP literal nor a unix socket."""
    return not host.startswith("unix:") and not is_ip(host)


class NameWatch:
    """One host name, the address in use, and the endpoints there."""

    def __init__(self, host: str, means: Means, log: Log, on_update: Counter, on_error: Counter) -> None:
        self.host = host
        self.address: str | None = None
        self.clusters: set[str] = set()  # that have endpoints there, or are about to
        self.followers: dict[Endpoint, Cluster] = {}
        self._log = log
        self._on_update = on_update
        self._on_error = on_error
        self.watch = Watch(
            f"host {host}",
            HostLookup(host, means.resolver(), means.pace()).look,
            self._on_found,
            log,
            on_failed=self._on_failed,
        )

    def _on_found(self, addresses: tuple[str, ...]) -> None:
        if self.address in addresses:
            return
        before, self.address = self.address, _choose(addresses)
        for name in self.clusters:
            self._on_update(name)
        now = f"is now at {self.address}, was at {before}" if before else f"resolves to {self.address}"
        for endpoint, cluster in self.followers.items():
            self._settle(endpoint, cluster)
            self._log.info(f"endpoint {cluster.name}/{endpoint.name}: {self.host} {now}")

    def _settle(self, endpoint: Endpoint, cluster: Cluster) -> None:
        if self.address is not None:
            was_resolved = endpoint.resolved
            endpoint.resolve(self.address, split_address(endpoint.address)[1])
            if not was_resolved:
                cluster.refresh()
            if cluster.on_change is not None:
                cluster.on_change(cluster, "address", endpoint)

    def _on_failed(self) -> None:
        for cluster in self.clusters:
            self._on_error(cluster)

    def follow(self, endpoint: Endpoint, cluster: Cluster) -> None:
        self.followers[endpoint] = cluster
        self.clusters.add(cluster.name)
        self._settle(endpoint, cluster)

    def unfollow(self, endpoint: Endpoint) -> None:
        self.followers.pop(endpoint)


def _choose(addresses: tuple[str, ...]) -> str:
    """One of those of the first family, at random, so that many load balancers do not all choose the same."""
    first = ":" in addresses[0]
    return random.choice([address for address in addresses if (":" in address) == first])


class Names:
    """All NameWatches."""

    def __init__(self, means: Means, log: Log, on_update: Counter, on_error: Counter) -> None:
        self._means = means
        self._log = log
        self._on_update = on_update
        self._on_error = on_error
        self.watches: dict[str, NameWatch] = {}

    def want(self, address: str, cluster: str) -> NameWatch | None:
        """See that the host of an address is being resolved; None when there is nothing to resolve.

        The cluster's claim lasts until `release` finds no endpoint of it there.
        """
        host, _ = split_address(address)
        if not is_name(host):
            return None
        found = self.watches.get(host)
        if found is None:
            found = NameWatch(host, self._means, self._log, self._on_update, self._on_error)
            self.watches[host] = found
            found.watch.start()
        found.clusters.add(cluster)
        return found

    def address_of(self, address: str) -> str | None:
        """The IP literal (or unix socket) of an endpoint's address, when it is known."""
        host, _ = split_address(address)
        if not is_name(host):
            return host
        found = self.watches.get(host)
        return found.address if found is not None else None

    def follow(self, endpoint: Endpoint, cluster: Cluster) -> Callable[[], None] | None:
        """Keep the endpoint's address up to date; what to call when connecting to it fails."""
        found = self.want(endpoint.address, cluster.name)
        if found is None:
            return None
        found.follow(endpoint, cluster)
        return found.watch.prompt

    def unfollow(self, endpoint: Endpoint) -> None:
        """It is gone, or has another host; `release` sees to what nobody wants any more."""
        host, _ = split_address(endpoint.address)
        watch = self.watches.get(host)
        if watch is not None and endpoint in watch.followers:
            watch.unfollow(endpoint)

    def release(self, cluster: str) -> None:
        """The cluster's endpoints follow their hosts now: what it wanted for nothing is let go."""
        for watch in list(self.watches.values()):
            if all(follower.name != cluster for follower in watch.followers.values()):
                watch.clusters.discard(cluster)
                if not watch.clusters:
                    watch.watch.stop()
                    del self.watches[watch.host]

    def stop(self) -> None:
        for watch in self.watches.values():
            watch.watch.stop()
