"""Sessions end to end: a signed cookie of lbd's own, or a name in the request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from harness.client import Response
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [
  {match: {path: /only/*}, cluster: app, endpoint_labels: {kind: b}},
  {match: {path: /rooms/:room/*}, cluster: app}, {cluster: app}]}]
clusters:
  - name: app
    endpoints: [{address: <a>, name: a}, {address: <b>, name: b, labels: {kind: b}}, {address: <c>, name: c}]
    sticky: <sticky>
    <more>
"""
COOKIE = "{cookie: {name: session}}"


class World:
    def __init__(self, lbd: Lbd, origins: dict[str, HttpOrigin]):
        self.lbd, self.origins = lbd, origins
        for name, origin in origins.items():
            origin.answer = partial(self.answer, name)
        self.ill: set[str] = set()

    def answer(self, name: str, seen: Seen) -> Answer:
        if seen.target == "/health":
            return Answer(503 if name in self.ill else 200)
        return Answer(404 if seen.target == "/bad" else 200, body=name.encode())

    def ask(self, path: str = "/", *fields: str) -> Response:
        return self.lbd.ask(get(path, *fields))


@contextmanager
def world(sticky: str = COOKIE, more: str = "") -> Iterator[World]:
    config = CONFIG.replace("<sticky>", sticky).replace("<more>", more)
    with HttpOrigin() as a, HttpOrigin() as b, HttpOrigin() as c, Lbd(config, a=a, b=b, c=c) as lbd:
        yield World(lbd, {"a": a, "b": b, "c": c})


def cookie_of(response: Response) -> str:
    line = response.one("set-cookie")
    assert line is not None
    match = re.fullmatch(r"session=([\w-]{24}); Path=/; HttpOnly; SameSite=Lax", line)
    assert match, line
    return f"Cookie: other=1; session={match[1]}"


def test_cookie_keeps_the_endpoint_and_is_set_once() -> None:
    with world() as stage:
        first = stage.ask()
        cookie = cookie_of(first)
        for _ in range(6):
            again = stage.ask("/", cookie)
            assert again.body == first.body and again.one("set-cookie") is None
        assert stage.lbd.metric("lbd_sessions_total", result="kept") == 6
        assert len({stage.ask().body for _ in range(6)}) == 3  # others are spread as ever


def test_cookie_says_nothing_of_the_endpoint() -> None:
    """The same endpoint, another cluster secret: another token; no address in it (users complain of that)."""
    tokens = set()
    for _ in range(2):
        with world() as stage:
            tokens |= {cookie_of(stage.ask()) for _ in range(3)}
    assert len(tokens) == 6


def test_secret_makes_tokens_that_outlive_lbd() -> None:
    sticky = "{cookie: {name: session, secret: 0123456789abcdef}}"
    found = []
    for _ in range(2):
        with world(sticky) as stage:
            found.append({cookie_of(stage.ask()) for _ in range(3)})
    assert found[0] == found[1] and len(found[0]) == 3


def test_forged_cookie_is_no_session() -> None:
    with world() as stage:
        token = cookie_of(stage.ask())
        forged = token[:-1] + ("A" if token[-1] != "A" else "B")
        answer = stage.ask("/", forged)
        assert answer.status == 200 and answer.one("set-cookie") is not None


def test_session_of_an_endpoint_that_is_down_moves_for_good() -> None:
    with world(more="health_check: {path: /health, interval: 30ms, unhealthy: 1}") as stage:
        first = stage.ask()
        cookie, name = cookie_of(first), first.body.decode()
        stage.ill.add(name)
        eventually(lambda: stage.lbd.metric("lbd_endpoint_up", endpoint=name) == 0, "it is seen to be down")
        second = stage.ask("/", cookie)
        assert second.status == 200 and second.body != first.body
        moved = cookie_of(second)
        assert {stage.ask("/", moved).body for _ in range(4)} == {second.body}
        assert stage.lbd.metric("lbd_sessions_total", result="lost") == 1


def test_name_in_a_header() -> None:
    with world("{key: {header: X-Session}}") as stage:
        seen = {name: {stage.ask("/", f"X-Session: {name}").body for _ in range(4)} for name in "pqrstu"}
        assert all(len(bodies) == 1 for bodies in seen.values())
        assert len(set.union(*seen.values())) == 3
        assert stage.ask("/", "X-Session: p").one("set-cookie") is None
        assert stage.lbd.metric("lbd_sessions_total", result="lost") == 0


def test_capture_names_the_session() -> None:
    with world("{key: {capture: room}}") as stage:
        for room in ("red", "blue", "green"):
            bodies = {stage.ask(f"/rooms/{room}/{page}").body for page in range(4)}
            assert len(bodies) == 1


def test_labels_of_the_route_come_first() -> None:
    """A session at an endpoint that the route does not allow is served by one that it does."""
    with world("{key: {header: X-Session}}") as stage:
        homes = {name: stage.ask("/", f"X-Session: {name}").body for name in "pqr"}
        assert set(homes.values()) == {b"a", b"b", b"c"}
        for name in homes:
            assert stage.ask("/only/x", f"X-Session: {name}").body == b"b"


def test_error_of_the_endpoint_keeps_the_session() -> None:
    with world() as stage:
        answer = stage.ask("/bad")
        assert answer.status == 404
        assert stage.ask("/", cookie_of(answer)).body == answer.body
