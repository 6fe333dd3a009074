"""What every balancer owes to a cluster, over every entry of the registry."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence

import pytest
from balance.picking import build, endpoints_of, hold, key_of, picks, shares
from hypothesis import given, settings
from hypothesis import strategies as st

from lbd import registry
from lbd.engine.endpoint import Balancer

IN_ORDER = {"first_available"}  # fills one after the other, by whatever weights
every = pytest.mark.parametrize("name", list(registry.BALANCERS))
spreading = pytest.mark.parametrize("name", [name for name in registry.BALANCERS if name not in IN_ORDER])

WEIGHTS = {
    "equal": [1] * 7,
    "two": [3, 1],
    "5:1:1": [5, 1, 1],
    "coprime": [7, 5, 3, 2],
    "common divisor": [300, 200, 100],
    "many": [1 + index % 4 for index in range(60)],
}
VERY_DIFFERENT = {
    "largest and smallest": [65535, 1],
    "one among many": [1000, *[1] * 50],
    "three sizes": [10000, 100, 1],
}
# an attempt is a turn, which heavy ones have many of
TAKING_TURNS = {"round_robin", "least_conn", "time_window"}
SCALED = 4096  # turns to which weights may be scaled down, so that a share may be off by n / 4096


def assert_proportional(balancer: Balancer, weights: Sequence[int], count: int) -> None:
    """Shares within 5 standard deviations of chance, plus what scaling of weights may cost."""
    got = shares(balancer, count)
    assert sum(got.values()) == count
    for index, weight in enumerate(weights):
        part = weight / sum(weights)
        allowed = 5 * math.sqrt(count * part * (1 - part)) + count * len(weights) / SCALED + 1
        assert abs(got[f"e{index}"] - count * part) <= allowed, (index, got)


@spreading
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_shares_follow_weights(name: str, weights: list[int]) -> None:
    assert_proportional(build(name, endpoints_of(weights)), weights, 3000)


@spreading
@pytest.mark.parametrize("weights", VERY_DIFFERENT.values(), ids=VERY_DIFFERENT)
def test_weights_of_very_different_size(name: str, weights: list[int]) -> None:
    assert_proportional(build(name, endpoints_of(weights)), weights, 4000)


@spreading
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_shares_follow_weights_in_a_steady_state(name: str, weights: list[int]) -> None:
    """The oldest exchange ends when a new one begins."""
    balancer = build(name, endpoints_of(weights))
    held = hold(balancer, 600)
    for turn in range(600, 3000):
        balancer.release_one(held[turn - 600])
        held += hold(balancer, 1)
    for index, weight in enumerate(weights):
        part = weight / sum(weights)
        count = sum(endpoint.name == f"e{index}" for endpoint in held)
        assert abs(count - 3000 * part) <= 5 * math.sqrt(3000 * part * (1 - part)) + len(weights)


@every
def test_empty_set_picks_none(name: str) -> None:
    balancer = build(name, [])
    assert [balancer.pick_one(key_of(turn)) for turn in range(3)] == [None] * 3
    assert balancer.endpoints == ()


@every
@pytest.mark.parametrize("weight", [1, 2, 65535])
def test_single_endpoint_is_always_picked(name: str, weight: int) -> None:
    (endpoint,) = endpoints_of([weight])
    balancer = build(name, [endpoint])
    assert hold(balancer, 100) == [endpoint] * 100
    assert endpoint.active == 100


@spreading
def test_thousand_endpoints_are_all_reachable(name: str) -> None:
    got = shares(build(name, endpoints_of([1] * 1000)), 20000)
    assert len(got) == 1000


@spreading
def test_thousand_endpoints_are_all_reachable_without_load(name: str) -> None:
    """Idle endpoints share the work of an idle cluster as well."""
    assert len(set(picks(build(name, endpoints_of([1] * 1000)), 20000))) == 1000


@every
def test_picks_are_of_the_given_endpoints(name: str) -> None:
    endpoints = endpoints_of([2, 1, 3])
    balancer = build(name, endpoints)
    assert balancer.endpoints == tuple(endpoints)
    assert all(any(picked is given for given in endpoints) for picked in hold(balancer, 50))


@every
def test_every_release_undoes_its_acquire(name: str) -> None:
    endpoints = endpoints_of([3, 1, 1])
    balancer = build(name, endpoints)
    held = hold(balancer, 500)
    assert sum(endpoint.active for endpoint in endpoints) == 500
    for endpoint in reversed(held):
        balancer.release_one(endpoint)
    assert [endpoint.active for endpoint in endpoints] == [0, 0, 0]
    if name not in IN_ORDER:
        assert_proportional(balancer, [3, 1, 1], 2000)


@spreading
def test_rebuild_with_other_weights(name: str) -> None:
    before, after = endpoints_of([1, 9]), endpoints_of([9, 1])
    assert_proportional(build(name, before), [1, 9], 2000)
    assert_proportional(build(name, after), [9, 1], 2000)


@every
def test_rebuild_keeps_the_load_of_endpoints(name: str) -> None:
    """The same Endpoint objects in a new balancer: what is under way counts on, and ends well."""
    endpoints = endpoints_of([1, 1, 1])
    held = hold(build(name, endpoints[:2]), 40)
    balancer = build(name, endpoints)
    assert sum(endpoint.active for endpoint in endpoints) == 40
    for endpoint in held:
        balancer.release_one(endpoint)
    assert [endpoint.active for endpoint in endpoints] == [0, 0, 0]
    if name not in IN_ORDER:
        assert_proportional(balancer, [1, 1, 1], 2000)


REMOVED = """
import sys
from balance.picking import build, endpoints_of, hold
endpoints = endpoints_of([1] * 1000)
held = hold(build(sys.argv[1], endpoints), 5000)
balancer = build(sys.argv[1], endpoints[:3])
for endpoint in held:
    balancer.release_one(endpoint)
assert {balancer.pick_one(turn).name for turn in range(300)} <= {"e0", "e1", "e2"}
"""


@every
def test_exchanges_of_a_removed_endpoint_may_end(name: str) -> None:
    """After a rebuild without it an endpoint is still released for each exchange. It may crash."""
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", REMOVED, name],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert run.returncode == 0, run.stderr[-800:]


@every
@settings(deadline=None)
@given(
    weights=st.lists(st.integers(1, 65535), max_size=20),
    steps=st.lists(
        st.tuples(st.sampled_from(["pick", "acquire", "release"]), st.integers(0, 19)), max_size=120
    ),
)
def test_no_sequence_of_calls_breaks_it(name: str, weights: list[int], steps: list[tuple[str, int]]) -> None:
    """Unbalanced releases of one endpoint are a defect elsewhere, which must not become a crash here."""
    endpoints = endpoints_of(weights)
    balancer = build(name, endpoints)
    for step, number in steps:
        if step == "pick" or not endpoints:
            assert (balancer.pick_one(key_of(number)) is None) == (not endpoints)
        else:
            call = balancer.acquire_one if step == "acquire" else balancer.release_one
            call(endpoints[number % len(endpoints)])
    assert not endpoints or balancer.pick_one() in endpoints


@every
@settings(deadline=None)
@given(
    weights=st.lists(st.integers(1, 50), min_size=1, max_size=12),
    choices=st.lists(st.integers(0), max_size=80),
)
def test_active_counts_what_is_held(name: str, weights: list[int], choices: list[int]) -> None:
    endpoints = endpoints_of(weights)
    balancer = build(name, endpoints)
    held = []
    for choice in choices:
        if held and choice % 3 == 0:
            balancer.release_one(held.pop(choice % len(held)))
        else:
            held += hold(balancer, 1)
        assert all(endpoint.active == held.count(endpoint) for endpoint in endpoints)


@spreading
def test_key_decides_or_is_not_needed(name: str) -> None:
    """Who looks at the key picks the same for the same key; who does not, says so."""
    balancer = build(name, endpoints_of([1] * 50))
    if balancer.needs_key:
        assert len({balancer.pick_one(12345) for _ in range(20)}) == 1
    else:
        assert len({balancer.pick_one(12345) for _ in range(200)}) > 1


@every
@pytest.mark.parametrize("weights", [[1] * 5, [50, 1, 1, 1, 1]], ids=str)
def test_attempts_give_other_endpoints(name: str, weights: list[int]) -> None:
    """Three attempts at three endpoints, also when one is far heavier; and as many as there are, at most."""
    balancer = build(name, endpoints_of(weights))
    for turn in range(1, 100):
        given = [balancer.pick_one(key_of(turn), attempt) for attempt in range(3)]
        if len(set(weights)) == 1 or name not in TAKING_TURNS:
            assert len(set(given)) == 3, given
    two = build(name, endpoints_of([1, 1]))
    assert all(two.pick_one(key_of(turn), turn % 20) is not None for turn in range(200))
