"""Config -> Runtime: units, defaults, unresolved endpoints, what is shared and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from control.worlds import CONFIG, compiled

from lbd import registry
from lbd.config import schema
from lbd.control.clusters import milliseconds
from lbd.control.listeners import URGENCIES, build_router, routes_of


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, 0),
        (1.0, 1000),
        (0.25, 250),
        (0.0004, 1),
        (0.000001, 1),
        (0.0015, 2),
        (3600.0, 3_600_000),
        (0.0, 1),
    ],
)
def test_milliseconds(seconds: float | None, expected: int) -> None:
    """0 means none to the engine, so that no duration may become 0."""
    assert milliseconds(seconds) == expected


def test_timeouts_of_a_cluster() -> None:
    text = CONFIG.replace(
        "{name: app,", "{name: app, timeouts: {response: 1500ms, body: 2s, queue: 100us}, host: in.test,"
    )
    with compiled(text) as runtime:
        cluster = runtime.clusters["app"]
        assert (cluster.response_ms, cluster.body_ms, cluster.queue_ms) == (1500, 2000, 1)
        assert cluster.host == b"in.test"


def test_default_timeouts_are_those_of_the_schema() -> None:
    with compiled(CONFIG) as runtime:
        cluster = runtime.clusters["app"]
        assert (cluster.response_ms, cluster.body_ms, cluster.queue_ms) == (30_000, 30_000, 5000)
        assert cluster.host is None


def test_names_and_weights() -> None:
    with compiled(CONFIG) as runtime:
        one, two = runtime.clusters["app"].endpoints
        assert (one.name, one.address, one.weight) == ("one", "127.0.0.1:1", 1)
        assert (two.name, two.address, two.weight) == ("127.0.0.1:2", "127.0.0.1:2", 0)
        assert set(runtime.listeners) == {"web", "db"}


def test_labels() -> None:
    with compiled(CONFIG.replace("name: one}", "name: one, labels: {zone: a}}")) as runtime:
        assert [endpoint.labels for endpoint in runtime.clusters["app"].endpoints] == [{"zone": "a"}, {}]


@pytest.mark.parametrize("balancer", list(registry.BALANCERS))
def test_endpoint_of_weight_zero_is_never_picked(balancer: str) -> None:
    with compiled(CONFIG.replace("{name: app,", f"{{name: app, balancer: {balancer},")) as runtime:
        cluster = runtime.clusters["app"]
        assert type(cluster.balancer) is registry.resolve("balancer", balancer)
        assert cluster.balancer.endpoints == (cluster.endpoints[0],)
        assert {cluster.balancer.pick_one(n) for n in range(200)} == {cluster.endpoints[0]}


@pytest.mark.parametrize("balancer", list(registry.BALANCERS))
def test_unresolved_endpoint_is_never_picked(balancer: str) -> None:
    text = CONFIG.replace('"127.0.0.1:2", weight: 0', '"unknown.test:2"').replace(
        "{name: app,", f"{{name: app, balancer: {balancer},"
    )
    with compiled(text) as runtime:
        cluster = runtime.clusters["app"]
        assert [endpoint.available for endpoint in cluster.endpoints] == [True, False]
        assert {cluster.balancer.pick_one(n) for n in range(200)} == {cluster.endpoints[0]}


def test_cluster_without_any_address_picks_none() -> None:
    text = CONFIG.replace("127.0.0.1:1", "a.test:1").replace("127.0.0.1:2", "b.test:2")
    with compiled(text) as runtime:
        assert runtime.clusters["app"].balancer is None


def test_ipv6_endpoint() -> None:
    with compiled(CONFIG.replace("127.0.0.1:2", "[0:0::1]:2")) as runtime:
        endpoint = runtime.clusters["app"].endpoints[1]
        assert endpoint.address == "[::1]:2" and endpoint.resolved


def test_cluster_is_shorthand_for_a_route() -> None:
    listener = schema.Listener(name="web", bind="127.0.0.1:0", cluster="app")
    assert [(route.cluster, route.match) for route in routes_of(listener)] == [("app", schema.Match())]


def test_routes_are_named_after_their_place() -> None:
    answer = {"respond": {}}
    listener = schema.Listener(
        name="web",
        bind="127.0.0.1:0",
        routes=[{"match": {"path": ["/a", "/b"]}, **answer}, {"name": "mine", **answer}],
    )
    names = [route.name for route in build_router(listener, {}).routes]
    assert sorted(names) == ["mine", "web[0]", "web[0]"]


def test_respond() -> None:
    listener = schema.Listener(
        name="web",
        bind="127.0.0.1:0",
        routes=[{"respond": {"status": 418, "headers": {"X-Why": "tea"}, "body": "kurz und bündig"}}],
    )
    (route,) = build_router(listener, {}).routes
    assert route.respond is not None and route.cluster is None
    assert route.respond.status == 418 and route.respond.body == "kurz und bündig".encode()
    assert b"x-why: tea\r\n" in route.respond.headers.lower()
    assert b"content-type: text/plain; charset=utf-8\r\n" in route.respond.headers.lower()


@pytest.mark.parametrize(
    ("setting", "lines"),
    [
        ({"status": 204}, b""),
        ({"body": "x", "headers": {"Content-Type": "text/html"}}, b"content-type: text/html\r\n"),
    ],
)
def test_content_type_of_respond(setting: dict[str, object], lines: bytes) -> None:
    listener = schema.Listener(name="web", bind="127.0.0.1:0", routes=[{"respond": setting}])
    (route,) = build_router(listener, {}).routes
    assert route.respond is not None and route.respond.headers.lower() == lines


def test_listeners_share_the_writer_of_one_file(tmp_path: Path) -> None:
    log = f'access_log: {{to: "{tmp_path}/access.log", format: combined}}\n'
    with compiled(log + CONFIG.replace("{name: web,", "{name: web, access_log: {to: stdout},")) as runtime:
        assert set(runtime.log_writers) == {"stdout", f"{tmp_path}/access.log"}
    with compiled(log + CONFIG) as runtime:
        assert set(runtime.log_writers) == {f"{tmp_path}/access.log"}


def test_log_is_off_by_default() -> None:
    with compiled(CONFIG) as runtime:
        assert runtime.log_writers == {}


LIMITED = """
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes: [<routes>{cluster: app}]
clusters:
  - {name: app, endpoints: ["127.0.0.1:1"], adaptive_limit: {initial: 20, min: 4}, fallback: {cluster: spare}}
  - {name: spare, endpoints: ["127.0.0.1:1"], adaptive_limit: {initial: 20, min: 4}}
"""


@pytest.mark.parametrize(
    ("urgencies", "admitted"),
    [((), {"normal": 20}), (("low",), {"low": 17, "normal": 20}), (("low", "high"), {"low": 14, "high": 20})],
)
def test_nothing_is_left_to_urgencies_that_do_not_come(
    urgencies: tuple[str, ...], admitted: dict[str, int]
) -> None:
    """Which requests there can be is known from the routes."""
    routes = [f"{{match: {{path: /{one}}}, cluster: app, urgency: {one}}}, " for one in urgencies]
    with compiled(LIMITED.replace("<routes>", "".join(routes))) as runtime:
        for name in ("app", "spare"):
            cluster = runtime.clusters[name]
            found = {}
            for urgency in admitted:
                while cluster.admit_one(URGENCIES.index(urgency)) is None:
                    cluster.acquire_one(cluster.endpoints[0])
                found[urgency] = cluster.active
            assert found == admitted
