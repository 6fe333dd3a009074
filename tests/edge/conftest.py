"""One world of certificates and one echo endpoint per module."""

from tls.fixtures import echo, world

__all__ = ["echo", "world"]
