"""Order of choice, captures, hosts and limits of the router, one table each."""

from __future__ import annotations

from typing import Any

import pytest
from engine.routing import matches, request, route_of, router_of

CAPTURES = {
    "one": ("/users/:id", "/users/42", {"id": "42"}),
    "two": ("/:a/:b", "/x/y", {"a": "x", "b": "y"}),
    "suffix": ("/models/:model:generate", "/models/g-1:generate", {"model": "g-1"}),
    "suffix twice": ("/models/:model:go", "/models/a:go:go", {"model": "a:go"}),
    "before a prefix": ("/t/:tenant/*", "/t/acme/x/y", {"tenant": "acme"}),
    "before a prefix, nothing below": ("/t/:tenant/*", "/t/acme", {"tenant": "acme"}),
    "escapes stay": ("/f/:name", "/f/a%2Fb", {"name": "a%2Fb"}),
    "normal form": ("/f/:name", "/x/../f/%61", {"name": "a"}),
    "template of the design": (
        "/:uuid/lb/v1beta/models/:model:generateContent",
        "/u-1/lb/v1beta/models/m:generateContent",
        {"uuid": "u-1", "model": "m"},
    ),
    "sixteen": (
        "/" + "/".join(f":c{n}" for n in range(16)),
        "/" + "/".join("abcdefghijklmnop"),
        {f"c{n}": letter for n, letter in enumerate("abcdefghijklmnop")},
    ),
}


@pytest.mark.parametrize(("pattern", "path", "captures"), CAPTURES.values(), ids=CAPTURES)
def test_captures(pattern: str, path: str, captures: dict[str, str]) -> None:
    found = router_of({"match": {"path": pattern}}).explain(request(path))
    assert (found["route"], found["captures"]) == ("r0", captures)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/users/:id", "/users/"),
        ("/users/:id", "/users"),
        ("/users/:id", "/users/1/"),
        ("/m/:m:go", "/m/:go"),
        ("/m/:m:go", "/m/x:went"),
        ("/m/:m:go", "/m/x"),
        ("/a", "/A"),
        ("/a", "/a/"),
        ("/a/", "/a"),
        ("/v1/*", "/v1x"),
    ],
)
def test_paths_that_do_not_match(pattern: str, path: str) -> None:
    assert not matches({"path": pattern}, request(path))


def test_captures_of_a_refused_route_are_forgotten() -> None:
    router = router_of({"match": {"path": "/:one/:two", "method": "PUT"}}, {"match": {"path": "/:other/*"}})
    assert router.explain(request("/x/y"))["captures"] == {"other": "x"}


def test_captures_are_of_the_route_that_wins() -> None:
    """Two templates share a place in the trie under different names."""
    router = router_of({"match": {"path": "/:id/a"}}, {"match": {"path": "/:name/b"}})
    assert router.explain(request("/x/b"))["captures"] == {"name": "x"}


def test_longer_suffix_wins_its_segment_only() -> None:
    router = router_of({"match": {"path": "/:m:go"}}, {"match": {"path": "/:m:x:go"}})
    assert router.explain(request("/a:x:go"))["captures"] in ({"m": "a:x"}, {"m": "a"})
    assert route_of(router, request("/a:go")) == "r0"


ORDER: dict[str, tuple[list[dict[str, Any]], str]] = {  # the last route is the one to be chosen
    "priority before all": ([{"match": {"host": "a.test", "path": "/a/b"}}, {"priority": 1}], "/a/b"),
    "negative priority": ([{"priority": -1, "match": {"path": "/a/b"}}, {"match": {}}], "/a/b"),
    "host before path": ([{"match": {"path": "/a/b"}}, {"match": {"host": "a.test"}}], "/a/b"),
    "exact host before wildcard": (
        [{"match": {"host": "*.test", "path": "/a/b"}}, {"match": {"host": "a.test"}}],
        "/a/b",
    ),
    "any wildcard before none": ([{"match": {"path": "/a/b"}}, {"match": {"host": "*.test"}}], "/a/b"),
    "exact path before prefix": ([{"match": {"path": "/a/*"}}, {"match": {"path": "/a/b"}}], "/a/b"),
    "literal before template": ([{"match": {"path": "/a/:x"}}, {"match": {"path": "/a/b"}}], "/a/b"),
    "earlier literal counts as much": ([{"match": {"path": "/:x/:y"}}, {"match": {"path": "/:x/b"}}], "/a/b"),
    "longer prefix": ([{"match": {"path": "/a/*"}}, {"match": {"path": "/a/b/*"}}], "/a/b"),
    "template before prefix": ([{"match": {"path": "/*"}}, {"match": {"path": "/:x/:y"}}], "/a/b"),
    "more conditions": (
        [{"match": {"method": "GET"}}, {"match": {"method": "GET", "header": {"x": False}}}],
        "/a/b",
    ),
}


@pytest.mark.parametrize(("routes", "path"), ORDER.values(), ids=ORDER)
def test_order_of_choice(routes: list[dict[str, Any]], path: str) -> None:
    assert route_of(router_of(*routes), request(path)) == f"r{len(routes) - 1}"
    assert route_of(router_of(*reversed(routes)), request(path)) == "r0"


def test_file_order_decides_between_equals() -> None:
    assert route_of(router_of({"match": {"path": "/:x"}}, {"match": {"path": "/:y"}}), request("/a")) == "r0"


def test_more_literal_segments_before_a_template() -> None:
    """docs/configuration.md: the path with more literal segments, then a template before a prefix."""
    router = router_of({"match": {"path": "/:tenant/:id"}}, {"match": {"path": "/v1/*"}})
    assert route_of(router, request("/v1/x")) == "r1"


HOSTS = {
    "exact": ("api.test", "api.test", True),
    "case": ("api.test", "API.Test", True),
    "port": ("api.test", "api.test:8080", True),
    "final dot": ("api.test", "api.test.", True),
    "final dot and port": ("api.test", "api.test.:80", True),
    "other": ("api.test", "xapi.test", False),
    "wildcard": ("*.test", "a.test", True),
    "wildcard, two labels": ("*.test", "a.b.test", True),
    "wildcard, no label": ("*.test", "test", False),
    "wildcard, empty label": ("*.test", ".test", False),
    "wildcard, final dot": ("*.test", "a.test.", True),
    "address": ("127.0.0.1", "127.0.0.1:80", True),
    "IPv6": ("[::1]", "[::1]:80", True),
    "as long as can be": ("*.test", "a" * 63 + ".test", True),
}


@pytest.mark.parametrize(("pattern", "host", "expected"), HOSTS.values(), ids=HOSTS)
def test_hosts(pattern: str, host: str, expected: bool) -> None:
    try:
        assert matches({"host": pattern}, request(host=host)) is expected
    except ValueError:
        assert not expected  # a Host that no request may have is no match either


def test_longer_wildcard_first() -> None:
    router = router_of({"match": {"host": "*.test"}}, {"match": {"host": "*.a.test"}})
    assert [route_of(router, request(host=host)) for host in ("x.a.test", "a.test", "x.y.a.test")] == [
        "r1",
        "r0",
        "r1",
    ]


def test_absolute_form_names_the_host() -> None:
    router = router_of({"match": {"host": "b.test"}})
    assert route_of(router, request("http://b.test/x", host="b.test")) == "r0"


def test_options_asterisk_reaches_the_route_for_everything() -> None:
    assert matches({}, request("*", method="OPTIONS"))
    assert not matches({"path": "/a"}, request("*", method="OPTIONS"))


def test_no_route() -> None:
    found = router_of({"match": {"path": "/a"}}).explain(request("/b"))
    assert found["route"] is None and found["captures"] == {}


def deep(depth: int, prefix: str = "") -> str:
    return "/" + "/".join(f"{prefix}{'abcdefgh'[n % 8]}{n if prefix else ''}" for n in range(depth))


@pytest.mark.parametrize("depth", [16, 64, 200])
def test_prefix_of_a_deep_path(depth: int) -> None:
    assert matches({"path": "/a/*"}, request(deep(depth)))


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (deep(63), deep(63)),
        (deep(64), deep(64)),
        (deep(65), deep(65)),
        (deep(70) + "/*", deep(71)),
        (deep(16, ":"), deep(16)),
        (deep(17, ":"), deep(17)),
    ],
    ids=["63 segments", "64 segments", "65 segments", "prefix of 70 segments", "16 captures", "17 captures"],
)
def test_what_the_config_accepts_can_match(pattern: str, path: str) -> None:
    """The router's tables have ends; a pattern beyond them has to be refused rather than never match."""
    try:
        router = router_of({"match": {"path": pattern}})
    except ValueError:
        return
    assert route_of(router, request(path)) == "r0"


def test_explain_names_the_refusing_matcher() -> None:
    router = router_of(
        {"match": {"path": "/a", "method": "PUT", "header": {"x": "1"}}},
        {"match": {"path": "/a"}},
        {"match": {"path": "/*"}},
    )
    (first, outcome, detail), *rest = sorted(router.explain(request("/a"))["considered"])
    assert (first, outcome) == ("r0", "refused") and "PUT" in detail
    assert {(name, outcome) for name, outcome, _ in rest} >= {("r1", "matched")}


@pytest.mark.parametrize(
    "raw_head",
    [b"", b"GET / HTTP/1.1\r\n", b"GET /%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n", b"nonsense\r\n\r\n"],
)
def test_explain_refuses_what_is_no_request(raw_head: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        router_of({}).explain(raw_head)


def test_ten_thousand_routes() -> None:
    router = router_of(*({"match": {"host": f"h{n % 100}.test", "path": f"/{n}/x"}} for n in range(10_000)))
    for n in (0, 1, 99, 5000, 9999):
        assert route_of(router, request(f"/{n}/x", host=f"h{n % 100}.test")) == f"r{n}"
        assert route_of(router, request(f"/{n}/x", host=f"h{(n + 1) % 100}.test")) is None
