"""Resolver: questions to the hosts file and to name servers, answered without blocking (c-ares, by aiodns).

Strategy: c-ares keeps answers for their whole TTL and cannot be told not to, while lbd asks again before that
when connecting fails. So a channel of c-ares takes questions for a moment only: those of one burst share it
(and the answer to the same question), later ones get a new channel, which has read resolv.conf and the hosts
file anew. It works in a thread of its own; what it calls back runs on the loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiodns
import pycares
import pycares.errno

from lbd.config import discovery
from lbd.discovery.answer import Answer, Service

CHANNEL_SECONDS = 0.05
MOST_AT_ONCE = 100  # questions in flight; the others wait their turn
NO_SORT = 1 << 7  # ARES_AI_NOSORT: sorting would open a socket per address
ERRORS = (aiodns.error.DNSError, pycares.AresError, OSError)  # the latter two: no descriptors, no memory
NOTHING = (pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND)


class Resolver:
    """Asks; remembers nothing. Must be used on one loop, and closed."""

    def __init__(self, setting: discovery.Resolver) -> None:
        self._setting = setting
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)
        self._current: _Channel | None = None

    async def addresses(self, host: str, family: socket.AddressFamily) -> Answer[str]:
        """The addresses of one family as IP literals, sorted; from the hosts file or an A or AAAA query."""
        try:
            async with self._channel() as channel:
                found = await channel.getaddrinfo(host, family=family, type=socket.SOCK_STREAM, flags=NO_SORT)
        except ERRORS as error:
            return _no_answer(error)
        literals = {str(node.addr[0], "ascii") for node in found.nodes}
        ttl = min([node.ttl for node in found.nodes] + [alias.ttl for alias in found.cnames], default=0)
        return Answer(tuple(sorted(filter(is_usable, literals))), ttl, reason="no usable address")

    async def services(self, name: str) -> Answer[Service]:
        """The SRV records of a name."""
        try:
            async with self._channel() as channel:
                found = await channel.query_dns(name, "SRV")
        except ERRORS as error:
            return _no_answer(error)
        data = [record.data for record in found.answer]
        values = [
            Service(one.priority, one.weight, one.port, one.target)
            for one in data
            if isinstance(one, pycares.SRVRecordData)
        ]
        ttl = min((record.ttl for record in found.answer), default=0)  # those of aliases as well
        return Answer(tuple(values), ttl, reason="no such records")

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[aiodns.DNSResolver]:
        async with self._turn:
            now = asyncio.get_running_loop().time()
            channel = self._current
            if channel is None or now - channel.made > CHANNEL_SECONDS:
                if channel is not None:
                    await channel.retire()
                channel = self._current = _Channel(self._setting, now)
            channel.asking += 1
            try:
                yield channel.dns
            finally:
                channel.asking -= 1
                await channel.close_if_unused()

    async def close(self) -> None:
        """Give up what is still being asked."""
        if self._current is not None:
            await self._current.dns.close()
            self._current = None


class _Channel:
    """A channel of c-ares with the number of questions that it is at."""

    def __init__(self, setting: discovery.Resolver, now: float) -> None:
        # Not `lookups`: pycares 5.2 hands c-ares a text that is freed before it is read. The hosts file comes
        # first by default, and where nsswitch.conf says so.
        options: dict[str, Any] = {"timeout": setting.timeout, "tries": setting.attempts}
        if setting.servers:
            options["nameservers"] = list(setting.servers)
        self.dns = aiodns.DNSResolver(loop=asyncio.get_running_loop(), **options)
        self.made = now
        self.asking = 0
        self.retired = False

    async def retire(self) -> None:
        self.retired = True
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        if self.retired and self.asking == 0:
            await self.dns.close()


def is_usable(literal: str) -> bool:
    """May an endpoint have this address? Not 0.0.0.0 (it is this host), multicast, or IPv6 link-local."""
    try:
        address = ipaddress.ip_address(literal)
    except ValueError:
        return False
    if address.is_unspecified or address.is_multicast:
        return False
    return not (address.version == 6 and address.is_link_local)


def _no_answer(error: Exception) -> Answer[Any]:
    code = error.args[0] if error.args else None
    if isinstance(error, aiodns.error.DNSError) and code in NOTHING:
        return Answer(reason="no such name" if code == pycares.errno.ARES_ENOTFOUND else "no such records")
    return Answer(failure=str(error.args[1] if len(error.args) > 1 else error))
