"""lbd's own log: one line per event on stderr, `TIME LEVEL message` or a JSON object.

Control bytes are escaped, so that nothing a peer sent can forge a line; a stuck or closed stderr must not
stop the daemon or make it wait, so lines that cannot be written at once are counted and dropped. The last
lines are kept for whoever looks at lbd over the admin API.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
LONGEST = 3000  # characters of a message
MASK = "***"
SHORTEST_SECRET = 8  # shorter ones would mask parts of words
LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
KEPT = 500  # of the last lines
LEAST_KEPT = LEVELS["info"]  # whatever is written to stderr: who looks later wants to know what happened


class Event(NamedTuple):
    """A line that is kept. time: Unix time; text: without secrets and control characters."""

    number: int
    time: float
    level: Level
    text: str


class Log:
    """`level` is the least important kind that is written; `secrets` are masked wherever they turn up."""

    def __init__(self, level: str = "info", form: Format = "text", secrets: Iterable[str] = ()) -> None:
        self.least = LEVELS[level]
        self.form = form
        self.lost = 0
        self.last = 0  # number of the last event
        self.on_kept: Callable[[float, Level, str], None] | None = None  # by any thread
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()  # writers of access logs and exporters have threads
        self.hide(secrets)

    def __repr__(self) -> str:
        return f"<Log least={self.least} lost={self.lost}>"

    @property
    def level(self) -> str:
        """The least important kind that is written."""
        return next(name for name, rank in LEVELS.items() if rank == self.least)

    def set_level(self, level: str) -> str:
        """From now on this is the least important kind; what it was before. KeyError for one that is none."""
        before, self.least = self.level, LEVELS[level]
        return before

    def hide(self, secrets: Iterable[str]) -> None:
        """Mask these from now on, in place of others."""
        long_ones = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        self._secrets = sorted(long_ones, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """The text without what must not be seen."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

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

    def events(self, after: int = 0) -> list[Event]:
        """The last lines of level info and above with a higher number than this, the oldest first."""
        with self._lock:
            return [event for event in self._kept if event.number > after]

    def keep(self, when: float, level: Level, text: str) -> None:
        """Among the events, as it is: what another process has logged. when: Unix time."""
        with self._lock:
            self.last += 1
            self._kept.append(Event(self.last, when, level, text))

    def _write(self, level: Level, message: str) -> None:
        is_written, is_kept = LEVELS[level] >= self.least, LEVELS[level] >= LEAST_KEPT
        if not is_written and not is_kept:
            return
        now = time.time()
        message = self.masked(message)
        text = _one_line(message)
        if is_kept:
            self.keep(now, level, text)
            if self.on_kept is not None:
                self.on_kept(now, level, text)
        if is_written:
            self._put(now, level, message, text)

    def _put(self, now: float, level: Level, message: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp += f".{int(now * 1000) % 1000:03d}Z"
        said = message[:LONGEST] if self.form == "json" else text
        while len(line := self._line(stamp, level, said)) > select.PIPE_BUF:
            said = said[: len(said) * select.PIPE_BUF // len(line) - 1]
        try:
            if not _written(line):
                self.lost += 1
        except (OSError, ValueError):
            self.lost += 1

    def _line(self, stamp: str, level: Level, said: str) -> bytes:
        if self.form == "json":
            line = json.dumps({"time": stamp, "level": level, "message": said})
        else:
            line = f"{stamp} {level.upper()} {said}"
        return line.encode(errors="backslashreplace") + b"\n"


def trace_of(error: BaseException) -> str:
    """Where it came from, on one line."""
    return "".join(traceback.format_exception(error)).strip().replace("\n", " | ")


def _one_line(message: str) -> str:
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return "".join(escaped)[:LONGEST]


def _written(line: bytes) -> bool:
    """False when stderr does not take it, or not all of it, without waiting. Past Python's buffer: what that
    could not write it would try to write at the end, and make a failure of it. OSError, ValueError."""
    if sys.stderr is None:
        return False
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError):  # replaced by something without a descriptor
        sys.stderr.write(line.decode())
        sys.stderr.flush()
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    # a pipe that polls as writable has room for PIPE_BUF bytes; a line is no longer than that
    if not any(events & select.POLLOUT for _, events in poll.poll(0)):
        return False
    return os.write(descriptor, line) == len(line)
