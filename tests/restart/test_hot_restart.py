"""SIGUSR2: another process takes over, and whoever connects is served all the time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from admin.asking import look
from harness.http_origin import Answer, HttpOrigin, Seen
from harness.messages import get
from harness.origin import Origin, recv_request, send
from harness.waiting import TIMEOUT, eventually, is_over
from harness.websocket import ASK, AWAY, SWITCH, echo_bytes, frame
from health.watching import Named, await_line
from reload.changing import Changing, body
from workers.several import Several

PLAIN = """
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
clusters:
  - {name: app, endpoints: [{address: <one>, name: one}]}
"""
FIXED = 'listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {body: "<text>"}}]}]'


@contextmanager
def replaced(lbd: Changing) -> Iterator[int]:
    """Hot restart; the process that serves now, which is ended afterwards."""
    lbd.signal(signal.SIGUSR2)
    line = await_line(lbd, "serves now")
    pid = int(line.split("pid ")[1].split()[0])
    descriptor = os.pidfd_open(pid)
    try:
        yield pid
    finally:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        eventually(lambda: is_over(pid), "it has ended")
        os.close(descriptor)


def fresh_body(lbd: Changing) -> bytes:
    with lbd.connect() as client:
        return body(client)


@pytest.mark.parametrize("kind", [Changing, Several])
def test_the_new_process_serves_what_stands_in_the_file(kind: type[Changing]) -> None:
    with kind(FIXED, text="one") as lbd, lbd.connect() as client:
        assert body(client) == b"one"
        before = look(lbd, "/api/info")["pid"]
        lbd.write(FIXED, text="two")
        with replaced(lbd) as pid:
            assert pid != before
            # the old one may still accept for a moment after it has said so
            eventually(lambda: fresh_body(lbd) == b"two", "at the same port")
            eventually(lambda: look(lbd, "/api/info")["pid"] == pid, "the admin listener as well")
            assert lbd.process.wait(4 * TIMEOUT) == 0, "the old one has ended"
            assert fresh_body(lbd) == b"two"


def test_exchanges_under_way_are_finished() -> None:
    gate = threading.Event()

    def waits(seen: Seen) -> Answer:
        gate.wait(4 * TIMEOUT)
        return Answer()

    config = f"drain_timeout: 30s\n{PLAIN}"
    with HttpOrigin(waits) as one, Changing(config, one=one) as lbd, lbd.connect() as client:
        client.send(get("/"))
        eventually(lambda: one.requests, "it is under way")
        with replaced(lbd):
            gate.set()
            assert client.read_response().status == 200
            assert lbd.process.wait(4 * TIMEOUT) == 0


def test_nobody_is_refused() -> None:
    over = threading.Event()
    failures: list[str] = []
    served = [0]

    def ask(lbd: Changing) -> None:
        while not over.is_set():
            try:
                with lbd.connect() as client:
                    if client.ask(get("/")).status != 200:
                        failures.append("status")
                    served[0] += 1
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        threads = [threading.Thread(target=ask, args=(lbd,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            with replaced(lbd):
                assert lbd.process.wait(4 * TIMEOUT) == 0
                before = served[0]
                eventually(lambda: served[0] > before + 20, "the new one serves them")
                over.set()
                for thread in threads:
                    thread.join(TIMEOUT)
        finally:
            over.set()
        assert failures == []


def test_health_is_handed_over() -> None:
    check = "health_check: {path: /health, interval: 30s, initial: up}"
    config = PLAIN.replace("name: one}]", f"name: one}}, {{address: <two>, name: two}}], {check}")
    with Named("one") as one, Named("two") as two:
        two.health = 500
        with Changing(config, one=one, two=two) as lbd:
            await_line(lbd, "endpoint app/two: down")
            checked = len(two.requests)
            with replaced(lbd):
                assert lbd.process.wait(4 * TIMEOUT) == 0  # until then it may accept as well
                with lbd.connect() as client:
                    assert {body(client) for _ in range(6)} == {b"one"}
                assert len(two.requests) <= checked + 1


def test_an_executable_that_fails_changes_nothing() -> None:
    with Named("one") as one, Changing(PLAIN, one=one) as lbd:
        lbd.write(PLAIN.replace("cluster: app", "cluster: ap"))
        lbd.signal(signal.SIGUSR2)
        await_line(lbd, "hot restart failed, this process goes on")
        with lbd.connect() as client:
            assert body(client) == b"one"
        lbd.write(PLAIN)
        with replaced(lbd):
            assert lbd.process.wait(4 * TIMEOUT) == 0


@pytest.mark.parametrize("kind", [Changing, Several])
def test_unix_socket_stays(kind: type[Changing], tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    config = FIXED.replace('"127.0.0.1:0"', f'["127.0.0.1:0", "unix:{path}"]')
    with kind(config, text="one") as lbd, replaced(lbd):
        assert lbd.process.wait(4 * TIMEOUT) == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(get("/", "Connection: close"))
            assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_sockets_of_systemd(tmp_path: Path) -> None:
    """LISTEN_FDS, by the address that the configuration names."""
    with socket.create_server(("127.0.0.1", 0)) as made, socket.create_server(("127.0.0.1", 0)) as other:
        port = made.getsockname()[1]
        config = FIXED.replace("127.0.0.1:0", f"127.0.0.1:{port}").replace("<text>", "one")
        (tmp_path / "lbd.yaml").write_text(config)
        program = (
            "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); "
            "os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
            "os.execv(sys.executable, [sys.executable, '-m', 'lbd', 'run', '-c', sys.argv[3]])"
        )
        fds = (made.fileno(), other.fileno())
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, fds), str(tmp_path / "lbd.yaml")],
            env={**os.environ, "LISTEN_FDS": "2", "PYTHONPATH": str(Path(__file__).parents[2])},
            pass_fds=(*fds, 3, 4) if {3, 4} <= set(fds) else fds,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if line.endswith("INFO ready\n"):
                    break
            assert any("no listener of the configuration has this address" in line for line in lines), lines
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(get("/", "Connection: close"))
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
        finally:
            process.terminate()
            process.stderr.close()
            assert process.wait(4 * TIMEOUT) == 0


def test_watchdog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(4 * TIMEOUT)
        lbd = Changing(FIXED, text="one")
        lbd.env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with lbd:
            said = [manager.recv(4096) for _ in range(4)]
            assert said[0].startswith(b"READY=1")
            assert said[1:] == [b"WATCHDOG=1"] * 3
            heard: list[bytes] = []
            over = threading.Event()
            listener = threading.Thread(target=hear, args=(manager, heard, over))
            listener.start()
            try:
                with replaced(lbd) as pid:
                    eventually(lambda: f"MAINPID={pid}".encode() in heard, "systemd is told")
                    assert not any(one.startswith(b"STOPPING") for one in heard)
                    assert lbd.process.wait(4 * TIMEOUT) == 0
            finally:
                over.set()
                listener.join(TIMEOUT)


def hear(manager: socket.socket, heard: list[bytes], over: threading.Event) -> None:
    manager.settimeout(0.1)
    while not over.is_set():
        try:
            heard.append(manager.recv(4096))
        except TimeoutError:
            continue


def test_a_service_manager_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        lbd = Changing(FIXED, text="one")
        lbd.env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"}
        with lbd, lbd.connect() as client:
            for _ in range(50):
                assert body(client) == b"one"


def test_the_old_one_lives_while_the_new_one_accepts() -> None:
    """Both have the listening socket: who came to the new one woke the old one, which had forgotten it."""
    config = f"drain_timeout: 60s\nwebsocket_drain_timeout: 60s\n{PLAIN}"
    script = [recv_request, send(SWITCH), echo_bytes]
    with Origin(*[script] * 40) as one, Changing(config, one=one) as lbd:
        clients = [lbd.connect() for _ in range(40)]
        for client in clients:
            assert client.ask(ASK).status == 101
        with replaced(lbd):
            for turn in range(20):
                client = clients[turn]
                assert client.read_exactly(len(AWAY)) == AWAY  # a few at a time
                client.close()
                for _ in range(20):
                    lbd.connect().close()
                for other in clients[30:]:
                    if not other.has_input():
                        other.send(frame(b"x" * turn * 100))
            assert lbd.process.poll() is None
            for client in clients:
                client.close()
            assert lbd.process.wait(4 * TIMEOUT) == 0
