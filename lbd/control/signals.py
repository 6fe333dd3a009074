"""The signals that mean something to lbd."""

from __future__ import annotations

import signal

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
MEANT = (*STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def ignore_signals() -> None:
    """For processes beside the one that is meant: terminals and service managers send them to all. And at the
    end: the loop would leave them to the kernel, which makes a failure of it."""
    for number in MEANT:
        signal.signal(number, signal.SIG_IGN)
