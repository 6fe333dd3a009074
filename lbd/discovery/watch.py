"""Watch: asks again and again, and says what has changed. The loop of everything that is discovered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lbd.observe.log import Log

PROMPTED_EVERY = 1.0  # seconds between two looks at least, however many ask for one
AFTER_DEFECT = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What one look has found. None found: what was known stays in force.

    `problem`: what is wrong, None when nothing is, and `detail` about it, whose changes alone are no news;
    `failed`: count it; `wait`: seconds to the next look.
    """

    found: T | None
    wait: float
    problem: str | None = None
    failed: bool = False
    detail: str = ""


class Watch(Generic[T]):
    """Calls `look` when it is time or when prompted, and `on_found` when what it finds is another thing."""

    def __init__(
        self,
        title: str,
        look: Callable[[], Awaitable[Outcome[T]]],
        on_found: Callable[[T], None],
        log: Log,
        *,
        on_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.title = title
        self.found: T | None = None
        self.problem: str | None = None
        self.looked = asyncio.Event()  # at least once
        self._look = look
        self._on_found = on_found
        self._on_failed = on_failed
        self._log = log
        self._prompted = asyncio.Event()
        self._last = 0.0
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Watch {self.title} found={self.found!r} problem={self.problem!r}>"

    def start(self) -> None:
        """Look at once, and go on from there."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"watch {self.title}")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def prompt(self) -> None:
        """Something suggests that what is known is out of date: look soon."""
        self._prompted.set()

    async def _run(self) -> None:
        while True:
            await self._pause(await self._step())

    async def _step(self) -> float:
        """One look; how long to wait for the next."""
        self._prompted.clear()
        self._last = asyncio.get_running_loop().time()
        try:
            outcome = await self._look()
            self._take(outcome)
        except Exception as error:  # a defect: it must not end the watch, nor pass unseen
            self._on_failed()
            self._log.error(f"{self.title}: internal error: {error!r}")
            return AFTER_DEFECT
        finally:
            self.looked.set()
        return outcome.wait

    def _take(self, outcome: Outcome[T]) -> None:
        if outcome.failed:
            self._on_failed()
        if outcome.found is not None and outcome.found != self.found:
            self.found = outcome.found
            self._on_found(outcome.found)
        if outcome.problem != self.problem:
            self.problem = outcome.problem
            if outcome.problem is None:
                self._log.info(f"{self.title}: good again")
                return
            then = "" if outcome.found is not None else "; the last good answer stays in force"
            then = "; there is no endpoint of it until then" if self.found is None else then
            why = f" ({outcome.detail})" if outcome.detail else ""
            self._log.warning(f"{self.title}: {outcome.problem}{why}{then}")

    async def _pause(self, seconds: float) -> None:
        """Until it is time, or somebody prompts; those who do wait for PROMPTED_EVERY, all together."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._prompted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, min(self._last + PROMPTED_EVERY, due) - loop.time()))
