"""The world of certificates, for TLS in log lines and spans."""

from __future__ import annotations

from tls.fixtures import echo, world

__all__ = ["echo", "world"]
