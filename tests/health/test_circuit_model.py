"""Breakers and passive checks on a clock that the tests set, without sockets: whole lives of circuits.

A Cluster without a reactor is asked as an exchange asks it (admit_one, pick_one) and told how that ended
(outcome_one). A model of the breaker, written from the documentation, has to agree at every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lbd.balance.round_robin import RoundRobin
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.health.breaker import Breaker
from lbd.health.passive import Passive

RULE: dict[str, Any] = {
    "consecutive": 3, "ratio": 0, "volume": 20, "window_ms": 10_000, "open_ms": 1000, "longest_ms": 4000,
    "growth": 2.0, "probes": 3, "needed": 2,
}
HOUR = 3600.0


class Life:
    """A cluster with its guards and a clock in seconds."""

    def __init__(self, count: int = 1, **guards: Any):
        self.endpoints = [Endpoint(f"e{i}", f"127.0.0.1:{i + 1}") for i in range(count)]
        self.cluster = Cluster("app", self.endpoints, balancer_class=RoundRobin, **guards)
        self.events: list[tuple[str, str | None]] = []
        self.cluster.on_change = lambda _, kind, one: self.events.append((kind, one and one.name))
        self.now = 0.0
        self.wait(HOUR)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.cluster.set_time(self.now)

    def admits(self) -> bool:
        reason = self.cluster.admit_one()
        assert reason in (None, "breaker_open")
        return reason is None

    def ends(self, *failed: bool | None, seconds: float = 0.0) -> None:
        for each in failed:
            self.cluster.outcome_one(self.endpoints[0], each, seconds)

    def asks(self, *failed: bool | None) -> int:
        """Exchanges one after another, which end so when they are admitted; how many were."""
        admitted = 0
        for each in failed:
            if self.admits():
                admitted += 1
                self.ends(each)
        return admitted

    def out(self) -> list[str]:
        return [one.name for one in self.endpoints if not one.usable]


def breaker(**more: Any) -> Life:
    return Life(breaker=Breaker(rule={**RULE, **more}))


def passive(count: int = 3, most: float = 0.5, **more: Any) -> Life:
    check = {**RULE, "probes": 1, "needed": 1, **more}
    names = ("latency_factor", "latency_ms", "latency_volume")
    latency = {name: check.pop(name) for name in names if name in check}
    return Life(count, passive=Passive(rule=check, most=most, **latency))


BAD, GOOD = True, False


def opened_for(life: Life, step: float = 0.25) -> float:
    """How long nothing is admitted, from now on; the probe that ends it tells nothing."""
    begun = life.now
    while not life.admits():
        life.wait(step)
        assert life.now - begun < 100
    life.ends(None)
    return life.now - begun


# breakers


def test_it_opens_for_longer_while_its_tries_fail() -> None:
    life = breaker()
    life.ends(BAD, BAD, BAD)
    found = []
    for _ in range(5):
        found.append(opened_for(life))
        assert life.asks(BAD, BAD) == 2
    assert found == [1, 2, 4, 4, 4]


def test_it_opens_for_the_first_time_again_when_it_had_closed() -> None:
    life = breaker()
    for _ in range(3):
        life.ends(BAD, BAD, BAD)
        assert opened_for(life) == 1
        assert life.asks(GOOD, GOOD) == 2
    assert [kind for kind, _ in life.events] == ["breaker open", "breaker half-open", "breaker closed"] * 3


def test_it_grows_however_long_the_tries_take() -> None:
    life = breaker()
    life.ends(BAD, BAD, BAD)
    life.wait(1)
    assert life.asks(BAD) == 1
    life.wait(HOUR)
    assert life.asks(BAD) == 1
    assert opened_for(life) == 2


def test_growth_of_nothing() -> None:
    life = breaker(growth=1.0)
    life.ends(BAD, BAD, BAD)
    for _ in range(4):
        assert opened_for(life) == 1
        assert life.asks(BAD, BAD) == 2


def test_success_in_between_begins_the_count_anew() -> None:
    life = breaker()
    assert life.asks(BAD, BAD, GOOD, BAD, BAD, GOOD, BAD, BAD, BAD, GOOD) == 9


def test_results_of_probes_are_kept_however_rare_they_are() -> None:
    life = breaker()
    life.ends(BAD, BAD, BAD)
    life.wait(1)
    assert life.asks(GOOD) == 1
    life.wait(HOUR)
    assert life.asks(GOOD) == 1
    assert life.events[-1] == ("breaker closed", None)
    life.ends(BAD, BAD, BAD)
    life.wait(1)
    assert life.asks(BAD) == 1
    life.wait(HOUR)
    assert life.asks(BAD, BAD) == 1


def test_probes_without_a_result_are_replaced() -> None:
    """Those of a worker that was killed, say."""
    life = breaker()
    life.ends(BAD, BAD, BAD)
    life.wait(1)
    assert [life.admits() for _ in range(5)] == [True, True, True, False, False]
    life.wait(1.5)
    assert life.asks(GOOD, GOOD, GOOD) == 3
    assert life.events[-1] == ("breaker closed", None)


def test_probes_that_take_longer_than_the_time_it_is_open() -> None:
    """Their results count all the same, although others have been let through meanwhile."""
    life = breaker()
    life.ends(BAD, BAD, BAD)
    life.wait(1)
    assert life.admits()
    life.wait(1.5)
    assert life.admits()
    life.wait(1.5)
    assert life.admits()
    life.ends(GOOD, seconds=3.0)
    life.wait(1.5)
    life.ends(GOOD, seconds=3.0)
    assert life.events[-1] == ("breaker closed", None)


@pytest.mark.parametrize("end", [BAD, GOOD, None])
def test_exchanges_that_began_before_it_opened_are_no_probes(end: bool | None) -> None:
    life = breaker()
    life.ends(BAD, BAD, BAD)
    life.wait(1.2)
    assert life.admits()
    life.ends(end, end, end, seconds=1.3)
    assert life.events[-1] == ("breaker half-open", None)
    assert [life.admits() for _ in range(4)] == [True, True, False, False]


def test_ratio_needs_its_volume() -> None:
    life = breaker(consecutive=0, ratio=5000, volume=10)
    assert life.asks(*[BAD] * 12) == 10


def test_exactly_the_ratio_is_not_too_bad() -> None:
    life = breaker(consecutive=0, ratio=5000, volume=10)
    life.ends(*[GOOD] * 10, *[BAD] * 10)
    assert life.events == []
    life.ends(BAD)
    assert life.events == [("breaker open", None)]


def test_all_failed_is_too_bad_by_any_ratio() -> None:
    life = breaker(consecutive=0, ratio=10_000, volume=10)
    life.ends(*[BAD] * 9)
    assert life.events == []
    life.ends(BAD)
    assert life.events == [("breaker open", None)]


def test_ratio_of_recent_results_only() -> None:
    life = breaker(consecutive=0, ratio=6000, volume=10)
    life.ends(*[GOOD] * 100)
    life.wait(10)
    life.ends(*[GOOD] * 4)
    life.wait(15)  # the hundred are in no window any more, and of the four half count
    life.ends(*[BAD] * 7)
    assert life.events == []
    life.ends(BAD)
    assert life.events == [("breaker open", None)]


def test_ratio_slides() -> None:
    """The window before counts as far as it lies within the last ten seconds."""
    life = breaker(consecutive=0, ratio=5000, volume=10)
    life.ends(*[GOOD] * 20)
    life.wait(10)
    life.ends(*[BAD] * 18)
    assert life.events == [], "18 of 38"
    life.wait(5)
    life.ends(BAD)
    assert life.events == [("breaker open", None)], "19 of 29"


def test_unlucky_pairs_of_numbers_are_refused() -> None:
    for wrong in ({"needed": 4}, {"needed": 0}, {"open_ms": 0}, {"ratio": 1, "window_ms": 0}):
        with pytest.raises(ValueError, match="rule"):
            Breaker(rule={**RULE, **wrong})


class Model:
    """The breaker as docs/configuration.md has it: consecutive, open, growth, max_open, probes, needed."""

    def __init__(self) -> None:
        self.state, self.in_row, self.until, self.since, self.failed_tries = "closed", 0, 0.0, 0.0, 0
        self.probes = self.good = self.bad = 0
        self.renewed = 0.0

    def admit(self, now: float) -> bool:
        if self.state == "closed":
            return True
        if self.state == "open":
            if now < self.until:
                return False
            self.state, self.since, self.renewed = "half-open", now, now
            self.probes = self.good = self.bad = 0
        elif now > self.renewed + 1:
            self.probes, self.renewed = self.good + self.bad, now
        if self.probes >= 3:
            return False
        self.probes += 1
        return True

    def end(self, failed: bool | None, began: float, now: float) -> None:
        if self.state == "closed" and failed is not None:
            self.in_row = self.in_row + 1 if failed else 0
            if self.in_row == 3:
                self._open(now)
        elif self.state == "half-open" and began >= self.since:
            if failed is None:
                self.probes -= self.probes > self.good + self.bad
            elif failed:
                self.bad += 1
                if self.bad > 1:
                    self.failed_tries += 1
                    self._open(now)
            else:
                self.good += 1
                if self.good == 2:
                    self.state, self.in_row, self.failed_tries = "closed", 0, 0

    def _open(self, now: float) -> None:
        self.state, self.until = "open", now + min(4, 2**self.failed_tries)


class BreakerLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.life, self.model = breaker(), Model()
        self.under_way: list[float] = []

    @rule(eighths=st.integers(0, 30))
    def time_passes(self, eighths: int) -> None:
        self.life.wait(eighths / 8)  # exact in binary

    @rule()
    def request(self) -> None:
        admitted = self.life.admits()
        assert admitted == self.model.admit(self.life.now)
        if admitted:
            self.under_way.append(self.life.now)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), failed=st.sampled_from([BAD, BAD, GOOD, None]))
    def answer(self, data: st.DataObject, failed: bool | None) -> None:
        began = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.life.ends(failed, seconds=self.life.now - began)
        self.model.end(failed, began, self.life.now)

    @rule(failed=st.booleans())
    def quick_exchange(self, failed: bool) -> None:
        self.request()
        if self.under_way and self.under_way[-1] == self.life.now:
            self.under_way.pop()
            self.life.ends(failed)
            self.model.end(failed, self.life.now, self.life.now)

    @invariant()
    def tells_each_change_once(self) -> None:
        kinds = [kind for kind, _ in self.life.events]
        assert all(before != after for before, after in pairwise(kinds))


TestBreakerLife = BreakerLife.TestCase
TestBreakerLife.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


# passive checks


def fails(life: Life, one: int, times: int = 3) -> None:
    for _ in range(times):
        life.cluster.outcome_one(life.endpoints[one], True)


def test_ejected_ones_are_not_picked() -> None:
    life = passive()
    fails(life, 1)
    assert life.out() == ["e1"] and life.events == [("ejected", "e1")]
    assert {one.name for _ in range(20) if (one := life.cluster.pick_one())} == {"e0", "e2"}


def test_each_ejection_is_longer_until_it_was_well_for_long() -> None:
    life = passive()

    def next_ejection() -> float:
        fails(life, 0)
        begun = life.now
        while life.out():
            life.wait(0.25)
        life.cluster.outcome_one(life.endpoints[0], False)
        assert not life.endpoints[0].on_probation
        return life.now - begun

    assert [next_ejection() for _ in range(4)] == [1, 2, 4, 4]
    life.wait(5)
    assert next_ejection() == 1


def test_one_on_probation_gets_a_single_request_at_a_time() -> None:
    life = passive()
    fails(life, 0)
    life.wait(1)
    assert life.endpoints[0].on_probation and life.out() == []
    found = [one.name for _ in range(30) if (one := life.cluster.pick_one())]
    assert found.count("e0") == 1
    life.cluster.outcome_one(life.endpoints[0], None)
    found = [one.name for _ in range(30) if (one := life.cluster.pick_one())]
    assert found.count("e0") == 1, "the try told nothing, so there is another"
    life.cluster.outcome_one(life.endpoints[0], False)
    found = [one.name for _ in range(30) if (one := life.cluster.pick_one())]
    assert found.count("e0") == 10


def test_those_on_probation_serve_when_nobody_else_can() -> None:
    life = passive(2)
    fails(life, 0)
    life.wait(1)
    life.endpoints[1].set_health("down")
    life.cluster.changed()
    assert [one and one.name for one in (life.cluster.pick_one() for _ in range(5))] == ["e0"] * 5


def test_last_one_stays_on_probation_when_it_fails_its_try() -> None:
    life = passive(2)
    fails(life, 0)
    life.wait(1)
    life.endpoints[1].set_health("down")
    life.cluster.changed()
    fails(life, 0)
    assert life.cluster.pick_one() is life.endpoints[0] and life.endpoints[0].on_probation
    life.cluster.outcome_one(life.endpoints[0], False)
    assert not life.endpoints[0].on_probation and life.events[-1] == ("recovered", "e0")


def test_slow_outlier() -> None:
    life = passive(latency_factor=5, latency_ms=100, latency_volume=10)
    for turn in range(13):  # some fade until they are compared
        for one, seconds in zip(life.endpoints, (0.01, 0.01, 0.4), strict=True):
            life.cluster.outcome_one(one, False, seconds)
        life.wait(0.01 * (turn % 2))
    life.wait(1)
    assert life.out() == ["e2"]


@pytest.mark.parametrize(
    ("times", "count"), [((0.01, 0.01, 0.09), 11), ((0.2, 0.2, 0.4), 11), ((0.01, 0.01, 0.4), 9)],
    ids=["fast_enough", "not_so_much_slower", "too_few"],
)
def test_no_slow_outlier(times: tuple[float, ...], count: int) -> None:
    life = passive(latency_factor=5, latency_ms=100, latency_volume=10)
    for _ in range(count):
        for one, seconds in zip(life.endpoints, times, strict=True):
            life.cluster.outcome_one(one, False, seconds)
    life.wait(1)
    assert life.out() == []


def test_it_takes_three_to_know_who_is_slow() -> None:
    life = passive(2, latency_factor=5, latency_ms=100, latency_volume=10)
    for _ in range(20):
        for one, seconds in zip(life.endpoints, (0.01, 0.9), strict=True):
            life.cluster.outcome_one(one, False, seconds)
    life.wait(1)
    assert life.out() == []


def test_answers_of_long_ago_are_nothing_to_compare_with() -> None:
    life = passive(latency_factor=5, latency_ms=100, latency_volume=10)
    for _ in range(15):
        for one in life.endpoints:
            life.cluster.outcome_one(one, False, 0.01)
    life.wait(30)
    for _ in range(15):
        life.cluster.outcome_one(life.endpoints[2], False, 0.4)
    life.wait(1)
    assert life.out() == []


class PassiveLife(RuleBasedStateMachine):
    """Five endpoints of which up to 60 % may be out, with others down or drained at will."""

    def __init__(self) -> None:
        super().__init__()
        self.life = passive(5, most=0.6)
        self.taken_out: set[str] = set()
        self.under_way: list[tuple[Endpoint, float]] = []

    @rule(eighths=st.integers(0, 40))
    def time_passes(self, eighths: int) -> None:
        self.life.wait(eighths / 8)

    @rule()
    def request(self) -> None:
        one = self.life.cluster.pick_one()
        assert (one is None) == (len(self.taken_out | set(self.life.out())) == 5)
        if one is not None:
            assert one.usable
            self.under_way.append((one, self.life.now))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), failed=st.sampled_from([BAD, BAD, BAD, GOOD, None]))
    def answer(self, data: st.DataObject, failed: bool | None) -> None:
        one, began = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        with self.somebody_serves():
            self.life.cluster.outcome_one(one, failed, self.life.now - began)

    @rule(one=st.integers(0, 4), failures=st.integers(1, 4))
    def failures(self, one: int, failures: int) -> None:
        with self.somebody_serves():
            fails(self.life, one, failures)

    @contextmanager
    def somebody_serves(self) -> Iterator[None]:
        """The last one is never held back, whatever its results."""
        before = len(self.life.out())
        yield
        assert before == 5 or len(self.life.out()) < 5

    @rule(one=st.integers(0, 4), how=st.sampled_from(["up", "down", "draining", "ready"]))
    def state(self, one: int, how: str) -> None:
        endpoint = self.life.endpoints[one]
        if how in ("up", "down"):
            endpoint.set_health(how)
        else:
            endpoint.set_admin(how)
        self.life.cluster.changed()
        well = endpoint.health != "down" and endpoint.admin == "ready"
        (self.taken_out.discard if well else self.taken_out.add)(endpoint.name)

    @invariant()
    def no_more_are_ejected_than_may(self) -> None:
        out = [name for name in self.life.out() if name not in self.taken_out]
        assert len(out) <= 3

    def teardown(self) -> None:
        """Left alone, and with good answers, all of them come back."""
        for endpoint in self.life.endpoints:
            endpoint.set_health("up")
            endpoint.set_admin("ready")
        self.life.cluster.changed()
        for _ in range(200):
            self.life.wait(0.5)
            if (one := self.life.cluster.pick_one()) is not None:
                self.life.cluster.outcome_one(one, False)
        assert self.life.out() == [] and not any(one.on_probation for one in self.life.endpoints)


TestPassiveLife = PassiveLife.TestCase
TestPassiveLife.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
