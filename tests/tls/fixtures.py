"""Fixtures of the folders that speak TLS: one world of certificates and one echo endpoint per module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from tls.speaking import World


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
