"""lbd's own log: one line per event on stderr, `TIME LEVEL message`.

Control bytes are escaped, so that nothing a peer sent can forge a line; a stuck or closed stderr must not
stop the daemon or make it wait, so lines that cannot be written at once are counted and dropped.
"""

from __future__ import annotations

import select
import sys
import time
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
LONGEST = 3000  # characters of a message; a line stays below PIPE_BUF bytes, mostly
LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """`level` is the least important kind that is written."""

    def __init__(self, level: str = "info") -> None:
        self.least = LEVELS[level]
        self.lost = 0

    def __repr__(self) -> str:
        return f"<Log least={self.least} lost={self.lost}>"

    def shows(self, level: Level) -> bool:
        """Whether such lines are written: for those that cost something to make."""
        return LEVELS[level] >= self.least

    def debug(self, message: str) -> None:
        self._write("debug", message)

    def info(self, message: str) -> None:
        self._write("info", message)

    def warning(self, message: str) -> None:
        self._write("warning", message)

    def error(self, message: str) -> None:
        self._write("error", message)

    def _write(self, level: Level, message: str) -> None:
        if LEVELS[level] < self.least:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        line = f"{stamp}.{int(now * 1000) % 1000:03d}Z {level.upper()} {text[:LONGEST]}\n"
        if sys.stderr is None or not _takes_a_line():
            self.lost += 1
            return
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except (OSError, ValueError):
            self.lost += 1


def _takes_a_line() -> bool:
    """Can stderr be written to without waiting? A pipe that polls as writable has room for PIPE_BUF bytes."""
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError):  # replaced by something without a descriptor
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))
