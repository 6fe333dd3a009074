"""Long readings in slices, so that requests of clients do not wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

SLICE_SECONDS = 0.001


async def in_slices(steps: Iterator[None]) -> float:
    """All of it, with the loop serving others in between; the seconds of CPU time that it took."""
    cost = 0.0
    began = time.thread_time()
    for _ in steps:
        took = time.thread_time() - began
        if took >= SLICE_SECONDS:
            cost += took
            await asyncio.sleep(0)
            began = time.thread_time()
    return cost + time.thread_time() - began
