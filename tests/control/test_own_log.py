"""lbd's own log: form, levels, escaping, and a stderr that fails or does not take any more."""

from __future__ import annotations

import io
import json
import os
import re
import select
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lbd.observe.log import LEVELS, Log

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) (.*)")


def written(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    lines = capsys.readouterr().err.splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [match.groups() for match in matches if match]


def test_form(capsys: pytest.CaptureFixture[str]) -> None:
    Log("debug").info("listener web: listening on 127.0.0.1:1 (http)")
    assert written(capsys) == [("INFO", "listener web: listening on 127.0.0.1:1 (http)")]


@pytest.mark.parametrize("least", LEVELS)
def test_levels(capsys: pytest.CaptureFixture[str], least: str) -> None:
    log = Log(least)
    for level in LEVELS:
        getattr(log, level)("x")
    shown = [level for level in LEVELS if LEVELS[level] >= LEVELS[least]]
    assert written(capsys) == [(level.upper(), "x") for level in shown]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\nINFO forged", r"a\r\nINFO forged"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\0", r"\x00"),
        ("\u2028", r"\u2028"),
        ("\u202e", r"\u202e"),
        ("\x85", r"\x85"),
        ("\udcff", r"\udcff"),
        ("ü ✓", "ü ✓"),
        ("", ""),
    ],
)
def test_nothing_forges_a_line(capsys: pytest.CaptureFixture[str], message: str, shown: str) -> None:
    Log().error(message)
    assert written(capsys) == [("ERROR", shown)]


class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(),
        OSError(28, "No space left on device"),
        BlockingIOError(),
        ValueError("I/O operation on closed file"),
        UnicodeEncodeError("ascii", "ü", 0, 1, "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failed_writes_are_counted(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(sys, "stderr", Failing(error))
    log = Log()
    log.info("one")
    log.debug("not written, so not lost")
    log.error("two")
    assert log.lost == 2 and "lost=2" in repr(log)


def test_log_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Failing(OSError()))
        log.info("lost")
    log.info("back")
    assert written(capsys) == [("INFO", "back")] and log.lost == 1


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started with descriptor 2 closed, Python sets sys.stderr to None."""
    monkeypatch.setattr(sys, "stderr", None)
    log = Log()
    log.info("x")
    assert log.lost == 1


def test_stuck_stderr_does_not_stop_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody reads: the loop must not wait for it (the module says so)."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    while _fill(write_end):
        pass
    os.set_blocking(write_end, True)
    with open(write_end, "w", buffering=1) as stuck:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", stuck)
        log = Log()
        thread = threading.Thread(target=log.info, args=("x",), daemon=True)
        thread.start()
        thread.join(0.5)
        was_stuck = thread.is_alive()
        _drain_until(thread, read_end)
    os.close(read_end)
    assert not was_stuck


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("letter", ["x", "\u20ac", "\U0001f600", "\0", '"'])
def test_no_line_is_longer_than_what_a_pipe_takes_at_once(
    monkeypatch: pytest.MonkeyPatch, form: Any, letter: str
) -> None:
    """One that polls as writable may have room for PIPE_BUF bytes, and for no more."""
    read_end, write_end = os.pipe()
    with open(write_end, "w", buffering=1) as pipe, open(read_end, "rb") as end:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", pipe)
        for count in (10, 100_000):
            Log(form=form).info("a" + letter * count)
            line = end.readline()
            assert len(line) <= select.PIPE_BUF
            said = json.loads(line)["message"] if form == "json" else line.decode().split(" ", 2)[2]
            assert said.startswith("a")
    assert len(line) > select.PIPE_BUF / 2, "not much is left out"


def test_a_line_that_is_written_in_part_is_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a disk that has just become full."""
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        log = Log()
        with monkeypatch.context() as patch:
            write = os.write
            patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
            log.info("x")
        assert log.lost == 1


def _fill(fd: int) -> bool:
    try:
        return os.write(fd, b"x" * 4096) > 0
    except BlockingIOError:
        return False


def _drain_until(thread: threading.Thread, fd: Any) -> None:
    os.set_blocking(fd, False)
    for _ in range(1000):
        if not thread.is_alive():
            return
        try:
            os.read(fd, 65536)
        except BlockingIOError:
            thread.join(0.01)
