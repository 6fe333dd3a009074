"""sd_notify(3) without libsystemd: one datagram to the socket named by the environment."""

from __future__ import annotations

import os
import socket


def notify(*assignments: str) -> bool:
    """Send READY=1, STOPPING=1, STATUS=... together; False when nobody listens or the socket is gone."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.connect(address)
            notifier.sendall("\n".join(assignments).encode())
    except OSError:
        return False
    return True
