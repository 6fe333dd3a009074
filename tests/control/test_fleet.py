"""Orders to workers: what becomes known during a reload, and a worker that cannot be told what to serve."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from harness.waiting import TIMEOUT

from lbd.control.channel import Channel
from lbd.control.fleet import Fleet, WorkerProcess, WorkersFailed
from lbd.control.listening import HeldSockets
from lbd.control.orders import Told
from lbd.discovery.member import Member
from lbd.engine.shared import Shared
from lbd.observe.log import Log

OLD: Told = ((Member("one", "127.0.0.1:1"), "127.0.0.1"),)
NEW: Told = ((Member("two", "127.0.0.1:2"), "127.0.0.1"),)


class Staged:
    """A Fleet of one worker, which is a test: `said` is what it was told, `answer` what it says to that."""

    def __init__(self, begun: bool = True) -> None:
        log, shared = Log(), Shared(1)
        self.members: dict[str, Told] = {"app": OLD}
        self.said: list[tuple[str, Any]] = []
        self.answer: Callable[[str], object] = lambda kind: None
        self.fleet = Fleet(
            1, log, shared, HeldSockets(log, 1, lambda _: []), pins=False, told=self.told,
            recorder=lambda: None, on_event=print, on_connect_failed=print,
        )  # fmt: skip
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        channel = Channel(ours, lambda kind, content, _: self.worker.answers.put_nowait((kind, content)),
                          print)  # fmt: skip
        self.worker = WorkerProcess(0, self.process, channel, time.monotonic())
        self.fleet._processes[0] = self.worker
        self.end = Channel(theirs, self.on_message, lambda: None)
        if begun:
            self.worker.begun.set()

    def told(self) -> dict[str, Told]:
        return dict(self.members)

    def on_message(self, kind: str, content: Any, descriptors: list[int]) -> None:
        self.said.append((kind, content))
        self.answer(kind)

    def change(self) -> None:
        """Members and certificates are other ones."""
        self.members["app"] = NEW
        self.fleet.tell_members("app", lambda: NEW)
        self.fleet.tell_certificates("web", ["new"])

    async def heard(self, count: int) -> list[str]:
        """The kinds of messages, once there are so many."""
        async with asyncio.timeout(TIMEOUT):
            while len(self.said) < count:
                await asyncio.sleep(0)
        return [kind for kind, _ in self.said]


@asynccontextmanager
async def staged(begun: bool = True) -> AsyncIterator[Staged]:
    stage = Staged(begun)
    try:
        yield stage
    finally:
        stage.process.kill()
        stage.process.communicate()
        stage.end.close()
        stage.worker.channel.close()


def test_what_becomes_known_during_a_refused_reload_is_told_after_it() -> None:
    async def scenario() -> None:
        async with staged() as stage:

            def answer(kind: str) -> None:
                if kind == "prepare":
                    stage.change()
                    stage.end.send("failed", "no room")

            stage.answer = answer
            with pytest.raises(WorkersFailed, match="no room"):
                await stage.fleet.prepare(b"")
            assert await stage.heard(4) == ["prepare", "abort", "members", "certificates"]
            assert stage.said[2][1][:2] == ("app", NEW) and stage.said[3][1] == ("web", ["new"])
            stage.change()
            assert len(await stage.heard(6)) == 6, "at once again"

    asyncio.run(scenario())


def test_what_becomes_known_during_a_reload_is_told_with_or_after_it() -> None:
    async def scenario() -> None:
        async with staged() as stage:

            def answer(kind: str) -> None:
                if kind == "prepare":
                    stage.change()
                    stage.end.send("prepared")
                elif kind == "adopt":
                    stage.members["app"] = OLD
                    stage.fleet.tell_members("app", lambda: OLD)
                    stage.end.send("adopted", 3)

            stage.answer = answer
            await stage.fleet.prepare(b"")
            assert await stage.fleet.adopt(b"") == 3
            assert await stage.heard(3) == ["prepare", "adopt", "members"]
            orders = stage.said[1][1]
            assert orders.members == {"app": NEW} and orders.certificates == {"web": ["new"]}
            assert stage.said[2][1][:2] == ("app", OLD)

    asyncio.run(scenario())


def test_a_worker_that_cannot_be_told_what_to_serve_holds_up_no_reload() -> None:
    async def scenario() -> None:
        async with staged(begun=False) as stage:

            def fails() -> dict[str, Told]:
                raise OSError("no descriptors are left")

            stage.fleet._told = fails
            preparing = asyncio.create_task(stage.fleet.prepare(b""))
            await asyncio.sleep(0)
            with pytest.raises(OSError, match="no descriptors"):
                await stage.fleet._begin(stage.worker)
            stage.fleet._told = stage.told
            stage.answer = lambda kind: stage.end.send("prepared")
            await asyncio.wait_for(preparing, TIMEOUT)

    asyncio.run(scenario())
