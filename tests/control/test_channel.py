"""Channel: what has been said has left before the process that said it ends."""

from __future__ import annotations

import asyncio
import socket

from harness.waiting import TIMEOUT

from lbd.control.channel import Channel

LARGE = b"x" * (8 << 20)  # more than a socket keeps


def test_sent_waits_for_what_the_other_end_has_not_taken() -> None:
    async def talk() -> list[int]:
        ours, theirs = socket.socketpair()
        channel = Channel(ours, lambda *said: None, lambda: None)
        assert channel.sent.is_set()
        channel.send("large", LARGE)
        assert not channel.sent.is_set()
        came: list[int] = []
        other = Channel(theirs, lambda kind, content, descriptors: came.append(len(content)), lambda: None)
        await asyncio.wait_for(channel.sent.wait(), TIMEOUT)
        channel.close()
        while not other.closed:  # by the end of what was sent
            await asyncio.sleep(0)
        return came

    assert asyncio.run(asyncio.wait_for(talk(), TIMEOUT)) == [len(LARGE)]


def test_sent_does_not_wait_for_an_end_that_has_gone() -> None:
    async def talk() -> None:
        ours, theirs = socket.socketpair()
        channel = Channel(ours, lambda *said: None, lambda: None)
        channel.send("large", LARGE)
        theirs.close()
        await asyncio.wait_for(channel.sent.wait(), TIMEOUT)
        assert channel.closed

    asyncio.run(talk())
