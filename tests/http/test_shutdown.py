"""Signals, start failures and exit codes of the whole process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import ROOT, Lbd
from harness.messages import get, ok
from harness.origin import Origin, notify, recv_request, send, wait_for
from harness.waiting import SLOW, TIMEOUT, eventually

CONFIG = """
drain_timeout: 20s
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


class Held:
    """An endpoint that answers when the test says so."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.origin = Origin([recv_request, notify(self.asked), wait_for(self.go), send(ok(b"done"))])


def refuses(lbd: Lbd) -> bool:
    try:
        lbd.connect().close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drain_finishes_the_exchange(number: signal.Signals) -> None:
    held = Held()
    with held.origin as origin, Lbd(CONFIG, origin=origin) as lbd, lbd.connect() as client:
        client.send(get())
        assert held.asked.wait(10)
        lbd.signal(number)
        eventually(lambda: refuses(lbd), "new connections are refused while draining")
        assert lbd.process.poll() is None, "still waits for the exchange"
        held.go.set()
        response = client.read_response()
        assert (response.status, response.body, response.complete) == (200, b"done", True)
        assert client.read_until_close() == b""
        assert lbd.wait() == 0


def test_signals_come_too_late_to_matter() -> None:
    """Stopped is stopped: a service manager, or its user, that says so again does not make it a failure."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        with EchoOrigin() as origin, Lbd(CONFIG, origin=origin) as lbd:
            lbd.signal(signal.SIGTERM)
            eventually(lambda: lbd.lines[-1].endswith("INFO stopped"), "it has stopped")
            lbd.signal(number)
            assert lbd.wait() == 0, number


def test_a_log_that_nobody_reads_any_more_is_no_failure() -> None:
    """What could not be written must not be tried again at the end: Python would end with 120."""
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin) as lbd:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with subprocess.Popen(lbd.process.args, cwd=lbd.directory, stderr=subprocess.PIPE, text=True,
                              env={**env, "PYTHONPATH": str(ROOT)}) as process:
            assert process.stderr is not None
            assert any(line.endswith("INFO ready\n") for line in process.stderr)
            process.stderr.close()
            process.terminate()
            assert process.wait(4 * TIMEOUT) == 0


def test_idle_connections_do_not_hold_up_the_end() -> None:
    with EchoOrigin() as origin, Lbd(CONFIG,
                                     origin=origin) as lbd, lbd.connect() as used, lbd.connect() as fresh:
        assert used.ask(get()).status == 200
        lbd.signal(signal.SIGTERM)
        assert used.read_until_close() == b"" and fresh.read_until_close() == b""
        assert lbd.wait() == 0


def test_drain_ends_at_its_deadline() -> None:
    held = Held()
    with held.origin as origin, Lbd(CONFIG.replace("20s", "300ms"),
                                    origin=origin) as lbd, lbd.connect() as client:
        client.send(get())
        assert held.asked.wait(10)
        lbd.signal(signal.SIGTERM)
        assert lbd.wait() == 0
        assert not client.read_response().complete or client.end
        held.go.set()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(second: signal.Signals) -> None:
    held = Held()
    with held.origin as origin, Lbd(CONFIG, origin=origin, exit_code=-1) as lbd, lbd.connect() as client:
        client.send(get())
        assert held.asked.wait(10)
        lbd.signal(signal.SIGTERM)
        eventually(lambda: refuses(lbd))
        lbd.signal(second)
        lbd.exit_code = lbd.wait(timeout=5 * SLOW)  # far below drain_timeout; any code will do
        held.go.set()


def test_tcp_connections_are_drained_too() -> None:
    config = CONFIG.replace('"127.0.0.1:0",', '"127.0.0.1:0", protocol: tcp,')
    with Origin([send(b"hello")]) as origin, Lbd(config.replace("20s", "500ms"),
                                                 origin=origin) as lbd, lbd.connect() as client:
        assert client.read_exactly(5) == b"hello"
        lbd.signal(signal.SIGTERM)
        assert lbd.wait() == 0


def test_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lbd = Lbd(CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"), origin="127.0.0.1:1")
        lbd.start()
        try:
            assert lbd.wait() == 1
            lbd.assert_clean()
            assert f"127.0.0.1:{taken.getsockname()[1]}" in lbd.stderr, lbd.stderr
        finally:
            lbd.discard()


@pytest.mark.parametrize("text",
                         ["listeners: []", "nonsense", "{",
                          CONFIG.replace("cluster: app", "cluster: missing")],
                         ids=["empty", "scalar", "syntax", "reference"])
def test_bad_config(text: str) -> None:
    lbd = Lbd(text, origin="127.0.0.1:1")
    lbd.start()
    try:
        assert lbd.wait() == 78
        lbd.assert_clean()
        assert "lbd.yaml" in lbd.stderr
    finally:
        lbd.discard()


def test_notify_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, EchoOrigin() as origin:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        with Lbd(CONFIG, origin=origin, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
            assert b"READY=1" in manager.recv(4096)


def test_fd_exhaustion_is_survived() -> None:
    """With few descriptors left lbd stops accepting, does not spin, and serves again when they are free."""
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin, descriptors=128) as lbd:
        before = lbd.fds()
        clients = [lbd.connect() for _ in range(300)]
        eventually(lambda: lbd.fds() > before + 20)
        busy = lbd.cpu()
        threading.Event().wait(0.5)
        assert lbd.cpu() - busy < 0.3, "spins while it has no descriptors"
        for client in clients:
            client.close()
        assert eventually(lambda: lbd.ask(get()).status == 200)
