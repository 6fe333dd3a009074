"""An echo endpoint and a plain lbd before it, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd

PLAIN = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(scope="module")
def plain(echo: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(PLAIN, origin=echo) as lbd:
        yield lbd
