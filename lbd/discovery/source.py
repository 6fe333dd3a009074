"""What a source of endpoints is, and what it may use. Sources are registered in lbd/registry.py.

A source is made with its setting (`discover`) and its means; `look()` is called again and again by a Watch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from lbd.config.schema import Config
from lbd.discovery.member import Members
from lbd.discovery.pace import Pace
from lbd.discovery.watch import Outcome

if TYPE_CHECKING:
    from lbd.discovery.resolver import Resolver

OffLoop = Callable[..., Awaitable[Any]]  # off_loop(call, *args): run what may block beside the loop


class Source(Protocol):
    """Finds the endpoints of a cluster."""

    title: str  # for the log: `dns app.internal:8080`

    async def look(self) -> Outcome[Members]:
        """Everything there is now, in an order that does not change by itself. It raises nothing."""
        ...


class Means:
    """The resolver and the settings that sources share. The resolver is made when it is first wanted."""

    def __init__(self, config: Config, off_loop: OffLoop) -> None:
        self.setting = config.resolver
        self.off_loop = off_loop
        self._resolver: Resolver | None = None

    def resolver(self) -> Resolver:
        if self._resolver is None:
            from lbd.discovery.resolver import (
                Resolver,
            )  # 2 MB that a configuration without names does not need

            self._resolver = Resolver(self.setting)
        return self._resolver

    def pace(self) -> Pace:
        return Pace(self.setting)

    async def close(self) -> None:
        if self._resolver is not None:
            await self._resolver.close()
