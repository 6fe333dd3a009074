"""What may be wrong with a server, and when. Times in seconds of virtual time since the start of the load."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Fault:
    """In force from `begin` until just before `end`."""

    begin: float = 0.0
    end: float = inf

    def holds(self, now: float) -> bool:
        return self.begin <= now < self.end


@dataclass(frozen=True)
class Slow(Fault):
    """Everything takes `factor` times as long."""

    factor: float = 2.0

    def factor_at(self, now: float) -> float:
        return self.factor if self.holds(now) else 1.0


@dataclass(frozen=True)
class Cold(Slow):
    """`factor` times as long at `begin`, less and less, as usual at `end`: empty caches, a compiler that
    warms up."""

    def factor_at(self, now: float) -> float:
        if not self.holds(now):
            return 1.0
        return self.factor + (1.0 - self.factor) * (now - self.begin) / (self.end - self.begin)


@dataclass(frozen=True)
class Failing(Fault):
    """It answers at once with this status, to a share of the requests."""

    status: int = 503
    share: float = 1.0


@dataclass(frozen=True)
class Refusing(Fault):
    """The process is dead: connections are refused, and those that were open at `begin` are reset."""


@dataclass(frozen=True)
class Silent(Fault):
    """The machine is dead: nothing answers at all, neither to new connections nor on old ones."""


def flapping(begin: float, end: float, up: float, down: float) -> tuple[Refusing, ...]:
    """Dead for `down` seconds, then up for `up` seconds, again and again."""
    found = []
    while begin < end:
        found.append(Refusing(begin, min(end, begin + down)))
        begin += down + up
    return tuple(found)
