# cython: language_level=3
"""Base of the balancers that choose by a key. See keyed.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.endpoint cimport Balancer

cdef struct Walk:               # over the endpoints in the order that a key gives them
    uint64_t at
    uint32_t steps

cdef struct Load:
    double most                 # load factor * share of the weights
    uint32_t active


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    """Each bit of x changes each bit of the result: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL
    return x ^ (x >> 31)


cdef inline uint32_t scale(uint64_t x, uint32_t n) noexcept nogil:
    """A number below n from the upper 32 bits of x."""
    return <uint32_t> (((x >> 32) * n) >> 32)


cdef class Keyed(Balancer):
    cdef uint32_t n
    cdef uint64_t state         # for requests without a key
    cdef Load* loads            # NULL: not bounded
    cdef uint64_t total         # exchanges under way at all endpoints

    cdef void start(self, uint64_t hashed, Walk* walk) noexcept
    cdef int step(self, Walk* walk) noexcept
    cdef int _walk_on(self, Walk* walk, uint64_t hashed, int attempt) noexcept
    cdef int _rest(self, uint64_t hashed, int attempt, int* seen, int n_seen) noexcept
    cdef bint _is_full(self, int index) noexcept
