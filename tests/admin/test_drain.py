"""Draining and disabled endpoints under traffic: who is still served, when it is empty, what closes."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

import pytest
from admin.asking import change, endpoint, look
from admin.rolling import Load, Restarting
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually

CONFIG = """
state_directory: <state>
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    sticky: {key: {header: X-Session}}
    endpoints: [{address: <one>, name: one}, {address: <two>, name: two}]
"""


class Holding(HttpOrigin):
    """Says its name; answers to /hold wait until they are let go."""

    def __init__(self, name: str) -> None:
        super().__init__(self._say)
        self.name = name.encode()
        self.go = threading.Event()

    def _say(self, seen: Seen) -> Answer:
        if seen.target == "/hold":
            self.go.wait(4 * TIMEOUT)
        return Answer(body=self.name)

    @property
    def open(self) -> int:
        return sum(connection.ended is None for connection in self.connections)


class World:
    """lbd before two origins, and clients that hold an exchange with either."""

    def __init__(self, stack: ExitStack, state: Any) -> None:
        self.one, self.two = (stack.enter_context(Holding(name)) for name in ("one", "two"))
        self.lbd = stack.enter_context(Lbd(CONFIG, one=self.one, two=self.two, state=state))
        self.stack = stack

    def bodies(self, *fields: str, times: int = 4) -> set[bytes]:
        return {self.lbd.ask(get("/", *fields, "Connection: close")).body for _ in range(times)}

    def hold(self) -> None:
        """One exchange under way with each origin."""
        clients = [self.stack.enter_context(self.lbd.connect()) for _ in range(2)]
        for client in clients:
            client.send(get("/hold"))
        eventually(lambda: len(self.one.requests) == len(self.two.requests) == 1, "both hold one")
        self.clients = clients

    def release(self) -> set[bytes]:
        self.one.go.set()
        self.two.go.set()
        return {client.read_response().body for client in self.clients}


@pytest.fixture
def world(tmp_path: Any) -> Any:
    with ExitStack() as stack:
        yield World(stack, tmp_path / "state")


@pytest.mark.parametrize("state", ["draining", "disabled"])
def test_what_is_under_way_finishes(world: World, state: str) -> None:
    world.hold()
    seen = change(world.lbd, "app", "one", state=state)
    assert (seen["active"], seen["empty"], seen["usable"]) == (1, False, False)
    assert world.bodies() == {b"two"}
    assert not any("empty" in line for line in world.lbd.lines)
    assert endpoint(world.lbd, "app", "one")["active"] == 1
    assert world.release() == {b"one", b"two"}
    eventually(lambda: endpoint(world.lbd, "app", "one")["empty"], "it is empty")
    line = f" INFO endpoint app/one: {state} and empty"
    eventually(lambda: any(each.endswith(line) for each in world.lbd.lines), line)
    eventually(lambda: world.one.open == 0, "its connection has closed")
    assert endpoint(world.lbd, "app", "one")["connections"]["open"] == 0
    assert world.two.open > 0
    assert endpoint(world.lbd, "app", "two")["empty"] is False
    change(world.lbd, "app", "one", state="ready")
    assert world.bodies() == {b"one", b"two"}


def test_idle_connections_of_a_disabled_endpoint_close_at_once(world: World) -> None:
    """Also while an exchange is under way with it."""
    world.hold()
    assert world.bodies() == {b"one", b"two"}
    assert endpoint(world.lbd, "app", "one")["connections"] == {"open": 2, "idle": 1, "queued": 0}
    seen = change(world.lbd, "app", "one", state="disabled")
    assert (seen["active"], seen["connections"]) == (1, {"open": 1, "idle": 0, "queued": 0})
    eventually(lambda: world.one.open == 1, "the unused one has closed")
    world.release()
    eventually(lambda: world.one.open == 0, "the other one as well")


def test_sessions_stay_with_a_draining_endpoint_and_leave_a_disabled_one(world: World) -> None:
    sessions = [f"X-Session: s{n}" for n in range(8)]
    mine = next(session for session in sessions if world.bodies(session, times=1) == {b"one"})
    assert world.bodies(mine) == {b"one"}
    change(world.lbd, "app", "one", state="draining")
    assert world.bodies(mine) == {b"one"}
    assert world.bodies("X-Session: new", times=6) == {b"two"}
    assert world.bodies(times=6) == {b"two"}
    change(world.lbd, "app", "one", state="disabled")
    assert world.bodies(mine) == {b"two"}


def test_all_disabled(world: World) -> None:
    for name in ("one", "two"):
        change(world.lbd, "app", name, state="disabled")
    response = world.lbd.ask(get("/", "Connection: close"))
    assert (response.status, response.reason) == (503, "no_endpoint")
    change(world.lbd, "app", "two", state="ready")
    assert world.bodies() == {b"two"}


def test_ready_again_before_it_was_empty(world: World) -> None:
    world.hold()
    change(world.lbd, "app", "one", state="draining")
    change(world.lbd, "app", "one", state="ready")
    assert world.bodies() == {b"one", b"two"}
    world.release()
    assert not any("and empty" in line for line in world.lbd.lines)


def test_weight_moves_traffic_at_once(world: World) -> None:
    change(world.lbd, "app", "one", weight=0)
    assert world.bodies() == {b"two"}
    change(world.lbd, "app", "one", weight=3)
    asked = [world.lbd.ask(get("/", "Connection: close")).body for _ in range(40)]
    assert asked.count(b"one") == 30


def test_rolling_restart_under_load(tmp_path: Any) -> None:
    """Three origins are killed one after the other; of requests that must not be sent twice, none fails."""
    config = """
state_directory: <state>
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    retry: {limit: 0}
    passive_check: off
    endpoints: [{address: <a>, name: a}, {address: <b>, name: b}, {address: <c>, name: c}]
"""
    with Restarting("a") as a, Restarting("b") as b, Restarting("c") as c:
        places = {"a": a, "b": b, "c": c}
        with Lbd(config, state=tmp_path, **places) as lbd, Load(lbd.address(), clients=6) as load:
            for _ in range(2):
                for name, origin in places.items():
                    eventually(lambda said=origin.said: load.answers[said], f"{name} serves")
                    change(lbd, "app", name, state="draining")
                    eventually(lambda name=name: endpoint(lbd, "app", name)["empty"], f"{name} is empty")
                    origin.restart()
                    change(lbd, "app", name, state="ready")
                    eventually(lambda said=origin.said: load.answers[said], f"{name} serves again")
            assert look(lbd, "/api/clusters/app")["counts"]["usable"] == 3
    assert load.failures == []
    assert {said.decode() for said in load.answers} == {f"{name}{n}" for name in "abc" for n in range(3)}
