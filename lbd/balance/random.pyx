# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Weighted random choice in O(1): Walker's alias method (Vose 1991, "A linear algorithm for generating random numbers
with a given distribution"). Two table reads and one 64-bit random number per pick; O(n) build.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t

import os

from lbd.engine.cluster cimport Balancer, Endpoint


cdef class Random(Balancer):
    cdef uint32_t* alias
    cdef uint32_t* threshold        # of 2^32: below it the column itself, else its alias
    cdef uint32_t n
    cdef uint64_t state

    def __init__(self, endpoints, *, seed=None):
        self.n = len(self.endpoints)
        self.state = (int.from_bytes(os.urandom(8), "little") if seed is None else seed * 2 + 1) | 1
        self.alias = <uint32_t*> PyMem_Malloc(max(1, self.n) * sizeof(uint32_t))
        self.threshold = <uint32_t*> PyMem_Malloc(max(1, self.n) * sizeof(uint32_t))
        if self.alias == NULL or self.threshold == NULL:
            raise MemoryError
        self._fill([e.weight for e in self.endpoints])

    def __dealloc__(self):
        PyMem_Free(self.alias)
        PyMem_Free(self.threshold)

    def _fill(self, weights):
        mean = sum(weights) / len(weights) if weights else 1
        share = [w / mean for w in weights]
        small = [i for i, s in enumerate(share) if s < 1]
        large = [i for i, s in enumerate(share) if s >= 1]
        while small and large:
            low, high = small.pop(), large.pop()
            self.threshold[low] = min(0xFFFFFFFF, int(share[low] * 2**32))
            self.alias[low] = high
            share[high] -= 1 - share[low]
            (small if share[high] < 1 else large).append(high)
        for i in (*small, *large):
            self.threshold[i] = 0xFFFFFFFF
            self.alias[i] = i

    cdef Endpoint pick(self, uint64_t key):
        cdef uint64_t x = self.state
        cdef uint32_t column
        if self.n == 0:
            return None
        x ^= x >> 12
        x ^= x << 25
        x ^= x >> 27
        self.state = x
        x *= 2685821657736338717ULL
        column = <uint32_t> (((x >> 32) * self.n) >> 32)
        if <uint32_t> x >= self.threshold[column]:
            column = self.alias[column]
        return <Endpoint> self.endpoints[column]
