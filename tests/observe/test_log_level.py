"""lbd's own log: JSON, its level changed at run time by API and command, secrets masked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from harness.lbd import ROOT, Lbd
from harness.waiting import eventually
from tls.speaking import Served, World

from lbd.config.loader import load_text
from lbd.config.secrets import secrets_of
from lbd.observe.log import Log

TOKEN = "0123456789abcdef-token"
CONFIG = f"""
state_directory: state
admin: {{bind: "127.0.0.1:0", token: {TOKEN}}}
listeners:
  - {{name: web, bind: "127.0.0.1:0", routes: [{{respond: {{status: 204}}}}]}}
  - name: secure
    bind: "127.0.0.1:0"
    tls: {{certificates: [<site>]}}
    routes: [{{respond: {{status: 204}}}}]
"""
SECRETS = """
admin: {token: 0123456789abcdef-token}
tracing: {endpoint: "http://127.0.0.1:1", headers: {authorization: Bearer tracing-secret, x-a: visible-team}}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    endpoints: ["127.0.0.1:1"]
    sticky: {cookie: {secret: sticky-secret-of-32-characters-xx}}
    health_check: {headers: {Authorization: Basic check-secret}}
"""


@pytest.fixture
def lbd(world: World) -> Iterator[Served]:
    with Served(CONFIG, site=world.pair("site")) as lbd:
        yield lbd


def command(lbd: Lbd, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    address = "{}:{}".format(*lbd.address("admin"))
    return subprocess.run(
        [sys.executable, "-m", "lbd", "log-level", "--admin", address, *arguments],
        capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, "LBD_ADMIN_TOKEN": token})


def fail_a_handshake(lbd: Lbd) -> None:
    with lbd.connect("secure") as client:
        client.send(b"this is no TLS\r\n\r\n")
        client.read_until_close()


def test_level_at_run_time(lbd: Served) -> None:
    """Events that only debug shows begin and end to be told, those of the data plane too."""
    assert command(lbd).stdout == "info\n"
    assert command(lbd, "debug", "--json").stdout == '{"level": "debug"}\n'
    fail_a_handshake(lbd)
    eventually(lambda: "listener secure: 127.0.0.1: handshake_failed" in lbd.stderr, "the refusal is told")
    assert "set the log level: info -> debug" in lbd.stderr
    assert command(lbd, "error").stdout == "error\n"
    count = lbd.stderr.count("handshake_failed")
    fail_a_handshake(lbd)
    assert command(lbd).stdout == "error\n"
    assert lbd.stderr.count("handshake_failed") == count
    assert "ERROR admin: 127.0.0.1 set the log level: debug -> error" in lbd.stderr


def test_level_that_is_none(lbd: Served) -> None:
    assert command(lbd, "loud").returncode == 2
    refused = command(lbd, "debug", token="wrong-wrong-wrong-wrong")
    assert refused.returncode == 1 and "token" in refused.stderr
    assert command(lbd).stdout == "info\n"


def test_json_form(capsys: pytest.CaptureFixture[str]) -> None:
    Log("info", "json").warning('quote " and\nline ü \x1b')
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.isascii()
    said = json.loads(line)
    assert (said["level"], said["message"]) == ("warning", 'quote " and\nline ü \x1b')
    assert said["time"].endswith("Z") and list(said) == ["time", "level", "message"]


def test_json_form_of_a_daemon() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "lbd", "run", "-c", "/dev/stdin"], text=True, capture_output=True, timeout=60,
        cwd=ROOT, input="log: {format: json}\nlisteners: [{name: web, bind: '203.0.113.1:1', "
        "routes: [{respond: {status: 204}}]}]\n")
    said = [json.loads(line) for line in process.stderr.splitlines()]
    assert said[-1]["level"] == "error" and "cannot start" in said[-1]["message"]


def test_secrets_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    found = set(secrets_of(load_text(SECRETS)))
    assert {TOKEN, "tracing-secret", "sticky-secret-of-32-characters-xx", "check-secret"} <= found
    assert not {"visible-team", "web", "app"} & found
    log = Log(secrets=found)
    log.error("with 0123456789abcdef-token, Bearer tracing-secret and visible-team")
    assert capsys.readouterr().err.endswith("with ***, *** and visible-team\n")


def test_short_secrets_do_not_mask_words(capsys: pytest.CaptureFixture[str]) -> None:
    Log(secrets=["", "in"]).error("in plain words")
    assert capsys.readouterr().err.endswith("in plain words\n")


def test_level_is_known_and_changed() -> None:
    log = Log("warning")
    assert (log.level, log.set_level("debug"), log.level) == ("warning", "warning", "debug")
    with pytest.raises(KeyError):
        log.set_level("loud")
