"""Discovery: everything that is found while lbd runs, for one Runtime.

    begin (ask, wait a little) -> compile with what is known -> attach (changes reach the clusters) -> stop

A name that does not resolve, a name server that is silent and a file that is not there delay the start by
START_SECONDS at most, and stop nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from lbd import registry
from lbd.config import schema
from lbd.config.discovery import Discover
from lbd.config.units import split_address
from lbd.discovery.member import Members
from lbd.discovery.membership import EndpointMaker, Membership
from lbd.discovery.names import Names
from lbd.discovery.retired import Retired
from lbd.discovery.source import Means, OffLoop, Source
from lbd.discovery.watch import Outcome, Watch
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.shared import Shared
from lbd.observe.log import Log

START_SECONDS = 2.0
RESOLVE_SECONDS = 2.0  # for host names that a source has found
NAME = "name"  # the source of changes of single host names

OnAdded = Callable[[Cluster, Endpoint], None]


class Discovery:
    """`off_loop(call, *args)` runs what may block."""

    def __init__(self, config: schema.Config, log: Log, off_loop: OffLoop) -> None:
        self._config = config
        self._log = log
        self._means = Means(config, off_loop)
        self._updates: Counter[tuple[str, str]] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self.names = Names(self._means, log, self._count_name_update, self._count_name_error)
        self._watches: dict[str, Watch[Members]] = {}  # by cluster
        self._memberships: dict[str, Membership] = {}

    def __repr__(self) -> str:
        return f"<Discovery names={len(self.names.watches)} clusters={len(self._watches)}>"

    async def begin(self, seconds: float = START_SECONDS) -> dict[str, str]:
        """Ask for everything at once; the hosts that are known within `seconds`, with their addresses."""
        for cluster in self._config.clusters:
            for endpoint in cluster.endpoints:
                if self.names.want(endpoint.address, cluster.name) is not None:
                    self._count_from_zero(cluster.name, NAME)
            if cluster.discover is not None:
                self._watch(cluster.name, cluster.discover)
        try:
            async with asyncio.timeout(seconds):
                await self._all_looked()
        except TimeoutError:
            self._log.warning(f"starting without answers about {', '.join(self._unanswered())}")
        hosts = {split_address(e.address)[0]: e.address for c in self._config.clusters for e in c.endpoints}
        known = {host: self.names.address_of(address) for host, address in hosts.items()}
        return {host: address for host, address in known.items() if address is not None}

    async def _all_looked(self) -> None:
        """Sources first: what they find may have host names."""
        for watch in self._watches.values():
            await watch.looked.wait()
        for name in list(self.names.watches.values()):
            await name.watch.looked.wait()

    def _unanswered(self) -> list[str]:
        names = (name.watch for name in self.names.watches.values())
        titles = [watch.title for watch in self._watches.values() if not watch.looked.is_set()]
        titles += [watch.title for watch in names if not watch.looked.is_set()]
        return titles if len(titles) <= 10 else [*titles[:10], f"{len(titles) - 10} more"]

    def _watch(self, cluster: str, setting: Discover) -> None:
        kind = next(name for name in registry.names("discovery") if getattr(setting, name) is not None)
        source: Source = registry.resolve("discovery", kind)(setting, self._means)

        async def look() -> Outcome[Members]:
            outcome = await source.look()
            if outcome.found is not None and outcome.found != watch.found:
                await self._resolve_all(cluster, outcome.found)
            return outcome

        watch: Watch[Members] = Watch(
            f"cluster {cluster}: {source.title}",
            look,
            lambda members: self._on_found(cluster, kind, members),
            self._log,
            on_failed=lambda: self._errors.update([(cluster, kind)]),
        )
        self._count_from_zero(cluster, kind)
        if kind != "dns":  # what it finds may have host names
            self._count_from_zero(cluster, NAME)
        self._watches[cluster] = watch
        watch.start()

    def _on_found(self, cluster: str, kind: str, members: Members) -> None:
        membership = self._memberships.get(cluster)
        if membership is None:  # attach will see to it
            return
        if membership.apply(members):
            self._updates[cluster, kind] += 1
        self.names.release(cluster)

    async def _resolve_all(self, cluster: str, members: Members) -> None:
        """Before they join: if all of them were new names, none would have an address for a moment."""
        watches = [self.names.want(member.address, cluster) for member in members]
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                for one in watches:
                    if one is not None:
                        await one.watch.looked.wait()
        except TimeoutError:
            return  # those that are left join without an address

    def attach(
        self,
        clusters: Mapping[str, Cluster],
        makers: Mapping[str, EndpointMaker],
        shared: Shared,
        on_added: OnAdded,
    ) -> None:
        """The Runtime is compiled: what is known goes there now, what changes when it does."""
        retired = Retired(shared, clusters.values)
        for name, cluster in clusters.items():
            watch = self._watches.get(name)
            self._memberships[name] = Membership(
                cluster,
                makers[name],
                self.names,
                retired,
                self._log,
                prompt=watch.prompt if watch is not None else None,
                on_added=on_added,
            )
            if watch is not None and watch.found is not None:
                self._memberships[name].apply(watch.found)
            self.names.release(name)

    async def stop(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        self.names.stop()
        await self._means.close()

    def _count_from_zero(self, cluster: str, source: str) -> None:
        """A counter that appears with its first event would hide that event from rate()."""
        self._updates[cluster, source] += 0
        self._errors[cluster, source] += 0

    def _count_name_update(self, cluster: str) -> None:
        self._updates[cluster, NAME] += 1

    def _count_name_error(self, cluster: str) -> None:
        self._errors[cluster, NAME] += 1

    # for the metrics

    def updates(self) -> Iterator[tuple[str, str, int]]:
        """Cluster, source (dns, srv, file, name) and how often something changed there."""
        yield from ((*key, count) for key, count in self._updates.items())

    def errors(self) -> Iterator[tuple[str, str, int]]:
        """Cluster, source and how often there was no good answer."""
        yield from ((*key, count) for key, count in self._errors.items())

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Clusters with `discover`, and how many endpoints it has found."""
        yield from (
            (name, len(self._memberships[name].found)) for name in self._watches if name in self._memberships
        )
