"""SrvSource (`discover: {srv: _http._tcp.app.internal}`): endpoints from SRV records (RFC 2782).

The target of a record is an endpoint by host name, whose address is resolved like that of any other.
"""

from __future__ import annotations

from lbd.config.discovery import Discover
from lbd.config.units import parse_endpoint_address, shorten
from lbd.discovery.answer import Service
from lbd.discovery.host import unresolved
from lbd.discovery.member import Member, Members, bounded
from lbd.discovery.source import Means
from lbd.discovery.watch import Outcome


class SrvSource:
    """An empty answer changes nothing, and neither does the target `.` (there is no such service)."""

    def __init__(self, setting: Discover, means: Means) -> None:
        assert setting.srv is not None
        self.title = f"srv {setting.srv}"
        self._name = setting.srv
        self._labels = setting.labels
        self._resolver = means.resolver()
        self._pace = means.pace()

    async def look(self) -> Outcome[Members]:
        answer = await self._resolver.services(self._name)
        if answer.failure is not None:
            return unresolved(self._pace.failed(), answer.failure)
        found: dict[str, Member] = {}
        bad: str | None = None
        for service in sorted(answer.values, key=lambda one: (one.priority, one.target, one.port)):
            if service.target in (".", ""):
                continue
            try:
                member = self._member(service)
            except ValueError as error:
                bad = f"a record is left out: {error}"
                continue
            found.setdefault(member.address, member)
        if not found:
            return unresolved(self._pace.empty(), bad or answer.reason)
        members, too_many = bounded(tuple(found.values()))
        problem = bad or too_many
        return Outcome(members, self._pace.answered(answer.ttl), problem, failed=problem is not None)

    def _member(self, service: Service) -> Member:
        """ValueError for what is no address. Weight 0 means a small chance (RFC 2782), so it is 1."""
        host = service.target.rstrip(".")
        if not service.port:
            raise ValueError(f"{shorten(host)} has port 0")
        address = parse_endpoint_address(
            f"[{host}]:{service.port}" if ":" in host else f"{host}:{service.port}"
        )
        return Member(address, max(1, service.weight), service.priority, self._labels)
