# cython: language_level=3
"""Network tables, for the source matcher and for trusted proxies."""

from libc.stdint cimport uint8_t

cdef bint in_networks(const uint8_t* table, size_t n, const uint8_t* address) noexcept nogil
