"""The load generators: what is run, and what each of them says afterwards, in one form.

A generator that cannot do its work raises BenchError; errors that it met on the way are `problems` of its
report. Bodies are compared byte for byte before a work (`verify`); under load only their sizes are checked,
except for WebSocket messages, which `roundtrips` compares one by one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare.origin import BODIES, GRPC_REQUEST
from bench.compare.process import BenchError, run_tool
from bench.compare.programs import compile_program
from bench.compare.works import Work

HERE = Path(__file__).resolve().parent
EXTRA_SECONDS = 20.0
# Which of our own generators drives a kind of load.
PROGRAMS = {"latency": "openloop", "handshakes": "handshakes", "roundtrips": "roundtrips"}
H2_CONNECTIONS, H2_STREAMS = 8, 32
WARM_UP_SECONDS = 1
SILENCE_SECONDS = 10  # after which h2load gives a connection up
# h2load prefers another suite than OpenSSL's clients, wrk among them; the work must be the same for all.
CIPHER = "TLS_AES_256_GCM_SHA384"
FINISHED = re.compile(r"(?m)^finished in ([\d.]+)(us|ms|s),")
MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000}
REQUESTS = re.compile(r"(?m)^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$")
STATUSES = re.compile(r"(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$")
DATA = re.compile(r"(?m)^traffic: .* \((\d+)\) total, .* \((\d+)\) data$")


@dataclass
class Report:
    """What a closed-loop generator did: whole answers, microseconds, bytes received."""

    requests: int
    duration_us: int
    bytes: int
    details: Mapping[str, Any]  # everything it said, for the result file
    problems: list[str]


def counted(found: Mapping[str, int], kinds: Iterable[str]) -> list[str]:
    """A problem for each kind of error that occurred."""
    return [f"{found[kind]} {kind} errors" for kind in kinds if found[kind]]


@dataclass
class Generators:
    """The load generators with their settings; `commands` collects what was run, for the result file."""

    cores: Collection[int]
    connections: int
    directory: Path
    programs: dict[str, Path] = field(default_factory=dict)
    paces: dict[tuple[str, int], float] = field(default_factory=dict)  # requests/s by work and port
    commands: dict[str, str] = field(default_factory=dict)

    def prepare(self, works: Iterable[Work]) -> None:
        """Compile what these works need and write the message of a gRPC call."""
        for kind in sorted({work.kind for work in works} & PROGRAMS.keys()):
            self.programs[kind] = compile_program(PROGRAMS[kind], self.directory)
        self._message.write_bytes(GRPC_REQUEST)

    @property
    def _message(self) -> Path:
        return self.directory / "grpc-request"

    def _run(self, label: str, command: list[str], seconds: float) -> tuple[int, str]:
        self.commands.setdefault(label, shlex.join(command))
        return run_tool(command, self.cores, seconds + EXTRA_SECONDS)

    def warm_up(self, work: Work, port: int) -> None:
        """Load this listener for a second, once: fills connections and caches, and says how fast it is."""
        if (work.name, port) not in self.paces:
            report = self.load("warm-up", work, port, WARM_UP_SECONDS)
            self.paces[work.name, port] = report.requests * 1e6 / report.duration_us

    def load(self, label: str, work: Work, port: int, seconds: int) -> Report:
        """Requests as fast as they are answered, for `seconds` or about that."""
        kinds: dict[str, Callable[[str, Work, int, int], Report]] = {
            "wrk": self._wrk, "h2load": self._h2load,
            "handshakes": self._handshakes, "roundtrips": self._roundtrips,
        }  # fmt: skip
        report = kinds[work.kind](label, work, port, seconds)
        report.duration_us = max(report.duration_us, 1)  # a generator that is refused at once needs no time
        if report.requests == 0:
            report.problems.append("no request was answered")
        return report

    def _wrk(self, label: str, work: Work, port: int, seconds: int) -> Report:
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "10s"]
        for header in work.headers:
            command += ["-H", header]
        command += ["-s", str(HERE / "wrk_summary.lua"), url(work, port)]
        code, output = self._run(label, command, seconds)
        _, found, text = output.partition("wrk_summary ")
        if code or not found:
            raise BenchError(f"wrk failed with {code}: {output.strip()[-300:]}")
        summary: dict[str, int] = json.loads(text.splitlines()[0])
        problems = counted(summary, ("connect", "read", "write", "timeout"))
        if summary["status"]:
            problems.append(f"{summary['status']} answers are not 2xx or 3xx")
        if summary["bytes"] < summary["requests"] * len(BODIES[work.path]):
            problems.append("fewer bytes than the bodies have")
        return Report(summary["requests"], summary["duration_us"], summary["bytes"], summary, problems)

    def _h2load(self, label: str, work: Work, port: int, seconds: int) -> Report:
        """By number: when it runs for a time (-D), h2load 1.52 does not tell of connections that are cut."""
        command = ["h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}"]
        pace, asked = self.paces.get((work.name, port)), 0
        if pace is None:
            command.append(f"-D{seconds}")
        else:
            asked = max(int(pace * seconds), H2_CONNECTIONS * H2_STREAMS)
            command += [f"-n{asked}", f"-N{SILENCE_SECONDS}"]
        for header in work.headers:
            command += ["-H", header]
        if work.role == "grpc":
            command += ["-d", str(self._message)]
        command += ["--npn-list=h2", f"--tls13-ciphers={CIPHER}"] if work.tls else ["--no-tls-proto=h2c"]
        code, output = self._run(label, [*command, url(work, port)], seconds)
        if code:
            raise BenchError(f"h2load failed with {code}: {output.strip()[-300:]}")
        return h2load_report(output, work, asked)

    def _own(self, label: str, work: Work, arguments: list[str], seconds: float) -> dict[str, Any]:
        """Run one of our own generators: 0 is good, 1 means errors that its report tells."""
        program = self.programs.get(work.kind)
        if program is None:
            raise BenchError(f"the generator of work {work.name} is not compiled")
        code, output = self._run(label, [str(program), *arguments], seconds)
        if code not in (0, 1) or not output.startswith("{"):
            raise BenchError(f"{program.name} failed with {code}: {output.strip()[-300:]}")
        report: dict[str, Any] = json.loads(output)
        return report

    def _handshakes(self, label: str, work: Work, port: int, seconds: int) -> Report:
        size = str(len(BODIES[work.path]))
        arguments = ["127.0.0.1", str(port), work.path, size, str(seconds), str(self.connections)]
        found = self._own(label, work, arguments, seconds)
        problems = counted(found, ("connect", "handshake", "read"))
        problems += [f"{found[kind]} answers {text}" for kind, text in OUTCOMES.items() if found.get(kind)]
        return Report(found["requests"], found["duration_us"], found["bytes"], found, problems)

    def _roundtrips(self, label: str, work: Work, port: int, seconds: int) -> Report:
        arguments = ["127.0.0.1", str(port), work.path, str(seconds), str(self.connections)]
        found = self._own(label, work, arguments, seconds)
        problems = counted(found, ("broken", "wrong", "stalled"))
        return Report(found["requests"], found["duration_us"], found["bytes"], found, problems)

    def fixed_rate(self, label: str, work: Work, port: int, rate: float, seconds: int) -> dict[str, float]:
        """Requests at a constant rate; latencies and what failed."""
        settings = [f"{rate:.0f}", str(seconds), str(self.connections)]
        return self._own(label, work, ["127.0.0.1", str(port), work.path, *settings], seconds)


OUTCOMES = {
    "wrong": "are not a whole 200",
    "resumed": "came over a resumed session",
    "stalled": "never came",
}


def url(work: Work, port: int) -> str:
    return f"{'https' if work.tls else 'http'}://127.0.0.1:{port}{work.path}"


def h2load_report(output: str, work: Work, asked: int) -> Report:
    """Read h2load's summary of `asked` requests, 0 when it ran for a time.

    Raises BenchError when the summary has another form, so that a new version of h2load is not misread.
    """
    finished, requests = FINISHED.search(output), REQUESTS.search(output)
    statuses, data = STATUSES.search(output), DATA.search(output)
    if not finished or not requests or not statuses or not data:
        raise BenchError(f"h2load says something unknown: {output.strip()[-300:]}")
    succeeded, failed, errored, timeout = map(int, requests.groups())
    received, body = map(int, data.groups())
    details = {
        "requests": succeeded, "bytes": received, "failed": failed, "errored": errored, "timeout": timeout,
    }  # fmt: skip
    problems = counted(details, ("failed", "errored", "timeout"))
    if succeeded < asked:
        problems.append("not every request was answered")
    if other := sum(map(int, statuses.groups()[1:])):
        problems.append(f"{other} answers are not 2xx")
    if body < succeeded * len(BODIES[work.path]):
        problems.append("fewer bytes than the bodies have")
    protocol = f"Application protocol: {'h2' if work.tls else 'h2c'}\n"
    if protocol not in output:
        problems.append("not every connection spoke HTTP/2")
    duration = int(float(finished[1]) * MICROSECONDS[finished[2]])
    return Report(succeeded, duration, received, details, problems)
