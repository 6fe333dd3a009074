"""Servers: each serves some requests at a time and lets the others wait in the order of their arrival.

Strategy: faults and service times are known in advance, so the end of a request is known when it arrives.
One heap of the times at which places become free stands for the whole queue, and a request costs one event.
A client that no longer waits does not stop the work: that is what makes overloads last.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heapreplace
from math import inf
from random import Random
from typing import NamedTuple

from bench.sim.faults import Failing, Fault, Refusing, Silent, Slow

REFUSAL = 0.001  # seconds in which a status comes that costs no work
HIT = 0.1  # share of its work that a request with a cached key takes


@dataclass(frozen=True)
class Server:
    """`slots` requests at a time, `speed` times as fast as usual, `rtt` seconds away. cache: how many keys
    it holds."""

    name: str
    weight: int = 1
    slots: int = 8
    speed: float = 1.0
    rtt: float = 0.0005
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    cache: int = 0
    faults: tuple[Fault, ...] = ()


class Answer(NamedTuple):
    """seconds: until the proxy knows, infinite = never by itself; cause: empty, or as in the retry policy."""

    seconds: float
    cause: str
    status: int


class Station:
    """One server at work."""

    def __init__(self, server: Server, random: Random, start: float) -> None:
        """random: for failures of a share; start: the second at which faults begin to count."""
        self.server = server
        self.attempts = 0
        self.served = 0
        self.hits = 0
        self._random = random
        self._start = start
        self._free = [0.0] * server.slots
        self._keys: OrderedDict[int, None] = OrderedDict()
        self._ends = sorted(
            (fault for fault in server.faults if isinstance(fault, (Refusing, Silent))),
            key=lambda fault: fault.begin,
        )
        self._slow = [fault for fault in server.faults if isinstance(fault, Slow)]
        self._failing = [fault for fault in server.faults if isinstance(fault, Failing)]

    def is_well(self, now: float) -> bool:
        """What an active check would find."""
        now -= self._start
        return not any(fault.holds(now) for fault in (*self._ends, *self._failing))

    def serve(self, now: float, work: float, key: int, connect: float) -> Answer:
        """A request of `work` seconds on a usual server arrives. connect: the proxy's patience for a
        connection."""
        now -= self._start
        self.attempts += 1
        rtt = self.server.rtt
        while self._ends and self._ends[0].end <= now:  # it has come back with an empty queue
            self._free = [self._ends.pop(0).end] * self.server.slots
            self._keys.clear()
        end = self._ends[0] if self._ends else None
        if end is not None and end.begin <= now:
            refused = isinstance(end, Refusing)
            return Answer(rtt, "connect_failed", 0) if refused else Answer(connect, "connect_timeout", 0)
        for fault in self._failing:
            if fault.holds(now) and self._random.random() < fault.share:
                return Answer(rtt + REFUSAL, "status", fault.status)
        finish = self._work(now, work, key)
        if end is not None and end.begin < finish:
            if isinstance(end, Refusing):
                return Answer(end.begin - now + rtt / 2, "reset", 0)
            return Answer(inf, "", 0)
        self.served += 1
        return Answer(finish - now + rtt, "", 200)

    def _work(self, now: float, work: float, key: int) -> float:
        """When it will be done; the place is taken until then."""
        start = max(now, self._free[0])
        for fault in self._slow:
            work *= fault.factor_at(start)
        if self.server.cache and self._is_cached(key):
            work *= HIT
        finish = start + work / self.server.speed
        heapreplace(self._free, finish)
        return finish

    def _is_cached(self, key: int) -> bool:
        """It is from now on; the key unused for longest makes room."""
        if key in self._keys:
            self._keys.move_to_end(key)
            self.hits += 1
            return True
        self._keys[key] = None
        if len(self._keys) > self.server.cache:
            self._keys.popitem(last=False)
        return False
