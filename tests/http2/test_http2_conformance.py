"""Each row of the HTTP/2 corpus against a running lbd.

Checked: what becomes of the stream and of the connection, that the endpoint sees nothing of what is
malformed, and that the next client is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin, Seen
from harness.lbd import Lbd
from http2.corpus import Row, authorities, blocks, connections, lengths, requests, streams
from http2.judge import Outcome, play
from http2.wire import H2Client

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
ROWS = connections.ROWS + streams.ROWS + blocks.ROWS + requests.ROWS + authorities.ROWS + lengths.ROWS


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    """It also judges late arrivals: what a later test would not be blamed for."""
    with EchoOrigin() as origin:
        yield origin
    assert hidden(origin.requests) == []
    assert origin.malformed == []


@pytest.fixture(scope="module")
def lbd(origin: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row: Row, lbd: Lbd, origin: EchoOrigin) -> None:
    before, malformed = len(origin.requests), len(origin.malformed)
    outcome = play(lbd.address(), row)
    with H2Client(lbd.address()).start() as other:
        assert other.ask(1, "/next").status == 200
    seen = origin.requests[before:]
    assert hidden(seen) == [] and origin.malformed[malformed:] == []
    if outcome != Outcome("status", 200):
        assert {item.target for item in seen} <= {"/setup", "/cut", "/probe", "/next"}


def hidden(seen: list[Seen]) -> list[str]:
    """Targets that no endpoint may ever see, by the convention of the corpus."""
    banned = ("/bad", "/smuggled")
    return [
        item.target for item in seen if item.target in banned or (item.target == "/cut" and item.complete)
    ]


def test_rows_have_names_of_their_own() -> None:
    names = [str(row) for row in ROWS]
    assert sorted(set(names)) == sorted(names)
