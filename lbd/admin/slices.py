"""Slices: long texts, made and sent a little at a time, so that the loop serves clients in between.

All who ask share one turn: between two slices, of whoever they are, the loop goes round once. A client that
reads slowly holds two chunks, and what its socket has taken; nothing more is made for it until it has read
them, and nothing at all once it has gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

SLICE_SECONDS = 0.001
CHUNK_BYTES = 64 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Slices:
    """Of one admin listener. clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()

    async def take(self, pieces: Iterator[bytes]) -> bytes:
        """The next CHUNK_BYTES or a little more of a text; less at its end, then nothing."""
        chunk = bytearray()
        ended = False
        while not ended and len(chunk) < CHUNK_BYTES:
            async with self._turn:
                ended = self._slice(pieces, chunk)
                await asyncio.sleep(0)  # within the turn: whoever's slice is next, it comes after clients
        return bytes(chunk)

    def _slice(self, pieces: Iterator[bytes], chunk: bytearray) -> bool:
        """Add what is made in about SLICE_SECONDS; whether that was all."""
        pause = self._clock() + SLICE_SECONDS
        for piece in pieces:
            chunk += piece
            if len(chunk) >= CHUNK_BYTES or self._clock() >= pause:
                return False
        return True


async def send_sliced(
    start: Message, slices: Slices, pieces: Iterator[bytes], receive: Receive, send: Send
) -> None:
    """An ASGI response. start: its first message; the length is added when all is in the first chunk."""
    chunk = await slices.take(pieces)
    following = await slices.take(pieces) if chunk else b""
    if not following:
        start["headers"] = [*start["headers"], (b"Content-Length", str(len(chunk)).encode())]
    await send(start)
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        while chunk and not gone.done():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk, following = following, await slices.take(pieces) if following else b""
    finally:
        gone.cancel()
    if not chunk:
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    """What the client still sends is read past."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def in_slices(steps: Iterator[None]) -> float:
    """All of a reading, with the loop serving others in between; the seconds of CPU time that it took."""
    cost = 0.0
    began = time.thread_time()
    for _ in steps:
        took = time.thread_time() - began
        if took >= SLICE_SECONDS:
            cost += took
            await asyncio.sleep(0)
            began = time.thread_time()
    return cost + time.thread_time() - began
