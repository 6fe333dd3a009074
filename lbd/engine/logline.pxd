# cython: language_level=3
"""Lines of access logs. See logline.pyx."""

from libc.stdint cimport uint8_t, uint64_t

from lbd.engine.observer cimport Facts

cdef enum:
    FIELDS_COUNT = 28
    LINE_MAX = 196608               # 14 texts, all of SEEN_MAX bytes and escaped, and what stands between them
    ATTEMPTS_MAX = 16
    ATTEMPTS_ROOM = 262144          # for sixteen names, only in lines that have them


cdef class LineWriter:
    """Formats lines of one log."""
    cdef readonly bint json
    cdef uint8_t[FIELDS_COUNT] fields
    cdef int n_fields
    cdef bytes environment          # escaped, or None
    cdef uint64_t second            # of the time stamp below
    cdef char[64] stamp
    cdef int stamp_len

    cdef char* write(self, char* out, const Facts* facts, list attempts)
    cdef char* _time(self, char* out)
    cdef char* _field(self, char* out, int field, const Facts* facts, list attempts)
    cdef char* _later(self, char* out, int field, const Facts* facts, list attempts)
    cdef char* _combined(self, char* out, const Facts* facts)
