"""/api/overview and /api/events: what the dashboard reads; and the ways to its page."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admin.asking import JSON, ask, change, look, request
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import eventually

from lbd.admin.overview_views import Events, OverviewView
from lbd.admin.server import _ToLog
from lbd.observe.log import Log

CONFIG = """
state_directory: <state>
workers: <workers>
admin: {bind: "127.0.0.1:0"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes: [{match: {path: /gone}, cluster: gone}, {match: {path: /fixed}, respond: {}}, {cluster: app}]
clusters:
  - name: app
    endpoints: [{address: <origin>, name: one}, {address: "127.0.0.1:2", name: two, weight: 0}]
  - {name: gone, breaker: {consecutive: 1, open: 1h}, endpoints: [{address: "127.0.0.1:1", name: none}]}
"""
TOKEN = "correct-horse-battery"
BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


def started(origin: EchoOrigin, directory: Path, config: str = CONFIG, workers: int = 1) -> Lbd:
    return Lbd(config, origin=origin, state=directory / "state", workers=workers)


@pytest.fixture
def lbd(origin: EchoOrigin, tmp_path: Path) -> Iterator[Lbd]:
    with started(origin, tmp_path) as lbd:
        yield lbd


def fresh(lbd: Lbd, after: str, condition: Any) -> Any:
    """The first overview after that tag of which this holds; it is not built anew at once."""
    def asked() -> Any:
        view = look(lbd, f"/api/overview?after={after}")
        return view if condition(view) else None

    return eventually(asked, "an overview")


@pytest.mark.parametrize("workers", [1, 2])
def test_it_says_what_the_metrics_say(origin: EchoOrigin, tmp_path: Path, workers: int) -> None:
    with started(origin, tmp_path, workers=workers) as lbd:
        for path in ("/", "/", "/", "/gone", "/gone", "/fixed"):
            lbd.ask(get(path))
        view = fresh(lbd, "", lambda view: view["traffic"]["codes"] == {"200": 4, "502": 1, "503": 1})
        OverviewView.model_validate(view)
        app, gone = view["clusters"]
        assert (app["name"], app["traffic"]["codes"], gone["traffic"]["codes"]) == (
            "app", {"200": 3}, {"502": 1, "503": 1})
        assert gone["breaker"] == "open" and gone["counters"]["breaker_refused"] == 1
        one, two = app["endpoints"]
        assert (one["codes"], one["requests"], one["obstacles"]) == ([0, 0, 3, 0, 0, 0], 3, [])
        assert (two["requests"], two["first_byte"], two["obstacles"]) == (0, [], ["weight 0"])
        assert len(view["processes"]) == (1 if workers == 1 else 3)
        assert view["processes"][0]["pid"] == lbd.pid
        assert all(row["memory"] > 1 << 20 for row in view["processes"])
        (web,) = view["listeners"]
        assert web["accepted"] == 6 and web["errors"] == {"connect_failed": 1, "breaker_open": 1}
        for parts, name, labels in (
            (view["traffic"]["duration"], "lbd_request_duration_seconds", {}),
            (one["first_byte"], "lbd_upstream_response_seconds", {"endpoint": "one"}),
        ):
            for index, bound in enumerate(view["bounds"]):
                below = sum(count for i, count in parts if i <= index)
                assert lbd.metric(f"{name}_bucket", le=repr(bound), **labels) == below
            assert lbd.metric(f"{name}_count", **labels) == sum(count for _, count in parts)


def test_only_what_has_changed_is_told_again(lbd: Lbd) -> None:
    first = look(lbd, "/api/overview")
    assert first["whole"] and len(first["clusters"]) == 2
    same = fresh(lbd, first["tag"], lambda view: view["at"] > first["at"])
    assert (same["whole"], same["clusters"]) == (False, [])
    assert lbd.ask(get()).status == 200
    after = fresh(lbd, same["tag"], lambda view: view["clusters"])
    assert [one["name"] for one in after["clusters"]] == ["app"]
    assert [one["name"] for one in look(lbd, f"/api/overview?after={first['tag']}")["clusters"]] == ["app"]


@pytest.mark.parametrize("tag", ["x", "-1", "1-x", "%FF", "<l>-" + "9" * 5000, "<l>-999", "<l>--1", "<l>-"])
def test_a_tag_of_another_gets_everything(lbd: Lbd, tag: str) -> None:
    life = look(lbd, "/api/overview")["tag"].rpartition("-")[0]
    view = look(lbd, f"/api/overview?after={tag.replace('<l>', life)}")
    assert view["whole"] and len(view["clusters"]) == 2


def test_who_looks_at_the_same_time_gets_the_same(lbd: Lbd) -> None:
    tag = look(lbd, "/api/overview")["tag"]
    with lbd.connect("admin") as a, lbd.connect("admin") as b:
        views = [client.ask(request("GET", "/api/overview", close=False)).json() for client in (a, b)]
    assert [view["tag"] for view in views] == [tag, tag], "it is not built for each of them"


def test_other_clusters_after_a_reload(lbd: Lbd) -> None:
    tag = look(lbd, "/api/overview")["tag"]
    file = lbd.directory / "lbd.yaml"
    file.write_text(file.read_text() + "  - {name: more, endpoints: ['127.0.0.1:9']}\n")
    assert ask(lbd, "POST", "/api/reload", JSON).status == 200
    view = fresh(lbd, tag, lambda view: view["whole"])
    assert [one["name"] for one in view["clusters"]] == ["app", "gone", "more"]
    assert view["reloads"]["ok"] == 1 and view["reloads"]["last_ok"] is True
    file.write_text("nonsense: 1\n")
    assert ask(lbd, "POST", "/api/reload", JSON).status == 409
    refused = fresh(lbd, view["tag"], lambda view: view["reloads"]["failed"])
    problems = refused["health"]["problems"]
    assert [text for text in problems if text.startswith("reloads: the last reload was refused")]


# events


def test_events_are_numbered_and_told_once(lbd: Lbd) -> None:
    view = look(lbd, "/api/events")
    Events.model_validate(view)
    numbers = [event["number"] for event in view["events"]]
    assert numbers == list(range(1, len(numbers) + 1)) and view["pid"] == lbd.pid
    assert view["events"][-1]["text"] == "ready" and view["events"][-1]["level"] == "info"
    change(lbd, "app", "one", weight=4)
    more = look(lbd, f"/api/events?after={numbers[-1]}")["events"]
    assert [event["text"] for event in more] == ["admin: 127.0.0.1 set endpoint app/one: weight 1 -> 4"]
    assert look(lbd, f"/api/events?after={more[-1]['number']}")["events"] == []
    for wrong in ("-1", "x", "1" * 30, ""):
        assert ask(lbd, "GET", f"/api/events?after={wrong}").status == 422


def test_events_whatever_the_level_of_the_log(lbd: Lbd) -> None:
    assert ask(lbd, "PUT", "/api/log-level", JSON, body=b'{"level": "error"}').status == 200
    change(lbd, "app", "one", weight=4)
    assert not any("weight 1 -> 4" in line for line in lbd.lines)
    assert "weight 1 -> 4" in look(lbd, "/api/events")["events"][-1]["text"]


def test_lines_of_workers_are_among_them(origin: EchoOrigin, tmp_path: Path) -> None:
    config = CONFIG.replace("- name: app", "- name: app\n    tls: {}")
    with started(origin, tmp_path, config, workers=2) as lbd:
        assert lbd.ask(get()).status == 502

        def told() -> list[str]:
            texts = [event["text"] for event in look(lbd, "/api/events")["events"]]
            return [text for text in texts if text.startswith("endpoint app/one: TLS failed")]

        eventually(told, "the worker's line")


def test_a_stop_before_the_answer_is_no_defect() -> None:
    log = Log()
    try:
        raise asyncio.CancelledError
    except asyncio.CancelledError:
        record = logging.makeLogRecord({"levelno": logging.ERROR, "msg": "ASGI", "exc_info": sys.exc_info()})
    _ToLog(log).emit(record)
    assert log.events() == []
    _ToLog(log).emit(logging.makeLogRecord({"levelno": logging.ERROR, "msg": "ASGI"}))
    assert "internal error" in log.events()[0].text


# the page


def test_the_page_stands_alone(lbd: Lbd) -> None:
    page = ask(lbd, "GET", "/dashboard")
    text = page.body.decode()
    assert page.status == 200 and page.one("content-type") == "text/html; charset=utf-8"
    assert page.all("cache-control") == ["no-store"]
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|@import|url\(|innerHTML|AdjacentHTML|eval\(", text)
    assert text.count("<script>") == 1 and text.count("<style>") == 1 and len(text) > 20_000
    policy = page.one("content-security-policy") or ""
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert policy.count("sha256-") == 2 and "require-trusted-types-for 'script'" in policy


def test_a_browser_is_led_there(lbd: Lbd) -> None:
    answer = ask(lbd, "GET", "/", BROWSER)
    assert (answer.status, answer.one("location")) == (302, "/dashboard")
    assert ask(lbd, "GET", "/").status == 404 and b"/dashboard" in ask(lbd, "GET", "/").body
    assert ask(lbd, "POST", "/", BROWSER, JSON, body=b"{}").status == 405
    assert ask(lbd, "POST", "/dashboard", JSON, body=b"{}").status == 405


def test_the_page_passes_without_the_token_but_no_data(origin: EchoOrigin, tmp_path: Path) -> None:
    config = CONFIG.replace('0.1:0"}', f'0.1:0", token: {TOKEN}}}', 1)
    with started(origin, tmp_path, config) as lbd:
        for host in ("127.0.0.1", "10.1.2.3:9900", "lbd.internal"):
            page = ask(lbd, "GET", "/dashboard", host=host)
            assert page.status == 200 and str(origin) not in page.body.decode()
            assert ask(lbd, "GET", "/", BROWSER, host=host).status == 302
        for path in ("/api/overview", "/api/events", "/dashboard/", "/dashboardx"):
            assert ask(lbd, "GET", path, host="127.0.0.1").status == 401
        assert ask(lbd, "GET", "/").status == 401, "who is no browser"


def test_strangers_without_a_token(lbd: Lbd) -> None:
    for path in ("/dashboard", "/api/overview", "/api/events", "/"):
        assert ask(lbd, "GET", path, BROWSER, host="evil.example").status == 403
    assert lbd.ask(request("GET", "/dashboard", host="evil.example"), "admin").status == 403


def test_hot_restart_begins_a_new_life(origin: EchoOrigin, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        tag, pid = look(lbd, "/api/overview")["tag"], lbd.pid
        lbd.signal(signal.SIGUSR2)
        lbd.wait()
        view = look(lbd, f"/api/overview?after={tag}")
        assert view["whole"] and view["info"]["pid"] != pid
        assert ask(lbd, "POST", "/api/stop", JSON, body=b"{}").status == 200
