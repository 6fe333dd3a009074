# cython: language_level=3
"""Normal form of a request path. See path.pyx."""

from libc.stdint cimport uint8_t

from lbd.engine.http1 cimport Head

cdef enum:
    PATH_BAD = -1
    PATH_SAME = 0
    PATH_CHANGED = 1

cdef enum:
    # what is done with a path that is not in normal form
    PATH_NORMALIZE = 0          # match and forward the normal form
    PATH_REJECT = 1
    PATH_AS_IS = 2
    PATH_ROOM = 65537

cdef int hex_value(uint8_t x) noexcept nogil
cdef int path_of(const Head* head, int mode, char* room, const char** path, size_t* path_len) noexcept nogil
cdef int normalise_path(const char* p, size_t n, char* out, size_t* out_len) noexcept nogil
