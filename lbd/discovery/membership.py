"""Membership: the endpoints of one cluster, changed as its source says. All changes are differences.

Who is known (by name, or address without one) stays the same Endpoint, with its connections, health and
numbers; who is gone finishes what it has. Invariant: endpoints from the settings are always members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from lbd.config.units import split_address
from lbd.discovery.member import Member, Members
from lbd.discovery.names import Names
from lbd.discovery.retired import Retired
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


class Membership:
    """Of one cluster. `on_added` is called for each endpoint that joins, before it can be picked."""

    def __init__(
        self,
        cluster: Cluster,
        maker: EndpointMaker,
        names: Names,
        retired: Retired,
        log: Log,
        *,
        prompt: Prompt | None,
        on_added: Callable[[Cluster, Endpoint], None],
    ) -> None:
        self.cluster = cluster
        self.fixed = tuple(cluster.endpoints)
        self.found: dict[str, Endpoint] = {}
        self._maker = maker
        self._names = names
        self._retired = retired
        self._log = log
        self._prompt = prompt
        self._on_added = on_added
        for endpoint in self.fixed:
            self._join(endpoint, None)

    def __repr__(self) -> str:
        return f"<Membership {self.cluster.name} fixed={len(self.fixed)} found={len(self.found)}>"

    def apply(self, members: Members) -> bool:
        """These are the members now, beside the fixed ones; whether that changed anything."""
        taken = {endpoint.name for endpoint in self.fixed} | {endpoint.address for endpoint in self.fixed}
        wanted: dict[str, Endpoint] = {}
        changed = []
        for member in members:
            if member.identity in taken or member.address in taken:
                continue
            taken |= {member.identity, member.address}
            endpoint = self.found.get(member.identity)
            if endpoint is None or self._must_be_new(endpoint, member):
                made = self._make(member)
                if made is None:
                    continue
                wanted[member.identity] = made
            else:
                if self._update(endpoint, member):
                    changed.append(endpoint)
                wanted[member.identity] = endpoint
        return self._replace(wanted, changed)

    def _replace(self, wanted: dict[str, Endpoint], changed: list[Endpoint]) -> bool:
        before, now = set(self.found.values()), set(wanted.values())
        added = [endpoint for endpoint in wanted.values() if endpoint not in before]
        removed = [endpoint for endpoint in self.found.values() if endpoint not in now]
        self.found = wanted
        if not added and not removed and not changed:
            return False
        for endpoint in added:
            self._join(endpoint, self._prompt)
            self._on_added(self.cluster, endpoint)
        for endpoint in removed:
            endpoint.pool.on_connect_failed = None
            self._names.unfollow(endpoint)
        self.cluster.set_endpoints([*self.fixed, *wanted.values()])
        self._retired.add(self.cluster.name, removed)
        self._retired.sweep()
        self._say(added, removed, changed)
        return True

    def _make(self, member: Member) -> Endpoint | None:
        try:
            return self._maker.make(member, self._names.address_of(member.address))
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
        return self._maker.asks_for_host and split_address(member.address)[0] != host

    def _update(self, endpoint: Endpoint, member: Member) -> bool:
        """Take over what is different; whether anything is."""
        labels = dict(member.labels)
        settings = (endpoint.address, endpoint.configured_weight, endpoint.priority, endpoint.labels)
        if settings == (member.address, member.weight, member.priority, labels):
            return False
        moved = endpoint.address != member.address
        if moved:
            self._names.unfollow(endpoint)
        endpoint.reconfigure(
            weight=member.weight, priority=member.priority, labels=labels, address=member.address
        )
        if moved:
            address = self._names.address_of(member.address)
            if address is not None:
                endpoint.resolve(address, split_address(member.address)[1])
            self._join(endpoint, self._prompt)
        return True

    def _say(self, added: list[Endpoint], removed: list[Endpoint], changed: list[Endpoint]) -> None:
        signed = [f"+{endpoint.name}" for endpoint in added]
        signed += [f"-{endpoint.name}" for endpoint in removed]
        signed += [f"~{endpoint.name}" for endpoint in changed]
        more = f" and {len(signed) - MOST_NAMED} more" if len(signed) > MOST_NAMED else ""
        self._log.info(f"cluster {self.cluster.name}: {' '.join(signed[:MOST_NAMED])}{more}")


def _call(prompts: Iterable[Prompt]) -> None:
    for prompt in prompts:
        prompt()
