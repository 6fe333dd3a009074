# cython: language_level=3
"""A hash table from (salt, bytes) to int32 for the router: looked up by pointer, without a Python object."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef struct Slot:
    uint64_t hash
    uint32_t salt
    uint32_t key_len
    uint64_t key            # offset into the arena
    int32_t value           # -1 = free


cdef class ByteMap:
    cdef Slot* slots
    cdef uint64_t mask
    cdef uint64_t used
    cdef bytearray arena
    cdef char* keys

    cdef int32_t find(self, uint32_t salt, const char* key, size_t n) noexcept nogil
    cdef int put(self, uint32_t salt, bytes key, int32_t value) except -1
    cdef int _grow(self) except -1


cdef inline uint64_t hash_bytes(uint64_t seed, const char* p, size_t n) noexcept nogil:
    """Multiply-and-rotate over 8 bytes at a time (murmur's mixing); keys come from the config, so no secret is needed."""
    cdef uint64_t h = seed ^ (n * 0x9E3779B97F4A7C15ULL)
    cdef uint64_t w
    while n >= 8:
        memcpy(&w, p, 8)
        h = (h ^ w) * 0xFF51AFD7ED558CCDULL
        h ^= h >> 32
        p += 8
        n -= 8
    w = 0
    while n:
        n -= 1
        w = w << 8 | <unsigned char> p[n]
    h = (h ^ w) * 0xC4CEB9FE1A85EC53ULL
    return h ^ (h >> 29)
