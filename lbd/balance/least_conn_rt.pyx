# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Least connections and response time: the endpoint with the lowest score among a bounded number, so O(1).

    score = connection_count_weight * load / mean load + response_time_weight * time / mean time

load: 1 + exchanges under way per weight, a mean weight being 1. time: the 95th percentile of the response times, divided
by the share of responses that are no failures: what it takes to get a good one. Both in proportion to the mean of all
endpoints, so that the two weights mean the same whether responses take milliseconds or minutes. Few endpoints are all
looked at, of many CANDIDATES that are drawn by weight; equals are picked by weight.

What was measured counts half after each update interval: the percentile is that of a histogram (two buckets per power
of two) which is halved then. A rise shows at once, a fall with the next interval. An endpoint without a response for STALE
intervals counts as never measured, and such ones are tried with one exchange at a time.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from lbd.balance.draw cimport GIVEN, Draw, draw_free, draw_give, draw_init, draw_is_given, draw_next
from lbd.engine.endpoint cimport LATENCY_BUCKETS, Balancer, Endpoint, Measured

from lbd.balance.options import LeastConnRtOptions

cdef enum:
    FEW = 8                     # endpoints that are all looked at
    CANDIDATES = 5
    STALE = 6                   # update intervals
    FIRST_BIT = 6               # the first bucket ends at 64 us
    FULL = 65535                # responses in a bucket at which all are halved as well

cdef double GOOD_LEAST = 0.05   # share of good responses that is reckoned with: times are multiplied by 20 at most

cdef extern from * nogil:
    int __builtin_clzll(unsigned long long)


cdef struct Row:
    uint32_t active
    float per_weight            # mean weight / weight
    float us                    # time as above, 0 = not measured
    uint32_t response_ms        # of the last response


cdef class LeastConnRt(Balancer):
    Options = LeastConnRtOptions
    score_means = "load and response time in proportion to the mean of all; the lowest is picked, of many one of five drawn"

    cdef Draw draw
    cdef Row* rows
    cdef double load_factor, time_factor    # the two weights of the score
    cdef uint32_t interval_ms
    cdef uint64_t active        # of all
    cdef double us              # of all that are measured, added up
    cdef uint32_t measured

    def __init__(self, endpoints, *, double connection_count_weight=0.3, double response_time_weight=0.7,
                 double update_interval=5.0, seed=None):
        cdef Endpoint endpoint
        cdef int i
        self.tracks_load = self.tracks_latency = True
        self.load_factor = connection_count_weight
        self.time_factor = response_time_weight
        self.interval_ms = <uint32_t> min(max(1.0, update_interval * 1000), 100e6)
        self.rows = <Row*> PyMem_Calloc(max(1, len(self.endpoints)), sizeof(Row))
        if self.rows == NULL:
            raise MemoryError
        weights = [e.weight for e in self.endpoints]
        mean = sum(weights) / len(weights) if weights else 1
        for i, endpoint in enumerate(self.endpoints):
            self.rows[i].active = endpoint.active
            self.rows[i].per_weight = mean / endpoint.weight
            self.rows[i].response_ms = endpoint.measured.response_ms
            self.active += endpoint.active
            self._set_time(&self.rows[i], _time_of(&endpoint.measured))
        self.draw.rows = <const char*> self.rows
        self.draw.row_size = sizeof(Row)
        draw_init(&self.draw, weights, seed)

    def __dealloc__(self):
        draw_free(&self.draw)
        PyMem_Free(self.rows)

    cdef void _set_time(self, Row* row, float us) noexcept:
        """With it the sum over all."""
        self.us += us - row.us
        self.measured += (us != 0) - (row.us != 0)
        row.us = us

    cdef double _score(self, const Row* row, double load_unit, double time_unit, uint32_t now) noexcept:
        cdef double score = (1 + <double> row.active * row.per_weight) * load_unit
        if row.us == 0 or now - row.response_ms > STALE * self.interval_ms:
            return score + self.time_factor if row.active else score
        return score + row.us * time_unit

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef uint32_t n = self.draw.n
        cdef uint32_t now = <uint32_t> self.now_ms[0]
        cdef double load_unit, time_unit, score
        cdef double best_score = -1
        cdef int best = 0
        cdef int index = 0
        cdef uint32_t i
        if n == 0:
            return -1
        if attempt == 0:
            self.draw.n_given = 0
        load_unit = self.load_factor * n / <double> (self.active + n)
        time_unit = self.time_factor * self.measured / self.us if self.us > 0 else 0
        for i in range(n if n <= FEW else <uint32_t> (CANDIDATES + attempt)):
            # the first is drawn by weight, and stays when others are only as good
            index = <int> draw_next(&self.draw) if i == 0 or n > FEW else <int> ((index + 1) % <int> n)
            if attempt and draw_is_given(&self.draw, index):
                continue
            score = self._score(&self.rows[index], load_unit, time_unit, now)
            if score < best_score or best_score < 0:
                best_score = score
                best = index
        if best_score < 0:              # all of them were given: the next that was not
            best = self._not_given(index)
        return draw_give(&self.draw, attempt, best)

    cdef bytes bookmark(self):
        return (<char*> &self.draw)[:sizeof(Draw)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.draw, <const char*> place, sizeof(Draw))

    def scores(self, uint64_t key=0):
        cdef double load_unit = self.load_factor * self.draw.n / <double> max(1, self.active + self.draw.n)
        cdef double time_unit = self.time_factor * self.measured / self.us if self.us > 0 else 0
        cdef uint32_t now = <uint32_t> self.now_ms[0]
        return {e: self._score(&self.rows[i], load_unit, time_unit, now) for i, e in enumerate(self.endpoints)}

    cdef int _not_given(self, int index) noexcept:
        cdef int i, other
        for i in range(1, min(<int> self.draw.n, GIVEN + 2)):
            other = (index + i) % <int> self.draw.n
            if not draw_is_given(&self.draw, other):
                return other
        return index

    cdef void on_acquired(self, int index) noexcept:
        self.rows[index].active += 1
        self.active += 1

    cdef void on_released(self, int index) noexcept:
        if self.rows[index].active:
            self.rows[index].active -= 1
            self.active -= 1

    cdef void on_response(self, int index, uint64_t us, bint failed) noexcept:
        cdef Row* row = &self.rows[index]
        cdef Endpoint endpoint = <Endpoint> self.endpoints[index]
        cdef Measured* measured = &endpoint.measured
        cdef uint32_t now = <uint32_t> self.now_ms[0]
        cdef uint32_t passed = (now - measured.window_ms) // self.interval_ms
        if passed:
            _halve(measured, passed)
            measured.window_ms = now
        us = max(us, <uint64_t> 1)
        measured.responses += 1
        measured.failures += failed
        if failed and measured.p95_us == 0 and self.measured:   # how fast it failed says nothing of how fast it serves
            us = max(us, <uint64_t> (self.us / self.measured))
        if not failed or us > measured.p95_us:
            _count(measured, us)
        if passed or us > measured.p95_us:
            measured.p95_us = _percentile(measured)
        measured.response_ms = row.response_ms = now
        self._set_time(row, _time_of(measured))


cdef void _halve(Measured* measured, uint32_t times) noexcept:
    cdef uint32_t by = min(times, <uint32_t> 16)
    cdef int i
    for i in range(LATENCY_BUCKETS):
        measured.latencies[i] = <uint16_t> (<uint32_t> measured.latencies[i] >> by)
    measured.responses /= <float> (<uint32_t> 1 << by)
    measured.failures /= <float> (<uint32_t> 1 << by)


cdef void _count(Measured* measured, uint64_t us) noexcept:
    cdef uint64_t x = us >> FIRST_BIT
    cdef int bit
    cdef int bucket = 0
    if x:
        bit = 63 - __builtin_clzll(x)
        bucket = min(1 + 2 * bit + <int> ((us >> (bit + FIRST_BIT - 1)) & 1), <int> LATENCY_BUCKETS - 1)
    if measured.latencies[bucket] == FULL:
        _halve(measured, 1)
    measured.latencies[bucket] += 1


cdef float _percentile(const Measured* measured) noexcept:
    """The 95th, as the middle of its bucket; what it was when nothing is left to tell."""
    cdef uint32_t total = 0
    cdef uint32_t above = 0
    cdef int i
    for i in range(LATENCY_BUCKETS):
        total += measured.latencies[i]
    for i in range(LATENCY_BUCKETS - 1, -1, -1):
        above += measured.latencies[i]
        if above and above * 20 > total:
            return <float> ((2.5 + (i - 1) % 2) * <double> (<uint64_t> 1 << (FIRST_BIT - 1 + (i - 1) // 2))) if i else 32
    return measured.p95_us


cdef float _time_of(const Measured* measured) noexcept:
    """us to a good response. One response more, a good one, is reckoned with: the first failure is not all there is."""
    return <float> (measured.p95_us / max(GOOD_LEAST, 1 - measured.failures / (measured.responses + 1)))
