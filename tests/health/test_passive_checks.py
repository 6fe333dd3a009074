"""Passive checks end to end: who is held back by how requests end, for how long, and how it is tried again.

One lbd for nearly all tests: each has a cluster of its own, reached by the path /CLUSTER, with endpoints that
answer with their names."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from harness.http_origin import Answer, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Origin, Refusing, close, send
from harness.waiting import TIMEOUT, eventually
from health.watching import Named, await_line, said, sample

START = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:"""
CHECKS = {  # cluster -> how many endpoints, its passive_check, more of its settings
    "default": (2, None, ""),
    "in_row": (2, "{consecutive: 3, eject: 1h}", ""),
    "ratio": (2, "{consecutive: none, failure_ratio: 60%, volume: 10, window: 1h, eject: 1h}", ""),
    "mostly_well": (2, "{consecutive: none, failure_ratio: 60%, volume: 10, window: 1h, eject: 1h}", ""),
    "slow": (4, "{latency: {factor: 4, above: 30ms, volume: 5}, eject: 1h}", ""),
    "all_slow": (3, "{latency: {factor: 4, above: 30ms, volume: 5}, eject: 1h}", ""),
    "half": (4, "{consecutive: 1, max_ejected: 50%, eject: 1h}", ""),
    "none_may": (3, "{consecutive: 1, max_ejected: 0%, eject: 1h}", ""),
    "all_may": (3, "{consecutive: 1, max_ejected: 100%, eject: 1h}", ""),
    "single": (1, "{consecutive: 1, max_ejected: 100%, eject: 1h}", ""),
    "last_up": (2, "{consecutive: 1, eject: 1h}",
                "health_check: {path: /health, interval: 20ms, unhealthy: 1, healthy: 1}"),
    "left_over": (2, "{consecutive: 1, eject: 1h}",
                  "health_check: {path: /health, interval: 20ms, unhealthy: 1, healthy: 1}"),
    "drained": (2, "{consecutive: 1, eject: 1h}", ""),
    "tried": (2, "{consecutive: 1, eject: 200ms, max_eject: 1h}", ""),
    "fails": (2, "{consecutive: 1, eject: 150ms, max_eject: 1h}", ""),
    "probes": (2, "{consecutive: 1, eject: 200ms, probes: 3, needed: 2}", ""),
    "single_try": (2, "{consecutive: 1, eject: 200ms}", ""),
    "off": (2, "off", ""),
    "listed": (2, "{consecutive: 1, eject: 1h}", "failure_statuses: [404]"),
    "again": (2, "{consecutive: 1, eject: 1h}", "retry: {statuses: [503]}"),
}


def members(name: str) -> list[str]:
    return [f"{name}_{number}" for number in range(CHECKS[name][0])]


def written() -> str:
    lines = [START]
    lines += [f"      - {{match: {{path: /{name}}}, cluster: {name}}}" for name in CHECKS]
    lines.append("clusters:")
    for name, (_, check, more) in CHECKS.items():
        endpoints = ", ".join(
            f"{{address: <{one}>, name: {one}{', weight: 0' if one == 'drained_1' else ''}}}"
            for one in members(name)
        )
        lines.append(f"  - name: {name}\n    endpoints: [{endpoints}]\n    {more}")
        if check is not None:
            lines.append(f"    passive_check: {check}")
    return "\n".join(lines)


@dataclass
class Site:
    lbd: Lbd
    origins: dict[str, Named]

    def asks(self, name: str, count: int = 1) -> Counter[str | int]:
        """Number of the endpoint that answered, status of errors."""
        with self.lbd.connect() as client:
            found = [client.ask(get(f"/{name}")) for _ in range(count)]
        return Counter(one.body.decode().removeprefix(f"{name}_") if one.status == 200 else one.status
                       for one in found)

    def set(self, one: str, status: int) -> None:
        self.origins[one].status = status

    def is_out(self, one: str) -> bool:
        return sample(self.lbd, "lbd_endpoint_ejected", endpoint=one) == 1

    def ejections(self, one: str) -> float | None:
        return sample(self.lbd, "lbd_ejections_total", endpoint=one)

    def denied(self, name: str) -> float | None:
        return sample(self.lbd, "lbd_ejections_denied_total", cluster=name)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        origins = {one: stack.enter_context(Named(one)) for name in CHECKS for one in members(name)}
        yield Site(stack.enter_context(Lbd(written(), **origins)), origins)


# who is held back


def test_on_by_default_after_five_failures_in_a_row(site: Site) -> None:
    site.set("default_0", 503)
    assert site.asks("default", 8) == {503: 4, "1": 4}
    site.set("default_0", 200)
    assert site.asks("default", 2) == {"0": 1, "1": 1}
    site.set("default_0", 502)
    assert site.asks("default", 20) == {502: 5, "1": 15}
    assert site.is_out("default_0") and not site.is_out("default_1")
    assert site.ejections("default_0") == 1
    assert sample(site.lbd, "lbd_endpoint_up", endpoint="default_0") == 0
    line = await_line(site.lbd, "endpoint default/default_0: held back: its requests fail")
    assert line.split()[1] == "WARNING"


def test_failures_in_a_row_are_a_setting(site: Site) -> None:
    site.set("in_row_1", 504)
    assert site.asks("in_row", 10) == {504: 3, "0": 7}


def test_share_of_failures_after_a_volume(site: Site) -> None:
    """The tenth result is the first that says anything."""
    site.set("ratio_0", 503)
    assert site.asks("ratio", 40) == {503: 10, "1": 30}


def test_share_of_failures_that_is_small_enough(site: Site) -> None:
    for status in (200, 503) * 15:
        site.set("mostly_well_0", status)
        site.asks("mostly_well", 2)
    assert not site.is_out("mostly_well_0"), "50 % failed"
    site.set("mostly_well_0", 503)
    site.asks("mostly_well", 40)
    assert site.is_out("mostly_well_0")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 501])
def test_answers_that_are_no_failures(site: Site, status: int) -> None:
    site.set("half_3", status)
    assert site.asks("half", 4)[status] == 1 and not site.is_out("half_3")
    site.set("half_3", 200)


def test_failure_statuses_are_a_setting(site: Site) -> None:
    site.set("listed_0", 503)
    assert site.asks("listed", 8) == {503: 4, "1": 4}
    site.set("listed_0", 404)
    assert site.asks("listed", 8) == {404: 1, "1": 7}


def test_attempts_that_are_made_again_count_as_well(site: Site) -> None:
    site.set("again_0", 503)
    assert site.asks("again", 6) == {"1": 6}
    assert site.is_out("again_0") and site.origins["again_0"].served == 1


def lagging(origin: Named, seconds: float) -> None:
    usual = origin.answer

    def answer(seen: Seen) -> Answer:
        time.sleep(seconds)  # the endpoint is slow: what the test is about
        return usual(seen)

    origin.answer = answer


def test_slow_one_among_fast_ones(site: Site) -> None:
    lagging(site.origins["slow_2"], 0.15)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: site.asks("slow", 10), range(4)))
    eventually(lambda: site.is_out("slow_2"), "it is found")
    assert not any(site.is_out(f"slow_{number}") for number in (0, 1, 3))
    assert "2" not in site.asks("slow", 8)


def test_nobody_is_slow_when_all_are(site: Site) -> None:
    for one in members("all_slow"):
        lagging(site.origins[one], 0.05)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: site.asks("all_slow", 6), range(4)))
    assert sum(site.asks("all_slow", 6).values()) == 6
    assert not any(site.is_out(one) for one in members("all_slow"))


def test_off(site: Site) -> None:
    site.set("off_0", 503)
    assert site.asks("off", 40) == {503: 20, "1": 20}
    assert not site.is_out("off_0")


# how many


def test_no_more_than_their_share(site: Site) -> None:
    for number in range(3):
        site.set(f"half_{number}", 503)
    found = site.asks("half", 40)
    out = [one for one in members("half") if site.is_out(one)]
    assert len(out) == 2 and "half_3" not in out
    assert found["3"] >= 17, "two serve"
    assert (site.denied("half") or 0) > 0


def test_share_of_nothing(site: Site) -> None:
    site.set("none_may_0", 503)
    assert site.asks("none_may", 9) == {503: 3, "1": 3, "2": 3}
    assert not site.is_out("none_may_0") and site.denied("none_may") == 3


def test_last_endpoint_is_never_held_back(site: Site) -> None:
    for one in members("all_may"):
        site.set(one, 503)
    assert site.asks("all_may", 20) == {503: 20}
    assert sum(site.is_out(one) for one in members("all_may")) == 2
    last = next(one for one in members("all_may") if not site.is_out(one))
    site.set(last, 200)
    assert site.asks("all_may", 3) == {last[-1]: 3}


def test_single_endpoint_is_never_held_back(site: Site) -> None:
    site.set("single_0", 503)
    assert site.asks("single", 5) == {503: 5} and not site.is_out("single_0")


def test_last_endpoint_that_active_checks_have_left(site: Site) -> None:
    """Better one that fails at times than nobody."""
    site.origins["last_up_1"].health = 500
    await_line(site.lbd, "endpoint last_up/last_up_1: down")
    site.set("last_up_0", 503)
    assert site.asks("last_up", 4) == {503: 4}
    site.set("last_up_0", 200)
    assert site.asks("last_up", 4) == {"0": 4}


def test_held_back_is_better_than_down(site: Site) -> None:
    """It was not the last one when it was held back, but active checks took the other one down since."""
    site.set("left_over_0", 503)
    site.asks("left_over", 4)
    assert site.is_out("left_over_0")
    site.set("left_over_0", 200)
    site.origins["left_over_1"].health = 500
    await_line(site.lbd, "endpoint left_over/left_over_1: down")
    assert site.asks("left_over", 4) == {"0": 4}
    site.origins["left_over_1"].health = 200
    await_line(site.lbd, "endpoint left_over/left_over_1: up")
    assert site.asks("left_over", 4) == {"1": 4}


def test_endpoint_without_weight_does_not_count_as_another_one(site: Site) -> None:
    site.set("drained_0", 503)
    assert site.asks("drained", 4) == {503: 4}
    assert not site.is_out("drained_0")


# the way back


def test_recovers_by_one_good_answer(site: Site) -> None:
    site.set("tried_0", 503)
    site.asks("tried", 4)
    assert site.is_out("tried_0")
    site.set("tried_0", 200)
    eventually(lambda: site.asks("tried", 2)["0"], "it is tried")
    assert not site.is_out("tried_0")
    assert site.asks("tried", 10) == {"0": 5, "1": 5}
    assert await_line(site.lbd, "tried_0: in use again: it has been tried").split()[1] == "INFO"


def test_fails_its_try_and_is_out_again(site: Site) -> None:
    """For longer: see test_circuit_model.py."""
    origin = site.origins["fails_0"]
    origin.status = 503
    eventually(lambda: site.asks("fails", 2) and origin.served >= 3, "two tries")
    assert site.is_out("fails_0") and site.ejections("fails_0") == origin.served


def test_probes_and_how_many_must_succeed(site: Site) -> None:
    site.set("probes_0", 503)
    site.asks("probes", 4)
    site.set("probes_0", 200)
    eventually(lambda: site.asks("probes")["0"], "the first try")
    assert site.is_out("probes_0"), "it takes two"
    eventually(lambda: site.asks("probes")["0"], "the second")
    assert not site.is_out("probes_0")


def test_only_single_requests_try_it(site: Site) -> None:
    """While the endpoint thinks about one, the others go elsewhere."""
    site.set("single_try_0", 503)
    site.asks("single_try", 2)
    origin, may_answer, arrived = site.origins["single_try_0"], threading.Event(), threading.Semaphore(0)

    def answer(seen: Seen) -> Answer:
        arrived.release()
        may_answer.wait(TIMEOUT)
        return Answer(body=b"single_try_0")

    origin.answer = answer
    found: list[Counter[str | int]] = []
    with ThreadPoolExecutor(6) as pool:
        try:
            def one() -> None:
                found.append(site.asks("single_try"))

            def tries_it() -> bool:
                pool.submit(one)
                return arrived.acquire(timeout=0.05)

            eventually(tries_it, "a request tries it")
            eventually(lambda: sum(map(Counter.total, found)) >= 1, "others are done")
            made = [pool.submit(site.asks, "single_try", 4) for _ in range(4)]
            assert [each.result(TIMEOUT) for each in made] == [Counter({"1": 4})] * 4
            assert not arrived.acquire(blocking=False), "one only"
        finally:
            may_answer.set()
    assert not site.is_out("single_try_0")


# other protocols

TCP = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: data}]
clusters:
  - name: data
    endpoints: [{address: <bad>, name: bad}, {address: <good>, name: good}]
    passive_check: {consecutive: 2, eject: 1h}
"""


def test_tcp_endpoints_that_refuse() -> None:
    with Refusing() as bad, Origin([send(b"hello"), close]) as good, Lbd(TCP, bad=bad, good=good) as lbd:
        for _ in range(10):
            with lbd.connect("db") as client:
                assert client.read_until_close() == b"hello", "another one is tried at once"
        assert sample(lbd, "lbd_endpoint_ejected", endpoint="bad") == 1
        assert sample(lbd, "lbd_upstream_connects_total", endpoint="bad") == 2
        assert len(said(lbd, "endpoint data/bad: held back")) == 1
