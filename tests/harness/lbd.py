"""A whole lbd process: started from a config text, watched through its log lines, stopped by pid.

Config texts hold <name> where an address goes: Lbd(CONFIG, origin=origin). Leaving the context stops the
process with TERM and fails the test on a wrong exit code, a traceback or a sanitizer report."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, Self

from prometheus_client.parser import text_string_to_metric_families

from harness.client import Client, Response
from harness.messages import get
from harness.waiting import TIMEOUT, eventually

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r" INFO (?:listener )?(\S+): listening on (\S*):(\d+)(?: \((?:http|tcp)\))?$")
DEFECTS = ("Traceback (most recent call last)", "Fatal Python error",
           "AddressSanitizer", "runtime error:", "Exception ignored in")


class Lbd:
    """with Lbd(CONFIG, origin=origin) as lbd, lbd.connect() as client: ..."""

    def __init__(self, config: str, env: dict[str, str] | None = None, exit_code: int = 0,
                 descriptors: int | None = None, launcher: tuple[str, ...] = (), **places: object):
        for name, place in places.items():
            config = config.replace(f"<{name}>", str(place))
        assert not (left := re.search(r"<\w+>", config)), f"the config has no value for {left}"
        if "drain_timeout" not in config:  # a test that leaves an exchange open should not wait 30 s for it
            config = f"drain_timeout: 1s\n{config}"
        if "state_directory" not in config:  # the system's is shared with every other lbd
            config = f"state_directory: state\n{config}"
        self.config, self.env, self.exit_code, self.descriptors = config, env or {}, exit_code, descriptors
        self.launcher = launcher  # a program that runs the command that it gets as arguments
        self.lines: list[str] = []
        self.output: list[str] = []
        self.ports: dict[str, tuple[str, int]] = {}
        self._directory = tempfile.TemporaryDirectory(prefix="lbd-test-")
        self.directory = Path(self._directory.name)

    # life

    def __enter__(self) -> Self:
        self.start()
        try:
            eventually(self._is_ready_or_gone, "lbd is ready", timeout=4 * TIMEOUT)
            assert self.process.poll() is None, "lbd ended before it was ready"
        except BaseException as error:
            error.add_note(f"stderr of lbd:\n{self.stderr}")
            self.discard()
            raise
        return self

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        try:
            code = self.stop()
        finally:
            self.discard()
        if error is not None:
            error.add_note(f"stderr of lbd (exit code {code}):\n{self.stderr[-100_000:]}")
            return
        self.assert_clean()
        assert code == self.exit_code, f"exit code {code}, stderr:\n{self.stderr}"

    def start(self) -> None:
        file = self.directory / "lbd.yaml"
        file.write_text(self.config)
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        self.process = subprocess.Popen(
            [*self.launcher, sys.executable, "-m", "lbd", "run", "-c", str(file)],
            cwd=self.directory, env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1",
                 "PYTHONFAULTHANDLER": "1", **self.env},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace",
        )
        if self.descriptors:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
        self._threads = [
            threading.Thread(target=_collect, args=pair, daemon=True)
            for pair in ((self.process.stderr, self.lines), (self.process.stdout, self.output))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> int:
        """TERM, then the exit code; KILL and an error when it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout: float = TIMEOUT) -> int:
        """The exit code, once it ends by itself."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"lbd did not end within {timeout:.0f} s; stderr:\n{self.stderr}") from None
        for thread in self._threads:
            thread.join(TIMEOUT)
        return code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def discard(self) -> None:
        """Kill it if need be, and leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(TIMEOUT)
        for stream, thread in zip((self.process.stderr, self.process.stdout), self._threads, strict=True):
            assert stream is not None
            if not thread.is_alive():  # else a process that replaced it still writes there
                stream.close()
        self._directory.cleanup()

    def _is_ready_or_gone(self) -> bool:
        if self.process.poll() is not None:
            return True
        if not any(line.endswith(" INFO ready") for line in list(self.lines)):
            return False
        self._learn_ports()
        return True

    def _learn_ports(self) -> None:
        for line in list(self.lines):
            if match := LISTENING.search(line):
                self.ports.setdefault(match[1], (match[2].strip("[]"), int(match[3])))

    def assert_clean(self) -> None:
        for defect in DEFECTS:
            assert defect not in self.stderr, f"{defect} in stderr of lbd:\n{self.stderr}"

    # what it says

    @property
    def stderr(self) -> str:
        return "\n".join(self.lines)

    @property
    def stdout(self) -> str:
        return "\n".join(self.output)

    # talking to it

    def address(self, listener: str = "web") -> tuple[str, int]:
        if listener not in self.ports:  # a reload made it: its line may come after the report
            eventually(lambda: self._learn_ports() or listener in self.ports, f"listener {listener} listens")
        host, port = self.ports[listener]
        return ("127.0.0.1" if host in ("0.0.0.0", "", "*") else "::1" if host == "::" else host), port

    def url(self, listener: str = "web") -> str:
        return "http://{}:{}".format(*self.address(listener))

    def connect(self, listener: str = "web", **options: Any) -> Client:
        return Client(self.address(listener), **options)

    def ask(self, data: bytes, listener: str = "web") -> Response:
        """One request on a connection of its own."""
        with self.connect(listener) as client:
            return client.ask(data)

    def admin(self, path: str) -> Response:
        request = get(path, "Connection: close").replace(b"Host: example.test", b"Host: 127.0.0.1")
        return self.ask(request, "admin")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        families = text_string_to_metric_families(self.admin("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    # what it costs

    @property
    def pid(self) -> int:
        return self.process.pid

    def fds(self, kind: str = "") -> int:
        """Open descriptors; kind "socket" or "pipe" counts only those."""
        count = 0
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                count += os.readlink(f"/proc/{self.pid}/fd/{fd}").startswith(kind)
            except FileNotFoundError:
                continue
        return count

    def rss(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def cpu(self) -> float:
        """Seconds of user and system time so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _collect(stream: IO[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))
