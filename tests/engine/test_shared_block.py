"""The shared state block: records by identity, zeroed, bounded; histogram bounds; the table of reasons."""

from __future__ import annotations

import math
import os
import random
import re
import struct
from itertools import pairwise

import pytest

from lbd.balance.round_robin import RoundRobin
from lbd.engine.cluster import Cluster
from lbd.engine.endpoint import Endpoint
from lbd.engine.reasons import CODES
from lbd.engine.router import Route
from lbd.engine.shared import KNOWN_STATUS, Shared, bucket_bounds

SMALL = 1 << 16


def endpoint(shared: Shared, name: str, cluster: str = "app", worker: int = 0) -> Endpoint:
    return Endpoint(name, "127.0.0.1:1", shared=shared, cluster=cluster, worker=worker)


def numbers(value: object) -> list[object]:
    """All numbers of a record, however nested."""
    if isinstance(value, dict):
        value = list(value.values())
    return [number for item in value for number in numbers(item)] if isinstance(value, list) else [value]


def used(shared: Shared) -> int:
    match = re.search(r"used=(\d+)", repr(shared))
    assert match
    return int(match[1])


def test_records_are_found_by_identity() -> None:
    shared = Shared(1, SMALL)
    endpoint(shared, "one")
    endpoint(shared, "two")
    before = used(shared)
    endpoint(shared, "one")  # a later generation of the config
    assert used(shared) == before
    assert shared.names("endpoint") == ["app/one", "app/two"]


def test_same_name_elsewhere_is_another_record() -> None:
    shared = Shared(1, SMALL)
    endpoint(shared, "one", "app")
    endpoint(shared, "one", "web")
    Route("one", shared=shared, listener="app")
    assert shared.names("endpoint") == ["app/one", "web/one"]
    assert shared.names("route") == ["app/one/"]
    assert shared.names("listener") == []


def test_new_records_are_zero() -> None:
    shared = Shared(2, SMALL)
    endpoint(shared, "one", worker=1)
    Route("first", shared=shared, listener="web")
    assert not any(numbers(shared.read("endpoint", "app/one")))
    assert not any(numbers(shared.read("route", "web/first/")))


def test_each_worker_has_its_own_place() -> None:
    """Aligned to cache lines, so that two workers never write to one."""
    one, three = Shared(1, SMALL), Shared(3, SMALL)
    endpoint(one, "x")
    endpoint(three, "x", worker=2)
    assert used(three) == 3 * used(one)
    assert used(one) % 64 == 0


def test_unknown_record() -> None:
    with pytest.raises(KeyError):
        Shared(1, SMALL).read("endpoint", "nobody")


def test_full_block_is_said_so() -> None:
    shared = Shared(1, SMALL)
    with pytest.raises(MemoryError, match="shared state block is full"):
        for number in range(10_000):
            endpoint(shared, f"e{number}")
    names = shared.names("endpoint")
    assert 10 < len(names) < 1000
    assert used(shared) <= SMALL
    for name in names:  # what was there before is still good
        assert not any(numbers(shared.read("endpoint", name)))


def test_a_refused_record_leaves_nothing_behind() -> None:
    shared = Shared(1, 4096)
    while True:
        try:
            endpoint(shared, f"e{len(shared.names('endpoint'))}")
        except MemoryError:
            break
    count, before = len(shared.names("endpoint")), used(shared)
    with pytest.raises(MemoryError):
        endpoint(shared, "late")
    assert (len(shared.names("endpoint")), used(shared)) == (count, before)


@pytest.mark.parametrize("worker", [-1, 2, 1000])
def test_worker_outside_of_the_block_is_refused(worker: int) -> None:
    with pytest.raises((IndexError, ValueError)):
        endpoint(Shared(2, SMALL), "x", worker=worker)


def test_a_large_block_costs_only_addresses() -> None:
    assert repr(Shared(1, 1 << 40)).endswith("used=192>")


STATES = ("cluster_state", "endpoint_state")


def filled(workers: int) -> Shared:
    """One record of each kind, with other numbers in each worker's."""
    shared = Shared(workers, SMALL)
    for worker in range(workers):
        members = [endpoint(shared, "one", worker=worker)]
        Cluster("app", members, shared=shared, worker=worker, balancer_class=RoundRobin)
        Route("first", shared=shared, listener="web", worker=worker)
    draw = random.Random(workers)
    for (kind, _), (offset, step) in shared.export(True).items():
        if kind in ("route", "endpoint", "cluster"):
            for worker in range(workers):
                words = [draw.randrange(1 << 60) for _ in range(step // 8)]
                os.pwrite(shared.fd, struct.pack(f"<{step // 8}Q", *words), offset + worker * step)
    return shared


def words_of(shared: Shared, kind: str, name: str) -> list[int]:
    """All words of a record, added up over the workers."""
    offset, step = shared.export(True)[kind, name]
    found = os.pread(shared.fd, step * shared.workers, offset)
    words = [struct.unpack_from(f"<{step // 8}Q", found, worker * step) for worker in range(shared.workers)]
    return [sum(column) for column in zip(*words, strict=True)]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_numbers_of_all_workers_are_added_up(workers: int) -> None:
    """Exactly, also where a float would not do. Words are in the order of the structs in shared.pxd."""
    shared = filled(workers)
    route, words = shared.read("route", "web/first/"), words_of(shared, "route", "web/first/")
    assert route["status"] == words[:64] and route["grpc"] == words[64:82]
    assert [route["bytes_received"], route["bytes_sent"]] == words[82:84]
    total, buckets = route["duration"]
    assert total == words[84] / 1e6 and buckets == words[85 : 85 + len(bucket_bounds())]
    one, words = shared.read("endpoint", "app/one"), words_of(shared, "endpoint", "app/one")
    assert [one["requests"], *one["status_class"]] == words[:7]
    names: tuple[str, ...] = ("connects", "connect_failures", "reused", "stale", "failures", "active", "open")
    assert [one[name] for name in (*names, "idle", "queued")] == words[7:16]
    assert one["first_byte"] == [words[16] / 1e6, words[17 : 17 + len(bucket_bounds())]]
    cluster, words = shared.read("cluster", "app"), words_of(shared, "cluster", "app")
    names = ("retries_denied", "hedges", "hedges_won", "shed", "broken", "fallbacks", "ejections_denied")
    assert [cluster["active"], *cluster["retries"]] == [words[0], *words[2:18]]
    assert [cluster[name] for name in names] == words[18:25]
    names = ("panic_picks", "cross_zone", "sticky_kept", "sticky_lost", "limit")
    assert [cluster[name] for name in names] == words[25:30]


def test_states_stand_once_for_all_workers() -> None:
    shared = Shared(3, SMALL)
    for worker in range(3):
        one = endpoint(shared, "one", worker=worker)
    one.set_admin("draining")
    one.set_rtt(0.25)
    one.set_weight(7)
    state = shared.read("endpoint_state", "app/one")
    assert (state["admin"], state["rtt_us"], state["weight"], state["breaker"]) == (1, 250_000, 8, [0, 0])


def test_a_field_alone_is_what_it_is_in_the_whole() -> None:
    shared = filled(3)
    kinds = ("route", "endpoint", "cluster", *STATES)
    places = [(kind, name) for kind in kinds for name in shared.names(kind)]
    assert len(places) == 5
    for kind, name in places:
        for field, value in shared.read(kind, name).items():
            assert shared.read(kind, name, field) == value, (kind, field)


def test_unknown_field() -> None:
    """Not a KeyError, which says that the record is not there."""
    with pytest.raises(ValueError, match="'colour'"):
        filled(1).read("route", "web/first/", "colour")


def test_bucket_bounds_rise() -> None:
    bounds = bucket_bounds()
    assert bounds == sorted(set(bounds))
    assert bounds[0] == 16e-6 and math.isinf(bounds[-1]) and bounds[-2] == pytest.approx(2**27 / 1e6)


def test_buckets_are_narrow() -> None:
    """A quantile read from them is off by a quarter at most."""
    finite = bucket_bounds()[:-1]
    assert all(1 < high / low <= 1.25 + 1e-9 for low, high in pairwise(finite))


def test_records_have_as_many_buckets_as_bounds() -> None:
    shared = Shared(1, SMALL)
    endpoint(shared, "x")
    _, buckets = shared.read("endpoint", "app/x")["first_byte"]
    assert len(buckets) == len(bucket_bounds())


def test_known_status_codes() -> None:
    assert len(set(KNOWN_STATUS)) == len(KNOWN_STATUS) < 64
    assert all(100 <= status < 600 for status in KNOWN_STATUS)
    assert {status for _, status in CODES if status} <= set(KNOWN_STATUS), "an error of lbd counts as `other`"


REASONS = {
    "bad_request": 400,
    "method_refused": 405,
    "head_timeout": 408,
    "body_timeout": 408,
    "body_too_large": 413,
    "target_too_long": 414,
    "head_too_large": 431,
    "not_implemented": 501,
    "version_refused": 505,
    "no_route": 404,
    "no_endpoint": 503,
    "overflow": 503,
    "queue_timeout": 503,
    "connect_failed": 502,
    "connect_timeout": 504,
    "upstream_reset": 502,
    "upstream_invalid": 502,
    "response_timeout": 504,
    "client_gone": 499,
}


@pytest.mark.parametrize(("code", "status"), REASONS.items(), ids=REASONS)
def test_reason_codes_are_a_contract(code: str, status: int) -> None:
    assert (code, status) in CODES


def test_reason_codes_are_words() -> None:
    codes = [code for code, _ in CODES]
    assert codes[0] == "" and CODES[0][1] == 0
    assert len(set(codes)) == len(codes)
    for code, status in CODES[1:]:
        assert re.fullmatch("[a-z][a-z0-9]*(_[a-z]+)*", code) and 400 <= status <= 599
