# cython: language_level=3
"""The access log. See accesslog.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.exchange cimport AccessLog, Exchange


cdef class LogWriter:
    cdef readonly str target
    cdef object lock, wake, thread, file
    cdef char* front                # being filled by the loop
    cdef size_t used
    cdef readonly uint64_t dropped
    cdef readonly uint64_t lines
    cdef bint stopping, reopening, waiting

    cdef char* reserve(self, size_t n) noexcept
    cdef void commit(self, size_t n)


cdef class TextLog(AccessLog):
    cdef LogWriter writer
    cdef bint json
    cdef uint64_t second            # of the time stamp below
    cdef char[64] stamp
    cdef int stamp_len

    cdef char* _time(self, char* out)
    cdef char* _field(self, char* out, const char* label, bint parsed, const char* name, size_t n) noexcept
    cdef char* _json(self, char* out, Exchange x, bint parsed)
    cdef char* _attempts(self, char* out, Exchange x)
    cdef char* _combined(self, char* out, Exchange x, bint parsed)
    cdef bytes _name(self, str name)
