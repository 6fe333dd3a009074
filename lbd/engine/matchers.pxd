# cython: language_level=3
"""Network tables, for the source matcher and for trusted proxies."""

from libc.stdint cimport uint8_t

from lbd.engine.router cimport Matcher

cdef bint in_networks(const uint8_t* table, size_t n, const uint8_t* address) noexcept nogil


cdef class ValueMatcher(Matcher):
    cdef readonly str label
    cdef bytes name
    cdef tuple globs                # () with want_present: any value
    cdef bint want_present

    cdef bint accepts(self, const char* value, size_t n) noexcept


cdef class Header(ValueMatcher):
    pass


cdef class Query(ValueMatcher):
    cdef bint _is_wanted(self, const char* pair, size_t n) noexcept


cdef class Cookie(ValueMatcher):
    cdef bint _is_wanted(self, const char* pair, size_t n) noexcept
