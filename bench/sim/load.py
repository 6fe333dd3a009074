"""Clients: when requests come, how much work they are, and what key they carry.

Open loop (the usual case of a public service): requests come whether or not the ones before were answered,
as a Poisson process whose rate changes in steps. Closed loop: so many clients, each of which waits for its
answer, thinks, and asks again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import exp, inf, log
from random import Random
from typing import Literal

from lbd.engine.key import hash_of


@dataclass(frozen=True)
class Work:
    """Service times of a usual server, in seconds. spread: sigma of the logarithm, for lognormal."""

    mean: float = 0.01
    kind: Literal["exponential", "lognormal", "constant"] = "exponential"
    spread: float = 1.0

    def draw(self, random: Random) -> float:
        if self.kind == "exponential":
            return random.expovariate(1.0 / self.mean)
        if self.kind == "constant":
            return self.mean
        return random.lognormvariate(log(self.mean) - self.spread**2 / 2, self.spread)


@dataclass(frozen=True)
class Load:
    """rate: ((from this second, requests per second), ...), the first from 0. With `clients` it is a closed
    loop and `rate` has no meaning; think: mean seconds. keys: how many there are; skew: exponent of Zipf's
    law, 0 = alike."""

    rate: tuple[tuple[float, float], ...] = ((0.0, 500.0),)
    clients: int = 0
    think: float = 0.1
    work: Work = Work()
    keys: int = 1000
    skew: float = 0.0

    def arrivals(self, random: Random, until: float) -> Iterator[float]:
        """Seconds, rising. A Poisson process has no memory: at each step it begins anew with the next
        rate."""
        for (begin, rate), (end, _) in zip(self.rate, (*self.rate[1:], (inf, 0.0)), strict=True):
            now = begin
            while rate > 0:
                now += random.expovariate(rate)
                if now >= min(end, until):
                    break
                yield now


class Keys:
    """Keys drawn by Zipf's law: the k-th most frequent comes in proportion to 1 / k^skew."""

    def __init__(self, load: Load, random: Random) -> None:
        self._random = random
        self.hashes = [hash_of(b"key-%d" % number) for number in range(load.keys)]
        self._upto = list(accumulate(exp(-load.skew * log(k)) for k in range(1, load.keys + 1)))

    def draw(self) -> int:
        return self.hashes[bisect_left(self._upto, self._random.random() * self._upto[-1])]
