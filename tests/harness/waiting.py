"""Deadlines, and the one way to wait for a condition.

Strategy: no test sleeps for a fixed time; it waits for a socket, an event, or polls a condition here.
LBD_TEST_SLOW multiplies every deadline (sanitizer builds, loaded machines)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

SLOW = float(os.environ.get("LBD_TEST_SLOW", "1"))
TIMEOUT = 5.0 * SLOW  # upper bound of any single wait; never a lower bound of anything

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str = "", timeout: float = TIMEOUT) -> T:
    """Poll until the condition is truthy and return it; AssertionError after the deadline."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:.1f} s: {what or condition}; last value {value!r}")
        time.sleep(0.005)


def is_over(pid: int) -> bool:
    """Our children's children stay as zombies until somebody waits for them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True
