"""Running what may wait (files, an authority's answers) beside the loop.

Not asyncio.to_thread: its threads are joined when the loop closes and again when the process ends, so that
a dead network file system or a silent authority would delay the stop of the daemon. These are daemon
threads: what is still waiting at the end is abandoned.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """call(*args) in a thread of its own; its result or exception. Cancelling abandons the thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # cancelled meanwhile
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # T may itself be None

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call(*args, **kwargs)
        except BaseException as error:  # handed to whoever awaits
            failure = error
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(settle, result, failure)
            except RuntimeError:  # closed between the two lines: nobody awaits any more
                return

    threading.Thread(target=run, name=f"lbd-{getattr(call, '__name__', 'call')}", daemon=True).start()
    return await future
