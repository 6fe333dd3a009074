"""One world of certificates per module, and lbd before an echo endpoint, with TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from tls.speaking import SECURE, Served, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """With the certificate "site" for a.test."""
    world = World(tmp_path_factory.mktemp("world"))
    world.add("site", "a.test")
    return world


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin
    assert origin.malformed == []


@pytest.fixture(scope="module")
def secure(world: World, echo: EchoOrigin) -> Iterator[Served]:
    with Served(SECURE, site=world.pair("site"), origin=echo) as lbd:
        yield lbd
