"""The octets that reach an endpoint, seen from outside of any parser."""

from __future__ import annotations

from harness.origin import Origin


class Tap:
    """The octets that the endpoint gets from now on, all connections together."""

    def __init__(self, origin: Origin):
        self.origin = origin
        self.sizes = [len(item.received) for item in origin.connections]

    def octets(self) -> bytes:
        sizes = self.sizes + [0] * (len(self.origin.connections) - len(self.sizes))
        return b"".join(
            bytes(item.received[size:]) for item, size in zip(self.origin.connections, sizes, strict=True)
        )
