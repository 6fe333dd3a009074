# cython: language_level=3
"""The part of a request that decides, by its hash, which endpoint serves it. See key.pyx."""

from libc.stdint cimport uint8_t, uint64_t

from lbd.engine.matchers cimport ValueMatcher
from lbd.engine.router cimport RequestView, Router


cdef class KeySource:
    cdef readonly str kind
    cdef readonly str name
    cdef ValueMatcher taker

    cdef bint take(self, const RequestView* request, Router router, const char** value, size_t* n) noexcept
    cdef int _capture(self, Router router) noexcept
    cdef uint64_t of_request(self, const RequestView* request, Router router) noexcept
    cdef uint64_t of_address(self, const uint8_t* address) noexcept
