# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Adaptive concurrency: as many exchanges under way as the cluster answers without queueing (Netflix, "Performance under
load", 2018, the Gradient2 limit of concurrency-limits).

Strategy: latency is averaged over short rounds of samples and over a long time. While the short average is within
`tolerance` of the long one, the limit grows by a little headroom (its square root); when it is above, the limit shrinks
by their ratio; each step is smoothed. Failures shrink it by a tenth. It does not grow while less than half of it is in
use, as nothing is learnt then. One limit per worker; no lock, no scan, an addition per sample.
"""

from libc.math cimport sqrt
from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.guard cimport OUTCOME_FAILED, ConcurrencyLimit

cdef enum:
    LONG_ROUNDS = 100           # the long average spans about so many rounds
    FIRST_ROUNDS = 10           # of which it is the plain mean
    ROUND_LEAST = 10            # samples, fewer make no round

cdef double SMOOTHING = 0.2
cdef double SHRINK_MOST = 0.5   # in one round
cdef double FAILED_SHARE = 0.1  # of a round: more of them shrink the limit


cdef class Gradient(ConcurrencyLimit):
    cdef double value, least, most, tolerance
    cdef double long_us
    cdef double sum_us
    cdef uint32_t samples, failed, peak, rounds
    cdef uint64_t round_ms, round_ends

    def __init__(self, *, unsigned int initial, unsigned int least, unsigned int most, double tolerance, round_ms):
        if not 1 <= least <= initial <= most or tolerance < 1:
            raise ValueError("least <= initial <= most, and a tolerance of at least 1")
        self.value = initial
        self.least = least
        self.most = most
        self.tolerance = tolerance
        self.round_ms = round_ms
        self.limit = initial

    def __repr__(self):
        return f"<Gradient {self.limit}>"

    cdef void on_sample(self, uint64_t us, uint32_t active, int outcome, uint64_t now) noexcept:
        self.peak = max(self.peak, active)
        if outcome == OUTCOME_FAILED:
            self.failed += 1        # its time says how long lbd waited, not how fast the cluster is
        else:
            self.samples += 1
            self.sum_us += us
        if self.round_ends == 0:
            self.round_ends = now + self.round_ms       # what ends first is what was short: a whole round tells more
        elif now >= self.round_ends and self.samples + self.failed >= ROUND_LEAST:
            self._end_round(now)

    cdef void _end_round(self, uint64_t now) noexcept:
        cdef double short_us, gradient, wanted
        cdef uint32_t peak = self.peak
        if self.failed > FAILED_SHARE * (self.samples + self.failed):
            wanted = self.value * 0.9
        else:
            short_us = max(1.0, self.sum_us / self.samples)
            self._learn(short_us)
            gradient = max(SHRINK_MOST, min(1.0, self.tolerance * self.long_us / short_us))
            wanted = self.value * gradient + sqrt(self.value)
            if wanted > self.value and peak * 2 < self.value:
                wanted = self.value
            wanted = self.value * (1 - SMOOTHING) + wanted * SMOOTHING
        self.value = max(self.least, min(self.most, wanted))
        self.limit = <uint32_t> self.value
        self.samples = self.failed = self.peak = 0
        self.sum_us = 0
        self.round_ends = now + self.round_ms

    cdef void _learn(self, double short_us) noexcept:
        """The long average. It follows a lasting rise slowly, and a fall at once, so that a bad time is soon forgotten."""
        if self.rounds < FIRST_ROUNDS:
            self.rounds += 1            # until then the mean of all, so that the first one does not stand for what is usual
        if self.long_us > 2 * short_us:
            self.long_us *= 0.95
        else:
            self.long_us += (short_us - self.long_us) / (self.rounds if self.rounds < FIRST_ROUNDS else LONG_ROUNDS)

    # the same for tests and the simulator
    def sample(self, double seconds, unsigned int active, double now, bint failed=False):
        self.on_sample(<uint64_t> (seconds * 1e6), active, 2 if failed else 1, <uint64_t> (now * 1000))
