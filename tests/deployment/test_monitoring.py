"""What `lbd monitoring` prints: alerts fire when they should and only then, boards ask for what there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import CliRunner

from lbd.cli.main import lbd
from lbd.cli.monitoring import WHAT, shipped

ROOT = Path(__file__).parents[2]
RULES = Path(str(shipped())) / "alerts.yaml"
BOARDS = [name for name in WHAT if name.endswith(".json")]
ROW = re.compile(r"^\| (`lbd_[^|]*`) \|([^|]*)\|", re.MULTILINE)
OF_SCRAPES = {"instance", "job", "le"}
Find = Callable[[str], str]


def metrics() -> dict[str, set[str]]:
    """Name -> labels, as docs/operations.md has them, which a test there compares with a running lbd."""
    found = {}
    for names, labels in ROW.findall((ROOT / "docs" / "operations.md").read_text()):
        for name in re.findall(r"`(lbd_\w+)`", names):
            found[name] = set(re.findall(r"\w+", labels))
    found["lbd_build_info"] = {"version", "python", "environment"}  # not in a table of series
    return found


METRICS = metrics()


def alerts() -> dict[str, Any]:
    return {
        rule["alert"]: rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    }


class Case(NamedTuple):
    """Series -> values, one a minute: with some of them it fires, with the others not."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at: str = "30m"


CLUSTER = 'instance="a",cluster="api"'
ONE, TWO = (f'{{{CLUSTER},endpoint="{name}"}}' for name in ("one", "two"))
ROUTE = '{instance="a",listener="web",route="r",cluster="api"'
REQUESTS = f"lbd_requests_total{ROUTE}"
BUCKET = f"lbd_request_duration_seconds_bucket{ROUTE}"
COUNT = f"lbd_request_duration_seconds_count{ROUTE}}}"
ENDS = 'lbd_tls_cert_not_after_timestamp_seconds{instance="a",listener="web",hosts="h",source="file"}'
FAILED_CERTS = 'lbd_tls_cert_failures_total{instance="a",listener="web"}'
ONCE = "0+0x10 1+0x600"  # a counter that moved one time, ten minutes from the start
GROWS = "0+1x600"
CASES = {
    "LbdDown": Case({'up{job="lbd",instance="a"}': "1 0+0x60"}, {'up{job="lbd",instance="a"}': "1+0x60"}),
    "LbdRestartsOften": Case(
        {'lbd_start_time_seconds{instance="a"}': "100+300x60"},
        {'lbd_start_time_seconds{instance="a"}': "100+0x20 900+0x60"},
    ),
    "LbdErrors": Case(
        {f'{REQUESTS},code="200"}}': "0+90x60", f'{REQUESTS},code="503"}}': "0+10x60"},
        {f'{REQUESTS},code="200"}}': "0+99x60", f'{REQUESTS},code="404"}}': "0+50x60",
         f'{REQUESTS},code="503"}}': "0+1x60"},
    ),
    "LbdSlow": Case(
        {f'{BUCKET},le="1"}}': "0+90x60", f'{BUCKET},le="4"}}': "0+100x60",
         f'{BUCKET},le="+Inf"}}': "0+100x60", COUNT: "0+100x60"},
        {f'{BUCKET},le="1"}}': "0+100x60", f'{BUCKET},le="4"}}': "0+100x60",
         f'{BUCKET},le="+Inf"}}': "0+100x60", COUNT: "0+100x60"},
    ),
    "LbdInternalErrors": Case(
        {'lbd_internal_errors_total{instance="a"}': "0+0x20 1+0x40"},
        {'lbd_internal_errors_total{instance="a"}': "1+0x60"},
    ),
    "LbdWorkerDies": Case(
        {'lbd_worker_deaths_total{instance="a"}': "0+0x20 1+0x40"},
        {'lbd_worker_deaths_total{instance="a"}': "1+0x60"},
    ),
    "LbdEventLoopLag": Case(
        {'lbd_event_loop_lag_seconds{instance="a"}': "0.2+0x60"},
        {'lbd_event_loop_lag_seconds{instance="a"}': "0.001+0x20 0.2 0.001+0x40"},
    ),
    "LbdAcceptPauses": Case(
        {'lbd_accept_pauses_total{instance="a",listener="web"}': "0+0x27 1+0x40"},
        {'lbd_accept_pauses_total{instance="a",listener="web"}': ONCE},
    ),
    "LbdAccessLogDropped": Case(
        {'lbd_access_log_dropped_total{instance="a",target="/x"}': GROWS},
        {'lbd_access_log_dropped_total{instance="a",target="/x"}': ONCE},
    ),
    "LbdReloadRefused": Case(
        {'lbd_config_last_reload_success{instance="a"}': "1 0+0x60"},
        {'lbd_config_last_reload_success{instance="a"}': "1 0+0x5 1+0x60"},
    ),
    "LbdCertificateEnds": Case({ENDS: "1000000+0x200"}, {ENDS: "2000000+0x200"}, "90m"),
    "LbdCertificateAboutToEnd": Case({ENDS: "100000+0x200"}, {ENDS: "1000000+0x200"}),
    "LbdCertificateFailures": Case({FAILED_CERTS: GROWS}, {FAILED_CERTS: ONCE}),
    "LbdClusterDown": Case(
        {f"lbd_endpoint_up{ONE}": "0+0x60", f"lbd_endpoint_up{TWO}": "1 0+0x60"},
        {f"lbd_endpoint_up{ONE}": "0+0x60", f"lbd_endpoint_up{TWO}": "1+0x60"},
    ),
    "LbdClusterWeak": Case(
        {f"lbd_endpoint_up{ONE}": "1+0x60", f"lbd_endpoint_up{TWO}": "0+0x60",
         f'lbd_endpoint_up{{{CLUSTER},endpoint="3"}}': "0+0x60"},
        {f"lbd_endpoint_up{ONE}": "1+0x60", f"lbd_endpoint_up{TWO}": "0+0x60"},
    ),
    "LbdEndpointDown": Case(
        {f"lbd_endpoint_healthy{ONE}": "1 0+0x60", f"lbd_endpoint_admin_state{ONE}": "0+0x60"},
        {f"lbd_endpoint_healthy{ONE}": "1 0+0x60", f"lbd_endpoint_admin_state{ONE}": "2+0x60"},
    ),
    "LbdEndpointForgotten": Case(
        {f"lbd_endpoint_admin_state{ONE}": "1+0x2000"},
        {f"lbd_endpoint_admin_state{ONE}": "1+0x1000 0+0x10 1+0x900"},
        "25h",
    ),
    "LbdPanic": Case({f"lbd_panic{{{CLUSTER}}}": "1+0x60"}, {f"lbd_panic{{{CLUSTER}}}": "1+0x10 0+0x60"}),
    "LbdBreakerOpen": Case(
        {f"lbd_breaker_state{ONE}": "1 2 1 2 1+0x60"},
        {f"lbd_breaker_state{ONE}": "0+0x28 1 0+0x60"},
    ),
    "LbdRetriesDenied": Case(
        {f"lbd_retries_denied_total{{{CLUSTER}}}": GROWS}, {f"lbd_retries_denied_total{{{CLUSTER}}}": ONCE}
    ),
    "LbdQueue": Case(
        {f"lbd_queue_depth{ONE}": "0+0x60", f"lbd_queue_depth{TWO}": "3+0x60"},
        {f"lbd_queue_depth{ONE}": "0+0x60", f"lbd_queue_depth{TWO}": "3+0x27 0 3+0x60"},
    ),
    "LbdShedding": Case(
        {f"lbd_shed_total{{{CLUSTER}}}": GROWS, f"lbd_breaker_refused_total{{{CLUSTER}}}": "0+0x60"},
        {f"lbd_shed_total{{{CLUSTER}}}": ONCE, f"lbd_breaker_refused_total{{{CLUSTER}}}": "5+0x60"},
    ),
    "LbdDiscoveryFails": Case(
        {f'lbd_discovery_errors_total{{{CLUSTER},source="dns"}}': GROWS},
        {f'lbd_discovery_errors_total{{{CLUSTER},source="dns"}}': ONCE},
        "40m",
    ),
}  # fmt: skip


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def check_alert(promtool: str, directory: Path, name: str, case: Case) -> None:
    """By the series that Prometheus itself keeps: there is an ALERTS while one fires."""
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > 0 or vector(0)'
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": key, "values": text} for key, text in series.items()],
            "promql_expr_test": [
                {"expr": firing, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": value}]}
            ],
        }
        for series, value in ((case.fires, 1), (case.quiet, 0))
    ]
    run_tests(promtool, directory, tests)


def run_tests(promtool: str, directory: Path, tests: list[dict[str, Any]]) -> None:
    text = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    (directory / "test.yaml").write_text(yaml.safe_dump(text))
    done = run(promtool, "test", "rules", str(directory / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_well_formed(program: Find) -> None:
    done = run(program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_alert(program: Find, tmp_path: Path, name: str) -> None:
    check_alert(program("promtool"), tmp_path, name, CASES[name])


def test_cluster_without_any_endpoint_is_down(program: Find, tmp_path: Path) -> None:
    found = {f"lbd_discovery_endpoints{{{CLUSTER}}}": "0+0x60"}
    case = Case(found, found | {f"lbd_endpoint_up{ONE}": "1+0x60"})
    check_alert(program("promtool"), tmp_path, "LbdClusterDown", case)


def test_what_an_alert_says(program: Find, tmp_path: Path) -> None:
    """One whole, with its text filled in."""
    said = {
        "exp_labels": {"instance": "a", "cluster": "api", "severity": "critical"},
        "exp_annotations": {
            "summary": "10% of the requests to cluster api fail",
            "description": alerts()["LbdErrors"]["annotations"]["description"],
        },
    }
    series = [{"series": key, "values": text} for key, text in CASES["LbdErrors"].fires.items()]
    asked = {"eval_time": "30m", "alertname": "LbdErrors", "exp_alerts": [said]}
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [asked]}
    run_tests(program("promtool"), tmp_path, [test])


def expressions(board: dict[str, Any]) -> Iterator[str]:
    """All that a dashboard asks, as Prometheus gets it."""
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked += [entry["expr"] for entry in board["annotations"]["list"]]
    for text in asked:
        yield text.replace("$__rate_interval", "5m").replace("$__interval", "1m")


def base(name: str) -> str:
    """The metric that a series of a histogram belongs to."""
    cut = re.sub(r"_(bucket|sum|count)$", "", name)
    return cut if cut in METRICS else name


def check_names(expression: str) -> set[str]:
    """The metrics of an expression; their labels exist."""
    used = {base(name) for name in re.findall(r"\blbd_\w+", expression)}
    assert used <= set(METRICS), f"{used - set(METRICS)} in {expression}"
    for name, inside in re.findall(r"\b(lbd_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)(?:=|!)", inside))
        assert labels <= METRICS[base(name)] | OF_SCRAPES, expression
    known = set().union(*(METRICS[name] for name in used), OF_SCRAPES)
    for inside in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", inside)) <= known, expression
    return used


@pytest.mark.parametrize("name", alerts())
def test_alerts_use_what_there_is(name: str) -> None:
    rule = alerts()[name]
    used = check_names(rule["expr"])
    labels = set().union(*(METRICS[one] for one in used), OF_SCRAPES)
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize("name", BOARDS)
def test_dashboard(program: Find, tmp_path: Path, name: str) -> None:
    board = json.loads(shipped().joinpath(name).read_text(encoding="utf-8"))
    asked = list(expressions(board))
    for expression in asked:
        check_names(expression)
    rules = [{"record": f"r:{i}", "expr": expression} for i, expression in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    done = run(program("promtool"), "check", "rules", str(tmp_path / "rules.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    variables = {entry["name"] for entry in board["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", " ".join(asked))) <= variables


@pytest.mark.parametrize("name", BOARDS)
def test_panels_explain_themselves(name: str) -> None:
    board = json.loads(shipped().joinpath(name).read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert board["uid"].startswith("lbd-") and board["description"] and len(panels) >= 10
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels:
        assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            known = set().union(*(METRICS[one] for one in check_names(target["expr"])), OF_SCRAPES)
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known
    places = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24


def test_every_metric_is_shown_somewhere() -> None:
    text = " ".join(shipped().joinpath(name).read_text(encoding="utf-8") for name in WHAT)
    shown = {base(name) for name in re.findall(r"\blbd_\w+", text)}
    assert shown == set(METRICS)


def test_all_are_listed_and_printed() -> None:
    assert {entry.name for entry in shipped().iterdir()} == set(WHAT)
    listed = CliRunner().invoke(lbd, ["monitoring", "list"])
    assert [line.split()[0] for line in listed.output.splitlines()] == list(WHAT)
    for name in WHAT:
        printed = CliRunner().invoke(lbd, ["monitoring", "show", name])
        assert (printed.exit_code, printed.output) == (0, shipped().joinpath(name).read_text())
    assert CliRunner().invoke(lbd, ["monitoring", "show", "nothing"]).exit_code == 2
