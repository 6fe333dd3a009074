"""Loading a configuration in a process of its own, so that the loop serves clients meanwhile.

Reading and checking ten thousand routes takes a second of CPU, and importing what does that a third of one.
So the process stays for a while after it was used: who changes one thing often changes another.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from pathlib import Path

from lbd.control.pieces import SIZE

PROGRAM = "lbd.control.load_process"
SECONDS = 60.0  # for one configuration
IDLE_SECONDS = 30.0
LIMIT = 1 << 20  # bytes that are read at a time


class LoadFailed(Exception):
    """The process that loads could not do its work; str() says why."""


class Loading:
    """One configuration at a time."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._ending: asyncio.TimerHandle | None = None

    async def load(self, path: Path) -> bytes:
        """The configuration of a file or directory, or what is wrong with it, for put_together. LoadFailed,
        OSError."""
        if self._ending is not None:
            self._ending.cancel()
        try:
            async with asyncio.timeout(SECONDS):
                pieces = await self._loaded(path)
        except TimeoutError:
            self._let_go()
            raise LoadFailed(f"loading {path} takes more than {SECONDS:g} s") from None
        except BaseException:
            self._let_go()
            raise
        self._ending = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._let_go)
        return pieces

    async def _loaded(self, path: Path) -> bytes:
        """By the process that is there, or by another one if that ends without a word."""
        process = self._process
        if process is not None and process.returncode is None:
            try:
                return await _asked(process, path)
            except LoadFailed:
                if self._process is not process:  # it was let go: lbd ends
                    raise
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LIMIT,
        )
        return await _asked(self._process, path)

    async def stop(self) -> None:
        """Let go of the process, whatever it does, and see it end."""
        process = self._let_go()
        if process is not None:
            await process.wait()

    def _let_go(self) -> Process | None:
        if self._ending is not None:
            self._ending.cancel()
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
        return process


async def _asked(process: Process, path: Path) -> bytes:
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    name = os.fsencode(path)
    process.stdin.write(SIZE.pack(len(name)) + name)
    try:
        (size,) = SIZE.unpack(await process.stdout.readexactly(SIZE.size))
        return await process.stdout.readexactly(size)
    except asyncio.IncompleteReadError:
        problem = (await process.stderr.read()).decode(errors="replace").strip().splitlines()[-1:]
        code = await process.wait()
        raise LoadFailed(f"loading {path} failed with {code}: {''.join(problem)}") from None
