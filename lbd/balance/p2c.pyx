# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Power of two choices (Mitzenmacher 2001, "The power of two choices in randomized load balancing"): of two different
endpoints drawn by weight the one with fewer exchanges under way per weight, the first drawn when they are equal. O(1).

Nearly as even as least connections, and no herd: nodes of lbd that know nothing of each other do not all run to
the same endpoint.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from lbd.balance.draw cimport Draw, draw_free, draw_give, draw_init, draw_pair
from lbd.engine.endpoint cimport Balancer, Endpoint

cdef struct Row:
    uint32_t active
    float per_weight            # 1 / weight


cdef class P2C(Balancer):
    score_means = "exchanges under way per weight; the lower of two endpoints drawn by weight is picked"

    cdef Draw draw
    cdef Row* rows

    def __init__(self, endpoints, *, seed=None):
        cdef Endpoint endpoint
        cdef int i
        self.tracks_load = True
        self.rows = <Row*> PyMem_Calloc(max(1, len(self.endpoints)), sizeof(Row))
        if self.rows == NULL:
            raise MemoryError
        for i, endpoint in enumerate(self.endpoints):
            self.rows[i].active = endpoint.active
            self.rows[i].per_weight = <float> 1 / endpoint.weight
        self.draw.rows = <const char*> self.rows
        self.draw.row_size = sizeof(Row)
        draw_init(&self.draw, [e.weight for e in self.endpoints], seed)

    def __dealloc__(self):
        draw_free(&self.draw)
        PyMem_Free(self.rows)

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef int a, b
        if self.draw.n == 0:
            return -1
        draw_pair(&self.draw, attempt, &a, &b)
        if (<float> self.rows[b].active * self.rows[b].per_weight
                < <float> self.rows[a].active * self.rows[a].per_weight):
            a = b
        return draw_give(&self.draw, attempt, a)

    cdef bytes bookmark(self):
        return (<char*> &self.draw)[:sizeof(Draw)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.draw, <const char*> place, sizeof(Draw))

    def scores(self, uint64_t key=0):
        return {e: self.rows[i].active * self.rows[i].per_weight for i, e in enumerate(self.endpoints)}

    cdef void on_acquired(self, int index) noexcept:
        self.rows[index].active += 1

    cdef void on_released(self, int index) noexcept:
        if self.rows[index].active:
            self.rows[index].active -= 1
