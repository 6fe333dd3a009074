"""Metric names and labels are a contract with users (design, section 7): read as Prometheus reads them."""

from __future__ import annotations

import asyncio
import re

import pytest
from control.worlds import CONFIG, Lines, config_of, port_of, serving, talk
from harness.messages import head
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from lbd import __version__
from lbd.control.worker import Worker
from lbd.engine.shared import Shared
from lbd.observe.metrics import Exposition

CONTRACT = {  # sample name -> (type, labels)
    "lbd_requests_total": ("counter", {"listener", "route", "cluster", "code"}),
    "lbd_request_duration_seconds_count": ("histogram", {"listener", "route", "cluster"}),
    "lbd_upstream_requests_total": ("counter", {"cluster", "endpoint", "code"}),
    "lbd_upstream_connects_total": ("counter", {"cluster", "endpoint"}),
    "lbd_endpoint_idle_limit_seconds": ("gauge", {"cluster", "endpoint"}),
    "lbd_endpoint_up": ("gauge", {"cluster", "endpoint"}),
    "lbd_discovery_updates_total": ("counter", {"cluster", "source"}),
    "lbd_discovery_errors_total": ("counter", {"cluster", "source"}),
    "lbd_discovery_endpoints": ("gauge", {"cluster"}),
    "lbd_retries_total": ("counter", {"cluster", "reason"}),
    "lbd_retries_denied_total": ("counter", {"cluster"}),
    "lbd_hedges_total": ("counter", {"cluster"}),
    "lbd_hedges_won_total": ("counter", {"cluster"}),
    "lbd_shed_total": ("counter", {"cluster"}),
    "lbd_health_checks_total": ("counter", {"cluster", "endpoint", "result"}),
    "lbd_endpoint_ejected": ("gauge", {"cluster", "endpoint"}),
    "lbd_ejections_total": ("counter", {"cluster", "endpoint"}),
    "lbd_ejections_denied_total": ("counter", {"cluster"}),
    "lbd_breaker_refused_total": ("counter", {"cluster"}),
    "lbd_fallbacks_total": ("counter", {"cluster"}),
    "lbd_panic": ("gauge", {"cluster"}),
    "lbd_panics_total": ("counter", {"cluster"}),
    "lbd_panic_picks_total": ("counter", {"cluster"}),
    "lbd_cross_zone_total": ("counter", {"cluster"}),
    "lbd_sessions_total": ("counter", {"cluster", "result"}),
    "lbd_queue_depth": ("gauge", {"cluster", "endpoint"}),
    "lbd_event_loop_lag_seconds": ("gauge", set()),
    "lbd_process_cpu_seconds_total": ("counter", set()),
    "lbd_process_resident_memory_bytes": ("gauge", set()),
    "lbd_worker_deaths_total": ("counter", set()),
    "lbd_build_info": ("gauge", {"version", "python", "environment"}),
}
Families = dict[str, Metric]


def parsed(text: bytes) -> Families:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    """After one request, so that counters by code exist."""
    missing = tmp_path_factory.mktemp("discovery") / "none.yaml"
    found = CONFIG + f"  - {{name: found, discover: {{file: {missing}}}}}\n"

    async def run() -> bytes:
        async with serving(found) as (worker, admin):
            port = int(re.search(r"127\.0\.0\.1:(\d+) \(http\)", str(worker.log.lines))[1])  # type: ignore[attr-defined,index]
            await talk(port, head("GET /here HTTP/1.1", "Host: a", "Connection: close"))
            page = await talk(
                port_of(admin), head("GET /metrics HTTP/1.1", "Host: localhost", "Connection: close")
            )
            return page.partition(b"\r\n\r\n")[2]

    return parsed(asyncio.run(run()))


@pytest.mark.parametrize(("name", "kind", "labels"), [(name, *row) for name, row in CONTRACT.items()])
def test_contract(families: Families, name: str, kind: str, labels: set[str]) -> None:
    found = [
        (family.type, set(sample.labels))
        for family in families.values()
        for sample in family.samples
        if sample.name == name
    ]
    assert found, f"{name} is not exposed"
    assert all(each == (kind, labels) for each in found)


def test_every_name_is_ours_and_explained(families: Families) -> None:
    for family in families.values():
        assert re.fullmatch("lbd(_[a-z0-9]+)+", family.name), family.name
        assert family.documentation.endswith(".") and family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert (sample.name.endswith("_total")) == (family.type == "counter")


def test_no_series_twice(families: Families) -> None:
    series = [
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families.values()
        for sample in family.samples
    ]
    assert len(set(series)) == len(series)


def test_request_is_counted(families: Families) -> None:
    (sample,) = families["lbd_requests"].samples
    assert (
        sample.labels == {"listener": "web", "route": "here", "cluster": "", "code": "204"}
        and sample.value == 1
    )


def test_histograms_are_whole(families: Families) -> None:
    for name in ("lbd_request_duration_seconds", "lbd_upstream_response_seconds"):
        samples = families[name].samples
        buckets = [sample for sample in samples if sample.name.endswith("_bucket")]
        assert {sample.name for sample in samples} == {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
        assert any(sample.labels["le"] == "+Inf" for sample in buckets)


def test_duration_of_the_request_is_plausible(families: Families) -> None:
    samples = {
        (sample.name.rpartition("_")[2], sample.labels.get("route")): sample.value
        for sample in families["lbd_request_duration_seconds"].samples
    }
    assert samples["count", "here"] == 1 and 0 < samples["sum", "here"] < 5
    assert samples["count", "rest"] == 0


def test_endpoint_up_and_build_info(families: Families) -> None:
    assert {sample.labels["endpoint"] for sample in families["lbd_endpoint_up"].samples} == {
        "one",
        "127.0.0.1:2",
    }
    (build,) = families["lbd_build_info"].samples
    assert (
        build.value == 1
        and build.labels["version"] == __version__
        and build.labels["environment"] == "testing"
    )


def test_tcp_listeners_have_no_route_series(families: Families) -> None:
    assert {sample.labels["listener"] for sample in families["lbd_connections"].samples} == {"web", "db"}
    routes = families["lbd_request_duration_seconds"].samples
    assert {sample.labels["listener"] for sample in routes} == {"web"}


def test_reasons_are_series_from_the_start(families: Families) -> None:
    """A counter that appears with its first event hides that event from rate()."""
    reasons = {sample.labels["reason"] for sample in families["lbd_errors"].samples}
    assert {"no_route", "connect_failed", "response_timeout", "client_gone"} <= reasons and "" not in reasons


def test_scrape_before_the_worker_has_started() -> None:
    async def run() -> bytes:
        config = config_of()
        return Exposition(Worker(config, Lines(), Shared(1, 1 << 20))).text()

    assert "lbd_build_info" in parsed(asyncio.run(run()))
