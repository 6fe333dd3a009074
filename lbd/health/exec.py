"""Checks by a program: it ends with 0 when the endpoint is well.

It runs in a process group of its own, without a shell, with a small environment, and is killed with all its
children when it is late. What it writes first (stderr, else stdout) is the reason in logs. No more than
`MOST_AT_ONCE` run at a time: further ones wait, within their own timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

MOST_AT_ONCE = 16
READ_BYTES = 4096
REASON_LENGTH = 200
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Reports(Protocol):
    """Who is told of the result: a Check."""

    def report(self, ok: bool, why: str | None) -> None: ...


class Runner:
    """Starts the programs of all checks of a worker."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def launcher(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> Callable[[Reports], Callable[[], object]]:
        """For ExternalCheck: launch(check) starts the program and answers what ends it early."""

        def launch(check: Reports) -> Callable[[], object]:
            task = asyncio.create_task(self._run(check, command, environment))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return task.cancel

        return launch

    async def _run(self, check: Reports, command: Sequence[str], environment: Mapping[str, str]) -> None:
        async with self._turns:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env={"PATH": os.environ.get("PATH", PATH), **environment},
                    start_new_session=True,
                )
            except OSError as error:
                check.report(False, f"{command[0]}: {error.strerror}")
                return
            try:
                said, status = await _wait(process)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            check.report(status == 0, None if status == 0 else said or f"{command[0]} ended with {status}")


async def _wait(process: asyncio.subprocess.Process) -> tuple[str, int]:
    """The first line it wrote, and how it ended. What it writes beyond is read and forgotten."""
    assert process.stdout is not None and process.stderr is not None
    out, error, status = await asyncio.gather(_read(process.stdout), _read(process.stderr), process.wait())
    lines = (error.strip() or out.strip()).splitlines()
    line = "".join(c if c.isprintable() else " " for c in lines[0]) if lines else ""
    return line[:REASON_LENGTH], status


async def _read(stream: asyncio.StreamReader) -> str:
    kept = b""
    while data := await stream.read(READ_BYTES):
        kept += data[: READ_BYTES - len(kept)]
    return kept.decode("utf-8", "replace")
