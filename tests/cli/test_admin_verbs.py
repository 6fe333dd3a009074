"""status, drain, undrain, disable, enable and weight, against real lbd processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from admin.test_drain import Holding
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Refusing
from harness.waiting import TIMEOUT, eventually

ROOT = Path(__file__).parents[2]
TOKEN = "correct-horse-battery"
CONFIG = """
environment: testing
state_directory: <state>
admin: {bind: "unix:<socket>", token: correct-horse-battery}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one, weight: 2}, "unix:/run/some app.sock"]}
  - {name: spare, endpoints: ["127.0.0.1:1"]}
"""


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lbd", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
        timeout=60,
        check=False,
    )


class Running:
    """An lbd on a unix socket with a token, and verbs for it."""

    def __init__(self, lbd: Lbd, socket: Path) -> None:
        self.lbd, self.socket = lbd, socket
        self.config = str(lbd.directory / "lbd.yaml")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, "-c", self.config)

    def say(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


@pytest.fixture(scope="module")
def running(tmp_path_factory: Any) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("lbd")
    socket = directory / "admin.sock"
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, state=directory / "s", socket=socket) as lbd:
        yield Running(lbd, socket)


def test_status(running: Running) -> None:
    running.lbd.ask(get())
    lines = running.say("status").splitlines()
    assert lines[0].startswith("lbd ") and lines[0].endswith(", testing")
    assert f"pid {running.lbd.pid}, up " in lines[0]
    assert lines[1:3] == [
        "cluster app (round_robin): 2 of 2 endpoints usable, 0 under way",
        "cluster spare (round_robin): 1 of 1 endpoints usable, 0 under way",
    ]
    head, one, app, spare = lines[4:]
    assert head.split()[:5] == ["CLUSTER", "ENDPOINT", "STATE", "HEALTH", "WEIGHT"]
    assert one.split()[:6] == ["app", "one", "ready", "-", "2", "0"]
    assert "unix:/run/some app.sock" in app
    assert spare.split()[:2] == ["spare", "127.0.0.1:1"]


def test_status_of_one_cluster_and_as_json(running: Running) -> None:
    assert "spare" not in running.say("status", "app")
    found = json.loads(running.say("status", "--json"))
    assert found["info"]["pid"] == running.lbd.pid
    assert [cluster["name"] for cluster in found["clusters"]] == ["app", "spare"]
    assert found["clusters"][0]["endpoints"][0]["name"] == "one"


def test_verbs_say_what_has_become_of_the_endpoint(running: Running) -> None:
    name = "app/one"
    assert running.say("drain", name) == "app/one: draining, weight 2, empty\n"
    assert running.say("undrain", name) == "app/one: ready, weight 2, 0 under way\n"
    assert running.say("disable", name) == "app/one: disabled, weight 2, empty\n"
    assert running.say("enable", name) == "app/one: ready, weight 2, 0 under way\n"
    assert running.say("weight", name, "5") == "app/one: ready, weight 5 (2 configured), 0 under way\n"
    assert running.say("weight", name, "0") == "app/one: ready, weight 0 (2 configured), 0 under way\n"
    assert running.say("weight", name, "default") == "app/one: ready, weight 2, 0 under way\n"


def test_names_with_slashes_and_blanks(running: Running) -> None:
    name = "app/unix:/run/some app.sock"
    assert json.loads(running.say("weight", name, "3", "--json"))["weight"]["wanted"] == 3
    assert "* 1 configured" in running.say("status", "app")
    running.say("weight", name, "default")


def test_the_listener_may_be_named(running: Running) -> None:
    where = ("--admin", f"unix:{running.socket}")
    done = run("status", *where)
    assert (done.returncode, done.stdout) == (1, "")
    assert "LBD_ADMIN_TOKEN" in done.stderr
    done = run("status", *where, env={"LBD_ADMIN_TOKEN": TOKEN})
    assert done.returncode == 0 and "cluster app" in done.stdout
    done = run("status", *where, env={"LBD_ADMIN_TOKEN": TOKEN + "x"})
    assert done.returncode == 1 and TOKEN not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("drain", "app/on"), 1, "there is no endpoint 'on' in cluster 'app'; did you mean 'one'?"),
        (("weight", "ap/one", "1"), 1, "there is no cluster 'ap'; did you mean 'app'?"),
        (("status", "ap"), 1, "there is no cluster 'ap'; did you mean 'app'?"),
        (("drain", "app"), 2, "'app' names no endpoint; write CLUSTER/ENDPOINT"),
        (("enable", "/one"), 2, "'/one' names no endpoint; write CLUSTER/ENDPOINT"),
        (("weight", "app/one", "65536"), 2, "'65536' is not a weight; write 0 to 65535, or default"),
        (("weight", "app/one", "x"), 2, "'x' is not a weight"),
        (("status", "--admin", "nowhere"), 2, "'nowhere' has no port; write host:port"),
    ],
)
def test_mistakes(running: Running, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    done = running.run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_not_running(tmp_path: Path) -> None:
    with Refusing() as nobody:
        done = run("status", "--admin", str(nobody))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == f"Error: no lbd answers at {nobody}: Connection refused\n"
        done = run("drain", "app/one", "--admin", str(nobody))
        assert done.returncode == 1 and "no lbd answers" in done.stderr
    assert run("status", "--admin", f"unix:{tmp_path}/none.sock").returncode == 3


def test_something_else_is_running(running: Running) -> None:
    host, port = running.lbd.address()
    done = run("status", "--admin", f"{host}:{port}")
    assert done.returncode == 1 and "is not an admin listener of lbd" in done.stderr


@pytest.mark.parametrize(
    ("admin", "sentence"),
    [
        ("", "has no 'admin', so lbd cannot be asked; add it, or name a listener with --admin"),
        ("admin: {bind: '127.0.0.1:0'}\n", "leaves the port to the system; name it with --admin HOST:PORT"),
    ],
)
def test_configurations_that_do_not_say_where(tmp_path: Path, admin: str, sentence: str) -> None:
    file = tmp_path / "lbd.yaml"
    file.write_text(
        admin
        + "listeners: [{name: w, bind: ':1', cluster: c}]\nclusters: [{name: c, endpoints: ['h:1']}]\n"
    )
    done = run("status", "-c", str(file))
    assert done.returncode == 1 and sentence in done.stderr


def test_what_cannot_be_saved_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = {"state": tmp_path / "file" / "below", "socket": tmp_path / "a.sock"}
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, **places) as lbd:
        done = Running(lbd, tmp_path / "a.sock").run("weight", "app/one", "9")
    assert done.returncode == 0 and "weight 9" in done.stdout
    assert done.stderr == "Warning: lbd could not save it, so it ends with the next restart of lbd\n"


def test_drain_waits_until_it_is_empty(tmp_path: Path) -> None:
    places = {"state": tmp_path / "s", "socket": tmp_path / "a.sock"}
    with ExitStack() as stack:
        origin = stack.enter_context(Holding("held"))
        lbd = stack.enter_context(Lbd(CONFIG, origin=origin, **places))
        running = Running(lbd, tmp_path / "a.sock")
        running.say("weight", "app/unix:/run/some app.sock", "0")
        client = stack.enter_context(lbd.connect()).send(get("/hold"))
        eventually(lambda: origin.requests, "the origin holds it")
        done = running.run("drain", "app/one", "--wait", "0.1")
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "app/one: 1 under way",
            "Error: app/one goes on draining: 1 under way after 0.1 s",
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "lbd", "drain", "app/one", "--wait", "60", "-c", running.config],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        ) as waiting:
            assert waiting.stderr is not None and waiting.stdout is not None
            assert waiting.stderr.readline() == "app/one: 1 under way\n"
            origin.go.set()
            assert client.read_response().body == b"held"
            assert waiting.stdout.read() == "app/one: draining, weight 2, empty\n"
            assert waiting.wait(4 * TIMEOUT) == 0


def test_verbs_ask_a_running_lbd_whose_file_is_bad_by_now(running: Running) -> None:
    file = Path(running.config)
    good = file.read_text()
    file.write_text(good.replace("cluster: app}", "cluster: gone}"))
    try:
        assert f"pid {running.lbd.pid}, up " in running.say("status")
        refused = running.run("reload")
        assert refused.returncode == 1 and "unknown cluster 'gone'" in refused.stderr
        file.write_text("admin: {bind: nowhere}\n")
        bad = running.run("status")
        assert bad.returncode == 78 and "admin.bind" in bad.stderr
    finally:
        file.write_text(good)
