"""Verbs that serve: `run`, `proxy`, `demo` as whole processes, with real clients, until a signal ends them.

These need the whole daemon (lbd.control.serve). Ports are chosen by the kernel and read from what lbd
says; every wait is for a line or an answer, never for time to pass.
"""

from __future__ import annotations

import http.client
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from lbd.cli.demo_origin import DemoOrigins

ROOT = Path(__file__).parents[2]
WAIT = 20.0  # seconds; only ever reached by a failure


class Lbd:
    """A running lbd and what it says, line by line."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lbd", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )
        self.out = _lines(self.process.stdout)
        self.err = _lines(self.process.stderr)

    def wait_for(self, pattern: str, lines: queue.Queue[str | None]) -> re.Match[str]:
        seen = []
        while (line := lines.get(timeout=WAIT)) is not None:
            seen.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no line like {pattern!r} in {seen}")

    def listening(self) -> str:
        address = self.wait_for(r"listener \S+: listening on (\S+)", self.err)[1]
        self.wait_for(r"ready$", self.err)
        return address

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT)


def _lines(stream: IO[str] | None) -> queue.Queue[str | None]:
    assert stream is not None
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


@pytest.fixture
def start() -> Iterator[Callable[..., Lbd]]:
    started: list[Lbd] = []

    def start(*arguments: str) -> Lbd:
        started.append(Lbd(arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        for stream in (each.process.stdout, each.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def origins() -> Iterator[DemoOrigins]:
    with DemoOrigins(("red", "green")) as running:
        yield running


def ask(address: str, path: str = "/", method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=WAIT)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_a_file_until_a_signal(
    start: Callable[..., Lbd], origins: DemoOrigins, tmp_path: Path, number: signal.Signals
) -> None:
    config = tmp_path / "lbd.yaml"
    config.write_text(
        "listeners: [{name: web, bind: '127.0.0.1:0', cluster: app}]\n"
        f"clusters: [{{name: app, endpoints: ['{origins.addresses['red']}']}}]\n",
        encoding="utf-8",
    )
    lbd = start("run", "-c", str(config))
    status, text = ask(lbd.listening(), "/x")
    assert (status, text.splitlines()[:2]) == (200, ["I am red.", "GET /x"])
    assert lbd.stop(number) == 0


def test_proxy_balances_over_its_endpoints(start: Callable[..., Lbd], origins: DemoOrigins) -> None:
    to = [argument for address in origins.addresses.values() for argument in ("--to", address)]
    lbd = start("proxy", "--listen", "127.0.0.1:0", *to)
    address = lbd.listening()
    assert (
        sorted(ask(address)[1].splitlines()[0] for _ in range(4)) == ["I am green."] * 2 + ["I am red."] * 2
    )
    assert lbd.stop(signal.SIGINT) == 0


def test_proxy_of_tcp(start: Callable[..., Lbd], origins: DemoOrigins) -> None:
    lbd = start("proxy", "--listen", "127.0.0.1:0", "--protocol", "tcp", "--to", origins.addresses["green"])
    status, text = ask(lbd.listening(), "/raw")
    assert (status, "x-forwarded" in text, text.splitlines()[0]) == (200, False, "I am green.")
    assert lbd.stop(signal.SIGTERM) == 0


def test_demo_shows_a_line_to_try_and_ends_cleanly(start: Callable[..., Lbd]) -> None:
    lbd = start("demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    address = lbd.wait_for(r"curl -i http://(\S+)/hello", lbd.out)[1]
    admin = lbd.wait_for(r"curl http://(\S+)/metrics", lbd.out)[1]
    assert lbd.listening() == address
    assert {ask(address, "/hello")[1].splitlines()[0] for _ in range(6)} == {
        "I am red.",
        "I am green.",
        "I am blue.",
    }
    assert ask(address, "/echo", "POST", b"hi") == (200, "hi")
    status, metrics = ask(admin, "/metrics")
    assert status == 200
    assert "lbd_requests_total" in metrics
    assert lbd.stop(signal.SIGINT) == 0
    assert "Traceback" not in "".join(line for line in list(lbd.err.queue) if line)


@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_demo_says_that_its_port_is_taken(start: Callable[..., Lbd], option: str) -> None:
    other = {"--listen": "--admin", "--admin": "--listen"}[option]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lbd = start("demo", option, f"127.0.0.1:{port}", other, "127.0.0.1:0")
        message = lbd.wait_for("in use", lbd.err).string
        assert message == (
            f"Error: 127.0.0.1:{port} is already in use; "
            f"choose another address with {option} 127.0.0.1:{port + 1}"
        )
        assert lbd.process.wait(WAIT) == 1
