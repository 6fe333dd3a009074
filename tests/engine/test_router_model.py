"""The router against the oracle, on generated routes and requests."""

from __future__ import annotations

from typing import Any

from engine.route_oracle import Asked, choose, conditions_hold
from engine.routing import request, router_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

HOSTS = ["a.test", "b.a.test", "*.a.test", "*.test", "*.b.a.test", "test"]
ASKED_HOSTS = ["a.test", "A.Test", "b.a.test", "c.b.a.test", "x.test", "test", "xa.test", "b.a.test:8080", "other"]
VALUE = st.sampled_from(["1", "2", "a*", "*a", "a*b", "*"]) | st.lists(
    st.sampled_from(["1", "2", "ab*"]), min_size=1, max_size=2) | st.booleans()
ASKED_VALUE = st.sampled_from(["", "1", "2", "a", "ab", "axb", "ba"])


@st.composite
def path_patterns(draw: st.DrawFn) -> str:
    kinds = draw(st.lists(st.sampled_from(["a", "b", "a:go", ":", ":go", ":stop"]), max_size=4))
    segments = [f":c{place}{kind if kind != ':' else ''}" if kind.startswith(":") else kind
                for place, kind in enumerate(kinds)]
    return "/" + "/".join([*segments, *draw(st.sampled_from([[], [], ["*"], [""]]))])


def some(names: list[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), value, max_size=2)


MATCHES = st.fixed_dictionaries({}, optional={
    "host": st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True),
    "path": st.lists(path_patterns(), min_size=1, max_size=2, unique=True),
    "method": st.lists(st.sampled_from(["GET", "POST", "PUT"]), min_size=1, max_size=2, unique=True),
    "header": some(["x-a", "x-b"], VALUE),
    "query": some(["p", "q"], VALUE),
    "cookie": some(["k", "l"], VALUE),
    "body_size": st.sampled_from(["> 10B", ">= 10B", "< 10B", "<= 10B"]),
})
ROUTES = st.lists(st.fixed_dictionaries({"match": MATCHES}, optional={"priority": st.integers(-1, 1)}),
                  min_size=1, max_size=8)
PATHS = st.lists(st.sampled_from(["a", "b", "a:go", "b:go", "x:stop", ":go", "c"]), max_size=5)
ASKED = st.builds(
    Asked, host=st.sampled_from(ASKED_HOSTS),
    path=st.builds(lambda parts, end: "/" + "/".join(parts) + (end if parts else ""), PATHS, st.sampled_from(["", "/"])),
    method=st.sampled_from(["GET", "POST", "DELETE"]), fields=some(["x-a", "x-b"], ASKED_VALUE),
    query=some(["p", "q"], ASKED_VALUE), cookies=some(["k", "l"], ASKED_VALUE),
    length=st.none() | st.sampled_from([0, 9, 10, 11]))
SHADOWED: list[dict[str, Any]] = [{"match": {"path": ["/:c0/b"]}}, {"match": {"path": ["/a/:c1"], "method": ["PUT"]}}]


def head_of(asked: Asked) -> bytes:
    return request(asked.target, *asked.lines(), method=asked.method, host=asked.host)


@settings(max_examples=400, deadline=None)
@given(ROUTES, ASKED)
@example(SHADOWED, Asked(path="/a/b"))  # the better path refuses, its captures must not stay
def test_router_agrees_with_the_oracle(routes: list[dict[str, Any]], asked: Asked) -> None:
    found = router_of(*routes).explain(head_of(asked))
    assert (found["route"], found["captures"]) == choose(routes, asked)


@settings(max_examples=150, deadline=None)
@given(ROUTES, ASKED)
def test_explanation_tells_the_truth(routes: list[dict[str, Any]], asked: Asked) -> None:
    """The last one that matched is the route; who is refused does not hold, who matched does."""
    found = router_of(*routes).explain(head_of(asked))
    matched = [name for name, outcome, _ in found["considered"] if outcome == "matched"]
    assert (matched[-1] if matched else None) == found["route"]
    for name, outcome, detail in found["considered"]:
        match = routes[int(name[1:])].get("match", {})
        assert outcome in ("matched", "refused", "outranked")
        if outcome != "outranked":
            assert conditions_hold(match, asked) == (outcome == "matched")
        assert bool(detail) == (outcome != "matched")


@settings(max_examples=100, deadline=None)
@given(ROUTES, ASKED)
def test_asking_twice_gives_the_same(routes: list[dict[str, Any]], asked: Asked) -> None:
    """Captures of one request do not leak into the next."""
    router = router_of(*routes)
    first = router.explain(head_of(asked))
    router.explain(request("/a/b/c/x:stop", host="c.b.a.test"))
    router.match_many(head_of(asked), "127.0.0.1", 3)
    assert router.explain(head_of(asked)) == first
