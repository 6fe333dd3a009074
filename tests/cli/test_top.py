"""`lbd top`: on a terminal before a real lbd, as text and as JSON; its arithmetic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Refusing
from harness.terminal import Terminal
from harness.waiting import eventually

from lbd.cli.top_reading import Change, Reading, parse, quantile

ROOT = Path(__file__).parents[2]
CONFIG = """
state_directory: <state>
admin: {bind: "unix:<socket>"}
listeners:
  - name: web
    bind: "127.0.0.1:0"
    routes: [{match: {path: /broken}, cluster: broken}, {cluster: app}]
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one}, {address: "127.0.0.1:2", name: two, weight: 0}]}
  - {name: broken, breaker: {consecutive: 1, open: 1h}, endpoints: [{address: "127.0.0.1:1", name: gone}]}
"""
ENV = {"PYTHONPATH": str(ROOT)}
COMMAND = [sys.executable, "-m", "lbd", "top"]


@pytest.fixture(scope="module")
def lbd(tmp_path_factory: Any) -> Iterator[Lbd]:
    directory = tmp_path_factory.mktemp("lbd")
    with (
        EchoOrigin() as origin,
        Lbd(CONFIG, origin=origin, state=directory / "s", socket=directory / "a") as lbd,
    ):
        lbd.ask(get("/broken"))
        yield lbd


@contextmanager
def traffic(lbd: Lbd) -> Iterator[None]:
    """One request after the other, until it ends."""
    over = threading.Event()

    def ask() -> None:
        with lbd.connect() as client:
            while not over.is_set():
                client.ask(get())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(lbd: Lbd, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "-c", str(lbd.directory / "lbd.yaml"), *arguments],
        capture_output=True, text=True, env={**os.environ, **ENV}, stdin=subprocess.DEVNULL, timeout=60,
        check=False,
    )  # fmt: skip


def screen(lbd: Lbd, *arguments: str, rows: int = 24) -> Terminal:
    config = str(lbd.directory / "lbd.yaml")
    return Terminal([*COMMAND, "-c", config, "--interval", "0.2", *arguments], ENV, rows=rows)


def test_json(lbd: Lbd) -> None:
    with traffic(lbd):
        done = run(lbd, "--once", "--json", "--interval", "0.5")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["pid"] == lbd.pid and 0.4 < found["seconds"] < 60 and found["cpu"] > 0
    app, broken = found["clusters"]
    assert (app["name"], app["usable"], app["endpoints"], broken["name"]) == ("app", 2, 2, "broken")
    assert app["flow"]["rate"] > 1 and app["flow"]["errors"] == 0
    assert 0 < app["flow"]["p50"] <= app["flow"]["p99"] < 60
    assert broken["notes"] == ["breaker open"]
    one, two, gone = found["endpoints"]
    assert (one["name"], one["state"], one["weight"], two["weight"]) == ("one", "ready", 1, 0)
    assert abs(one["flow"]["rate"] - app["flow"]["rate"]) <= 2 / found["seconds"] + 1e-6
    assert (two["flow"]["rate"], two["flow"]["p50"], gone["name"]) == (0, None, "gone")


def test_text(lbd: Lbd) -> None:
    with traffic(lbd):
        lines = run(lbd, "--once", "--interval", "0.3").stdout.splitlines()
    assert lines[0].startswith("lbd ") and f"pid {lbd.pid}" in lines[0]
    assert "requests/s, 0.0% errors, p50 " in lines[1]
    assert lines[3].split() == ["CLUSTER", "USABLE", "REQ/S", "ERRORS", "P50", "P99", "ACTIVE", "NOTES"]
    assert lines[4].split()[:2] == ["app", "2/2"] and lines[5].split()[-4:] == [
        "0",
        "round_robin,",
        "breaker",
        "open",
    ]
    assert lines[7].split()[:2] == ["ENDPOINT", "STATE"]
    assert [line.split()[0] for line in lines[8:]] == ["app/one", "app/two", "broken/gone"]


def test_clusters_filter_and_order(lbd: Lbd) -> None:
    def names(*arguments: str) -> tuple[list[str], list[str]]:
        found = json.loads(run(lbd, "--once", "--json", "--interval", "0.1", *arguments).stdout)
        return [one["name"] for one in found["clusters"]], [one["name"] for one in found["endpoints"]]

    assert names("broken") == (["broken"], ["gone"])
    assert names("--filter", "TWO") == (["app"], ["two"])
    assert names("app", "--filter", "gone") == ([], [])
    with traffic(lbd):
        lines = run(lbd, "--once", "--interval", "0.3", "--sort", "requests").stdout.splitlines()
    assert lines[8].startswith("app/one ")


def test_keys_on_a_terminal(lbd: Lbd) -> None:
    with screen(lbd) as terminal:
        terminal.shows(r"(?s)^app/one +ready.*^broken/gone.*^q quit  s sort: name  / filter: none")
        with traffic(lbd):
            terminal.shows(r"^app/one +ready +1 +[1-9]")  # requests a second
        terminal.type("s")
        terminal.shows("s sort: requests")
        terminal.type("/gone")
        terminal.shows(r"(?s)\A(?!.*app/one).*^broken/gone.*/ filter: gone_")
        terminal.type("\x7f\x7f\x7f\x7ftwo\r")
        terminal.shows(r"(?s)\A(?!.*broken/gone).*^app/two.*/ filter: two$")
        terminal.type("/")
        terminal.shows("/ filter: two_")
        terminal.type("\x1b")
        terminal.shows(r"(?s)^broken/gone.*/ filter: none")
        terminal.type("q")
        assert terminal.end() == 0


def test_small_terminal_scrolls(lbd: Lbd) -> None:
    with screen(lbd, rows=6) as terminal:
        assert "app/one" not in terminal.shows("^CLUSTER")
        terminal.type("\x1bOB" * 20)  # arrow down
        terminal.shows(r"(?s)\Albd (?!.*CLUSTER).*^broken/gone.*^q quit")
        terminal.type("q")
        assert terminal.end() == 0


def test_interrupt_leaves_the_terminal(lbd: Lbd) -> None:
    with screen(lbd) as terminal:
        terminal.shows("^app/one")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0


def test_lbd_that_goes_and_comes_back(tmp_path: Path) -> None:
    with EchoOrigin() as origin:
        places = {"origin": origin, "state": tmp_path / "s", "socket": tmp_path / "a"}
        with Lbd(CONFIG, **places) as first:
            config = tmp_path / "lbd.yaml"
            config.write_text((first.directory / "lbd.yaml").read_text())
            with Terminal([*COMMAND, "-c", str(config), "--interval", "0.2"], ENV) as terminal:
                terminal.shows(f"pid {first.pid}")
                assert first.stop() == 0
                terminal.shows("^no lbd answers at unix:")
                with Lbd(CONFIG, **places) as second:
                    shown = terminal.shows(f"pid {second.pid}")
                    assert "no lbd answers" not in shown
                    terminal.type("q")
                    assert terminal.end() == 0


def test_mistakes(lbd: Lbd) -> None:
    done = run(lbd)
    assert done.returncode == 2 and "this is no terminal; use --once or --json" in done.stderr
    with Refusing() as nobody:
        done = run(lbd, "--once", "--admin", str(nobody))
        assert (done.returncode, done.stdout) == (3, "") and "no lbd answers" in done.stderr


def test_lbd_that_ends_while_json_is_printed(tmp_path: Path) -> None:
    with (
        EchoOrigin() as origin,
        Lbd(CONFIG, origin=origin, state=tmp_path / "s", socket=tmp_path / "a") as lbd,
    ):
        config = str(lbd.directory / "lbd.yaml")
        with subprocess.Popen(
            [*COMMAND, "-c", config, "--json", "--interval", "0.1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **ENV, "PYTHONUNBUFFERED": "1"},
        ) as top:  # fmt: skip
            assert top.stdout is not None
            for _ in range(2):
                assert json.loads(top.stdout.readline())["pid"] == lbd.pid
            lbd.stop()
            eventually(lambda: top.poll() is not None, "it ends")
            assert top.returncode == 3


# arithmetic


def reading(when: float, text: str) -> Reading:
    return Reading(when, parse(text), [], {})


def test_labels_are_unescaped() -> None:
    samples = parse('# HELP x\nlbd_x{a="1\\"2\\\\n\\n",b="}, c=\\""} 5e+02\nlbd_y 1\nother 2\n')
    assert samples == {"lbd_x": [({"a": '1"2\\n\n', "b": '}, c="'}, 500.0)], "lbd_y": [({}, 1.0)]}


def test_increases_over_a_restart() -> None:
    before = reading(0, 'lbd_x{a="1"} 100\nlbd_x{a="2"} 5\n')
    after = reading(10, 'lbd_x{a="1"} 7\nlbd_x{a="2"} 9\nlbd_x{a="3"} 2\n')
    change = Change(before, after)
    assert change.increases("lbd_x", ("a",)) == {("1",): 7, ("2",): 4, ("3",): 2}
    assert change.increases("lbd_x", a="2") == {(): 4} and change.seconds == 10


@pytest.mark.parametrize(
    ("q", "rows", "value"),
    [
        (0.5, [(1.0, 10), (2.0, 10), (float("inf"), 10)], 0.5),
        (0.5, [(1.0, 0), (2.0, 10), (float("inf"), 10)], 1.5),
        (0.99, [(1.0, 50), (2.0, 100), (float("inf"), 100)], 1.98),
        (0.99, [(1.0, 50), (2.0, 60), (float("inf"), 100)], 2.0),  # beyond the last bound: at least that
    ],
)
def test_quantile(q: float, rows: list[tuple[float, float]], value: float) -> None:
    assert quantile(q, rows) == pytest.approx(value)


def test_quantiles_are_of_what_is_new() -> None:
    def histogram(*counts: int) -> str:
        rows = zip(("0.1", "1", "+Inf"), counts, strict=True)
        return "".join(f'lbd_h_bucket{{cluster="a",le="{le}"}} {count}\n' for le, count in rows)

    change = Change(reading(0, histogram(1000, 1000, 1000)), reading(1, histogram(1000, 1010, 1010)))
    ((p50, p99),) = change.quantiles("lbd_h", ("cluster",)).values()
    assert p50 == pytest.approx(0.55) and p99 == pytest.approx(0.991)
    assert Change(reading(0, histogram(5, 5, 5)), reading(1, histogram(5, 5, 5))).quantiles("lbd_h") == {}
