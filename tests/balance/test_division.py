"""How a cluster is divided into parts with shares: tiers, zones, regions, panic, slow start.

Pure, on a clock that the tests set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbd.balance.division import Divide, Regions, Zones
from lbd.balance.round_robin import RoundRobin
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint


def endpoint(name: str, weight: int = 1, tier: int = 0, **labels: str) -> Endpoint:
    return Endpoint(name, "127.0.0.1:1", weight=weight, priority=tier, labels=labels)


class World:
    """A cluster on a clock of its own, in seconds."""

    def __init__(self, *endpoints: Endpoint, **setting: Any):
        self.endpoints = {one.name: one for one in endpoints}
        self.now = 1000.0
        self.events: list[str] = []
        self.cluster = Cluster(
            "app", endpoints, balancer_class=RoundRobin, new_divide=lambda: Divide(**setting), measures=True
        )
        self.cluster.on_change = lambda cluster, kind, one: self.events.append(kind)
        self.cluster.set_time(self.now)
        self.cluster.refresh()

    def at(self, seconds: float) -> World:
        """Go on for so long; a cluster without a reactor looks again when it is due."""
        self.now += seconds
        self.cluster.set_time(self.now)
        return self

    def set(self, health: str, *names: str) -> World:
        for name in names:
            self.endpoints[name].set_health(health)
        self.cluster.changed()
        return self

    def down(self, *names: str) -> World:
        return self.set("down", *names)

    def up(self, *names: str) -> World:
        return self.set("up", *names)

    def answers(self, *names: str, failed: int = 0, count: int = 40, seconds: float = 0.01) -> World:
        """That many outcomes for each of these endpoints, `failed` of them bad."""
        for name in names:
            for turn in range(count):
                self.cluster.outcome_one(self.endpoints[name], turn < failed, seconds)
        return self

    @property
    def shares(self) -> dict[str, float]:
        selection = self.cluster.selection
        return {name: round(share, 6) for name, share in zip(selection.names, selection.shares, strict=True)}

    @property
    def serving(self) -> set[str]:
        return {one.name for one in self.cluster.selection.endpoints}

    def picks(self, count: int = 4000) -> dict[str, float]:
        """Share of each endpoint in that many picks."""
        found = Counter(one.name for _ in range(count) if (one := self.cluster.pick_one()) is not None)
        assert sum(found.values()) == count
        return {name: found[name] / count for name in found}


# tiers


def tiers(*tier_of: int, **setting: Any) -> World:
    """Endpoints a, b, c ... of these tiers."""
    return World(*(endpoint(chr(97 + i), tier=tier) for i, tier in enumerate(tier_of)), **setting)


def test_first_tier_takes_all_while_it_is_well() -> None:
    assert tiers(0, 0, 1, 2).shares == {"tier 0": 1}


def test_no_spill_within_the_overprovision() -> None:
    world = tiers(*[0] * 10, 1, 1)
    assert world.down("a", "b").shares == {"tier 0": 1}, "80 % x 1.4 is enough"
    assert world.down("c").shares == {"tier 0": 0.98, "tier 1": 0.02}


@pytest.mark.parametrize(
    ("down", "shares"),
    [
        ("a", {"tier 0": 0.7, "tier 1": 0.3}),
        ("ab", {"tier 1": 1}),
        ("ac", {"tier 0": 0.7, "tier 1": 0.3}),  # the second has 70 %, of which 30 % are needed
        ("abc", {"tier 1": 0.7, "tier 2": 0.3}),
        ("abcd", {"tier 2": 1}),
        ("abcde", {"tier 2": 1}),
        ("abcdef", {}),
    ],
)
def test_spill_over_by_health(down: str, shares: dict[str, float]) -> None:
    """Two endpoints in each tier; 1 of 2 is 50 % x 1.4 = 70 %."""
    assert tiers(0, 0, 1, 1, 2, 2).down(*down).shares == shares


def test_what_is_left_is_scaled_up() -> None:
    """20 % x 1.4 of each of two tiers is 56 % in all: half each."""
    world = tiers(*[0] * 5, *[1] * 5).down(*"abcd", *"fghi")
    assert world.shares == {"tier 0": 0.5, "tier 1": 0.5}
    assert world.serving == {"e", "j"}


def test_tiers_fail_over_and_back() -> None:
    world = tiers(0, 1)
    for _ in range(3):
        assert world.down("a").serving == {"b"}
        assert world.up("a").serving == {"a"}


def test_health_of_a_tier_is_by_weight() -> None:
    world = World(endpoint("a", 9), endpoint("b", 1), endpoint("c", tier=1))
    assert world.down("b").shares == {"tier 0": 1}
    assert world.up("b").down("a").shares == {"tier 0": 0.14, "tier 1": 0.86}


def test_overprovision_is_a_setting() -> None:
    assert tiers(0, 0, 1, overprovision=1.0).down("a").shares == {"tier 0": 0.5, "tier 1": 0.5}
    assert tiers(0, 0, 1, overprovision=2.0).down("a").shares == {"tier 0": 1}


def test_tier_without_weight_takes_nothing() -> None:
    world = World(endpoint("a", weight=0), endpoint("b", tier=1))
    assert world.serving == {"b"}


def test_numbers_of_tiers_need_not_be_dense() -> None:
    assert tiers(5, 100).shares == {"tier 5": 1}


def test_drained_endpoints_leave_their_tier() -> None:
    world = tiers(0, 1)
    world.endpoints["a"].set_admin("draining")
    world.cluster.changed()
    assert world.serving == {"b"}
    world.endpoints["a"].set_admin("ready")
    world.cluster.changed()
    assert world.serving == {"a"}


def test_picks_follow_the_shares() -> None:
    found = tiers(0, 0, 1).down("a").picks()
    assert found["b"] == pytest.approx(0.7, abs=0.04) and found["c"] == pytest.approx(0.3, abs=0.04)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.booleans()), min_size=1, max_size=24))
def test_shares_of_any_tiers(members: list[tuple[int, int, bool]]) -> None:
    """They are of usable endpoints only, sum up to 1, and none is passed over while a lower tier serves."""
    world = World(*(endpoint(f"e{i}", weight, tier) for i, (tier, weight, _) in enumerate(members)))
    world.down(*(f"e{i}" for i, (_, _, up) in enumerate(members) if not up))
    alive = {tier for tier, _, up in members if up}
    if not alive:
        assert world.serving == set()
        return
    assert sum(world.shares.values()) == pytest.approx(1, abs=1e-5)
    served = sorted({world.endpoints[name].priority for name in world.serving})
    assert served == sorted(alive)[: len(served)]
    assert all(members[int(name[1:])][2] for name in world.serving)


# zones


def zones(counts: str = "aabbcc", **setting: Any) -> World:
    """Endpoints a1, a2, b1 ... in zones a, b, c; lbd itself is in zone a."""
    seen: Counter[str] = Counter()
    made = []
    for zone in counts:
        seen[zone] += 1
        made.append(endpoint(f"{zone}{seen[zone]}", zone=zone))
    return World(*made, zones=Zones(local="a", **setting))


def named(**shares: float) -> dict[str, float]:
    return {f"all zone {zone}": share for zone, share in shares.items()}


def test_local_zone_is_preferred_while_it_is_well() -> None:
    assert zones(prefer_local=True).shares == named(a=1)


def test_local_zone_keeps_what_its_health_allows() -> None:
    world = zones("aaabbc", prefer_local=True).down("a1", "a2")
    assert world.shares == named(a=0.466667, b=0.355556, c=0.177778)
    assert world.down("a3").shares == named(b=0.666667, c=0.333333)


def test_without_a_preference_capacity_decides() -> None:
    assert zones("aabbbc").shares == named(a=0.333333, b=0.5, c=0.166667)
    assert zones("aabbbc").down("b1").shares == named(a=0.4, b=0.4, c=0.2)


def test_shares_of_zones() -> None:
    world = zones(shares={"a": 0.4, "b": 0.35, "c": 0.25})
    assert world.shares == named(a=0.4, b=0.35, c=0.25)
    assert world.down("b1", "b2").shares == named(a=0.615385, c=0.384615)


def test_zone_with_a_share_of_nothing_serves_when_no_other_can() -> None:
    world = zones("ab", shares={"a": 1.0})
    assert world.shares == named(a=1)
    assert world.down("a1").shares == named(b=1)


def test_penalty_of_other_zones() -> None:
    assert zones("aabb", penalty=1.5).shares == named(a=0.6, b=0.4)
    assert zones("aabb", penalty=1.5).down("a1", "a2").shares == named(b=1)


def test_most_that_other_zones_get() -> None:
    shares = {"a": 0.4, "b": 0.35, "c": 0.25}
    assert zones(shares=shares, max_cross=0.3).shares == named(a=0.7, b=0.175, c=0.125)
    world = zones(shares=shares, max_cross=0.3).down("a1")
    assert world.shares["all zone a"] == 0.7, "while any endpoint of the own zone can serve"
    assert world.down("a2").shares == named(b=0.583333, c=0.416667)


def test_nothing_may_cross() -> None:
    world = zones("abb", max_cross=0.0)
    assert world.shares == named(a=1)
    assert world.down("a1").shares == named(b=1), "better another zone than nobody"


def test_endpoints_without_a_zone() -> None:
    world = World(endpoint("a1", zone="a"), endpoint("x"), zones=Zones(local="a", prefer_local=True))
    assert world.shares == {"all zone a": 1}
    assert world.down("a1").serving == {"x"}


def test_zones_within_tiers() -> None:
    world = World(
        endpoint("a1", zone="a"), endpoint("b1", zone="b"), endpoint("spare", zone="b", tier=1),
        zones=Zones(local="a", prefer_local=True),
    )
    assert world.shares == {"tier 0 zone a": 1}
    world.down("a1")
    assert world.shares == {"tier 0 zone b": 0.7, "tier 1 zone b": 0.3}


def test_more_zones_than_parts() -> None:
    """30 zones: all of them still serve, each endpoint with its share."""
    world = World(*(endpoint(f"e{i}", zone=f"z{i}") for i in range(30)), zones=Zones())
    assert len(world.serving) == 30 and len(world.shares) <= 16
    assert sum(world.shares.values()) == pytest.approx(1, abs=1e-4)
    found = world.picks(9000)
    assert min(found.values()) > 0.02 and max(found.values()) < 0.05


# regions


def regions(**setting: Any) -> World:
    """Two endpoints in each of three regions."""
    made = [endpoint(f"{name}{i}", region=name) for name in ("eu", "us", "ap") for i in (1, 2)]
    setting = {"order": ("eu", "us", "ap"), "hold": 10.0, "min_healthy": 0.5, **setting}
    return World(*made, regions=Regions(**setting))


def region_of(world: World) -> str:
    found = {name[:2] for name in world.serving}
    assert len(found) <= 1, f"more than one region serves: {found}"
    assert found <= {world.cluster.selection.region}
    return "".join(found)


def test_one_region_serves_by_order() -> None:
    world = regions()
    assert region_of(world) == "eu"
    assert region_of(world.down("eu1")) == "eu", "half of it is enough"
    assert region_of(world.down("eu2")) == "us"
    assert region_of(world.down("us1", "us2")) == "ap"
    assert region_of(world.down("ap1", "ap2")) == ""
    assert "region us" in world.events and "region ap" in world.events


def test_regions_without_an_order() -> None:
    """Own region first, then as they appear; also those that nobody has foreseen."""
    made = [endpoint(f"{name}1", region=name) for name in ("eu", "us", "ap")]
    world = World(*made, endpoint("no1"), regions=Regions(own="us", nearest=False))
    assert region_of(world) == "us"
    assert region_of(world.down("us1")) == "eu"
    assert region_of(world.down("eu1")) == "ap"
    assert set(world.down("ap1").serving) == {"no1"}, "one that is in no region serves when none is left"


def test_way_back_takes_the_hold_time() -> None:
    world = regions().down("eu1", "eu2")
    assert region_of(world.up("eu1", "eu2")) == "us"
    assert region_of(world.at(9)) == "us"
    assert region_of(world.at(2)) == "eu"


def test_hold_starts_again_with_each_trouble() -> None:
    world = regions().down("eu1", "eu2").up("eu1", "eu2").at(9).down("eu1", "eu2").up("eu1", "eu2")
    assert region_of(world.at(9)) == "us"
    assert region_of(world.at(2)) == "eu"


def test_region_on_hold_serves_when_no_other_can() -> None:
    world = regions().down("eu1", "eu2").up("eu1", "eu2").down("us1", "us2", "ap1", "ap2")
    assert region_of(world) == "eu"


def test_share_of_healthy_endpoints() -> None:
    assert region_of(regions(min_healthy=0.95).down("eu1")) == "us"
    assert region_of(regions(min_healthy=0.0).down("eu1")) == "eu"


def test_all_regions_are_poor_but_one_must_serve() -> None:
    assert region_of(regions(min_healthy=0.95).down("eu1", "us1", "ap1")) == "eu"


def far(world: World, **seconds: float) -> World:
    """The round trips to the first endpoint of each region."""
    for name, distance in seconds.items():
        world.endpoints[f"{name}1"].set_rtt(distance)
    world.cluster.changed()
    return world


def test_nearest_of_the_others_is_next() -> None:
    world = far(regions(), eu=0.09, us=0.08, ap=0.03)
    assert region_of(world) == "eu", "the first of the order, wherever it is"
    assert region_of(world.down("eu1", "eu2")) == "ap"
    assert region_of(far(world, ap=0.2)) == "us"


def test_order_may_decide_in_place_of_distance() -> None:
    world = far(regions(nearest=False), us=0.08, ap=0.03)
    assert region_of(world.down("eu1", "eu2")) == "us"


def test_distance_of_a_region_is_that_of_its_nearest_endpoint() -> None:
    world = far(regions(), us=0.08, ap=0.05).down("eu1", "eu2")
    world.endpoints["us2"].set_rtt(0.01)
    world.cluster.changed()
    assert region_of(world) == "us"
    assert region_of(world.down("us2")) == "ap", "of those that are up"


def test_region_that_was_not_measured_is_far() -> None:
    assert region_of(far(regions(), ap=0.3).down("eu1", "eu2")) == "ap"
    assert region_of(regions().down("eu1", "eu2")) == "us", "by order when none was"


def test_regions_that_are_too_far_serve_when_no_other_can() -> None:
    world = far(regions(max_rtt=0.2), eu=0.5, us=0.3, ap=0.1)
    assert region_of(world) == "ap"
    assert region_of(world.down("ap1", "ap2")) == "eu"
    assert region_of(world.down("eu1", "eu2")) == "us"
    assert region_of(far(regions(max_rtt=0.2), ap=0.1)) == "eu", "what was not measured may be near"


def test_errors_of_a_region() -> None:
    world = regions(max_errors=0.05)
    assert region_of(world.answers("eu1", "eu2", failed=1).at(1.1)) == "eu", "2.5 %"
    assert region_of(world.answers("eu1", failed=20).at(1.1)) == "us"
    assert region_of(world.answers("us1", "us2").at(5)) == "us"


def test_region_with_errors_serves_again_when_they_are_forgotten() -> None:
    """Nobody asks it meanwhile, so it is time that heals; then it is held for a while."""
    world = regions(max_errors=0.05).answers("eu1", "eu2", failed=40).at(1.1)
    assert region_of(world) == "us"
    for _ in range(60):
        world.at(1)
    assert region_of(world) == "eu"


def test_few_errors_say_nothing() -> None:
    world = regions(max_errors=0.05, volume=50).answers("eu1", "eu2", failed=20, count=20).at(1.1)
    assert region_of(world) == "eu"


def test_response_time_of_a_region() -> None:
    world = regions(max_response=1.0)
    assert region_of(world.answers("eu1", "eu2", seconds=0.9).at(1.1)) == "eu"
    assert region_of(world.answers("eu1", "eu2", seconds=3.0).at(1.1)) == "us"


def test_region_without_endpoints() -> None:
    world = World(endpoint("us1", region="us"), regions=Regions(order=("eu", "us")))
    assert world.serving == {"us1"}


def test_panic_in_a_region_does_not_reach_the_others() -> None:
    made = [endpoint(f"{name}{i}", region=name) for name in ("eu", "us") for i in range(4)]
    world = World(*made, panic=0.5, regions=Regions(order=("eu", "us"), min_healthy=0.1))
    world.down("eu0", "eu1", "eu2")
    assert world.serving == {"eu0", "eu1", "eu2", "eu3"} and world.cluster.selection.panic


# panic


def test_panic_begins_below_the_threshold_and_ends_above() -> None:
    world = tiers(0, 0, 0, 0, panic=0.5)
    assert world.down("a", "b").serving == {"c", "d"} and not world.cluster.selection.panic, "50 % is enough"
    assert world.down("c").serving == set("abcd") and world.cluster.selection.panic
    assert world.shares == {"panic": 1}
    assert world.down("d").serving == set("abcd")
    assert world.up("a", "b").serving == set("ab") and not world.cluster.selection.panic
    assert world.events == ["panic begins", "panic ends"]


def test_no_panic_by_default() -> None:
    assert tiers(0, 0).down("a", "b").serving == set()


def test_panic_spares_what_the_operator_has_taken_out() -> None:
    world = tiers(0, 0, 0, panic=0.9)
    world.endpoints["a"].set_admin("disabled")
    world.endpoints["b"].set_admin("draining")
    assert world.down("c").serving == {"c"}


def test_panic_ignores_tiers() -> None:
    assert tiers(0, 1, 1, panic=0.9).down("b").serving == set("abc")


# weights


def test_weight_at_run_time() -> None:
    world = World(endpoint("a", 3), endpoint("b", 1))
    assert world.picks(400)["a"] == 0.75
    world.endpoints["a"].set_weight(1)
    world.cluster.changed()
    assert world.picks(400)["a"] == 0.5
    world.endpoints["a"].set_weight(0)
    world.cluster.changed()
    assert world.serving == {"b"}
    world.endpoints["a"].set_weight(None)
    world.cluster.changed()
    assert world.picks(400)["a"] == 0.75
    assert world.endpoints["a"].configured_weight == 3


def slow(*weights: int, seconds: float = 10) -> World:
    """The endpoints a, b, c ...; the first has been down and comes up now."""
    world = World(*(endpoint(chr(97 + i), weight) for i, weight in enumerate(weights)), slow_start=seconds)
    return world.down("a").at(100).up("a")


def test_slow_start_grows_to_the_full_share() -> None:
    world = slow(1, 1)
    shares = [world.picks(2200)["a"]]
    for _ in range(10):
        shares.append(world.at(1).picks(2200)["a"])
    assert 0 < shares[0] < 0.15 and shares[-1] == 0.5
    assert shares == sorted(shares) and shares[5] == pytest.approx(1 / 3, abs=0.03)


def test_slow_start_of_small_and_large_weights() -> None:
    world = slow(5, 1)
    first = world.picks(3000)["a"]
    assert 0.2 < first < 0.5
    assert world.at(10.5).picks(3000)["a"] == pytest.approx(5 / 6, abs=0.01)


def test_no_slow_start_for_those_that_serve_from_the_beginning() -> None:
    world = World(endpoint("a"), endpoint("b"), slow_start=10)
    assert world.picks(400) == {"a": 0.5, "b": 0.5}


def test_slow_start_when_all_come_up_together() -> None:
    world = World(endpoint("a"), endpoint("b"), slow_start=10).down("a", "b").at(100).up("a", "b")
    assert world.picks(400) == {"a": 0.5, "b": 0.5}


def test_slow_start_begins_anew_with_each_return() -> None:
    world = slow(1, 1).at(20)
    assert world.picks(400)["a"] == 0.5
    assert world.down("a").at(1).up("a").picks(2200)["a"] < 0.15


def test_slow_start_does_not_count_as_ill_health() -> None:
    """A tier whose endpoints all start slowly spills nothing."""
    world = World(endpoint("a"), endpoint("b", tier=1), slow_start=10).down("a").at(50).up("a")
    assert world.shares == {"tier 0": 1}


Change = Callable[[World], object]
CHANGES: Sequence[tuple[str, Change]] = [
    (f"{kind} {name}", lambda world, kind=kind, name=name: world.set(kind, name))  # type: ignore[misc]
    for kind in ("up", "down")
    for name in ("eu1", "eu2", "us1", "us2", "ap1", "ap2")
]


@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 5)), max_size=30))
def test_one_region_whatever_happens(steps: list[tuple[tuple[str, Change], int]]) -> None:
    """While any endpoint is up somebody serves; never two regions at a time, never one that is down."""
    world = regions()
    for (_, change), seconds in steps:
        change(world)
        world.at(seconds)
        alive = {name for name, one in world.endpoints.items() if one.health != "down"}
        assert bool(world.serving) == bool(alive) and world.serving <= alive
        region_of(world)
