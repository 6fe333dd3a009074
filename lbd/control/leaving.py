"""Listeners that a reload has removed, until their last connection has ended."""

from __future__ import annotations

import asyncio

from lbd.control.draining import Deadlines, drain
from lbd.engine.listener import Listener
from lbd.observe.log import Log


class Leaving:
    """Each drains on its own, for as long as the configuration that removed it says."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.listeners: dict[Listener, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Leaving {[listener.name for listener in self.listeners]}>"

    def add(self, listener: Listener, deadlines: Deadlines) -> None:
        """Close what is idle, let exchanges finish, cut what is left then."""
        self.listeners[listener] = asyncio.create_task(self._drain(listener, deadlines))

    async def _drain(self, listener: Listener, deadlines: Deadlines) -> None:
        cut = await drain([listener], deadlines, is_succeeded=True)
        if cut:
            self._log.warning(f"listener {listener.name}: gone, and its last {cut} connections are cut")
        else:
            self._log.info(f"listener {listener.name}: its last connection has ended")
        del self.listeners[listener]

    def stop(self) -> None:
        for task in self.listeners.values():
            task.cancel()
