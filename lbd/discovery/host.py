"""HostLookup: the addresses of one host name, both families, with what is known when one of them fails."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from lbd.discovery.answer import Answer
from lbd.discovery.pace import Pace
from lbd.discovery.watch import Outcome

if TYPE_CHECKING:
    from lbd.discovery.resolver import Resolver

FAMILIES = (socket.AF_INET, socket.AF_INET6)
# RFC 8305 3 waits 50 ms for the other family. Nobody waits here, but servers that never answer AAAA exist.
STRAGGLER_SECONDS = 0.5
LATE: Answer[str] = Answer(failure="no answer in time")


def unresolved(wait: float, reason: str) -> Outcome[Any]:
    """Of any question to name servers that has no good answer."""
    return Outcome(None, wait, "does not resolve", failed=True, detail=reason)


class HostLookup:
    """Remembers the last good addresses of each family: a failure of the one is no news of the other."""

    def __init__(self, host: str, resolver: Resolver, pace: Pace) -> None:
        self.host = host
        self._resolver = resolver
        self._pace = pace
        self._known: dict[int, tuple[str, ...]] = {}

    async def look(self) -> Outcome[tuple[str, ...]]:
        """All addresses, those of IPv4 first, each family sorted."""
        answers = await self._ask()
        failures = [answer.failure for answer in answers.values() if answer.failure is not None]
        good = [answer for answer in answers.values() if answer.values]
        if not good:
            if failures:
                return unresolved(self._pace.failed(), failures[0])
            reason = next(iter(answers.values())).reason
            return unresolved(self._pace.empty(), reason)
        # A family that fails but never had an address is most likely one that this network does not have.
        lost = [f for f, answer in answers.items() if answer.failure is not None and self._known.get(f)]
        self._known = {
            family: answer.values if answer.failure is None else self._known.get(family, ())
            for family, answer in answers.items()
        }
        found = tuple(address for family in FAMILIES for address in self._known[family])
        ttl = min(answer.ttl for answer in good)
        if lost:
            what = "IPv4" if lost[0] == socket.AF_INET else "IPv6"
            detail = f"{what}: {answers[lost[0]].failure}"
            wait = min(self._pace.kept(ttl), self._pace.failed())
            return Outcome(found, wait, "only resolves in part", failed=True, detail=detail)
        return Outcome(found, self._pace.answered(ttl))

    async def _ask(self) -> dict[socket.AddressFamily, Answer[str]]:
        """Both families at once; when one has addresses, the other has STRAGGLER_SECONDS more."""
        tasks = {
            family: asyncio.ensure_future(self._resolver.addresses(self.host, family)) for family in FAMILIES
        }
        try:
            done, left = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            if left:
                patience = STRAGGLER_SECONDS if any(task.result().values for task in done) else None
                await asyncio.wait(left, timeout=patience)
            return {family: task.result() if task.done() else LATE for family, task in tasks.items()}
        finally:
            for task in tasks.values():
                task.cancel()
