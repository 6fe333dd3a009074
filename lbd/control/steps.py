"""Steps: long work of the control plane, done a little at a time, so that the loop serves clients in between.

A Steps is a generator that yields wherever it may pause, and returns its result. What shares the loop with
clients runs it with `unhurried`; what serves nobody yet, or never will, with `finish`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

SLICE_SECONDS = 0.001

T = TypeVar("T")
Steps = Generator[None, None, T]


def finish(steps: Steps[T]) -> T:
    """All of it at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def unhurried(steps: Steps[T], seconds: float = SLICE_SECONDS) -> T:
    """All of it, in slices of about so many seconds."""
    pause = time.perf_counter() + seconds
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if time.perf_counter() >= pause:
            await asyncio.sleep(0)
            pause = time.perf_counter() + seconds
