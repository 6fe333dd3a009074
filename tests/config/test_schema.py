"""Settings: defaults, canonical values, and the rules between settings."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from lbd import registry
from lbd.config.dump import dump
from lbd.config.loader import load_text
from lbd.config.schema import Config
from lbd.config.units import SizeComparison


def build(
    listener: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **top: Any
) -> Config:
    return Config.model_validate(
        {
            "listeners": [{"name": "web", "bind": ":80", "cluster": "app"} | (listener or {})],
            "clusters": [{"name": "app", "endpoints": ["h:1"]} | (cluster or {})],
            **top,
        }
    )


def routes(*given: dict[str, Any]) -> dict[str, Any]:
    return {"cluster": None, "routes": list(given)}


def match(**conditions: Any) -> Any:
    return build(routes({"match": conditions, "cluster": "app"})).listeners[0].routes[0].match


def refused(
    listener: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **top: Any
) -> dict[Any, str]:
    with pytest.raises(ValidationError) as caught:
        build(listener, cluster, **top)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_defaults_of_the_contract() -> None:
    config = build()
    listener, cluster = config.listeners[0], config.clusters[0]
    assert (config.workers, config.admin, config.access_log, config.drain_timeout) == (1, None, "off", 30.0)
    assert listener.timeouts.model_dump() == {
        "handshake": 10,
        "head": 10,
        "body": 30,
        "idle": 75,
        "write": 30,
        "tunnel": 3600,
    }
    assert listener.limits.model_dump() == {
        "request_line": 8192,
        "head": 32768,
        "fields": 100,
        "body": 2**30,
        "body_rate": 100,
        "connections": 20000,
    }
    assert (listener.bind, listener.path, listener.backlog, listener.access_log) == (
        (":80",),
        "normalize",
        4096,
        None,
    )
    assert cluster.timeouts.model_dump() == {"connect": 2, "response": 30, "body": 30, "idle": 50, "queue": 5}
    assert cluster.connections.model_dump() == {
        "max": 1024,
        "idle": 256,
        "lifetime": 3600,
        "requests": None,
        "pending": 1024,
        "warm": 0,
        "learn_idle": True,
    }
    assert (cluster.balancer.name, cluster.endpoints[0].weight, cluster.host) == ("round_robin", 1, None)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        build().workers = 2


def test_one_or_many_is_always_a_tuple() -> None:
    found = match(host=["API.example.com", "*.x.org"], path="/v1/*", method="GET", source="10.0.0.1")
    assert (found.host, found.path, found.method) == (("api.example.com", "*.x.org"), ("/v1/*",), ("GET",))
    assert found.source == ("10.0.0.1/32",)


def test_conditions_on_values() -> None:
    found = match(header={"X-A": "a*", "b": ["1", "2"], "c": True, "d": False}, body_size="> 10MB")
    assert found.header == {"x-a": ("a*",), "b": ("1", "2"), "c": True, "d": False}
    assert found.body_size == SizeComparison(">", 10_000_000)


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        ({"host": "a.com:80"}, "write the host without a port"),
        ({"host": "a.*.com"}, "'*' may only stand for the first labels"),
        ({"host": "*"}, "leave out 'host'"),
        ({"host": "ä.com"}, "xn-- form"),
        ({"host": "a b"}, "is not a host name"),
        ({"host": []}, "must not be an empty list"),
        ({"path": "a"}, "must begin with '/'"),
        ({"path": "/a*"}, "'*' may only be the last segment"),
        ({"path": "/*/a"}, "'*' may only be the last segment"),
        ({"path": "/a?b"}, "a path has no '?'"),
        ({"path": "/a b"}, "as %XX"),
        ({"path": "/a/../b"}, "never matches"),
        ({"path": "/:"}, "is not a capture"),
        ({"path": "/:a-b"}, "is not a capture"),
        ({"path": "/:a/:b/:a"}, "':a' is captured twice"),
        ({"method": "get"}, "did you mean 'GET'?"),
        ({"method": "CONNECT"}, "always refused"),
        ({"method": "G T"}, "not a request method"),
        ({"header": {"a b": "x"}}, "not a valid header name"),
        ({"header": {"a": "x**"}}, "write one '*'"),
        ({"header": {"a": []}}, "must not be an empty list"),
        ({"header": {"A": "x", "a": "y"}}, "given twice (case does not matter)"),
        ({"cookie": {"a;b": "x"}}, "not a valid cookie name"),
        ({"query": {"": "x"}}, "not a valid query parameter name"),
        ({"source": "10.0.0.1/8"}, "did you mean 10.0.0.0/8?"),
        ({"body_size": "10MB"}, "must be a comparison"),
    ],
)
def test_bad_conditions(conditions: dict[str, Any], sentence: str) -> None:
    ((where, message),) = refused(routes({"match": conditions, "cluster": "app"})).items()
    assert where[:5] == ("listeners", 0, "routes", 0, "match")
    assert sentence in message


@pytest.mark.parametrize(
    "path",
    ["/", "/*", "/a/", "//a", "/a:b", "/:uuid/lb/v1beta/models/:model:generateContent", "/:a/*", "/%20"],
)
def test_good_paths(path: str) -> None:
    assert match(path=path).path == (path,)


AT = ("listeners", 0)
ROUTE = (*AT, "routes", 0)


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        ({"cluster": None}, {AT: "give either 'cluster' or 'routes'"}),
        ({"routes": [{"cluster": "app"}]}, {(*AT, "routes"): "give either 'cluster' or 'routes', not both"}),
        (
            {"protocol": "tcp", "routes": [{"cluster": "app"}]},
            {(*AT, "routes"): "a tcp listener has no routes; give it a 'cluster'"},
        ),
        ({"protocol": "tcp", "cluster": None}, {AT: "a tcp listener needs a 'cluster'"}),
        ({"cluster": "ap"}, {(*AT, "cluster"): "unknown cluster 'ap'; did you mean 'app'?"}),
        (routes({}), {ROUTE: "give either 'cluster' or 'respond'"}),
        (
            routes({"cluster": "app", "respond": {}}),
            {(*ROUTE, "respond"): "give either 'cluster' or 'respond', not both"},
        ),
        (
            routes({"respond": {"status": 204, "body": "x"}}),
            {(*ROUTE, "respond", "body"): "an answer with status 204 has no body"},
        ),
        (routes({"respond": {"status": 100}}), {(*ROUTE, "respond", "status"): "must be at least 200"}),
        (
            routes({"respond": {"headers": {"Content-Length": "1"}}}),
            {
                (
                    *ROUTE,
                    "respond",
                    "headers",
                    "Content-Length",
                ): "'content-length' is set by lbd itself and cannot be given"
            },
        ),
        (
            routes({"respond": {"headers": {"a": "b\r\nc: d"}}}),
            {
                (
                    *ROUTE,
                    "respond",
                    "headers",
                    "a",
                ): "a header value cannot contain control characters or line ends"
            },
        ),
        (
            routes({"name": "r", "respond": {}}, {"name": "r", "respond": {}}),
            {(*AT, "routes", 1, "name"): "there is already a route named 'r'"},
        ),
        ({"bind": [":80", "[::]:80"]}, {(*AT, "bind", 1): "[::]:80 is already bound by listener web"}),
        (
            {"trailers": ["Content-Length"]},
            {(*AT, "trailers", 0): "'content-length' must never be a trailer (RFC 9110 section 6.5.1)"},
        ),
        (
            {"limits": {"request_line": "64KiB", "head": "32KiB"}},
            {(*AT, "limits", "request_line"): "must not be more than limits.head, of which it is a part"},
        ),
        ({"timeouts": {"idle": 0}}, {(*AT, "timeouts", "idle"): "must be longer than 0"}),
        (
            {"name": "a b"},
            {
                (*AT, "name"): "'a b' is not a valid name; use up to 64 letters, digits, '_', '.' and '-', "
                "beginning with a letter or a digit"
            },
        ),
    ],
)
def test_rules_of_listeners(listener: dict[str, Any], expected: dict[Any, str]) -> None:
    assert refused(listener) == expected


CLUSTER = ("clusters", 0)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"endpoints": []}, {(*CLUSTER, "endpoints"): "must not be empty"}),
        (
            {"endpoints": ["h:1", {"address": "H:1"}]},
            {(*CLUSTER, "endpoints", 1, "address"): "h:1 is already endpoint 0 of this cluster"},
        ),
        (
            {"endpoints": [{"address": "h:1", "weight": 0}]},
            {(*CLUSTER, "endpoints"): "every endpoint has weight 0, so none would ever be used"},
        ),
        (
            {"endpoints": [{"address": "h:1", "weight": 65536}]},
            {(*CLUSTER, "endpoints", 0, "weight"): "must be at most 65535"},
        ),
        (
            {"endpoints": [{"address": "h:1", "name": "a"}, {"address": "h:2", "name": "a"}]},
            {(*CLUSTER, "endpoints", 1, "name"): "there is already an endpoint named 'a'"},
        ),
        (
            {"endpoints": [{"address": "h:1", "labels": {"v": 1.1}}]},
            {(*CLUSTER, "endpoints", 0, "labels", "v"): "must be text; put the value in quotes"},
        ),
        (
            {"connections": {"max": 0}},
            {(*CLUSTER, "connections", "max"): "must be at least 1, or none for no limit"},
        ),
        (
            {"connections": {"max": None}},
            {(*CLUSTER, "connections", "max"): "has no value; give one, or remove the setting"},
        ),
        (
            {"host": "a b"},
            {(*CLUSTER, "host"): "'a b' is not a host; write it like app.internal or app.internal:8080"},
        ),
        (
            {"protocol": "http3"},
            {(*CLUSTER, "protocol"): "must be http1, http2 or auto, not 'http3'; did you mean 'http2'?"},
        ),
        (
            {"balancer": {"name": "p2cc"}},
            {
                (
                    *CLUSTER,
                    "balancer",
                    "name",
                ): "unknown balancer 'p2cc'; did you mean 'p2c'?"
            },
        ),
        ({"balancer": {}}, {(*CLUSTER, "balancer"): "needs the 'name' of the balancer"}),
    ],
)
def test_rules_of_clusters(cluster: dict[str, Any], expected: dict[Any, str]) -> None:
    assert refused(cluster=cluster) == expected


def test_one_endpoint_of_weight_0_and_an_unused_cluster_are_fine() -> None:
    config = build(routes({"respond": {}}), {"endpoints": ["h:1", {"address": "h:2", "weight": 0}]})
    assert [endpoint.weight for endpoint in config.clusters[0].endpoints] == [1, 0]


def test_none_is_no_limit() -> None:
    config = build({"limits": {"body": "none"}}, {"connections": {"max": "none", "lifetime": "none"}})
    assert config.listeners[0].limits.body is None
    assert (config.clusters[0].connections.max, config.clusters[0].connections.lifetime) == (None, None)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    choices: int = 2


@pytest.fixture
def with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("balancer_of_this_test")
    module.P2c = type("P2c", (), {"Options": Options})  # type: ignore[attr-defined]
    module.Plain = type("Plain", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("P2c", "Plain"):
        monkeypatch.setitem(registry.BALANCERS, name.lower(), f"{module.__name__}:{name}")
    monkeypatch.setitem(registry.BALANCERS, "gone", "no_such_module:Gone")


@pytest.mark.usefixtures("with_options")
def test_options_of_a_balancer() -> None:
    config = build(cluster={"balancer": {"name": "p2c", "choices": 3}})
    assert config.clusters[0].balancer.options == Options(choices=3)
    assert load_text(dump(config), env={}) == config
    at = (*CLUSTER, "balancer")
    for given, expected in [
        (
            {"name": "p2c", "choises": 3},
            {(*at, "choises"): "unknown setting 'choises'; did you mean 'choices'?"},
        ),
        ({"name": "p2c", "choices": "x"}, {(*at, "choices"): "must be a whole number, not 'x'"}),
        ({"name": "plain", "x": 1}, {(*at, "x"): "balancer 'plain' takes no options"}),
        (
            {"name": "gone", "x": 1},
            {at: "balancer 'gone' cannot be loaded: No module named 'no_such_module'"},
        ),
    ]:
        assert refused(cluster={"balancer": given}) == expected


def test_registry_names() -> None:
    assert registry.names("balancer")[:3] == ("round_robin", "least_conn", "random")
    with pytest.raises(KeyError):
        registry.resolve("balancer", "nope")
