"""Long pages are made in slices: clients come in between, slow readers hold little, who left gets no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from admin.asking import ask, request
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head
from prometheus_client.parser import text_string_to_metric_families

from lbd.admin.slices import CHUNK_BYTES, SLICE_SECONDS, Slices, send_sliced

START = {"type": "http.response.start", "status": 200, "headers": []}
ROUTES = 1500
MEBIBYTE = 1 << 20


class Clock:
    """Each piece takes a quarter of a slice."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pieces(self, count: int, made: list[Any], mark: Any = None, size: int = 100) -> Iterator[bytes]:
        for _ in range(count):
            self.now += SLICE_SECONDS / 4
            made.append(mark)
            yield b"x" * size


async def nothing_more() -> dict[str, Any]:
    """What a client that waits for its answer sends."""
    await asyncio.Event().wait()
    raise AssertionError


def test_the_loop_goes_round_between_slices_of_whoever() -> None:
    clock, made = Clock(), list[Any]()

    async def rounds() -> None:
        while True:
            made.append("round")
            await asyncio.sleep(0)

    async def run() -> None:
        slices = Slices(clock)
        other = asyncio.create_task(rounds())
        await asyncio.gather(*(slices.take(clock.pieces(40, made, mark)) for mark in "abc"))
        other.cancel()

    asyncio.run(run())
    said = "".join(mark if mark != "round" else " " for mark in made).split()
    assert sum(map(len, said)) == 120
    assert all(len(run) <= 4 and len(set(run)) == 1 for run in said), said
    turns = "".join(run[0] for run in said)
    assert "abcabcabc" in turns  # nobody waits for the whole of another's


def test_chunks_are_bounded_and_nothing_is_lost() -> None:
    async def run() -> list[int]:
        slices, clock, sizes = Slices(), Clock(), list[int]()
        pieces = clock.pieces(300, [], size=1000)
        while chunk := await slices.take(pieces):
            sizes.append(len(chunk))
        return sizes

    sizes = asyncio.run(run())
    assert sum(sizes) == 300_000 and all(CHUNK_BYTES <= size < CHUNK_BYTES + 1000 for size in sizes[:-1])


def test_pieces_of_nothing_are_no_end() -> None:
    async def run() -> bytes:
        clock = Clock()
        return await Slices(clock).take(iter([*clock.pieces(50, [], size=0), b"end"]))

    assert asyncio.run(run()) == b"end"


@pytest.mark.parametrize(("count", "length"), [(0, b"0"), (3, b"300"), (2000, None)])
def test_length_is_told_of_short_ones(count: int, length: bytes | None) -> None:
    sent = list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    clock = Clock()
    asyncio.run(send_sliced(dict(START), Slices(clock), clock.pieces(count, []), nothing_more, send))
    assert dict(sent[0]["headers"]).get(b"Content-Length") == length
    assert b"".join(message["body"] for message in sent[1:]) == b"x" * 100 * count
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]


def test_who_has_gone_gets_no_more() -> None:
    made, clock = list[Any](), Clock()
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            left.set()

    async def run() -> None:
        await send_sliced(dict(START), Slices(clock), clock.pieces(1_000_000, made, size=1000), receive, send)

    asyncio.run(run())
    assert len(made) < 5 * CHUNK_BYTES // 1000


CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: [<routes> {cluster: app}]}
clusters:
  - {name: app, endpoints: [<origin>]}
"""


def test_slow_readers_hold_little_and_stop_nobody() -> None:
    """The text has some megabytes; twenty who do not read it would hold more than sixty."""
    routes = "".join(f"{{name: 'r{n}', match: {{path: /{n}}}, cluster: app}}, " for n in range(ROUTES))
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, routes=routes) as lbd:
        lbd.ask(get("/7", "Connection: close"))
        whole = ask(lbd, "GET", "/metrics").body
        assert len(whole) > 3 * MEBIBYTE
        before = lbd.rss()
        slow: list[Client] = [lbd.connect("admin") for _ in range(20)]
        for client in slow:
            client.send(request("GET", "/metrics"))
        for _ in range(5):
            assert lbd.ask(get("/8", "Connection: close")).status == 200
        page = ask(lbd, "GET", "/metrics")
        assert page.one("transfer-encoding") == "chunked"
        assert lbd.rss() - before < 30 * MEBIBYTE
        counted = re.findall(rb'^lbd_requests_total\{.*route="(r\d+)"\} (\S+)$', page.body, re.MULTILINE)
        assert counted == [(b"r7", b"1.0"), (b"r8", b"5.0")]
        named = re.findall(rb'^lbd_request_bytes_total\{.*route="r(\d+)"\} ', page.body, re.MULTILINE)
        assert sorted(map(int, named)) == list(range(ROUTES))
        late = slow[0].read_response()  # begun before the others, read to its end after them
        assert late.status == 200 and late.body.count(b"# TYPE ") == page.body.count(b"# TYPE ")
        for client in slow:
            client.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_long_page_for_old_and_new_clients(version: str) -> None:
    routes = "".join(f"{{name: 'r{n}', match: {{path: /{n}}}, cluster: app}}, " for n in range(100))
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, routes=routes) as lbd:
        asked = request("GET", "/metrics").replace(b"HTTP/1.1", f"HTTP/{version}".encode())
        page = lbd.ask(asked, "admin")
        assert page.status == 200 and len(page.body) > 2 * CHUNK_BYTES
        assert len(list(text_string_to_metric_families(page.body.decode()))) > 50


@pytest.mark.parametrize("path", ["/metrics", "/status", "/live"])
def test_head_says_no_other_length_than_get(path: str) -> None:
    """RFC 9110 section 8.6."""

    def asked(method: str) -> bytes:
        return head(f"{method} {path} HTTP/1.1", "Host: 127.0.0.1")

    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, routes="") as lbd, lbd.connect("admin") as client:
        page = client.ask(asked("GET"))
        bare = client.ask(asked("HEAD"))
        assert (bare.status, bare.body) == (page.status, b"")
        said, length = (dict(one.fields).get("content-length") for one in (bare, page))
        assert said in (None, length)
        assert client.ask(asked("GET")).status == page.status, "the connection goes on"
