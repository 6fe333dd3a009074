"""Progress on the terminal: a bar on a tty, plain lines elsewhere. Goes to stderr; stdout holds the table."""

from __future__ import annotations

import sys
import time

WIDTH = 24


class Progress:
    """Counts steps of known total; `step` is called when a step begins."""

    def __init__(self, total: int) -> None:
        self._total = max(total, 1)
        self._done = -1
        self._tty = sys.stderr.isatty()
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        self._done += 1
        elapsed = time.monotonic() - self._started
        left = elapsed / self._done * (self._total - self._done) if self._done else 0.0
        rest = f", about {left:.0f} s left" if self._done else ""
        if self._tty:
            filled = WIDTH * self._done // self._total
            bar = "#" * filled + "." * (WIDTH - filled)
            self._write(f"\r\x1b[K[{bar}] {self._done}/{self._total} {text}{rest}")
        else:
            self._write(f"[{self._done + 1}/{self._total}] {text}\n")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._write(f"\r\x1b[K{text}\n" if self._tty else f"{text}\n")

    def close(self) -> None:
        if self._tty:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
