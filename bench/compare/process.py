"""Child processes: started pinned, read through /proc, stopped by pid.

Invariants: every child dies with the benchmark, even when that is killed (PR_SET_PDEATHSIG); it runs in a
session of its own, so that Ctrl-C reaches it through `stop` and not half-way through a round; `stop` also
ends descendants that outlive their parent, each by its pid.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """Something that makes the run, or one proxy in it, impossible; the text is for the user."""


def pinned(cores: Collection[int]) -> Callable[[], None]:
    """A preexec function: tie the child to these cores and to the life of its parent."""

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return prepare


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat after the name, which may hold spaces: index 0 is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, by their parents."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents.setdefault(int(_stat_fields(int(entry))[1]), []).append(int(entry))
            except (OSError, IndexError):
                continue
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


class UsageError(BenchError):
    """The command line asks for what does not exist."""


class Child:
    """One started program with everything it forks."""

    def __init__(
        self, name: str, command: Sequence[str], cores: Collection[int], log: Path, **options: str
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        env = {**os.environ, **options}
        with log.open("ab") as out:
            try:
                self._process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env,
                    start_new_session=True, preexec_fn=pinned(cores),
                )  # fmt: skip
            except OSError as error:
                raise BenchError(f"{name}: cannot start {self.command[0]}: {error}") from error

    @property
    def pids(self) -> list[int]:
        return [self._process.pid, *descendants(self._process.pid)]

    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-5:])

    def wait_listening(self, ports: Collection[int], seconds: float = 15.0) -> bool:
        """Wait until all ports accept; False when it died or the time is over."""
        deadline = time.monotonic() + seconds
        for port in ports:
            while not _accepts(port):
                if not self.alive() or time.monotonic() > deadline:
                    return False
                time.sleep(POLL_SECONDS)
        return self.alive()

    def cpu(self) -> tuple[float, float]:
        """User and system seconds of all its processes, all threads included."""
        user = system = 0
        for pid in self.pids:
            try:
                fields = _stat_fields(pid)
            except OSError:
                continue
            user += int(fields[11])
            system += int(fields[12])
        return user / TICK, system / TICK

    def memory(self) -> dict[str, int]:
        """RSS and PSS in bytes, summed over its processes."""
        total = {"rss": 0, "pss": 0, "processes": 0}
        for pid in self.pids:
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total["processes"] += 1
            for line in rollup.splitlines():
                key, _, value = line.partition(":")
                if key in ("Rss", "Pss"):
                    total[key.lower()] += int(value.split()[0]) * 1024
        return total

    def stop(self) -> None:
        """TERM, a deadline, KILL; then the descendants that are still there."""
        family = descendants(self._process.pid)
        if self.alive():
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pid in family:
            _kill_in_session(pid, self._process.pid)


def _kill_in_session(pid: int, session: int) -> None:
    """KILL `pid` if it still is the process we knew: a number used anew has another session."""
    try:
        if os.getsid(pid) == session:
            os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def run_tool(command: Sequence[str], cores: Collection[int], seconds: float) -> tuple[int, str]:
    """Run a measuring tool to its end; exit code and everything it printed. Over time is an error."""
    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=pinned(cores),
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not end within {seconds:.0f} s") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, output
