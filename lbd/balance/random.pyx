# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Weighted random choice in O(1): Walker's alias method (Vose 1991, "A linear algorithm for generating random numbers
with a given distribution"). One 64-bit random number and one table row per pick, no row when all weights are equal.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t

import os

from lbd.engine.endpoint cimport Balancer
from lbd.engine.xorshift cimport next_random

cdef struct Column:
    uint32_t threshold              # of 2^32: below it the column itself, else its alias
    uint32_t alias


cdef class Random(Balancer):
    cdef Column* columns            # NULL when all weights are equal
    cdef uint32_t n
    cdef uint64_t state

    def __init__(self, endpoints, *, seed=None):
        self.n = <uint32_t> len(self.endpoints)
        self.state = (int.from_bytes(os.urandom(8), "little") if seed is None else seed * 2 + 1) | 1
        weights = [e.weight for e in self.endpoints]
        if len(set(weights)) > 1:
            self._fill(weights)

    def __dealloc__(self):
        PyMem_Free(self.columns)

    def _fill(self, weights):
        self.columns = <Column*> PyMem_Malloc(self.n * sizeof(Column))
        if self.columns == NULL:
            raise MemoryError
        mean = sum(weights) / len(weights)
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

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef uint64_t x
        cdef uint32_t column
        if self.n == 0:
            return -1
        x = next_random(&self.state)
        column = <uint32_t> (((x >> 32) * self.n) >> 32)
        if self.columns != NULL and <uint32_t> x >= self.columns[column].threshold:
            column = self.columns[column].alias
        return <int> column
