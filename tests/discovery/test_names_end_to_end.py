"""Endpoints by host name in a real lbd, with a real name server: late, moving, failing and flapping names."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from discovery.name_server import NameServer
from discovery.stage import CONFIG, Traffic, origins, served
from harness.http_origin import Answer, EchoOrigin, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually

BY_NAME = CONFIG.replace("<members>", 'endpoints: ["app.test:<port>"]')


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as made:
        yield made


@pytest.fixture
def two() -> Iterator[list[HttpOrigin]]:
    with origins("127.0.0.1", "127.0.0.2") as made:
        yield made


def said(lbd: Lbd, text: str) -> None:
    eventually(lambda: text in lbd.stderr, f"{text!r} in the log:\n{lbd.stderr}")


def test_name_is_known_at_the_start(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1")
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        assert served(lbd, two, 3) == [3, 0]


def test_name_that_appears_late(names: NameServer, two: list[HttpOrigin]) -> None:
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        assert lbd.ask(get("/")).status == 503
        assert "host app.test: does not resolve (no such name)" in lbd.stderr
        assert lbd.metric("lbd_discovery_errors_total", cluster="app", source="name") >= 1
        names.set("app.test", "127.0.0.2")
        said(lbd, f"endpoint app/app.test:{two[0].port}: app.test resolves to 127.0.0.2")
        assert served(lbd, two) == [0, 1]
        assert lbd.metric("lbd_discovery_updates_total", cluster="app", source="name") == 1
        assert lbd.stderr.count("does not resolve") == 1


def test_silent_name_server_delays_the_start_only_so_long(names: NameServer, two: list[HttpOrigin]) -> None:
    names.fail("app.test", "silence")
    config = BY_NAME.replace("timeout: 200ms, attempts: 1", "timeout: 1h, attempts: 10")
    other = config + '  - {name: other, endpoints: ["127.0.0.1:<port>"]}\n'
    with Lbd(other.replace("cluster: app}", "cluster: other}"), names=names, port=two[0].port) as lbd:
        assert "starting without answers about host app.test" in lbd.stderr
        assert served(lbd, two) == [1, 0]


def test_name_moves_when_its_ttl_has_ended(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", ttl=0)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        assert served(lbd, two) == [1, 0]
        names.set("app.test", "127.0.0.2", ttl=0)
        said(lbd, "app.test is now at 127.0.0.2, was at 127.0.0.1")
        assert served(lbd, two, 3) == [0, 3]


def test_ttl_is_kept_to(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", ttl=3600)
    names.set("other.test", "127.0.0.1", ttl=0)
    config = BY_NAME + '  - {name: other, endpoints: ["other.test:<port>"]}\n'
    with Lbd(config, names=names, port=two[0].port):
        names.await_question("other.test", more=5)
        assert names.count("app.test") == 1


def test_max_ttl_ends_an_answer_earlier(names: NameServer, two: list[HttpOrigin]) -> None:
    """Also c-ares, which keeps answers itself, must not answer in place of the server."""
    names.set("app.test", "127.0.0.1", ttl=3600)
    config = BY_NAME.replace("min_ttl: 50ms", "min_ttl: 50ms, max_ttl: 100ms")
    with Lbd(config, names=names, port=two[0].port):
        names.await_question("app.test", more=3)


def test_address_is_kept_while_it_is_among_the_answers(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.2", ttl=0)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        names.set("app.test", "127.0.0.1", "127.0.0.2", ttl=0)
        names.await_question("app.test", more=4)
        assert served(lbd, two, 3) == [0, 3]
        assert "is now at" not in lbd.stderr


def test_pooled_connections_to_the_old_address_are_closed(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", ttl=0)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        served(lbd, two)
        names.set("app.test", "127.0.0.2", ttl=0)
        eventually(lambda: two[0].connections[0].ended == "fin", "the idle connection is closed")
        assert served(lbd, two) == [0, 1]


def test_exchange_under_way_finishes_at_the_old_address(names: NameServer) -> None:
    held, release = threading.Event(), threading.Event()

    def slow(seen: Seen) -> Answer:
        held.set()
        assert release.wait(4 * TIMEOUT)
        return Answer(body=b"old")

    names.set("app.test", "127.0.0.1", ttl=0)
    with origins("127.0.0.1", "127.0.0.2") as two:
        two[0].answer = slow
        with Lbd(BY_NAME, names=names, port=two[0].port) as lbd, lbd.connect() as client:
            client.send(get("/"))
            assert held.wait(TIMEOUT)
            names.set("app.test", "127.0.0.2", ttl=0)
            said(lbd, "app.test is now at 127.0.0.2")
            assert served(lbd, two) == [0, 1]
            release.set()
            assert client.read_response().body == b"old"
            eventually(lambda: two[0].connections[0].ended == "fin", "its connection is not used again")
            assert served(lbd, two, 3) == [0, 3]


def test_name_moves_under_traffic_without_a_failure(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", ttl=0)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd, Traffic(lbd) as traffic:
        for _ in range(3):
            for origin, address in ((two[1], "127.0.0.2"), (two[0], "127.0.0.1")):
                names.set("app.test", address, ttl=0)
                seen = len(origin.requests)
                eventually(
                    lambda one=origin, seen=seen: len(one.requests) > seen + 20, f"traffic at {address}"
                )
        assert traffic.failed == []


@pytest.mark.parametrize("how", ["gone", "SERVFAIL", "silence", "garbage", "empty"])
def test_name_server_fails_under_traffic(names: NameServer, two: list[HttpOrigin], how: str) -> None:
    """What was known last stays in force, and the answer that comes after that counts again."""
    names.set("app.test", "127.0.0.1", ttl=0)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd, Traffic(lbd) as traffic:
        if how == "gone":
            names.forget("app.test")
        elif how == "empty":
            names.set("app.test")
        else:
            names.fail("app.test", how)
        said(lbd, "host app.test: does not resolve")
        names.await_question("app.test", more=3, timeout=3 * TIMEOUT)
        seen = traffic.done
        eventually(lambda: traffic.done > seen + 50, "traffic goes on")
        names.set("app.test", "127.0.0.2", ttl=0)
        names.fail("app.test", "good")
        said(lbd, "host app.test: good again")
        eventually(lambda: two[1].requests, "the new address is used")
        assert traffic.failed == []
        assert lbd.stderr.count("does not resolve") == 1  # once per change, not once per try


def test_flapping_name(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", ttl=0)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd, Traffic(lbd) as traffic:
        for turn in range(8):
            names.set("app.test", f"127.0.0.{turn % 2 + 1}", ttl=0)
            names.await_question("app.test", more=2)
            names.set("app.test", ttl=0)
            names.await_question("app.test", more=1)
        assert traffic.failed == [] and traffic.done > 0


def test_failed_connect_asks_before_the_ttl_ends(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.3", ttl=3600)  # nobody listens there
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        names.set("app.test", "127.0.0.1", ttl=3600)
        assert lbd.ask(get("/")).status == 502
        said(lbd, "app.test is now at 127.0.0.1, was at 127.0.0.3")
        assert served(lbd, two) == [1, 0]


def test_failed_connects_do_not_flood_the_name_server(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.3", ttl=3600)
    with Lbd(BY_NAME, names=names, port=two[0].port) as lbd:
        for _ in range(200):
            assert lbd.ask(get("/")).status == 502
        names.await_question("app.test", more=1)
        # one a second; 200 connects that fail at once take far less than 20 s even on a slow machine
        assert names.count("app.test") < 20


def test_localhost_without_any_name_server(two: list[HttpOrigin]) -> None:
    with Lbd(BY_NAME.replace("app.test", "localhost"), names="127.0.0.1:9", port=two[0].port) as lbd:
        assert served(lbd, two) == [1, 0]
        assert "localhost" not in lbd.stderr


def test_ipv6_only_name(names: NameServer) -> None:
    names.set("app.test", "::1")
    with origins("::1") as one, Lbd(BY_NAME, names=names, port=one[0].port) as lbd:
        assert served(lbd, one) == [1]


def test_two_clusters_ask_once(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1")
    config = BY_NAME + '  - {name: other, endpoints: ["app.test:<port>", "app.test:1"]}\n'
    with Lbd(config, names=names, port=two[0].port) as lbd:
        eventually(lambda: served(lbd, two), "it is resolved")
        assert names.count("app.test") == 1


def test_nothing_is_asked_for_addresses(names: NameServer) -> None:
    with EchoOrigin() as origin:
        config = CONFIG.replace("<members>", 'endpoints: ["<origin>"]')
        with Lbd(config, names=names, origin=origin) as lbd:
            assert lbd.ask(get("/")).status == 200
    assert names.asked == []


def test_tcp_listeners_follow_names_too(names: NameServer, two: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", ttl=0)
    config = BY_NAME.replace("cluster: app}", "protocol: tcp, cluster: app}")
    with Lbd(config, names=names, port=two[0].port) as lbd:
        assert served(lbd, two) == [1, 0]
        with lbd.connect() as client:
            assert client.ask(get("/")).status == 200
            names.set("app.test", "127.0.0.2", ttl=0)
            said(lbd, "is now at 127.0.0.2")
            assert client.ask(get("/")).status == 200  # an open connection stays where it is
        assert len(two[1].requests) == 0
        assert served(lbd, two) == [0, 1]
