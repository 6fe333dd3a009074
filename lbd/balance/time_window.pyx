# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The endpoint that was not used for the longest time, if that is a whole window; else turns by weight. O(1).

For servers and accounts that want rest between uses, such as keys of an API with quotas per minute: as long as there is one
that has rested for the window it is used. When all of them are busy, work is spread as round_robin does.

Strategy: the endpoints stand in a list by their last use, the longest unused first; a use moves one to the end. What has
moved within a 64th of the window stays where it is, so under load there is no moving.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from lbd.engine.endpoint cimport Balancer, Endpoint

from lbd.balance.options import TimeWindowOptions
from lbd.balance.round_robin import scale_weights, smooth_cycle

cdef enum:
    TICK = 8                    # time is counted in 2^8 ms
    LOOK = 4                    # endpoints with a long exchange under way that one pick puts aside

cdef struct Row:
    int32_t before, after       # in the circle by last use
    uint32_t used               # ticks, plus one; 0 = never
    uint32_t active


cdef class TimeWindow(Balancer):
    Options = TimeWindowOptions
    score_means = ("seconds of rest, as a negative number; the longest rest is picked if it is a whole window and nothing "
                   "is under way there, else turns by weight")

    cdef Row* rows
    cdef int32_t first          # the longest unused
    cdef uint32_t window        # ticks
    cdef uint32_t* order        # turns by weight
    cdef uint32_t turns, at

    def __init__(self, endpoints, *, double window=300.0):
        cdef Endpoint endpoint
        cdef int32_t i, index, n
        self.tracks_load = True
        self.window = <uint32_t> min(window * 1000 / (1 << TICK), 2.0 ** 31)
        cycle = smooth_cycle(scale_weights([e.weight for e in self.endpoints]))
        n = <int32_t> len(self.endpoints)
        self.turns = <uint32_t> len(cycle)
        self.rows = <Row*> PyMem_Calloc(max(1, n), sizeof(Row))
        self.order = <uint32_t*> PyMem_Malloc(max(1, self.turns) * sizeof(uint32_t))
        if self.rows == NULL or self.order == NULL:
            raise MemoryError
        for i, turn in enumerate(cycle):
            self.order[i] = turn
        for i, endpoint in enumerate(self.endpoints):
            self.rows[i].active = endpoint.active
            self.rows[i].used = <uint32_t> (endpoint.measured.used_ms >> TICK) + 1 if endpoint.measured.used_ms else 0
        circle = sorted(range(n), key=lambda i: self.rows[i].used)
        for i, index in enumerate(circle):
            self.rows[index].before = circle[i - 1] if i else circle[n - 1]
            self.rows[index].after = circle[i + 1] if i + 1 < n else circle[0]
        self.first = circle[0] if circle else 0

    def __dealloc__(self):
        PyMem_Free(self.rows)
        PyMem_Free(self.order)

    cdef uint32_t _now(self) noexcept:
        return <uint32_t> (self.now_ms[0] >> TICK) + 1

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef uint32_t now = self._now()
        cdef int index, _look
        if self.turns == 0:
            return -1
        for _look in range(LOOK):
            index = self.first
            if self.rows[index].used and now - self.rows[index].used < self.window:
                break
            self._use(index, now)
            if self.rows[index].active == 0:
                return index
        index = <int> self.order[self.at]
        self.at = self.at + 1 if self.at + 1 < self.turns else 0
        self._use(index, now)
        return index

    cdef void _use(self, int index, uint32_t now) noexcept:
        """To the end of the circle, which is where the first one was."""
        cdef Row* row = &self.rows[index]
        if row.used and (now - row.used) * <uint64_t> 64 < self.window:
            return
        row.used = now
        if index == self.first:
            self.first = row.after
            return
        self.rows[row.before].after = row.after
        self.rows[row.after].before = row.before
        row.after = self.first
        row.before = self.rows[self.first].before
        self.rows[row.before].after = index
        self.rows[self.first].before = index

    cdef bytes bookmark(self):
        """Also the order of last use: picks put aside what rests no more."""
        return ((<char*> self.rows)[:len(self.endpoints) * sizeof(Row)] + (<char*> &self.first)[:sizeof(int32_t)]
                + (<char*> &self.at)[:sizeof(uint32_t)])

    cdef void go_back(self, bytes place) noexcept:
        cdef const char* p = <const char*> place
        cdef size_t n = len(self.endpoints) * sizeof(Row)
        memcpy(self.rows, p, n)
        memcpy(&self.first, p + n, sizeof(int32_t))
        memcpy(&self.at, p + n + sizeof(int32_t), sizeof(uint32_t))

    def scores(self, uint64_t key=0):
        """One that was never used has rested since the clock began."""
        cdef uint32_t now = self._now()
        return {e: -(<double> (<uint64_t> (now - self.rows[i].used) << TICK) / 1000) for i, e in enumerate(self.endpoints)}

    cdef void on_acquired(self, int index) noexcept:
        self.rows[index].active += 1
        self._note(index)

    cdef void on_released(self, int index) noexcept:
        """Used until now."""
        if self.rows[index].active:
            self.rows[index].active -= 1
        self._note(index)

    cdef void _note(self, int index) noexcept:
        cdef Endpoint endpoint = <Endpoint> self.endpoints[index]
        endpoint.measured.used_ms = self.now_ms[0] + 1
        self._use(index, self._now())
