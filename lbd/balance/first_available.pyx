# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The first endpoint that has room, in the order of the configuration: the next one is used when those before it are full.

Strategy: a bitmap of the endpoints with room, and above it bitmaps of the words that are not empty, 64 to 1; so the first
is found in one step per level, four for millions of endpoints. Room is for `connections` exchanges under way per endpoint,
or for as many as its pool may have connections. When all are full they take turns, so that they queue alike.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from lbd.engine.endpoint cimport Balancer, Endpoint

from lbd.balance.options import FirstAvailableOptions

cdef enum:
    LEVELS = 4

cdef extern from * nogil:
    int __builtin_ctzll(unsigned long long)


cdef struct Row:
    uint32_t active
    uint32_t room               # 0 = without end


cdef class FirstAvailable(Balancer):
    Options = FirstAvailableOptions
    score_means = "place in the order of the configuration, those without room behind all others; the first is picked"

    cdef Row* rows
    cdef uint32_t n, turn
    cdef (uint64_t*)[LEVELS] bits   # [0]: a bit per endpoint

    def __init__(self, endpoints, *, connections=None):
        cdef Endpoint endpoint
        cdef uint32_t i
        cdef uint64_t words
        cdef int level
        self.tracks_load = True
        self.n = <uint32_t> len(self.endpoints)
        words = self.n
        self.rows = <Row*> PyMem_Calloc(max(1, self.n), sizeof(Row))
        if self.rows == NULL:
            raise MemoryError
        for level in range(LEVELS):
            words = words // 64 + 1
            self.bits[level] = <uint64_t*> PyMem_Calloc(words, sizeof(uint64_t))
            if self.bits[level] == NULL:
                raise MemoryError
        if words > 1:
            raise ValueError(f"{self.n} endpoints are too many")
        for i, endpoint in enumerate(self.endpoints):
            self.rows[i].active = endpoint.active
            self.rows[i].room = connections or (endpoint.pool.max_open if endpoint.pool is not None else 0)
            if self.rows[i].room == 0 or self.rows[i].active < self.rows[i].room:
                self._mark(i)

    def __dealloc__(self):
        cdef int level
        PyMem_Free(self.rows)
        for level in range(LEVELS):
            PyMem_Free(self.bits[level])

    cdef void _mark(self, uint32_t at) noexcept:
        """It has room."""
        cdef int level
        for level in range(LEVELS):
            self.bits[level][at >> 6] |= <uint64_t> 1 << (at & 63)
            at >>= 6

    cdef void _clear(self, uint32_t at) noexcept:
        cdef int level
        for level in range(LEVELS):
            self.bits[level][at >> 6] &= ~(<uint64_t> 1 << (at & 63))
            if self.bits[level][at >> 6]:
                return
            at >>= 6

    cdef int _next(self, uint32_t at) noexcept:
        """The first with room at or behind this one; -1: none."""
        cdef int level = 0
        cdef uint64_t word
        while True:             # up, until a word has something at or behind the place
            word = self.bits[level][at >> 6] >> (at & 63) << (at & 63)
            if word:
                break
            level += 1
            if level == LEVELS:
                return -1
            at = (at >> 6) + 1
            if at >> 6 > self.n >> (6 * (level + 1)):
                return -1
        at = at >> 6 << 6 | __builtin_ctzll(word)
        while level:            # and down again, to the first bit of each word
            level -= 1
            at = at << 6 | __builtin_ctzll(self.bits[level][at])
        return <int> at

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef int found
        if self.n == 0:
            return -1
        found = self._next(0)
        while attempt > 0 and found >= 0:
            attempt -= 1
            found = self._next(<uint32_t> found + 1)
        if found >= 0:
            return found
        self.turn = self.turn + 1 if self.turn + 1 < self.n else 0
        return <int> self.turn

    cdef bytes bookmark(self):
        return (<char*> &self.turn)[:sizeof(uint32_t)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.turn, <const char*> place, sizeof(uint32_t))

    def scores(self, uint64_t key=0):
        """Those without room come behind all others."""
        return {e: float(i if self.rows[i].room == 0 or self.rows[i].active < self.rows[i].room else self.n + i)
                for i, e in enumerate(self.endpoints)}

    cdef void on_acquired(self, int index) noexcept:
        cdef Row* row = &self.rows[index]
        row.active += 1
        if row.active == row.room:
            self._clear(index)

    cdef void on_released(self, int index) noexcept:
        cdef Row* row = &self.rows[index]
        if row.active:
            row.active -= 1
            if row.active + 1 == row.room:
                self._mark(index)
