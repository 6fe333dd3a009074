"""Discovery: everything that is found while lbd runs, for one Runtime.

    begin (ask, wait a little) -> compile with what is known -> attach (changes reach the clusters) -> stop

A reload does the same for what has changed: want, addresses_of -> compile -> follow (or forget, when it is
refused). What has not changed goes on, with all that is known.

A name that does not resolve, a name server that is silent and a file that is not there delay the start by
START_SECONDS at most, and stop nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping

from lbd import registry
from lbd.config import schema
from lbd.config.discovery import Discover
from lbd.config.units import split_address
from lbd.discovery.member import Member, Members
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
        self._settings = {cluster.name: cluster for cluster in config.clusters}
        self._watches: dict[str, Watch[Members]] = {}  # by cluster
        self._coming: dict[str, Watch[Members]] = {}  # those of a configuration that is not in force yet
        self._memberships: dict[str, Membership] = {}
        self._retired: Retired | None = None
        self._on_added: OnAdded = _nobody_asked

    def __repr__(self) -> str:
        return f"<Discovery names={len(self.names.watches)} clusters={len(self._watches)}>"

    async def begin(self, seconds: float = START_SECONDS) -> dict[str, str]:
        """Ask for everything at once; the hosts that are known within `seconds`, with their addresses."""
        for _ in self.want(self._config):
            pass
        return await self.addresses_of(self._config, seconds, "starting")

    def want(self, config: schema.Config) -> Generator[None, None, None]:
        """Ask for what this configuration has and the present one has not. A cluster at a time."""
        known = {name: one for name, one in self._settings.items() if name in self._memberships}
        for cluster in config.clusters:
            before = known.get(cluster.name)
            if before is cluster or before == cluster:
                continue
            for endpoint in cluster.endpoints:
                if self.names.want(endpoint.address, cluster.name) is not None:
                    self._count_from_zero(cluster.name, NAME)
            if cluster.discover is not None and (before is None or before.discover != cluster.discover):
                self._coming[cluster.name] = self._watch(cluster.name, cluster.discover)
            yield

    async def addresses_of(
        self, config: schema.Config, seconds: float = START_SECONDS, what: str = "reloading"
    ) -> dict[str, str]:
        """What was wanted: the hosts that are known within `seconds`, with their addresses."""
        try:
            async with asyncio.timeout(seconds):
                await self._all_looked()
        except TimeoutError:
            self._log.warning(f"{what} without answers about {', '.join(self._unanswered())}")
        hosts = {split_address(e.address)[0]: e.address for c in config.clusters for e in c.endpoints}
        found = {host: self.names.address_of(address) for host, address in hosts.items()}
        return {host: address for host, address in found.items() if address is not None}

    def forget(self) -> None:
        """What was prepared is not wanted after all."""
        for watch in self._coming.values():
            watch.stop()
        self._coming.clear()
        for cluster in {name for one in self.names.watches.values() for name in one.clusters}:
            self.names.release(cluster)

    async def _all_looked(self) -> None:
        """Sources first: what they find may have host names."""
        for watch in (*self._watches.values(), *self._coming.values()):
            await watch.looked.wait()
        for name in list(self.names.watches.values()):
            await name.watch.looked.wait()

    def _unanswered(self) -> list[str]:
        names = (name.watch for name in self.names.watches.values())
        watches = (*self._watches.values(), *self._coming.values())
        titles = [watch.title for watch in watches if not watch.looked.is_set()]
        titles += [watch.title for watch in names if not watch.looked.is_set()]
        return titles if len(titles) <= 10 else [*titles[:10], f"{len(titles) - 10} more"]

    def _watch(self, cluster: str, setting: Discover) -> Watch[Members]:
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
            lambda members: self._on_found(watch, cluster, kind, members),
            self._log,
            on_failed=lambda: self._errors.update([(cluster, kind)]),
        )
        self._count_from_zero(cluster, kind)
        if kind != "dns":  # what it finds may have host names
            self._count_from_zero(cluster, NAME)
        watch.start()
        return watch

    def _on_found(self, watch: Watch[Members], cluster: str, kind: str, members: Members) -> None:
        membership = self._memberships.get(cluster)
        if membership is None or watch is not self._watches.get(cluster):  # `follow` will see to it
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
        self._retired = Retired(shared, lambda: [one.cluster for one in self._memberships.values()])
        self._on_added = on_added
        for _ in self.follow(self._config, clusters, makers):
            pass

    def follow(
        self,
        config: schema.Config,
        clusters: Mapping[str, Cluster],
        makers: Mapping[str, EndpointMaker],
    ) -> Generator[None, None, None]:
        """From now on this is the configuration, which was prepared and compiled. A cluster at a time."""
        before, self._config = self._settings, config
        self._settings = {cluster.name: cluster for cluster in config.clusters}
        for name in [name for name in self._memberships if name not in clusters]:
            self._leave(name)
            yield
        for setting in config.clusters:
            membership = self._memberships.get(setting.name)
            if membership is None:
                self._join(setting, clusters[setting.name], makers[setting.name])
            elif makers[setting.name] is not membership.maker:
                self._change(setting, before[setting.name], membership, makers[setting.name])
            self.names.release(setting.name)
            yield

    def _join(self, setting: schema.Cluster, cluster: Cluster, maker: EndpointMaker) -> None:
        assert self._retired is not None
        watch = self._coming.pop(setting.name, None)
        if watch is not None:
            self._watches[setting.name] = watch
        membership = self._memberships[setting.name] = Membership(
            cluster,
            maker,
            _fixed(setting),
            self.names,
            self._retired,
            self._log,
            prompt=watch.prompt if watch is not None else None,
            on_added=self._on_added,
        )
        if watch is not None and watch.found is not None:
            membership.apply(watch.found)

    def _change(
        self, setting: schema.Cluster, before: schema.Cluster, membership: Membership, maker: EndpointMaker
    ) -> None:
        name = setting.name
        if setting.discover != before.discover:
            old = self._watches.pop(name, None)
            if old is not None:
                old.stop()
            if name in self._coming:
                self._watches[name] = self._coming.pop(name)
        watch = self._watches.get(name)
        found = watch.found if watch is not None else ()
        membership.reconfigure(
            maker, _fixed(setting), found, prompt=watch.prompt if watch is not None else None
        )

    def _leave(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.stop()
        self._memberships.pop(name).leave()
        self.names.release(name)

    def told(self, cluster: str) -> tuple[tuple[Member, str | None], ...]:
        """See Membership.told."""
        return self._memberships[cluster].told()

    def on_connect_failed(self, cluster: str, endpoint: str) -> None:
        """Another process could not connect to it."""
        membership = self._memberships.get(cluster)
        for one in membership.cluster.endpoints if membership is not None else ():
            if one.name == endpoint and one.pool.on_connect_failed is not None:
                one.pool.on_connect_failed()

    async def stop(self) -> None:
        for watch in (*self._watches.values(), *self._coming.values()):
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


def _fixed(setting: schema.Cluster) -> Members:
    return tuple(Member.of(endpoint) for endpoint in setting.endpoints)


def _nobody_asked(cluster: Cluster, endpoint: Endpoint) -> None:
    raise AssertionError("nothing is attached")
