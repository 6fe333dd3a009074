"""Many WebSockets that stay open and say something every second.

    python -m bench.operate.crowd PORT COUNT SECONDS     prints {"open": N, "cut": N, "echoes": N, "told": N}

cut: ended without a close frame, or an echo that was not what was sent; told: got a close frame (1001), as
clients do that are asked to come back elsewhere, and did so.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass

ASK = (
    "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSE = 8
ANSWER = b"\x88\x82\0\0\0\0\x03\xe9"


@dataclass
class Seen:
    """What has become of them."""

    open: int = 0
    cut: int = 0
    echoes: int = 0
    told: int = 0


class Told(Exception):
    """The other side goes away."""


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        payload = os.urandom(32)
        writer.write(b"\x82\xa0\0\0\0\0" + payload)
        head = await reader.readexactly(2)
        if head[0] & 15 == CLOSE:
            await reader.readexactly(head[1])
            writer.write(ANSWER)
            await writer.drain()
            raise Told
        if await reader.readexactly(head[1]) != payload:
            raise ConnectionError("another echo")
        seen.echoes += 1
        # what comes unasked is a close frame, or the end
        waiting = asyncio.ensure_future(reader.readexactly(1))
        done, _ = await asyncio.wait({waiting}, timeout=1.0)
        if done:
            waiting.result()
            await reader.readexactly(3)
            writer.write(ANSWER)
            await writer.drain()
            raise Told
        waiting.cancel()
        await asyncio.wait({waiting})


async def _one(port: int, until: float, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ASK.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in answer.split(b"\r\n")[0]:
                raise ConnectionError(answer.decode())
            await _say(reader, writer, until, seen)
            seen.open += 1
        except Told:
            seen.told += 1
        except (OSError, EOFError) as error:
            print(f"cut: {error!r}", file=sys.stderr)
            seen.cut += 1
            await asyncio.sleep(0.1)
        finally:
            if writer is not None:
                writer.close()


async def _all(port: int, count: int, seconds: float) -> Seen:
    seen, until = Seen(), asyncio.get_running_loop().time() + seconds
    async with asyncio.TaskGroup() as group:
        for turn in range(count):
            group.create_task(_one(port, until, seen))
            if turn % 50 == 49:
                await asyncio.sleep(0.05)
    return seen


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(_all(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))).__dict__))
