"""Questions to worker processes: each is asked at once and answers by itself, or not in time.

Orders (fleet.py) are carried out one after the other; a question changes nothing and does not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from lbd.control.channel import Channel

ANSWER_SECONDS = 2.0


class Questions:
    """Those that are open. Numbers tell late answers from others."""

    def __init__(self) -> None:
        self._number = 0
        self._open: dict[int, tuple[Channel, asyncio.Future[Any]]] = {}

    def __repr__(self) -> str:
        return f"<Questions open={len(self._open)}>"

    async def ask(
        self, channels: Mapping[int, Channel], question: str, content: Any, seconds: float = ANSWER_SECONDS
    ) -> dict[int, Any]:
        """What workers answer, by index; None for one that does not in time, ends or fails."""
        asked = {index: self._put(channel, question, content) for index, channel in channels.items()}
        try:
            if asked:
                await asyncio.wait([future for _, future in asked.values()], timeout=seconds)
        finally:
            for number, _ in asked.values():
                self._open.pop(number, None)
        return {index: future.result() if future.done() else None for index, (_, future) in asked.items()}

    def _put(self, channel: Channel, question: str, content: Any) -> tuple[int, asyncio.Future[Any]]:
        self._number += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[self._number] = channel, future
        if channel.closed:
            future.set_result(None)
        channel.send("question", (self._number, question, content))
        return self._number, future

    def on_answer(self, number: int, content: Any) -> None:
        """A worker has said it; nobody waits for what comes too late."""
        _, future = self._open.get(number, (None, None))
        if future is not None and not future.done():
            future.set_result(content)

    def on_closed(self, channel: Channel) -> None:
        """That worker will answer no more."""
        for asked, future in self._open.values():
            if asked is channel and not future.done():
                future.set_result(None)
