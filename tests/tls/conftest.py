"""One world of certificates per module, and lbd before an echo endpoint, with TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from tls.fixtures import echo, world
from tls.speaking import SECURE, Served, World

__all__ = ["echo", "secure", "world"]


@pytest.fixture(scope="module")
def secure(world: World, echo: EchoOrigin) -> Iterator[Served]:
    with Served(SECURE, site=world.pair("site"), origin=echo) as lbd:
        yield lbd
