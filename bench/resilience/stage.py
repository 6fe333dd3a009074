"""What all works need: where they run, lbd with a configuration, and load on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare.generators import HERE as SCRIPTS
from bench.compare.machine import Placement, free_port
from bench.compare.process import BenchError, Child, run_tool
from bench.compare.programs import compile_program
from bench.resilience.origins import Nginx

Found = dict[str, Any]


@dataclass
class Stage:
    """What all works need; whatever they start ends with `stack`."""

    directory: Path
    placement: Placement
    nginx: str
    lbd: Sequence[str]
    seconds: int
    rounds: int
    say: Callable[[str], None]
    stack: ExitStack = field(default_factory=ExitStack)

    def origins(self, count: int) -> list[Nginx]:
        """That many endpoints, each an nginx of its own."""
        made = [Nginx(self.nginx, self.directory, self.placement.origin) for _ in range(count)]
        for one in made:
            self.stack.callback(one.stop)
        return made

    def file_of(self, name: str = "lbd") -> Path:
        """The configuration of an lbd."""
        return self.directory / f"{name}.yaml"

    @contextmanager
    def serving(self, cluster: str, name: str = "lbd") -> Iterator[tuple[Child, int, int]]:
        """lbd with this cluster (YAML flow mapping without its name): the process, its port, the admin's."""
        text = "listeners: [{name: web, bind: '127.0.0.1:<port>', cluster: app}]\n"
        with self.configured(f"{text}clusters: [{{name: app, {cluster}}}]\n", name) as found:
            yield found

    @contextmanager
    def configured(self, text: str, name: str = "lbd") -> Iterator[tuple[Child, int, int]]:
        """lbd with this configuration, in which <port> stands for its port; as `serving`."""
        port, admin = free_port(), free_port()
        config = self.file_of(name)
        head = f"admin: {{bind: '127.0.0.1:{admin}'}}\nstate_directory: {self.directory}/{name}-{port}\n"
        config.write_text(head + text.replace("<port>", str(port)))
        child = Child(name, [*self.lbd, str(config)], self.placement.proxy, self.directory / f"{name}.log")
        try:
            if not child.wait_listening([port, admin]):
                raise BenchError(f"lbd does not start: {child.last_words()}")
            yield child, port, admin
        finally:
            child.stop()

    def load(self, port: int, connections: int = 32, seconds: int | None = None) -> Found:
        """wrk's summary of keep-alive GETs."""
        seconds = seconds or self.seconds
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        command += ["-s", str(SCRIPTS / "wrk_summary.lua"), f"http://127.0.0.1:{port}/small"]
        code, output = run_tool(command, self.placement.load, seconds + 20)
        _, found, text = output.partition("wrk_summary ")
        if code or not found:
            raise BenchError(f"wrk failed with {code}: {output.strip()[-300:]}")
        summary: Found = json.loads(text.splitlines()[0])
        return summary

    def fixed_rate(self, port: int, rate: int, seconds: int) -> float:
        """p99 in microseconds of requests at a constant rate, from the time at which each was due."""
        program = str(compile_program("openloop", self.directory))
        command = [program, "127.0.0.1", str(port), "/small", str(rate), str(seconds), "512"]
        code, output = run_tool(command, self.placement.load, seconds + 30)
        if code not in (0, 1):  # 1: some were not answered in time, which is what is to be seen here
            raise BenchError(f"openloop failed with {code}: {output.strip()[-300:]}")
        found: Found = json.loads(output)
        return float(found["p99_us"])

    def load_while(self, port: int, act: Callable[[], None], seconds: int) -> Found:
        """Load for so long, and something done meanwhile."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        found = self.load(port, seconds=seconds)
        thread.join()
        if failures:
            raise failures[0]
        return found


def failed(summary: Found) -> int:
    """Requests that a client saw fail."""
    return sum(summary[kind] for kind in ("connect", "read", "write", "timeout", "status"))
