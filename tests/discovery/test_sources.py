"""DNS and SRV answers as endpoints: what counts, what is kept, what is refused."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from lbd.config.discovery import Discover, Resolver
from lbd.discovery import host as host_module
from lbd.discovery.answer import Answer, Service
from lbd.discovery.dns import DnsSource
from lbd.discovery.host import HostLookup
from lbd.discovery.member import MOST_MEMBERS, Member
from lbd.discovery.pace import Pace
from lbd.discovery.srv import SrvSource

V4, V6 = socket.AF_INET, socket.AF_INET6
NOTHING: Answer[Any] = Answer(reason="no such records")
FAILURE: Answer[Any] = Answer(failure="timeout")
NEVER = None  # never answers


class Told:
    """A resolver that answers as told, and the means of a source."""

    def __init__(self) -> None:
        self.v4: Answer[str] | None = NOTHING
        self.v6: Answer[str] | None = NOTHING
        self.srv: Answer[Service] = NOTHING

    async def addresses(self, host: str, family: int) -> Answer[str]:
        answer = self.v4 if family == V4 else self.v6
        if answer is None:
            await asyncio.Event().wait()
            raise AssertionError
        return answer

    async def services(self, name: str) -> Answer[Service]:
        return self.srv

    def resolver(self) -> Told:
        return self

    def pace(self) -> Pace:
        return Pace(Resolver(min_ttl="1s", max_ttl="1h", negative_ttl="5s"))


def good(*addresses: str, ttl: float = 60) -> Answer[str]:
    return Answer(addresses, ttl)


def look(source: Any) -> Any:
    return asyncio.run(source.look())


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lookup(told: Told) -> HostLookup:
    return HostLookup("app.test", told, told.pace())  # type: ignore[arg-type]


def test_both_families_with_ipv4_first(told: Told, lookup: HostLookup) -> None:
    told.v4, told.v6 = good("10.0.0.1", ttl=90), good("2001:db8::1", ttl=30)
    outcome = look(lookup)
    assert outcome.found == ("10.0.0.1", "2001:db8::1") and 30 <= outcome.wait <= 33
    assert outcome.problem is None and not outcome.failed


@pytest.mark.parametrize("other", [NOTHING, FAILURE])
def test_one_family_is_enough(told: Told, lookup: HostLookup, other: Answer[str]) -> None:
    """Networks whose name servers fail on AAAA are no news."""
    told.v4, told.v6 = good("10.0.0.1"), other
    outcome = look(lookup)
    assert outcome.found == ("10.0.0.1",) and outcome.problem is None and not outcome.failed


def test_server_that_never_answers_for_one_family(
    told: Told, lookup: HostLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "STRAGGLER_SECONDS", 0.0)
    told.v4, told.v6 = good("10.0.0.1"), NEVER
    assert look(lookup).found == ("10.0.0.1",)


def test_family_that_fails_keeps_its_addresses(told: Told, lookup: HostLookup) -> None:
    told.v4, told.v6 = good("10.0.0.1"), good("2001:db8::1")
    look(lookup)
    told.v4, told.v6 = good("10.0.0.2"), FAILURE
    outcome = look(lookup)
    assert outcome.found == ("10.0.0.2", "2001:db8::1") and outcome.failed and "IPv6" in outcome.detail
    assert max(look(lookup).wait for _ in range(12)) > 20  # the back-off grows though IPv4 answers
    told.v6 = NOTHING
    assert look(lookup).found == ("10.0.0.2",)


def test_nothing_and_failure_change_nothing(told: Told, lookup: HostLookup) -> None:
    told.v4 = good("10.0.0.1")
    look(lookup)
    for told.v4, told.v6 in ((NOTHING, NOTHING), (FAILURE, FAILURE), (NOTHING, FAILURE), (FAILURE, NOTHING)):
        outcome = look(lookup)
        assert outcome.found is None and outcome.failed and outcome.problem
    told.v4, told.v6 = FAILURE, good("2001:db8::1")
    assert look(lookup).found == ("10.0.0.1", "2001:db8::1")


def test_every_address_is_an_endpoint(told: Told) -> None:
    source = DnsSource(Discover(dns="app.test:8080", labels={"zone": "a"}), told)  # type: ignore[arg-type]
    told.v4, told.v6 = good("10.0.0.1", "10.0.0.2"), good("2001:db8::1")
    assert look(source).found == (
        Member("10.0.0.1:8080", labels={"zone": "a"}, host="app.test"),
        Member("10.0.0.2:8080", labels={"zone": "a"}, host="app.test"),
        Member("[2001:db8::1]:8080", labels={"zone": "a"}, host="app.test"),
    )
    told.v4 = told.v6 = NOTHING
    assert look(source).found is None


def test_answer_is_bounded(told: Told) -> None:
    source = DnsSource(Discover(dns="app.test:80"), told)  # type: ignore[arg-type]
    told.v4 = good(*(f"10.0.{n // 200}.{n % 200}" for n in range(MOST_MEMBERS + 5)))
    outcome = look(source)
    assert len(outcome.found) == MOST_MEMBERS and outcome.failed
    assert outcome.problem == f"{MOST_MEMBERS + 5} endpoints, of which {MOST_MEMBERS} are used"


def srv(told: Told, *records: Service | tuple[int, int, int, str], ttl: float = 60) -> Any:
    told.srv = Answer(tuple(Service(*one) if isinstance(one, tuple) else one for one in records), ttl)
    return look(SrvSource(Discover(srv="_http._tcp.app.test"), told))  # type: ignore[arg-type]


def test_records_are_endpoints(told: Told) -> None:
    outcome = srv(told, (10, 1, 8081, "B.test."), (0, 7, 80, "a.test"), (0, 0, 81, "10.0.0.1"))
    assert outcome.found == (
        Member("10.0.0.1:81", 1, 0),  # weight 0 is a small chance, not none
        Member("a.test:80", 7, 0),
        Member("b.test:8081", 1, 10),
    )
    assert outcome.problem is None and 60 <= outcome.wait <= 66


def test_order_of_the_answer_does_not_matter(told: Told) -> None:
    records = [(1, 1, 80, "b.test"), (0, 1, 80, "c.test"), (0, 1, 80, "a.test")]
    assert srv(told, *records).found == srv(told, *reversed(records)).found


@pytest.mark.parametrize(
    "record",
    [(0, 1, 0, "a.test"), (0, 1, 80, "a b.test"), (0, 1, 80, "a\n.test"), (0, 1, 80, "unix:/etc/x"),
     (0, 1, 80, "x" * 300), (0, 1, 80, "127.1"), (0, 1, 80, "${HOME}.test")],
)  # fmt: skip
def test_bad_record_is_left_out_alone(told: Told, record: tuple[int, int, int, str]) -> None:
    outcome = srv(told, record, (0, 1, 80, "good.test"))
    assert outcome.found == (Member("good.test:80"),) and outcome.failed and "left out" in outcome.problem


@pytest.mark.parametrize("records", [[], [(0, 0, 0, ".")], [(0, 0, 0, "")], [(0, 1, 0, "a.test")]])
def test_no_service_changes_nothing(told: Told, records: list[tuple[int, int, int, str]]) -> None:
    outcome = srv(told, *records)
    assert outcome.found is None and outcome.failed and outcome.problem.startswith("does not resolve")


def test_failed_lookup_of_records(told: Told) -> None:
    told.srv = FAILURE
    outcome = look(SrvSource(Discover(srv="_http._tcp.app.test"), told))  # type: ignore[arg-type]
    assert outcome.found is None and (outcome.problem, outcome.detail) == ("does not resolve", "timeout")


def test_same_target_twice_is_one_endpoint_of_the_better_priority(told: Told) -> None:
    assert srv(told, (5, 9, 80, "a.test"), (1, 2, 80, "A.test")).found == (Member("a.test:80", 2, 1),)


def test_records_are_bounded(told: Told) -> None:
    outcome = srv(told, *((0, 1, 80, f"h{n}.test") for n in range(MOST_MEMBERS + 1)))
    assert len(outcome.found) == MOST_MEMBERS and "of which" in outcome.problem
