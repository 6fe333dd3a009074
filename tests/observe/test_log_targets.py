"""Targets of access logs, well and ill: the journal, syslog, a full disk, a pipe that nobody reads."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually

from lbd.config.loader import load_text
from lbd.config.observing import AccessLog
from lbd.control.observing import Observing
from lbd.engine.accesslog import FileTarget, LogWriter
from lbd.observe.log import Log
from lbd.observe.targets import JournalTarget, SyslogTarget, open_log, target_of

CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: "<to>", tag: lbd-test, facility: local3}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {status: 204}}]}]
"""
HEADER = re.compile(rb"<158>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+) lbd-test (\d+) access - (\{.*\})")


@contextmanager
def receiver(path: Path | None = None) -> Iterator[socket.socket]:
    """A datagram socket: of the unix family at the path, else UDP."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(str(path) if path else ("127.0.0.1", 0))
        made.settimeout(TIMEOUT)
        yield made


def test_entries_of_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with receiver(path) as journal, Lbd(CONFIG, to=f"journald:{path}") as lbd:
        lbd.ask(get("/entry"))
        lines = journal.recv(65536).split(b"\n")
        assert lines[:2] == [b"PRIORITY=6", b"SYSLOG_IDENTIFIER=lbd-test"]
        name, _, value = lines[2].partition(b"=")
        assert name == b"MESSAGE" and json.loads(value)["target"] == "/entry" and len(lines) == 3


@pytest.mark.parametrize("by", ["unix", "udp"])
def test_messages_of_syslog(tmp_path: Path, by: str) -> None:
    path = tmp_path / "log" if by == "unix" else None
    with receiver(path) as daemon:
        address = f"unix:{path}" if path else f"127.0.0.1:{daemon.getsockname()[1]}"
        with Lbd(CONFIG, to=f"syslog:{address}") as lbd:
            lbd.ask(get("/message"))
            match = HEADER.fullmatch(daemon.recv(65536))
            assert match and int(match[2]) == lbd.pid and json.loads(match[3])["target"] == "/message"


def test_daemon_that_is_away_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Lbd(CONFIG, to=f"journald:{path}") as lbd:
        lbd.ask(get("/lost"))
        eventually(lambda: lbd.metric("lbd_access_log_dropped_total") == 1, "the line is counted")
        assert lbd.metric("lbd_access_log_lines_total") == 1
        assert "lines are dropped and counted" in lbd.stderr
        with receiver(path) as journal:
            lbd.ask(get("/found"))
            assert b"/found" in journal.recv(65536)
            eventually(lambda: "lines are written again" in lbd.stderr)
        assert lbd.stderr.count("lines are dropped") == 1


def test_daemon_that_is_stuck_costs_lines_and_no_request(tmp_path: Path) -> None:
    """Nothing reads the socket: what the kernel does not hold is dropped, and requests are answered."""
    path = tmp_path / "journal"
    with receiver(path), Lbd(CONFIG, to=f"journald:{path}") as lbd:
        with lbd.connect() as client:
            for _ in range(10):
                client.send(get("/stuck") * 200)
                for _ in range(200):
                    assert client.read_response().status == 204
        eventually(lambda: lbd.metric("lbd_access_log_dropped_total") > 0, "lines are dropped", 4 * TIMEOUT)


def test_line_too_long_for_a_datagram_costs_only_itself(tmp_path: Path) -> None:
    with receiver() as daemon:
        target = SyslogTarget(f"127.0.0.1:{daemon.getsockname()[1]}", "local0", "lbd")
        lost, error = target.write(b"x" * 70000 + b"\nshort\n")
        assert lost == 1 and error is not None
        assert daemon.recv(65536).endswith(b" short")
        target.close()


def test_targets_say_what_they_are() -> None:
    names = ["stdout", "a.log", "journald", "syslog", "syslog:10.0.0.5:514"]
    assert [target_of(AccessLog(to=name)) for name in names] == [
        "stdout",
        "a.log",
        "journald:/run/systemd/journal/socket lbd",
        "syslog:unix:/dev/log local0 lbd",
        "syslog:10.0.0.5:514 local0 lbd",
    ]
    with pytest.raises(ValueError, match="absolute path"):
        AccessLog(to="journald:relative")
    with pytest.raises(ValueError, match="port"):
        AccessLog(to="syslog:10.0.0.5")
    assert "journal" in repr(JournalTarget("/journal", "x"))


@pytest.mark.parametrize(("text", "problem"), [
    ("{format: combined, fields: [time]}", "only for format json"),
    ("{fields: []}", "must name a field"), ("{fields: [time, time]}", "names time twice"),
    ("{fields: [tim]}", "fields[0]"), ('{to: ""}', "must not be empty"), ("{tag: 'a b'}", "tag"),
    ("{sample: 101%}", "more than 100%")])
def test_settings_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(Exception, match=re.escape(problem)):
        load_text(CONFIG.replace('{to: "<to>", tag: lbd-test, facility: local3}', text))


# disks and pipes


def limited(path: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Writes lines to a file that may not grow, which is like a full disk; then more, once it may again."""
    code = f"""
import resource, signal
from lbd.engine.accesslog import FileTarget
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))
target = FileTarget({str(path)!r})
print(*target.write(b"one\\ntwo\\nthree\\nfour\\n"))
print(*target.write(b"five\\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*target.write(b"six\\nseven\\n"))
print(*target.write(b"eight\\n"))
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize(("size", "kept"), [
    (8, ["one", "two"]), (7, ["one", "two"]), (10, ["one", "two", "th"]), (0, [])])
def test_lines_stay_whole_after_a_full_disk(tmp_path: Path, size: int, kept: list[str]) -> None:
    """What was cut ends its line; nothing of later lines is joined to it. Each lost line is counted once."""
    file = tmp_path / "log"
    outcome = limited(file, size).stdout.splitlines()
    lines = file.read_text().split("\n")
    assert lines == [*kept, "six", "seven", "eight", ""]
    whole = [line for line in kept if line in ("one", "two", "three", "four")]
    lost = [int(line.split()[0]) for line in outcome]
    # a line whose end alone is missing is counted as lost
    assert lost[0] in (4 - len(whole), 4 - len(whole) + 1) and lost[1:] == [1, 0, 0]
    assert [line.endswith("None") for line in outcome] == [False, False, True, True]


def test_writer_says_trouble_once_and_its_end(tmp_path: Path) -> None:
    said: list[tuple[str, OSError | None]] = []

    class Moody:
        ill = True

        def write(self, data: bytes) -> tuple[int, OSError | None]:
            return (data.count(b"\n"), OSError(28, "No space left")) if self.ill else (0, None)

        def reopen(self) -> None: ...

        def close(self) -> None: ...

    target = Moody()
    writer = LogWriter("moody", target, lambda name, error: said.append((name, error)))
    writer._write(b"a\n")  # type: ignore[attr-defined]
    writer._write(b"b\nc\n")  # type: ignore[attr-defined]
    target.ill = False
    writer._write(b"d\n")  # type: ignore[attr-defined]
    assert [(name, error is None) for name, error in said] == [("moody", False), ("moody", True)]
    assert writer.dropped == 3 and writer.trouble is None
    writer.close()


def test_pipe_that_nobody_reads_costs_lines_and_no_request(tmp_path: Path) -> None:
    """The buffer fills, lines are dropped, the daemon serves; once somebody reads, whole lines go on."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with Lbd(CONFIG, to=pipe) as lbd:
        with lbd.connect() as client:
            while not lbd.metric("lbd_access_log_dropped_total"):
                client.send(get(f"/{'x' * 1500}") * 100)
                for _ in range(100):
                    assert client.read_response().status == 204
        lbd.ask(get("/dropped-as-well"))
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb") as stream:
            lines = iter(stream.readline, b"")
            thread = threading.Thread(target=lambda: kept.extend(lines), daemon=True)
            kept: list[bytes] = []
            thread.start()
            before = eventually(lambda: len(kept) > 500 and len(kept), "what waited is written")
            lbd.ask(get("/well-again"))
            eventually(lambda: any(b"/well-again" in line for line in kept[before - 1 :]), "lines go on")
            lbd.stop()
            thread.join(TIMEOUT)
        assert all(json.loads(line)["status"] == 204 for line in kept)
        assert not any(b"/dropped-as-well" in line for line in kept)


def test_rotation_into_a_missing_directory_is_tried_again(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    with Lbd(CONFIG, to=directory / "access.log") as lbd:
        lbd.ask(get("/before"))
        eventually(lambda: "/before" in (directory / "access.log").read_text())
        directory.rename(tmp_path / "moved")
        lbd.signal(signal.SIGUSR1)
        eventually(lambda: "No such file or directory" in lbd.stderr, "the trouble is told")
        lbd.ask(get("/meanwhile"))
        eventually(lambda: "/meanwhile" in (tmp_path / "moved" / "access.log").read_text())
        directory.mkdir()
        eventually(lambda: (directory / "access.log").exists(), "opened again without another signal")
        lbd.ask(get("/after"))
        eventually(lambda: "/after" in (directory / "access.log").read_text())
        eventually(lambda: "lines are written again" in lbd.stderr)


# over reloads


def test_writers_outlive_a_reload(tmp_path: Path) -> None:
    observing = Observing(Log())
    stays, goes = observing.open_log(str(tmp_path / "a")), observing.open_log(str(tmp_path / "b"))
    assert observing.open_log(str(tmp_path / "a")) is stays
    observing.settle({stays.target: stays})
    assert observing.writers == {stays.target: stays}
    eventually(lambda: "log " + goes.target not in {thread.name for thread in threading.enumerate()})
    assert observing.open_log(str(tmp_path / "b")) is not goes
    observing.close()


def test_file_target_says_its_name(tmp_path: Path) -> None:
    target = FileTarget(str(tmp_path / "x"))
    assert str(tmp_path) in repr(target)
    target.close()
    with pytest.raises(OSError, match="No such file"):
        open_log(str(tmp_path / "no" / "x"))
