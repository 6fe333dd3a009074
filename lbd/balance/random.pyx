# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Weighted random choice in O(1), see draw.pyx."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from lbd.balance.draw cimport Draw, draw_free, draw_give, draw_init, draw_next, draw_others
from lbd.engine.endpoint cimport Balancer


cdef class Random(Balancer):
    cdef Draw draw

    def __init__(self, endpoints, *, seed=None):
        draw_init(&self.draw, [e.weight for e in self.endpoints], seed)

    def __dealloc__(self):
        draw_free(&self.draw)

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef int index, other
        if self.draw.n == 0:
            return -1
        if attempt:
            draw_others(&self.draw, attempt, &index, &other)
        else:
            index = <int> draw_next(&self.draw)
        return draw_give(&self.draw, attempt, index)

    cdef bytes bookmark(self):
        return (<char*> &self.draw)[:sizeof(Draw)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.draw, <const char*> place, sizeof(Draw))
