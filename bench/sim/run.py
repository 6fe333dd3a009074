"""One run: a profile with one balancer, from the first request to the answer of the last."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bench.sim.clock import Clock
from bench.sim.exchange import Exchange
from bench.sim.load import Keys
from bench.sim.node import Node
from bench.sim.profile import Profile
from bench.sim.server import Station

LATEST = 120.0  # seconds after the last arrival in which everything has ended


@dataclass
class Record:
    """What happened. arrived, seconds and reasons belong together: one entry per request, in the order of
    their ends; a reason is an index into `codes`, of which 0 means a good answer."""

    profile: Profile
    balancer: str
    variant: str
    seed: int
    arrived: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    reasons: array[int] = field(default_factory=lambda: array("H"))
    codes: list[str] = field(default_factory=lambda: [""])
    events: list[tuple[float, str, str]] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    hits: int = 0
    moved: float | None = None
    counters: list[dict[str, Any]] = field(default_factory=list)


def run(profile: Profile, balancer: str, variant: str = "", seed: int = 1) -> Record:
    """Same arguments, same record. ValueError when a balancer or an option does not exist."""
    simulation = Simulation(profile, balancer, variant, seed)
    return simulation.run()


class Simulation:
    """Each thing that is random has a row of its own: whatever the balancer does, the same requests come."""

    def __init__(self, profile: Profile, balancer: str, variant: str, seed: int) -> None:
        self.profile = profile
        self.seed = seed
        self.record = Record(profile, balancer, variant, seed)
        self.clock = Clock()
        self.start = self.clock.now
        config = profile.settings(balancer, variant)
        self.stations = {
            server.name: Station(server, self._random(f"faults of {server.name}"), self.start)
            for server in profile.servers
        }
        self.nodes = [
            Node(config, self.stations, self.clock, self._random(f"node {number}"), self._tell)
            for number in range(profile.nodes)
        ]
        self.work = self._random("work")
        self.backoff = self._random("back-off")
        self.choice = self._random("choice of node")
        self.keys = Keys(profile.load, self._random("keys"))
        self.codes = {"": 0}
        self.owners: list[str] = []
        self.arrivals = profile.load.arrivals(self._random("arrivals"), profile.seconds)

    def _random(self, purpose: str) -> Random:
        return Random(f"{self.seed} {purpose}")

    def run(self) -> Record:
        load, clock = self.profile.load, self.clock
        if load.clients:
            thinking = self._random("thinking")
            for _ in range(load.clients):
                clock.at(self.start + thinking.random() * load.think, self._ask_again, thinking)
        else:
            self._next_arrival()
        if self.profile.fault is not None and self.profile.window is not None:
            clock.at(self.start + self.profile.fault - 0.001, self._note_owners)
            clock.at(self.start + self.profile.window[1] - 0.001, self._compare_owners)
        clock.run(self.start + self.profile.seconds + LATEST)
        record = self.record
        record.attempts = {name: station.attempts for name, station in self.stations.items()}
        record.hits = sum(station.hits for station in self.stations.values())
        record.counters = [node.counters() for node in self.nodes]
        return record

    # clients ------------------------------------------------------------------------------------------

    def _next_arrival(self) -> None:
        when = next(self.arrivals, None)
        if when is not None:
            self.clock.at(self.start + when, self._arrive)

    def _arrive(self) -> None:
        self._next_arrival()
        self._ask(self._finish)

    def _ask(self, finish: Callable[[Exchange, str], None]) -> None:
        node = self.nodes[0] if len(self.nodes) == 1 else self.choice.choice(self.nodes)
        bits = self.backoff.getrandbits(64)
        Exchange(
            node, self.stations, self.profile.load.work.draw(self.work), self.keys.draw(), bits, finish
        ).start()

    def _ask_again(self, thinking: Random) -> None:
        """A client of a closed loop."""
        if self.clock.now >= self.start + self.profile.seconds:
            return

        def finish(exchange: Exchange, reason: str) -> None:
            self._finish(exchange, reason)
            pause = thinking.expovariate(1.0 / self.profile.load.think) if self.profile.load.think else 0.0
            self.clock.at(self.clock.now + pause, self._ask_again, thinking)

        self._ask(finish)

    # what is written down -----------------------------------------------------------------------------

    def _finish(self, exchange: Exchange, reason: str) -> None:
        code = self.codes.get(reason)
        if code is None:
            code = self.codes[reason] = len(self.codes)
            self.record.codes.append(reason)
        self.record.arrived.append(exchange.arrived - self.start)
        self.record.seconds.append(self.clock.now - exchange.arrived)
        self.record.reasons.append(code)

    def _tell(self, when: float, kind: str, endpoint: str) -> None:
        self.record.events.append((when - self.start, kind, endpoint))

    def _owners(self) -> list[str]:
        """Which endpoint each key belongs to, for balancers that choose by it."""
        balancer = self.nodes[0].cluster.balancer
        if balancer is None or not balancer.needs_key:
            return []
        found = [balancer.pick_one(key) for key in self.keys.hashes]
        return [endpoint.name if endpoint is not None else "" for endpoint in found]

    def _note_owners(self) -> None:
        self.owners = self._owners()

    def _compare_owners(self) -> None:
        now = self._owners()
        if now:
            self.record.moved = sum(a != b for a, b in zip(self.owners, now, strict=True)) / len(now)
