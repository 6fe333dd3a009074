"""The router against the oracle, on generated routes and requests."""

from __future__ import annotations

from typing import Any

from engine.route_oracle import Asked, choose, conditions_hold
from engine.routing import request, router_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

HOSTS = ["a.test", "b.a.test", "*.a.test", "*.test", "*.b.a.test", "test"]
ASKED_HOSTS = [
    "a.test",
    "A.Test",
    "b.a.test",
    "c.b.a.test",
    "x.test",
    "test",
    "xa.test",
    "b.a.test:8080",
    "other",
]
VALUE = (
    st.sampled_from(["1", "2", "a*", "*a", "a*b", "*"])
    | st.lists(st.sampled_from(["1", "2", "ab*"]), min_size=1, max_size=2)
    | st.booleans()
)
ASKED_VALUE = st.sampled_from(["", "1", "2", "a", "ab", "axb", "ba"])


@st.composite
def path_patterns(draw: st.DrawFn) -> str:
    kinds = draw(st.lists(st.sampled_from(["a", "b", "a:go", ":", ":go", ":stop"]), max_size=4))
    segments = [
        f":c{place}{kind if kind != ':' else ''}" if kind.startswith(":") else kind
        for place, kind in enumerate(kinds)
    ]
    return "/" + "/".join([*segments, *draw(st.sampled_from([[], [], ["*"], [""]]))])


def some(names: list[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), value, max_size=2)


CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "method": st.lists(st.sampled_from(["GET", "POST", "PUT"]), min_size=1, max_size=2, unique=True),
    "header": some(["x-a", "x-b"], VALUE),
    "query": some(["p", "q"], VALUE),
    "cookie": some(["k", "l"], VALUE),
    "body_size": st.sampled_from(["> 10B", ">= 10B", "< 10B", "<= 10B"]),
}
TAILS = st.sampled_from(["", "/", "/a", "/b/a", "/c:go/x"])


@st.composite
def route_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Few conditions each, so that several routes match and their order decides."""
    routes = []
    for _ in range(draw(st.integers(1, 8))):
        match: dict[str, Any] = {}
        if draw(st.booleans()):
            match["host"] = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True))
        if draw(st.integers(0, 3)):
            match["path"] = draw(st.lists(path_patterns(), min_size=1, max_size=2, unique=True))
        for kind in draw(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=draw(st.integers(0, 2)))):
            match[kind] = draw(CONDITIONS[kind])
        routes.append(
            {"match": match, **({} if draw(st.integers(0, 3)) else {"priority": draw(st.integers(-1, 1))})}
        )
    return routes


@st.composite
def paths_like(draw: st.DrawFn, pattern: str) -> str:
    """A path that the pattern takes, or nearly."""
    path = ""
    for segment in pattern[1:].split("/"):
        if segment == "*":
            return (path + draw(TAILS)) or "/"
        if segment.startswith(":"):
            suffix = segment.partition(":")[2].partition(":")[2]
            segment = draw(st.sampled_from(["a", "b", "x"])) + (f":{suffix}" if suffix else "")
        path += "/" + segment
    return path


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Asked]:
    """Routes, and a request made for one of them."""
    routes = draw(route_lists())
    match = draw(st.sampled_from(routes))["match"]
    asked = Asked(
        host=draw(st.sampled_from(ASKED_HOSTS)),
        path=draw(paths_like(draw(st.sampled_from(match.get("path", ["/*"]))))),
        method=draw(st.sampled_from(["GET", "GET", "POST", "DELETE"])),
        fields=draw(some(["x-a", "x-b"], ASKED_VALUE)),
        query=draw(some(["p", "q"], ASKED_VALUE)),
        cookies=draw(some(["k", "l"], ASKED_VALUE)),
        length=draw(st.none() | st.sampled_from([0, 9, 10, 11])),
    )
    return routes, asked


SHADOWED: list[dict[str, Any]] = [
    {"match": {"path": ["/:c0/b"]}},
    {"match": {"path": ["/a/:c1"], "method": ["PUT"]}},
]


def head_of(asked: Asked) -> bytes:
    return request(asked.target, *asked.lines(), method=asked.method, host=asked.host)


@settings(max_examples=50, deadline=None)
@given(cases())
@example((SHADOWED, Asked(path="/a/b")))  # the better path refuses, its captures must not stay
def test_router_agrees_with_the_oracle(case: tuple[list[dict[str, Any]], Asked]) -> None:
    routes, asked = case
    found = router_of(*routes).explain(head_of(asked))
    assert (found["route"], found["captures"]) == choose(routes, asked)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_explanation_tells_the_truth(case: tuple[list[dict[str, Any]], Asked]) -> None:
    """The last one that matched is the route; who is refused does not hold, who matched does."""
    routes, asked = case
    found = router_of(*routes).explain(head_of(asked))
    matched = [name for name, outcome, _ in found["considered"] if outcome == "matched"]
    assert (matched[-1] if matched else None) == found["route"]
    for name, outcome, detail in found["considered"]:
        match = routes[int(name[1:])].get("match", {})
        assert outcome in ("matched", "refused", "outranked")
        if outcome != "outranked":
            assert conditions_hold(match, asked) == (outcome == "matched")
        assert bool(detail) == (outcome != "matched")


@settings(max_examples=50, deadline=None)
@given(cases())
def test_asking_twice_gives_the_same(case: tuple[list[dict[str, Any]], Asked]) -> None:
    """Captures of one request do not leak into the next."""
    routes, asked = case
    router = router_of(*routes)
    first = router.explain(head_of(asked))
    router.explain(request("/a/b/c/x:stop", host="c.b.a.test"))
    router.match_many(head_of(asked), "127.0.0.1", 3)
    assert router.explain(head_of(asked)) == first
