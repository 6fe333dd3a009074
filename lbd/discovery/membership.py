"""Membership: the endpoints of one cluster, changed as its source says. All changes are differences.

Who is known (by name, or address without one) stays the same Endpoint, with its connections, health and
numbers; who is gone finishes what it has. Invariant: endpoints from the settings are always members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from lbd.config.units import split_address
from lbd.discovery.member import Member, Members
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.observe.log import Log

MOST_NAMED = 20  # endpoints in one line of the log

Prompt = Callable[[], None]


class EndpointMaker(Protocol):
    """Builds endpoints of one cluster as its settings say."""

    @property
    def asks_for_host(self) -> bool:
        """Whether TLS asks for the host of the address: with another host it is another endpoint."""
        ...

    def make(self, member: Member, address: str | None) -> Endpoint:
        """`address`: the IP literal when it is known."""
        ...

    def adjust(self, endpoint: Endpoint, member: Member) -> None:
        """Make one that exists as `make` would now, its address apart."""
        ...


class Addresses(Protocol):
    """What is asked of Names."""

    def address_of(self, address: str) -> str | None: ...
    def follow(self, endpoint: Endpoint, cluster: Cluster) -> Prompt | None: ...
    def unfollow(self, endpoint: Endpoint) -> None: ...


class Keeps(Protocol):
    """What is asked of Retired."""

    def add(self, cluster: str, endpoints: Iterable[Endpoint]) -> None: ...
    def sweep(self) -> None: ...


class Membership:
    """Of one cluster: `fixed` are the members that the settings name. `on_added` is called for each endpoint
    that joins, before it can be picked."""

    def __init__(
        self,
        cluster: Cluster,
        maker: EndpointMaker,
        fixed: Members,
        names: Addresses,
        retired: Keeps,
        log: Log,
        *,
        prompt: Prompt | None,
        on_added: Callable[[Cluster, Endpoint], None],
    ) -> None:
        """The cluster has endpoints for the fixed ones, and no others."""
        self.cluster = cluster
        self.found: dict[str, Endpoint] = {}
        self._fixed = fixed
        self._members: Members = ()  # those that were found
        self._endpoints = {endpoint.name: endpoint for endpoint in cluster.endpoints}
        self._settled: Members = fixed
        self.maker = maker
        self._names = names
        self._retired = retired
        self._log = log
        self._prompt = prompt
        self._on_added = on_added
        for endpoint in cluster.endpoints:
            self._join(endpoint, None)

    def __repr__(self) -> str:
        return f"<Membership {self.cluster.name} fixed={len(self._fixed)} found={len(self.found)}>"

    def apply(self, members: Members) -> bool:
        """These are the members now, beside the fixed ones; whether that changed anything."""
        self._members = members
        return self._settle()

    def reconfigure(
        self, maker: EndpointMaker, fixed: Members, found: Members | None, *, prompt: Prompt | None
    ) -> bool:
        """Other settings; whether members have changed. found: beside the fixed ones; None: not known yet."""
        self.maker = maker
        self._fixed = fixed
        self._prompt = prompt
        if found is not None:
            self._members = found
        return self._settle(anew=True)

    def told(self) -> tuple[tuple[Member, str | None], ...]:
        """All members, fixed or found, with their addresses as far as they are known: for other processes."""
        return tuple((member, self._names.address_of(member.address)) for member in self._settled)

    def leave(self) -> None:
        """The cluster has gone."""
        endpoints = list(self.cluster.endpoints)
        for endpoint in endpoints:
            self._part(endpoint)
        self.cluster.set_endpoints([])
        self._retired.add(self.cluster.name, endpoints)

    def _settle(self, *, anew: bool = False) -> bool:
        """anew: what every endpoint is like has to be looked at."""
        taken: set[str] = set()
        settled = list(self._fixed)
        wanted: dict[str, Endpoint] = {}
        changed: list[Endpoint] = []
        for member in self._fixed:  # two of them may have the same address
            self._want(member, wanted, changed, anew)
        for identity, endpoint in wanted.items():
            taken |= {identity, endpoint.address}
        names = set(wanted)
        for member in self._members:
            if member.identity not in taken and member.address not in taken:
                taken |= {member.identity, member.address}
                settled.append(member)
                self._want(member, wanted, changed, anew)
        self._settled = tuple(settled)
        self.found = {name: endpoint for name, endpoint in wanted.items() if name not in names}
        return self._replace(wanted, changed, anew)

    def _want(
        self, member: Member, wanted: dict[str, Endpoint], changed: list[Endpoint], anew: bool
    ) -> None:
        endpoint = self._endpoints.get(member.identity)
        if endpoint is None or self._must_be_new(endpoint, member):
            endpoint = self._make(member)
            if endpoint is None:
                return
        elif self._update(endpoint, member, anew):
            changed.append(endpoint)
        wanted[member.identity] = endpoint

    def _replace(self, wanted: dict[str, Endpoint], changed: list[Endpoint], anew: bool) -> bool:
        before, now = set(self._endpoints.values()), set(wanted.values())
        added = [endpoint for endpoint in wanted.values() if endpoint not in before]
        removed = [endpoint for endpoint in self._endpoints.values() if endpoint not in now]
        # name servers rotate their answers: another order counts only where people have written it
        reordered = anew and list(self._endpoints) != list(wanted)
        self._endpoints = wanted
        if not (added or removed or changed or reordered):
            return False
        for endpoint in added:
            self._join(endpoint, self._prompt if endpoint.name in self.found else None)
            self._on_added(self.cluster, endpoint)
        for endpoint in removed:
            self._part(endpoint)
        self.cluster.set_endpoints(wanted.values())
        self._retired.add(self.cluster.name, removed)
        self._retired.sweep()
        self._say(added, removed, changed)
        return True

    def _part(self, endpoint: Endpoint) -> None:
        endpoint.pool.on_connect_failed = None
        self._names.unfollow(endpoint)

    def _make(self, member: Member) -> Endpoint | None:
        try:
            return self.maker.make(member, self._names.address_of(member.address))
        except (MemoryError, ValueError) as error:
            self._log.error(f"cluster {self.cluster.name}: {member.identity} is left out: {error}")
            return None

    def _join(self, endpoint: Endpoint, prompt: Prompt | None) -> None:
        """Keep its address up to date, and ask again when connecting to it fails."""
        prompts = [one for one in (self._names.follow(endpoint, self.cluster), prompt) if one is not None]
        if len(prompts) == 2:
            endpoint.pool.on_connect_failed = lambda: _call(prompts)
        else:
            endpoint.pool.on_connect_failed = prompts[0] if prompts else None

    def _must_be_new(self, endpoint: Endpoint, member: Member) -> bool:
        host, _ = split_address(endpoint.address)
        return self.maker.asks_for_host and split_address(member.address)[0] != host

    def _update(self, endpoint: Endpoint, member: Member, anew: bool) -> bool:
        """Take over what is different; whether anything of the member is."""
        settings = (endpoint.address, endpoint.configured_weight, endpoint.priority, endpoint.labels)
        differs = settings != (member.address, member.weight, member.priority, dict(member.labels))
        if not differs and not anew:
            return False
        moved = endpoint.address != member.address
        if moved:
            self._names.unfollow(endpoint)
        self.maker.adjust(endpoint, member)
        if moved:
            address = self._names.address_of(member.address)
            if address is not None:
                endpoint.resolve(address, split_address(member.address)[1])
            self._join(endpoint, self._prompt)
        return differs

    def _say(self, added: list[Endpoint], removed: list[Endpoint], changed: list[Endpoint]) -> None:
        signed = [f"+{endpoint.name}" for endpoint in added]
        signed += [f"-{endpoint.name}" for endpoint in removed]
        signed += [f"~{endpoint.name}" for endpoint in changed]
        more = f" and {len(signed) - MOST_NAMED} more" if len(signed) > MOST_NAMED else ""
        self._log.info(f"cluster {self.cluster.name}: {' '.join(signed[:MOST_NAMED])}{more}")


def _call(prompts: Iterable[Prompt]) -> None:
    for prompt in prompts:
        prompt()
