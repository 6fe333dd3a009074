"""Draining: what is open ends in its own time, each kind of connection within a deadline of its own."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from lbd.config import schema
from lbd.engine.listener import Listener

if TYPE_CHECKING:
    from lbd.engine.listener import Kind

POLL_SECONDS = 0.02
SPREAD = 0.5  # of their deadline, in which clients of WebSockets are told: they come back one by one
LONGEST_SPREAD = 60.0
TELL_SECONDS = 0.1
# with connections on which nothing is under way, but something may be on its way
PATIENCE = 1.0
SUCCEEDED_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for each kind; None is for ever."""

    request: float | None
    websocket: float | None
    tcp: float | None

    @classmethod
    def of(cls, config: schema.Config) -> Self:
        """As configured."""
        return cls(*config.drain_timeouts)

    @classmethod
    def none(cls) -> Self:
        """Whatever is under way ends by itself."""
        return cls(None, None, None)

    def in_order(self) -> deque[tuple[float, Kind]]:
        """Those that come, the first one first."""
        every: dict[Kind, float | None] = {
            "request": self.request, "websocket": self.websocket, "tcp": self.tcp,
        }  # fmt: skip
        return deque(sorted((seconds, kind) for kind, seconds in every.items() if seconds is not None))

    @property
    def longest(self) -> float | None:
        """After which nothing is left."""
        if self.request is None or self.websocket is None or self.tcp is None:
            return None
        return max(self.request, self.websocket, self.tcp)


async def drain(
    listeners: Collection[Listener], deadlines: Deadlines, *, is_succeeded: bool = False
) -> int:
    """Close what is idle, let exchanges finish, tell WebSockets to go; how many connections were cut.

    is_succeeded: somebody else serves new connections, so that there is time to close none on which a request
    is about to arrive: each ends with the answer to its next one.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    for listener in listeners:
        listener.start_drain()
        if not is_succeeded:
            listener.close_idle(fresh=False)
    patience = SUCCEEDED_PATIENCE if is_succeeded else PATIENCE
    if deadlines.request is not None:
        patience = min(patience, deadlines.request / 2)
    due = deadlines.in_order()
    spread = LONGEST_SPREAD
    if deadlines.websocket is not None:
        spread = min(SPREAD * deadlines.websocket, LONGEST_SPREAD)
    cut, told = 0, -TELL_SECONDS
    while _left(listeners):
        passed = loop.time() - began
        if passed - told >= TELL_SECONDS:
            told = passed
            _send_away(listeners, max(0.0, spread - passed))
        if passed >= patience:
            patience = math.inf
            for listener in listeners:
                listener.close_idle()
        while due and due[0][0] <= passed:
            _, kind = due.popleft()
            before = _left(listeners)
            for listener in listeners:
                listener.cut(kind)
            cut += before - _left(listeners)
        await asyncio.sleep(POLL_SECONDS)
    return cut


def _left(listeners: Collection[Listener]) -> int:
    return sum(listener.open_connections for listener in listeners)


def _send_away(listeners: Collection[Listener], seconds: float) -> None:
    """A share of the WebSockets, so that all are told in so many seconds."""
    turns = 1 + int(seconds / TELL_SECONDS)
    for listener in listeners:
        listener.send_away(math.ceil(listener.websockets / turns))
