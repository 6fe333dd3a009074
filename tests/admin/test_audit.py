"""The audit log: every change, who wanted it and what became of it, in memory and in admin.audit_log."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admin.asking import JSON, ask, change, endpoint_path, look, patch
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.waiting import TIMEOUT, eventually
from reload.changing import Changing

from lbd.admin.audit import Entries
from lbd.engine.accesslog import LogWriter
from lbd.observe.audit import KEPT, Audit
from lbd.observe.log import Log

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - {name: app, endpoints: [{address: <origin>, name: one, weight: 2}]}
"""
TO_FILE = 'state_directory: state\nadmin: {bind: "127.0.0.1:0", audit_log: "<to>"}\n' + CONFIG


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin


@pytest.fixture(params=[1, 2])
def lbd(request: pytest.FixtureRequest, origin: EchoOrigin) -> Iterator[Changing]:
    with Changing(f"workers: {request.param}\n{CONFIG}", origin=origin) as lbd:
        lbd.workers = request.param  # type: ignore[attr-defined]
        yield lbd


def entries(lbd: Lbd) -> list[Any]:
    answer = look(lbd, "/api/audit")
    Entries.model_validate(answer)
    assert answer["pid"] == lbd.pid
    return list(answer["entries"])


def newest(lbd: Lbd, action: str, **expected: Any) -> Any:
    """The last entry, once it is of this action."""

    def found() -> Any:
        rows = entries(lbd)
        fits = rows and rows[-1]["action"] == action and expected.items() <= rows[-1].items()
        return fits and rows[-1]

    return eventually(found, f"an entry: {action} {expected}")


def test_changes_of_endpoints(lbd: Changing) -> None:
    assert entries(lbd) == []
    change(lbd, "app", "one", weight=5, state="draining")
    entry = newest(lbd, "set endpoint")
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "who": "127.0.0.1",
        "via": f"PATCH {endpoint_path('app', 'one')}",
        "action": "set endpoint",
        "subject": "app/one",
        "changes": {"weight": {"old": 2, "new": 5}, "state": {"old": "ready", "new": "draining"}},
        "outcome": "ok",
        "saved": True,
    }
    change(lbd, "app", "one", weight=None)
    assert newest(lbd, "set endpoint")["changes"] == {"weight": {"old": 5, "new": "2 (as configured)"}}
    assert "admin: 127.0.0.1 set endpoint app/one: weight 2 -> 5, state ready -> draining" in lbd.stderr


def test_what_was_not_changed_is_not_there(lbd: Changing) -> None:
    assert patch(lbd, "app", "one", weight=-1).status == 422
    assert patch(lbd, "app", "two", weight=1).status == 404
    look(lbd, "/api/clusters")
    assert entries(lbd) == []


def test_the_log_level_and_the_counters(lbd: Changing) -> None:
    assert ask(lbd, "PUT", "/api/log-level", JSON, body=b'{"level": "error"}').status == 200
    entry = newest(lbd, "set log level")
    assert (entry["who"], entry["changes"]) == ("127.0.0.1", {"level": {"old": "info", "new": "error"}})
    assert ask(lbd, "POST", "/api/stats/reset", JSON, body=b"{}").status == 200
    assert newest(lbd, "reset stats")["via"] == "POST /api/stats/reset"


def test_reloads(lbd: Changing) -> None:
    more = f"workers: {lbd.workers}\n" + CONFIG + "  - {name: more, endpoints: ['127.0.0.1:1']}\n"  # type: ignore[attr-defined]
    lbd.reload(more)
    entry = newest(lbd, "reload", outcome="ok")
    assert (entry["who"], entry["via"]) == ("127.0.0.1", "POST /api/reload")
    assert entry["added"] == {"clusters": ["more"]} and "added 1 clusters" in entry["summary"]
    assert "removed" not in entry
    lbd.refused("nonsense: 1\n")
    entry = newest(lbd, "reload", outcome="refused")
    assert "nonsense" in entry["why"] and entry["who"] == "127.0.0.1"
    lbd.signal(signal.SIGHUP)
    entry = newest(lbd, "reload", outcome="refused", via="SIGHUP")
    assert "who" not in entry


def test_signals_and_stop(origin: EchoOrigin, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    with Lbd(TO_FILE, origin=origin, to=file) as lbd:
        lbd.signal(signal.SIGUSR1)
        newest(lbd, "reopen logs", via="SIGUSR1")
        assert ask(lbd, "POST", "/api/stop", JSON, body=b"{}").status == 200
        lbd.wait()
    written = lines(file)
    assert [(row["action"], row["via"]) for row in written] == [
        ("reopen logs", "SIGUSR1"),
        ("stop", "POST /api/stop"),
        ("stop", "SIGTERM"),
    ]
    assert written[1]["who"] == "127.0.0.1"


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_of_the_file_are_the_entries(origin: EchoOrigin, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text('{"action": "of before"}\n')
    with Lbd(TO_FILE, origin=origin, to=file) as lbd:
        for weight in (3, 4):
            change(lbd, "app", "one", weight=weight)
        eventually(lambda: lines(file)[1:] == entries(lbd) and len(lines(file)) == 3, "both are written")


def test_rotation(origin: EchoOrigin, tmp_path: Path) -> None:
    file, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    with Lbd(TO_FILE, origin=origin, to=file) as lbd:
        change(lbd, "app", "one", weight=3)
        eventually(lambda: len(lines(file)) == 1, "it is written")
        assert file.stat().st_mode & 0o777 == 0o640
        file.rename(old)
        lbd.signal(signal.SIGUSR1)
        eventually(lambda: file.exists() and len(lines(file)) == 1, "the new file has the next line")
        assert lines(file)[0]["action"] == "reopen logs" and len(lines(old)) == 1


def test_syslog(origin: EchoOrigin, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(TIMEOUT)
        with Lbd(TO_FILE, origin=origin, to=f"syslog:unix:{path}") as lbd:
            change(lbd, "app", "one", weight=3)
            head, _, line = daemon.recv(65536).partition(b" - {")
            assert head.endswith(b"lbd %d audit" % lbd.pid)
            assert json.loads(b"{" + line)["changes"] == {"weight": {"old": 2, "new": 3}}


def test_who_it_is_behind_a_unix_socket(origin: EchoOrigin, tmp_path: Path) -> None:
    place = tmp_path / "admin.sock"
    config = CONFIG.replace("\n", f'\nadmin: {{bind: "unix:{place}"}}\n', 1)
    with Lbd(config, origin=origin), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
        client.settimeout(TIMEOUT)
        body = b'{"level": "debug"}'
        client.sendall(
            b"PUT /api/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert b" 200 " in client.recv(4096)
        client.sendall(b"GET /api/audit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        (entry,) = json.loads(answer.partition(b"\r\n\r\n")[2])["entries"]
        assert entry["who"] == f"uid {os.getuid()} (pid {os.getpid()})"


def test_reload_moves_it(origin: EchoOrigin, tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    config = TO_FILE.replace("<origin>", str(origin))
    with Lbd(config, to=first) as lbd:
        file = lbd.directory / "lbd.yaml"

        def reload(text: str) -> int:
            file.write_text(text)
            return ask(lbd, "POST", "/api/reload", JSON, body=b"{}").status

        before = file.read_text()
        assert reload(before.replace(str(first), str(second))) == 200
        change(lbd, "app", "one", weight=9)
        eventually(lambda: second.exists() and "set endpoint" in second.read_text(), "it is there")
        assert all(row["action"] != "set endpoint" for row in lines(first))
        missing = tmp_path / "missing" / "audit.log"
        assert reload(before.replace(str(first), str(missing))) == 409, "it cannot be opened"
        eventually(lambda: lines(second)[-1]["outcome"] == "refused", "the old one stays")
        assert reload(before.replace(f', audit_log: "{first}"', "")) == 200
        change(lbd, "app", "one", weight=8)
        assert newest(lbd, "set endpoint")["changes"]["weight"]["new"] == 8
        eventually(lambda: not any("log" in name and "second" in name for name in open_files(lbd)), "closed")


def open_files(lbd: Lbd) -> list[str]:
    directory = Path(f"/proc/{lbd.pid}/fd")
    return [os.readlink(path) for path in directory.iterdir() if path.is_symlink()]


def test_a_file_that_cannot_be_opened_ends_the_start(origin: EchoOrigin, tmp_path: Path) -> None:
    lbd = Lbd(TO_FILE, origin=origin, to=tmp_path / "missing" / "audit.log")
    lbd.start()
    try:
        assert lbd.wait(4 * TIMEOUT) == 1
        assert "cannot start: " in lbd.stderr and "audit.log" in lbd.stderr
    finally:
        lbd.discard()


def test_a_full_disk_costs_lines_and_no_change(origin: EchoOrigin) -> None:
    with Lbd(TO_FILE, origin=origin, to="/dev/full") as lbd:
        for weight in range(5):
            assert change(lbd, "app", "one", weight=weight)["weight"]["wanted"] == weight
        eventually(lambda: "audit log /dev/full: " in lbd.stderr, "it is said")
        assert "lines are lost" in lbd.stderr and len(entries(lbd)) == 5


def test_secrets_are_masked_and_texts_are_cut() -> None:
    audit = Audit(Log(secrets=["correct-horse-battery"]))
    told = ["changed to correct-horse-battery", {"b": "correct-horse-battery"}]
    changes = {"a": ("correct-horse-battery", 1)}
    audit.note("x", via="y", changes=changes, details={"why": told, "long": "z" * 5000})
    (entry,) = audit.entries()
    assert entry["changes"] == {"a": {"old": "***", "new": 1}}
    assert entry["why"] == ["changed to ***", {"b": "***"}]
    assert len(entry["long"]) == 1000


def test_memory_is_bounded() -> None:
    audit = Audit(Log())
    for number in range(KEPT + 50):
        audit.note("x", via="y", subject=str(number))
    found = audit.entries()
    assert len(found) == KEPT == 200 and found[-1]["subject"] == str(KEPT + 49)


def test_a_writer_that_is_stuck_drops_and_counts() -> None:
    """What the control plane writes is bounded like lines of requests."""

    class Stuck:
        def __init__(self) -> None:
            self.go = threading.Event()

        def write(self, data: bytes) -> tuple[int, OSError | None]:
            self.go.wait(4 * TIMEOUT)
            return 0, None

        def reopen(self) -> None:
            """Nothing to do."""

        def close(self) -> None:
            """Nothing to do."""

    stuck = Stuck()
    writer = LogWriter("stuck", stuck)
    took = sum(writer.put(b"x" * 100_000) for _ in range(100))
    assert 0 < took < 30 and writer.dropped == 100 - took == 100 - writer.lines
    stuck.go.set()
    writer.close()
