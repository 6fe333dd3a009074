# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Peak EWMA: of two different endpoints drawn by weight the one that promises the earlier response. O(1).

The promise is its average response time times (1 + exchanges under way per weight, a mean weight being 1). The average is
sensitive to peaks (the load balancer of Finagle, Twitter 2015): a slower response counts at once and in full, faster
ones bring it down with an exponential decay. It fades with time as well, so that an endpoint which was once
slow is tried again.

An endpoint that was never measured is tried at once, with one exchange; until the answer is there it counts as average.
A failure counts as a slow response, however fast it came: what refuses every connection is not the fastest server.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from lbd.balance.draw cimport Draw, draw_free, draw_give, draw_init, draw_pair
from lbd.engine.endpoint cimport Balancer, Endpoint

from lbd.balance.options import PeakEwmaOptions

cdef enum:
    FADED = 10                  # decay times after which nothing fades any more
    FAILURE_US = 1000000        # what a failure counts as, at least
    FAILURE_MOST_US = 60000000

cdef struct Row:
    float us                    # averaged, as of `at`; 0 = not measured
    uint32_t at                 # ms, the lowest 32 bits
    uint32_t active
    float per_weight            # mean weight / weight


cdef class PeakEwma(Balancer):
    Options = PeakEwmaOptions
    score_means = ("seconds that a response is expected to take, times what is under way; the lower of two endpoints "
                   "drawn by weight is picked, 0: never measured, tried at once")

    cdef Draw draw
    cdef Row* rows
    cdef double fading          # 1 / decay in ms
    cdef double typical         # us, averaged over the responses of all

    def __init__(self, endpoints, *, double decay=10.0, seed=None):
        cdef Endpoint endpoint
        cdef int i
        self.tracks_load = self.tracks_latency = True
        self.fading = 1 / max(1.0, decay * 1000)
        self.rows = <Row*> PyMem_Calloc(max(1, len(self.endpoints)), sizeof(Row))
        if self.rows == NULL:
            raise MemoryError
        weights = [e.weight for e in self.endpoints]
        mean = sum(weights) / len(weights) if weights else 1
        for i, endpoint in enumerate(self.endpoints):
            self.rows[i].us = endpoint.measured.ewma_us
            self.rows[i].at = endpoint.measured.ewma_ms
            self.rows[i].active = endpoint.active
            self.rows[i].per_weight = mean / endpoint.weight
        measured = [self.rows[i].us for i in range(len(weights)) if self.rows[i].us]
        self.typical = sum(measured) / len(measured) if measured else 1
        self.draw.rows = <const char*> self.rows
        self.draw.row_size = sizeof(Row)
        draw_init(&self.draw, weights, seed)

    def __dealloc__(self):
        draw_free(&self.draw)
        PyMem_Free(self.rows)

    cdef double _divisor(self, const Row* row) noexcept:
        """By how much what was measured has faded: e^x by its series to x^3, at most what FADED times make of it."""
        cdef double x = min(<double> FADED, <double> <uint32_t> (<uint32_t> self.now_ms[0] - row.at) * self.fading)
        return 1 + x * (1 + x * (0.5 + x * (1.0 / 6)))

    cdef double _promise(self, const Row* row) noexcept:
        """Before it is divided by what has faded."""
        if row.us == 0 and row.active == 0:
            return 0
        return (row.us if row.us != 0 else self.typical) * (1 + <double> row.active * row.per_weight)

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef int a, b
        cdef double of_a, of_b
        if self.draw.n == 0:
            return -1
        draw_pair(&self.draw, attempt, &a, &b)
        # promise / divisor is compared, without a division
        of_a = self._promise(&self.rows[a])
        of_b = self._promise(&self.rows[b])
        if self.rows[b].us != 0:
            of_a *= self._divisor(&self.rows[b])
        if self.rows[a].us != 0:
            of_b *= self._divisor(&self.rows[a])
        if of_b < of_a:
            a = b
        return draw_give(&self.draw, attempt, a)

    cdef bytes bookmark(self):
        return (<char*> &self.draw)[:sizeof(Draw)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.draw, <const char*> place, sizeof(Draw))

    def scores(self, uint64_t key=0):
        cdef Row* row
        found = {}
        for i, endpoint in enumerate(self.endpoints):
            row = &self.rows[i]
            found[endpoint] = self._promise(row) / (self._divisor(row) if row.us != 0 else 1) / 1e6
        return found

    cdef void on_acquired(self, int index) noexcept:
        self.rows[index].active += 1

    cdef void on_released(self, int index) noexcept:
        if self.rows[index].active:
            self.rows[index].active -= 1

    cdef void on_response(self, int index, uint64_t us, bint failed) noexcept:
        cdef Row* row = &self.rows[index]
        cdef Endpoint endpoint = <Endpoint> self.endpoints[index]
        cdef double kept = 1 / self._divisor(row)
        cdef double sample = max(<double> us, 1.0)
        if failed:
            sample = max(sample, min(max(2 * row.us * kept, <double> FAILURE_US), <double> FAILURE_MOST_US))
        else:
            self.typical = sample if self.typical == 1 else self.typical + (sample - self.typical) / 64
        if row.us == 0 or sample >= row.us * kept:
            row.us = <float> sample
        else:
            row.us = <float> (row.us * kept + sample * (1 - kept))
        row.at = <uint32_t> self.now_ms[0]
        endpoint.measured.ewma_us = row.us
        endpoint.measured.ewma_ms = row.at
