# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Weighted random choice in O(1): Walker's alias method (Vose 1991, "A linear algorithm for generating random numbers
with a given distribution"). One table row and one 64-bit random number per pick; O(n) build.

Picks are drawn some turns ahead, so that the rows and endpoint objects of a large cluster, which are in no cache, are on
their way when they are needed. Draws are independent of each other, so this changes nothing about the distribution.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t

import os

from lbd.engine.cluster cimport Balancer, Endpoint

cdef enum:
    AHEAD = 16                      # draws under way, a power of two
    HALF = 8

cdef extern from "Python.h":
    void* PyTuple_GET_ITEM(object, Py_ssize_t)          # borrowed, without a look at the object itself
    void __builtin_prefetch(const void*)

cdef struct Column:
    uint32_t threshold              # of 2^32: below it the column itself, else its alias
    uint32_t alias


cdef class Random(Balancer):
    cdef Column* columns
    cdef uint32_t n
    cdef uint64_t state
    cdef uint64_t[AHEAD] drawn      # random numbers
    cdef uint32_t[AHEAD] chosen     # indexes, of draws past half way
    cdef uint32_t at

    def __init__(self, endpoints, *, seed=None):
        self.n = <uint32_t> len(self.endpoints)
        self.state = (int.from_bytes(os.urandom(8), "little") if seed is None else seed * 2 + 1) | 1
        self.columns = <Column*> PyMem_Malloc(max(1, self.n) * sizeof(Column))
        if self.columns == NULL:
            raise MemoryError
        self._fill([e.weight for e in self.endpoints])
        for _ in range(AHEAD + HALF if self.n else 0):
            self._advance()

    def __dealloc__(self):
        PyMem_Free(self.columns)

    def _fill(self, weights):
        mean = sum(weights) / len(weights) if weights else 1
        share = [w / mean for w in weights]
        small = [i for i, s in enumerate(share) if s < 1]
        large = [i for i, s in enumerate(share) if s >= 1]
        while small and large:
            low, high = small.pop(), large.pop()
            self.columns[low].threshold = min(0xFFFFFFFF, int(share[low] * 2**32))
            self.columns[low].alias = high
            share[high] -= 1 - share[low]
            (small if share[high] < 1 else large).append(high)
        for i in (*small, *large):
            self.columns[i].threshold = 0xFFFFFFFF
            self.columns[i].alias = i

    cdef uint32_t _column(self, uint64_t x) noexcept:
        return <uint32_t> (((x >> 32) * self.n) >> 32)

    cdef uint32_t _advance(self) noexcept:
        """Draw a number, settle the one drawn half a round ago; the index settled a whole round ago."""
        cdef uint32_t at = self.at
        cdef uint32_t half = (at + HALF) & (AHEAD - 1)
        cdef uint32_t index = self.chosen[at]
        cdef uint64_t x = self.state
        cdef uint32_t column
        x ^= x >> 12
        x ^= x << 25
        x ^= x >> 27
        self.state = x
        x *= 2685821657736338717ULL
        self.drawn[at] = x
        __builtin_prefetch(&self.columns[self._column(x)])
        x = self.drawn[half]
        column = self._column(x)
        if <uint32_t> x >= self.columns[column].threshold:
            column = self.columns[column].alias
        self.chosen[half] = column
        __builtin_prefetch(PyTuple_GET_ITEM(self.endpoints, column))
        self.at = (at + 1) & (AHEAD - 1)
        return index

    cdef Endpoint pick(self, uint64_t key):
        if self.n == 0:
            return None
        return <Endpoint> self.endpoints[self._advance()]
