"""GET /api/breakers: what holds clusters and endpoints back, since when, until when and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from admin.asking import look
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Refusing
from harness.waiting import eventually

from lbd.admin.breakers import Breakers

CONFIG = """
workers: <workers>
state_directory: state
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {match: {path: /row}, cluster: row}
      - {match: {path: /rate/*}, cluster: rate}
      - {match: {path: /each}, cluster: each}
      - {match: {path: /closes/*}, cluster: closes}
      - {match: {path: /out}, cluster: out}
      - {match: {path: /share/*}, cluster: share}
clusters:
  - {name: row, breaker: {consecutive: 2, open: 1h}, retry: {limit: 0}, endpoints: ["<refusing>"]}
  - name: rate
    breaker: {consecutive: none, success_rate: 50%, volume: 4, window: 1h, open: 2h}
    endpoints: ["<origin>"]
  - name: each
    passive_check: off
    breaker: {scope: endpoint, consecutive: 1, open: 1h}
    endpoints: [{address: "<refusing>", name: bad}, {address: "<origin>", name: good}]
  - name: closes
    breaker: {consecutive: 1, open: 100ms, growth: 10, max_open: 1h, probes: 2, needed: 2}
    endpoints: ["<origin>"]
  - name: out
    passive_check: {consecutive: 1, eject: 1h}
    endpoints: [{address: "<refusing>", name: bad}, {address: "<origin>", name: good}]
  - name: share
    passive_check: {consecutive: none, failure_ratio: 10%, volume: 3, window: 1h, eject: 1h}
    endpoints: [{address: "<origin>", name: a, weight: 1000}, {address: "<other>", name: b, weight: 1}]
"""
HOUR = 3600


def answer(seen: Seen) -> Answer:
    """/name/STATUS; else 200."""
    last = seen.target.rpartition("/")[2]
    return Answer(status=int(last) if last.isdecimal() else 200, body=b"")


@pytest.fixture(scope="module", params=[1, 2])
def lbd(request: pytest.FixtureRequest) -> Iterator[Lbd]:
    with HttpOrigin(answer) as origin, HttpOrigin(answer) as other, Refusing() as refusing:
        places = {"origin": origin, "other": other, "refusing": refusing, "workers": request.param}
        with Lbd(CONFIG, **places) as lbd:
            yield lbd


def breaker(lbd: Lbd, cluster: str, endpoint: str | None = None) -> Any:
    found = look(lbd, "/api/breakers")
    Breakers.model_validate(found)
    (row,) = [row for row in found["breakers"] if (row["cluster"], row["endpoint"]) == (cluster, endpoint)]
    return row


def asked(lbd: Lbd, path: str, count: int = 1) -> list[int]:
    return [lbd.ask(get(path)).status for _ in range(count)]


def test_a_breaker_that_opens(lbd: Lbd) -> None:
    closed = breaker(lbd, "row")
    assert closed["state"] == "closed" and {closed[key] for key in ("since", "retry", "cause")} == {None}
    assert (closed["failures_in_a_row"], closed["last_failure"], closed["opened"]) == (0, None, 0)
    assert closed["failure_ratio"] is None, "which it does not watch"
    before = time.time()
    asked(lbd, "/row")
    assert breaker(lbd, "row")["failures_in_a_row"] == 1
    asked(lbd, "/row")
    row = breaker(lbd, "row")
    assert (row["state"], row["cause"], row["opened"]) == ("open", "failures in a row", 1)
    # the engine's clock ticks every 32 ms
    assert before - 0.1 <= row["since"] <= time.time() + 0.1
    assert row["retry"] - row["since"] == pytest.approx(HOUR, abs=0.01)
    assert row["last_failure"] == pytest.approx(row["since"], abs=0.01)


def test_the_failure_ratio(lbd: Lbd) -> None:
    assert breaker(lbd, "rate")["failure_ratio"] is None, "no results yet"
    asked(lbd, "/rate/200", 2)
    asked(lbd, "/rate/503")
    row = breaker(lbd, "rate")
    assert (row["state"], row["results"], row["failure_ratio"]) == ("closed", 3, 0.3333)
    asked(lbd, "/rate/503", 2)
    row = breaker(lbd, "rate")
    assert (row["state"], row["cause"]) == ("open", "failure ratio")
    assert row["retry"] - row["since"] == pytest.approx(2 * HOUR, abs=0.01)


def test_one_for_each_endpoint(lbd: Lbd) -> None:
    asked(lbd, "/each", 4)
    assert breaker(lbd, "each", "bad")["state"] == "open"
    assert breaker(lbd, "each", "good")["state"] == "closed"


def test_tries_and_growing_times(lbd: Lbd) -> None:
    """It opens for 100 ms, is tried in vain, and opens for ten times as long."""
    asked(lbd, "/closes/503")
    eventually(lambda: asked(lbd, "/closes/200") == [200], "it is tried")
    row = breaker(lbd, "closes")
    assert (row["state"], row["cause"]) == ("half-open", "failures in a row") and row["since"] is not None
    assert row["tries"] == {"under_way": 0, "ok": 1, "failed": 0, "needed": 2}
    asked(lbd, "/closes/503")
    row = breaker(lbd, "closes")
    assert (row["state"], row["cause"], row["opened"]) == ("open", "failed tries", 2)
    assert row["retry"] - row["since"] == pytest.approx(1, abs=0.01)
    eventually(lambda: asked(lbd, "/closes/200") == [200] and breaker(lbd, "closes")["state"] == "closed",
               "it closes")
    assert breaker(lbd, "closes")["since"] is None is breaker(lbd, "closes")["cause"]


def ejected(lbd: Lbd, cluster: str) -> list[Any]:
    return [row for row in look(lbd, "/api/breakers")["ejected"] if row["cluster"] == cluster]


def test_ejected_endpoints(lbd: Lbd) -> None:
    assert ejected(lbd, "out") == []
    asked(lbd, "/out", 4)
    (row,) = ejected(lbd, "out")
    assert (row["endpoint"], row["state"], row["cause"]) == ("bad", "open", "failures in a row")
    assert row["retry"] - row["since"] == pytest.approx(HOUR, abs=0.01)
    asked(lbd, "/share/200", 3)
    asked(lbd, "/share/503", 2)
    (row,) = ejected(lbd, "share")
    assert (row["endpoint"], row["cause"]) == ("a", "failure ratio")


def test_latency_as_the_cause() -> None:
    slow, quick = (lambda seen: _late(), lambda seen: Answer(body=b""))
    config = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    passive_check: {latency: {factor: 4, above: 30ms, volume: 5}, eject: 1h}
    endpoints: [{address: <slow>, name: slow}, {address: <a>, name: a}, {address: <b>, name: b}]
"""
    with HttpOrigin(slow) as late, HttpOrigin(quick) as a, HttpOrigin(quick) as b:  # noqa: SIM117
        with Lbd(config, slow=late, a=a, b=b) as lbd:
            def row() -> Any:
                asked(lbd, "/", 3)
                return ejected(lbd, "app")

            (found,) = eventually(row, "it is ejected")
            assert (found["endpoint"], found["cause"]) == ("slow", "latency")


def _late() -> Answer:
    time.sleep(0.1)
    return Answer(body=b"")
