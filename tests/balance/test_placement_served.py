"""Placement end to end: tiers, panic, zones, regions, residency and slow start as requests meet them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import pytest
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually
from health.watching import Named, await_line, said, sample

START = """
zone: here
region: eu
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes:
      - {match: {path: /records}, cluster: records, endpoint_labels: {region: eu}}
      - {match: {path: /nowhere}, cluster: records, endpoint_labels: {region: ap}}
      - {match: {path: /stood-in}, cluster: stood_in, endpoint_labels: {region: us}}
"""
CLUSTERS = {  # name -> (endpoint: its settings), settings of the cluster
    "tiers": ({"near": "", "far": ", priority: 1", "last": ", priority: 2"}, ""),
    "panic": ({"one": "", "two": "", "three": ""}, "panic_threshold: 50%"),
    "records": ({"eu": ", labels: {region: eu}", "us": ", labels: {region: us}"}, ""),
    "stood_in": ({"eu": ", labels: {region: eu}"}, "fallback: {cluster: records}"),
    "zones": ({"local": ", labels: {zone: here}", "other": ", labels: {zone: there}"},
              "zones: {max_cross: 30%}"),
    "regions": ({"eu": ", labels: {region: eu}", "us": ", labels: {region: us}"},
                "regions: {order: [eu, us], hold: 100ms}"),
    "slow": ({"old": "", "new": ""}, "slow_start: 2s"),
}
CHECK = "health_check: {path: /health, interval: 20ms, healthy: 1, unhealthy: 1}"


@dataclass
class Site:
    lbd: Lbd
    origins: dict[str, Named]

    def asks(self, path: str, count: int = 1) -> Counter[str]:
        """Name of the endpoint that answered, reason of errors."""
        with self.lbd.connect() as client:
            found = [client.ask(get(f"/{path}")) for _ in range(count)]
        return Counter(one.body.decode().split("_")[-1] if one.status == 200 else one.reason for one in found)

    def turn(self, cluster: str, one: str, up: bool) -> None:
        """Its checks succeed or fail from now on; wait until lbd knows."""
        self.origins[f"{cluster}_{one}"].health = 200 if up else 500
        eventually(lambda: self.figure("lbd_endpoint_healthy", cluster=cluster, endpoint=one) == up, "known")

    def figure(self, name: str, **labels: str) -> float | None:
        return sample(self.lbd, name, **labels)


def written() -> str:
    plain = [name for name in CLUSTERS if name != "records"]
    routes = [f"      - {{match: {{path: /{name}}}, cluster: {name}}}" for name in plain]
    lines = [START.rstrip("\n"), *routes, "clusters:"]
    for name, (endpoints, more) in CLUSTERS.items():
        made = ", ".join(f"{{address: <{name}_{one}>, name: {one}{rest}}}" for one, rest in endpoints.items())
        lines.append(f"  - name: {name}\n    endpoints: [{made}]\n    {CHECK}\n    {more}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    names = [f"{name}_{one}" for name, (endpoints, _) in CLUSTERS.items() for one in endpoints]
    with ExitStack() as stack:
        origins = {name: stack.enter_context(Named(name)) for name in names}
        yield Site(stack.enter_context(Lbd(written(), **origins)), origins)


def test_tiers_fail_over_and_back(site: Site) -> None:
    assert site.asks("tiers", 10) == {"near": 10}
    site.turn("tiers", "near", False)
    assert site.asks("tiers", 10) == {"far": 10}
    site.turn("tiers", "far", False)
    assert site.asks("tiers", 10) == {"last": 10}
    site.turn("tiers", "last", False)
    assert site.asks("tiers") == {"no_endpoint": 1}
    site.turn("tiers", "far", True)
    assert site.asks("tiers", 10) == {"far": 10}
    site.turn("tiers", "near", True)
    assert site.asks("tiers", 10) == {"near": 10}


def test_panic_is_named_in_log_and_metrics(site: Site) -> None:
    site.turn("panic", "one", False)
    assert site.asks("panic", 10) == {"two": 5, "three": 5}
    assert site.figure("lbd_panic", cluster="panic") == 0
    site.turn("panic", "two", False)
    assert "health is ignored" in await_line(site.lbd, " WARNING cluster panic: panic")
    assert site.asks("panic", 9) == {"one": 3, "two": 3, "three": 3}
    assert site.figure("lbd_panic", cluster="panic") == 1
    assert site.figure("lbd_panics_total", cluster="panic") == 1
    assert site.figure("lbd_panic_picks_total", cluster="panic") == 9
    site.turn("panic", "one", True)
    await_line(site.lbd, " INFO cluster panic: panic is over")
    assert site.asks("panic", 10) == {"one": 5, "three": 5}
    assert site.figure("lbd_panic", cluster="panic") == 0
    assert site.figure("lbd_panics_total", cluster="panic") == 1
    assert site.figure("lbd_panic_picks_total", cluster="panic") == 9


def test_residency_fails_closed(site: Site) -> None:
    assert site.asks("records", 10) == {"eu": 10}
    site.turn("records", "eu", False)
    assert site.asks("records", 5) == {"no_endpoint": 5}, "the other region is well, and gets nothing"
    assert site.origins["records_us"].served == 0
    site.turn("records", "eu", True)
    assert site.asks("records", 5) == {"eu": 5}


def test_labels_that_no_endpoint_has(site: Site) -> None:
    assert site.asks("nowhere", 3) == {"no_endpoint": 3}


def test_labels_that_only_the_fallback_has(site: Site) -> None:
    assert site.asks("stood-in", 3) == {"us": 3}
    assert site.figure("lbd_fallbacks_total", cluster="stood_in") == 3
    site.turn("records", "us", False)
    assert site.asks("stood-in", 3) == {"no_endpoint": 3}
    site.turn("records", "us", True)


def test_local_zone_first(site: Site) -> None:
    assert site.asks("zones", 10) == {"local": 10}
    assert site.figure("lbd_cross_zone_total", cluster="zones") == 0
    site.turn("zones", "local", False)
    assert site.asks("zones", 10) == {"other": 10}
    assert site.figure("lbd_cross_zone_total", cluster="zones") == 10
    site.turn("zones", "local", True)
    assert site.asks("zones", 10) == {"local": 10}


def test_region_fails_over_and_back(site: Site) -> None:
    assert site.asks("regions", 5) == {"eu": 5}
    assert site.figure("lbd_region_active", region="eu") == 1
    site.turn("regions", "eu", False)
    await_line(site.lbd, " cluster regions: region us")
    assert site.asks("regions", 5) == {"us": 5}
    assert site.figure("lbd_region_active", region="us") == 1
    assert site.figure("lbd_region_active", region="eu") in (0, None)
    site.turn("regions", "eu", True)
    await_line(site.lbd, " cluster regions: region eu")
    assert site.asks("regions", 5) == {"eu": 5}


def test_slow_start(site: Site) -> None:
    assert site.asks("slow", 10) == {"old": 5, "new": 5}
    site.turn("slow", "new", False)
    assert site.asks("slow", 10) == {"old": 10}
    site.turn("slow", "new", True)
    first = site.asks("slow", 20)
    assert first["new"] < 10, "less than its share at first"
    eventually(lambda: site.asks("slow", 10)["new"] == 5, "then all of it")


def test_nothing_was_said_twice(site: Site) -> None:
    lines = [line.split(" ", 1)[1] for line in said(site.lbd, "cluster ")]
    assert all(before != after for before, after in pairwise(lines))
