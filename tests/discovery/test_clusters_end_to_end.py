"""Clusters that discover their endpoints, in a real lbd: DNS addresses, SRV records, watched files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from discovery.name_server import NameServer
from discovery.stage import CONFIG, Traffic, origins, served
from harness.http_origin import HttpOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually
from tls.speaking import SecureHttpOrigin, World

THREE = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
BY_DNS = CONFIG.replace("<members>", 'discover: {dns: "app.test:<port>"}')
BY_SRV = CONFIG.replace("<members>", "discover: {srv: _http._tcp.app.test}")
BY_FILE = CONFIG.replace("<members>", 'discover: {file: "<file>"}')


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as made:
        yield made


@pytest.fixture
def three() -> Iterator[list[HttpOrigin]]:
    with origins(*THREE) as made:
        yield made


def said(lbd: Lbd, text: str) -> None:
    eventually(lambda: text in lbd.stderr, f"{text!r} in the log:\n{lbd.stderr}")


# DNS -------------------------------------------------------------------------------------------------


def test_every_address_serves(names: NameServer, three: list[HttpOrigin]) -> None:
    names.set("app.test", *THREE)
    with Lbd(BY_DNS, names=names, port=three[0].port) as lbd:
        assert served(lbd, three, 9) == [3, 3, 3]
        assert lbd.metric("lbd_discovery_endpoints", cluster="app") == 3
        assert lbd.metric("lbd_endpoint_up", cluster="app", endpoint=f"127.0.0.2:{three[0].port}") == 1


def test_addresses_come_and_go_under_traffic(names: NameServer, three: list[HttpOrigin]) -> None:
    port = three[0].port
    names.set("app.test", "127.0.0.1", "127.0.0.2", ttl=0)
    with Lbd(BY_DNS, names=names, port=port) as lbd, Traffic(lbd) as traffic:
        eventually(lambda: traffic.done > 20, "traffic")
        names.set("app.test", "127.0.0.2", "127.0.0.3", ttl=0)
        said(lbd, f"cluster app: +127.0.0.3:{port} -127.0.0.1:{port}")
        seen = len(three[0].requests)
        eventually(lambda: len(three[2].requests) > 20, "the new one serves")
        assert len(three[0].requests) <= seen + 2  # what was under way when the line was written
        eventually(lambda: all(one.ended for one in three[0].connections), "its idle connections are closed")
        assert not any(one.ended for one in three[1].connections), "who stays keeps its connections"
        assert traffic.failed == []
        assert lbd.metric("lbd_discovery_updates_total", cluster="app", source="dns") == 1


def test_last_good_list_is_kept(names: NameServer, three: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", "127.0.0.2", ttl=0)
    with Lbd(BY_DNS, names=names, port=three[0].port) as lbd, Traffic(lbd) as traffic:
        for turn, wreck in enumerate(
            (lambda: names.forget("app.test"), lambda: names.set("app.test"),
             lambda: names.fail("app.test", "SERVFAIL"), lambda: names.fail("app.test", "silence"))
        ):  # fmt: skip
            wreck()
            eventually(lambda turn=turn: lbd.stderr.count("stays in force") > turn, "it is said")
            seen = traffic.done
            eventually(lambda seen=seen: traffic.done > seen + 20, "traffic goes on")
            names.fail("app.test", "good")
            names.set("app.test", "127.0.0.1", "127.0.0.2", ttl=0)
            eventually(lambda turn=turn: lbd.stderr.count("good again") > turn, "it is good again")
        assert traffic.failed == [] and len(three[2].requests) == 0
        assert "-127.0.0.1" not in lbd.stderr
        assert lbd.metric("lbd_discovery_errors_total", cluster="app", source="dns") >= 4


def test_cluster_without_endpoints_yet(names: NameServer, three: list[HttpOrigin]) -> None:
    with Lbd(BY_DNS, names=names, port=three[0].port) as lbd:
        assert lbd.ask(get("/")).status == 503
        names.set("app.test", "127.0.0.1")
        said(lbd, "cluster app: +127.0.0.1")
        assert served(lbd, three) == [1, 0, 0]


def test_failed_connect_asks_for_the_list_again(names: NameServer, three: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.1", "127.0.0.9", ttl=3600)  # nobody listens at the second
    with Lbd(BY_DNS, names=names, port=three[0].port) as lbd:
        names.set("app.test", "127.0.0.1", "127.0.0.3", ttl=3600)
        for _ in range(2):  # one of them fails to connect, and is tried elsewhere
            assert lbd.ask(get("/")).status == 200
        said(lbd, f"cluster app: +127.0.0.3:{three[0].port} -127.0.0.9:{three[0].port}")


def test_endpoints_beside_discover(names: NameServer, three: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.2")
    config = BY_DNS.replace("discover:", 'endpoints: ["127.0.0.1:<port>"], discover:')
    with Lbd(config, names=names, port=three[0].port) as lbd:
        assert served(lbd, three, 4) == [2, 2, 0]


def test_labels_of_what_is_found(names: NameServer, three: list[HttpOrigin]) -> None:
    names.set("app.test", "127.0.0.2")
    config = BY_DNS.replace("discover: {", 'endpoints: ["127.0.0.1:<port>"], discover: {labels: {zone: b}, ')
    routes = "routes: [{cluster: app, endpoint_labels: {zone: b}}]}"
    with Lbd(config.replace("cluster: app}", routes), names=names, port=three[0].port) as lbd:
        assert served(lbd, three, 3) == [0, 3, 0]


def test_tls_asks_for_the_name_and_not_for_the_address(names: NameServer, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("app", "app.test")
    names.set("app.test", "127.0.0.1")
    with SecureHttpOrigin(world.server_context("app")) as origin:
        config = BY_DNS.replace('<port>"}', f'<port>"}}, tls: {{ca: {world.ca_file}}}')
        with Lbd(config, names=names, port=origin.port) as lbd:
            assert lbd.ask(get("/")).status == 200


# SRV -------------------------------------------------------------------------------------------------


def test_records_have_ports_and_weights(names: NameServer, three: list[HttpOrigin]) -> None:
    port = three[0].port
    names.set("a.test", "127.0.0.1")
    names.set("b.test", "127.0.0.2")
    names.set("_http._tcp.app.test", f"0 3 {port} a.test", f"0 1 {port} b.test")
    with Lbd(BY_SRV, names=names) as lbd:
        assert served(lbd, three, 12) == [9, 3, 0]
        assert f"cluster app: +a.test:{port} +b.test:{port}" in lbd.stderr


def test_records_and_addresses_change(names: NameServer, three: list[HttpOrigin]) -> None:
    port = three[0].port
    names.set("a.test", "127.0.0.1", ttl=0)
    names.set("b.test", "127.0.0.2", ttl=0)
    names.set("_http._tcp.app.test", f"0 1 {port} a.test", ttl=0)
    with Lbd(BY_SRV, names=names) as lbd, Traffic(lbd) as traffic:
        names.set("a.test", "127.0.0.3", ttl=0)
        said(lbd, f"endpoint app/a.test:{port}: a.test is now at 127.0.0.3, was at 127.0.0.1")
        names.set("_http._tcp.app.test", f"0 5 {port} a.test", f"0 1 {port} b.test", ttl=0)
        said(lbd, f"cluster app: +b.test:{port} ~a.test:{port}")
        names.set("_http._tcp.app.test", f"0 1 {port} b.test", ttl=0)
        said(lbd, f"cluster app: -a.test:{port}")
        names.await_question("b.test", more=2)
        asked = names.count("a.test")
        names.await_question("b.test", more=3)
        assert names.count("a.test") == asked, "nobody asks for a host that no endpoint has"
        eventually(lambda: len(three[1].requests) > 5, "the one that is left serves")
        assert traffic.failed == []


def test_other_targets_take_over_without_a_gap(names: NameServer, three: list[HttpOrigin]) -> None:
    """All endpoints go and others by name come: they have their addresses before they join."""
    port = three[0].port
    names.set("_http._tcp.app.test", f"0 1 {port} a0.test", ttl=0)
    for turn in range(6):
        names.set(f"a{turn}.test", f"127.0.0.{turn % 3 + 1}")
    with Lbd(BY_SRV, names=names) as lbd, Traffic(lbd) as traffic:
        for turn in range(1, 6):
            names.set("_http._tcp.app.test", f"0 1 {port} a{turn}.test", ttl=0)
            said(lbd, f"cluster app: +a{turn}.test:{port} -a{turn - 1}.test:{port}")
        assert traffic.failed == [] and "resolves to" not in lbd.stderr


def test_target_without_an_answer_does_not_hold_up_the_others(
    names: NameServer, three: list[HttpOrigin]
) -> None:
    port = three[0].port
    names.set("a.test", "127.0.0.1")
    names.set("b.test", "127.0.0.2")
    names.fail("slow.test", "silence")
    names.set("_http._tcp.app.test", f"0 1 {port} a.test", ttl=0)
    with Lbd(BY_SRV.replace("timeout: 200ms", "timeout: 1h"), names=names) as lbd:
        names.set("_http._tcp.app.test", f"0 1 {port} b.test", f"0 1 {port} slow.test", ttl=0)
        said(lbd, f"cluster app: +b.test:{port} +slow.test:{port} -a.test:{port}")
        assert served(lbd, three, 3) == [0, 3, 0]


def test_target_that_resolves_late(names: NameServer, three: list[HttpOrigin]) -> None:
    port = three[0].port
    names.set("b.test", "127.0.0.2")
    names.set("_http._tcp.app.test", f"0 1 {port} a.test", f"0 1 {port} b.test")
    with Lbd(BY_SRV, names=names) as lbd:
        assert served(lbd, three, 3) == [0, 3, 0]
        names.set("a.test", "127.0.0.1")
        said(lbd, f"endpoint app/a.test:{port}: a.test resolves to 127.0.0.1")
        assert served(lbd, three, 4) == [2, 2, 0]


# files -----------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    """Atomically, as tools should."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_file_good_and_bad(tmp_path: Path, names: NameServer, three: list[HttpOrigin]) -> None:
    port, file = three[0].port, tmp_path / "endpoints.yaml"
    file.write_text(f"- 127.0.0.1:{port}\n")
    with Lbd(BY_FILE, names=names, file=file) as lbd, Traffic(lbd) as traffic:
        eventually(lambda: traffic.done > 10, "traffic")
        write(file, f"- 127.0.0.1:{port}\n- {{address: '127.0.0.2:{port}', weight: 2, name: two}}\n")
        said(lbd, "cluster app: +two")
        write(file, f"- 127.0.0.2:{port}\n- {{address: nowhere}}\n")
        said(lbd, f"cluster app: file {file}: {file}:2:13: endpoints[1].address: ")
        assert "the last good answer stays in force" in lbd.stderr
        assert lbd.metric("lbd_discovery_errors_total", cluster="app", source="file") == 1
        file.write_text(f"- {{address: '127.0.0.3:{port}', name: two}}\n")  # in place
        said(lbd, f"cluster app: -127.0.0.1:{port} ~two")
        eventually(lambda: len(three[2].requests) > 10, "it has moved")
        assert traffic.failed == []
        assert not any("Traceback" in line for line in lbd.lines)


def test_empty_file_list_means_none(tmp_path: Path, names: NameServer, three: list[HttpOrigin]) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(f"- 127.0.0.1:{three[0].port}\n")
    with Lbd(BY_FILE, names=names, file=file) as lbd:
        assert served(lbd, three) == [1, 0, 0]
        write(file, "[]\n")
        said(lbd, f"cluster app: -127.0.0.1:{three[0].port}")
        assert lbd.ask(get("/")).status == 503
        assert lbd.metric("lbd_discovery_endpoints", cluster="app") == 0


def test_file_that_comes_later(tmp_path: Path, names: NameServer, three: list[HttpOrigin]) -> None:
    file = tmp_path / "endpoints.json"
    with Lbd(BY_FILE, names=names, file=file) as lbd:
        assert "No such file or directory" in lbd.stderr and lbd.ask(get("/")).status == 503
        names.set("app.test", "127.0.0.2")
        write(file, f'["app.test:{three[0].port}"]')
        said(lbd, f"cluster app: +app.test:{three[0].port}")
        eventually(lambda: lbd.ask(get("/")).status == 200, "the name in the file has resolved")


def test_large_file_is_taken_without_a_failure(
    tmp_path: Path, names: NameServer, three: list[HttpOrigin]
) -> None:
    """A thousand endpoints come and go while requests are under way."""
    port, file = three[0].port, tmp_path / "endpoints.yaml"
    one = f"- {{address: '127.0.0.1:{port}', name: it}}\n"
    others = "".join(f"- {{address: '127.1.{n >> 8}.{n & 255}:{port}', weight: 0}}\n" for n in range(999))
    file.write_text(one)
    with Lbd(BY_FILE, names=names, file=file) as lbd, Traffic(lbd) as traffic:
        write(file, one + others)
        said(lbd, "and 979 more")
        assert lbd.metric("lbd_discovery_endpoints", cluster="app") == 1000
        write(file, one)
        said(lbd, "cluster app: -127.1.")
        assert lbd.metric("lbd_discovery_endpoints", cluster="app") == 1
        assert traffic.failed == []
