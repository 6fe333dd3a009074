"""Changes are differences: who stays is the same object, who goes gives its records back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from control.worlds import Lines, config_of

from lbd.control.compile import Runtime, compile_runtime
from lbd.discovery import retired as retired_module
from lbd.discovery.member import Member
from lbd.discovery.membership import MOST_NAMED, Membership
from lbd.discovery.retired import Retired
from lbd.engine.accesslog import LogWriter
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.reactor import Reactor
from lbd.engine.shared import Shared

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: ["127.0.0.1:1"], discover: {dns: "app.test:80"}<more>}]
"""


class KnownNames:
    """Host names that resolve as told."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.followed: list[Endpoint] = []

    def address_of(self, address: str) -> str | None:
        host = address.rpartition(":")[0]
        return self.known.get(host) if host.endswith(".test") else host

    def follow(self, endpoint: Endpoint, cluster: Cluster) -> Callable[[], None] | None:
        self.followed.append(endpoint)
        return None

    def unfollow(self, endpoint: Endpoint) -> None:
        self.followed.remove(endpoint)


class World:
    """A compiled cluster `app` on a loop that never runs, and its Membership."""

    def __init__(self, more: str = "", size: int = 1 << 20) -> None:
        self.loop = asyncio.new_event_loop()
        self.log, self.names = Lines(), KnownNames()
        self.added: list[str] = []
        self.prompts = 0
        self.shared = Shared(1, size)
        config = config_of(CONFIG.replace("<more>", more))
        self.runtime: Runtime = compile_runtime(
            config, Reactor(self.loop, print), self.shared, {"127.0.0.1": "127.0.0.1"}, open_log=LogWriter
        )
        self.cluster = self.runtime.clusters["app"]
        self.retired = Retired(self.shared, self.runtime.clusters.values)
        self.membership = Membership(
            self.cluster,
            self.runtime.makers["app"],
            tuple(Member.of(endpoint) for endpoint in config.clusters[0].endpoints),
            self.names,  # type: ignore[arg-type]
            self.retired,
            self.log,
            prompt=self._prompt,
            on_added=lambda cluster, endpoint: self.added.append(f"{cluster.name}/{endpoint.name}"),
        )

    def _prompt(self) -> None:
        self.prompts += 1

    def apply(self, *members: Member | str) -> bool:
        return self.membership.apply(tuple(Member(one) if isinstance(one, str) else one for one in members))

    def endpoints(self) -> dict[str, Endpoint]:
        return {endpoint.name: endpoint for endpoint in self.cluster.endpoints}

    def lines(self) -> list[str]:
        return [text for _, text in self.log.lines]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()


def test_found_endpoints_stand_beside_the_fixed_ones(world: World) -> None:
    assert world.apply("10.0.0.1:80", "10.0.0.2:80")
    assert list(world.endpoints()) == ["127.0.0.1:1", "10.0.0.1:80", "10.0.0.2:80"]
    assert {world.cluster.balancer.pick_one(n) for n in range(30)} == set(world.cluster.endpoints)  # type: ignore[union-attr]
    assert world.added == ["app/10.0.0.1:80", "app/10.0.0.2:80"]
    assert world.lines() == ["cluster app: +10.0.0.1:80 +10.0.0.2:80"]


def test_those_that_stay_are_the_same_objects(world: World) -> None:
    world.apply("10.0.0.1:80", "10.0.0.2:80")
    before = world.endpoints()
    assert world.apply("10.0.0.3:80", "10.0.0.2:80")
    after = world.endpoints()
    assert after["10.0.0.2:80"] is before["10.0.0.2:80"] and after["127.0.0.1:1"] is before["127.0.0.1:1"]
    gone = before["10.0.0.1:80"]
    assert gone.removed and not gone.available and gone.pool.on_connect_failed is None  # type: ignore[attr-defined]
    assert world.lines()[-1] == "cluster app: +10.0.0.3:80 -10.0.0.1:80"
    assert set(world.names.followed) == set(after.values())


def test_the_same_again_is_no_change(world: World) -> None:
    members = (Member("10.0.0.1:80", 2, 1, {"zone": "a"}), Member("10.0.0.2:80"))
    assert world.apply(*members)
    assert not world.apply(*members) and len(world.lines()) == 1


def test_settings_change_in_place(world: World) -> None:
    world.apply("10.0.0.1:80", Member("10.0.0.2:80", 1))
    before = world.endpoints()["10.0.0.1:80"]
    before.set_health("up")
    assert world.apply(Member("10.0.0.1:80", 5, 0, {"zone": "b"}), Member("10.0.0.2:80", 0))
    after = world.endpoints()["10.0.0.1:80"]
    assert after is before and after.health == "up"
    assert (after.configured_weight, after.weight, after.priority) == (5, 5, 0)
    assert after.labels == {"zone": "b"} and after.zone == "b"
    picked = [world.cluster.balancer.pick_one(n) for n in range(60)]  # type: ignore[union-attr]
    assert picked.count(after) == 50 and world.endpoints()["10.0.0.2:80"] not in picked
    assert world.lines()[-1] == "cluster app: ~10.0.0.1:80 ~10.0.0.2:80"
    assert world.apply(Member("10.0.0.1:80", 5, 2, {"zone": "b"}), Member("10.0.0.2:80", 0))
    assert world.endpoints()["10.0.0.1:80"] is after and after.priority == 2


def test_named_endpoint_moves_and_stays_itself(world: World) -> None:
    world.apply(Member("10.0.0.1:80", name="one"))
    before = world.endpoints()["one"]
    assert world.apply(Member("10.0.0.9:81", name="one"))
    assert world.endpoints()["one"] is before and before.address == "10.0.0.9:81" and not before.removed
    assert world.names.followed.count(before) == 1


@pytest.mark.parametrize(("tls", "same"), [(", tls: {sni: app.test}", True), (", tls: true", False)])
def test_where_tls_asks_for_the_host_another_host_is_another_endpoint(tls: str, same: bool) -> None:
    world = World(tls)
    world.apply(Member("a.test:443", name="one"))
    before = world.endpoints()["one"]
    world.apply(Member("b.test:443", name="one"))
    after = world.endpoints()["one"]
    assert (after is before) is same and before.removed is not same
    assert after.address == "b.test:443" and world.names.followed.count(after) == 1
    world.loop.close()


def test_unresolved_host_gets_no_traffic(world: World) -> None:
    world.names.known["b.test"] = "10.0.0.2"
    world.apply("a.test:80", "b.test:80")
    assert [endpoint.resolved for endpoint in world.cluster.endpoints] == [True, False, True]
    assert world.endpoints()["a.test:80"] not in {world.cluster.balancer.pick_one(n) for n in range(30)}  # type: ignore[union-attr]


def test_endpoints_of_the_settings_win(world: World) -> None:
    assert not world.apply(Member("127.0.0.1:1", 9), Member("10.9.9.9:1", name="127.0.0.1:1"))
    assert [endpoint.weight for endpoint in world.cluster.endpoints] == [1]


def test_one_address_under_two_names_is_one_endpoint(world: World) -> None:
    world.apply(Member("10.0.0.1:80", name="a"), Member("10.0.0.1:80", name="b"), "10.0.0.1:80")
    assert list(world.endpoints()) == ["127.0.0.1:1", "a"]


def test_all_gone_leaves_the_fixed_ones(world: World) -> None:
    world.apply("10.0.0.1:80")
    assert world.apply() and list(world.endpoints()) == ["127.0.0.1:1"]


def test_failed_connect_prompts_the_source(world: World) -> None:
    world.apply("10.0.0.1:80")
    callback = world.endpoints()["10.0.0.1:80"].pool.on_connect_failed
    assert callback is not None
    callback()
    assert world.prompts == 1
    assert world.endpoints()["127.0.0.1:1"].pool.on_connect_failed is None  # nothing can be asked about it


def test_long_changes_are_cut_in_the_log(world: World) -> None:
    world.apply(*(f"10.0.0.{n}:80" for n in range(MOST_NAMED + 7)))
    assert world.lines()[0].endswith(f"+10.0.0.{MOST_NAMED - 1}:80 and 7 more")


def test_full_block_costs_the_newcomers_only() -> None:
    world = World(size=64 * 1024)
    world.apply(*(f"10.0.0.{n}:80" for n in range(200)))
    count = len(world.endpoints())
    assert 1 < count < 201
    assert any("is left out: shared state block is full" in line for line in world.lines())
    world.loop.close()


# records ---------------------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired_module, "KEPT_SECONDS", 0.0)


def known(world: World) -> set[str]:
    return set(world.shared.names("endpoint"))


def test_records_are_kept_for_a_while(world: World) -> None:
    world.apply("10.0.0.1:80")
    world.apply("10.0.0.2:80")
    assert "app/10.0.0.1:80" in known(world) and len(world.retired) == 1


def test_records_of_the_gone_are_used_again(soon: None, world: World) -> None:
    for n in range(5000):  # far more than the block has room for
        world.apply(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:80")
        assert len(world.cluster.endpoints) == 2
    assert len(known(world)) <= 3 and len(world.retired) <= 1
    assert not any("left out" in line for line in world.lines())


def test_a_flood_of_names_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired_module, "MOST_KEPT", 5)
    for n in range(100):
        world.apply(f"10.0.0.{n}:80")
    assert len(world.retired) <= 5 and len(known(world)) <= 7


def test_record_is_empty_when_it_is_used_again(soon: None, world: World) -> None:
    world.apply("10.0.0.1:80")
    world.endpoints()["10.0.0.1:80"].set_health("down")
    world.apply()
    world.apply("10.0.0.2:80")
    assert "app/10.0.0.1:80" not in known(world)
    assert world.endpoints()["10.0.0.2:80"].health == "unknown"


def test_who_comes_back_finds_its_state(world: World) -> None:
    world.apply("10.0.0.1:80")
    first = world.endpoints()["10.0.0.1:80"]
    first.set_health("down")
    first.set_weight(7)
    world.apply()
    world.apply("10.0.0.1:80")
    second = world.endpoints()["10.0.0.1:80"]
    assert second is not first and second.health == "down" and second.wanted_weight == 7


def test_who_came_back_keeps_its_records(soon: None, world: World) -> None:
    world.apply("10.0.0.1:80")
    world.apply()
    world.apply("10.0.0.1:80")
    world.endpoints()["10.0.0.1:80"].set_health("down")
    world.apply("10.0.0.1:80", "10.0.0.2:80")  # sweeps
    assert "app/10.0.0.1:80" in known(world)
    assert world.endpoints()["10.0.0.1:80"].health == "down"


def test_what_the_operator_said_outlives_the_endpoint(soon: None, world: World) -> None:
    world.apply("10.0.0.1:80")
    world.endpoints()["10.0.0.1:80"].set_admin("disabled")
    world.apply()
    world.apply("10.0.0.2:80")
    world.apply("10.0.0.1:80")
    assert world.endpoints()["10.0.0.1:80"].admin == "disabled"


def test_detached_endpoint_writes_elsewhere(soon: None, world: World) -> None:
    world.apply("10.0.0.1:80")
    old: Any = world.endpoints()["10.0.0.1:80"]
    world.apply()
    world.apply("10.0.0.2:80")
    old.set_health("down")
    assert world.endpoints()["10.0.0.2:80"].health == "unknown"
