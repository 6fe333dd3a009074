"""The resolver against a real name server: families, failures, truncation, and what it does not remember."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pycares
import pytest
import uvloop
from discovery.name_server import NameServer

from lbd.config.discovery import Resolver as Setting
from lbd.discovery import resolver
from lbd.discovery.answer import Answer, Service
from lbd.discovery.resolver import Resolver, is_usable

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as made:
        yield made


def asking(server: object, call: Callable[[Resolver], Awaitable[Any]], **settings: Any) -> Any:
    async def run() -> Any:
        setting = Setting(**{"servers": [str(server)], "timeout": "200ms", "attempts": 1, **settings})
        made = Resolver(setting)
        try:
            return await call(made)
        finally:
            await made.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def addresses(server: object, host: str, family: socket.AddressFamily = V4, **settings: Any) -> Answer[str]:
    found: Answer[str] = asking(server, lambda made: made.addresses(host, family), **settings)
    return found


def test_addresses_of_each_family(names: NameServer) -> None:
    names.set("app.test", "10.0.0.2", "10.0.0.1", "2001:db8::1", ttl=7)
    assert addresses(names, "app.test") == Answer(("10.0.0.1", "10.0.0.2"), 7, reason="no usable address")
    assert addresses(names, "app.test", V6).values == ("2001:db8::1",)


def test_alias_counts_with_its_ttl(names: NameServer) -> None:
    names.alias("www.test", "app.test", ttl=3)
    names.set("app.test", "10.0.0.1", ttl=900)
    found = addresses(names, "www.test")
    assert found.values == ("10.0.0.1",) and found.ttl == 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda names: None, "no such name"),
        (lambda names: names.set("app.test", "2001:db8::1"), "no such records"),
        (lambda names: names.set("app.test", "0.0.0.0", "224.0.0.1"), "no usable address"),
    ],
    ids=["nxdomain", "no data", "unusable"],
)
def test_nothing_is_an_answer(names: NameServer, make: Callable[[NameServer], None], reason: str) -> None:
    make(names)
    found = addresses(names, "app.test")
    assert (found.values, found.failure, found.reason) == ((), None, reason)


@pytest.mark.parametrize("how", ["SERVFAIL", "REFUSED", "silence", "garbage"])
def test_failure_is_none(names: NameServer, how: str) -> None:
    names.set("app.test", "10.0.0.1")
    names.fail("app.test", how)
    found = addresses(names, "app.test")
    assert found.values == () and found.failure


def test_no_server_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert addresses(address, "app.test").failure


def test_localhost_needs_no_server(names: NameServer) -> None:
    assert addresses(names, "localhost").values == ("127.0.0.1",)
    assert names.asked == []


def test_truncated_answer_is_asked_for_over_tcp(names: NameServer) -> None:
    many = [f"10.1.{n // 250}.{n % 250 + 1}" for n in range(1500)]
    names.set("app.test", *many)
    names.cut("app.test")
    assert set(addresses(names, "app.test").values) == set(many)
    assert [transport for *_, transport in names.asked] == ["udp", "tcp"]


def test_second_server_is_asked_when_the_first_is_silent(names: NameServer) -> None:
    names.set("app.test", "10.0.0.1")
    with NameServer() as silent:
        silent.fail("app.test", "silence")
        found = asking(silent, lambda made: made.addresses("app.test", V4), servers=[str(silent), str(names)])
        assert found.values == ("10.0.0.1",) and silent.count("app.test") == 1


def test_services(names: NameServer) -> None:
    names.set("_http._tcp.app.test", "1 2 80 a.test", "0 5 8080 b.test", ttl=9)
    found = asking(names, lambda made: made.services("_http._tcp.app.test"))
    assert set(found.values) == {Service(1, 2, 80, "a.test"), Service(0, 5, 8080, "b.test")}
    assert found.ttl == 9 and found.failure is None


@pytest.mark.parametrize(("how", "failed"), [("SERVFAIL", True), ("good", False)])
def test_no_services(names: NameServer, how: str, failed: bool) -> None:
    names.fail("_http._tcp.app.test", how)
    found = asking(names, lambda made: made.services("_http._tcp.app.test"))
    assert found.values == () and bool(found.failure) is failed


def test_answers_are_not_remembered(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """c-ares would for 300 seconds."""
    monkeypatch.setattr(resolver, "CHANNEL_SECONDS", -1.0)
    names.set("app.test", "10.0.0.1", ttl=300)

    async def twice(made: Resolver) -> list[Answer[str]]:
        first = await made.addresses("app.test", V4)
        names.set("app.test", "10.0.0.2", ttl=300)
        return [first, await made.addresses("app.test", V4)]

    assert [found.values for found in asking(names, twice)] == [("10.0.0.1",), ("10.0.0.2",)]


def test_questions_of_one_burst_share_an_answer(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "CHANNEL_SECONDS", 60.0)
    names.set("app.test", "10.0.0.1")

    async def many(made: Resolver) -> Any:
        await made.addresses("app.test", V4)
        return await asyncio.gather(*(made.addresses("app.test", V4) for _ in range(300)))

    found = asking(names, many)
    assert len(found) == 300 and {one.values for one in found} == {("10.0.0.1",)}
    assert names.count("app.test") == 1


def test_cancelled_question_leaves_the_others(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "CHANNEL_SECONDS", -1.0)
    names.set("app.test", "10.0.0.1")
    names.fail("slow.test", "silence")

    async def run(made: Resolver) -> Answer[str]:
        slow = asyncio.ensure_future(made.addresses("slow.test", V4))
        while not names.count("slow.test"):
            await asyncio.sleep(0.001)
        slow.cancel()
        await asyncio.wait([slow])
        return await made.addresses("app.test", V4)

    assert asking(names, run, timeout="5s").values == ("10.0.0.1",)


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), pycares.AresError("Failed to initialize c-ares channel")]
)
def test_no_descriptors_is_a_failure_like_any_other(
    names: NameServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resolver, "_Channel", refuse)
    assert addresses(names, "app.test").failure == str(error.args[-1])


def test_hosts_file_comes_first(names: NameServer) -> None:
    lines = [line.partition("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines()]
    known = {host: line[0] for line in lines if line and "." in line[0] for host in line[1:]}
    host = next((host for host in known if host != "localhost"), "localhost")
    assert known[host] in addresses(names, host).values
    assert names.asked == []


@pytest.mark.parametrize("host", ["a..test", "x" * 64 + ".test", "a." * 130 + "test"])
def test_impossible_name_fails_alone(names: NameServer, host: str) -> None:
    assert addresses(names, host).values == ()


@pytest.mark.parametrize(
    ("literal", "usable"),
    [
        ("10.0.0.1", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("239.1.1.1", False),
        ("ff02::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("x", False),
    ],
)
def test_usable_addresses(literal: str, usable: bool) -> None:
    assert is_usable(literal) is usable
