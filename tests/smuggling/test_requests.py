"""Each row of the corpus as raw bytes to a running lbd, with one more request behind it.

Checked: what the endpoint saw, what the client saw, and that the next client is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.client import Client, Response
from harness.http_origin import EchoOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from smuggling.corpus import REASONS, Row, chunks, fields, lengths, targets

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
MARKER = get("/smuggled")
ROWS = lengths.ROWS + chunks.ROWS + fields.ROWS + targets.ROWS


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(origin: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row: Row, lbd: Lbd, origin: EchoOrigin) -> None:
    before, malformed = len(origin.requests), len(origin.malformed)
    with lbd.connect() as client:
        client.send_while_accepted(row.raw + MARKER)
        response = client.read_response(method_of(row.raw))
        if row.expect == "refuse" or (row.expect == "either" and response.status != 200):
            assert_refused(row, response, client)
            assert [seen.target for seen in origin.requests[before:] if seen.complete] == []
        else:
            assert_accepted(row, response, origin.requests[before])
            after = client.read_response()
            assert (after.status, after.json()["target"]) == (200, "/smuggled")
            assert [seen.target for seen in origin.requests[before:]] == [row.target, "/smuggled"]
    assert origin.malformed[malformed:] == []
    assert lbd.ask(get("/next")).json()["target"] == "/next"


def test_bytes_after_a_refused_head_are_not_read_as_a_request(lbd: Lbd, origin: EchoOrigin) -> None:
    """The rest comes late, after the answer: still not a request."""
    before = len(origin.requests)
    with lbd.connect() as client:
        response = client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        client.send_while_accepted(MARKER)
        assert (response.status, client.read_until_close()) == (400, b"")
    assert origin.requests[before:] == []


def method_of(raw: bytes) -> str:
    return "HEAD" if raw.startswith(b"HEAD ") else "GET"


def assert_refused(row: Row, response: Response, client: Client) -> None:
    assert response.status in row.status, response
    assert response.complete
    if response.status in REASONS:
        assert response.reason == REASONS[response.status]
    assert client.read_until_close() == b"", "answered once, then closed"


def assert_accepted(row: Row, response: Response, seen: Seen) -> None:
    assert (response.status, response.complete) == (200, True), response
    assert seen.target == row.target
    if row.body is not None:
        assert seen.body == row.body
    names = {name for name, _ in (seen.trailers if row.hazard == 9 else seen.fields)}
    assert names.isdisjoint(row.absent), names & set(row.absent)
    for name, value in row.present:
        assert value in seen.all(name), f"{name}: {seen.all(name)}"
