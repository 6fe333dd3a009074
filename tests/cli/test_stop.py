"""`lbd stop` and POST /api/stop: drains as SIGTERM does, and waits until the process is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from admin.asking import ask
from admin.test_drain import Holding
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually

ROOT = Path(__file__).parents[2]
CONFIG = """
drain_timeout: 1m
workers: <workers>
state_directory: <state>
admin: {bind: "127.0.0.1:<port>"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
JSON = "Content-Type: application/json"


def command(lbd: Lbd, *arguments: str) -> list[str]:
    host, port = lbd.address("admin")
    return [sys.executable, "-m", "lbd", "stop", "--admin", f"{host}:{port}", *arguments]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.fixture
def origin() -> Iterator[Holding]:
    with Holding("held") as origin:
        yield origin


def started(origin: Holding, directory: Path, workers: int = 1) -> Lbd:
    return Lbd(CONFIG, origin=origin, state=directory, workers=workers, port=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_lbd_ends_at_once(origin: Holding, tmp_path: Path, workers: int) -> None:
    with started(origin, tmp_path, workers) as lbd:
        lbd.ask(get("/", "Connection: close"))
        done = run(command(lbd))
        assert (done.returncode, done.stderr) == (0, f"lbd (pid {lbd.pid}) drains, for up to 60 s\n")
        assert done.stdout.startswith("stopped in ")
        # it has ended when the command says so
        assert lbd.process.poll() == 0


def test_waits_for_what_is_under_way(origin: Holding, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        client = lbd.connect().send(get("/hold"))
        eventually(lambda: origin.requests, "it is held")
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command(lbd), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        ) as stop:
            assert stop.stderr is not None and stop.stdout is not None
            assert "drains" in stop.stderr.readline()
            assert lbd.process.poll() is None and stop.poll() is None
            # asking again is no second signal, which would cut what is under way
            done = run(command(lbd, "--wait", "0.1"))
            assert done.returncode == 1 and "is still draining after 0.1 s" in done.stderr
            origin.go.set()
            assert client.read_response().body == b"held"
            client.close()
            assert stop.stdout.read().startswith("stopped in ")
            assert stop.wait(4 * TIMEOUT) == 0
        assert lbd.wait() == 0


def test_json(origin: Holding, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        done = run(command(lbd, "--json"))
        said = json.loads(done.stdout)
        assert (done.stderr, said["pid"]) == ("", lbd.pid) and said["seconds"] >= 0


def test_nobody_to_stop() -> None:
    with Refusing() as nobody:
        done = run([sys.executable, "-m", "lbd", "stop", "--admin", str(nobody)])
    assert done.returncode == 1 and "no lbd answers" in done.stderr


def test_api(origin: Holding, tmp_path: Path) -> None:
    with started(origin, tmp_path) as lbd:
        assert ask(lbd, "GET", "/api/stop").status == 405
        assert ask(lbd, "POST", "/api/stop").status == 415  # a form of another page cannot
        assert lbd.process.poll() is None
        answer = ask(lbd, "POST", "/api/stop", JSON)
        assert (answer.status, answer.json()) == (200, {"pid": lbd.pid, "drain_timeout": 60.0})
        assert lbd.wait() == 0
        assert "INFO admin: 127.0.0.1 asks lbd to stop" in lbd.stderr
