"""DnsSource (`discover: {dns: app.internal:8080}`): every address of a host name is an endpoint."""

from __future__ import annotations

from lbd.config.discovery import Discover
from lbd.config.units import join_address, split_address
from lbd.discovery.host import HostLookup
from lbd.discovery.member import Member, Members, bounded
from lbd.discovery.source import Means
from lbd.discovery.watch import Outcome


class DnsSource:
    """An empty answer changes nothing: it is far more often a mistake than the wish to serve nobody."""

    def __init__(self, setting: Discover, means: Means) -> None:
        assert setting.dns is not None
        self.title = f"dns {setting.dns}"
        self._labels = setting.labels
        self._host, self._port = split_address(setting.dns)
        self._lookup = HostLookup(self._host, means.resolver(), means.pace())

    async def look(self) -> Outcome[Members]:
        outcome = await self._lookup.look()
        if outcome.found is None:
            return Outcome(None, outcome.wait, outcome.problem, outcome.failed, outcome.detail)
        members, too_many = bounded(tuple(self._member(address) for address in outcome.found))
        failed = outcome.failed or too_many is not None
        return Outcome(members, outcome.wait, outcome.problem or too_many, failed, outcome.detail)

    def _member(self, address: str) -> Member:
        """Found by name, so TLS asks for the name: certificates seldom have addresses."""
        return Member(join_address(address, self._port), labels=self._labels, host=self._host)
