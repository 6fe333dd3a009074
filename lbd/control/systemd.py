"""sd_notify(3) without libsystemd: one datagram to the socket named by the environment."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable


def notify(*assignments: str, patience: float = 0.5) -> bool:
    """Send READY=1, STOPPING=1, STATUS=... together; False when nobody listens, the socket is gone, or nobody
    has read what was sent before for so many seconds: the loop waits no longer than that."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.settimeout(patience)
            notifier.connect(address)
            notifier.sendall("\n".join(assignments).encode())
    except OSError:
        return False
    return True


async def feed_watchdog(is_alive: Callable[[], bool]) -> None:
    """Tell systemd twice in each WatchdogSec= that the loop runs, from that loop, as long as is_alive() (of
    the workers, say). Ends at once when there is no watchdog."""
    microseconds, owner = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if microseconds is None or (owner is not None and owner != str(os.getpid())):
        return
    while True:
        if is_alive():
            notify("WATCHDOG=1", patience=0.0)
        await asyncio.sleep(int(microseconds) / 2e6)
