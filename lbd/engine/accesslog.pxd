# cython: language_level=3
"""The access log. See accesslog.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.observer cimport Facts, Observer
from lbd.engine.logline cimport LineWriter


cdef class LogWriter:
    cdef readonly str target
    cdef readonly str trouble       # why lines get lost now, or None
    cdef object wake, thread, destination, on_trouble
    cdef char* front                # being filled by the loop
    cdef size_t used
    cdef readonly uint64_t dropped
    cdef readonly uint64_t lines
    cdef bint stopping, reopening, waiting

    cdef char* reserve(self, size_t n) noexcept
    cdef void commit(self, size_t n)


cdef class TextLog(Observer):
    cdef readonly LogWriter writer
    cdef LineWriter line
    cdef bint samples
    cdef uint64_t below             # random numbers below it are in the sample
    cdef uint64_t slow_us
    cdef uint64_t random_state

    cdef bint _skips(self, const Facts* facts) noexcept
