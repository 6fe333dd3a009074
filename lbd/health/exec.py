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
REST_SECONDS = 0.5  # for what a program that has ended wrote last
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


Process = asyncio.subprocess.Process


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
                process = await _start(command, environment)
            except OSError as error:
                check.report(False, f"{command[0]}: {error.strerror}")
                return
            try:
                said, status = await _wait(process)
            finally:
                if process.returncode is None:
                    _kill(process)
                    await process.wait()
            check.report(status == 0, None if status == 0 else said or f"{command[0]} ended with {status}")


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Begin. When this is cancelled half-way, the program and its children are killed as well."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", PATH), **environment},
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_kill_started)
        raise


def _kill_started(starting: asyncio.Future[Process]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        _kill(starting.result())


def _kill(process: Process) -> None:
    """With all its children, those included that it has left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _wait(process: Process) -> tuple[str, int]:
    """The first line it wrote, and how it ended. What it writes beyond is read and forgotten."""
    assert process.stdout is not None and process.stderr is not None
    out, error = bytearray(), bytearray()
    reading = [
        asyncio.create_task(_read(process.stdout, out)),
        asyncio.create_task(_read(process.stderr, error)),
    ]
    try:
        status = await process.wait()
        _kill(process)  # what it left in the background would keep the pipes open
        await asyncio.wait(reading, timeout=REST_SECONDS)
    finally:
        for task in reading:
            task.cancel()
    lines = (error.strip() or out.strip()).decode("utf-8", "replace").splitlines()
    line = "".join(c if c.isprintable() else " " for c in lines[0]) if lines else ""
    return line[:REASON_LENGTH], status


async def _read(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while data := await stream.read(READ_BYTES):
        kept += data[: READ_BYTES - len(kept)]
