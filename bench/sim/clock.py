"""Virtual time: a queue of things to do, each at its second; nothing waits."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Clock:
    """`now` is in seconds and begins at 1: to the engine 0 means "never"."""

    def __init__(self) -> None:
        self.now = 1.0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._turn = 0  # of equal times the one that was asked for first comes first

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call it then; what lies in the past happens next."""
        self._turn += 1
        heappush(self._queue, (max(when, self.now), self._turn, call, arguments))

    def run(self, until: float) -> None:
        """Do all that is due up to and including that second."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, call, arguments = heappop(self._queue)
            call(*arguments)
        self.now = until
