# cython: language_level=3
"""xorshift64* (Vigna 2016, "An experimental exploration of Marsaglia's xorshift generators"): ids and picks, no secrets."""

from libc.stdint cimport uint64_t


cdef inline uint64_t next_random(uint64_t* state) noexcept nogil:
    """The next number; *state must not be 0."""
    cdef uint64_t x = state[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    state[0] = x
    return x * 2685821657736338717ULL
