"""Listeners that a reload has removed, until their last connection has ended."""

from __future__ import annotations

import asyncio

from lbd.engine.listener import Listener
from lbd.observe.log import Log

LOOK_SECONDS = 0.1


class Leaving:
    """Each drains on its own, for as long as the configuration that removed it says."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.listeners: dict[Listener, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Leaving {[listener.name for listener in self.listeners]}>"

    def add(self, listener: Listener, seconds: float) -> None:
        """Close what is idle, let exchanges finish, cut what is left after `seconds`."""
        listener.start_drain()
        self.listeners[listener] = asyncio.create_task(self._drain(listener, seconds))

    async def _drain(self, listener: Listener, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while listener.open_connections and loop.time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        cut = listener.cut()
        if cut:
            self._log.warning(f"listener {listener.name}: gone for {seconds:g} s: {cut} connections cut")
        else:
            self._log.info(f"listener {listener.name}: its last connection has ended")
        del self.listeners[listener]

    def stop(self) -> None:
        for task in self.listeners.values():
            task.cancel()
