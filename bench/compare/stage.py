"""One run: start origin and proxies, drive every work in interleaved rounds, collect the samples, stop
everything.

Invariants: all proxies of a run serve from the same core, the same origin and the same generator; rounds
are interleaved (round 1: every proxy, round 2: every proxy, ...), so that a disturbance of the machine
meets all of them; a proxy that fails is reported, started anew and does not end the run.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare import measure
from bench.compare.generators import Generators
from bench.compare.machine import Placement
from bench.compare.measure import Sample
from bench.compare.nginx import Nginx
from bench.compare.origin import Site, start_site
from bench.compare.process import BenchError
from bench.compare.progress import Progress
from bench.compare.proxies import Proxy, Running
from bench.compare.verify import role_port, verify
from bench.compare.works import REFERENCES, SUBJECT, WORKS, Work

RATE_SHARE = 0.5  # of the capacity of the slowest of lbd, nginx and HAProxy
RATE_CEILING = 0.8  # of a proxy's own capacity: who cannot keep up has no latency to speak of
RATE_SHARE_ONE_CORE = 0.3  # when origin and generator share a core: else that core is what is measured
IDLE_ROUNDS = 3  # memory hardly varies


@dataclass
class Settings:
    rounds: int
    seconds: int
    connections: int
    idle_connections: int
    tuning: str = "expert"

    def rounds_of(self, work: Work) -> int:
        return min(self.rounds, IDLE_ROUNDS) if work.kind == "idle" else self.rounds


@dataclass
class Stage:
    directory: Path
    placement: Placement
    proxies: Sequence[Proxy]
    works: Sequence[Work]
    settings: Settings
    samples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rate: float | None = None

    def __post_init__(self) -> None:
        self.generators = Generators(self.placement.load, self.settings.connections, self.directory)
        self.running: dict[str, Running] = {}
        self.site: Site | None = None
        self.configs: dict[str, str] = {}
        self.commands: dict[str, str] = {}
        steps = sum(self.settings.rounds_of(work) * len(self.entrants(work)) for work in self.works)
        self.progress = Progress(steps)

    def entrants(self, work: Work) -> list[Proxy]:
        return [proxy for proxy in self.proxies if work.role == "large" or work.role in proxy.roles]

    def run(self) -> None:
        try:
            self._open()
            for work in self.works:
                self._run_work(work)
        finally:
            self.close()

    def close(self) -> None:
        self.progress.close()
        for running in self.running.values():
            running.child.stop()
        self.running.clear()
        if self.site:
            self.site.stop()

    def _open(self) -> None:
        self.generators.prepare(self.works)
        self.progress.say(f"cores: {self.placement.as_dict()}")
        directory = self.directory / "origin"
        directory.mkdir()
        self.site = start_site(Nginx().find() or "nginx", directory, self.placement.origin, self._roles())
        self.configs["origin"] = self.site.config
        self.commands |= self.site.commands
        for proxy in self.proxies:
            self._start(proxy, self._roles())

    def _roles(self) -> set[str]:
        return {work.role for work in self.works}

    def _start(self, proxy: Proxy, roles: set[str]) -> Running:
        assert self.site is not None
        running = proxy.start(self.directory / proxy.name, self.placement.proxy, self.site, roles)
        self.running[proxy.name] = running
        self.configs.setdefault(proxy.name, running.config)
        self.commands.setdefault(proxy.name, shlex.join(running.child.command))
        return running

    def _restart(self, proxy: Proxy, roles: set[str] | None = None) -> Running:
        running = self.running.pop(proxy.name, None)
        if running:
            running.child.stop()
        return self._start(proxy, roles or self._roles())

    def _ready(self, proxy: Proxy, work: Work) -> Running:
        """The proxy with a listener for this work; started anew when it died or has none."""
        running = self.running.get(proxy.name)
        if running is None or not running.child.alive() or running.port(work.role) is None:
            return self._restart(proxy)
        return running

    def _run_work(self, work: Work) -> None:
        entrants = self._set_rate(work) if work.kind == "latency" else self.entrants(work)
        if work.kind not in ("latency", "idle"):
            self._warm_up(work)
        for number in range(1, self.settings.rounds_of(work) + 1):
            for proxy in entrants:
                self.progress.step(
                    f"{work.name}: round {number}/{self.settings.rounds_of(work)}, {proxy.name}"
                )
                self._sample(work, proxy, number)

    def _sample(self, work: Work, proxy: Proxy, number: int) -> None:
        death = self._death(proxy)  # since its last sample
        try:
            sample = self._measure(work, proxy)
        except BenchError as error:
            sample = {"problems": [str(error)]}
        sample["problems"] += filter(None, [death, self._death(proxy)])
        for problem in sample["problems"]:
            self.progress.say(f"{work.name}, {proxy.name}, round {number}: {problem}")
        self.samples.append({"work": work.name, "proxy": proxy.name, "round": number, **sample})

    def _death(self, proxy: Proxy) -> str | None:
        """How a proxy ended that should be running."""
        running = self.running.get(proxy.name)
        if running is None or running.child.alive():
            return None
        return f"{proxy.name} died: {running.child.last_words()}"

    def _measure(self, work: Work, proxy: Proxy) -> Sample:
        if work.kind == "idle":
            # With this role only: memory at the start must not depend on the other works of the run.
            return measure.idle(self._restart(proxy, {work.role}), work, self.settings.idle_connections)
        running = self._ready(proxy, work)
        if work.kind == "latency":
            assert self.rate is not None
            return measure.fixed_rate(self.generators, running, work, self.settings.seconds, self.rate)
        return measure.closed_loop(self.generators, running, work, self.settings.seconds)

    def _warm_up(self, work: Work) -> None:
        """Check the body once per proxy and fill its upstream connections; not recorded unless it fails."""
        for proxy in self.entrants(work):
            try:
                running = self._ready(proxy, work)
                verify(running, work, self.site.certificate if self.site else None)
                self.generators.warm_up(work, role_port(running, work))
            except BenchError as error:
                self.progress.say(f"{work.name}, {proxy.name}: {error}")
                self.samples.append(
                    {"work": work.name, "proxy": proxy.name, "round": 0, "problems": [str(error)]}
                )

    def _set_rate(self, work: Work) -> list[Proxy]:
        """Choose the one rate, say it, and return who can take part at it.

        It follows lbd, nginx and HAProxy, so that the target does not depend on what else is installed.
        """
        capacities = {proxy.name: self._capacity(proxy) for proxy in self.entrants(work)}
        known = {name: capacity for name, capacity in capacities.items() if capacity}
        judged = [known[name] for name in (SUBJECT, *REFERENCES) if name in known] or list(known.values())
        if not judged:
            raise BenchError("no proxy answers, so there is no rate to measure latency at")
        apart = not self.placement.load & self.placement.origin
        self.rate = min(judged) * (RATE_SHARE if apart else RATE_SHARE_ONE_CORE)
        self.progress.say(f"latency: {self.rate:.0f} requests/s for all")
        able = []
        for proxy in self.entrants(work):
            # A proxy that failed just now takes part, so that its failure is shown.
            if capacities[proxy.name] * RATE_CEILING >= self.rate or not capacities[proxy.name]:
                able.append(proxy)
            else:
                self.notes.append(f"{proxy.name} takes no part in latency: the rate is beyond its capacity")
                self.progress.say(self.notes[-1])
        return able

    def _capacity(self, proxy: Proxy) -> float:
        """Requests per second of work `get`: from its samples, else measured now."""
        known = [
            sample["rps"]
            for sample in self.samples
            if sample["work"] == "get" and sample["proxy"] == proxy.name and not sample["problems"]
        ]
        if known:
            return float(statistics.median(known))
        try:
            running = self._ready(proxy, WORKS["get"])
            sample = measure.closed_loop(self.generators, running, WORKS["get"], 1)
        except BenchError as error:
            self.notes.append(f"capacity of {proxy.name} is unknown: {error}")
            return 0.0
        return float(sample["rps"])
